"""Decode the finer levels only around what the coarsest left uncertain.

Eqs. 2 and 3 take stride 4 and stride 1 only where the coarser level is uncertain: along outlines
and in hair, a tenth or so of a photograph. On a CPU, where those levels take half of the time, only
windows that hold such pixels are decoded; a halo around them stands for their surroundings.

Source: ours; the paper decodes everything.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mgm_core.arrays import Booleans
from mgm_core.networks.tiling import within

__all__ = ["HALO_PX", "SIDE_PX", "Window", "decode_windows", "decoded_share", "windows"]

SIDE_PX, HALO_PX = 96, 16
"""Of a window, and around it: wide enough that all but a few results stay (docs/speed.md)."""

_STEP_PX = 8  # the coarsest features that are cut
_BATCH_PX = 16 * (SIDE_PX + 2 * HALO_PX) ** 2
# Above this share of the picture, halos included, strips of all of it are as fast. The whole at
# once would take twice the memory.
_MOST = 0.9
_STRIP_PX = 500_000


class Window(NamedTuple):
    """A part of the picture, and with its halo."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]


def windows(
    needed: Booleans, side_px: int = SIDE_PX, halo_px: int = HALO_PX
) -> list[Window] | None:
    """Cover all needed pixels by parts of one size, within the picture, their halos included.

    Args:
        needed: (H, W), sides multiples of 8.
        side_px: Of a window, a multiple of 8.
        halo_px: Around it, a multiple of 8.

    Returns:
        Squares, which may overlap, or strips of the whole picture where these cost no more; None
        where the picture is too small for either.
    """
    height, width = needed.shape
    full = side_px + 2 * halo_px
    found = []
    if min(height, width) < full:
        return None
    for top in _starts(np.asarray(needed.any(axis=1)), side_px):
        for left in _starts(np.asarray(needed[top : top + side_px].any(axis=0)), side_px):
            rows, columns = (
                slice(start, start + full)
                for start in (
                    min(max(0, top - halo_px), height - full),
                    min(max(0, left - halo_px), width - full),
                )
            )
            inner = np.s_[top : min(top + side_px, height), left : min(left + side_px, width)]
            found.append(Window(inner, (rows, columns)))
    if len(found) * full**2 < _MOST * height * width:
        return found
    return _strips(height, width, halo_px)


def _strips(height: int, width: int, halo_px: int) -> list[Window] | None:
    """Cut a picture into strips of one height; None if it is small enough to be one."""
    count = -(-height * width // _STRIP_PX)
    tall = -(-height // count // _STEP_PX) * _STEP_PX
    full = tall + 2 * halo_px
    if count == 1 or full >= height:
        return None
    columns = slice(0, width)
    found = []
    for top in range(0, height, tall):
        start = min(max(0, top - halo_px), height - full)
        rows = slice(top, min(top + tall, height))
        found.append(Window((rows, columns), (slice(start, start + full), columns)))
    return found


def _starts(needed: Booleans, side_px: int) -> list[int]:
    """Cover the needed places of a line by spans of one length, each from the first one open."""
    places = np.flatnonzero(needed) // _STEP_PX * _STEP_PX
    starts: list[int] = []
    for place in places:
        if not starts or place >= starts[-1] + side_px:
            starts.append(int(place))
    return starts


def decoded_share(where: Sequence[Window], size: tuple[int, ...]) -> float:
    """Return how many pixels the windows decode, halos included, of those of the picture."""
    decoded = sum(prod(part.stop - part.start for part in window.outer) for window in where)
    return float(decoded / prod(size))


def decode_windows(
    decode: Callable[..., tuple[Tensor, ...]],
    features: Sequence[tuple[Tensor, int]],
    where: Sequence[Window],
    into: Sequence[Tensor],
) -> None:
    """Decode windows and write them into planes.

    Args:
        decode: Features to planes of the picture's size.
        features: What it takes, (1, C, H / s, W / s), each with its stride s.
        where: The windows.
        into: Planes (1, 1, H, W), one for each that `decode` returns; overwritten in the windows.
    """
    pixels = prod(part.stop - part.start for part in where[0].outer) if where else 1
    at_once = max(1, _BATCH_PX // pixels)
    for first in range(0, len(where), at_once):
        batch = where[first : first + at_once]
        cut = [
            torch.cat([tensor[:, :, *_scaled(window.outer, stride)] for window in batch])
            for tensor, stride in features
        ]
        for found, plane in zip(decode(*cut), into, strict=True):
            for n, (inner, outer) in enumerate(batch):
                plane[0, :, *inner] = found[n, :, *within(inner, outer)]


def _scaled(window: tuple[slice, slice], stride: int) -> tuple[slice, slice]:
    rows, columns = (slice(part.start // stride, part.stop // stride) for part in window)
    return rows, columns
