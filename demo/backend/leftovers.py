"""Visitors' files, which go by their age, whoever wrote them: also those of a server that died.

Gradio forgets which files it wrote when it ends, and would serve them for good.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)


def delete_old_files(folder: Path, keep_s: float, now: float | None = None) -> int:
    """Delete what is older than `keep_s` in a folder and below it, and folders left empty.

    Links are deleted, never followed. What cannot be deleted stays for the next time.

    Args:
        folder: which the server has to itself.
        keep_s: age from the last time that a file was put there, used or handed out, in seconds; a
            copy has its original's time of writing, which does not count.
        now: the time, in seconds since 1970; None for the present.

    Returns:
        How many files were deleted.
    """
    oldest = (time.time() if now is None else now) - keep_s
    deleted = 0
    emptied: set[Path] = set()
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(parent, name)
            try:
                if path.lstat().st_ctime < oldest:
                    path.unlink()
                    deleted += 1
                    emptied.add(path.parent)
            except FileNotFoundError:
                pass  # another was faster
            except OSError as error:
                _logger.warning("a file could not be deleted: %s", error)
        for name in folders:
            path = Path(parent, name)
            # A new folder is about to get its file.
            with suppress(OSError):
                if path in emptied or path.lstat().st_ctime < oldest:
                    path.unlink() if path.is_symlink() else path.rmdir()
    if deleted:
        _logger.info("deleted %d files older than %.0f minutes", deleted, keep_s / 60)
    return deleted
