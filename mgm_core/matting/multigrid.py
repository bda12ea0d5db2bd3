"""A preconditioner for the matting Laplacian's equations: one V-cycle of multigrid.

Conjugate gradients move what is known by two pixels an iteration. On grids of half the size, a
quarter and so on it goes further at once: squares of 2x2 px become one unknown, and the equations
of these are sums of the finer ones (Galerkin). On each grid one forward sweep of Gauss-Seidel
precedes the coarser grids' correction, and one backward sweep follows, so that the preconditioner
is symmetric. All right-hand sides go together, each with its own diagonal.

Threads sweep blocks of rows on the finest grid. Each takes the others' pixels for unchanged, so
that a result depends on how many threads there are, but not on which is the faster.

Source: Briggs, Henson and McCormick, "A Multigrid Tutorial", 2000.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mgm_core.arrays import Floats
from mgm_core.matting.stencil import ALL_LANES, LANES, SIDE, Integers, StencilMatrix, index
from mgm_core.runtime.compiled import compiled

__all__ = ["VCycle"]

# Where a pixel itself is among its neighbours, on the finest grid and on the others.
_MIDDLE, _COARSE_MIDDLE = SIDE**2 // index(2), index(4)
_COARSEST = 64  # a grid of no more unknowns is not made coarser
_GRIDS = 6  # beyond 64 px, what is far off tells nothing


class _Grid(NamedTuple):
    """A coarser grid's equations: N unknowns, each with those up to one cell away.

    Args:
        values: (N, 9) float32, the matrix, line by line.
        neighbours: (N, 9) int32, which they are; N where there is none, as vectors of N + 1 end
            with a zero.
        inverse: (N, LANES) float32, one over the diagonal and the weights.
        parents: (finer N,) int32, the unknown that each of the finer grid belongs to.
    """

    values: Floats
    neighbours: Integers
    inverse: Floats
    parents: Integers

    def vector(self) -> Floats:
        """Return zeros, with the one for absent neighbours."""
        return np.zeros((len(self.values) + 1, self.inverse.shape[1]), np.float32)


class VCycle:
    """One V-cycle over the grids of some pixels. Memory: some 150 bytes a pixel.

    Args:
        matrix: (N, N).
        weights: (N, LANES) float32, each right-hand side's own diagonal.
        blocks: First and last row of each thread's block.
        pool: What runs them.
    """

    def __init__(
        self,
        matrix: StencilMatrix,
        weights: Floats,
        blocks: list[tuple[int, int]],
        pool: Executor,
    ) -> None:
        pixels, length = matrix.pixels, matrix.length
        rows, columns = (found.astype(np.int32) for found in np.nonzero(pixels))
        self._matrix = matrix[:3]
        self._weights = weights
        self._inverse = np.float32(1) / (matrix.diagonal[:, None] + weights)
        self._grids = _grids(rows, columns, pixels.shape, matrix.values, weights)
        self._blocks = _whole_cells(blocks, rows)
        self._pool = pool
        self._down = [np.zeros((length, LANES), np.float32) for _ in self._blocks]
        self._up = [np.zeros((length, LANES), np.float32) for _ in self._blocks]
        self._all = np.zeros((length, LANES), np.float32)
        self._vectors = [(grid.vector(), grid.vector()) for grid in self._grids]

    def __call__(self, residual: Floats, found: Floats) -> None:
        """Write what the residual, (N, LANES), asks for into `found`, of the same shape."""
        _, places, own = self._matrix
        self._each(
            lambda b, block: _fine_down(
                *self._matrix, self._inverse, residual, self._down[b], self._all, *block
            )
        )
        parents = self._grids[0].parents
        right, correction = self._vectors[0]
        right[:] = 0
        self._each(
            lambda _, block: _fine_restrict(
                *self._matrix, self._weights, parents, residual, self._all, right, *block
            )
        )
        self._coarser(0)
        self._each(lambda _, block: _fine_correct(own, parents, correction, self._all, *block))

        def sweep(b: int, block: tuple[int, int]) -> None:
            up, (first, last) = self._up[b], block
            if first < last:
                # With the lines before and after, which are other threads'.
                part = slice(places[first, 0], places[last - 1, -1] + int(SIDE))
                up[part] = self._all[part]
                _fine_up(*self._matrix, self._inverse, residual, up, found, first, last)

        self._each(sweep)

    def _each(self, work: Callable[[int, tuple[int, int]], None]) -> None:
        list(self._pool.map(work, range(len(self._blocks)), self._blocks))

    def _coarser(self, level: int) -> None:
        """Solve one grid's equations roughly: its right-hand side to its correction."""
        grid = self._grids[level]
        equations = grid.values, grid.neighbours, grid.inverse
        right, correction = self._vectors[level]
        _down(*equations, right, correction)
        if level + 1 < len(self._grids):
            coarser = self._grids[level + 1]
            coarser_right, coarser_correction = self._vectors[level + 1]
            coarser_right[:] = 0
            _restrict(*equations[:2], coarser.parents, correction, coarser_right)
            self._coarser(level + 1)
            _correct(coarser.parents, coarser_correction, correction)
        _up(*equations, right, correction)


