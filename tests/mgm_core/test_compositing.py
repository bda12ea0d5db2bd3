import cv2
import numpy as np
import pytest

from mgm_core.compositing import (
    blurred_background,
    checkerboard,
    composite,
    fit_background,
    rgba,
    solid_background,
)
from mgm_core.images import encode_png, read_image

RNG = np.random.default_rng(3)


def disc(size=80, radius=20, softness_px=10):
    rows, columns = np.mgrid[:size, :size] - size / 2
    return np.clip((radius - np.hypot(rows, columns)) / softness_px + 0.5, 0, 1).astype(np.float32)


def test_equation_1_by_hand():
    foreground, background = solid_background((1, 0.5, 0), 1, 3), solid_background((0, 0, 1), 1, 3)
    blended = composite(foreground, np.float32([[0, 0.25, 1]]), background)
    assert blended.dtype == np.float32
    np.testing.assert_array_equal(blended[0], [[0, 0, 1], [0.25, 0.125, 0.75], [1, 0.5, 0]])


def test_composite_agrees_with_its_slow_twin():
    foreground, background = RNG.random((2, 4, 5, 3)).astype(np.float32)
    alpha = RNG.random((4, 5)).astype(np.float32)
    twin = np.zeros((4, 5, 3))
    for y in range(4):
        for x in range(5):
            for channel in range(3):
                share = float(alpha[y, x])
                ahead, behind = foreground[y, x, channel], background[y, x, channel]
                twin[y, x, channel] = share * float(ahead) + (1 - share) * float(behind)
    np.testing.assert_allclose(composite(foreground, alpha, background), twin, atol=1e-6)


def test_a_composite_over_the_same_colours_changes_nothing():
    image = RNG.random((6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(composite(image, disc(6, 2, 2), image), image, atol=1e-6)


def test_rgba_is_straight_and_hides_no_background():
    image = np.full((1, 3, 3), 0.5, np.float32)
    joined = rgba(image, np.float32([[0, 0.25, 1]]))
    np.testing.assert_array_equal(
        joined[0], [[0, 0, 0, 0], [0.5, 0.5, 0.5, 0.25], [0.5, 0.5, 0.5, 1]]
    )


def test_no_colour_is_left_under_an_alpha_that_8_bits_round_to_0():
    image = np.full((1, 2, 3), 0.5, np.float32)
    written = encode_png(rgba(image, np.float32([[0.4, 0.6]]) / np.float32(255)))
    np.testing.assert_array_equal(read_image(written)[0, :, 0] > 0, [False, True])


def test_solid_background():
    np.testing.assert_array_equal(
        solid_background((0, 0.5, 1), 2, 3), np.tile(np.float32([0, 0.5, 1]), (2, 3, 1))
    )


def test_checkerboard_starts_white_and_alternates():
    board = checkerboard(4, 6, tile_px=2)
    white, grey = 1.0, np.float32(0.8)
    top = [white, white, grey, grey, white, white]
    bottom = [grey, grey, white, white, grey, grey]
    np.testing.assert_array_equal(board[..., 0], [top, top, bottom, bottom])
    np.testing.assert_array_equal(board[..., 0], board[..., 2])


def stripes():
    """Red, green and blue, a third each from left to right."""
    return np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)[None].repeat(30, axis=0)


def test_stretch_shows_all_of_the_image():
    fitted = fit_background(stripes(), 60, 60, "stretch")
    np.testing.assert_array_equal(fitted[:, 5], np.tile(np.float32([1, 0, 0]), (60, 1)))
    np.testing.assert_array_equal(fitted[:, 55], np.tile(np.float32([0, 0, 1]), (60, 1)))


def test_cover_crops_both_sides_evenly():
    fitted = fit_background(stripes(), 30, 20, "cover")
    np.testing.assert_array_equal(fitted, np.tile(np.float32([0, 1, 0]), (30, 20, 1)))
    np.testing.assert_array_equal(fit_background(stripes(), 15, 10), fitted[:15, :10])


def test_contain_leaves_margins():
    fitted = fit_background(stripes(), 60, 60, "contain", margin=(0.5, 0.5, 0.5))
    np.testing.assert_array_equal(fitted[15:45], stripes())
    np.testing.assert_array_equal(fitted[[0, 14, 45, 59]], 0.5)


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (7, 31), (31, 7), (64, 64), (100, 3)])
def test_a_fitted_image_has_the_wanted_size(fit, size):
    for image in (stripes(), RNG.random((1, 50, 3)).astype(np.float32)):
        fitted = fit_background(image, *size, fit)
        assert fitted.shape == (*size, 3)
        assert fitted.dtype == np.float32
        assert fitted.min() >= 0
        assert fitted.max() <= 1


