import subprocess

import numpy as np

from benchmark_data_tools.__main__ import main
from mgm_core.images import write_image


def test_check_tells_the_count_and_that_nothing_is_wrong(mini_benchmark, capsys):
    assert main(["check", "1", "--data", str(mini_benchmark / "1")]) == 0
    assert capsys.readouterr().out == (
        "6 images; Composition-1k has 1000: the figures will not be comparable with "
        "the paper's.\nNothing wrong.\n"
    )


def test_check_lists_problems_and_fails(tmp_path, capsys):
    for folder in ("image", "alpha"):
        (tmp_path / folder).mkdir()
    write_image(tmp_path / "image" / "a.png", np.zeros((4, 4, 3), np.float32))
    write_image(tmp_path / "alpha" / "a.png", np.zeros((4, 5), np.float32))
    assert main(["check", "2", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().out == (
        "a: a.png must have the image's size 4x4, got 5x4: use pictures of one size\n1 problems.\n"
    )


def test_a_manifest_is_written_in_sha256sum_s_format_and_compared(mini_benchmark, tmp_path, capsys):
    data, file = mini_benchmark / "robustness", tmp_path / "manifest"
    assert main(["check", "robustness", "--data", str(data), "--write-manifest", str(file)]) == 0
    subprocess.run(["sha256sum", "--check", "--quiet", str(file)], cwd=data, check=True)
    assert main(["check", "robustness", "--data", str(data), "--manifest", str(file)]) == 0
    file.write_text(file.read_text().replace("alpha_copy/mini_0", "alpha_copy/other"))
    assert main(["check", "robustness", "--data", str(data), "--manifest", str(file)]) == 1
    assert "alpha_copy/other.png: missing" in capsys.readouterr().out


def test_run_prints_the_table_and_takes_a_subset(mini_benchmark, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("mini_2\n")
    command = ["run", "4", "--data", str(mini_benchmark / "4"), "--method", "guidance"]
    command += ["--out", str(tmp_path), "--subset", str(tmp_path / "list.txt")]
    assert main([*command, "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "### Table 4: ablations (4)" in printed
    assert "Means over 1 images." in printed


def test_errors_are_printed_without_a_traceback(mini_benchmark, tmp_path, capsys):
    command = ["run", "2", "--data", str(mini_benchmark / "2"), "--method", "guidance"]
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: refiner must be given for table 2")
    assert main([*command, "--out", str(tmp_path), "--refiner", "knn"]) == 1
    refused = capsys.readouterr().err
    assert refused.startswith("error: refiner must be a matting network, prn_mobilenet_v2, ")
    assert refused.endswith("got knn, which looks at no matte: name its weights\n")


def test_run_prints_its_table_beside_another_method_s_unfinished_run(
    mini_benchmark, tmp_path, capsys, caplog
):
    command = ["run", "1", "--data", str(mini_benchmark / "1"), "--out", str(tmp_path)]
    command += ["--processes", "1", "--method"]
    assert main([*command, "guidance"]) == 0
    (interrupted,) = tmp_path.glob("1/*/trimap/mini_0.json")
    capsys.readouterr()
    assert main([*command, "truth"]) == 0
    assert "| guidance, trimap |" in capsys.readouterr().out
    interrupted.unlink()
    assert main([*command, "truth"]) == 0
    printed = capsys.readouterr().out
    assert "| truth, trimap |" in printed
    assert "| guidance, trimap |" not in printed
    assert "left out guidance: " in caplog.text
    assert f"or remove {interrupted.parents[1]}" in caplog.text


def test_names_that_are_no_files_are_told_without_a_traceback(mini_benchmark, tmp_path, capsys):
    data = ["--data", str(mini_benchmark / "1")]
    for option in ("--subset", "--manifest"):
        assert main(["check", "1", *data, option, str(tmp_path / "none.txt")]) == 1
        assert "none.txt" in capsys.readouterr().err
    assert main(["run", "1", *data, "--method", "truth", "--processes", "0"]) == 1
    assert "error: processes must be 1 or more, got 0" in capsys.readouterr().err


def test_mini_makes_the_benchmark(tmp_path):
    assert main(["mini", str(tmp_path / "mini"), "--seed", "3"]) == 0
    assert main(["check", "3", "--data", str(tmp_path / "mini" / "3")]) == 0
