from importlib.metadata import version

from demo.about import about


def test_the_page_says_what_it_runs_on_and_how_to_cite():
    text = about(45)
    assert f"gradio {version('gradio')}" in text
    assert "deleted some 45 minutes after" in text
    assert "@inproceedings{yu2021mask," in text