def test_the_subject_does_not_bleed_into_the_blurred_background():
    alpha = disc()
    green, red = solid_background((0, 0.8, 0.1), 80, 80), solid_background((1, 0, 0), 80, 80)
    photo = composite(red, alpha, green)
    np.testing.assert_allclose(blurred_background(photo, alpha, red, 6), green, atol=1e-3)
    everywhere = blurred_background(photo, np.zeros_like(alpha), red, 6)
    assert everywhere[40, 40, 0] > 0.5


def test_far_behind_the_subject_the_blur_is_the_backgrounds_mean():
    alpha = np.zeros((60, 200), np.float32)
    alpha[:, 40:160] = 1
    photo = np.zeros((60, 200, 3), np.float32)
    photo[:, 160:] = 1
    blurred = blurred_background(photo, alpha, photo, 2)
    np.testing.assert_allclose(blurred[:, 100], 0.5, atol=1e-3)
    np.testing.assert_allclose(blurred[:, 20], 0, atol=1e-2)
    np.testing.assert_allclose(blurred[:, 180], 1, atol=1e-2)


def test_a_blurred_background_is_an_ordinary_blur_where_there_is_no_subject():
    photo = np.zeros((61, 61, 3), np.float32)
    photo[30, 30] = 1
    blurred = blurred_background(photo, np.zeros((61, 61), np.float32), photo, 3)
    rows, columns = np.mgrid[:61, :61] - 30
    gaussian = np.exp(-(rows**2 + columns**2) / (2 * 3**2))
    np.testing.assert_allclose(blurred[..., 0], gaussian / gaussian.sum(), atol=1e-5)


def test_a_wide_blur_agrees_with_the_same_blur_at_full_size():
    photo = RNG.random((120, 200, 3)).astype(np.float32)
    photo[:, 100:] *= 0.2
    sigma_px = 21
    full = cv2.GaussianBlur(photo, (0, 0), sigma_px)
    blurred = blurred_background(photo, np.zeros((120, 200), np.float32), photo, sigma_px)
    np.testing.assert_allclose(blurred, full, atol=0.0025)


def test_a_photo_without_background_has_its_own_mean_behind_it():
    photo = np.full((8, 8, 3), 0.3, np.float32)
    blurred = blurred_background(photo, np.ones((8, 8), np.float32), photo, 2)
    np.testing.assert_allclose(blurred, 0.3, atol=1e-6)


def test_bad_input_is_refused():
    image, alpha = np.zeros((2, 3, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"foreground must have alpha's size \(2, 3\), got \(3, 3\)"
    ):
        composite(np.zeros((3, 3, 3), np.float32), alpha, image)
    with pytest.raises(
        ValueError, match=r"background must have alpha's size \(2, 3\), got \(3, 3\)"
    ):
        composite(image, alpha, np.zeros((3, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"alpha must be of shape \(H, W\), got \(2, 3, 3\)"):
        rgba(image, image)
    with pytest.raises(ValueError, match="fit must be cover, contain or stretch, got 'fill'"):
        fit_background(image, 4, 4, "fill")
    with pytest.raises(ValueError, match="height and width must be at least 1, got 0 and 4"):
        fit_background(image, 0, 4)
    with pytest.raises(ValueError, match=r"colour must lie in \[0, 1\], got values from 0 to 255"):
        solid_background((0, 0, 255), 4, 4)
    with pytest.raises(ValueError, match=r"colour must be of shape .*got \(1, 1, 4\)"):
        solid_background((0, 0, 1, 1), 4, 4)
    with pytest.raises(ValueError, match="tile_px must be at least 1, got 0"):
        checkerboard(4, 4, 0)
    for sigma_px in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="sigma_px must be above 0"):
            blurred_background(image, alpha, image, sigma_px)
