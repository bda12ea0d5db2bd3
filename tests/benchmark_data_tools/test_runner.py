import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark_data_tools import runner
from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import load
from benchmark_data_tools.methods import MethodSpec, parse
from benchmark_data_tools.metrics import foreground_errors, sad
from benchmark_data_tools.protocols import Settings
from benchmark_data_tools.reports.report import build
from benchmark_data_tools.runner import Plan, rows, run
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.segmentation import Segmenter

REPOSITORY = Path(__file__).parents[2]


def plan(mini_benchmark, out, table, *methods, settings=None, subset=("mini_0", "mini_1")):
    data = mini_benchmark / table
    return Plan(
        table=table,
        data=data,
        samples=tuple(find_samples(table, data, subset)),
        methods=tuple(m if isinstance(m, MethodSpec) else parse(m, table) for m in methods),
        settings=settings or Settings(),
        out=out / table,
    )


def figures(folder):
    """What a run found, without what differs from run to run."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        value = json.loads(path.read_text())
        for noted in ("seconds", "date", "command", "data"):
            value.pop(noted, None)
        found[path.relative_to(folder).as_posix()] = value
    return found


def test_errors_are_those_of_the_written_files(mini_benchmark, tmp_path):
    made = plan(mini_benchmark, tmp_path, "1", "guidance", "closed_form")
    run(made, processes=1)
    for method, variant in ((made.methods[0], "trimap_fg"), (made.methods[1], "trimap")):
        for sample, row in zip(
            made.samples,
            rows(made.out, method.slug, variant, ["mini_0", "mini_1"]),
            strict=True,
        ):
            written = read_mask(made.folder(method, variant) / f"{sample.name}.png")
            truth = load(sample).alpha
            assert row["errors"]["whole"]["sad"] == sad(written, truth)
            assert row["name"] == sample.name
            assert row["size"] == [320, 256]


def _and_again_as_a_folder(benchmark, out, made):
    """Run a method's mattes as a folder; return the errors of both runs, row by row."""
    mattes = made.folder(made.methods[0], "trimap")
    again = plan(benchmark, out, "1", f"folder:{mattes}")
    run(again, processes=1)
    names = ["mini_0", "mini_1"]
    return [
        [row["errors"] for row in rows(each.out, each.methods[0].slug, "trimap", names)]
        for each in (made, again)
    ]


def test_predictions_run_again_as_a_folder_give_the_same_figures(mini_benchmark, tmp_path):
    first = plan(mini_benchmark, tmp_path / "a", "1", "closed_form")
    run(first, processes=1)
    one, two = _and_again_as_a_folder(mini_benchmark, tmp_path / "b", first)
    assert one == two


@pytest.mark.parametrize("bits", [8, 16])
def test_an_almost_empty_prediction_is_measured(mini_benchmark, tmp_path, monkeypatch, bits):
    # Its levels, 1 of 255 or 131 of 65535, look like a map of labels.
    faint = np.zeros((256, 320), np.float32)
    faint[100:104, 100:104] = 0.004 if bits == 8 else 0.002
    monkeypatch.setattr(runner, "alpha_method", lambda name: lambda *question: faint)
    made = replace(plan(mini_benchmark, tmp_path / "a", "1", "guidance"), bits=bits)
    run(made, processes=1)
    monkeypatch.undo()
    one, two = _and_again_as_a_folder(mini_benchmark, tmp_path / "b", made)
    assert one == two
    truth = load(made.samples[0]).alpha
    assert one[0]["whole"]["sad"] == pytest.approx(sad(faint, truth), rel=1e-4)
    build(tmp_path / "b", tmp_path / "report", thumbnails=2)


def test_the_network_runs_in_every_variant(mini_benchmark, tmp_path, untrained):
    made = plan(mini_benchmark, tmp_path, "1", untrained, subset=["mini_0"])
    run(made, processes=1)
    assert {path.parent.name for path in made.out.rglob("mini_0.png")} == {"trimap", "trimap_fg"}


