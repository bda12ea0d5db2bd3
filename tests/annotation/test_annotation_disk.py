"""Disks that are full or read-only, and servers that are killed: no acknowledged save is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread, Timer

import httpx
import numpy as np
import pytest
from annotation_samples import free_port, make_dataset, mask_of, service_of
from starlette.testclient import TestClient

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.storage.masks import encode_mask
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.verify import verify

ROOT = Path(__file__).parents[2]


def mounted(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a disk: run as root")
    yield folder
    subprocess.run(["umount", "--recursive", "--lazy", str(folder)], check=True)


def save(client, base, mask):
    path = f"/api/entries/1/revisions?base={base}&save_id={base:032x}"
    return client.post(path, content=encode_mask(mask))


def client_of(store):
    return TestClient(
        create_app(service_of(store)),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
        headers={"X-Annotation": "1"},
    )


def test_a_disk_that_fills_up_loses_nothing_and_work_goes_on_when_it_has_room(disk):
    store = Store.create(make_dataset(disk / "portraits", sizes=((150, 150),)))[0]
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
    acknowledged, refused = [], []
    with client_of(store) as client:
        for n in range(60):
            mask = mask_of(store, 1, n)  # noise: 22 kB a save
            answer = save(client, len(acknowledged), mask)
            if answer.status_code == 200:
                acknowledged.append(mask)
                continue
            assert answer.status_code == 507
            refused.append(answer.json()["message"])
            # A little more room: now the mask's file finds none, and now the database.
            os.truncate(filler, filler.stat().st_size - 4096)
        assert set(refused) == {
            "disk must take the file, got No space left on device: free space or fix permissions",
            "database must be writable, got database or disk is full: free disk space or its lock",
        }
        assert len(acknowledged) > 5
        os.truncate(filler, 0)
        answer = save(client, len(acknowledged), mask)
        assert answer.status_code == 200
        acknowledged.append(mask)
    for number, drawn in enumerate(acknowledged, 1):
        np.testing.assert_array_equal(store.mask(1, number), drawn)
    assert len(store.revisions(1)) == len(acknowledged)
    assert all("never acknowledged" in problem for problem in verify(store, repair=True))
    assert verify(store) == []
    store.engine.dispose()


def test_a_disk_that_becomes_read_only_is_told_and_nothing_is_lost(disk):
    store = Store.create(make_dataset(disk / "portraits"))[0]
    revisions = store.folder / "annotation" / "revisions"
    with client_of(store) as client:
        assert save(client, 0, mask_of(store, 1)).status_code == 200
        assert mounted("--bind", str(revisions), str(revisions))
        assert mounted("-o", "remount,ro,bind", str(revisions))
        answer = save(client, 1, mask_of(store, 1, 1))
        assert answer.status_code == 507
        assert answer.json()["message"] == (
            "disk must take the file, got Read-only file system: free space or fix permissions"
        )
        published = store.folder / "detailmap"
        published.mkdir()
        assert mounted("--bind", str(published), str(published))
        assert mounted("-o", "remount,ro,bind", str(published))
        assert client.post("/api/entries/1/state", json={"state": "done"}).status_code == 507
        assert store.entry(1).state == "in_work"
        subprocess.run(["umount", str(published)], check=True)
        assert client.post("/api/entries/1/state", json={"state": "done"}).status_code == 200
        subprocess.run(["umount", str(revisions)], check=True)
        assert save(client, 1, mask_of(store, 1, 1)).status_code == 200
    assert verify(store) == []
    store.engine.dispose()


def test_commands_on_a_read_only_disk_say_so(disk, capsys):
    fresh = make_dataset(disk / "fresh")
    begun = make_dataset(disk / "begun")
    Store.create(begun)[0].engine.dispose()
    assert mounted("-o", "remount,ro", str(disk))
    for arguments, message in [
        (("init", fresh), "error: disk must take and give the files, got Read-only file system"),
        (("annotate", begun), "error: database must be reachable and writable, got "),
        (("init", begun), "error: database must be reachable and writable, got "),
        (("users", begun, "list"), "error: database must be reachable and writable, got "),
    ]:
        assert main([str(argument) for argument in arguments]) == 1
        assert message in capsys.readouterr().err


def test_while_the_database_server_is_down_saves_are_refused_and_then_work_goes_on(
    dataset, postgres_server
):
    postgres_server.create("down")
    store = Store.create(dataset, database=postgres_server.url % "down")[0]
    mask = mask_of(store, 1)
    try:
        with client_of(store) as client:
            assert save(client, 0, mask).status_code == 200
            postgres_server.stop()
            try:
                for answer in (save(client, 1, mask), client.get("/api/entries/1")):
                    assert answer.status_code == 507
                    message = answer.json()["message"]
                    assert message.startswith("database must be reachable and writable, got none")
                    assert "/tmp" not in message
            finally:
                postgres_server.start()
            assert client.get("/api/entries/1").json()["head"] == 1
            assert save(client, 1, mask).json()["head"] == 2
        assert verify(store) == []
    finally:
        store.engine.dispose()


def children_of(process):
    listed = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for children in listed for child in children.read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for children")
def test_told_to_stop_as_it_computes_the_server_ends_with_its_networks_process(store):
    port = free_port()
    left = store.folder / ".0123456789abcdef.part"
    left.touch()
    code = (
        "import sys\n"
        "from benchmark_data_tools.__main__ import main\n"
        "from benchmark_data_tools.annotation import commands\n"
        "commands._STOP_SECONDS = 1\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "annotate", str(store.folder), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        server.stdout.readline()
        assert not left.exists()
        url = f"http://127.0.0.1:{port}/api/entries/1/layers/network_alpha"
        transport = httpx.HTTPTransport(retries=12)  # until it listens

        def ask():
            with suppress(httpx.HTTPError), httpx.Client(transport=transport, timeout=60) as client:
                client.get(url, headers={"X-Annotation": "1"})

        asking = Thread(target=ask)
        asking.start()
        while not (children := children_of(server.pid)):
            assert server.poll() is None
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        assert server.wait(180) == 0
        asking.join()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until, "the networks' process outlives its server"
        time.sleep(0.05)


@pytest.mark.parametrize("after", [2, 60])
def test_kill_9_of_the_server_during_200_saves_loses_no_acknowledged_save(store, after):
    port = free_port()
    command = [sys.executable, "-m", "benchmark_data_tools", "annotate", str(store.folder)]
    server = subprocess.Popen(
        [*command, "--port", str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    acknowledged = 0
    with (
        server,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"X-Annotation": "1"},
            transport=httpx.HTTPTransport(retries=12),  # until it listens
            timeout=60,
        ) as client,
    ):
        server.stdout.readline()
        assert client.get("/api/me").status_code == 200
        try:
            for n in range(200):
                mask = np.full((30, 40), n, np.uint8)
                answer = save(client, n, mask)
                saved = {"number": n + 1, "head": n + 1, "conflict": None, "state": "in_work"}
                assert answer.json() == saved
                acknowledged += 1
                if acknowledged == after:
                    Timer(0.015, server.kill).start()  # in the middle of the next ones
        except httpx.TransportError:
            pass
    assert after <= acknowledged < 200
    revisions = store.revisions(1)
    assert acknowledged <= len(revisions) <= acknowledged + 1
    for revision in revisions:
        assert (store.mask(1, revision.number) == revision.number - 1).all()
    assert all("never acknowledged" in problem for problem in verify(store, repair=True))
    assert verify(store) == []
