import os

import fsspec
import numpy as np
import pytest

from mgm_core.__main__ import _absolute, main
from mgm_core.files.outputs import UsageError
from mgm_core.files.urls import UrlJob, exists, opened, plan_urls, write
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
    command += ["--workers", "1"]  # several add numbers in another order
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
        (["memory://p/a.png"], "memory://cut.webp", None, "--output must be a folder where URLs"),
        (["memory://p/a.png"], "-", None, "--output must be a folder where URLs are given, got -"),
        (["nowhere://p"], "memory://out", None, "nowhere://p must be of a known file system"),
    ],
)
def test_what_cannot_be_planned_is_told(memory, inputs, output, masks, message):
    write("memory://p/a.png", b"")
    with pytest.raises(UsageError, match=message):
        plan_urls(inputs, output, masks=masks)


@pytest.mark.parametrize(
    ("inputs", "output", "options", "message"),
    [
        # A result in a photograph's place, by one name or by two.
        (["memory://p/a.png"], "memory://p", {}, "no result may replace a file that is read, but"),
        (["memory://p/a.png"], "memory://q/../p/.", {}, "no result may replace a file that is rea"),
        (["photos/a.png"], "file://HERE/photos", {}, "no result may replace a file that is read"),
        (["photos/hard.png"], "memory://p", {"masks": "memory://p/hard.png"}, "no result may repl"),
        (["photos"], "./photos", {"masks": "memory://p"}, "--output must be another folder than"),
        (["memory://p"], "memory://p/.", {}, "--output must be another folder than the photogr"),
        # A result in another file's place.
        (["memory://p"], "memory://m", {"masks": "memory://m"}, "no result may replace a file"),
        (["memory://p/a.png"], "links", {"masks": "photos/a.png"}, "no result may replace a file"),
        (["memory://p/a.png"], "out", {"also_read": [None, "out/a.png"]}, "no result may replace"),
        (["memory://p/a.png"], "out", {"also_written": ["out/a.png"]}, "would be written twice"),
        # Two results in one place.
        (["memory://p", "memory://q"], "memory://out", {}, "but .*a_png.png would be written twi"),
        (["memory://s"], "memory://out", {"sides": ["alpha"]}, "a_alpha.png would be written tw"),
    ],
)
def test_no_result_replaces_a_photograph_a_mask_or_another_result(
    memory, tmp_path, monkeypatch, inputs, output, options, message
):
    monkeypatch.chdir(tmp_path)
    for name in ("p/a.png", "p/hard.png", "m/a.png", "m/hard.png", "q/a.png", "s/a.jpg"):
        write(f"memory://{name}", b"")
    write("memory://s/a_alpha.jpg", b"")
    write("photos/a.png", b"")
    (tmp_path / "photos" / "hard.png").hardlink_to(tmp_path / "photos" / "a.png")
    (tmp_path / "links").symlink_to(tmp_path / "photos")
    with pytest.raises(UsageError, match=message):
        plan_urls(inputs, output.replace("HERE", str(tmp_path)), **options)


def test_the_command_holds_reports_and_backgrounds_apart_from_results(memory, tmp_path, capsys):
    write("memory://p/a.png", b"")
    behind = tmp_path / "a.png"
    behind.write_bytes(b"")
    for option in ("--background", "--report"):
        assert main(["memory://p/a.png", "-o", str(tmp_path), option, str(behind)]) == 2
        assert f"but {tmp_path}/a.png would be written" in capsys.readouterr().err


def test_a_second_run_does_not_take_its_own_results(memory):
    for name in ("a.jpg", "below/b.jpg"):
        write(f"memory://p/{name}", b"")
    first = plan_urls(["memory://p"], "memory://p/out", recursive=True)
    for job in first.jobs:
        write(job.target, b"")
    second = plan_urls(["memory://p"], "memory://p/out/", recursive=True)
    assert [job.source for job in second.jobs] == ["memory://p/a.jpg", "memory://p/below/b.jpg"]
    assert second.left_out == ("left out of memory://p, as earlier results or masks: 2 files",)
    # Only there: photographs below a folder of results are no results.
    inner = plan_urls(["memory://p/below"], "memory://p", recursive=True)
    assert [job.target for job in inner.jobs] == ["memory://p/b.png"]


