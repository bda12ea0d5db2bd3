"""Every program looks at all bundled weights before it begins, not in the middle of the work."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, scene

from benchmark_data_tools.annotation.storage.store import Store
from mgm_core.images import write_image
from mgm_core.weights import WEIGHTS_FOLDER

ROOT = Path(__file__).parents[1]
# A program of ours whose bundled weights lie in another folder.
PROGRAM = """
import runpy, sys
from pathlib import Path
from mgm_core import weights
weights.WEIGHTS_FOLDER = Path(sys.argv[1])
name, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_module(name, run_name="__main__")
"""


@pytest.fixture
def broken_weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in WEIGHTS_FOLDER.glob("*.*"):
        (folder / path.name).symlink_to(path)
    changed = folder / "foreground_mobilenet_v2.safetensors"
    changed.unlink()
    changed.write_bytes(b"cut short")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["mgm_core", "photo.png", "-o", "result.png", "--quality", "fast"],
        ["mgm_core.video", "clip.mp4", "-o", "result.mp4", "--background", "#ffffff"],
        ["mgm_core.serve", "--port", "0"],
        ["benchmark_data_tools", "annotate", "dataset", "--port", "0"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_program_begins_with_whole_weights_alone(tmp_path, broken_weights, command):
    write_image(tmp_path / "photo.png", np.full((32, 32, 3), 0.5, np.float32))
    make_clip(tmp_path / "clip.mp4", [scene()])
    dataset = tmp_path / "dataset"
    (dataset / "image").mkdir(parents=True)
    write_image(dataset / "image" / "a.png", np.full((32, 32, 3), 0.5, np.float32))
    Store.create(dataset)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, broken_weights, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode in (1, 2), ran.stderr  # 2 where the command alone is at fault
    assert "weights 'foreground_mobilenet_v2' must have SHA-256 " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.glob("result.*"))
