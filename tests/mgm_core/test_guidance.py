import cv2
import numpy as np
import pytest

from mgm_core.guidance import (
    detect_kind,
    dilate,
    erode,
    from_binary_mask,
    from_probability,
    from_soft_mask,
    from_trimap,
    from_trimap_fg,
    known_regions,
    shift_boundary,
    solid_inside,
    to_guidance,
    trimap_from_alpha,
    trimap_from_probability,
)

RNG = np.random.default_rng(7)
RAMP = np.float32([[0, 127, 128, 169, 170, 255]]) / np.float32(255)


def slow_morphology(guidance, kernel_px, choose):
    """The definition: the least or greatest value under the ellipse, within the image."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    offsets = np.argwhere(ellipse) - kernel_px // 2
    height, width = guidance.shape
    result = np.empty_like(guidance)
    for y in range(height):
        for x in range(width):
            reached = [(y + down, x + right) for down, right in offsets]
            result[y, x] = choose(
                guidance[row, column]
                for row, column in reached
                if 0 <= row < height and 0 <= column < width
            )
    return result


def blob(softness_px, size=(160, 200)):
    """A wobbly subject whose alpha falls from 1 to 0 over `softness_px`."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    down, right = rows - size[0] / 2, columns - size[1] / 2
    radius = 50 + 8 * np.sin(5 * np.arctan2(down, right))
    return np.clip((radius - np.hypot(down, right)) / softness_px + 0.5, 0, 1).astype(np.float32)


def trimap_blob(band_px, middle=128):
    alpha = blob(band_px)
    return np.where((alpha > 0) & (alpha < 1), np.float32(middle / 255), alpha)


def through_jpeg(mask, quality):
    levels = np.rint(mask * 255).astype(np.uint8)
    data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)


def test_a_binary_mask_is_cut_at_128():
    guidance = from_binary_mask(RAMP)
    assert guidance.dtype == np.float32
    np.testing.assert_array_equal(guidance, [[0, 0, 1, 1, 1, 1]])


def test_trimap_fg_is_cut_at_170():
    np.testing.assert_array_equal(from_trimap_fg(RAMP), [[0, 0, 0, 0, 1, 1]])


def test_a_soft_mask_stays_as_it_is_in_an_array_of_its_own():
    guidance = from_soft_mask(RAMP)
    np.testing.assert_array_equal(guidance, RAMP)
    assert not np.shares_memory(guidance, RAMP)


@pytest.mark.parametrize("middle", [100, 127, 128, 129, 150])
def test_a_trimaps_unknown_is_exactly_half(middle):
    trimap = np.float32([[0, middle, 255, 3, 250]]) / np.float32(255)
    np.testing.assert_array_equal(from_trimap(trimap), [[0, 0.5, 1, 0, 1]])


def test_known_regions_leave_the_unknown_out():
    known = known_regions(np.float32([[0, 0.5, 1]]))
    np.testing.assert_array_equal(known.foreground, [[False, False, True]])
    np.testing.assert_array_equal(known.background, [[True, False, False]])


@pytest.mark.parametrize(
    ("kind", "maker"),
    [
        ("binary_mask", from_binary_mask),
        ("soft_mask", from_soft_mask),
        ("trimap", from_trimap),
        ("trimap_fg", from_trimap_fg),
    ],
)
def test_to_guidance_dispatches(kind, maker):
    np.testing.assert_array_equal(to_guidance(RAMP, kind), maker(RAMP))


def test_a_kernel_of_three_is_a_cross():
    dot = np.zeros((5, 5), np.float32)
    dot[2, 2] = 0.75
    cross = np.zeros((5, 5), np.float32)
    cross[2, 1:4] = cross[1:4, 2] = 0.75
    np.testing.assert_array_equal(dilate(dot, 3), cross)
    np.testing.assert_array_equal(erode(1 - dot, 3), 1 - cross)


@pytest.mark.parametrize("kernel_px", range(1, 31))
def test_morphology_agrees_with_its_definition(kernel_px):
    guidance = RNG.random((12, 9)).astype(np.float32)
    np.testing.assert_array_equal(
        dilate(guidance, kernel_px), slow_morphology(guidance, kernel_px, max)
    )
    np.testing.assert_array_equal(
        erode(guidance, kernel_px), slow_morphology(guidance, kernel_px, min)
    )


@pytest.mark.parametrize("kernel_px", range(31))
def test_erosion_and_dilation_are_duals(kernel_px):
    guidance = RNG.integers(0, 5, (40, 50)).astype(np.float32) / 4
    np.testing.assert_array_equal(erode(1 - guidance, kernel_px), 1 - dilate(guidance, kernel_px))


def test_an_even_kernel_moves_edges_one_pixel_more_to_the_right_and_below():
    square = np.zeros((30, 30), np.float32)
    square[10:20, 10:20] = 1
    rows, columns = np.nonzero(dilate(square, 6))
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (8, 22)
    rows, columns = np.nonzero(erode(square, 6))
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (13, 17)