def test_table_2_refines_the_rival_s_written_matte(mini_benchmark, tmp_path, untrained):
    rival = MethodSpec("guidance")
    refined = MethodSpec("guidance", refiner=untrained)
    # Named first, the refinement still runs after what it refines.
    made = plan(mini_benchmark, tmp_path, "2", refined, rival, subset=["mini_0"])
    run(made, processes=1)
    before = read_mask(made.folder(rival, "matte") / "mini_0.png")
    after = read_mask(made.folder(refined, "matte") / "mini_0.png")
    assert np.unique(before).size == 3
    assert np.unique(after).size > 100


def test_table_3_measures_colours(mini_benchmark, tmp_path):
    made = plan(mini_benchmark, tmp_path, "3", "truth+multilevel", "truth+raw", subset=["mini_0"])
    run(made, processes=1)
    truth = load(made.samples[0])
    found = {}
    for method in made.methods:
        row = rows(made.out, method.slug, "trimap", ["mini_0"])[0]["errors"]
        colours = read_image(made.folder(method, "trimap") / "mini_0.foreground.png")
        expected = foreground_errors(colours, truth.foreground, truth.alpha > 0)
        assert row["F"] == {"sad": expected.sad, "mse": expected.mse}
        found[method.foreground] = row["alpha_F_unknown"]["mse"]
    assert 0 < found["multilevel"] < 0.5 * found["raw"]


def test_table_5_takes_probabilities_and_the_low_resolution(mini_benchmark, tmp_path):
    settings = Settings(long_side_px=160, probability=str(mini_benchmark / "5" / "probability"))
    with pytest.raises(ValueError, match=r"mini_0\.png must have the image's size 160x128"):
        run(
            plan(mini_benchmark, tmp_path / "small", "5", "guidance", settings=settings),
            processes=1,
        )
    made = plan(
        mini_benchmark,
        tmp_path,
        "5",
        "guidance",
        settings=replace(settings, long_side_px=None),
    )
    run(made, processes=1)
    errors = rows(made.out, made.methods[0].slug, "segmentation", ["mini_0"])[0]["errors"]
    assert errors.keys() == {"whole", "details", "details_above_0.1"}
    assert errors["details"]["mse"] > errors["whole"]["mse"]


