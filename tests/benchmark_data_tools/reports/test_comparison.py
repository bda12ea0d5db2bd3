import re
import shutil

import numpy as np
import pytest

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.reports.comparison import compare
from benchmark_data_tools.reports.sheets import worst_sheet
from benchmark_data_tools.reports.tables import read_results
from mgm_core.images import read_mask, write_image


@pytest.fixture(scope="module")
def results(mini_benchmark, tmp_path_factory):
    """Two images in table 1: the truth, and the truth with one pixel changed by a half."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "subset.txt").write_text("mini_0\nmini_1\n")
    nearly = folder / "nearly"
    shutil.copytree(mini_benchmark / "1" / "alpha_copy", nearly)
    matte = read_mask(nearly / "mini_1.png")
    matte[0, 0] += 0.5
    write_image(nearly / "mini_1.png", matte, bits=16)
    command = ["run", "1", "--data", str(mini_benchmark / "1"), "--out", str(folder)]
    command += ["--subset", str(folder / "subset.txt"), "--processes", "1"]
    methods = ["truth", f"folder:{nearly}", "guidance"]
    assert main([*command, *(f"--method={method}" for method in methods)]) == 0
    return folder / "1", f"folder:{nearly}"


def test_differences_of_a_case_done_by_hand(results, capsys):
    folder, nearly = results
    line = compare(folder, "truth", nearly).splitlines()[2]
    size = 256 * 320
    figures = [cell.strip() for cell in line.strip("|").split("|")]
    assert figures[:4] == ["trimap", "0.5000", f"{0.5 / size / 2:.6f}", f"{1 / size / 2:.3%}"]
    assert main(["compare", str(folder), "truth", nearly]) == 0
    assert line in capsys.readouterr().out


def test_a_difference_of_one_level_is_counted_at_every_level(mini_benchmark, tmp_path):
    (tmp_path / "subset.txt").write_text("mini_0\n")
    levels = np.resize(np.arange(255, dtype=np.uint8), (256, 320))
    for name, step in (("low", 0), ("high", 1)):
        (tmp_path / name / "trimap").mkdir(parents=True)
        write_image(tmp_path / name / "trimap" / "mini_0.png", levels + np.uint8(step))
    command = ["run", "4", "--data", str(mini_benchmark / "4"), "--out", str(tmp_path)]
    command += ["--subset", str(tmp_path / "subset.txt"), "--processes", "1"]
    methods = [f"folder:{tmp_path / name}" for name in ("low", "high")]
    assert main([*command, *(f"--method={method}" for method in methods)]) == 0
    assert "| 100.000% |" in compare(tmp_path / "4", *methods)


def test_errors_are_those_of_the_run(results):
    folder, _ = results
    lines = compare(folder, "truth", "guidance").splitlines()
    assert len(lines) == 4  # head, rule, two guidances
    truth, guidance = (float(cell) for cell in lines[2].strip("| ").split("|")[-2:])
    assert truth == 0
    assert guidance > 10
    assert np.isclose(guidance, float(compare(folder, "guidance", "truth").split("|")[-3]), 0.9)


def test_methods_of_table_3_are_named_as_the_run_or_its_table_names_them(mini_benchmark, tmp_path):
    command = ["run", "3", "--data", str(mini_benchmark / "3"), "--out", str(tmp_path)]
    assert main([*command, "--processes", "1", "--method=truth+raw", "--method=truth"]) == 0
    by_command = compare(tmp_path / "3", "truth+raw", "truth").splitlines()[2:]
    assert (
        by_command == compare(tmp_path / "3", "truth + raw", "truth + multilevel").splitlines()[2:]
    )
    labels = worst_sheet(tmp_path / "3", tmp_path / "sheet.png", method="truth+raw", side_px=64)
    assert labels
    assert all(label.endswith("; truth + raw") for label in labels)


def test_refined_mattes_of_table_2_are_named_as_their_table_names_them(
    mini_benchmark, tmp_path, untrained, capsys
):
    (tmp_path / "subset.txt").write_text("mini_0\n")
    command = ["run", "2", "--data", str(mini_benchmark / "2"), "--out", str(tmp_path)]
    command += ["--subset", str(tmp_path / "subset.txt"), "--processes", "1", "--long-side", "160"]
    assert main([*command, "--method", "guidance", "--refiner", untrained]) == 0
    refined = f"guidance + refined by {untrained}"
    assert f"| {refined} |" in capsys.readouterr().out
    folder, sheet = tmp_path / "2", tmp_path / "sheet.png"
    line = compare(folder, "guidance", refined).splitlines()[2]
    assert line.startswith("| matte | 0.")
    (label,) = worst_sheet(folder, sheet, method=refined, count=1, side_px=64)
    assert label.endswith(refined)
    # An interrupted method is left out.
    (made,) = (s for s in read_results(folder).series if s.method == refined)
    (folder / made.slug / "matte" / "mini_0.json").unlink()
    (label,) = worst_sheet(folder, sheet, method="guidance", count=1, side_px=64)
    assert label.endswith("; guidance")
    with pytest.raises(ValueError, match=r"must be one of the run's, guidance, got guidance \+ r"):
        compare(folder, "guidance", refined)


def test_methods_that_are_not_there_are_refused(results):
    folder, nearly = results
    message = f"must be one of the run's, truth, {nearly}, guidance, got prn: correct it"
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(folder, "truth", "prn")
