from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

import app
from demo.backend.visits import LANES, Visits
from demo.environment import Environment
from mgm_core.runtime.admission import Admission


def test_nothing_set_is_the_defaults():
    assert Environment.from_variables({}) == Environment()
    assert Environment().port == 7860


def test_variables_are_read_in_the_type_of_their_default():
    environment = Environment.from_variables(
        {"PORT": "7000", "MGM_MAX_MEGAPIXELS": "2.5", "MGM_WEIGHTS": " mine.pth ", "HOME": "/"}
    )
    assert (environment.port, environment.max_megapixels) == (7000, 2.5)
    assert environment.weights == "mine.pth"


def test_what_is_no_number_is_refused():
    with pytest.raises(
        ValueError, match="MGM_MAX_MEGAPIXELS must be a number, got 'many': it sets largest"
    ):
        Environment.from_variables({"MGM_MAX_MEGAPIXELS": "many"})
    for text in ("many", "0.5"):
        with pytest.raises(
            ValueError, match=f"MGM_QUEUE_SIZE must be a whole number, got '{text}': it sets how"
        ):
            Environment.from_variables({"MGM_QUEUE_SIZE": text})


def test_what_is_out_of_range_is_refused():
    with pytest.raises(
        ValueError, match=r"MGM_MAX_MEGAPIXELS must lie between 0.01 and 89, got 90"
    ):
        Environment.from_variables({"MGM_MAX_MEGAPIXELS": "90"})


def test_quality_is_one_of_its_choices():
    assert Environment().quality == "best"
    assert Environment.from_variables({"MGM_QUALITY": "fast"}).quality == "fast"
    with pytest.raises(ValueError, match="MGM_QUALITY must be fast or best, got 'good': by def"):
        Environment.from_variables({"MGM_QUALITY": "good"})


def test_the_table_names_every_setting():
    table = Environment.table()
    assert table.count("\n") == len(fields(Environment)) + 1
    assert "| `MGM_MAX_MEGAPIXELS` | 24.0 | largest photo that is accepted |" in table


def test_the_documentation_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
    assert Environment.table().replace("|  |", "| |") in page.replace("|  |", "| |")


def test_mcp_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    app.check_mcp(Environment())
    with pytest.raises(
        ValueError, match=r"MGM_MCP must be 0 while the package mcp is missing, got"
    ):
        app.check_mcp(Environment(mcp=1))


def test_a_port_that_is_taken_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")

    def launch(**_):
        raise OSError("Cannot find empty port in range: 7860-7860.")

    page = SimpleNamespace(queue=lambda **_: None, launch=launch)
    with pytest.raises(ValueError, match="PORT must be free, got 7860, which cannot be listened"):
        app.launch(page, Environment(), Visits(Admission(LANES)))


def test_a_place_for_files_that_cannot_be_written_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(ValueError, match=r"must be writable, got .* \(Not a directory\): name ano"):
        app.own_folder()


def test_mcp_is_off_unless_asked_for():
    assert Environment.from_variables({}).mcp == 0
    assert Environment.from_variables({"MGM_MCP": "1"}).mcp == 1
    with pytest.raises(ValueError, match="MGM_MCP must lie between 0 and 1, got 2"):
        Environment.from_variables({"MGM_MCP": "2"})