@pytest.mark.parametrize("kernel_px", [0, 1])
def test_the_smallest_kernels_change_nothing(kernel_px):
    guidance = RNG.random((6, 7)).astype(np.float32)
    for changed in (dilate(guidance, kernel_px), erode(guidance, kernel_px)):
        np.testing.assert_array_equal(changed, guidance)
        assert not np.shares_memory(changed, guidance)


def test_erosion_does_not_eat_a_subject_from_the_images_border():
    subject = np.zeros((40, 40), np.float32)
    subject[:, :20] = 1
    eroded = erode(subject, 15)
    np.testing.assert_array_equal(eroded[:, :13], 1)
    np.testing.assert_array_equal(eroded[:, 13:], 0)
    np.testing.assert_array_equal(erode(np.ones((8, 8), np.float32), 30), 1)


def test_shift_boundary_grows_above_zero_and_shrinks_below():
    guidance = blob(8)
    np.testing.assert_array_equal(shift_boundary(guidance, 10), dilate(guidance, 10))
    np.testing.assert_array_equal(shift_boundary(guidance, -10), erode(guidance, 10))
    np.testing.assert_array_equal(shift_boundary(guidance, 0), guidance)


def test_trimap_from_alpha_by_hand():
    alpha = np.zeros((1, 12), np.float32)
    alpha[0, 6:] = 1
    alpha[0, 5] = 0.3
    np.testing.assert_array_equal(
        trimap_from_alpha(alpha, 0), [[0, 0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1, 1]]
    )
    np.testing.assert_array_equal(
        trimap_from_alpha(alpha, 5), [[0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]]
    )


def test_trimap_from_alpha_calls_unknown_what_8_bits_show_as_grey():
    levels = np.float32([[0, 0.4, 1, 254, 254.6, 255]]) / np.float32(255)
    np.testing.assert_array_equal(trimap_from_alpha(levels, 0), [[0, 0, 0.5, 0.5, 1, 1]])


def test_trimap_from_probability_has_the_papers_limits():
    probability = np.float32([[0.04, 0.06, 0.94, 0.96]])
    np.testing.assert_array_equal(
        trimap_from_probability(probability, kernel_px=0), [[0, 0.5, 0.5, 1]]
    )
    wide = np.zeros((1, 41), np.float32)
    wide[0, 20] = 0.5
    unknown = trimap_from_probability(wide)[0] == 0.5
    np.testing.assert_array_equal(np.flatnonzero(unknown), np.arange(11, 31))


@pytest.mark.parametrize("quality", [None, 95, 75, 50, 30])
@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (blob(0.01), "binary_mask"),
        (cv2.resize(blob(0.01), (100, 80), interpolation=cv2.INTER_AREA), "binary_mask"),
        (trimap_blob(10), "trimap"),
        (trimap_blob(40, middle=127), "trimap"),
        (trimap_blob(40, middle=129), "trimap"),
        (cv2.resize(trimap_blob(20), (257, 203)), "trimap"),
        (blob(6), "soft_mask"),
        (blob(20), "soft_mask"),
        (blob(100), "soft_mask"),
    ],
)
def test_detect_kind_sees_through_jpeg(mask, kind, quality):
    seen = mask if quality is None else through_jpeg(mask, quality)
    detection = detect_kind(seen)
    assert detection.kind == kind
    assert not detection.constant


@pytest.mark.parametrize(
    ("levels", "kind", "reason"),
    [
        ([0, 255], "binary_mask", "two values 0, 255: a binary mask"),
        ([3, 250], "binary_mask", "two values 3, 250: a binary mask"),
        ([0, 200], "binary_mask", "two values 0, 200: a binary mask"),
        ([120, 136], "binary_mask", "two values 120, 136: a binary mask"),
        ([0, 128, 255], "trimap", "three values 0, 128, 255: a trimap"),
        ([0, 127, 255], "trimap", "three values 0, 127, 255: a trimap"),
        ([128, 255], "trimap", "two values 128, 255: a trimap"),
        ([0, 76], "binary_mask", "two values 0, 76: a binary mask at 30% strength"),
        ([0, 128], "binary_mask", "two values 0, 128: a binary mask"),
        ([0, 127], "binary_mask", "two values 0, 127: a binary mask at 50% strength"),
        ([60, 90], "soft_mask", "many values from 60 to 90: a soft mask"),
        (range(0, 256, 5), "soft_mask", "many values from 0 to 255: a soft mask"),
    ],
)
def test_detect_kind_gives_its_reason(levels, kind, reason):
    mask = np.repeat(np.float32([levels]) / np.float32(255), 12, axis=1).repeat(40, axis=0)
    detection = detect_kind(mask)
    assert (detection.kind, detection.reason) == (kind, reason)


