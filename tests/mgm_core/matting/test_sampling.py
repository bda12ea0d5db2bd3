import numpy as np
import pytest

from mgm_core.matting.sampling import sample_alpha

SUBJECT, BACKGROUND = np.float32([0.9, 0.3, 0.1]), np.float32([0.1, 0.4, 0.8])


def _composite(height=40, width=60):
    """Return an image, its alpha, one that is 0.5 in the middle third, and that third."""
    alpha = np.zeros((height, width), np.float32)
    alpha[:, width // 3 : 2 * width // 3] = np.random.default_rng(0).random((height, 1))
    alpha[:, 2 * width // 3 :] = 1
    image = alpha[..., None] * SUBJECT + (1 - alpha[..., None]) * BACKGROUND
    where = np.zeros(alpha.shape, np.bool_)
    where[:, width // 3 : 2 * width // 3] = True
    return image, alpha, np.where(where, np.float32(0.5), alpha), where


def test_plain_colours_tell_alpha():
    image, alpha, known, where = _composite()
    sampled = sample_alpha(image, known, where)
    assert sampled.dtype == np.float32
    assert np.abs(sampled - alpha)[where].mean() < 0.1 * np.abs(known - alpha)[where].mean()


def test_colours_far_away_tell_what_nearby_ones_do_not():
    """A hole that shows the background inside the subject touches no background."""
    image, alpha, _, _ = _composite(60, 90)
    image[20:30, 75:85], alpha[20:30, 75:85] = BACKGROUND, 0
    where = np.zeros(alpha.shape, np.bool_)
    where[15:35, 70:89] = True
    sampled = sample_alpha(image, np.where(where, np.float32(1), alpha), where)
    assert np.abs(sampled - alpha)[where].mean() < 0.02


def test_what_is_decided_stays_and_is_sampled_by_halves():
    image, _, known, where = _composite()
    nearly = np.where(where, known, np.where(known == 1, np.float32(0.9), np.float32(0.1)))
    sampled = sample_alpha(image, nearly, where)
    assert (sampled[~where] == nearly[~where]).all()
    assert (sampled[where] == sample_alpha(image, known, where)[where]).all()


@pytest.mark.parametrize("value", [0, 1])
def test_alpha_stays_where_there_is_nothing_to_sample(value):
    image, _, known, where = _composite()
    known = np.where(where, known, np.float32(value))
    for unknown in (where, np.zeros_like(where), np.ones_like(where)):
        sampled = sample_alpha(image, known, unknown)
        assert (sampled == known).all()
        assert not np.shares_memory(sampled, known)


def test_other_sizes_are_refused():
    image, _, known, where = _composite()
    for picture, plane, mask in (
        (image[1:], known, where),
        (image, known[1:], where),
        (image, known, where[1:]),
    ):
        with pytest.raises(ValueError, match="must have one size"):
            sample_alpha(picture, plane, mask)


def test_what_has_the_colour_of_the_nearest_known_pixels_is_as_they_are():
    image, _, known, where = _composite()
    wide = where.copy()
    wide[:, 12:48] = True  # 8 px of plain foreground and background are unknown, too
    sampled = sample_alpha(image, np.where(wide, np.float32(0.5), known), wide)
    assert (sampled[:, :20] == 0).all()
    assert (sampled[:, 40:] == 1).all()
    nothing_left = np.zeros_like(where)
    nothing_left[:, 12:18] = True
    assert (
        sample_alpha(image, np.where(nothing_left, np.float32(1), known), nothing_left)[
            nothing_left
        ]
        == 0
    ).all()
