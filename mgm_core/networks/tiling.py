"""Run a network over pictures of any size: pad, cut into tiles, cross-fade, crop.

What does not fit at once is cut into the fewest tiles, of nearly equal size and with no more
overlap than hides their seams. Around a tile the network sees `margin_px` of what is really there,
and padding only beyond the picture.
"""

import logging
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mgm_core.arrays import Booleans, Floats
from mgm_core.networks.hardware import turn
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.memory import is_out_of_memory

__all__ = [
    "Run",
    "TiledRunner",
    "around",
    "check_tiles",
    "on_torch",
    "shares",
    "spans",
    "tiles",
]

_MULTIPLE_PX = 32

_logger = logging.getLogger(__name__)

Run: TypeAlias = Callable[..., Floats]
"""Arrays (N, C, H, W) float32, H and W multiples of a stride, to one of that size."""


class TiledRunner:
    """Runs a network over pictures of any size.

    Args:
        run: What computes: a Torch network (`on_torch`), or another engine's session.
        stride: Height and width of its inputs are multiples of it.
        tile_px: Up to as many pixels as a square of this side are computed at once.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
        padding: What stands beyond the picture: "reflect" mirrors it, "edge" repeats its border.
        margin_px: Of the surroundings that are seen on every side, cropped from the result.
        pads_margin: Whether the margin goes on beyond the picture, as padding.
        context_px: With `wanted`, tiles are computed from their first to their last row and column
            with a wanted pixel, and so many around them; None: whole tiles.
        gives_wanted: Whether the network is given `wanted` as its last plane, and may leave out
            the other pixels.

    Raises:
        ValueError: The tiles leave no room for overlap and margin.
    """

    def __init__(
        self,
        run: Run,
        *,
        stride: int,
        tile_px: int,
        overlap_px: int,
        padding: Literal["reflect", "edge"],
        margin_px: int = 0,
        pads_margin: bool = True,
        context_px: int | None = None,
        gives_wanted: bool = False,
    ) -> None:
        smallest_px = 2 * (stride + margin_px)
        check_tiles(tile_px, overlap_px, smallest_px=smallest_px, usual_px=1024)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        self._run, self._stride = run, stride
        self._padding, self._margin_px, self._context_px = padding, margin_px, context_px
        self._pads_margin, self._gives_wanted = pads_margin, gives_wanted

    def __call__(
        self, *planes: Floats, wanted: Booleans | None = None, into: Floats | None = None
    ) -> Floats:
        """Compute planes of the pictures' size.

        Args:
            planes: What the network takes, each (N, C, H, W) float32.
            wanted: (H, W) bool, the pixels to compute; tiles without one are left out. None: all.
            into: (N, C', H, W) float32, not one of the planes: takes the wanted pixels and is
                returned, so that a large picture is held once. None makes one of zeros.

        Returns:
            (N, C', H, W) float32.

        Raises:
            MemoryError: Not even the smallest tiles fit into memory.
        """
        tile_px = self.tile_px
        while True:
            try:
                return self._tiled(planes, wanted, into, tile_px)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller_px = tile_px // 2 // _MULTIPLE_PX * _MULTIPLE_PX
                if smaller_px // 2 <= max(self.overlap_px, self._stride + self._margin_px):
                    raise MemoryError(
                        f"memory must hold a tile of {tile_px} px, got too little: close other "
                        "programs, or take a smaller picture"
                    ) from error
                _logger.warning(
                    "memory does not hold tiles of %d px, going on with %d", tile_px, smaller_px
                )
                tile_px = smaller_px

    def _tiled(
        self,
        planes: tuple[Floats, ...],
        wanted: Booleans | None,
        into: Floats | None,
        tile_px: int,
    ) -> Floats:
        height, width = planes[0].shape[2:]
        rows, columns = tiles(height, width, tile_px, self.overlap_px, self._margin_px)
        if wanted is None and into is None and len(rows) == len(columns) == 1:
            return self._window(planes, (rows[0][0], columns[0][0]))
        if into is not None:
            np.copyto(into, 0, where=True if wanted is None else wanted)
        given: tuple[Floats | Booleans, ...] = planes
        if wanted is not None and self._gives_wanted:
            given = *planes, wanted[None, None]
        for down, down_share in rows:
            for right, right_share in columns:
                tile = down, right
                if wanted is not None and not wanted[tile].any():
                    continue
                checkpoint()
                part = tile if wanted is None else self._part(wanted, tile)
                found = self._window(given, part)
                if into is None:
                    into = np.zeros((*found.shape[:2], height, width), np.float32)
                inner = within(part, tile)
                found *= down_share[inner[0], None] * right_share[inner[1]]
                total = into[:, :, *part]
                np.add(total, found, out=total, where=True if wanted is None else wanted[part])
        if into is None or (wanted is not None and not wanted.any()):
            raise ValueError("wanted must hold a pixel, got none: there is nothing to compute")
        return into

    def _part(self, wanted: Booleans, tile: tuple[slice, slice]) -> tuple[slice, slice]:
        """Return what of a tile is computed."""
        if self._context_px is None:
            return tile
        return of_whole(around(wanted[tile], self._context_px), tile)

    def _window(self, planes: tuple[Floats | Booleans, ...], tile: tuple[slice, slice]) -> Floats:
        """Compute one tile: (N, C', h, w)."""
        pads, window, before = [], [], []
        for part, length in zip(tile, planes[0].shape[2:], strict=True):
            first, last = part.start - self._margin_px, part.stop + self._margin_px
            if not self._pads_margin:
                first, last = max(0, first), min(length, last)
            # Up to a multiple of the stride by what is after it, before it, and else by padding.
            lacking = -(last - first) % self._stride - max(0, length - last)
            first -= min(max(0, lacking), max(0, first))
            last += -(last - first) % self._stride
            window.append(slice(max(0, first), min(length, last)))
            pads.append((max(0, -first), max(0, last - length)))
            before.append(part.start - first)
        inputs = [
            np.pad(
                plane[:, :, *window],
                ((0, 0), (0, 0), *pads),
                mode=self._padding,
            )
            for plane in planes
        ]
        found = self._run(*inputs)
        rows, columns = (
            slice(start, start + part.stop - part.start)
            for start, part in zip(before, tile, strict=True)
        )
        return found[:, :, rows, columns]