@pytest.mark.parametrize("quality", [None, 90, 60])
@pytest.mark.parametrize("strength", [0.3, 0.5, 0.6])
def test_a_mask_painted_at_less_than_full_strength_is_no_trimap(strength, quality):
    for softness in (0.01, 3):
        painted = blob(softness) * np.float32(strength)
        seen = painted if quality is None else through_jpeg(painted, quality)
        detection = detect_kind(seen)
        assert detection.kind == "binary_mask"
        assert detection.strength == pytest.approx(strength, abs=0.03)
    assert detect_kind(blob(0.01)).strength == 1


def test_detect_kind_names_the_values_under_the_noise():
    assert (
        detect_kind(through_jpeg(trimap_blob(20), 75)).reason
        == "three values 0, 128, 255 but for noise and edges: a trimap"
    )


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (0.0, "binary_mask", "all values 0: an empty mask"),
        (1.0, "binary_mask", "all values 255: the mask covers the whole image"),
        (0.4, "soft_mask", "all values 102: the mask says nothing"),
    ],
)
def test_constant_masks_are_reported(value, kind, reason):
    detection = detect_kind(np.full((8, 8), value, np.float32))
    assert detection.constant
    assert detection.kind == kind
    assert detection.reason.startswith(reason)


def test_one_level_of_noise_makes_no_constant_mask_a_mask():
    mask = np.ones((8, 8), np.float32)
    mask[2:4] = 254 / 255
    assert detect_kind(mask).constant


@pytest.mark.parametrize("kernel_px", [-1, 2.5])
def test_diameters_are_whole_numbers(kernel_px):
    for change in (erode, dilate, trimap_from_alpha):
        with pytest.raises(
            ValueError, match=r"kernel_px must be a whole number of at least 0, got"
        ):
            change(RAMP, kernel_px)


def test_other_bad_input_is_refused():
    with pytest.raises(
        ValueError, match=r"kind must be one of binary_mask, .*trimap_fg, got 'mask'"
    ):
        to_guidance(RAMP, "mask")
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1, got 128"):
        from_binary_mask(RAMP, 128)
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1, got 0"):
        from_trimap_fg(RAMP, 0)
    with pytest.raises(ValueError, match=r"must rise within \[0, 1\], got 0.9 and 0.1"):
        trimap_from_probability(RAMP, foreground=0.1, background=0.9)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (from_binary_mask, "mask"),
        (from_soft_mask, "mask"),
        (detect_kind, "mask"),
        (from_trimap, "trimap"),
        (from_trimap_fg, "trimap"),
        (known_regions, "trimap"),
        (trimap_from_probability, "probability"),
        (lambda mask: trimap_from_alpha(mask, 3), "alpha"),
        (lambda mask: erode(mask, 3), "guidance"),
        (lambda mask: dilate(mask, 3), "guidance"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(function, name):
    with pytest.raises(ValueError, match=rf"^{name} must be float32 in \[0, 1\], got uint8"):
        function(np.zeros((2, 2), np.uint8))


def test_specks_that_the_segmenter_doubts_are_dropped():
    probability = np.zeros((60, 60), np.float32)
    probability[10:50, 10:40] = 0.6  # the largest part, 1200 px: doubted, but kept
    probability[2:4, 2:7] = 0.79  # 10 px
    probability[2:4, 50:55] = 0.7
    probability[2, 52] = 0.85  # 10 px, sure of one of them
    probability[40:44, 50:53] = 0.55  # 12 px: a hundredth of the largest
    expected = (probability > 0).astype(np.float32)
    expected[2:4, 2:7] = 0
    guidance = from_probability(probability)
    assert np.array_equal(guidance, expected)
    assert guidance.dtype == np.float32
    whole = from_probability(probability, 0.75)  # the 10 px are all that is left beside one
    assert whole.sum() == 11
    assert not from_probability(probability, 0.9).any()
    with pytest.raises(ValueError, match="threshold must be above 0"):
        from_probability(probability, 0.0)


def test_solid_is_what_lies_deep_inside_whatever_the_frame_cuts_off():
    guidance = np.zeros((50, 100), np.float32)
    guidance[:, 40:] = 1
    share = solid_inside(guidance)
    assert share.dtype == np.float32
    # Columns 40 and on are 1, 2, ... px deep, of 100: 0 up to 8 px, full from 12 px on.
    expected = [0, 0.25, 0.5, 0.75, 1, 1]
    np.testing.assert_allclose(share[:, 47:53], [expected] * 50, atol=1e-5)
    assert (share[:, :48] == 0).all()
    assert (share[:, 51:] == 1).all()
    assert (solid_inside(np.ones((5, 5), np.float32)) == 1).all()
    assert (solid_inside(np.full((5, 5), 0.99, np.float32)) == 0).all()
    assert (solid_inside(np.zeros((5, 5), np.float32)) == 0).all()
