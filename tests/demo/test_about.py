import re
from importlib.metadata import version
from pathlib import Path

from demo.about import about
from mgm_core.weights import bundled

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_it_runs_on_and_how_to_cite():
    text = about(45)
    assert f"gradio {version('gradio')}" in text
    assert "deleted some 45 minutes after" in text
    assert "@inproceedings{yu2021mask," in text


def test_every_bundled_network_has_its_card_and_licence_on_the_page():
    text = about(30)
    for card in sorted((ROOT / "mgm_core" / "weights").glob("*.md")):
        assert f"<summary><code>{card.stem}</code></summary>" in text
        (licence,) = re.findall(r"\*\*Licence: [^*]+\*\*", card.read_text(encoding="utf-8"))
        assert licence in text
    assert set(bundled()) == {path.stem for path in (ROOT / "mgm_core" / "weights").glob("*.md")}
