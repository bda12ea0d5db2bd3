import logging
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from mgm_core import cutout
from mgm_core.compositing import composite, solid_background
from mgm_core.foreground import multilevel
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.foreground.learned import NetworkEstimator
from mgm_core.foreground.multilevel import estimate_multilevel
from mgm_core.models import Models
from mgm_core.networks.foreground_net import ForegroundNetwork, unseen
from mgm_core.recipe import Recipe
from mgm_core.runtime.cancellation import Cancellation, TimeLimitReached, cancellable

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


# Mean errors measured with PyMatting 1.1.16, from which ours differs by rounding alone.
@pytest.mark.parametrize(("method", "measured"), [("multilevel", 0.01563), ("raw", 0.24617)])
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


@pytest.mark.parametrize("method", ["multilevel", lambda image, alpha: 1 - image])
def test_opaque_pixels_keep_the_images_colours_exactly(method):
    image, alpha, _ = scene()
    opaque = alpha == 1
    estimate = estimate_foreground(image, alpha, method)
    np.testing.assert_array_equal(estimate[opaque], image[opaque])
    assert not np.array_equal(estimate[~opaque], image[~opaque])


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_constant_alpha_gives_finite_colours(value):
    image, _, _ = scene()
    estimate = estimate_foreground(image, np.full((SIZE, SIZE), value, np.float32))
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
    probe = "import sys, mgm_core.foreground.estimate; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True)
    image, alpha, _ = scene()
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if k != "numba"})
    with caplog.at_level(logging.INFO):
        estimate_foreground(image, alpha)
        sys.modules["numba"] = None
        estimate_foreground(image, alpha)
    assert caplog.messages == ["loading Numba: its first call may compile for some seconds"]


@pytest.mark.parametrize("size", [(1, 7), (5, 1), (33, 20), (150, 90)])
def test_multilevel_gives_pymattings_colours(size):
    # Imported here, as that may compile for half a minute: other processes of a run need not.
    import pymatting

    draw = np.random.default_rng(3)
    image = draw.random((*size, 3), np.float32)
    alpha = cv2.resize(draw.random((9, 9), np.float32), size[::-1]) * 1.4 - 0.2
    alpha = np.clip(alpha, 0, 1)
    ours, theirs = estimate_multilevel(image, alpha), pymatting.estimate_foreground_ml(image, alpha)
    off = np.abs(ours - theirs)
    assert off.mean() < 1e-5
    assert off.max() < 1 / 255  # where neighbours have one alpha, the system is nearly singular


def test_it_ends_soon_after_nobody_waits_for_it(monkeypatch):
    image, alpha, _ = scene()
    monkeypatch.setattr(multilevel, "_PIXELS_AT_ONCE", SIZE)  # a row
    asked = []
    with cancellable(Cancellation(1, clock=lambda: asked.append(1) or 0)):
        estimate_foreground(image, alpha)
    half = len(asked) // 2
    assert half > 10
    asked.clear()
    clock = lambda: asked.append(1) or (2 if len(asked) > half else 0)  # noqa: E731
    with pytest.raises(TimeLimitReached), cancellable(Cancellation(1, clock=clock)):
        estimate_foreground(image, alpha)
    assert len(asked) == half + 1