def test_without_a_folder_of_probabilities_the_segmenter_is_asked(
    mini_benchmark, tmp_path, monkeypatch
):
    class LeftHalf:
        """Stands for a segmenter: its weights are not what is tested here."""

        def probability(self, image, category):
            assert category == "person"
            found = np.zeros(image.shape[:2], np.float32)
            found[:, : image.shape[1] // 2] = 0.9
            return found

    monkeypatch.setattr(Segmenter, "load", lambda name: LeftHalf())
    runner._probability.cache_clear()
    made = plan(mini_benchmark, tmp_path, "5", "guidance", subset=["mini_0"])
    run(made, processes=1)
    runner._probability.cache_clear()
    guidance = read_mask(made.folder(made.methods[0], "segmentation") / "mini_0.png")
    assert (guidance[:, :160] == 1).all()
    assert (guidance[:, 160:] == 0).all()


def test_a_finished_image_is_not_done_again(mini_benchmark, tmp_path):
    made = plan(mini_benchmark, tmp_path, "robustness", "guidance")
    run(made, processes=1)
    record = made.folder(made.methods[0], "unchanged") / "mini_0.json"
    lost = made.folder(made.methods[0], "unchanged") / "mini_1.json"
    before = figures(tmp_path)
    stamp = record.stat().st_mtime_ns
    lost.unlink()
    run(made, processes=1)
    assert record.stat().st_mtime_ns == stamp
    assert figures(tmp_path) == before


def test_a_killed_run_goes_on_and_ends_with_the_same_figures(mini_benchmark, tmp_path):
    # Killed with two processes, finished with one, compared with one that was never killed.
    kernels = tuple(range(1, 9))
    (tmp_path / "subset.txt").write_text("mini_0\nmini_1\n")
    command = [sys.executable, "-m", "benchmark_data_tools", "run", "robustness"]
    command += ["--data", str(mini_benchmark / "robustness"), "--method", "guidance"]
    command += ["--subset", str(tmp_path / "subset.txt")]
    command += ["--kernels", *map(str, kernels), "--processes", "2", "--out"]
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed")],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    settings = Settings(kernels_px=kernels)
    made = plan(
        mini_benchmark,
        tmp_path / "killed",
        "robustness",
        "guidance",
        settings=settings,
    )
    total = len(made.variants(made.methods[0])) * len(made.samples)
    try:
        while not (done := list(made.out.glob("*/*/mini_*.json"))):
            assert killed.poll() is None, "it ended before anything was done"
            time.sleep(0.005)
        workers = children_of(killed.pid)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert workers
    wait_for_the_end_of(workers)
    done = list(made.out.glob("*/*/mini_*.json"))
    assert 0 < len(done) < total
    stamps = {path: path.stat().st_mtime_ns for path in done}
    run(made, processes=1)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    whole = replace(made, out=tmp_path / "whole" / "robustness")
    run(whole, processes=1)
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")


def children_of(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def wait_for_the_end_of(processes, seconds=20):
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in processes):
        assert time.monotonic() < deadline, "workers outlived the run that was killed"
        time.sleep(0.02)


def is_running(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_results_of_other_settings_are_not_mixed(mini_benchmark, tmp_path):
    run(plan(mini_benchmark, tmp_path, "robustness", "guidance"), processes=1)
    other = plan(
        mini_benchmark, tmp_path, "robustness", "guidance", settings=Settings(kernels_px=(5,))
    )
    with pytest.raises(ValueError, match=r"must hold results of one run, got another settings"):
        run(other, processes=1)


def test_results_of_other_images_are_not_mixed(mini_benchmark, tmp_path):
    run(plan(mini_benchmark, tmp_path, "robustness", "guidance"), processes=1)
    other = plan(mini_benchmark, tmp_path, "robustness", "guidance", subset=["mini_0"])
    with pytest.raises(ValueError, match=r"got another manifest_sha256, samples than in run\.json"):
        run(other, processes=1)


def test_results_of_other_predictions_are_not_mixed(mini_benchmark, tmp_path):
    mattes = tmp_path / "mattes"
    shutil.copytree(mini_benchmark / "1" / "alpha_copy", mattes)
    made = plan(mini_benchmark, tmp_path, "1", f"folder:{mattes}")
    run(made, processes=1)
    write_image(mattes / "mini_0.png", np.ones((256, 320), np.float32))
    with pytest.raises(ValueError, match=r"got another identity than in method\.json: give anoth"):
        run(made, processes=1)


def test_results_of_other_segmentations_are_not_mixed(mini_benchmark, tmp_path):
    folder = tmp_path / "probability"
    shutil.copytree(mini_benchmark / "5" / "probability", folder)
    settings = Settings(probability=str(folder))
    made = plan(mini_benchmark, tmp_path, "5", "guidance", settings=settings)
    run(made, processes=1)
    run(made, processes=1)
    write_image(folder / "mini_1.png", np.ones((256, 320), np.float32))
    with pytest.raises(ValueError, match=r"got another segmentation_sha256 than in run\.json: giv"):
        run(made, processes=1)
    (folder / "mini_1.png").unlink()
    with pytest.raises(ValueError, match="a probability map of every image, got none of mini_1"):
        run(replace(made, out=tmp_path / "other"), processes=1)
    assert not (tmp_path / "other" / "run.json").exists()


def test_results_of_other_segmenters_weights_are_not_mixed(mini_benchmark, tmp_path, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"first")
    monkeypatch.setattr(runner, "bundled_path", lambda name: weights)
    monkeypatch.setattr(
        runner, "_probability", lambda folder: lambda name, image: image[..., 0].copy()
    )
    for number, settings in enumerate((Settings(), Settings(mask="segmentation"))):
        weights.write_bytes(b"first")
        table = ("5", "robustness")[number]
        made = plan(mini_benchmark, tmp_path, table, "guidance", settings=settings)
        run(made, processes=1)
        weights.write_bytes(b"second")
        with pytest.raises(ValueError, match="got another segmentation_sha256"):
            run(made, processes=1)


def test_a_method_may_be_added_later(mini_benchmark, tmp_path):
    run(plan(mini_benchmark, tmp_path, "1", "guidance"), processes=1)
    run(plan(mini_benchmark, tmp_path, "1", "truth"), processes=1)
    assert len(list((tmp_path / "1").glob("*/method.json"))) == 2


def test_provenance_is_recorded(mini_benchmark, tmp_path, untrained):
    made = plan(mini_benchmark, tmp_path, "4", untrained, subset=["mini_0"])
    run(made, processes=1, command="the command line")
    method = json.loads((made.out / made.methods[0].slug / "method.json").read_text())
    assert method["command"] == "the command line"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", method["date"])
    assert re.fullmatch("[0-9a-f]{64}", method["identity"]["alpha_sha256"])
    assert method["versions"]["torch"]
    recorded = json.loads((made.out / "run.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", recorded["manifest_sha256"])
    assert "alpha_copy/mini_0.png" in (made.out / "manifest.sha256").read_text()


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((256, 320), np.float32), "prediction must not be all zero, got no pixel above"),
        (
            np.ones((128, 160), np.float32),
            "mini_1.png must have the image's size 320x256, got 160x128: use pictures of one size",
        ),
        (
            np.dstack([np.ones((256, 320)), np.zeros((256, 320)), np.zeros((256, 320))]),
            "mini_1.png must be a grey mask, got a colour image",
        ),
        (
            np.full((256, 320), 1 / 255, np.float32),
            "mini_1.png must use the whole range from black to white, got a map of the labels 1",
        ),
    ],
)
def test_a_wrong_prediction_stops_the_run_and_is_named(
    mini_benchmark, tmp_path, prediction, message
):
    mattes = tmp_path / "mattes"
    shutil.copytree(mini_benchmark / "1" / "alpha_copy", mattes)
    write_image(mattes / "mini_1.png", prediction.astype(np.float32))
    made = plan(mini_benchmark, tmp_path, "1", f"folder:{mattes}")
    with pytest.raises(ValueError, match=re.escape(f"trimap, mini_1: {message}")):
        run(made, processes=1)


