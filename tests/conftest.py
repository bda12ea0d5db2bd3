"""What tests of several parts share."""

import fcntl
import os
from pathlib import Path

import pytest

from mgm_core.images import read_image

ASTRONAUT = Path(__file__).parent / "data" / "photos" / "astronaut.png"
CAT = Path(__file__).parents[1] / "demo" / "examples" / "pictures" / "chelsea.png"


@pytest.fixture(scope="session")
def pictures():
    """The photographs that the project ships, by name."""
    return {path.stem: read_image(path) for path in (ASTRONAUT, CAT)}


@pytest.fixture(scope="session")
def written_onnx(tmp_path_factory):
    """Return the ONNX file of a bundled network, alone in its folder.

    To write one takes a processor half a minute: the processes of a run share what the first wrote.
    """
    from mgm_core.export import exportables, write_onnx

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "onnx"
    shared.mkdir(exist_ok=True)

    def path_of(name):
        path = shared / name / f"{name}.onnx"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                write_onnx(exportables()[name], path)
        return path

    return path_of
