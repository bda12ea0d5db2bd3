import numpy as np

from mgm_core.matting.parts import (
    within_reach,
    without_gaps,
    without_stray_parts,
    without_unguided_parts,
)


def test_stray_parts_go_with_their_fringe_and_the_largest_keeps_its_own():
    alpha = np.zeros((20, 40), np.float32)
    alpha[5:15, 5:15] = 1
    alpha[5:15, 4] = 0.03
    alpha[8:11, 30:33] = 1
    alpha[8:11, 33] = 0.03
    result = without_stray_parts(alpha)
    assert (result[:, :20] == alpha[:, :20]).all()
    assert (result[:, 20:] == 0).all()
    assert without_stray_parts(result) is result


def test_parts_that_nothing_guides_are_dropped():
    alpha = np.zeros((20, 60), np.float32)
    alpha[5:15, 5:15] = alpha[5:15, 25:35] = alpha[5:15, 45:55] = 1
    alpha[:, 36:38] = 0.04  # fainter than a part; goes with the nearest one
    guidance = np.zeros_like(alpha)
    guidance[8, 5], guidance[8, 50] = 1, 0.5
    result = without_unguided_parts(alpha, guidance)
    assert (result[:, :20] == alpha[:, :20]).all()
    assert (result[:, 20:39] == 0).all()
    assert (result[:, 45:] == alpha[:, 45:]).all()
    assert without_unguided_parts(result, guidance) is result
    assert not without_unguided_parts(alpha, np.zeros_like(alpha)).any()
    nothing = np.zeros_like(alpha)
    assert without_unguided_parts(nothing, guidance) is nothing


def test_what_is_far_from_all_guidance_fades_out():
    alpha = np.full((10, 200), 0.5, np.float32)
    guidance = np.zeros_like(alpha)
    guidance[:, 0] = 0.01
    result = within_reach(alpha, guidance)
    assert (result[:, :21] == 0.5).all()  # a tenth of 200 px
    assert (result[:, 41:] == 0).all()
    np.testing.assert_allclose(result[5, 30], 0.25, atol=0.01)
    assert (np.diff(result[5]) <= 0).all()
    everywhere = np.full_like(alpha, 0.5)
    assert within_reach(alpha, everywhere) is alpha
    assert not within_reach(alpha, np.zeros_like(alpha)).any()


def test_gaps_that_are_certainly_subject_are_filled_whole_or_not_at_all():
    alpha = np.zeros((40, 60), np.float32)
    alpha[5:35, 5:55] = 1
    certain = np.zeros(alpha.shape, np.bool_)
    certain[8:32, 8:40] = True
    filled = alpha.copy()
    alpha[10:14, 10:14] = 0.3  # certain all over
    alpha[20:24, 36:44] = 0.3  # in part
    alpha[26:30, 45:49] = 0.3  # nowhere
    alpha[28:30, 20:22] = 0.95  # no gap
    filled[20:24, 36:44] = filled[26:30, 45:49] = 0.3
    filled[28:30, 20:22] = 0.95
    found = without_gaps(alpha, certain)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, filled)
    assert without_gaps(found, certain) is found
    assert (without_gaps(alpha, np.ones_like(certain))[alpha < 0.9] == 1).all()
