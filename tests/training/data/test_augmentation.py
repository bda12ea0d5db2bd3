import numpy as np
import pytest

from training.data import augmentation
from training.data.sources import as_cutout


def _colours(side=24, seed=0):
    return np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)


def _disc(side=80, radius=25):
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    alpha = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[..., :3] = (200, 100, 50)
    rgba[..., 3] = np.round(alpha * 255)
    return as_cutout(rgba)


def _jittered_slowly(colours, generator, strength):
    """Gamma, saturation, contrast and gains one after the other, each as it is defined."""
    colours = colours.astype(np.float64) ** np.exp(generator.normal(0.0, 0.25 * strength))
    saturation = generator.uniform(1 - 0.6 * strength, 1 + 0.4 * strength)
    gains = np.exp(generator.normal(0, 0.06 * strength, 3) + generator.normal(0, 0.15 * strength))
    contrast = generator.uniform(1 - 0.3 * strength, 1 + 0.3 * strength)
    grey = colours.mean(axis=2, keepdims=True)
    colours = grey + (colours - grey) * saturation
    colours = colours.mean() + (colours - colours.mean()) * contrast
    return np.clip(colours * gains, 0, 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_jitter_is_gamma_saturation_contrast_and_gains_in_a_row(seed, strength):
    colours = _colours(seed=seed)
    fast = augmentation.jitter(colours, np.random.default_rng(seed), strength)
    slow = _jittered_slowly(colours, np.random.default_rng(seed), strength)
    np.testing.assert_allclose(fast, slow, atol=2e-6)
    assert fast.dtype == np.float32


def test_two_foregrounds_merge_into_the_composite_of_one_over_the_other():
    generator = np.random.default_rng(1)
    (f1, f2, background) = (_colours(seed=s) for s in range(3))
    a1, a2 = (generator.random((24, 24), dtype=np.float32) for _ in range(2))
    a1[:4], a2[2:6] = 0, 0
    a1[8:10], a2[9:12] = 1, 1
    colour, alpha = augmentation.merge_foregrounds((f1, a1), (f2, a2))
    over = a2[..., None] * f2 + (1 - a2[..., None]) * background
    wanted = a1[..., None] * f1 + (1 - a1[..., None]) * over
    got = alpha[..., None] * colour + (1 - alpha[..., None]) * background
    np.testing.assert_allclose(got, wanted, atol=2e-3)
    nothing = (a1 == 0) & (a2 == 0)
    assert nothing.any()
    np.testing.assert_array_equal(alpha[nothing], 0)
    np.testing.assert_array_equal(colour[nothing], f1[nothing])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_a_view_keeps_colour_apart_from_alpha_and_scales_the_area(seed, scale):
    cutout = _disc()
    foreground, alpha = augmentation.view(
        cutout, (40.0, 40.0), scale, 160, np.random.default_rng(seed)
    )
    assert foreground.shape == (160, 160, 3)
    np.testing.assert_allclose(foreground, np.broadcast_to([200, 100, 50], (160, 160, 3)) / 255.0,
                               atol=1.5 / 255)  # fmt: skip
    # Rotation and stretch keep areas; shear does too.
    assert alpha.sum() == pytest.approx(np.pi * 25.5**2 * scale**2, rel=0.06)


def test_a_crop_past_the_border_shows_no_second_subject():
    cutout = _disc(side=60)
    for seed in range(8):
        _, alpha = augmentation.view(cutout, (0.0, 30.0), 1.0, 160, np.random.default_rng(seed))
        assert alpha.sum() < 1.1 * np.pi * 25.5**2


def test_crops_are_centred_on_unknown_pixels():
    cutout = _disc()
    distance = np.hypot(*(cutout.centres - 39.5).T)
    assert distance.min() > 23
    assert distance.max() < 27
    fractional = 0
    for seed in range(20):
        _, alpha = augmentation.cropped_cutout(
            cutout, 32, (0.9, 1.1), 0.0, np.random.default_rng(seed)
        )
        fractional += ((alpha > 0.02) & (alpha < 0.98)).any()
    assert fractional == 20


def test_backgrounds_are_square_parts_and_gradients_run_from_one_colour_to_another():
    photograph = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    for seed in range(6):
        part = augmentation.cropped_background(photograph, 40, np.random.default_rng(seed))
        assert part.shape == (40, 40, 3)
        assert part.dtype == np.float32
        assert 0 <= part.min() <= part.max() <= 1
    backdrop = augmentation.gradient_background(40, np.random.default_rng(3))
    for axis in (0, 1):
        step = np.sign(np.round(np.diff(backdrop, axis=axis), 6))
        for channel in range(3):  # one direction all the way
            assert len({-1.0, 1.0} & set(step[..., channel].ravel())) == 1


def test_a_matched_background_takes_the_subjects_colour_at_one_place():
    foreground = np.zeros((48, 48, 3), np.float32)
    foreground[:24], foreground[24:] = (0.2, 0.3, 0.4), (0.7, 0.6, 0.5)  # hair, clothes
    background = np.full((48, 48, 3), 0.45, np.float32)
    alpha = np.zeros((48, 48), np.float32)
    alpha[6:42, 6:42] = 1
    means = []
    for seed in range(20):
        moved = augmentation.match_background(
            background, foreground, alpha, np.random.default_rng(seed)
        )
        assert np.ptp(moved, axis=(0, 1)).max() < 1e-6  # moved as a whole
        means.append(moved[0, 0])
    along = np.array(means)[:, 0] - 0.45
    assert along.min() < -0.1  # to the hair's colour
    assert along.max() > 0.1  # to the clothes'
    empty = augmentation.match_background(
        background, foreground, np.zeros_like(alpha), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(empty, background)


def test_the_camera_stays_in_range_and_the_same_seed_takes_the_same_photograph():
    image = _colours(64)
    shots = []
    for seed in range(20):
        shot = augmentation.camera(image, np.random.default_rng(seed))
        assert shot.shape == image.shape
        assert shot.dtype == np.float32
        assert 0 <= shot.min() <= shot.max() <= 1
        np.testing.assert_array_equal(shot, augmentation.camera(image, np.random.default_rng(seed)))
        shots.append(np.abs(shot - image).max())
    assert min(shots) == 0  # some are left as they are
    assert max(shots) > 0.1


def test_jpegs_blocks_lie_anywhere():
    flat = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32)[:, None, None], (1, 64, 3))
    starts = set()
    for seed in range(60):
        shot = augmentation._as_jpeg(flat, np.random.default_rng(seed))
        assert shot.shape == flat.shape
        assert np.abs(shot - flat).max() < 0.1
        steps = np.abs(np.diff((shot - flat).mean(axis=(1, 2)), n=2))
        starts.add(int(np.argmax([steps[start::8].sum() for start in range(8)])))
    assert len(starts) >= 6
