import cv2
import numpy as np
import pytest

from mgm_core.compositing import (
    blurred_background,
    cast_shadow,
    checkerboard,
    composite,
    fit_background,
    gradient_background,
    rgba,
    rgba_over_shadow,
    soft_shadow,
    solid_background,
    wrap_light,
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


def test_cover_shows_the_side_that_it_is_told_to():
    left, right = (fit_background(stripes(), 30, 20, x=x) for x in (0, 1))
    np.testing.assert_array_equal(left, np.tile(np.float32([1, 0, 0]), (30, 20, 1)))
    np.testing.assert_array_equal(right, np.tile(np.float32([0, 0, 1]), (30, 20, 1)))


def test_contain_is_moved_within_its_margins():
    for y, top in ((0, 0), (0.5, 15), (1, 30)):
        fitted = fit_background(stripes(), 60, 60, "contain", y=y, margin=(0.5, 0.5, 0.5))
        np.testing.assert_array_equal(fitted[top : top + 30], stripes())
        assert np.count_nonzero((fitted == 0.5).all(axis=2)) == 30 * 60


def test_a_smaller_scale_leaves_margins_on_all_sides():
    fitted = fit_background(stripes(), 60, 120, "cover", scale=0.5, margin=(0.5, 0.5, 0.5))
    np.testing.assert_array_equal(fitted[15:45, 30:90], stripes())
    assert np.count_nonzero((fitted == 0.5).all(axis=2)) == 60 * 120 - 30 * 60


def slow_enlargement(image, height, width, fit, x, y, scale):
    """Interpolate between the four nearest pixels' centres, one pixel after the other."""
    ratios = [height / image.shape[0], width / image.shape[1]]
    if fit != "stretch":
        ratios = [max(ratios) if fit == "cover" else min(ratios)] * 2
    lengths = [
        round(side * ratio * scale) for side, ratio in zip(image.shape[:2], ratios, strict=True)
    ]
    starts = [
        round((frame - length) * place)
        for frame, length, place in zip((height, width), lengths, (y, x), strict=True)
    ]
    fitted = np.zeros((height, width, 3))
    for at in np.ndindex(height, width):
        inside = [place - start for place, start in zip(at, starts, strict=True)]
        if not all(0 <= n < length for n, length in zip(inside, lengths, strict=True)):
            continue
        where = [
            min(max((n + 0.5) * side / length - 0.5, 0), side - 1)
            for n, side, length in zip(inside, image.shape[:2], lengths, strict=True)
        ]
        for corner in np.ndindex(2, 2):
            near = [int(w) + c for w, c in zip(where, corner, strict=True)]
            weight = np.prod([1 - abs(w - n) for w, n in zip(where, near, strict=True)])
            if weight > 0:
                fitted[at] += weight * image[tuple(near)]
    return fitted


@pytest.mark.parametrize(
    ("fit", "x", "y", "scale"),
    [
        ("cover", 0.5, 0.5, 1),
        ("cover", 0.3, 1, 2.7),
        ("contain", 0, 0.8, 1.3),
        ("stretch", 0.6, 0.1, 1.9),
    ],
)
@pytest.mark.parametrize("shape", [(5, 8, 3), (1, 6, 3), (4, 1, 3)])
def test_enlarging_agrees_with_its_slow_twin(fit, x, y, scale, shape):
    image = RNG.random(shape).astype(np.float32)
    fitted = fit_background(image, 12, 17, fit, x=x, y=y, scale=scale)
    twin = slow_enlargement(image, 12, 17, fit, x, y, scale)
    np.testing.assert_allclose(fitted, twin, atol=1e-5)


def test_little_of_a_huge_enlargement_costs_little():
    fitted = fit_background(stripes(), 30, 20, scale=1e6)
    np.testing.assert_array_equal(fitted, np.tile(np.float32([0, 1, 0]), (30, 20, 1)))


def test_a_gradient_runs_where_css_has_it_run():
    red, blue = (1, 0, 0), (0, 0, 1)
    down = gradient_background(red, blue, 180, 4, 2)
    np.testing.assert_allclose(down[:, 0, 2], [0.125, 0.375, 0.625, 0.875], atol=1e-6)
    np.testing.assert_allclose(down[:, 0, 0], [0.875, 0.625, 0.375, 0.125], atol=1e-6)
    np.testing.assert_array_equal(down[:, 0], down[:, 1])
    right = gradient_background(red, blue, 90, 2, 4)
    np.testing.assert_allclose(right[0, :, 2], [0.125, 0.375, 0.625, 0.875], atol=1e-6)
    np.testing.assert_allclose(gradient_background(red, blue, 0, 4, 2), down[::-1], atol=1e-6)


@pytest.mark.parametrize("angle_deg", [-300, 17, 45, 135, 200, 333])
def test_a_gradient_ends_in_corners(angle_deg):
    share = gradient_background((0, 0, 0), (1, 1, 1), angle_deg, 300, 200)[..., 0]
    assert share.min() == pytest.approx(0, abs=0.005)
    assert share.max() == pytest.approx(1, abs=0.005)
    corners = share[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert share.min() in corners
    assert share.max() in corners
    # The middle of the picture is the middle of the gradient.
    assert share[149:151, 99:101].mean() == pytest.approx(0.5, abs=1e-4)


def test_a_hard_shadow_is_alpha_moved_and_paler():
    alpha = np.zeros((5, 6), np.float32)
    alpha[1, 1], alpha[2, 3] = 1, 0.5
    expected = np.zeros((5, 6), np.float32)
    expected[3, 2], expected[4, 4] = 0.4, 0.2
    np.testing.assert_allclose(soft_shadow(alpha, 1.2, 2, 0, 0.4), expected, atol=1e-7)
    assert not soft_shadow(alpha, 1, 2, 3, 0).any()


def test_the_shadow_of_what_the_frame_cuts_off_has_no_gap():
    alpha = np.zeros((6, 6), np.float32)
    alpha[3:] = 1
    np.testing.assert_array_equal(soft_shadow(alpha, 0, -2, 0, 1)[:, 0], [0, 1, 1, 1, 1, 1])


def test_a_shadow_is_as_soft_as_its_blur():
    alpha = np.zeros((61, 61), np.float32)
    alpha[30, 30] = 1
    rows, columns = np.mgrid[:61, :61] - 30
    gaussian = np.exp(-(rows**2 + columns**2) / (2 * 3**2))
    np.testing.assert_allclose(
        soft_shadow(alpha, 0, 0, 3, 0.5), 0.5 * gaussian / gaussian.sum(), atol=1e-5
    )


def test_a_shadow_darkens():
    grey = np.full((1, 3, 3), 0.5, np.float32)
    darker = cast_shadow(grey, np.float32([[0, 0.5, 1]]))
    np.testing.assert_array_equal(darker[0, :, 0], [0.5, 0.25, 0])


def test_a_cut_out_with_its_shadow_looks_the_same_over_anything():
    foreground, behind = RNG.random((2, 9, 9, 3)).astype(np.float32)
    alpha, shadow = disc(9, 2, 3), soft_shadow(disc(9, 2, 3), 2, 1, 1, 0.7)
    joined = rgba_over_shadow(foreground, alpha, shadow)
    over = joined[..., 3:] * joined[..., :3] + (1 - joined[..., 3:]) * behind
    expected = composite(foreground, alpha, cast_shadow(behind, shadow))
    # Where 8 bits show nothing at all, `rgba` makes the colours black.
    np.testing.assert_allclose(over, expected, atol=1 / 255)


def test_without_a_shadow_it_is_the_plain_cut_out():
    foreground, alpha = RNG.random((9, 9, 3)).astype(np.float32), disc(9, 2, 3)
    joined = rgba_over_shadow(foreground, alpha, np.zeros_like(alpha))
    np.testing.assert_allclose(joined, rgba(foreground, alpha), atol=1e-6)


def test_next_to_no_alpha_is_no_more_than_it_is():
    alpha = np.float32([np.geomspace(1e-38, 1e-3, 400)])
    joined = rgba_over_shadow(np.ones((1, 400, 3), np.float32), alpha, np.zeros_like(alpha))
    np.testing.assert_array_equal(joined[..., 3], alpha)


def test_light_spills_over_the_edge_alone():
    alpha = np.zeros((9, 200), np.float32)
    alpha[:, 100:] = 1
    black, white = np.zeros((9, 200, 3), np.float32), np.ones((9, 200, 3), np.float32)
    photo = composite(black, alpha, white)
    wrapped = wrap_light(photo, alpha, white, 4, 0.5)[4, :, 0]
    np.testing.assert_array_equal(wrapped[:100], 1)
    assert wrapped[100] == pytest.approx(0.5 * 0.45, abs=0.01)  # half a pixel within the edge
    assert (np.diff(wrapped[100:140]) <= 0).all()
    np.testing.assert_allclose(wrapped[120:], 0, atol=1e-6)


def test_light_follows_its_equation_pixel_by_pixel():
    image, background = RNG.random((2, 8, 8, 3)).astype(np.float32)
    alpha = disc(8, 2, 3)
    light = cv2.GaussianBlur((1 - alpha)[..., None] * background, (0, 0), 2)
    expected = 1 - (1 - image) * (1 - 0.6 * alpha[..., None] * light)
    np.testing.assert_allclose(wrap_light(image, alpha, background, 2, 0.6), expected, atol=1e-6)
    np.testing.assert_array_equal(wrap_light(image, alpha, background, 2, 0), image)


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
    with pytest.raises(ValueError, match=r"x and y must lie in \[0, 1\], got 0.5 and 1.1: 0.5 is"):
        fit_background(image, 4, 4, y=1.1)
    with pytest.raises(ValueError, match="scale must be above 0, got 0: 1 is what fits"):
        fit_background(image, 4, 4, scale=0)
    with pytest.raises(ValueError, match="angle_deg must be finite, got nan: 180 runs downwards"):
        gradient_background((0, 0, 0), (1, 1, 1), np.nan, 4, 4)
    with pytest.raises(ValueError, match=r"colour must lie in \[0, 1\]"):
        gradient_background((0, 0, 0), (1, 1, 2), 0, 4, 4)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\], got 1.5: 0 is none"):
        soft_shadow(alpha, 0, 0, 1, 1.5)
    with pytest.raises(ValueError, match="sigma_px must be at least 0, got -1: 0 is a hard shadow"):
        soft_shadow(alpha, 0, 0, -1, 1)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\], got nan"):
        wrap_light(image, alpha, image, 1, np.nan)
    with pytest.raises(
        ValueError, match=r"background must have shadow's size \(3, 3\), got \(2, 3"
    ):
        cast_shadow(image, np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"shadow must have alpha's size \(2, 3\), got \(3, 3\)"):
        rgba_over_shadow(image, alpha, np.zeros((3, 3), np.float32))
    for sigma_px in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="sigma_px must be above 0"):
            blurred_background(image, alpha, image, sigma_px)
        with pytest.raises(ValueError, match="sigma_px must be above 0"):
            wrap_light(image, alpha, image, sigma_px, 1)
