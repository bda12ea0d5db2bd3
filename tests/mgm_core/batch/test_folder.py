import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mgm_core.__main__ import main
from mgm_core.batch import photograph
from mgm_core.batch.local import _fitting, sharing_cores
from mgm_core.images import write_image
from mgm_core.networks.hardware import threads_each
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.workers import work_on


@pytest.fixture
def folder(tmp_path, pictures):
    """Three portraits of three sizes, and a broken file."""
    photos = tmp_path / "photos"
    photos.mkdir()
    small = np.ascontiguousarray(pictures["astronaut"][:320:2, 60:380:2])
    for n in range(3):
        write_image(photos / f"{n}.png", np.ascontiguousarray(small[: 160 - 16 * n, ::-1]))
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:2000])
    return photos


def test_several_at_once_are_equal_to_one_after_the_other(folder, tmp_path, capsys):
    made = {}
    for workers in ("1", "2"):
        out, report = tmp_path / workers, tmp_path / f"{workers}.jsonl"
        command = [str(folder), "-o", f"{out}/", "--workers", workers, "--report", str(report)]
        with threads_each(1):  # several add numbers in another order
            assert main([*command, "--save-alpha"]) == 1
        made[workers] = {path.name: path.read_bytes() for path in out.iterdir()}
        rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
        assert {row["photo"]: row["status"] for row in rows} == {
            **{str(folder / f"{n}.png"): "written" for n in range(3)},
            str(folder / "broken.png"): "failed",
        }
        written = next(row for row in rows if row["photo"].endswith("1.png"))
        assert (written["width"], written["height"]) == (160, 144)
        assert written["alpha"] == str(out / "1_alpha.png")
        assert written["guidance"].startswith("person found on")
        assert written["seconds"].keys() == {"read", "cut_out", "write"}
        assert "damaged" in next(row["error"] for row in rows if row["status"] == "failed")
    assert len(made["1"]) == 6
    assert made["1"] == made["2"]
    # What is appended by a second run stands below.
    assert main([*command, "--save-alpha", "--skip-existing"]) == 1
    lines = report.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["status"] for line in lines[4:]].count("skipped") == 3
    assert "3 skipped, 1 failed" in capsys.readouterr().out


def test_what_the_format_has_no_room_for_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    write_image(tmp_path / "wide.png", np.zeros((16, 16_384, 3), np.float32))
    monkeypatch.setattr(photograph, "cut_out", None)
    names = [str(tmp_path / name) for name in ("wide.png", "o.webp", "wide.png")]
    assert main([names[0], "-o", names[1], "--mask", names[2]]) == 1
    assert "sides of at most 16383 px for webp, got 16384x16: shrink it" in capsys.readouterr().err


