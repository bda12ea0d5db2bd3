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
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mgm_core.arrays import Floats
from mgm_core.matting.multigrid import VCycle
from mgm_core.matting.stencil import ALL_LANES, LANES, SIDE, Integers, StencilMatrix, index
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.compiled import compiled
from mgm_core.runtime.workers import executor

__all__ = ["multiply", "row_blocks", "solve"]

Doubles: TypeAlias = NDArray[np.float64]

_LEAST_ROWS = 4096  # of a thread: below that, starting it takes longer


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

        cycle = VCycle(matrix, weights, blocks, pool)
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


@compiled(fastmath=True)
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
    for row in range(index(first), index(last)):
        here = index(own[row])
        for lane in range(ALL_LANES):
            sums[lane] = weights[row, lane] * vectors[here, lane]
        for line in range(SIDE):
            place = index(places[row, line])
            for k in range(SIDE):
                value = values[row, SIDE * line + k]
                for lane in range(ALL_LANES):
                    sums[lane] += value * vectors[place + k, lane]
        for lane in range(ALL_LANES):
            product[row, lane] = sums[lane]
            curvatures[lane] += vectors[here, lane] * sums[lane]
    return curvatures


@compiled(fastmath=True)
def _energies(residual: Floats, downhill: Floats, first: int, last: int) -> Doubles:
    """Return the products of two vectors."""
    energies = np.zeros(LANES)
    for row in range(index(first), index(last)):
        for k in range(ALL_LANES):
            energies[k] += residual[row, k] * downhill[row, k]
    return energies


@compiled(fastmath=True)
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
    for row in range(index(first), index(last)):
        place = index(own[row])
        for k in range(ALL_LANES):
            found[row, k] += lengths[k] * direction[place, k]
            rest = residual[row, k] - lengths[k] * product[row, k]
            residual[row, k] = rest
            squares[k] += rest * rest
    return squares


@compiled(fastmath=True)
def _turn(
    own: Integers,
    shares: Floats,
    downhill: Floats,
    direction: Floats,
    first: int,
    last: int,
) -> None:
    """Turn to the next direction, in place."""
    for row in range(index(first), index(last)):
        place = index(own[row])
        for k in range(ALL_LANES):
            direction[place, k] = downhill[row, k] + shares[k] * direction[place, k]
