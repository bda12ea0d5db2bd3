import cv2
import numpy as np
import pytest

from mgm_core.foreground import estimate
from mgm_core.matting import enlarge
from mgm_core.matting.enlarge import (
    enlarge_alpha,
    enlarge_colours,
    guided_filter,
    reduced,
    working_size,
)


def _strands(side=128):
    """Return alpha of thin lines at all angles, and an image of two plain colours and noise."""
    alpha = np.zeros((side, side), np.float32)
    for angle in np.linspace(0, np.pi, 9):
        far = (round(side / 2 + side * np.cos(angle)), round(side / 2 + side * np.sin(angle)))
        cv2.line(alpha, (side // 2, side // 2), far, 1.0, 2, cv2.LINE_AA)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7).clip(0, 1)
    foreground = np.full((side, side, 3), (0.9, 0.3, 0.1), np.float32)
    image = alpha[..., None] * foreground + (1 - alpha[..., None]) * np.float32([0.1, 0.4, 0.8])
    noise = np.random.default_rng(0).normal(0, 0.01, image.shape)
    return (image + noise).clip(0, 1).astype(np.float32), alpha, foreground


def test_strands_come_back_from_half_the_size():
    image, alpha, _ = _strands()
    small, small_alpha = reduced(image, (64, 64)), reduced(alpha, (64, 64))
    linear = cv2.resize(small_alpha, (128, 128), interpolation=cv2.INTER_LINEAR)
    enlarged = enlarge_alpha(image, small, small_alpha)
    assert enlarged.shape == alpha.shape
    assert enlarged.dtype == np.float32
    soft = (alpha > 0) & (alpha < 1)
    before, after = (((found - alpha)[soft] ** 2).mean() for found in (linear, enlarged))
    assert after < 0.3 * before


def test_a_grey_image_loses_no_digits():
    step = np.zeros((200, 200), np.float32)
    step[:, 90:] = 1
    turn = cv2.getRotationMatrix2D((100, 100), 30, 1)
    alpha = np.asarray(cv2.warpAffine(step, turn, (200, 200), flags=cv2.INTER_AREA), np.float32)
    covariances = {}
    image = np.repeat(alpha[..., None], 3, axis=2)
    mean = cv2.blur(image, (3, 3))
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        product = cv2.blur(image[..., i] * image[..., j], (3, 3))
        covariances[i, j] = product - mean[..., i] * mean[..., j]
    with_alpha = [covariances[0, 0]] * 3
    found = enlarge._solve(covariances, with_alpha, 1e-4)
    whole = np.zeros((3, 3, 200, 200))
    for (i, j), plane in covariances.items():
        whole[i, j] = whole[j, i] = plane
    matrices = np.moveaxis(whole, (0, 1), (2, 3)) + np.float32(1e-4) * np.eye(3)
    wanted = np.stack(with_alpha, axis=2)[..., None].astype(float)
    exact = np.linalg.solve(matrices, wanted)[..., 0]
    np.testing.assert_allclose(np.stack(found, axis=2), exact, atol=2e-3)


@pytest.mark.parametrize("value", [0, 1])
def test_what_is_certain_all_around_stays_so(value):
    image = _strands()[0]
    plain = np.full((50, 70), value, np.float32)
    enlarged = enlarge_alpha(image[:100, :], reduced(image[:100], (50, 70)), plain)
    assert np.abs(enlarged - value).max() < 1e-5


def test_colours_have_the_detail_of_what_is_opaque_and_no_background_elsewhere():
    image, alpha, foreground = _strands()
    small = reduced(image, (64, 64))
    opaque = np.ones_like(alpha)
    np.testing.assert_allclose(
        enlarge_colours(image, small, small, opaque, np.empty_like(image)), image, atol=1e-5
    )
    found = enlarge_colours(
        image, small, reduced(foreground, (64, 64)), alpha, np.empty_like(image)
    )
    assert found.dtype == np.float32
    seen = alpha > 0.1
    errors = [np.abs(alpha[..., None] * (f - foreground))[seen].mean() for f in (found, image)]
    assert errors[0] < 0.3 * errors[1]


def test_large_photographs_have_their_colours_estimated_at_the_working_size(monkeypatch):
    image, alpha, _ = _strands()
    seen = []

    def network(image, alpha):
        seen.append(alpha.shape)
        return image

    monkeypatch.setitem(estimate._METHODS, "multilevel", network)
    whole = estimate.estimate_foreground(image, alpha, "multilevel")
    size = {"working_megapixels": 64 * 64 / 1e6}
    at_size = estimate.estimate_foreground(image, alpha, "multilevel", **size)
    estimate.estimate_foreground(image, alpha, network, **size)  # one's own sees all
    estimate.estimate_foreground(image, alpha, "multilevel", working_megapixels=None)
    assert seen == [(128, 128), (64, 64), (128, 128), (128, 128)]
    assert (at_size[alpha == 1] == image[alpha == 1]).all()
    assert (whole == image).all()


def test_a_trimap_stays_known_at_a_smaller_size():
    trimap = np.ones((997, 1003), np.float32)
    trimap[:, :500], trimap[:, 500:510] = 0, 0.5
    small = reduced(trimap, (411, 413))
    assert (small[:, 212:] == 1).all()
    assert (small[:, :205] == 0).all()
    assert ((small > 0) & (small < 1)).any(axis=1).all()


def test_a_filtered_outline_moves_to_the_images_edge():
    image = np.full((40, 60, 3), (0.8, 0.2, 0.1), np.float32)
    image[:, 30:] = (0.1, 0.3, 0.7)
    coarse = np.zeros((40, 60), np.float32)
    coarse[:, :32] = 1  # 2 px too far
    filtered = guided_filter(image, coarse, 8, 1e-3)
    assert (filtered[:, :30] > 0.5).all()
    assert (filtered[:, 30:] < 0.5).all()
    plain = np.full((40, 60), 0.7, np.float32)
    np.testing.assert_allclose(guided_filter(image, plain, 8, 1e-3), plain, atol=1e-5)


def test_sizes_keep_their_proportions():
    assert working_size((3000, 4000), 3.0) == (1500, 2000)
    assert working_size((100, 100), None) == (100, 100)


@pytest.mark.parametrize("size", [(2160, 3840), (1440, 3440), (2000, 6000), (5000, 5001)])
def test_the_working_size_is_within_its_limit(size):
    found = working_size(size, 2.1)
    assert found[0] * found[1] <= 2.1e6
    assert working_size(found, 2.1) == found


def test_strips_give_what_the_whole_gives(monkeypatch):
    image, alpha, foreground = _strands()
    size = (75, 90)
    given = image, reduced(image, size), reduced(alpha, size)
    colours = image, given[1], reduced(foreground, size), alpha
    monkeypatch.setattr(enlarge, "_STRIP_ROWS", 1000)
    whole = enlarge_alpha(*given), enlarge_colours(*colours, np.empty_like(image))
    monkeypatch.setattr(enlarge, "_STRIP_ROWS", 16)
    strips = enlarge_alpha(*given), enlarge_colours(*colours, image.copy())
    over_the_image = image.copy()
    enlarge_colours(over_the_image, *colours[1:], over_the_image)
    np.testing.assert_array_equal(over_the_image, strips[1])
    for one, other in zip(strips, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    by_opencv = cv2.resize(given[2], (128, 128), interpolation=cv2.INTER_LINEAR)
    enlarged = enlarge._Enlarged(given[2], 128, 128)[:]
    np.testing.assert_allclose(enlarged, by_opencv, atol=1e-5)
