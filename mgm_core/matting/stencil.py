"""A sparse symmetric matrix over some pixels of a picture, each of which knows those near it.

Matting Laplacians are such matrices: pixels share windows of 3x3 px with those up to 2 px away.
"""

from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Floats

__all__ = ["ALL_LANES", "LANES", "SIDE", "Integers", "StencilMatrix", "index"]

_REACH_PX = 2  # windows of 3x3 px are shared with pixels up to so far away

Integers: TypeAlias = NDArray[np.int32]

LANES = 4
"""How many vectors it is multiplied with at once: a register of single precision."""

index = np.uint64
"""Indices without a sign need no check for one, and let the compiler take all lanes at once."""

ALL_LANES, SIDE = index(LANES), index(2 * _REACH_PX + 1)
"""For loops that Numba compiles: over the vectors, and over a line of neighbours."""


class StencilMatrix(NamedTuple):
    """A symmetric matrix over some pixels, each of which knows those up to 2 px away.

    Vectors that it is multiplied with are padded: they also hold the pixels around, as zeros, so
    that the five neighbours in a line lie side by side, and one place stands for all of them.

    Args:
        values: (N, 25) float32, what a pixel's neighbours count, line by line; 0 for those that
            are not among the pixels.
        places: (N, 5) int32, where in a padded vector each line of neighbours begins.
        own: (N,) int32, where in a padded vector each pixel is.
        length: Of a padded vector.
        pixels: (H, W) bool, which they are.
    """

    values: Floats
    places: Integers
    own: Integers
    length: int
    pixels: Booleans

    @classmethod
    def zeros(cls, pixels: Booleans) -> "StencilMatrix":
        """Return the matrix of pixels (H, W) that know nothing of each other yet."""
        reach = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
        padded = np.pad(pixels.astype(np.uint8), _REACH_PX)
        held = cv2.dilate(padded, reach).ravel()
        numbers = (np.cumsum(held, dtype=np.int32) - 1).astype(np.int32)
        width = padded.shape[1]
        own = np.flatnonzero(padded)
        lines = np.arange(-_REACH_PX, _REACH_PX + 1) * width - _REACH_PX
        places = numbers[own[:, None] + lines]
        values = np.zeros((len(own), len(lines) ** 2), np.float32)
        return cls(values, places, numbers[own], int(numbers[-1]) + 1, pixels)

    @property
    def diagonal(self) -> Floats:
        """What each pixel counts itself, (N,)."""
        return self.values[:, self.values.shape[1] // 2]

    def pad(self, vectors: Floats) -> Floats:
        """Return vectors (N, LANES) with the pixels around, (length, LANES)."""
        padded = np.zeros((self.length, LANES), np.float32)
        padded[self.own] = vectors
        return padded
