import csv
import json

import pytest

from benchmark_data_tools.reports.published import PUBLISHED
from benchmark_data_tools.reports.tables import (
    COLUMNS,
    REGIONS,
    UNITS,
    images_csv,
    latex,
    markdown,
    means_csv,
    read_results,
    table_rows,
)


def write_results(folder, table, methods, names=("a", "b")):
    """Results as a run leaves them; `methods`: name -> variant -> one {error: value} an image."""
    folder.mkdir()
    run = {"table": table, "settings": {}, "data": "/d/faces", "samples": list(names)}
    (folder / "run.json").write_text(json.dumps(run))
    for position, (method, variants) in enumerate(methods.items()):
        home = folder / f"{method}-slug"
        home.mkdir()
        (home / "method.json").write_text(
            json.dumps(
                {
                    "label": method,
                    "variants": list(variants),
                    "date": "2000-01-01",
                    "position": position,
                }
            )
        )
        for variant, images in variants.items():
            (home / variant).mkdir()
            for name, errors in zip(names, images, strict=True):
                row = {"name": name, "size": [8, 6], "seconds": 0.5, "errors": errors}
                (home / variant / f"{name}.json").write_text(json.dumps(row))
    return read_results(folder)


def whole(sad, mse):
    return {"whole": {"sad": sad, "mse": mse, "grad": 0.0, "conn": 0.0}}


@pytest.fixture
def robustness(tmp_path):
    return write_results(
        tmp_path / "robustness",
        "robustness",
        {
            "guidance": {
                "erode_10": [whole(8.0, 0.08), whole(12.0, 0.02)],
                "unchanged": [whole(4.0, 0.04), whole(6.0, 0.01)],
            },
            "ours": {
                "erode_10": [whole(2.0, 0.02), whole(4.0, 0.03)],
                "unchanged": [whole(2.0, 0.01), whole(2.0, 0.01)],
            },
        },
    )


def test_figures_are_means_over_images_and_ratios_of_means(robustness):
    found = {row.label: row.figures for row in table_rows(robustness) if not row.published}
    assert list(found) == [
        "guidance, erode_10",
        "guidance, unchanged",
        "ours, erode_10",
        "ours, unchanged",
    ]
    ours = found["ours, erode_10"]
    assert ours["whole", "sad"] == 3.0
    assert ours["whole", "mse"] == pytest.approx(0.025)
    assert ours["whole", "sad_ratio"] == 1.5
    assert ours["whole", "sad_gain"] == pytest.approx(0.3)
    assert ours["whole", "mse_gain"] == pytest.approx(0.5)
    assert ("whole", "sad_gain") not in found["guidance, erode_10"]


def test_the_paper_s_figures_are_marked(robustness):
    lines = markdown(robustness).splitlines()
    published = next(line for line in lines if line.startswith("| MG Matting, erode_30"))
    assert published.startswith("| MG Matting, erode_30 (published) | 27.4 | - | 1.022 |")
    measured = next(line for line in lines if line.startswith("| ours, erode_10"))
    assert measured == "| ours, erode_10 | 3 | 25 | 1.5 | 0.3 | 0.5 |"
    assert "| Method | whole image: SAD (/1000) | whole image: MSE (x1e-3) |" in lines[2]
    assert lines[0] == "### Robustness to the guidance (faces)"
    assert lines[-1].startswith("Means over 2 images.")


def test_latex_has_a_column_a_figure_and_escapes_names(robustness):
    source = latex(robustness)
    assert r"\begin{tabular}{lrrrrr}" in source
    assert r"ours, erode\_10 & 3 & 25 & 1.5 & 0.3 & 0.5 \\" in source
    assert r"guidance, unchanged & 5 & 25 & 1 & -- & -- \\" in source


def test_csv_has_every_figure_with_its_spread(robustness):
    lines = list(csv.DictReader(means_csv(robustness).splitlines()))
    line = next(
        line
        for line in lines
        if (line["method"], line["region"], line["metric"]) == ("ours, erode_10", "whole", "sad")
    )
    assert (line["published"], line["images"], line["mean"]) == ("False", "2", "3.0")
    assert (line["p50"], line["p90"]) == ("3.0", "3.8")
    assert any(line["published"] == "True" for line in lines)


def test_csv_of_images_has_a_line_an_image_and_method(robustness):
    lines = list(csv.DictReader(images_csv(robustness).splitlines()))
    assert len(lines) == 8
    assert lines[-1]["method"] == "ours"
    assert (lines[-1]["image"], lines[-1]["whole_sad"], lines[-1]["width"]) == ("b", "2.0", "8")


def test_an_image_without_a_result_is_never_left_out_of_a_mean(robustness):
    (robustness.folder / "ours-slug" / "erode_10" / "a.json").unlink()
    with pytest.raises(ValueError, match=r"must hold a result of every image, got none of a"):
        read_results(robustness.folder)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold run\.json, got none: run a benchmark first"):
        read_results(tmp_path)
    (tmp_path / "run.json").write_text('{"table": "1", "data": "/d", "samples": []}')
    with pytest.raises(ValueError, match="must hold a method's results, got none: run it first"):
        read_results(tmp_path)


@pytest.mark.parametrize("table", PUBLISHED)
def test_published_figures_fit_into_the_table(table):
    for figures in PUBLISHED[table].values():
        assert set(figures) <= set(COLUMNS[table])
        assert all(0 < value < 1 for (_, metric), value in figures.items() if metric == "mse")


def test_published_figures_are_the_paper_s():
    assert PUBLISHED["1"]["MG Matting, TrimapFG"]["unknown", "mse"] == pytest.approx(6.8e-3)
    assert PUBLISHED["2"]["GCA Matting + MG Matting"]["unknown", "conn"] == 34.35
    assert PUBLISHED["3"]["MG Matting"]["alpha_F_unknown", "sad"] == 49.80
    assert PUBLISHED["4"]["PRN"]["whole", "mse"] == pytest.approx(2.5e-3)
    assert PUBLISHED["5"]["MG Matting"]["details", "mse"] == pytest.approx(55.1e-3)
    assert PUBLISHED["robustness"]["MG Matting, dilate_30"]["whole", "sad"] == 28.1
    assert [len(lines) for lines in PUBLISHED.values()] == [10, 13, 7, 5, 8, 7]


def test_every_column_has_a_name_and_a_unit():
    for columns in COLUMNS.values():
        assert all(region in REGIONS and metric in UNITS for region, metric in columns)
