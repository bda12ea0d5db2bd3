import fsspec
import numpy as np
import pytest

from mgm_core.__main__ import main
from mgm_core.files.outputs import UsageError
from mgm_core.files.urls import exists, opened, plan_urls, write
from mgm_core.images import encode_png


@pytest.fixture
def memory():
    """An empty file system behind memory://."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_photographs_behind_urls_become_results_behind_urls(memory, pictures, tmp_path, capsys):
    image = np.ascontiguousarray(pictures["astronaut"][:256:2, 90:346:2])
    mask = np.zeros(image.shape[:2], np.float32)
    mask[20:, 30:100] = 1
    for name in ("photos/a.png", "photos/below/b.png"):
        write(f"memory://{name}", encode_png(image))
    memory.pipe_file("/photos/notes.txt", b"not a photograph")
    memory.pipe_file("/photos/.hidden.png", b"hidden")
    for name in ("masks/a.png", "masks/below/b.png"):
        write(f"memory://{name}", encode_png(mask))
    command = ["memory://photos", "-o", "memory://out", "--mask", "memory://masks", "--recursive"]
    command += ["--quality", "fast", "--save-alpha"]
    assert main(command) == 0
    assert sorted(memory.find("/out")) == [
        "/out/a.png",
        "/out/a_alpha.png",
        "/out/below/b.png",
        "/out/below/b_alpha.png",
    ]
    for name, data in (("a.png", image), ("m.png", mask)):
        (tmp_path / name).write_bytes(encode_png(data))
    local = [str(tmp_path / "a.png"), "-o", str(tmp_path / "o.png"), "--quality", "fast"]
    assert main([*local, "--mask", str(tmp_path / "m.png")]) == 0
    assert opened("memory://out/a.png").read() == (tmp_path / "o.png").read_bytes()
    assert main([*command, "--skip-existing"]) == 0
    assert "0 cut out, 2 skipped, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("inputs", "output", "masks", "message"),
    [
        (["memory://none"], "memory://out", None, "inputs must hold photographs, got none in mem"),
        (["memory://p"], "memory://p/", None, "--output must be another folder than the photog"),
        (["memory://p"], "memory://out", "memory://none", "every photograph must have a mask, got"),
        (["nowhere://p"], "memory://out", None, "nowhere://p must be of a known file system"),
    ],
)
def test_what_cannot_be_planned_is_told(memory, inputs, output, masks, message):
    write("memory://p/a.png", b"")
    with pytest.raises(UsageError, match=message):
        plan_urls(inputs, output, masks=masks)


def test_paths_are_local_files(tmp_path):
    place = str(tmp_path / "folder" / "a.png")
    assert not exists(place)
    write(place, b"data")
    assert exists(place)
    assert opened(place).read_bytes() == b"data"
