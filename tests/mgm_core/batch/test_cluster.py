"""A local Ray; `scripts/try-cluster` has more photographs, killed workers and drivers, and S3."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mgm_core.__main__ import main
from mgm_core.batch import cluster
from mgm_core.choices import SegmenterError
from mgm_core.images import write_image


@pytest.fixture(scope="module")
def photos(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("photos")
    small = np.ascontiguousarray(pictures["astronaut"][:256:2, 90:346:2])
    for n in range(3):
        write_image(folder / f"{n}.png", np.ascontiguousarray(np.roll(small, 2 * n, axis=1)))
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    return folder


def test_what_ray_makes_is_what_this_machine_makes(photos, tmp_path):
    rows = {}
    for runner in ("local", "ray"):
        report = tmp_path / f"{runner}.jsonl"
        command = [sys.executable, "-m", "mgm_core", str(photos), "-o", f"{tmp_path / runner}/"]
        command += ["--quality", "fast", "--workers", "2", "--report", str(report)]
        command += ["--runner", runner]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 1, run.stderr
        assert "3 cut out, 0 skipped, 1 failed" in run.stdout
        assert "damaged" in run.stderr
        rows[runner] = [json.loads(line) for line in report.read_text().splitlines()]
    made = [{f.name: f.read_bytes() for f in (tmp_path / r).iterdir()} for r in ("local", "ray")]
    assert len(made[0]) == 3
    assert made[0] == made[1]
    failed = [row for row in rows["ray"] if row["status"] == "failed"]
    assert [row["photo"] for row in failed] == [str(photos / "broken.png")]
    (local,) = (row for row in rows["local"] if row["status"] == "failed")
    assert failed[0]["error"] == local["error"]


def test_without_the_extra_it_is_named(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([str(photos), "-o", f"{tmp_path}/out/", "--runner", "ray"]) == 2
    shown = capsys.readouterr().err
    assert "--runner ray must have the package ray, which is not installed: pip install" in shown
    assert "'mgm[cluster]'" in shown


def test_errors_travel():
    assert str(cluster._that_travels(OSError("no such file"))) == "no such file"
    refused = cluster._that_travels(SegmenterError("segmenter 'x' must be downloaded once"))
    assert str(refused) == "segmenter 'x' must be downloaded once"
    try:
        raise KeyError("a bug")
    except KeyError as error:
        sent = cluster._that_travels(error)
    assert "KeyError: 'a bug'" in str(sent)
    assert "test_errors_travel" in str(sent)
