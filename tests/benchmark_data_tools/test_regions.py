import numpy as np

from benchmark_data_tools.regions import boundary_band, details, unknown, whole


def test_unknown_is_what_is_neither_black_nor_white():
    trimap = np.array([[0, 128, 255]], np.float32) / 255
    assert unknown(trimap).tolist() == [[False, True, False]]
    assert unknown(np.array([[0, 0.5, 1]], np.float32)).tolist() == [[False, True, False]]


def test_details_are_what_exceeds_a_value():
    marks = np.array([[0, 3 / 255, 1]], np.float32)
    assert details(marks).tolist() == [[False, True, True]]
    assert details(marks, above=0.1).tolist() == [[False, False, True]]


def test_whole_is_every_pixel():
    assert whole(np.zeros((2, 3), np.float32)).sum() == 6


def test_the_band_follows_the_outline():
    alpha = np.zeros((40, 60), np.float32)
    alpha[:, 30:] = 0.4  # half of the largest alpha is the outline, not half of 1
    columns = np.flatnonzero(boundary_band(alpha, 11).all(axis=0))
    # The outline is drawn on both sides of the step, columns 29 and 30, then widened by 5.
    assert columns.tolist() == list(range(24, 36))
    assert not boundary_band(alpha, 11)[:, :24].any()


def test_a_constant_matte_has_no_band():
    assert not boundary_band(np.ones((9, 9), np.float32), 5).any()
