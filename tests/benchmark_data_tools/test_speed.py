import json

import numpy as np
import pytest

from benchmark_data_tools import speed
from benchmark_data_tools.__main__ import main
from benchmark_data_tools.speed import REFERENCE, Plan, Row, line, measure, of_megapixels
from mgm_core.images import read_image, write_image
from mgm_core.recipe import PRESETS


def test_every_quality_is_timed_stage_by_stage_beside_the_reference(
    tmp_path, pictures, capsys, monkeypatch
):
    photo = tmp_path / "photo.png"
    write_image(photo, np.ascontiguousarray(pictures["astronaut"][:256:2, 100:356:2]))
    ran, estimate = [], speed.estimate_foreground
    monkeypatch.setattr(
        speed,
        "estimate_foreground",
        lambda image, alpha, method, **o: ran.append(method) or estimate(image, alpha, method, **o),
    )
    command = ["speed", "--out", str(tmp_path / "out"), "--photo", str(photo)]
    command += ["--megapixels", "0.02", "--repeats", "1", "--networks", "prn_mobilenet_v2"]
    assert main([*command, "--no-processes", "--no-rivals"]) == 0
    found = json.loads((tmp_path / "out" / "speed.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert [*rows] == [
        "fast, prn_mobilenet_v2",
        "best, prn_mobilenet_v2",
        "network alone, prn_mobilenet_v2",
        REFERENCE,
    ]
    # Each quality is what its preset says; the first of two runs warms up.
    assert ran == [PRESETS["fast"].foreground, PRESETS["best"].foreground] * 2
    stages = rows["best, prn_mobilenet_v2"]["stages"]
    assert [*stages] == ["reading", "segmenter", "alpha", "colours", "encoding"]
    assert rows[REFERENCE]["ratio"] == pytest.approx(1)
    assert all(row["fastest"] <= row["seconds"] <= row["slowest"] for row in rows.values())
    assert 0 <= rows["network alone, prn_mobilenet_v2"]["notes"]["finer levels left out on"] <= 1
    assert found["machine"]["cores"] >= 1
    assert read_image(tmp_path / "out" / "speed.png").ndim == 3
    assert "fast, prn_mobilenet_v2" in capsys.readouterr().out


def test_growth_is_from_a_megapixel_on_and_processes_run_what_was_measured(tmp_path, monkeypatch):
    photo, commands = tmp_path / "photo.png", []
    write_image(photo, np.zeros((50, 80, 3), np.float32))

    def ways(plan, models, image):
        yield "fast, prn_resnet34", lambda: {"all": float(image.shape[0] * image.shape[1])}

    def process(*command):
        commands.append(command)
        return 1.0, 1e6

    monkeypatch.setattr(speed, "_ways", ways)
    monkeypatch.setattr(speed, "_process", process)
    plan = Plan(photo, (2, 0.25, 1), ["prn_resnet34"], ["fast"], rivals=False, dtype="float32")
    rows = measure(plan)["rows"]
    assert [row["megapixels"] for row in rows] == [0.25, 1, 2]
    assert [row["growth"] for row in rows] == pytest.approx([0.25, 1, 2], rel=0.01)
    cut_out = [" ".join(command) for command in commands if "--quality" in command]
    assert len(cut_out) == 3 + 3 + 1  # repeated up to a megapixel
    assert all("--weights prn_resnet34 --dtype float32" in command for command in cut_out)


def test_sizes_keep_the_proportions():
    image = np.zeros((100, 200, 3), np.float32)
    assert of_megapixels(image, 0.08).shape == (200, 400, 3)
    assert of_megapixels(image, 0.005).shape == (50, 100, 3)


def test_a_line_says_what_is_known():
    row = Row("fast, x", 4, 2, 1, 3, {"alpha": 1.5, "colours": 0.5}, 0.5, 3.2)
    assert line(row) == (
        "    4 MP  fast, x                                2.00 s (1.00 to 3.00); 0.50x the "
        "reference; 3.2x its time at 1 MP; alpha 1.50, colours 0.50"
    )


def test_a_process_that_fails_is_named():
    with pytest.raises(ValueError, match="python -c 1/0 must succeed, got status 1: run it alone"):
        speed._process("-c", "1/0")
    held = bytearray(b"x") * 200_000_000  # by the one who measures, which does not count
    seconds, peak_kb = speed._process("-c", "b = bytearray(b'x') * 30_000_000")
    assert seconds > 0
    assert 30_000 < peak_kb < len(held) / 1000


def test_plans_that_measure_nothing_are_refused(tmp_path):
    for plan in (Plan(tmp_path, repeats=0), Plan(tmp_path, megapixels=()), Plan(tmp_path, [0.0])):
        with pytest.raises(ValueError, match="repeats must be 1 or more and sizes above 0"):
            measure(plan)
