"""What the readers of other programs' files hand over, and what their writers take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark_data_tools.annotation.storage.masks import Mask

__all__ = [
    "Found",
    "Labelled",
    "Reader",
    "Size",
    "box_of",
    "check_size",
    "corners_of",
    "inside_to_mask",
    "runs_of",
    "union",
]

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""
Reader: TypeAlias = Callable[[Size], Mask]
"""Makes a mask, (H, W) uint8, for an image of a size; ValueError where that is not possible."""

_MOST_CORNERS = 200_000


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


@dataclass(frozen=True)
class Labelled:
    """An image and its masks, to write.

    Args:
        file: How the other program names the image.
        width: In pixels, upright.
        height: In pixels, upright.
        masks: Label -> (H, W) uint8; 255 on detail and 0 elsewhere, unless soft edges are kept.
    """

    file: str
    width: int
    height: int
    masks: Mapping[str, Mask] = field(repr=False)


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


def corners_of(polygon: Any, size: Size) -> NDArray[np.float64]:  # noqa: ANN401 - whatever a file holds
    """Return a polygon's corners, (N, 2) x and y in pixels, as something that can be filled.

    Raises:
        ValueError: It is no polygon, or its outline is so long that filling it takes no end.
    """
    try:
        numbers = np.asarray(polygon, np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "polygon must be a list of numbers, got something else: export it anew"
        ) from error
    if (
        numbers.size < 6
        or numbers.size % 2
        or not (np.isfinite(numbers).all() and numbers.size <= 2 * _MOST_CORNERS)
    ):
        raise ValueError(
            f"polygon must be x and y of 3 to {_MOST_CORNERS} corners, got {numbers.size} "
            "numbers: export it anew"
        )
    corners = numbers.reshape(-1, 2)
    longest = max(10_000, size[0] * size[1] // 8)
    length = float(np.abs(np.diff(corners, axis=0, append=corners[:1])).sum())
    if length > longest or np.abs(corners).max() > 100_000:
        raise ValueError(
            f"polygon must have an outline of at most {longest} px, got {length:g}: "
            "it belongs to another image"
        )
    return corners


def inside_to_mask(inside: NDArray[np.generic]) -> Mask:
    """Return 255 where something is set, else 0."""
    return np.where(inside, np.uint8(255), np.uint8(0))


def runs_of(flat: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs of false and true in turn, beginning with false, perhaps 0."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """Return left, top, width and height of what is set, in pixels; zeros where nothing is."""
    left, top, width, height = cv2.boundingRect(mask)
    return left, top, width, height
