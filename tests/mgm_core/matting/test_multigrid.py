import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mgm_core.matting import multigrid, solver
from mgm_core.matting.laplacian import MattingLaplacian
from mgm_core.matting.multigrid import VCycle
from mgm_core.matting.solver import multiply, solve
from mgm_core.matting.stencil import LANES

GENERATOR = np.random.default_rng(0)


def _laplacian(height=48, width=60):
    """Return the equations of a ring of unknown pixels in a smooth, noisy image."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    smooth = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=2) / 4 + 0.5
    image = (smooth + GENERATOR.normal(0, 0.02, smooth.shape)).clip(0, 1).astype(np.float32)
    distance = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    unknown = (distance > 0.12) & (distance < 0.4)
    return MattingLaplacian(image, (distance < 0.3).astype(np.float32), unknown)._matrix


@pytest.fixture(scope="module")
def matrix():
    return _laplacian()


@pytest.fixture(scope="module")
def weights(matrix):
    return GENERATOR.uniform(1e-4, 1e-2, (len(matrix.own), LANES)).astype(np.float32)


def _cycle(matrix, weights, pool, threads=1):
    edges = np.linspace(0, len(matrix.own), threads + 1).astype(int).tolist()
    blocks = list(itertools.pairwise(edges))
    return VCycle(matrix, weights, blocks, pool)


def _dense(matrix):
    """Return the matrix as a square of numbers, from its products."""
    count = len(matrix.own)
    columns = []
    for first in range(0, count, LANES):
        unit = np.zeros((count, LANES), np.float32)
        unit[np.arange(first, min(first + LANES, count)), np.arange(min(LANES, count - first))] = 1
        columns.append(multiply(matrix, unit))
    return np.concatenate(columns, axis=1)[:, :count]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_preconditioner_is_symmetric_and_positive(matrix, weights, threads):
    one, other = GENERATOR.normal(size=(2, len(weights), LANES)).astype(np.float32)
    found = np.empty((2, *one.shape), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        cycle = _cycle(matrix, weights, pool, threads)
        cycle(one, found[0])
        cycle(other, found[1])
        again = np.empty_like(one)
        cycle(one, again)
    assert (again == found[0]).all()
    crossed = [(found[0] * other).sum(0), (one * found[1]).sum(0)]
    np.testing.assert_allclose(*crossed, rtol=2e-3, atol=1e-2 * np.abs(crossed[0]).max())
    assert ((one * found[0]).sum(0) > 0).all()


def test_a_coarser_grid_has_the_sums_of_the_finer_ones_equations(matrix, weights):
    rows, columns = (found.astype(np.int32) for found in np.nonzero(matrix.pixels))
    dense, sizes = _dense(matrix).astype(np.float64), weights.astype(np.float64)
    for grid in multigrid._grids(rows, columns, matrix.pixels.shape, matrix.values, weights)[:3]:
        members = np.eye(grid.parents.max() + 1)[grid.parents]
        dense, sizes = members.T @ dense @ members, members.T @ sizes
        count = len(dense)
        found = np.zeros((count, count + 1))
        for k in range(9):
            np.add.at(found, (np.arange(count), grid.neighbours[:, k]), grid.values[:, k])
        assert np.abs(found[:, count]).max() < 1e-4
        np.testing.assert_allclose(found[:, :count], dense, atol=1e-4)
        diagonal = np.diag(dense)[:, None] + sizes
        np.testing.assert_allclose(1 / grid.inverse, diagonal, rtol=1e-3)


def test_far_fewer_iterations_are_needed_than_with_the_diagonal_alone(matrix, monkeypatch):
    weights = np.full((len(matrix.own), LANES), 1e-4, np.float32)
    wanted = GENERATOR.normal(size=weights.shape).astype(np.float32)
    limits = np.float32(1e-3) * np.linalg.norm(wanted, axis=0)
    steps = []
    monkeypatch.setattr(solver, "checkpoint", lambda: steps.append(1))
    found = solve(matrix, weights, wanted, np.zeros_like(wanted), limits, 500)
    dense = _dense(matrix).astype(np.float64) + np.diag(weights[:, 0])
    assert (np.linalg.norm(dense @ found - wanted, axis=0) < 1.5 * limits).all()
    # The same by the diagonal, in double precision.
    residual, x = wanted[:, 0].astype(np.float64), np.zeros(len(wanted))
    direction = downhill = residual / np.diag(dense)
    plain = 0
    while np.linalg.norm(residual) > limits[0]:
        product = dense @ direction
        energy = residual @ downhill
        length = energy / (direction @ product)
        x, residual = x + length * direction, residual - length * product
        downhill = residual / np.diag(dense)
        direction = downhill + residual @ downhill / energy * direction
        plain += 1
    assert len(steps) < plain / 3
