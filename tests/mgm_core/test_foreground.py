import logging
import subprocess
import sys

import numpy as np
import pytest

from mgm_core.compositing import composite, solid_background
from mgm_core.foreground import estimate_foreground

SIZE = 48
COLOUR = (0.9, 0.2, 0.1)


def scene():
    """A disc of one colour, soft over twelve pixels, before a gradient."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    distance = np.hypot(rows - SIZE / 2, columns - SIZE / 2)
    alpha = np.clip((15 - distance) / 12 + 0.5, 0, 1).astype(np.float32)
    background = np.dstack([columns / SIZE / 2, rows / SIZE, np.full_like(rows, 0.6)])
    foreground = solid_background(COLOUR, SIZE, SIZE)
    return composite(foreground, alpha, background), alpha, foreground


# Mean errors measured with pymatting 1.1.16.
@pytest.mark.parametrize(
    ("method", "measured"), [("multilevel", 0.01563), ("closed_form", 0.01686), ("raw", 0.24617)]
)
def test_the_old_background_is_taken_out_of_the_soft_edge(method, measured):
    image, alpha, foreground = scene()
    estimate = estimate_foreground(image, alpha, method)
    assert estimate.dtype == np.float32
    assert estimate.shape == image.shape
    edge = (alpha > 0.1) & (alpha < 1)
    error = np.abs(estimate - foreground)[edge].mean()
    assert error == pytest.approx(measured, rel=0.01)


def test_raw_is_the_image():
    image, alpha, _ = scene()
    np.testing.assert_array_equal(estimate_foreground(image, alpha, "raw"), image)


@pytest.mark.parametrize("method", ["multilevel", "closed_form", lambda image, alpha: 1 - image])
def test_opaque_pixels_keep_the_images_colours_exactly(method):
    image, alpha, _ = scene()
    opaque = alpha == 1
    estimate = estimate_foreground(image, alpha, method)
    np.testing.assert_array_equal(estimate[opaque], image[opaque])
    assert not np.array_equal(estimate[~opaque], image[~opaque])


@pytest.mark.parametrize("method", ["multilevel", "closed_form"])
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_constant_alpha_gives_finite_colours(method, value):
    image, _, _ = scene()
    estimate = estimate_foreground(image, np.full((SIZE, SIZE), value, np.float32), method)
    assert np.isfinite(estimate).all()
    assert estimate.min() >= 0
    assert estimate.max() <= 1


def test_an_estimator_of_ones_own_is_clipped_to_the_range():
    image, alpha, _ = scene()
    estimate = estimate_foreground(image, alpha, lambda image, alpha: image + 2)
    np.testing.assert_array_equal(estimate[alpha < 1], 1)


def test_neither_image_nor_alpha_is_changed():
    image, alpha, _ = scene()
    image_before, alpha_before = image.copy(), alpha.copy()
    estimate_foreground(image, alpha)
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(alpha, alpha_before)


def test_the_compiler_is_loaded_on_use_alone_and_announced(caplog, monkeypatch):
    probe = "import sys, mgm_core.foreground; sys.exit('pymatting' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True)
    image, alpha, _ = scene()
    monkeypatch.delitem(sys.modules, "pymatting", raising=False)
    with caplog.at_level(logging.INFO):
        estimate_foreground(image, alpha)
        estimate_foreground(image, alpha)
    assert caplog.messages == ["loading pymatting: its first call may compile for some seconds"]


def test_bad_input_is_refused():
    image, alpha, _ = scene()
    with pytest.raises(ValueError, match=r"method must be one of multilevel, .*raw, got 'magic'"):
        estimate_foreground(image, alpha, "magic")
    with pytest.raises(
        ValueError, match=r"alpha must have the image's size \(48, 48\), got \(48, 47\)"
    ):
        estimate_foreground(image, alpha[:, 1:])
    with pytest.raises(ValueError, match=r"image must be of shape \(H, W, 3\), got \(48, 48\)"):
        estimate_foreground(alpha, alpha)
    large = np.zeros((2001, 2000), np.float32)
    with pytest.raises(
        ValueError, match=r"at most 4 megapixels for closed_form, got 4\.0.*multilevel"
    ):
        estimate_foreground(np.zeros((2001, 2000, 3), np.float32), large, "closed_form")
