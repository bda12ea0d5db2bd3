"""One sparse system of equations for several right-hand sides, by conjugate gradients.

    (A + diag(w_k)) x_k = b_k

A is symmetric and positive semi-definite, and every w_k is above 0. All right-hand sides are solved
together, so that A is read from memory once an iteration, by as many threads as PyTorch uses. The
preconditioner is the diagonal.

Source: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
"""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from mgm_core.arrays import Floats
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["LANES", "SparseMatrix", "multiply", "row_blocks", "solve"]

Integers: TypeAlias = NDArray[np.int32]
Doubles: TypeAlias = NDArray[np.float64]

LANES = 4
"""How many right-hand sides are solved together: one vector register of single precision."""

_LEAST_ROWS = 4096  # of a thread: below that, starting it takes longer


class SparseMatrix(NamedTuple):
    """A symmetric matrix whose rows have equally many entries.

    Args:
        values: (N, K) float32.
        columns: (N, K) int32; N where a row has fewer entries.
        diagonal: (N,) float32.
    """

    values: Floats
    columns: Integers
    diagonal: Floats


def multiply(matrix: SparseMatrix, vectors: Floats) -> Floats:
    """Return the products with some vectors.

    Args:
        matrix: (N, N).
        vectors: (N, LANES) float32.

    Returns:
        (N, LANES) float32.
    """
    product = np.empty_like(vectors)
    none = np.zeros_like(vectors)
    _multiply(*matrix[:2], none, _with_zero_row(vectors), product, 0, len(product))
    return product


def solve(
    matrix: SparseMatrix,
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
    direction = _with_zero_row(start)
    product = np.empty_like(wanted)
    _multiply(*matrix[:2], weights, direction, product, 0, len(product))
    residual = wanted - product
    inverse = np.float32(1) / (matrix.diagonal[:, None] + weights)
    direction[:-1] = inverse * residual
    # Sums over many pixels would lose too much in single precision.
    energies = np.einsum("nk,nk->k", residual, direction[:-1], dtype=np.float64)
    squares = np.einsum("nk,nk->k", residual, residual, dtype=np.float64)
    limits = tolerances.astype(np.float64) ** 2
    blocks = row_blocks(len(found))
    with ThreadPoolExecutor(len(blocks)) as pool:
        for _ in range(most_steps):
            if (squares <= limits).all():
                break
            checkpoint()
            multiplied = (
                pool.submit(_multiply, *matrix[:2], weights, direction, product, *block)
                for block in blocks
            )
            curvatures = _sum(list(multiplied))
            unsolved = (squares > limits) & (curvatures > 0)
            lengths = np.divide(energies, curvatures, out=np.zeros(LANES), where=unsolved)
            before = energies
            moved = (
                pool.submit(
                    _move,
                    *(lengths.astype(np.float32), direction, product, inverse, found, residual),
                    *block,
                )
                for block in blocks
            )
            energies, squares = _sum(list(moved))
            shares = np.divide(energies, before, out=np.zeros(LANES), where=before > 0)
            turned = [
                pool.submit(_turn, shares.astype(np.float32), inverse, residual, direction, *block)
                for block in blocks
            ]
            wait(turned)
    return found


def row_blocks(count: int) -> list[tuple[int, int]]:
    """Cut so many rows into a block for each thread that PyTorch uses, too."""
    threads = max(1, min(torch.get_num_threads(), count // _LEAST_ROWS))
    edges = np.linspace(0, count, threads + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _sum(parts: list[Future[Doubles]]) -> Doubles:
    total: Doubles = np.sum([part.result() for part in parts], axis=0)
    return total


def _with_zero_row(vectors: Floats) -> Floats:
    """Return (N + 1, LANES) with zeros in the last row, which stands for entries that are not."""
    return np.concatenate([vectors, np.zeros_like(vectors[:1])])


@njit(cache=True, nogil=True, fastmath=True)
def _multiply(
    values: Floats,
    columns: Integers,
    weights: Floats,
    vectors: Floats,
    product: Floats,
    first: int,
    last: int,
) -> Doubles:
    """Write rows of the product with (N + 1, LANES) vectors; return their products with these."""
    curvatures = np.zeros(LANES)
    for row in range(first, last):
        s0 = weights[row, 0] * vectors[row, 0]
        s1 = weights[row, 1] * vectors[row, 1]
        s2 = weights[row, 2] * vectors[row, 2]
        s3 = weights[row, 3] * vectors[row, 3]
        for k in range(values.shape[1]):
            value, column = values[row, k], columns[row, k]
            s0 += value * vectors[column, 0]
            s1 += value * vectors[column, 1]
            s2 += value * vectors[column, 2]
            s3 += value * vectors[column, 3]
        product[row, 0] = s0
        product[row, 1] = s1
        product[row, 2] = s2
        product[row, 3] = s3
        for k in range(LANES):
            curvatures[k] += vectors[row, k] * product[row, k]
    return curvatures


@njit(cache=True, nogil=True, fastmath=True)
def _move(
    lengths: Floats,
    direction: Floats,
    product: Floats,
    inverse: Floats,
    found: Floats,
    residual: Floats,
    first: int,
    last: int,
) -> Doubles:
    """Go along the direction, in place; return the energies and squares of what is left."""
    left = np.zeros((2, LANES))
    for row in range(first, last):
        for k in range(LANES):
            found[row, k] += lengths[k] * direction[row, k]
            rest = residual[row, k] - lengths[k] * product[row, k]
            residual[row, k] = rest
            left[0, k] += rest * rest * inverse[row, k]
            left[1, k] += rest * rest
    return left


@njit(cache=True, nogil=True, fastmath=True)
def _turn(
    shares: Floats, inverse: Floats, residual: Floats, direction: Floats, first: int, last: int
) -> None:
    """Turn to the next direction, in place."""
    for row in range(first, last):
        for k in range(LANES):
            direction[row, k] = inverse[row, k] * residual[row, k] + shares[k] * direction[row, k]