def within(part: tuple[slice, slice], tile: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return where a part of a tile, given as one of the whole picture, is in the tile."""
    rows, columns = (
        slice(p.start - t.start, p.stop - t.start) for p, t in zip(part, tile, strict=True)
    )
    return rows, columns


def of_whole(part: tuple[slice, slice], tile: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return where a part that is given as one of a tile is in the whole picture."""
    rows, columns = (
        slice(t.start + p.start, t.start + p.stop) for p, t in zip(part, tile, strict=True)
    )
    return rows, columns


def on_torch(
    function: Callable[..., Tensor], device: torch.device, dtype: torch.dtype = torch.float32
) -> Run:
    """Return a function of arrays that a function of tensors computes. Threads take turns (`turn`).

    Args:
        function: Tensors (N, C, H, W) to one of that size, on the device, in float32 outside of
            its convolutions.
        device: Where it computes.
        dtype: What its convolutions compute in.
    """
    lock = threading.Lock()

    def run(*planes: Floats) -> Floats:
        with (
            turn(device, lock),
            torch.inference_mode(),
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
        ):
            tensors = (
                torch.from_numpy(plane).to(device).contiguous(memory_format=torch.channels_last)
                for plane in planes
            )
            found: Floats = function(*tensors).float().clamp(0.0, 1.0).cpu().numpy()
            return found

    return run


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
        slice(max(0, int(line[0]) - context_px), min(length, int(line[-1]) + 1 + context_px))
        for line, length in zip(found, where.shape, strict=True)
    )
    return rows, columns


def spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a length into the fewest spans of at most `side`, nearly equal, overlapping by `overlap`.

    >>> spans(10, 6, 2)
    [(0, 6), (4, 10)]
    >>> spans(1080, 1024, 128)
    [(0, 604), (476, 1080)]

    Args:
        length: What is cut.
        side: Of the longest span.
        overlap: Of neighbours, less than `side`.
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    edges = [round(i * (length - overlap) / count) for i in range(count + 1)]
    return [(first, last + overlap) for first, last in pairwise(edges)]


def check_tiles(tile_px: int, overlap_px: int, *, smallest_px: int, usual_px: int) -> None:
    """Raise unless tiles of this size and overlap cover an image that the network can take."""
    if tile_px < smallest_px or tile_px % _MULTIPLE_PX:
        raise ValueError(
            f"tile_px must be a multiple of {_MULTIPLE_PX} and at least {smallest_px}, got "
            f"{tile_px}: {usual_px} suits most machines"
        )
    if not 0 < overlap_px < tile_px // 2:
        raise ValueError(
            f"overlap_px must lie between 0 and half of tile_px, got {overlap_px}: "
            f"{tile_px // 8} would do"
        )


def tiles(
    height: int, width: int, tile_px: int, overlap_px: int, margin_px: int = 0
) -> tuple[list[tuple[slice, Floats]], list[tuple[slice, Floats]]]:
    """Return the rows and the columns of a picture's tiles, and how much they count (`shares`).

    Where as many pixels can be computed at once, there is one tile.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile_px: Up to as many pixels as a square of this side are computed at once.
        overlap_px: How far neighbouring tiles overlap.
        margin_px: What is computed around a tile.
    """
    fits = (height + 2 * margin_px) * (width + 2 * margin_px) <= tile_px**2
    rows, columns = (
        shares(length, length if fits else tile_px - 2 * margin_px, overlap_px)
        for length in (height, width)
    )
    return rows, columns


def shares(length: int, side: int, overlap: int) -> list[tuple[slice, Floats]]:
    """Return the spans of a length, and how much each of their pixels counts.

    What counts rises from a span's ends over the overlap; at each pixel, all that cover it add up
    to 1.

    >>> [(span, share.tolist()) for span, share in shares(3, 2, 1)]
    [(slice(0, 2, None), [1.0, 0.5]), (slice(1, 3, None), [0.5, 1.0])]

    Args:
        length: What is cut.
        side: Of the longest span.
        overlap: Of neighbours, less than `side`.
    """
    total = np.zeros(length)
    found = []
    for first, last in spans(length, side, overlap):
        rising = np.arange(1, last - first + 1)
        share = np.minimum(np.minimum(rising, rising[::-1]) / (overlap + 1), 1)
        total[first:last] += share
        found.append((slice(first, last), share))
    return [(span, (share / total[span]).astype(np.float32)) for span, share in found]
