"""What a folder lies on: a disk of this machine, or a network or a bucket that is mounted as one.

Source: huggingface/hf-mount's README on consistency (buckets mounted as volumes), and SQLite's
documentation of write-ahead logs. There, what was synced may still be lost with the machine, files
reach the bucket one by one in any order, and parts of memory are not shared between programs.
"""

import re
from pathlib import Path

__all__ = ["filesystem_of", "takes_databases"]

_REMOTE = re.compile(r"fuse(\..+)?|nfs4?|cifs|smb3|smbfs|9p|afs|ncpfs")
# FUSE, but on a disk of this machine.
_LOCAL = ("fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.gocryptfs", "fuse.encfs", "fuse.bindfs")
_MOUNTS = Path("/proc/self/mountinfo")


def filesystem_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path lies on, such as "ext4" or "fuse".

    Args:
        path: It, or a folder above it, must exist.
        mounts: The list of what is mounted, as Linux gives it.

    Returns:
        The type; "" for the machine's root, and where there is no such list.
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    resolved, found = path.resolve(), (1, "")
    for line in lines:
        place, _, kind = line.partition(" - ")
        # Spaces in names are written as octal numbers.
        name = Path(re.sub(r"\\([0-7]{3})", lambda o: chr(int(o[1], 8)), place.split()[4]))
        # The deepest place counts, and there what was mounted last.
        if resolved.is_relative_to(name) and name != Path("/") and len(name.parts) >= found[0]:
            found = len(name.parts), kind.split()[0]
    return found[1]


def takes_databases(path: Path) -> bool:
    """Whether SQLite may lie there."""
    kind = filesystem_of(path)
    return kind in _LOCAL or _REMOTE.fullmatch(kind) is None
