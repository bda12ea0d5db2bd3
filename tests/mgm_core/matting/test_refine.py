import functools
import re

import numpy as np
import pytest
import torch

from mgm_core.matting.laplacian import MattingLaplacian, smooth_compression_noise
from mgm_core.matting.matter import VIEWS_PX, Matter
from mgm_core.matting.refine import (
    BAND_KERNEL_PX,
    CandidateAlphas,
    Refiner,
    mean_view,
    unknown_region,
)
from mgm_core.matting.sampling import sample_alpha
from mgm_core.networks.fusion_net import (
    CANDIDATES,
    PRIOR_WEIGHTS,
    STRIDE,
    VIEWS,
    FusionNetwork,
)
from mgm_core.networks.prn import PRN


def _composite(height, width, seed=0):
    """Return an image of two plain colours, its alpha, and a view that has lost the detail."""
    generator = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.float32)
    alpha[:, width // 3 : 2 * width // 3] = generator.random((height, 1), np.float32)
    alpha[:, 2 * width // 3 :] = 1
    image = alpha[..., None] * np.float32([0.9, 0.3, 0.1]) + (1 - alpha[..., None]) * np.float32(
        [0.1, 0.4, 0.8]
    )
    view = np.where((alpha > 0) & (alpha < 1), np.float32(0.5), alpha)
    return image.astype(np.float32), alpha, view


def test_the_unknown_region_is_what_lies_between_and_what_is_near():
    alpha = np.zeros((1, 40), np.float32)
    alpha[:, 20:] = 1
    assert not unknown_region(alpha).any()
    alpha[:, 19] = 0.5
    assert np.flatnonzero(unknown_region(alpha)[0]).tolist() == list(range(16, 23))
    assert np.flatnonzero(unknown_region(alpha, 15)[0]).tolist() == list(range(12, 27))
    alpha[:, 19] = 0.9 / 255  # 0 to eight bits
    assert not unknown_region(alpha).any()


def test_the_candidates_are_the_views_their_mean_solutions_and_samples():
    image, alpha, view = _composite(48, 60)
    other = (0.5 * view + 0.5 * alpha).astype(np.float32)
    mean = (view + other) / 2
    unknown = unknown_region(mean)
    views = [view, other]
    candidates = CandidateAlphas(image, mean_view(views), unknown)(views)
    assert candidates.shape == (CANDIDATES, 48, 60)
    assert candidates.dtype == np.float32
    views, (mean_, *solutions), (samples, sampled) = np.split(candidates, [VIEWS, -2])
    assert (views == [view, other]).all()
    np.testing.assert_allclose(mean_, mean, atol=1e-6)
    smooth = smooth_compression_noise(image)
    assert (samples == sample_alpha(smooth, mean_, unknown)).all()
    laplacian = MattingLaplacian(smooth, mean_, unknown)
    for prior, weight, solution in zip(
        [mean_] * 3 + [samples], [*PRIOR_WEIGHTS, 1e-2], [*solutions, sampled], strict=True
    ):
        np.testing.assert_allclose(laplacian.solve([prior], [weight])[0], solution, atol=2e-3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = FusionNetwork()
    torch.nn.init.normal_(network.head.weight, std=1.0)
    return network.eval()


def _inputs(seed):
    torch.manual_seed(seed)
    sizes = (2, 3, 32, 48), (2, 1, 32, 48), (2, CANDIDATES, 32, 48)
    return [torch.rand(size) for size in sizes]


def test_the_network_begins_with_the_mean_and_learns_in_every_part():
    inputs = _inputs(1)
    network = FusionNetwork()
    alpha = network(*inputs)
    assert alpha.shape == (2, 1, 32, 48)
    torch.testing.assert_close(alpha, inputs[2].mean(1, keepdim=True))
    torch.nn.init.normal_(network.head.weight)
    network(*inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_the_mean_is_pushed_as_far_as_the_highest_or_lowest_candidate():
    inputs = _inputs(1)
    network = FusionNetwork()
    candidates = inputs[2]
    mean = candidates.mean(1, keepdim=True)
    network(*inputs).sum().backward()
    assert network.head.bias.grad[-1] > 0  # it is learned from the first step on
    for push, wanted in (
        (9.0, candidates.amax(1, keepdim=True)),
        (-9.0, candidates.amin(1, keepdim=True)),
        (np.arctanh(0.5), (mean + candidates.amax(1, keepdim=True)) / 2),
    ):
        network.head.bias.data[-1] = push
        torch.testing.assert_close(network(*inputs), wanted)


def test_the_networks_alpha_lies_among_the_candidates(network):
    inputs = _inputs(2)
    candidates = inputs[2]
    alpha = network(*inputs)[:, 0]
    assert (alpha >= candidates.amin(1) - 1e-6).all()
    assert (alpha <= candidates.amax(1) + 1e-6).all()
    assert (alpha - candidates.mean(1)).abs().max() > 0.1
    alone = torch.cat([network(*(planes[i : i + 1] for planes in inputs))[:, 0] for i in (0, 1)])
    torch.testing.assert_close(alpha, alone, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def refiner():
    return Refiner.load(device="cpu", dtype="float32")


def test_the_bundled_network_makes_alpha_better_and_only_where_it_is_unknown(refiner):
    image, alpha, view = _composite(60, 90)
    unknown = unknown_region(view)
    unknown[:20] = False
    refined = refiner(image, view, [view], unknown)
    assert refined.dtype == np.float32
    assert (refined[~unknown] == view[~unknown]).all()
    before, after = (((a - alpha)[unknown] ** 2).mean() for a in (view, refined))
    assert after < 0.5 * before
    assert (refiner(image, view, [view], np.zeros_like(unknown)) == view).all()


def test_a_second_view_helps_where_the_first_errs(refiner):
    image, alpha, view = _composite(60, 90)
    # Without noise, the Laplacian finds all of alpha by itself, and there is nothing to help with.
    noise = np.random.default_rng(0).normal(0, 0.02, image.shape)
    image = (image + noise).clip(0, 1).astype(np.float32)
    unknown = unknown_region(view)
    once = Refiner(refiner.network, device="cpu", dtype="float32", rounds=1)
    errors = [
        ((once(image, view, views, unknown) - alpha)[unknown] ** 2).mean()
        for views in ([view], [view, view], [view, alpha])
    ]
    assert errors[0] == errors[1]
    assert errors[2] < 0.9 * errors[0]


@pytest.mark.parametrize("count", [0, 3])
def test_other_numbers_of_views_are_refused(refiner, count):
    image, _, view = _composite(24, 30)
    with pytest.raises(ValueError, match=re.escape(f"views must be 1 or 2, got {count}: ")):
        refiner(image, view, [view] * count, unknown_region(view))


def test_solving_in_tiles_agrees_with_the_whole(refiner):
    image, _, view = _composite(200, 150)
    unknown = unknown_region(view)
    tiled = Refiner(refiner.network, device="cpu", dtype="float32", tile_px=128, overlap_px=56)
    whole = refiner(image, view, [view], unknown)
    apart, changed = (np.abs(a - whole).mean() for a in (tiled(image, view, [view], unknown), view))
    assert apart < 0.1 * changed


def test_the_fusion_networks_tiles_agree_with_the_whole(refiner, monkeypatch):
    image, _, view = _composite(210, 150)
    unknown = unknown_region(view)
    whole = refiner(image, view, [view], unknown)
    monkeypatch.setattr("mgm_core.matting.refine._FUSION_TILE_PX", 128)
    monkeypatch.setattr("mgm_core.matting.refine._FUSION_OVERLAP_PX", 48)
    tiles = Refiner(refiner.network, device="cpu", dtype="float32")
    tiled = tiles(image, view, [view], unknown)
    assert np.abs(tiled - whole).mean() < 1 / 255
    assert np.quantile(np.abs(tiled - whole), 0.999) < 12 / 255
    assert np.abs(tiled - whole).max() > 0


def test_the_fusion_network_computes_no_more_than_the_unknown_region_needs(network):
    """What it costs grows with the unknown region, not with the image."""
    pixels = []
    network.register_forward_pre_hook(lambda _, args: pixels.append(args[1].numel()))
    refiner = Refiner(network, device="cpu", dtype="float32", rounds=1)
    for height, width in ((128, 128), (128, 900), (700, 900)):
        view = np.zeros((height, width), np.float32)
        view[:, 60:] = 1
        view[50:70, 50:70] = 0.5
        image = np.random.default_rng(0).random((height, width, 3), np.float32)
        refiner(image, view, [view], unknown_region(view))
    assert len(pixels) == 3
    assert max(pixels) <= (26 + 2 * 32 + STRIDE) ** 2


def test_tiles_with_nothing_unknown_cost_nothing(refiner):
    image, _, view = _composite(300, 64)
    unknown = np.zeros(view.shape, np.bool_)
    unknown[:8, 30], unknown[290:, 30] = True, True
    solved = []

    def candidates(image, mean, unknown):
        solved.append(unknown.shape)
        return CandidateAlphas(image, mean, unknown)

    tiles = Refiner(
        refiner.network,
        device="cpu",
        dtype="float32",
        tile_px=64,
        overlap_px=16,
        candidates=candidates,
    )
    tiles(image, view, [view], unknown)
    assert len(solved) == 2
    # What surrounds the unknown pixels, up to the tile's borders.
    assert sorted(solved) == [(40, 63), (42, 63)]


def test_sides_need_not_be_multiples_of_the_stride(refiner):
    image, _, view = _composite(STRIDE * 3 + 5, STRIDE * 4 + 3)
    assert refiner(image, view, [view], unknown_region(view)).shape == view.shape


def test_matter_refines_where_alpha_is_uncertain_or_the_trimap_is_unknown():
    torch.manual_seed(3)
    calls = []

    def refiner(image, guidance, views, unknown):
        calls.append(([view.copy() for view in views], unknown.copy()))
        return np.where(unknown, np.float32(0.25), views[0])

    matter = Matter(
        PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=lambda weights: refiner
    )
    image, _, view = _composite(64, 90)
    plain = matter.matte(image, view).alpha
    assert not calls
    refined = matter.matte(image, view, refine="full").alpha
    views, unknown = calls[0]
    assert len(views) == VIEWS
    assert (views[0] == plain).all()
    assert (views[1] == matter.magnified_view(image, view)).all()
    assert (unknown == unknown_region(np.stack(views).mean(0))).all()
    assert (refined == np.where(unknown, np.float32(0.25), plain)).all()
    known = np.where((view > 0) & (view < 1), np.float32(0.5), view)
    enforced = matter.matte(image, known, known=known, refine="full").alpha
    views, unknown = calls[1]
    assert (unknown == (known == 0.5)).all()
    assert all((each[~unknown] == known[~unknown]).all() for each in views)
    assert (enforced == np.where(known == 0.5, np.float32(0.25), known)).all()


def test_trimaps_and_masks_are_refined_by_weights_of_their_own():
    asked = []

    def refiner(weights):
        asked.append(weights)
        return lambda image, guidance, views, unknown, rounds=2: views[0]

    matter = Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=refiner)
    image, _, view = _composite(64, 90)
    known = np.where((view > 0) & (view < 1), np.float32(0.5), view)
    for refinement in ("full", "half"):
        matter.matte(image, view, refine=refinement)
        matter.matte(image, known, known=known, refine=refinement)
    assert asked == ["fusion_mask", "fusion"] * 2


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_half_the_size_is_refined_once_and_enlarged_where_it_was_uncertain(monkeypatch, scale):
    torch.manual_seed(3)
    calls = []

    def squares(size):
        return np.indices(size, np.float32).sum(0) % 2

    def refiner(image, guidance, views, unknown, rounds):
        assert image.shape[:2] == guidance.shape == unknown.shape
        calls.append((views, unknown, rounds))
        return np.where(unknown, squares(unknown.shape), views[0])

    image, _, view = _composite(64, 90)
    monkeypatch.setattr("mgm_core.matting.refine.LEAST_REFINED_PX", scale**2 * view.size)
    matter = Matter(
        PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=lambda weights: refiner
    )
    plain = matter.matte(image, view).alpha
    refined = matter.matte(image, view, refine="half").alpha
    (((small,), where, rounds),) = calls
    assert rounds == 1
    assert small.shape == (64 * scale, 90 * scale)
    assert (where == unknown_region(small)).all()
    unknown = unknown_region(plain)
    assert (refined[~unknown] == plain[~unknown]).all()
    assert np.abs(refined[unknown] - plain[unknown]).max() > 0.1
    if scale == 1:
        assert (refined[unknown] == squares(plain.shape)[unknown]).all()
    known = np.where((view > 0) & (view < 1), np.float32(0.5), view)
    enforced = matter.matte(image, known, known=known, refine="half").alpha
    assert (enforced[known != 0.5] == known[known != 0.5]).all()
    whole = np.ones_like(view)
    assert (matter.matte(image, whole, known=whole, refine="half").alpha == 1).all()
    assert len(calls) == 2  # there was nothing to refine


def test_what_one_view_is_sure_of_and_another_denies_is_unknown(monkeypatch):
    torch.manual_seed(4)
    regions = []

    def refiner(image, guidance, views, unknown):
        regions.append(unknown)
        return views[0]

    matter = Matter(
        PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=lambda weights: refiner
    )
    view, magnified = np.ones((40, 50), np.float32), np.ones((40, 50), np.float32)
    magnified[20, 20] = 0
    monkeypatch.setattr(matter, "magnified_view", lambda *_: magnified)
    matter._refine(np.zeros((40, 50, 3), np.float32), view, view, None)
    assert regions[0][20, 20]
    assert regions[0].sum() < 50


def test_a_large_image_has_one_view(monkeypatch):
    matter = Matter(
        PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=lambda weights: refiner
    )
    counts = []

    def refiner(image, guidance, views, unknown):
        counts.append(len(views))
        return views[0]

    monkeypatch.setattr("mgm_core.matting.matter.VIEWS_PX", 64 * 64 * (1.001 + 1.05**2))
    for side in (64, 65):
        plane = np.zeros((side, side), np.float32)
        matter.matte(np.zeros((side, side, 3), np.float32), plane, refine="full")
    assert counts == [2, 1]
    assert VIEWS_PX > 1000 * 1200 * (1 + 1.05**2)  # a photograph of a common size has two


def test_a_second_round_fuses_what_the_first_left_between():
    image, _, view = _composite(48, 60)
    unknown = np.zeros(view.shape, np.bool_)
    unknown[10:40, 10:50] = True
    view = np.where(unknown, view, np.float32(0))
    rounds = []

    class Given:
        def __init__(self, *_):
            rounds.append([])

        def __call__(self, views):
            rounds[-1].append(views[0].copy())
            return np.zeros((CANDIDATES, *view.shape), np.float32)

    def run(*planes, left):
        alpha = np.full((1, 1, *planes[0].shape[2:]), len(rounds[-1]) / 10, np.float32)
        return np.where(np.arange(planes[0].shape[3]) < left, alpha, np.float32(0.99))

    def refined(left):
        refiner = Refiner(
            FusionNetwork(),
            device="cpu",
            dtype="float32",
            rounds=3,
            candidates=Given,
            run=functools.partial(run, left=left),
        )
        return refiner(image, view, [view], unknown)

    alpha = refined(left=30)
    near = BAND_KERNEL_PX // 2
    assert len(rounds[0]) == 3
    # The last round's alpha where no round came near 0 or 1, and around; else that of the first.
    assert (alpha[10:40, 10:30] == np.float32(0.3)).all()
    assert (alpha[10:40, 30 + near : 50] == np.float32(0.99)).all()
    assert (alpha[~unknown] == view[~unknown]).all()
    assert (refined(left=0)[unknown] == np.float32(0.99)).all()
    assert len(rounds[1]) == 1  # nothing was left for a second round


def test_a_second_round_starts_from_the_alpha_of_the_first(refiner):
    image, _, view = _composite(48, 60)
    unknown = unknown_region(view)
    once, twice = (
        Refiner(refiner.network, device="cpu", dtype="float32", rounds=rounds) for rounds in (1, 2)
    )
    first = once(image, view, [view], unknown)
    seen = []

    class Noted(CandidateAlphas):
        def __call__(self, views):
            seen.append(views)
            return super().__call__(views)

    noted = Refiner(refiner.network, device="cpu", dtype="float32", rounds=2, candidates=Noted)
    assert np.array_equal(noted(image, view, [view], unknown), twice(image, view, [view], unknown))
    assert len(seen) == 2
    for again in seen[1]:
        assert np.array_equal(again[unknown], first[unknown])
