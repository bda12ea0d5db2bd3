"""What commands print: names of any kind, why a file failed, and where they were stopped."""

import errno
import sys
import traceback
from io import TextIOWrapper

from mgm_core.runtime.memory import is_out_of_memory

__all__ = ["Failures", "allow_any_name", "reason_of", "refused_by_disk"]

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def allow_any_name() -> None:
    """Print what the console's encoding lacks with escapes, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reason_of(error: Exception) -> str | None:
    """Return what a user can make of an error; None for a fault of the program itself."""
    if is_out_of_memory(error):
        return (
            "memory must be enough for the photo, got too little: give fewer "
            "--working-megapixels, or shrink the photo "
            f"({str(error).splitlines()[0] if str(error) else 'MemoryError'})"
        )
    if isinstance(error, ValueError | OSError):
        return str(error) or type(error).__name__
    return None


def refused_by_disk(error: OSError) -> bool:
    """Tell whether a disk is full, read-only or broken."""
    return error.errno in _OF_DISKS


class Failures:
    """What could not be done of many; the program's own faults with their traces, once each."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []
        self._traces: dict[str, str] = {}

    def add(self, name: str, error: Exception) -> None:
        """Note why something failed.

        Args:
            name: what.
            error: why.
        """
        reason = reason_of(error)
        if reason is None:
            reason = f"a fault of this program, {type(error).__name__}: {error}"
            frames = traceback.extract_tb(error.__traceback__)
            # The same line twice is the same fault, whatever the photo.
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else reason
            self._traces.setdefault(place, "".join(traceback.format_exception(error)))
        self.reasons.append((name, reason))

    def __len__(self) -> int:
        return len(self.reasons)

    def tell(self) -> None:
        """Print them to standard error."""
        for name, reason in self.reasons:
            print(f"failed: {name}: {reason}", file=sys.stderr)  # noqa: T201 - what it is for
        for trace in self._traces.values():
            print(f"\n{trace}Please report this fault.", file=sys.stderr)  # noqa: T201 - likewise
