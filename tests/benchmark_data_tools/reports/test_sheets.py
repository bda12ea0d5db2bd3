import re
import shutil

import numpy as np
import pytest

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.reports import sheets
from benchmark_data_tools.reports.sheets import COLUMNS, photo_sheets, worst_sheet
from benchmark_data_tools.reports.tables import read_results
from benchmark_data_tools.runner import rows
from mgm_core.images import read_image, write_image
from mgm_core.matting.matter import Matter
from mgm_core.networks.prn import PRN
from mgm_core.segmentation import Segmenter

SIDE = 64
CELL = SIDE + sheets.GAP_PX
LABEL = sheets.LABEL_PX
HEIGHT = round(SIDE * 256 / 320)
LINE = LABEL + HEIGHT + sheets.GAP_PX


def run(mini_benchmark, out, table, *methods):
    command = ["run", table, "--data", str(mini_benchmark / table), "--out", str(out)]
    assert main([*command, "--processes", "1", *(f"--method={m}" for m in methods)]) == 0
    return out / table


@pytest.fixture(scope="module")
def results(mini_benchmark, tmp_path_factory):
    return run(mini_benchmark, tmp_path_factory.mktemp("worst"), "4", "guidance", "truth")


def cell(sheet, line, column):
    top, left = LABEL + line * LINE + LABEL, COLUMNS.index(column) * CELL
    return sheet[top : top + HEIGHT, left : left + SIDE]


def test_the_worst_come_first_with_all_their_pictures(results, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    labels = worst_sheet(results, out, count=3, side_px=SIDE)
    slug = next(s.slug for s in read_results(results).series if s.method == "guidance")
    found = rows(results, slug, "trimap", [f"mini_{i}" for i in range(4)])
    ranked = sorted(found, key=lambda row: -row["errors"]["whole"]["sad"])[:3]
    assert [re.match(r"\d+\. (\w+): SAD", label)[1] for label in labels] == [
        row["name"] for row in ranked
    ]
    assert all(label.endswith("whole image; guidance") for label in labels)
    sheet = read_image(out)
    assert sheet.shape == (LABEL + 3 * LINE, len(COLUMNS) * CELL, 3)
    for line in range(3):
        image, guidance, prediction, truth, error, composite = (
            cell(sheet, line, column) for column in COLUMNS
        )
        # The method is "guidance"; only the rounding of 0.5 differs.
        np.testing.assert_allclose(guidance, prediction, atol=1.1 / 255)
        assert np.abs(prediction - truth).mean() > 0.01
        outside = np.maximum(truth, prediction).max(axis=2) == 0
        inside = np.minimum(truth, prediction).min(axis=2) == 1
        assert (error[outside | inside] > 0.95).all()
        assert (error < 0.5).any()
        np.testing.assert_allclose(composite[outside], [[1, 0, 1]] * outside.sum(), atol=0.01)
        np.testing.assert_allclose(composite[inside], image[inside], atol=0.02)


def test_one_method_is_ranked_alone_from_the_command_line(results, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    command = ["worst", str(results), "--out", str(out), "--side", str(SIDE)]
    assert main([*command, "--method", "truth", "--count", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert all(line.endswith("; truth") for line in printed[:2])
    assert read_image(out).shape[0] == LABEL + 2 * LINE


def test_table_3_shows_its_own_colours(mini_benchmark, tmp_path):
    folder = run(mini_benchmark, tmp_path, "3", "truth+raw")
    worst_sheet(folder, tmp_path / "sheet.png", count=1, side_px=SIDE)
    sheet = read_image(tmp_path / "sheet.png")
    composite, image, alpha = (
        cell(sheet, 0, column) for column in ("composite", "image", "prediction")
    )
    expected = alpha * image + (1 - alpha) * np.array([1, 0, 1])
    # Shrinking does not commute with the product.
    assert np.abs(composite - expected).mean() < 0.02


def test_wrong_wishes_are_refused(results, tmp_path):
    with pytest.raises(ValueError, match="method must be one of guidance, truth, got prn: correct"):
        worst_sheet(results, tmp_path / "a.png", method="prn")
    with pytest.raises(ValueError, match=r"count must be 1 or more .* got 0 and 320"):
        worst_sheet(results, tmp_path / "a.png", count=0)
    with pytest.raises(ValueError, match=r"per_sheet must be 1 or more .* got 6 and 8"):
        photo_sheets(tmp_path, tmp_path, side_px=8)
    with pytest.raises(ValueError, match=r"colour must be a name or #rrggbb, got 'pinkish': quote"):
        photo_sheets(tmp_path, tmp_path, colour="pinkish")


class _LeftHalf:
    """Stands for a segmenter: its weights are not what is tested here."""

    name = "left half"

    def probability(self, image, category, *, long_side_px=None):
        found = np.zeros(image.shape[:2], np.float32)
        if image.mean() > 0.1:
            found[:, : image.shape[1] // 2] = 1
        return found


def test_photographs_are_cut_out_as_the_product_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Segmenter, "load", lambda name, **settings: _LeftHalf())
    network = Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32")
    monkeypatch.setattr(Matter, "load", lambda weights, **settings: network)
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for name, brightness in (("a", 1.0), ("b", 0.0), ("c", 1.0)):
        noise = generator.random((40, 64, 3), dtype=np.float32) * np.float32(brightness)
        write_image(photos / f"{name}.png", noise)
    (photos / "d.png").write_bytes(b"no picture")
    command = ["photos", str(photos), "--out", str(tmp_path / "sheets"), "--per-sheet", "2"]
    assert main([*command, "--side", "64", "--colour", "#00ff00"]) == 1
    printed = capsys.readouterr().out
    assert "not cut out: b: the photo must show a person" in printed
    assert "not cut out: d: d.png must be an image file" in printed
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == ["sheet_01.png", "sheet_02.png"]
    sheet = read_image(tmp_path / "sheets" / "sheet_01.png")
    assert sheet.shape == (LABEL + 40 + sheets.GAP_PX, 4 * CELL, 3)
    original = read_image(photos / "a.png")
    np.testing.assert_array_equal(sheet[LABEL : LABEL + 40, :64], original)
    composite = sheet[LABEL : LABEL + 40, CELL : CELL + 64]
    assert composite[..., 1].mean() > original[..., 1].mean() + 0.1  # some green shows
    assert (sheet[LABEL : LABEL + 40, 3 * CELL : 3 * CELL + 64] == 1).all()  # b has no cut-out


def test_changed_data_are_not_drawn(mini_benchmark, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(mini_benchmark / "4", data / "4")
    folder = run(data, tmp_path / "results", "4", "guidance")
    write_image(data / "4" / "alpha_copy" / "mini_0.png", np.ones((256, 320), np.float32))
    with pytest.raises(ValueError, match=r"must hold the files that .* was made from, got other"):
        worst_sheet(folder, tmp_path / "sheet.png")
