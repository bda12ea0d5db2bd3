"""What the readers of other programs' files hand over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeAlias

import numpy as np

from benchmark_data_tools.annotation.storage.masks import Mask

__all__ = ["Found", "Reader", "Size", "check_size", "union"]

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""
Reader: TypeAlias = Callable[[Size], Mask]
"""Makes a mask, (H, W) uint8, for an image of a size; ValueError where that is not possible."""


@dataclass(frozen=True)
class Found:
    """A mask that a file holds for one image, or why there is none.

    Args:
        path: How the file names the image.
        read: Makes the mask.
        problem: Why there is none, in place of `read`.
    """

    path: str
    read: Reader | None = field(default=None, repr=False)
    problem: str = ""


def union(parts: Sequence[Reader]) -> Reader:
    """Return a reader of several parts of one mask, of which the highest levels count."""

    def read(size: Size) -> Mask:
        return reduce(np.maximum, (part(size) for part in parts))

    return read


def check_size(width: object, height: object, size: Size) -> None:
    """Hold what a file says of a mask's size to be the image's, before anything is unpacked.

    Raises:
        ValueError: It is another, or none.
    """
    if (width, height) != size:
        raise ValueError(
            f"mask must have the image's size {size[0]}x{size[1]}, got {width}x{height}: it "
            "belongs to another image"
        )
