import numpy as np
import pytest

from benchmark_data_tools.reports.plots import (
    BOTTOM,
    COLOURS,
    LEFT,
    RIGHT,
    TOP,
    _round_numbers,
    line_chart,
)

BLUE = np.array([0x00, 0x72, 0xB2]) / 255


def drawn(chart):
    """Columns and rows of the first line's pixels, legend left out."""
    blue = np.abs(chart - BLUE).max(axis=2) < 0.01
    rows, columns = np.nonzero(blue[:, : RIGHT + 5])
    return columns, rows


def test_lines_go_through_their_points():
    chart = line_chart("t", "x", "y", {"one": [(0, 0), (10, 4)]}, x_ticks=[0, 10])
    assert chart.shape == (500, 960, 3)
    assert chart.dtype == np.float32
    columns, rows = drawn(chart)
    # From the lower left corner to the upper right one.
    assert columns.min() == pytest.approx(LEFT, abs=4)
    assert columns.max() == pytest.approx(RIGHT, abs=4)
    assert rows.max() == pytest.approx(BOTTOM, abs=4)
    assert rows.min() == pytest.approx(TOP, abs=4)


def test_points_are_joined_from_left_to_right():
    ordered = line_chart("t", "x", "y", {"one": [(0, 1), (5, 3), (9, 2)]}, x_ticks=[0])
    mixed = line_chart("t", "x", "y", {"one": [(9, 2), (0, 1), (5, 3)]}, x_ticks=[0])
    assert np.array_equal(ordered, mixed)


def test_a_single_point_and_a_line_of_zeros_are_drawn():
    columns, rows = drawn(line_chart("t", "x", "y", {"one": [(3, 0)]}, x_ticks=[3]))
    assert (columns.mean(), rows.mean()) == pytest.approx((LEFT, BOTTOM), abs=2)


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(1, 6), (4, 5), (7, 8), (41.7, 6), (0.0123, 8), (1400, 8), (1401, 7), (99.9, 6)],
)
def test_ticks_are_a_few_round_numbers_up_to_the_highest_value(highest, ticks):
    found = _round_numbers(highest)
    assert len(found) == ticks
    assert found[-2] < highest <= found[-1] * (1 + 1e-12)
    assert all(float(f"{value:.3g}") == pytest.approx(value) for value in found)


def test_more_lines_than_colours_differ_in_their_marks():
    lines = {str(n): [(0, 1.0), (1, 1.0)] for n in range(len(COLOURS) + 1)}
    chart = line_chart("t", "x", "y", lines, x_ticks=[0])

    def legend(number):
        middle = TOP + 10 + 20 * number
        return chart[middle - 8 : middle + 9, RIGHT + 14 : RIGHT + 39]

    first, of_the_same_colour = legend(0), legend(len(COLOURS))
    assert np.array_equal(first.min(axis=(0, 1)), of_the_same_colour.min(axis=(0, 1)))
    assert not np.array_equal(first, of_the_same_colour)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="lines must hold at least one point, got none"):
        line_chart("t", "x", "y", {}, x_ticks=[])
