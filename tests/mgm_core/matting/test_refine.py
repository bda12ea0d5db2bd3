import re

import numpy as np
import pytest
import torch

from mgm_core.matting.laplacian import STRENGTHS, ColourLines, undecided, without_grain
from mgm_core.matting.matter import Matter
from mgm_core.matting.refine import ROUNDS, ColourLineRefiner, all_looks
from mgm_core.matting.sampling import by_samples
from mgm_core.networks.alpha_fusion_net import CANDIDATES, LOOKS, STRIDE, ColourLineNetwork
from mgm_core.networks.prn import PRN

EPSILON = 1e-7  # pymatting's, in the windows' covariance


def _composite(height, width, seed=0):
    """Return an image of two plain colours, its alpha, and a prior that has lost the detail."""
    generator = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.float32)
    alpha[:, width // 3 : 2 * width // 3] = generator.random((height, 1), np.float32)
    alpha[:, 2 * width // 3 :] = 1
    image = alpha[..., None] * np.float32([0.9, 0.3, 0.1]) + (1 - alpha[..., None]) * np.float32(
        [0.1, 0.4, 0.8]
    )
    prior = np.where((alpha > 0) & (alpha < 1), np.float32(0.5), alpha)
    return image.astype(np.float32), alpha, prior


def test_undecided_is_what_lies_between_and_what_is_near():
    alpha = np.zeros((1, 40), np.float32)
    alpha[:, 20:] = 1
    assert not undecided(alpha).any()
    alpha[:, 19] = 0.5
    assert np.flatnonzero(undecided(alpha)[0]).tolist() == list(range(12, 27))
    alpha[:, 19] = 0.9 / 255  # 0 to eight bits
    assert not undecided(alpha).any()


def test_a_weak_prior_follows_the_image_and_a_strong_one_the_network():
    image, alpha, prior = _composite(24, 30)
    where = undecided(prior)
    weak, strong = ColourLines(image, where).alphas(prior, (1e-4, 1e4))
    before = np.abs(prior - alpha)[where].mean()
    assert before > 0.1
    assert np.abs(weak - alpha)[where].mean() < 0.02 * before
    assert np.abs(strong - prior).max() < 1e-3


def test_it_solves_what_the_definition_says():
    generator = np.random.default_rng(1)
    image = generator.random((7, 8, 3), np.float32)
    prior = generator.random((7, 8), np.float32)
    where = np.zeros((7, 8), np.bool_)
    where[2:5, 1:7] = True

    laplacian = np.zeros((56, 56))
    for y in range(1, 6):
        for x in range(1, 7):
            if not where[y - 1 : y + 2, x - 1 : x + 2].any():
                continue
            pixels = [(y + j) * 8 + x + i for j in (-1, 0, 1) for i in (-1, 0, 1)]
            colours = image.reshape(-1, 3)[pixels].astype(np.float64)
            centred = colours - colours.mean(0)
            inverse = np.linalg.inv(centred.T @ centred / 9 + EPSILON / 9 * np.eye(3))
            laplacian[np.ix_(pixels, pixels)] += np.eye(9) - (1 + centred @ inverse @ centred.T) / 9
    inside = where.ravel()
    strength = 0.01
    wanted_prior = prior.ravel()[inside].astype(np.float64)
    weight = strength * 0.25 / (wanted_prior * (1 - wanted_prior) + 0.05)
    solved = np.linalg.solve(
        laplacian[np.ix_(inside, inside)] + np.diag(weight),
        weight * wanted_prior - laplacian[np.ix_(inside, ~inside)] @ prior.ravel()[~inside],
    )
    found = ColourLines(image, where).alphas(prior, [strength])[0]
    np.testing.assert_allclose(found[where], solved.clip(0, 1), atol=2e-3)
    assert (found[~where] == prior[~where]).all()


def test_nothing_to_solve_for_leaves_alpha():
    image, alpha, _ = _composite(12, 15)
    solved = ColourLines(image, np.zeros(alpha.shape, np.bool_)).alphas(alpha)
    assert solved.shape == (len(STRENGTHS), *alpha.shape)
    assert (solved == alpha).all()


def test_a_second_prior_is_solved_for_as_if_it_were_the_first():
    image, alpha, prior = _composite(24, 30)
    where = undecided(prior)
    lines = ColourLines(image, where)
    lines.alphas(prior)
    again = lines.alphas(alpha)
    np.testing.assert_allclose(again, ColourLines(image, where).alphas(alpha), atol=2e-3)


@pytest.mark.parametrize("picture", ["grey", "plain"])
def test_pictures_without_colour_lines_still_give_alphas(picture):
    image, _, prior = _composite(24, 30)
    if picture == "grey":
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    else:
        image = np.full_like(image, 0.5)
    solved = ColourLines(image, undecided(prior)).alphas(prior)
    assert np.isfinite(solved).all()
    assert solved.min() >= 0
    assert solved.max() <= 1


def test_steps_between_a_jpegs_blocks_are_smoothed_and_strands_stay():
    step, strand = np.float32(0.008), np.float32(0.1)
    rows, columns = np.indices((64, 64)) // 8
    image = np.full((64, 64, 3), 0.2, np.float32)
    image += step * ((rows + columns) % 2)[..., None].astype(np.float32)
    image[:, 30] += strand
    smooth = without_grain(image)
    assert smooth.dtype == np.float32
    assert np.abs(np.diff(smooth[:, :26], axis=1)).max() < 0.75 * step
    contrast = smooth[:, 30] - (smooth[:, 29] + smooth[:, 31]) / 2
    np.testing.assert_allclose(contrast, strand, atol=step)
    assert (without_grain(np.ones_like(image)) == 1).all()


def test_looks_not_taken_are_stood_for_by_the_last():
    planes = [np.full((2, 3), n, np.float32) for n in range(LOOKS)]
    for taken in range(1, LOOKS + 1):
        looks = all_looks(planes[:taken])
        assert looks.shape == (LOOKS, 2, 3)
        assert looks[:, 0, 0].tolist() == [min(n, taken - 1) for n in range(LOOKS)]


def test_what_does_not_fit_together_is_refused():
    image, alpha, prior = _composite(12, 15)
    where = undecided(prior)
    for image_, alpha_, where_ in (
        (image[1:], alpha, where),
        (image, alpha, where[1:]),
        (image, alpha[1:], where),
    ):
        with pytest.raises(ValueError, match="must have one size, got"):
            ColourLines(image_, where_).alphas(alpha_)
    text = "strengths must be above 0, got 0: 1e-3 is usual"
    with pytest.raises(ValueError, match=re.escape(text)):
        ColourLines(image, where).alphas(alpha, (1e-3, 0.0))
    text = "rounds must be 1 or more, got 0: 3 are usual"
    with pytest.raises(ValueError, match=re.escape(text)):
        ColourLineRefiner(ColourLineNetwork(), device="cpu", rounds=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = ColourLineNetwork()
    torch.nn.init.normal_(network.head.weight, std=1.0)
    return network.eval()


def test_the_network_begins_with_the_mean_and_learns_in_every_part():
    torch.manual_seed(1)
    network = ColourLineNetwork()
    image, guidance = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    candidates = torch.rand(2, CANDIDATES, 32, 48)
    alpha = network(image, guidance, candidates)
    assert alpha.shape == (2, 1, 32, 48)
    torch.testing.assert_close(alpha, candidates.mean(1, keepdim=True))
    torch.nn.init.normal_(network.head.weight)
    network(image, guidance, candidates).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_the_mean_is_pushed_as_far_as_the_highest_or_lowest_candidate():
    torch.manual_seed(1)
    network = ColourLineNetwork()
    image, guidance = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    candidates = torch.rand(2, CANDIDATES, 32, 48)
    mean = candidates.mean(1, keepdim=True)
    network(image, guidance, candidates).sum().backward()
    assert network.head.bias.grad[-1] > 0  # it is learned from the first step on
    for push, wanted in (
        (9.0, candidates.amax(1, keepdim=True)),
        (-9.0, candidates.amin(1, keepdim=True)),
        (np.arctanh(0.5), (mean + candidates.amax(1, keepdim=True)) / 2),
    ):
        network.head.bias.data[-1] = push
        torch.testing.assert_close(network(image, guidance, candidates), wanted)


def test_the_networks_alpha_lies_among_the_candidates(network):
    torch.manual_seed(2)
    image, guidance = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    candidates = torch.rand(2, CANDIDATES, 32, 48)
    alpha = network(image, guidance, candidates)[:, 0]
    assert (alpha >= candidates.amin(1) - 1e-6).all()
    assert (alpha <= candidates.amax(1) + 1e-6).all()
    assert (alpha - candidates.mean(1)).abs().max() > 0.1
    each = [[planes[i : i + 1] for planes in (image, guidance, candidates)] for i in (0, 1)]
    alone = torch.cat([network(*planes)[:, 0] for planes in each])
    torch.testing.assert_close(alpha, alone, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def refiner():
    return ColourLineRefiner.load(device="cpu", dtype="float32")


def test_the_bundled_network_makes_alpha_better_and_only_where_it_is_asked(refiner):
    image, alpha, prior = _composite(60, 90)
    where = undecided(prior)
    where[:20] = False
    refined = refiner(image, prior, prior, where)
    assert refined.dtype == np.float32
    assert (refined[~where] == prior[~where]).all()
    before, after = (((a - alpha)[where] ** 2).mean() for a in (prior, refined))
    assert after < 0.5 * before
    assert (refiner(image, prior, prior, np.zeros_like(where)) == prior).all()


def test_tiles_agree_with_the_whole(refiner):
    image, _, prior = _composite(200, 150)
    where = undecided(prior)
    tiled = ColourLineRefiner(
        refiner.network, device="cpu", dtype="float32", tile_px=128, overlap_px=56
    )
    whole = refiner(image, prior, prior, where)
    apart, changed = (np.abs(a - whole).mean() for a in (tiled(image, prior, prior, where), prior))
    assert apart < 0.1 * changed


def test_tiles_with_nothing_undecided_cost_nothing(refiner, monkeypatch):
    image, _, prior = _composite(300, 64)
    where = np.zeros(prior.shape, np.bool_)
    where[:8, 30], where[290:, 30] = True, True
    tiles = ColourLineRefiner(
        refiner.network, device="cpu", dtype="float32", tile_px=64, overlap_px=16
    )
    passes = []
    inner = tiles._pass
    monkeypatch.setattr(tiles, "_pass", lambda *a: passes.append(a[0].shape) or inner(*a))
    tiles(image, prior, prior, where)
    assert len(passes) == 2
    assert all(side <= 64 for shape in passes for side in shape[:2])


def test_matter_refines_where_alpha_is_undecided_or_the_trimap_is():
    torch.manual_seed(3)
    calls = []

    class _Refiner:
        def __call__(self, image, guidance, alpha, where, closer):
            calls.append(([look.copy() for look in closer], where.copy()))
            return np.where(where, np.float32(0.25), alpha)

    matter = Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=_Refiner)
    image, _, prior = _composite(64, 90)
    assert not calls
    plain = matter.matte(image, prior).alpha
    assert not calls
    refined = matter.matte(image, prior, colour_lines=True).alpha
    closer, where = calls[0]
    assert len(closer) == 3
    mirrored = matter.matte(image[:, ::-1].copy(), prior[:, ::-1].copy()).alpha[:, ::-1]
    assert (closer[2] == mirrored).all()
    assert (where == undecided(np.mean([plain, *closer], axis=0))).all()
    assert where[undecided(plain)].all()
    assert (refined == np.where(where, np.float32(0.25), plain)).all()
    known = np.where((prior > 0) & (prior < 1), np.float32(0.5), prior)
    enforced = matter.matte(image, known, known=known, colour_lines=True).alpha
    closer, where = calls[1]
    assert (where == (known == 0.5)).all()
    assert all((look[~where] == known[~where]).all() for look in closer)
    assert (enforced == np.where(known == 0.5, np.float32(0.25), known)).all()


def test_what_one_look_is_sure_of_and_another_denies_is_undecided(monkeypatch):
    torch.manual_seed(4)
    matter = Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32", refiner=_Whole)
    alpha, closer = np.ones((40, 50), np.float32), np.ones((40, 50), np.float32)
    closer[20, 20] = 0
    monkeypatch.setattr(matter, "closer_looks", lambda *_: [alpha, closer])
    refined = matter._by_colour_lines(np.zeros((40, 50, 3), np.float32), alpha, alpha, None)
    assert refined[20, 20] == 0.5
    assert (refined == 1).sum() == refined.size - (refined == 0.5).sum()
    assert not undecided(alpha).any()


class _Whole:
    """Refines everything undecided to 0.5."""

    def __call__(self, image, guidance, alpha, where, closer):
        return np.where(where, np.float32(0.5), alpha)


def test_each_round_starts_from_the_alpha_of_the_one_before(refiner):
    image, alpha, prior = _composite(64, 96)
    where = undecided(prior)
    looks = all_looks([prior])
    rounds = [
        ColourLineRefiner(refiner.network, device="cpu", dtype="float32", rounds=n)
        for n in (1, 2, 3)
    ]
    refined = [each(image, prior, prior, where) for each in rounds]
    for n in (1, 2, 3):
        candidates = refiner.candidates(image, prior, looks, where, n)
        assert candidates.shape == (CANDIDATES, *prior.shape)
        assert (candidates[:LOOKS] == prior).all()
        before = prior if n == 1 else refined[n - 2]
        np.testing.assert_allclose(candidates[LOOKS], before, atol=1e-5)
        lines = ColourLines(without_grain(image), where).alphas(before)
        np.testing.assert_allclose(candidates[LOOKS + 1 : -2], lines, atol=2e-3)
        assert (candidates[-2] == prior).all()  # the looks' mean
        assert (candidates[-1] == by_samples(without_grain(image), prior, where)).all()
    errors = [((a - alpha)[where] ** 2).mean() for a in refined]
    assert errors[1] < errors[0]
    assert (refiner(image, prior, prior, where) == refined[ROUNDS - 1]).all()


def test_large_images_get_one_round_less(refiner, monkeypatch):
    rounds = []
    inner = refiner.candidates
    monkeypatch.setattr(refiner, "candidates", lambda *a: rounds.append(a[-1]) or inner(*a))
    for width in (1280, 1281):
        image, _, prior = _composite(64, width)
        where = np.zeros(prior.shape, np.bool_)
        where[20:30, 500:510] = True
        refiner(image, prior, prior, where)
    assert rounds == [3, 2]


def test_closer_looks_help_where_the_first_errs(refiner):
    image, alpha, prior = _composite(60, 90)
    # Without noise, lines find all of alpha by themselves, and there is nothing to help with.
    noise = np.random.default_rng(0).normal(0, 0.02, image.shape)
    image = (image + noise).clip(0, 1).astype(np.float32)
    where = undecided(prior)
    errors = [
        ((refiner(image, prior, prior, where, closer) - alpha)[where] ** 2).mean()
        for closer in ([], [prior], [alpha])
    ]
    assert errors[0] == errors[1]
    assert errors[2] < 0.9 * errors[0]


def test_sides_need_not_be_multiples_of_the_stride(refiner):
    image, _, prior = _composite(STRIDE * 3 + 5, STRIDE * 4 + 3)
    assert refiner(image, prior, prior, undecided(prior)).shape == prior.shape
