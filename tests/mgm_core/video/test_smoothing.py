from itertools import pairwise

import cv2
import numpy as np
import pytest

from mgm_core.video.smoothing import TemporalSmoother, motion, similarity, warp

HEIGHT, WIDTH = 64, 96


def texture(seed=0):
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3), np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    return (soft - soft.min()) / (soft.max() - soft.min())


def test_motion_says_where_a_pixel_was():
    before = texture()
    after = np.roll(before, (2, 5), axis=(0, 1))
    where = motion(before, after)
    assert where.shape == (HEIGHT, WIDTH, 2)
    x, y = where[32, 48]
    assert (x, y) == pytest.approx((48 - 5, 32 - 2), abs=0.2)
    inside = np.s_[10:-10, 10:-10]
    assert np.abs(warp(before, where) - after)[inside].mean() < 0.005
    assert np.abs(before - after)[inside].mean() > 0.05


def test_a_picture_is_like_itself_and_noise_hardly_matters():
    image = texture()
    assert similarity(image, image).min() == 1
    noise = np.random.default_rng(1).normal(0, 0.02, image.shape)
    assert similarity(image, (image + noise).clip(0, 1).astype(np.float32)).mean() > 0.8
    other = image.copy()
    other[20:40, 30:60] = 1 - other[20:40, 30:60]
    alike = similarity(image, other)
    assert alike[:8].min() == 1
    assert np.median(alike[22:38, 32:58]) < 0.1


def threshold(probability):
    return (probability >= 0.5).astype(np.float32)


def flickering(frames=8):
    """Probabilities that change their mind about a column from frame to frame."""
    for number in range(frames):
        probability = np.zeros((HEIGHT, WIDTH), np.float32)
        probability[:, 40:] = 1
        probability[:, 36:40] = 0.55 if number % 2 else 0.45
        yield probability


def flicker(alphas):
    return np.mean([np.abs(b - a).mean() for a, b in pairwise(alphas)])


def test_what_the_segmenter_wavers_about_stays_calm():
    def alphas(share):
        smoother = TemporalSmoother(share)
        return [smoother.alpha(texture(), p, threshold) for p in flickering()]

    assert flicker(alphas(0)) == pytest.approx(4 / WIDTH)
    assert flicker(alphas(0.7)) < 0.3 * flicker(alphas(0))


def test_no_share_of_the_past_is_frame_by_frame():
    smoother = TemporalSmoother(0)
    for probability in flickering():
        alpha = smoother.alpha(texture(), probability, threshold)
        assert np.array_equal(alpha, threshold(probability))


def test_what_is_new_in_the_picture_owes_nothing_to_the_past():
    smoother = TemporalSmoother()
    everywhere = np.ones((HEIGHT, WIDTH), np.float32)
    smoother.alpha(texture(0), everywhere, threshold)
    cut = smoother.alpha(np.full((HEIGHT, WIDTH, 3), 0.02, np.float32), 0 * everywhere, threshold)
    assert cut.mean() < 0.05


def test_what_moves_takes_its_alpha_along():
    """A square on a textured ground; the segmenter misses it in the second frame."""
    square = np.zeros((HEIGHT, WIDTH), np.float32)
    square[16:48, 30:62] = 1
    pattern, ground = texture(3), texture(0)

    def at(shift):
        mask = np.roll(square, shift, axis=1)
        moved = np.roll(pattern, shift, axis=1)
        return np.where(mask[..., None] > 0, moved, ground).astype(np.float32), mask

    smoother = TemporalSmoother()
    image, mask = at(0)
    smoother.alpha(image, mask, lambda probability: probability)
    image, mask = at(4)
    alpha = smoother.alpha(image, 0.4 * mask, lambda probability: probability)
    middle = alpha[20:44, 38:62]
    assert middle.mean() > 0.7
    assert alpha[20:44, 62:65].mean() > 0.5  # where it came to
    assert alpha[20:44, 31:33].mean() < 0.35  # and where it left
    assert alpha[:, 70:].max() < 0.1


def test_another_size_or_share_is_refused():
    smoother = TemporalSmoother()
    smoother.alpha(texture(), np.ones((HEIGHT, WIDTH), np.float32), threshold)
    small = np.zeros((32, 32, 3), np.float32)
    with pytest.raises(ValueError, match=r"image must keep the size .* \(32, 32, 3\) after \(64"):
        smoother.alpha(small, small[..., 0], threshold)
    with pytest.raises(ValueError, match=r"share must be at least 0 and below 1, got 1: 0\.7 is"):
        TemporalSmoother(1)
