"""Write files whole or not at all, and clear up after programs that were killed as they wrote.

    with written_whole(path) as part:     # readers see the old file or the whole new one
        part.write_bytes(data)
    clear_up(path.parent)                 # at a program's start: what nobody will finish goes

What is being written lies beside its target under a name of its own, `.0123456789abcdef.part`, and
its writer holds a lock on it. The system takes the lock from a process that dies, so that the next
one knows what is left over, however long a living one takes.
"""

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

if sys.platform != "win32":
    import fcntl

__all__ = ["clear_up", "left_over", "part_beside", "written_whole"]

_PART = re.compile(r"\.[0-9a-f]{16}\.part")

_logger = logging.getLogger(__name__)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Write a file in one step.

    Args:
        path: In a folder that exists.

    Yields:
        An empty file beside it to write to, which takes the path's place as the block ends well.

    Raises:
        OSError: The disk does not take it; nothing is left behind.
    """
    with part_beside(path) as part:
        yield part
        # To read where that is enough: some mounts let nothing be changed once it is written.
        with part.open("rb+" if sys.platform == "win32" else "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)


@contextmanager
def part_beside(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Make a file or folder to write to for as long as the block lasts.

    Args:
        path: Beside which it lies.
        is_folder: What it is.

    Yields:
        It, empty.
    """
    part, lock = _locked_part(path, is_folder=is_folder)
    try:
        yield part
    finally:
        _delete(part)
        if lock is not None:
            os.close(lock)


def left_over(folder: Path, *, recursive: bool = False) -> Iterator[Path]:
    """Find what killed programs left in a folder; each is locked for as long as it is looked at.

    Args:
        folder: One that is not there, or not readable, has nothing.
        recursive: Whether to look below it too.

    Yields:
        Files and folders.
    """
    if sys.platform == "win32":  # has no such locks
        return
    with suppress(OSError):
        found = folder.rglob(".*.part") if recursive else folder.glob(".*.part")
        for part in sorted(path for path in found if _PART.fullmatch(path.name)):
            with suppress(OSError):
                file = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield part
                finally:
                    os.close(file)


def clear_up(folder: Path, *, recursive: bool = False) -> int:
    """Delete what killed programs left in a folder.

    Args:
        folder: Where files are about to be written.
        recursive: Whether to look below it too.

    Returns:
        How many files and folders were deleted.
    """
    deleted = 0
    for part in left_over(folder, recursive=recursive):
        with suppress(OSError):  # another's, or on a disk that is read-only: it stays
            _delete(part)
            deleted += not part.exists()
    if deleted:
        _logger.info("deleted %d unfinished files in %s: a program was killed", deleted, folder)
    return deleted


def _locked_part(path: Path, *, is_folder: bool) -> tuple[Path, int | None]:
    while True:
        # A name of its own length: the result's may be as long as the disk allows. Not `tempfile`:
        # its files are readable by their owner alone, and stay so after the rename.
        part = path.with_name(f".{token_hex(8)}.part")
        if is_folder:
            part.mkdir()
        else:
            part.touch(exist_ok=False)
        if sys.platform == "win32":
            return part, None
        with suppress(FileNotFoundError):  # cleared up by another program before it was locked
            lock = os.open(part, os.O_RDONLY)
            with suppress(OSError):  # a disk without locks: there nothing is taken for left over
                fcntl.flock(lock, fcntl.LOCK_EX)
            if part.exists():
                return part, lock
            os.close(lock)


def _delete(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
