"""Keeps the work in a folder of a mounted bucket, which takes whole new files and little else.

A bucket's mount renames by copying, appends to nothing, and lets files arrive one by one, in any
order, some time after they were closed. So every file is written once, whole, under a name of its
own; a snapshot of the database names its hash, and counts where it and all masks that it names
have arrived. The ones before it stay until they are surely there.
"""

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmark_data_tools.annotation.places.durability import LEFT_OUT, snapshot, take_over
from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.errors import StoreError

__all__ = ["FolderCopy", "restore_from_folder"]

log = logging.getLogger(__name__)
EVERY_SECONDS = 30.0
_ARRIVED_SECONDS = 600.0
_SNAPSHOTS = "snapshots"
_END_OF_PNG = b"IEND\xaeB`\x82"


def restore_from_folder(folder: Path, copy: Path, *, patience_seconds: float = 60.0) -> bool:
    """Fetch `annotation/` from a folder that `FolderCopy` wrote, unless this disk's is further.

    Args:
        folder: The dataset's folder.
        copy: The folder on the bucket.
        patience_seconds: How long the newest copy is waited for, where not all of it has arrived.

    Returns:
        Whether it was fetched.

    Raises:
        StoreError: Nothing there is whole, each side holds work that the other lacks, the copy
            cannot take in an image, or they are of different datasets.
    """
    source, own = copy / FOLDER, folder / FOLDER
    if not _snapshots(source):
        return False
    until = time.monotonic() + patience_seconds
    while lacking := _missing(source, _snapshots(source)[-1]):
        if time.monotonic() >= until:
            break
        log.warning("%s: waiting for the newest copy: %s", copy, lacking)
        time.sleep(5)
    whole = next(
        (path for path in reversed(_snapshots(source)) if not _missing(source, path)), None
    )
    if whole is None:
        raise StoreError(
            f"copy_to must hold a whole copy, got none in {copy} ({lacking}): try again once the "
            "bucket has caught up, or name another folder"
        )
    if lacking:
        log.warning("%s: going on from the copy before the newest: %s", copy, lacking)
    own.mkdir(parents=True, exist_ok=True)
    fetched = own / "fetched.db"
    fetched.write_bytes(whole.read_bytes())

    def fetch_files() -> None:
        for path in _files(source):
            if path.parent.name != _SNAPSHOTS:
                target = own / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())

    return take_over(folder, fetched, f"copy_to {copy}", fetch_files)


def _missing(source: Path, database: Path) -> str:
    """Return what a snapshot lacks; empty where it is whole."""
    data = database.read_bytes()
    if database.stem.partition("-")[2] != hashlib.sha256(data).hexdigest()[:32]:
        return f"{database.name} is damaged"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        files = [file for (file,) in connection.execute("SELECT file FROM revision")]
    for file in files:
        path = source / "revisions" / file
        if not _is_there(path):
            return f"revisions/{file} is missing"
    return ""


def _is_there(png: Path, size: int | None = None) -> bool:
    """Tell whether a mask has arrived whole, with the size that it must have, if that is known."""
    if not png.is_file() or size not in (None, png.stat().st_size):
        return False
    return png.read_bytes().endswith(_END_OF_PNG)


def _snapshots(source: Path) -> list[Path]:
    """Return all snapshots of a copy, the newest last."""
    return sorted((source / _SNAPSHOTS).glob("*.db"))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.relative_to(folder).match(one) for one in LEFT_OUT):
            yield path


class FolderCopy:
    """Copies `annotation/` into a folder every half minute, and when it is stopped.

    Args:
        folder: The dataset's folder, on this machine's disk.
        copy: The folder on the bucket.
        every_seconds: Time between two copies.
    """

    def __init__(self, folder: Path, copy: Path, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._own, self._copy, self._every = folder / FOLDER, copy / FOLDER, every_seconds
        self.problem = ""  # what to tell people; empty after a copy that succeeded
        self._last = b""
        self._copied: dict[Path, tuple[int, int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FolderCopy":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.push()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.push()
            except (OSError, sqlite3.Error) as error:
                log.exception("the work could not be copied to %s", self._copy)
                self.problem = (
                    f"Your work could not be copied to the bucket ({type(error).__name__}) and is "
                    "lost if this server restarts. It is tried again: tell its owner."
                )

    def push(self) -> None:
        """Copy what is new; the database last, as it names the masks."""
        part = self._own / "copied.db"
        snapshot(self._own / "store.db", part)
        data = part.read_bytes()
        for path in _files(self._own):
            state = path.stat()
            seen = (state.st_size, state.st_mtime_ns)
            if self._copied.get(path) != seen:
                place = path.relative_to(self._own)
                # A revision never changes. Written again at each start, it would be torn meanwhile.
                revision = place.parts[0] == "revisions"
                if not (revision and _is_there(self._copy / place, state.st_size)):
                    _put(self._copy / place, path.read_bytes())
                self._copied[path] = seen
        if data != self._last:
            # By time, so that the newest is the last one by name.
            name = f"{time.time_ns():020d}-{hashlib.sha256(data).hexdigest()[:32]}.db"
            _put(self._copy / _SNAPSHOTS / name, data)
            self._last = data
        self._drop_old()
        self.problem = ""

    def _drop_old(self) -> None:
        found = _snapshots(self._copy)
        surely_there = time.time_ns() - int(_ARRIVED_SECONDS * 1e9)
        old = [path for path in found if int(path.stem.partition("-")[0]) < surely_there]
        for path in old[:-1]:
            path.unlink()


def _put(path: Path, data: bytes) -> None:
    """Write a whole file at its place: a bucket gets it when it is closed, and cannot rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
