"""Foreground colours by network and closed form, and who chooses between them."""

import numpy as np
import pytest
import torch

from mgm_core.foreground.closed_form import closed_form_colours
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.foreground.fusion import FusedEstimator
from mgm_core.networks.checkpoint import CheckpointError, load_foreground_weigher
from mgm_core.networks.foreground_fusion_net import (
    COLOUR_CANDIDATES,
    COLOUR_LOOKS,
    COLOUR_STRENGTHS,
    ForegroundWeigher,
)
from mgm_core.networks.foreground_net import ForegroundNetwork


def _noise(height, width, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.random((height, width, 3), dtype=np.float32)
    return image, generator.random((height, width), dtype=np.float32)


def _scene(height=72, width=90):
    """A soft disc of one colour running into another, over stripes."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    alpha = np.clip((height * 0.4 - np.hypot(y - height / 2, x - width / 2)) / 16 + 0.5, 0, 1)
    foreground = np.stack([0.7 + 0.2 * x / width, 0.3 + 0 * x, 0.2 + 0.3 * y / height], axis=2)
    background = np.where((x // 15 % 2 == 0)[..., None], [0.1, 0.5, 0.3], [0.2, 0.6, 0.9])
    image = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    return (a.astype(np.float32) for a in (image, alpha, foreground, background))


def _solved_slowly(image, alpha, foreground, background, strength):
    """Minimise the sum of squares over all pixels, written down row by row."""
    height, width = alpha.shape
    count = alpha.size
    a = alpha.ravel().astype(np.float64)
    rows, right = [], []
    for i in range(count):
        data = np.zeros(2 * count)
        data[[i, count + i]] = a[i], 1 - a[i]
        rows.append(data)
        right.append(image.reshape(-1, 3)[i])
        for k, prior in enumerate((foreground, background)):
            near = np.zeros(2 * count)
            near[k * count + i] = np.sqrt(strength)
            rows.append(near)
            right.append(np.sqrt(strength) * prior.reshape(-1, 3)[i])
        y, x = divmod(i, width)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                j = (y + dy) * width + x + dx
                for k in (0, count):
                    smooth = np.zeros(2 * count)
                    smooth[k + i], smooth[k + j] = 1, -1
                    rows.append(np.sqrt(abs(a[i] - a[j]) + 1e-5) * smooth)
                    right.append(np.zeros(3))
    solution = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return solution[:count].reshape(height, width, 3).clip(0, 1)


@pytest.mark.parametrize("strength", [3e-3, 1e-1, 2.0])
def test_closed_form_colours_are_the_least_squares_solution(strength):
    image, alpha = _noise(6, 7)
    alpha = 0.1 + 0.8 * alpha
    foreground, _ = _noise(6, 7, 1)
    background, _ = _noise(6, 7, 2)
    found = closed_form_colours(image, alpha, foreground, background, [strength])[0]
    slow = _solved_slowly(image, alpha, foreground, background, strength)
    np.testing.assert_allclose(found, slow, atol=6e-3)


def test_a_weak_prior_follows_the_image_and_a_strong_one_the_prior():
    image, alpha, foreground, _ = _scene()
    weak, strong = closed_form_colours(image, alpha, image, image, (1e-4, 1e4))
    soft = (alpha > 0.05) & (alpha < 1)
    before = np.abs(image - foreground)[soft].mean()
    assert np.abs(weak - foreground)[soft].mean() < 0.35 * before
    assert np.abs(strong - image)[soft].mean() < 0.01 * before
    # The order of the strengths is the caller's.
    again = closed_form_colours(image, alpha, image, image, (1e4, 1e-4))
    np.testing.assert_allclose(again[::-1], [weak, strong], atol=1e-6)


def test_colours_are_the_priors_where_nothing_is_soft():
    image, _ = _noise(20, 30)
    alpha = np.zeros((20, 30), np.float32)
    alpha[:, :15] = 1
    foreground, _ = _noise(20, 30, 1)
    found = closed_form_colours(image, alpha, foreground, image, COLOUR_STRENGTHS)
    assert found.shape == (3, 20, 30, 3)
    assert (found == foreground).all()
    alpha[:, 14] = 0.5
    found = closed_form_colours(image, alpha, foreground, image, COLOUR_STRENGTHS)
    changed = (found != foreground).any(axis=(0, 3))
    assert changed[:, 14].all()
    assert not changed[:, :13].any()
    assert not changed[:, 16:].any()


def test_what_cannot_be_solved_for_is_refused():
    image, alpha = _noise(8, 9)
    with pytest.raises(ValueError, match=r"background must have alpha's size \(8, 9\) and 3 col"):
        closed_form_colours(image, alpha, image, image[1:], [1e-3])
    with pytest.raises(ValueError, match=r"strengths must be above 0, got 0: 3e-3 is usual"):
        closed_form_colours(image, alpha, image, image, [1e-3, 0])


@pytest.fixture(scope="module")
def weigher():
    torch.manual_seed(0)
    weigher = ForegroundWeigher()
    torch.nn.init.normal_(weigher.head.weight, std=1.0)
    return weigher.eval()


def test_the_weigher_begins_with_the_mean_and_learns_in_every_part():
    torch.manual_seed(1)
    weigher = ForegroundWeigher()
    image, alpha = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    candidates = torch.rand(2, COLOUR_CANDIDATES, 3, 32, 48)
    colours = weigher(image, alpha, candidates)
    assert colours.shape == (2, 3, 32, 48)
    torch.testing.assert_close(colours, candidates.mean(1))
    torch.nn.init.normal_(weigher.head.weight)
    weigher(image, alpha, candidates).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in weigher.parameters())


def test_the_weighed_colours_lie_among_the_candidates(weigher):
    torch.manual_seed(2)
    image, alpha = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    candidates = torch.rand(2, COLOUR_CANDIDATES, 3, 32, 48)
    colours = weigher(image, alpha, candidates)
    assert (colours >= candidates.amin(1) - 1e-6).all()
    assert (colours <= candidates.amax(1) + 1e-6).all()
    assert (colours - candidates.mean(1)).abs().max() > 0.1
    alone = torch.cat(
        [weigher(image[i : i + 1], alpha[i : i + 1], candidates[i : i + 1]) for i in (0, 1)]
    )
    torch.testing.assert_close(colours, alone, atol=1e-5, rtol=0)


def _untrained(weigher=None, **settings):
    torch.manual_seed(0)
    network = ForegroundNetwork()
    torch.nn.init.normal_(network.head.weight, 0, 0.05)
    return FusedEstimator(
        network, weigher or ForegroundWeigher(), device="cpu", dtype="float32", **settings
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (64, 32)])
def test_images_of_any_size_are_taken(size):
    image, alpha = _noise(*size)
    estimator = _untrained()
    candidates = estimator.candidates(image, alpha)
    assert candidates.shape == (COLOUR_CANDIDATES, *size, 3)
    assert candidates.min() >= 0
    assert candidates.max() <= 1
    found = estimator(image, alpha)
    # A weigher that has learned nothing gives the mean.
    np.testing.assert_allclose(found, candidates.mean(0), atol=1e-5)


def test_the_second_look_is_the_first_ones_mirror_image_at_twice_the_size(monkeypatch):
    image, alpha = _noise(40, 50)
    estimator = _untrained()
    seen = []
    inner = estimator._computed
    monkeypatch.setattr(
        estimator, "_computed", lambda f, x, a: seen.append((x.shape, a)) or inner(f, x, a)
    )
    first, second = estimator.candidates(image, alpha)[:COLOUR_LOOKS]
    assert [shape for shape, _ in seen] == [(40, 50, 3), (80, 100, 3)]
    assert np.abs(seen[1][1][::2, ::-2] - alpha).mean() < 0.15
    assert not np.array_equal(first, second)
    # Colours that change nothing change nothing at either size.
    flat = np.full((40, 50, 3), 0.5, np.float32)
    plain = FusedEstimator(ForegroundNetwork(), ForegroundWeigher(), device="cpu", dtype="float32")
    np.testing.assert_allclose(plain.candidates(flat, alpha), 0.5, atol=1e-3)


def test_tiles_are_nearly_what_is_found_at_once(weigher):
    image, alpha = _noise(64, 192)
    image, alpha = (np.sort(array, axis=1) for array in (image, alpha))
    whole = _untrained(weigher)(image, alpha)
    tiled = _untrained(weigher, tile_px=128, overlap_px=60)(image, alpha)
    change = np.abs(whole - image).mean()
    assert change > 0.005
    assert np.abs(tiled - whole).mean() < 0.2 * change


def test_the_bundled_fusion_beats_the_network_alone():
    errors = {}
    image, alpha, foreground, _ = _scene(160, 200)
    soft = (alpha > 0) & (alpha < 1)
    for method in ("raw", "network", "fused"):
        found = estimate_foreground(image, alpha, method, device="cpu", dtype="float32")
        assert (found[alpha == 1] == image[alpha == 1]).all()
        errors[method] = ((found - foreground)[soft] ** 2).mean()
    assert errors["fused"] < 0.75 * errors["network"] < 0.5 * errors["raw"]


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match="weights must hold this network's keys"):
        load_foreground_weigher("colour_lines")