def _whole_cells(blocks: list[tuple[int, int]], rows: Integers) -> list[tuple[int, int]]:
    """Move the blocks' borders to where cells of 2x2 px begin, so that no two blocks share one."""
    inner = [first for first, _ in blocks[1:]]
    edges = [0, *(int(np.searchsorted(rows, rows[i] // 2 * 2)) for i in inner), len(rows)]
    return list(pairwise(edges))


def _grids(
    rows: Integers,
    columns: Integers,
    size: tuple[int, ...],
    values: Floats,
    weights: Floats,
) -> list[_Grid]:
    """Return the coarser grids, each of half the size of the one before."""
    grids: list[_Grid] = []
    height, width = size
    while not grids or (len(rows) > _COARSEST and len(grids) < _GRIDS):
        height, width = -(-height // 2), -(-width // 2)
        cells = np.zeros((height, width), np.bool_)
        cells[rows // 2, columns // 2] = True
        count = np.count_nonzero(cells)
        numbers = np.full((height + 2, width + 2), count, np.int32)
        numbers[1:-1, 1:-1][cells] = np.arange(count, dtype=np.int32)
        parents = numbers[rows // 2 + 1, columns // 2 + 1]
        summed, heavier = (np.zeros((count, n), np.float32) for n in (9, weights.shape[1]))
        _coarsen(rows, columns, parents, values, weights, summed, heavier)
        rows, columns = (found.astype(np.int32) for found in np.nonzero(cells))
        neighbours = np.stack(
            [numbers[rows + y, columns + x] for y in range(3) for x in range(3)], axis=1
        )
        values, weights = summed, heavier
        inverse = np.float32(1) / (values[:, 4, None] + weights)
        grids.append(_Grid(values, neighbours, inverse, parents))
    return grids


@compiled()
def _coarsen(
    rows: Integers,
    columns: Integers,
    parents: Integers,
    values: Floats,
    weights: Floats,
    summed: Floats,
    heavier: Floats,
) -> None:
    """Add up the equations of each cell of 2x2, in place."""
    side = 5 if values.shape[1] == 25 else 3
    reach = side // 2
    for n in range(len(rows)):
        row, column, parent = rows[n], columns[n], parents[n]
        for k in range(side * side):
            down = (row + k // side - reach) // 2 - row // 2
            right = (column + k % side - reach) // 2 - column // 2
            summed[parent, 3 * down + right + 4] += values[n, k]
        for k in range(weights.shape[1]):
            heavier[parent, k] += weights[n, k]


@compiled(fastmath=True)
def _fine_down(
    values: Floats,
    places: Integers,
    own: Integers,
    inverse: Floats,
    residual: Floats,
    swept: Floats,
    everything: Floats,
    first: int,
    last: int,
) -> None:
    """Sweep a block forwards from zero; `swept` is zero outside of the block."""
    sums = np.empty(LANES, np.float32)
    for row in range(index(first), index(last)):
        for lane in range(ALL_LANES):
            sums[lane] = residual[row, lane]
        for k in range(_MIDDLE):
            value = values[row, k]
            place = index(places[row, k // SIDE]) + k % SIDE
            for lane in range(ALL_LANES):
                sums[lane] -= value * swept[place, lane]
        place = index(own[row])
        for lane in range(ALL_LANES):
            swept[place, lane] = everything[place, lane] = sums[lane] * inverse[row, lane]


@compiled(fastmath=True)
def _fine_restrict(
    values: Floats,
    places: Integers,
    own: Integers,
    weights: Floats,
    parents: Integers,
    residual: Floats,
    everything: Floats,
    right: Floats,
    first: int,
    last: int,
) -> None:
    """Add up what is left of a block's residual in the coarser grid's cells."""
    sums = np.empty(LANES, np.float32)
    for row in range(index(first), index(last)):
        place = index(own[row])
        for lane in range(ALL_LANES):
            sums[lane] = residual[row, lane] - weights[row, lane] * everything[place, lane]
        for line in range(SIDE):
            place = index(places[row, line])
            for k in range(SIDE):
                value = values[row, SIDE * line + k]
                for lane in range(ALL_LANES):
                    sums[lane] -= value * everything[place + k, lane]
        parent = index(parents[row])
        for lane in range(ALL_LANES):
            right[parent, lane] += sums[lane]


@compiled(fastmath=True)
def _fine_correct(
    own: Integers,
    parents: Integers,
    correction: Floats,
    everything: Floats,
    first: int,
    last: int,
) -> None:
    """Add the coarser grid's correction to a block."""
    for row in range(index(first), index(last)):
        place, parent = index(own[row]), index(parents[row])
        for lane in range(ALL_LANES):
            everything[place, lane] += correction[parent, lane]


@compiled(fastmath=True)
def _fine_up(
    values: Floats,
    places: Integers,
    own: Integers,
    inverse: Floats,
    residual: Floats,
    swept: Floats,
    found: Floats,
    first: int,
    last: int,
) -> None:
    """Sweep a block backwards, from what `swept` holds."""
    sums = np.empty(LANES, np.float32)
    for n in range(index(last - first)):
        row = index(last - 1) - n
        place = index(own[row])
        for lane in range(ALL_LANES):  # less what the pixel itself counts, which is added up below
            own_part = values[row, _MIDDLE] * swept[place, lane]
            sums[lane] = residual[row, lane] + own_part
        for line in range(SIDE):
            place = index(places[row, line])
            for k in range(SIDE):
                value = values[row, SIDE * line + k]
                for lane in range(ALL_LANES):
                    sums[lane] -= value * swept[place + k, lane]
        place = index(own[row])
        for lane in range(ALL_LANES):
            swept[place, lane] = found[row, lane] = sums[lane] * inverse[row, lane]


@compiled(fastmath=True)
def _down(
    values: Floats, neighbours: Integers, inverse: Floats, right: Floats, found: Floats
) -> None:
    """Sweep a coarser grid forwards from zero."""
    sums = np.empty(LANES, np.float32)
    for row in range(index(len(values))):
        for lane in range(ALL_LANES):
            sums[lane] = right[row, lane]
        for k in range(_COARSE_MIDDLE):
            value, other = values[row, k], index(neighbours[row, k])
            for lane in range(ALL_LANES):
                sums[lane] -= value * found[other, lane]
        for lane in range(ALL_LANES):
            found[row, lane] = sums[lane] * inverse[row, lane]


@compiled(fastmath=True)
def _restrict(
    values: Floats, neighbours: Integers, parents: Integers, found: Floats, right: Floats
) -> None:
    """Add up what a forward sweep from zero leaves: its upper neighbours' share."""
    for row in range(index(len(values))):
        parent = index(parents[row])
        for k in range(_COARSE_MIDDLE):
            upper = _COARSE_MIDDLE + index(1) + k
            value, other = values[row, upper], index(neighbours[row, upper])
            for lane in range(ALL_LANES):
                right[parent, lane] -= value * found[other, lane]


@compiled(fastmath=True)
def _correct(parents: Integers, correction: Floats, found: Floats) -> None:
    """Add a coarser grid's correction."""
    for row in range(index(len(parents))):
        parent = index(parents[row])
        for lane in range(ALL_LANES):
            found[row, lane] += correction[parent, lane]


@compiled(fastmath=True)
def _up(
    values: Floats, neighbours: Integers, inverse: Floats, right: Floats, found: Floats
) -> None:
    """Sweep a coarser grid backwards."""
    sums = np.empty(LANES, np.float32)
    for n in range(index(len(values))):
        row = index(len(values) - 1) - n
        for lane in range(ALL_LANES):
            sums[lane] = right[row, lane] + values[row, _COARSE_MIDDLE] * found[row, lane]
        for k in range(index(9)):
            value, other = values[row, k], index(neighbours[row, k])
            for lane in range(ALL_LANES):
                sums[lane] -= value * found[other, lane]
        for lane in range(ALL_LANES):
            found[row, lane] = sums[lane] * inverse[row, lane]
