"""Cut what does not fit at once into overlapping tiles, and fade their results into each other."""

import numpy as np

from mgm_core.arrays import Booleans, Floats
from mgm_core.networks.prn import STRIDE

__all__ = ["around", "check_tiles", "fade", "spans"]


def around(where: Booleans, context_px: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold all that is wanted, and so many around them.

    >>> where = np.zeros((9, 9), np.bool_)
    >>> where[4, 5:7] = True
    >>> around(where, 2)
    (slice(2, 7, None), slice(3, 9, None))

    Args:
        where: (H, W) bool, somewhere true.
        context_px: 0 or more.
    """
    found = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    rows, columns = (
        slice(max(0, int(line[0]) - context_px), int(line[-1]) + 1 + context_px) for line in found
    )
    return rows, columns


def spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a length into the fewest spans of at most `side` that overlap by `overlap` or more.

    >>> spans(10, 6, 2)
    [(0, 6), (4, 10)]
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    starts = np.linspace(0, length - side, count).round().astype(int)
    return [(int(s), int(s) + side) for s in starts]


def check_tiles(tile_px: int, overlap_px: int, *, smallest_px: int, usual_px: int) -> None:
    """Raise unless tiles of this size and overlap cover an image that the network can take."""
    if tile_px < smallest_px or tile_px % STRIDE:
        raise ValueError(
            f"tile_px must be a multiple of {STRIDE} and at least {smallest_px}, got {tile_px}: "
            f"{usual_px} suits most machines"
        )
    if not 0 < overlap_px < tile_px // 2:
        raise ValueError(
            f"overlap_px must lie between 0 and half of tile_px, got {overlap_px}: "
            f"{tile_px // 8} would do"
        )


def fade(height: int, width: int, overlap_px: int) -> Floats:
    """Return a tile's weights, which rise from its borders over the overlap, (H, W) in (0, 1]."""
    rows, columns = (np.arange(1, side + 1, dtype=np.float32) for side in (height, width))
    nearest = np.minimum.outer(
        np.minimum(rows, rows[::-1]),
        np.minimum(columns, columns[::-1]),
    )
    return np.minimum(nearest / overlap_px, 1).astype(np.float32)