def test_not_a_number_stops_the_run(mini_benchmark, tmp_path, monkeypatch):
    broken = np.full((256, 320), np.nan, np.float32)
    monkeypatch.setattr(runner, "alpha_method", lambda name: lambda *question: broken)
    made = plan(mini_benchmark, tmp_path, "1", "guidance")
    with pytest.raises(ValueError, match="mini_0: prediction must be finite, got NaN"):
        run(made, processes=1)


def test_an_error_in_a_worker_reaches_the_caller(mini_benchmark, tmp_path):
    mattes = tmp_path / "mattes"
    shutil.copytree(mini_benchmark / "1" / "alpha_copy", mattes)
    write_image(mattes / "mini_1.png", np.zeros((256, 320), np.float32))
    made = plan(mini_benchmark, tmp_path, "1", f"folder:{mattes}")
    with pytest.raises(ValueError, match="mini_1: prediction must not be all zero"):
        run(made, processes=2)


def test_a_missing_prediction_stops_the_run_before_it_starts(mini_benchmark, tmp_path):
    mattes = tmp_path / "mattes"
    mattes.mkdir()
    write_image(mattes / "mini_0.png", np.ones((256, 320), np.float32))
    made = plan(mini_benchmark, tmp_path, "1", f"folder:{mattes}")
    with pytest.raises(ValueError, match="a prediction of every image, got none of mini_1: add"):
        run(made, processes=1)
    assert not made.out.exists()


def test_no_answer_is_fair_where_the_guidance_marks_nothing(mini_benchmark, tmp_path):
    made = plan(
        mini_benchmark,
        tmp_path,
        "robustness",
        "guidance",
        settings=Settings(kernels_px=(251,)),
        subset=["mini_0"],
    )
    run(made, processes=1)
    errors = rows(made.out, made.methods[0].slug, "erode_251", ["mini_0"])[0]["errors"]
    assert errors["whole"]["sad"] == pytest.approx(
        load(made.samples[0]).alpha.sum(dtype=float) / 1000
    )


def test_an_unfinished_run_has_no_figures(mini_benchmark, tmp_path):
    made = plan(mini_benchmark, tmp_path, "1", "guidance")
    run(made, processes=1)
    (made.folder(made.methods[0], "trimap") / "mini_1.json").unlink()
    message = r"must hold a result of every image, got none of mini_1 \(1 in all\): run the same"
    with pytest.raises(ValueError, match=message):
        rows(made.out, made.methods[0].slug, "trimap", ["mini_0", "mini_1"])
