"""One sparse system of equations for several right-hand sides, by conjugate gradients.

    (A + diag(w_k)) x_k = b_k

A is symmetric and positive semi-definite, and every w_k is above 0. All right-hand sides are solved
together, so that A is read from memory once an iteration, by as many threads as PyTorch uses. The
preconditioner is a V-cycle of multigrid (`multigrid.py`).

Source: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Floats
from mgm_core.matting.multigrid import VCycle
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.workers import executor

__all__ = ["LANES", "REACH_PX", "StencilMatrix", "multiply", "row_blocks", "solve"]

Integers: TypeAlias = NDArray[np.int32]
Doubles: TypeAlias = NDArray[np.float64]

LANES = 4
"""How many right-hand sides are solved together: one vector register of single precision."""

REACH_PX = 2
"""Pixels share windows of 3x3 px with those up to so far away."""

# Indices without a sign need no check for one, and let the compiler take all lanes at once.
_index = np.uint64
_ALL, _SIDE = _index(LANES), _index(2 * REACH_PX + 1)
_LEAST_ROWS = 4096  # of a thread: below that, starting it takes longer


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
        reach = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
        padded = np.pad(pixels.astype(np.uint8), REACH_PX)
        held = cv2.dilate(padded, reach).ravel()
        numbers = (np.cumsum(held, dtype=np.int32) - 1).astype(np.int32)
        width = padded.shape[1]
        own = np.flatnonzero(padded)
        lines = np.arange(-REACH_PX, REACH_PX + 1) * width - REACH_PX
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


def multiply(matrix: StencilMatrix, vectors: Floats) -> Floats:
    """Return the products with some vectors.

    Args:
        matrix: (N, N).
        vectors: (N, LANES) float32.

    Returns:
        (N, LANES) float32.
    """
    product, none = np.empty_like(vectors), np.zeros_like(vectors)
    _multiply(*matrix[:3], none, matrix.pad(vectors), product, 0, len(product))
    return product


def solve(
    matrix: StencilMatrix,
    weights: Floats,
    wanted: Floats,
    start: Floats,
    tolerances: Floats,
    most_steps: int,
) -> Floats:
    """Solve for all right-hand sides.

    Args:
        matrix: A, (N, N).
        weights: The w_k, (N, LANES) float32, above 0.
        wanted: The b_k, (N, LANES) float32.
        start: What to start from, (N, LANES) float32.
        tolerances: (LANES,) float32; a right-hand side is solved once its residual's norm is below.
        most_steps: How many iterations are made at most.

    Returns:
        The x_k, (N, LANES) float32.
    """
    found = start.copy()
    direction = matrix.pad(start)
    product, downhill = np.empty_like(wanted), np.empty_like(wanted)
    _multiply(*matrix[:3], weights, direction, product, 0, len(product))
    residual = wanted - product
    direction[:] = 0
    # Sums over many pixels would lose too much in single precision.
    energies = np.ones(LANES)
    squares = np.einsum("nk,nk->k", residual, residual, dtype=np.float64)
    limits = tolerances.astype(np.float64) ** 2
    blocks = row_blocks(len(found))
    if most_steps < 1 or (squares <= limits).all():
        return found
    with executor(len(blocks)) as pool:

        def each(work: Callable[..., Doubles], *given: object) -> Doubles:
            parts = [pool.submit(work, *given, *block) for block in blocks]
            total: Doubles = np.sum([part.result() for part in parts], axis=0)
            return total

        cycle = VCycle(
            matrix.pixels,
            matrix.values,
            matrix.places,
            matrix.own,
            matrix.length,
            weights,
            blocks,
            pool,
        )
        for _ in range(most_steps):
            checkpoint()
            cycle(residual, downhill)
            before, energies = energies, each(_energies, residual, downhill)
            shares = np.divide(energies, before, out=np.zeros(LANES), where=before > 0)
            turned = matrix.own, shares.astype(np.float32), downhill, direction
            list(pool.map(partial(_turn, *turned), *zip(*blocks, strict=True)))
            curvatures = each(_multiply, *matrix[:3], weights, direction, product)
            unsolved = (squares > limits) & (curvatures > 0)
            lengths = np.divide(energies, curvatures, out=np.zeros(LANES), where=unsolved)
            squares = each(
                _move, matrix.own, lengths.astype(np.float32), direction, product, found, residual
            )
            if not ((squares > limits) & (curvatures > 0)).any():
                break
    return found


def row_blocks(count: int) -> list[tuple[int, int]]:
    """Cut so many rows into a block for each thread that PyTorch uses, too."""
    threads = max(1, min(torch.get_num_threads(), count // _LEAST_ROWS))
    edges = np.linspace(0, count, threads + 1).round().astype(int).tolist()
    return list(pairwise(edges))


@njit(cache=True, nogil=True, fastmath=True)
def _multiply(
    values: Floats,
    places: Integers,
    own: Integers,
    weights: Floats,
    vectors: Floats,
    product: Floats,
    first: int,
    last: int,
) -> Doubles:
    """Write rows of the product with padded vectors; return their products with these."""
    curvatures = np.zeros(LANES)
    sums = np.empty(LANES, np.float32)
    for row in range(_index(first), _index(last)):
        here = _index(own[row])
        for lane in range(_ALL):
            sums[lane] = weights[row, lane] * vectors[here, lane]
        for line in range(_SIDE):
            place = _index(places[row, line])
            for k in range(_SIDE):
                value = values[row, _SIDE * line + k]
                for lane in range(_ALL):
                    sums[lane] += value * vectors[place + k, lane]
        for lane in range(_ALL):
            product[row, lane] = sums[lane]
            curvatures[lane] += vectors[here, lane] * sums[lane]
    return curvatures


@njit(cache=True, nogil=True, fastmath=True)
def _energies(residual: Floats, downhill: Floats, first: int, last: int) -> Doubles:
    """Return the products of two vectors."""
    energies = np.zeros(LANES)
    for row in range(_index(first), _index(last)):
        for k in range(_ALL):
            energies[k] += residual[row, k] * downhill[row, k]
    return energies


@njit(cache=True, nogil=True, fastmath=True)
def _move(
    own: Integers,
    lengths: Floats,
    direction: Floats,
    product: Floats,
    found: Floats,
    residual: Floats,
    first: int,
    last: int,
) -> Doubles:
    """Go along the direction, in place; return the squares of what is left."""
    squares = np.zeros(LANES)
    for row in range(_index(first), _index(last)):
        place = _index(own[row])
        for k in range(_ALL):
            found[row, k] += lengths[k] * direction[place, k]
            rest = residual[row, k] - lengths[k] * product[row, k]
            residual[row, k] = rest
            squares[k] += rest * rest
    return squares


@njit(cache=True, nogil=True, fastmath=True)
def _turn(
    own: Integers,
    shares: Floats,
    downhill: Floats,
    direction: Floats,
    first: int,
    last: int,
) -> None:
    """Turn to the next direction, in place."""
    for row in range(_index(first), _index(last)):
        place = _index(own[row])
        for k in range(_ALL):
            direction[place, k] = downhill[row, k] + shares[k] * direction[place, k]