class _Inverse(torch.nn.Module):
    """Colours of a pixel alone: what padding and tiles must not change. Counts its calls."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, image, alpha):
        self.shapes.append(tuple(image.shape))
        return 1 - image * alpha


class _Neighbours(torch.nn.Module):
    """The mean of a pixel's surroundings, mirrored at the picture's border alone."""

    def forward(self, image, alpha):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
        return torch.nn.functional.avg_pool2d(padded, 5, 1)


def untrained(seed=0):
    torch.manual_seed(seed)
    network = ForegroundNetwork()
    torch.nn.init.normal_(network.head.weight, 0, 0.05)
    return network


def estimator(network, **settings):
    return NetworkEstimator(network, device="cpu", dtype="float32", **settings)


def noise(height, width, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.random((height, width, 3), dtype=np.float32)
    return image, generator.random((height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (64, 32)])
def test_the_network_takes_any_size(size):
    image, alpha = noise(*size)
    network = _Inverse()
    colours = estimate_foreground(image, alpha, estimator(network))
    np.testing.assert_allclose(colours, 1 - image * alpha[..., None], atol=1e-6)
    assert all(side % 32 == 0 for side in network.shapes[0][2:])
    assert estimator(untrained())(image, alpha).shape == image.shape


def test_padding_mirrors_the_picture():
    image, alpha = noise(31, 30)[0], np.full((31, 30), 0.5, np.float32)
    expected = estimator(_Neighbours())(np.pad(image, ((0, 1), (0, 2), (0, 0)), mode="reflect"),
                                        np.full((32, 32), 0.5, np.float32))  # fmt: skip
    found = estimator(_Neighbours())(image, alpha)
    np.testing.assert_allclose(found, expected[:31, :30], atol=1e-6)  # tiles are weighted means


def test_an_untrained_network_gives_back_the_image():
    image, alpha = noise(40, 50)
    found = estimate_foreground(image, alpha, estimator(ForegroundNetwork()))
    np.testing.assert_allclose(found, image, atol=1e-6)


def test_unseen_changes_leave_the_image_as_it_is():
    generator = torch.Generator().manual_seed(1)
    f, b = torch.rand(2, 1, 3, 40, 40, generator=generator, dtype=torch.float64) - 0.5
    alpha = torch.rand(1, 1, 40, 40, generator=generator, dtype=torch.float64)
    alpha[..., 0], alpha[..., 1] = 0, 1
    found, behind = unseen(f, b, alpha), unseen(b, f, 1 - alpha)
    composited = alpha * found + (1 - alpha) * behind
    torch.testing.assert_close(composited, torch.zeros_like(composited))
    assert (found[..., 0] == f[..., 0]).all()
    assert (found[..., 1] == 0).all()
    # The nearest such pair: what was given differs from it along (alpha, 1 - alpha) alone.
    torch.testing.assert_close((f - found) * (1 - alpha), (b - behind) * alpha)


def test_opaque_pixels_are_the_images_with_the_network_too():
    image, alpha, _ = scene()
    found = estimate_foreground(image, alpha, estimator(untrained()))
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])
    assert np.abs(found - image)[alpha < 1].mean() > 0.01


def test_tiles_of_a_network_of_pixels_join_without_seams():
    image, alpha = noise(150, 201)
    network = _Inverse()
    tiled = estimator(network, tile_px=64, overlap_px=16)(image, alpha)
    assert len(network.shapes) > 6
    soft = (alpha > 0) & (alpha < 1)
    np.testing.assert_allclose(tiled[soft], (1 - image * alpha[..., None])[soft], atol=1e-6)


def test_tiles_are_nearly_what_the_network_gives_for_the_whole():
    image, alpha = noise(64, 192)
    # A photograph's neighbours are alike; noise would have every tile see other features.
    image, alpha = (np.sort(array, axis=1) for array in (image, alpha))
    whole = estimator(untrained())(image, alpha)
    tiled = estimator(untrained(), tile_px=128, overlap_px=60)(image, alpha)
    change = np.abs(whole - image).mean()
    assert change > 0.01
    assert np.abs(tiled - whole).mean() < 0.1 * change


def test_tiles_without_anything_soft_are_left_as_photographed():
    image, alpha = noise(64, 256)
    alpha[:, :100], alpha[:, 150:] = 0, 1
    network = _Inverse()
    found = estimator(network, tile_px=64, overlap_px=16)(image, alpha)
    assert len(network.shapes) == 3  # of five
    np.testing.assert_allclose(found[:, :48], image[:, :48], atol=1e-6)
    np.testing.assert_allclose(found[:, 212:], image[:, 212:], atol=1e-6)
    assert np.abs(found - image)[:, 100:150].mean() > 0.1


def test_tiles_are_seen_only_around_what_is_soft():
    image, alpha = noise(300, 400)
    alpha[:] = 0
    alpha[200:210, 60:70] = 0.5
    alpha[120:130, 320:] = 1  # not soft, but an edge
    network = _Inverse()
    found = estimator(network, tile_px=256, overlap_px=32)(image, alpha)
    # With 64 px of context, or less at the picture's border, and padding.
    sides = {side for shape in network.shapes for side in shape[2:]}
    assert max(sides) <= 160
    changed = np.abs(found - image).max(2) > 1e-6
    assert changed[alpha == 0.5].all()
    np.testing.assert_allclose(found[alpha == 0.5], 1 - image[alpha == 0.5] * 0.5, atol=1e-6)
    assert changed[120:130, 319].all()
    assert not changed[:40].any()
    assert not changed[:, 140:240].any()


def test_the_network_computes_where_it_is_asked_to():
    image, alpha, _ = scene()
    exact, rounded = (
        estimate_foreground(
            image, alpha, "network", network=Models(device="cpu", dtype=dtype).foreground_network
        )
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - rounded).max() < 0.1


def test_a_cut_out_asks_the_network_that_its_owner_has_loaded(monkeypatch):
    loaded = []
    load = NetworkEstimator.load
    monkeypatch.setattr(
        NetworkEstimator, "load", lambda **where: loaded.append(where) or load(**where)
    )
    models = Models(device="cpu", dtype="float32")
    image, alpha, _ = scene()
    for _ in range(2):
        cutout.cut_out(
            image,
            cutout.Guided(alpha, ""),
            models.matter(),
            Recipe(refine="off", foreground="network"),
            foreground_network=models.foreground_network,
        )
    assert loaded == [{"device": "cpu", "dtype": "float32"}]


def test_bad_tiles_are_refused():
    for tile_px in (32, 100):
        with pytest.raises(ValueError, match=f"multiple of 32 and at least 64, got {tile_px}"):
            estimator(_Inverse(), tile_px=tile_px, overlap_px=8)
    with pytest.raises(ValueError, match="overlap_px must lie between 0 and half of tile_px, got"):
        estimator(_Inverse(), tile_px=64, overlap_px=32)


def test_bad_input_is_refused():
    image, alpha, _ = scene()
    with pytest.raises(ValueError, match=r"method must be one of multilevel, .*raw, got 'magic'"):
        estimate_foreground(image, alpha, "magic")
    with pytest.raises(ValueError, match=r"alpha must have the image's size 48x48, got 47x48"):
        estimate_foreground(image, alpha[:, 1:])
    with pytest.raises(ValueError, match=r"image must be of shape \(H, W, 3\), got \(48, 48\)"):
        estimate_foreground(alpha, alpha)
