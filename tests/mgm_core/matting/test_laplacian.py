import re

import numpy as np
import pytest

from mgm_core.matting.laplacian import MattingLaplacian, smooth_compression_noise
from mgm_core.matting.solver import multiply
from mgm_core.matting.stencil import LANES

EPSILON = 1e-7  # pymatting's, in the windows' covariance


def _composite(height, width, seed=0):
    """Return an image of two plain colours, its alpha, a prior without detail, and the unknown."""
    generator = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.float32)
    alpha[:, width // 3 : 2 * width // 3] = generator.random((height, 1), np.float32)
    alpha[:, 2 * width // 3 :] = 1
    image = alpha[..., None] * np.float32([0.9, 0.3, 0.1]) + (1 - alpha[..., None]) * np.float32(
        [0.1, 0.4, 0.8]
    )
    unknown = (alpha > 0) & (alpha < 1)
    return image.astype(np.float32), alpha, np.where(unknown, np.float32(0.5), alpha), unknown


def _by_definition(image, alpha, unknown, prior, strength):
    """Solve for alpha by a dense Laplacian, window by window."""
    height, width = unknown.shape
    laplacian = np.zeros((height * width, height * width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if not unknown[y - 1 : y + 2, x - 1 : x + 2].any():
                continue
            pixels = [(y + j) * width + x + i for j in (-1, 0, 1) for i in (-1, 0, 1)]
            colours = image.reshape(-1, 3)[pixels].astype(np.float64)
            centred = colours - colours.mean(0)
            inverse = np.linalg.inv(centred.T @ centred / 9 + EPSILON / 9 * np.eye(3))
            laplacian[np.ix_(pixels, pixels)] += np.eye(9) - (1 + centred @ inverse @ centred.T) / 9
    inside = unknown.ravel()
    prior = prior.ravel()[inside].astype(np.float64)
    weight = strength * 0.25 / (prior * (1 - prior) + 0.05)
    known = laplacian[np.ix_(inside, ~inside)] @ alpha.ravel()[~inside]
    solved = np.linalg.solve(
        laplacian[np.ix_(inside, inside)] + np.diag(weight), weight * prior - known
    )
    found = alpha.copy()
    found[unknown] = solved.clip(0, 1)
    return found


def test_several_priors_are_solved_for_together_as_by_the_definition_one_by_one():
    generator = np.random.default_rng(1)
    image = generator.random((9, 8, 3), np.float32)
    alpha, *priors = generator.random((4, 9, 8), np.float32)
    unknown = np.zeros((9, 8), np.bool_)
    unknown[2:5, 1:7] = unknown[6:, 3:] = True  # up to a border, too
    weights = 1e-3, 1e-2, 0.3
    found = MattingLaplacian(image, alpha, unknown, tolerance=1e-6).solve(priors, weights)
    assert found.shape == (3, 9, 8)
    assert found.dtype == np.float32
    for plane, prior, weight in zip(found, priors, weights, strict=True):
        wanted = _by_definition(image, alpha, unknown, prior, weight)
        np.testing.assert_allclose(plane, wanted, atol=1e-3)
        assert (plane[~unknown] == alpha[~unknown]).all()


def test_its_rows_are_pymattings():
    from pymatting import cf_laplacian

    image, alpha, _, unknown = _composite(12, 15)
    laplacian = MattingLaplacian(image, alpha, unknown)
    rows = cf_laplacian(image.astype(np.float64), is_known=~unknown)[np.flatnonzero(unknown)]
    among = rows[:, np.flatnonzero(unknown)].toarray()
    units = np.eye(len(among), dtype=np.float32)
    columns = [multiply(laplacian._matrix, units[:, [i] * LANES])[:, 0] for i in range(len(among))]
    np.testing.assert_allclose(np.stack(columns, 1), among, atol=1e-3)
    beside = rows[:, np.flatnonzero(~unknown)] @ alpha[~unknown]
    np.testing.assert_allclose(laplacian._known, beside, atol=1e-3)


def test_a_light_prior_follows_the_image_and_a_heavy_one_the_network():
    image, alpha, prior, unknown = _composite(24, 30)
    light, heavy = MattingLaplacian(image, alpha, unknown, tolerance=1e-3).solve(
        [prior] * 2, [1e-4, 1e4]
    )
    before = np.abs(prior - alpha)[unknown].mean()
    assert before > 0.1
    assert np.abs(light - alpha)[unknown].mean() < 0.05 * before
    assert np.abs(heavy - prior).max() < 1e-3


def test_nothing_to_solve_for_leaves_alpha():
    image, alpha, prior, unknown = _composite(12, 15)
    solved = MattingLaplacian(image, alpha, np.zeros_like(unknown)).solve([prior], [1e-3])
    assert (solved == alpha).all()


@pytest.mark.parametrize("picture", ["grey", "plain"])
def test_grey_and_plain_pictures_still_give_alphas(picture):
    image, alpha, prior, unknown = _composite(24, 30)
    if picture == "grey":
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    else:
        image = np.full_like(image, 0.5)
    solved = MattingLaplacian(image, alpha, unknown).solve([prior] * 2, [1e-4, 1e-2])
    assert np.isfinite(solved).all()
    assert solved.min() >= 0
    assert solved.max() <= 1


def test_steps_between_a_jpegs_blocks_are_smoothed_and_strands_stay():
    step, strand = np.float32(0.008), np.float32(0.1)
    rows, columns = np.indices((64, 64)) // 8
    image = np.full((64, 64, 3), 0.2, np.float32)
    image += step * ((rows + columns) % 2)[..., None].astype(np.float32)
    image[:, 30] += strand
    smooth = smooth_compression_noise(image)
    assert smooth.dtype == np.float32
    assert np.abs(np.diff(smooth[:, :26], axis=1)).max() < 0.75 * step
    contrast = smooth[:, 30] - (smooth[:, 29] + smooth[:, 31]) / 2
    np.testing.assert_allclose(contrast, strand, atol=step)
    assert (smooth_compression_noise(np.ones_like(image)) == 1).all()


def test_what_does_not_fit_together_is_refused():
    image, alpha, prior, unknown = _composite(12, 15)
    for image_, alpha_, unknown_ in (
        (image[1:], alpha, unknown),
        (image, alpha[1:], unknown),
        (image, alpha, unknown[1:]),
    ):
        with pytest.raises(ValueError, match="image, alpha and unknown must have one size, got"):
            MattingLaplacian(image_, alpha_, unknown_)
    laplacian = MattingLaplacian(image, alpha, unknown)
    for priors, weights, text in (
        ([], [], "priors must be 1 to 4, and weights as many, got 0 and 0: "),
        ([prior] * (LANES + 1), [1.0] * (LANES + 1), "priors must be 1 to 4"),
        ([prior], [1.0, 2.0], "got 1 and 2: solve for the others next"),
        ([prior[1:]], [1.0], "priors must have the image's size (12, 15), got (11, 15): "),
        ([prior], [0.0], "weights must be above 0, got 0: 1e-3 is usual"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            laplacian.solve(priors, weights)
