"""Files are whole or not there, whenever a program is killed and whatever its disk takes."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mgm_core.runtime.partial import clear_up, left_over, part_beside, written_whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such locks and signals")

ROOT = Path(__file__).parents[3]


def in_a_child(work):
    """Run something in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(9)
    return child


def test_killed_at_any_moment_a_file_is_whole_and_the_next_program_clears_up(tmp_path):
    """Twenty times: two processes write two files of one folder anew and anew until they die."""
    draw = random.Random(26)
    paths = [tmp_path / "a", tmp_path / "b"]

    def write(path):
        number = 0
        while True:
            number += 1
            with written_whole(path) as part:
                part.write_bytes(bytes([number % 256]) * 1_000_000)

    littered = 0
    for _ in range(20):
        children = [in_a_child(lambda path=path: write(path)) for path in paths]
        until = time.monotonic() + 20
        while not any(path.suffix == ".part" for path in tmp_path.iterdir()):  # they have begun
            assert time.monotonic() < until
        time.sleep(draw.uniform(0.01, 0.08))
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
        littered += clear_up(tmp_path)
        # The other one lost nothing by that: it goes on.
        before = paths[1].stat().st_mtime_ns if paths[1].exists() else 0
        until = time.monotonic() + 20
        while not paths[1].exists() or paths[1].stat().st_mtime_ns == before:
            assert os.waitpid(children[1], os.WNOHANG) == (0, 0)
            assert time.monotonic() < until
        os.kill(children[1], signal.SIGKILL)
        os.waitpid(children[1], 0)
        littered += clear_up(tmp_path)
        for path in paths:
            if path.exists():
                data = path.read_bytes()
                assert data == data[:1] * 1_000_000
        assert {path.name for path in tmp_path.iterdir()} <= {"a", "b"}
    assert littered > 5  # else nothing was killed as it wrote


def test_only_what_nobody_writes_is_left_over(tmp_path):
    others = tmp_path / ".notes.part"
    others.write_text("not ours")
    below = tmp_path / "below"
    below.mkdir()
    dead = [tmp_path / ".0123456789abcdef.part", below / ".fedcba9876543210.part"]
    dead[0].mkdir()
    (dead[0] / "frame").touch()
    dead[1].touch()
    with part_beside(tmp_path / "x", is_folder=True) as folder, part_beside(tmp_path / "y") as file:
        assert (list(left_over(tmp_path)), folder.is_dir(), file.is_file()) == ([dead[0]], 1, 1)
        assert clear_up(tmp_path, recursive=True) == 2
        assert folder.is_dir()
        assert file.is_file()
    assert sorted(tmp_path.iterdir()) == [others, below]
    assert clear_up(tmp_path / "nowhere") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_another_user_left_stays_and_stops_nobody():
    with tempfile.TemporaryDirectory() as name:  # where others may go, too
        folder = Path(name)
        folder.chmod(0o755)
        left = folder / ".0123456789abcdef.part"
        left.touch()

        def clear():
            os.setuid(65534)
            os._exit(clear_up(folder))

        assert os.waitpid(in_a_child(clear), 0)[1] == 0
        assert left.exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def write():
        with written_whole(path) as part:
            part.write_text("new")
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        write()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def limited():
    """As a disk of 300 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


WRITERS = {
    "picture": (
        "import numpy as np\n"
        "from mgm_core.images import write_image\n"
        "write_image(path, np.random.default_rng(0).random((400, 400, 3), np.float32))"
    ),
    "clip": (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import numpy as np\n"
        "from clips import make_clip, scene\n"
        "from mgm_core.video.files import Clip, ClipLimits, write_clip\n"
        "source = make_clip(path.parent / 'source.mp4', [scene(4), scene(5)])\n"
        "noise = np.random.default_rng(0).random((400, 400, 4), np.float32)\n"
        "with Clip(source, ClipLimits()) as clip, write_clip(path, clip) as writer:\n"
        "    for frame in clip.read():\n"
        "        writer.write(noise, frame.time_s)"
    ),
    "checkpoint": (
        "import torch\n"
        "from training.loop import save_atomically\n"
        "save_atomically({'weights': torch.zeros(1_000_000)}, path)"
    ),
}


@pytest.mark.parametrize(
    ("writer", "name"),
    [("picture", "a.png"), ("clip", "a.mov"), ("clip", "a.zip"), ("checkpoint", "a.pt")],
)
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, writer, name):
    path = tmp_path / name
    path.write_text("old")
    code = f"from pathlib import Path\npath = Path({str(path)!r})\n{WRITERS[writer]}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, preexec_fn=limited, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert os.strerror(errno.EFBIG) in message or "must fit onto its disk, got" in message
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))