def test_no_result_replaces_another_photograph_beside_its_own(memory):
    for name in ("a.jpg", "a.png", "b.jpg", "b_alpha.png", "c.jpg"):
        write(f"memory://p/{name}", b"")
    with pytest.raises(UsageError, match=r"no result may replace memory://p/a\.png, which lies"):
        plan_urls(["memory://p/a.jpg"], "memory://p")
    with pytest.raises(UsageError, match=r"replace memory://p/b_alpha\.png, .* without b\.png"):
        plan_urls(["memory://p/b.jpg"], "memory://p", sides=["alpha"])
    left = plan_urls(["memory://p/a.jpg"], "memory://p", may_exist=True)
    assert [job.target for job in left.jobs] == ["memory://p/a.png"]
    free = plan_urls(["memory://p/c.jpg"], "memory://p", sides=["alpha"])
    assert [job.target for job in free.jobs] == ["memory://p/c.png"]


def test_no_result_replaces_a_photograph_beside_another_one(memory):
    for name in ("p/y.jpg", "q/x.jpg", "q/y.png"):
        write(f"memory://{name}", b"")
    with pytest.raises(UsageError, match=r"no result may replace memory://q/y\.png, which lies"):
        plan_urls(["memory://p/y.jpg", "memory://q/x.jpg"], "memory://q")


def test_of_watched_photographs_those_without_a_mask_wait(memory):
    for name in ("p/a.jpg", "p/b.jpg", "m/a.png"):
        write(f"memory://{name}", b"")
    found = plan_urls(["memory://p"], "memory://out", masks="memory://m", watched=True)
    assert [job.source for job in found.jobs] == ["memory://p/a.jpg"]
    assert [sentence.split(" in ")[0] for sentence in found.waiting] == [
        "every photograph must have a mask, got none for b.jpg"
    ]


def test_a_file_on_this_machine_is_written_in_one_step(tmp_path, monkeypatch):
    place = f"file://{tmp_path}/below/x.png"
    write(place, b"first")
    assert (tmp_path / "below" / "x.png").read_bytes() == b"first"

    def disk_is_full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", disk_is_full)
    with pytest.raises(OSError, match="no space left"):
        write(place, b"second")
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["x.png"]
    assert (tmp_path / "below" / "x.png").read_bytes() == b"first"


def test_masks_below_the_photographs_are_no_photographs(memory):
    for name in ("a.jpg", "masks/a.png"):
        write(f"memory://p/{name}", b"")
    found = plan_urls(["memory://p"], "memory://out", masks="memory://p/masks", recursive=True)
    assert [(job.source, job.mask) for job in found.jobs] == [
        ("memory://p/a.jpg", "memory://p/masks/a.png")
    ]
    assert found.left_out == ("left out of memory://p, as earlier results or masks: 1 files",)


def test_of_masks_of_one_name_the_photographs_ending_chooses(memory):
    for name in ("p/a.jpg", "m/a.jpg", "m/a.png"):
        write(f"memory://{name}", b"")
    (job,) = plan_urls(["memory://p"], "memory://out", masks="memory://m").jobs
    assert job.mask == "memory://m/a.jpg"
    write("memory://p/a.webp", b"")
    with pytest.raises(UsageError, match=r"one mask, got .*a\.jpg, .*a\.png for a\.webp"):
        plan_urls(["memory://p"], "memory://out", masks="memory://m")


def test_a_watched_folder_may_still_be_empty(memory, tmp_path):
    assert plan_urls([str(tmp_path)], "memory://out", watched=True).jobs == ()


def test_paths_among_urls_are_the_same_in_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = UrlJob("a.jpg", "memory://out/a.png", "m/a.png", {"alpha": "memory://out/a_alpha.png"})
    assert _absolute(job) == UrlJob(
        f"{tmp_path}/a.jpg", "memory://out/a.png", f"{tmp_path}/m/a.png", job.sides
    )


def test_paths_are_local_files(tmp_path):
    place = str(tmp_path / "folder" / "a.png")
    assert not exists(place)
    write(place, b"data")
    assert exists(place)
    assert opened(place).read_bytes() == b"data"
