"""Work that is kept in a bucket, which is mounted as a folder and is no disk.

What huggingface/hf-mount says of its mounts: files arrive some time after they were closed, one by
one and in any order; nothing is renamed, appended to or changed in its middle; what was synced may
be lost with the machine. The stand-in's disk is lost at the worst moments.
"""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from annotation_samples import mask_of, save

from benchmark_data_tools.annotation.commands import open_service
from benchmark_data_tools.annotation.places import durability, folder_copy, mounts
from benchmark_data_tools.annotation.places.folder_copy import FolderCopy, restore_from_folder
from benchmark_data_tools.annotation.storage.database import DatabaseError
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import ALONE
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.verify import verify
from benchmark_data_tools.annotation.team import passes, queue
from benchmark_data_tools.annotation.team.queue import Filter
from benchmark_data_tools.annotation.team.users import Users

MOUNTS = """\
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:30 / /data rw,nosuid - fuse hf-mount rw,user_id=0
31 22 0:31 / /data/deep\\040er rw - ext4 /dev/vdb rw
32 22 0:32 / /home rw - nfs4 server:/home rw
33 32 0:33 / /home/ann rw - fuse.gocryptfs crypt rw
34 22 0:34 / /mnt rw - ext4 /dev/vdc rw
35 22 0:35 / /mnt rw - fuse.s3fs s3fs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "taken"),
    [
        ("/var/ds/store.db", "", True),
        ("/data/ds/store.db", "fuse", False),
        ("/data/deep er/store.db", "ext4", True),
        ("/home/bob/store.db", "nfs4", False),
        ("/home/ann/store.db", "fuse.gocryptfs", True),
        ("/mnt/store.db", "fuse.s3fs", False),
        ("/database", "", True),
    ],
)
def test_the_mount_that_a_path_lies_on_decides(tmp_path, monkeypatch, path, kind, taken):
    listed = tmp_path / "mountinfo"
    listed.write_text(MOUNTS)
    assert mounts.filesystem_of(Path(path), listed) == kind
    monkeypatch.setattr(mounts, "filesystem_of", lambda _path: kind)
    assert mounts.takes_databases(Path(path)) is taken


def as_bucket(monkeypatch, bucket):
    """Let a folder look as if a bucket were mounted there."""

    def filesystem(path):
        return "fuse" if path.resolve().is_relative_to(bucket) else "ext4"

    monkeypatch.setattr(mounts, "filesystem_of", filesystem)


def test_a_database_on_a_bucket_is_refused_and_one_elsewhere_is_not(dataset, tmp_path, monkeypatch):
    as_bucket(monkeypatch, dataset)
    with pytest.raises(DatabaseError, match="database must lie on a disk of this machine"):
        Store.create(dataset)
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    store = Store.create(dataset, database=elsewhere)[0]
    save(store, 1, mask_of(store, 1))
    store.engine.dispose()


@pytest.fixture
def writes(monkeypatch):
    """What was put on the bucket, in order."""
    put, found = folder_copy._put, []

    def recorded(path, data):
        put(path, data)
        found.append(path)

    monkeypatch.setattr(folder_copy, "_put", recorded)
    return found


def test_a_machine_lost_before_all_files_arrived_loses_the_last_copy_alone(
    dataset, tmp_path, writes
):
    store = Store.create(dataset)[0]
    Users(dataset).put("ada", "admin", "long enough")
    bucket = tmp_path / "bucket"
    with FolderCopy(dataset, bucket, every_seconds=3600) as copy:
        save(store, 1, mask_of(store, 1, 1), "ada", 0)
        copy.push()
        first = list(writes)
        copy.push()
        assert writes == first  # nothing new, nothing written
        save(store, 1, mask_of(store, 1, 2), "ada", 1)
    masks = [mask_of(store, 1, n) for n in (1, 2)]
    store.engine.dispose()
    last = writes[len(first) :]
    assert not any("users" in path.name or "store.db" in path.name for path in writes)
    assert [path.suffix for path in last] == [".png", ".db"]
    lost = itertools.product(last, (None, 100), (False, True))
    for n, (path, size, alone) in enumerate([(None, None, True), *lost]):
        arrived = tmp_path / str(n) / "bucket"
        shutil.copytree(bucket, arrived)
        if path is not None:
            for gone in (path,) if alone else last:
                there = arrived / gone.relative_to(bucket)
                there.write_bytes(there.read_bytes()[:size]) if size else there.unlink()
        anew = tmp_path / str(n) / "portraits"
        shutil.copytree(dataset, anew, ignore=shutil.ignore_patterns("annotation"))
        assert restore_from_folder(anew, arrived, patience_seconds=0) is True
        back = Store.open(anew)
        heads = 2 if path is None else 1
        assert back.entry(1).head == heads
        for number in range(heads):
            np.testing.assert_array_equal(back.mask(1, number + 1), masks[number])
        # A mask that no row names was sent too late to be acknowledged by the copy.
        assert len(verify(back)) <= 1
        assert restore_from_folder(anew, arrived, patience_seconds=0) is False
        back.engine.dispose()


def test_a_restart_writes_no_revision_again_that_is_there_whole(dataset, tmp_path, writes):
    store = Store.create(dataset)[0]
    bucket = tmp_path / "bucket"
    for n in range(2):
        save(store, 1, mask_of(store, 1, n), base=n)
    FolderCopy(dataset, bucket).push()
    masks = [path for path in writes if path.suffix == ".png"]
    assert len(masks) == 2
    masks[0].write_bytes(masks[0].read_bytes()[:100])  # torn
    writes.clear()
    FolderCopy(dataset, bucket).push()
    assert [path for path in writes if path.suffix == ".png"] == masks[:1]
    store.engine.dispose()


def test_what_is_whole_nowhere_and_what_is_further_here_are_told(dataset, tmp_path, monkeypatch):
    store = Store.create(dataset)[0]
    bucket = tmp_path / "bucket"
    assert restore_from_folder(dataset, bucket) is False
    with FolderCopy(dataset, bucket, every_seconds=3600):
        save(store, 1, mask_of(store, 1))
    save(store, 2, mask_of(store, 2))
    assert restore_from_folder(dataset, bucket) is False  # this disk has more
    assert store.entry(2).head == 1
    next((bucket / "annotation" / "revisions").rglob("*.png")).unlink()
    with pytest.raises(StoreError, match="must hold a whole copy, got none"):
        restore_from_folder(tmp_path / "anew", bucket, patience_seconds=0)
    store.engine.dispose()


@pytest.mark.parametrize(
    ("added", "lacking"),
    [
        ("image", "portrait_3 (detail, pass 1)"),
        ("label", "portrait_0 (fur, pass 1)"),
        ("pass", "portrait_0 (detail, pass 2)"),
    ],
)
def test_a_copy_takes_in_images_labels_and_passes_that_were_deployed_since(
    dataset, tmp_path, monkeypatch, added, lacking
):
    store = Store.create(dataset)[0]
    save(store, 1, mask_of(store, 1))
    bucket = tmp_path / "bucket"
    FolderCopy(dataset, bucket).push()
    store.engine.dispose()
    if added == "image":
        shutil.copy(dataset / "image" / "portrait_0.png", dataset / "image" / "portrait_3.png")
    store = Store.create(dataset, labels={"fur": "mask"} if added == "label" else None)[0]
    if added == "pass":
        passes.add_second_pass(store, 100)
    deployed = queue.listing(store, ALONE, Filter())
    store.engine.dispose()
    monkeypatch.setenv("SPACE_ID", "ada/portraits")
    picture = dataset / "image" / "portrait_3.png"
    if added == "image":
        picture.rename(tmp_path / picture.name)
        with pytest.raises(
            StoreError, match=re.escape(f"got 1 without a picture, such as {lacking}")
        ):
            restore_from_folder(dataset, bucket, patience_seconds=0)
        (tmp_path / picture.name).rename(picture)
    assert restore_from_folder(dataset, bucket, patience_seconds=0) is True
    store = Store.open(dataset)
    found = queue.listing(store, ALONE, Filter())
    assert [row[1:] for row in found] == [row[1:] for row in deployed]
    assert lacking in {f"{row.name} ({row.label}, pass {row.blind_pass})" for row in found}
    np.testing.assert_array_equal(store.mask(1), mask_of(store, 1))
    assert verify(store) == []
    store.engine.dispose()
    # The next start has nothing to take in.
    FolderCopy(dataset, bucket).push()
    assert restore_from_folder(dataset, bucket, patience_seconds=0) is True


def test_old_copies_go_once_newer_ones_have_surely_arrived(dataset, tmp_path, monkeypatch):
    store = Store.create(dataset)[0]
    now = [10**18]
    monkeypatch.setattr(folder_copy.time, "time_ns", lambda: now[0])
    copy = FolderCopy(dataset, tmp_path / "bucket", every_seconds=3600)
    for n in range(4):
        save(store, 1, mask_of(store, 1, n), base=n)
        copy.push()
        now[0] += int(400e9)
    found = sorted((tmp_path / "bucket" / "annotation" / "snapshots").iterdir())
    assert len(found) == 3  # one that has surely arrived, and the two after it
    store.engine.dispose()


def test_a_space_with_a_bucket_keeps_its_work_there(dataset, tmp_path, monkeypatch):
    store = Store.create(dataset)[0]
    store.engine.dispose()
    Users(dataset).put("ada", "admin", None)
    bucket = tmp_path / "data"
    bucket.mkdir()
    as_bucket(monkeypatch, bucket)
    monkeypatch.setenv("SPACE_ID", "ada/portraits")
    monkeypatch.setattr(durability, "SPACE_DISK", bucket)
    with open_service(dataset, host="127.0.0.1") as service:
        assert service.store.folder == dataset
        assert service.storage() == ""
        save(service.store, 1, mask_of(service.store, 1))
    anew = tmp_path / "again" / "portraits"
    shutil.copytree(dataset, anew, ignore=shutil.ignore_patterns("store.db*", "revisions"))
    with open_service(anew, host="127.0.0.1") as service:
        assert service.store.entry(1).head == 1