def test_a_report_takes_any_name_and_what_it_lacks_is_told(folder, tmp_path, capsys):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    shutil.copy(folder / "0.png", odd)
    command = [str(odd), "-o", str(tmp_path / "x.png"), "--quality", "fast", "--report"]
    assert main([*command, str(tmp_path / "r.jsonl")]) == 0
    (row,) = map(json.loads, (tmp_path / "r.jsonl").read_text("utf-8").splitlines())
    assert row["photo"] == str(odd)
    assert main([*command, "/dev/full"]) == 1
    assert "--report lacks lines, as it could not be written" in capsys.readouterr().err
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers must be 1 or more, got 0: leave it out"),
        (["--report", "none/report.jsonl"], "No such file or directory"),
        (["--report", "PHOTO"], "no result may replace a file that is read"),
    ],
)
def test_wrong_options_stop_the_command(folder, tmp_path, capsys, arguments, message):
    arguments = [a.replace("PHOTO", str(folder / "0.png")) for a in arguments]
    assert main([str(folder), "-o", f"{tmp_path / 'out'}/", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_more_is_begun_than_there_are_workers():
    taken, may_end = [], threading.Semaphore(0)

    def items():
        for n in range(8):
            taken.append(n)
            yield n

    def work(n):
        may_end.acquire()
        if n == 3:
            raise ValueError("three")
        return 2 * n

    outcomes = work_on(items(), work, workers=2)
    may_end.release()
    first, doubled = next(outcomes)
    assert doubled == 2 * first
    assert len(taken) == 2  # the next is taken when the next is asked for
    may_end.release(8)
    rest = dict(outcomes)
    assert rest.keys() | {first} == set(range(8))
    assert str(rest[3]) == "three"


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_stops_asking_ends_the_rest(workers):
    begun = []

    def work(n):
        begun.append(n)
        while n:
            checkpoint()
        return n

    outcomes = work_on(iter(range(100)), work, workers)
    assert next(outcomes) == (0, 0)
    outcomes.close()
    assert len(begun) <= 2


def test_cores_are_shared(tmp_path):
    import torch

    with threads_each(2):
        with sharing_cores("cpu", 100, 4) as workers:
            assert workers == 4
            assert torch.get_num_threads() == 1
        with sharing_cores("cpu", 1, None) as workers:
            assert workers == 1
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   7000000 kB\n")
    assert _fitting(meminfo) == 3
    assert _fitting(tmp_path / "none") > 100


def test_new_photographs_are_taken_as_they_come(folder, tmp_path):
    """As a user runs it: a process of its own, ended by Ctrl+C."""
    incoming, out, log = tmp_path / "incoming", tmp_path / "out", tmp_path / "log"
    incoming.mkdir()
    command = [sys.executable, "-m", "mgm_core", str(incoming), "-o", f"{out}/", "--watch"]
    with (
        log.open("wb") as shown,
        subprocess.Popen([*command, "--quality", "fast"], stderr=shown) as p,
    ):
        try:
            until(lambda: b"watching for new photographs" in log.read_bytes())
            shutil.copy2(folder / "broken.png", incoming / "a.png")  # still being written
            until(lambda: b"damaged" in log.read_bytes())
            shutil.copy2(folder / "0.png", incoming / "a.png")
            until((out / "a.png").is_file)
            p.send_signal(signal.SIGINT)
            assert p.wait(60) == 130
        finally:
            p.kill()
    assert "stopped: 1 finished" in log.read_text()


def test_a_photograph_waits_alone_and_a_changed_one_is_cut_out_anew(
    folder, tmp_path, capsys, monkeypatch
):
    incoming, masks, out = (tmp_path / name for name in ("incoming", "masks", "out"))
    incoming.mkdir(), masks.mkdir()
    shutil.copy(folder / "0.png", incoming / "a.png")
    shutil.copy(folder / "1.png", incoming / "b.png")
    mask = np.zeros((160, 160), np.float32)
    mask[40:, 20:100] = 1
    write_image(masks / "a.png", mask)

    def steps(*_, **__):
        before = (out / "a.png").read_bytes()
        yield
        shutil.copy(folder / "0.png", incoming / "a.png")
        write_image(masks / "a.png", np.ascontiguousarray(mask[:, ::-1]))
        yield
        assert (out / "a.png").read_bytes() != before
        assert not (out / "b.png").exists()
        write_image(masks / "b.png", mask[:144])
        yield
        assert (out / "b.png").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("mgm_core.__main__.changes", steps)
    command = [str(incoming), "-o", f"{out}/", "--mask", str(masks), "--quality", "fast"]
    assert main([*command, "--watch", "--skip-existing"]) == 130
    printed = capsys.readouterr().err
    assert printed.count("waiting: every photograph must have a mask, got none for b.png") == 1


def until(holds):
    deadline = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_cannot_be_watched_is_refused(folder, tmp_path, capsys, monkeypatch):
    photo = str(folder / "0.png")
    assert main([photo, "-o", str(tmp_path / "x.png"), "--watch"]) == 2
    assert "--watch must be given folders alone, got " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert main([str(folder), "-o", f"{tmp_path / 'x'}/", "--watch"]) == 2
    assert "pip install 'mgm[watch]'" in capsys.readouterr().err
