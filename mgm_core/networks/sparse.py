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

__all__ = ["HALO_PX", "SIDE_PX", "Window", "decode_windows", "decoded_share", "windows"]

SIDE_PX, HALO_PX = 96, 16
"""Of a window, and around it: wide enough that all but a few results stay (docs/speed.md)."""

_STEP_PX = 8  # the coarsest features that are cut
_BATCH = 16
# Above this share of the picture, halos included, decoding all of it is as fast.
_MOST = 0.9


class Window(NamedTuple):
    """A square of pixels, and with its halo."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]


def windows(
    needed: Booleans, side_px: int = SIDE_PX, halo_px: int = HALO_PX
) -> list[Window] | None:
    """Cover all needed pixels by windows; with their halos they have one size, within the picture.

    Args:
        needed: (H, W), sides multiples of 8.
        side_px: Of a window, a multiple of 8.
        halo_px: Around it, a multiple of 8.

    Returns:
        The windows, which may overlap; None where they would cost no less than the whole.
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
    return found if len(found) * full**2 < _MOST * height * width else None


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
    for first in range(0, len(where), _BATCH):
        batch = where[first : first + _BATCH]
        cut = [
            torch.cat([tensor[:, :, *_scaled(window.outer, stride)] for window in batch])
            for tensor, stride in features
        ]
        for found, plane in zip(decode(*cut), into, strict=True):
            for n, (inner, outer) in enumerate(batch):
                rows, columns = (
                    slice(i.start - o.start, i.stop - o.start)
                    for i, o in zip(inner, outer, strict=True)
                )
                plane[0, :, *inner] = found[n, :, rows, columns]


def _scaled(window: tuple[slice, slice], stride: int) -> tuple[slice, slice]:
    rows, columns = (slice(part.start // stride, part.stop // stride) for part in window)
    return rows, columns
