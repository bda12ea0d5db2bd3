import numpy as np
import pytest

from mgm_core.matting.solver import multiply, row_blocks, solve
from mgm_core.matting.stencil import LANES, StencilMatrix
from mgm_core.runtime.cancellation import Cancellation, Cancelled, cancellable

PIXELS = np.zeros((8, 9), np.bool_)  # up to borders, with a hole and one alone
PIXELS[:5, 2:] = PIXELS[7, 0] = True
PIXELS[2, 4:6] = False
COUNT = int(PIXELS.sum())


@pytest.fixture(scope="module")
def system():
    """Return a symmetric matrix, dense and as the solver takes it, weights and right-hand sides."""
    generator = np.random.default_rng(0)
    numbers = np.full((8, 9), -1)
    numbers[PIXELS] = np.arange(COUNT)
    dense = np.zeros((COUNT, COUNT))
    for y in range(6):  # windows of 3x3 px, each positive semi-definite
        for x in range(7):
            window = numbers[y : y + 3, x : x + 3].ravel()
            window = window[window >= 0]
            vectors = generator.normal(size=(len(window), 2))
            dense[np.ix_(window, window)] += vectors @ vectors.T
    matrix = StencilMatrix.zeros(PIXELS)
    places = np.argwhere(PIXELS)
    for row, place in enumerate(places):
        for column, other in enumerate(places):
            down, right = other - place + 2
            if 0 <= down < 5 and 0 <= right < 5:
                matrix.values[row, 5 * down + right] = dense[row, column]
    weights = generator.uniform(0.1, 1, (COUNT, LANES)).astype(np.float32)
    wanted = generator.normal(size=(COUNT, LANES)).astype(np.float32)
    return dense, matrix, weights, wanted


def test_padded_vectors_hold_each_pixel_and_zeros_around(system):
    _, matrix, _, wanted = system
    padded = matrix.pad(wanted)
    assert (padded[matrix.own] == wanted).all()
    assert np.count_nonzero(padded.any(axis=1)) == COUNT
    middle = padded[matrix.places[:, 2] + 2]
    assert (middle == wanted).all()
    assert matrix.places.max() + 4 < matrix.length


def test_a_product_is_the_dense_matrixs(system):
    dense, matrix, _, wanted = system
    np.testing.assert_allclose(multiply(matrix, wanted), dense @ wanted, atol=1e-4)


def test_all_right_hand_sides_are_solved_as_one_by_one(system):
    dense, matrix, weights, wanted = system
    start = np.zeros_like(wanted)
    found = solve(matrix, weights, wanted, start, np.full(LANES, 1e-6, np.float32), 200)
    for k in range(LANES):
        alone = np.linalg.solve(dense + np.diag(weights[:, k]), wanted[:, k])
        np.testing.assert_allclose(found[:, k], alone, atol=1e-4)
    assert (start == 0).all()


def test_a_right_hand_side_that_is_solved_stays_and_the_others_go_on(system):
    dense, matrix, weights, wanted = system
    exact = np.stack(
        [np.linalg.solve(dense + np.diag(weights[:, k]), wanted[:, k]) for k in range(LANES)], 1
    ).astype(np.float32)
    start = exact.copy()
    start[:, 1] = 0
    found = solve(matrix, weights, wanted, start, np.full(LANES, 1e-3, np.float32), 200)
    assert (found[:, [0, 2, 3]] == start[:, [0, 2, 3]]).all()
    np.testing.assert_allclose(found[:, 1], exact[:, 1], atol=2e-3)


@pytest.mark.parametrize("steps", [0, 1, 17])
def test_it_ends_after_so_many_iterations_each_of_which_comes_nearer(system, steps):
    dense, matrix, weights, wanted = system
    start = np.zeros_like(wanted)
    never = np.zeros(LANES, np.float32)
    found = solve(matrix, weights, wanted, start, never, steps)
    further = solve(matrix, weights, wanted, start, never, steps + 1)
    assert np.isfinite(further).all()
    if steps < 17:
        exact = np.linalg.solve(dense + np.diag(weights[:, 0]), wanted[:, 0])
        assert np.linalg.norm(further[:, 0] - exact) < np.linalg.norm(found[:, 0] - exact)


def test_it_is_cancelled_between_iterations(system):
    _, matrix, weights, wanted = system
    token = Cancellation()
    with cancellable(token):
        token.cancel()
        with pytest.raises(Cancelled):
            solve(matrix, weights, wanted, np.zeros_like(wanted), np.zeros(LANES, np.float32), 9)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_rows_and_find_the_same(system, monkeypatch, threads):
    _, matrix, weights, wanted = system
    monkeypatch.setattr("mgm_core.matting.solver._LEAST_ROWS", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    blocks = row_blocks(COUNT)
    assert len(blocks) == threads
    assert [row for block in blocks for row in range(*block)] == list(range(COUNT))
    limits = np.full(LANES, 1e-5, np.float32)
    found = solve(matrix, weights, wanted, np.zeros_like(wanted), limits, 200)
    monkeypatch.undo()
    alone = solve(matrix, weights, wanted, np.zeros_like(wanted), limits, 200)
    np.testing.assert_allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize("work", ["_energies", "_multiply", "_turn", "_move"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_threads_error_reaches_the_caller(system, monkeypatch, threads, work):
    def failing(*_):
        raise ArithmeticError(work)

    _, matrix, weights, wanted = system
    monkeypatch.setattr("mgm_core.matting.solver._LEAST_ROWS", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr(f"mgm_core.matting.solver.{work}", failing)
    with pytest.raises(ArithmeticError, match=work):
        solve(matrix, weights, wanted, np.zeros_like(wanted), np.zeros(LANES, np.float32), 9)
