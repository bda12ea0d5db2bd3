"""A mask on its way into the store, and what became of it."""

import re
from dataclasses import dataclass, field
from secrets import token_hex

from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import Mask
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.tables import KINDS, Kind


@dataclass(frozen=True)
class Draft:
    """A mask that somebody wants to save.

    Args:
        mask: (H, W) uint8.
        author: Who drew it.
        base: Number of the revision that was drawn on; 0 for the empty mask.
        kind: How it came about.
        strokes: Strokes since that revision.
        active_seconds: Seconds of work since that revision, as the page measured them.
        save_id: 32 hexadecimal digits that name this save; sent again, they save nothing twice.
        base_save: `save_id` of the base, if known: after a restore of the database from an older
            copy another revision may have its number.
    """

    mask: Mask
    author: User
    base: int
    kind: Kind = "paint"
    strokes: int = 0
    active_seconds: float = 0.0
    save_id: str = field(default_factory=lambda: token_hex(16))
    base_save: str | None = None

    def check(self) -> None:
        """Raise StoreError unless all but the mask and its base is sound."""
        if self.kind not in KINDS:
            raise StoreError(
                f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}: choose one"
            )
        if self.strokes < 0 or not 0 <= self.active_seconds < 1e6:
            raise StoreError(
                f"strokes and active_seconds must be 0 or more, got {self.strokes} and "
                f"{self.active_seconds}: count since the last save"
            )
        if not re.fullmatch(r"[0-9a-f]{32}", self.save_id):
            raise StoreError(
                f"save_id must be 32 hexadecimal digits, got {self.save_id!r}: make a random one "
                "a save"
            )


@dataclass(frozen=True)
class Saved:
    """An acknowledged save.

    Args:
        number: The new revision's number.
        head: The number of the revision that counts now.
        conflict: The conflict that this save opened or went on; None where it became the head.
        state: The entry's state now.
    """

    number: int
    head: int
    conflict: int | None
    state: str
