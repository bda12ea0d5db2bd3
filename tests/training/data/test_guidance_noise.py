from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.data import guidance_noise
from training.data.augmentation_config import AUGMENTATION
from training.data.guidance_noise import (
    binarise,
    cut_mask,
    drawn_operations,
    erode_dilate,
    noisy_mask,
    noisy_matte,
    noisy_trimap,
)


@pytest.fixture
def alpha():
    """A disc with a soft edge, 96x80."""
    y, x = np.mgrid[:96, :80]
    distance = np.hypot(y - 48, x - 40)
    return np.clip((30 - distance) / 12 + 0.5, 0, 1).astype(np.float32)


def _seeds(count=40):
    return [np.random.default_rng(seed) for seed in range(count)]


def test_the_threshold_is_uniform_and_never_zero(alpha):
    levels = np.linspace(0, 1, 101, dtype=np.float32)[None]
    counts = [binarise(levels, g).sum() for g in _seeds(400)]
    assert max(counts) < 101  # level 0 is never foreground
    assert 40 < np.mean(counts) < 60
    assert set(np.unique(binarise(alpha, _seeds()[0]))) == {0.0, 1.0}


def test_every_operation_and_the_kernels_ends_occur(alpha):
    mask = (alpha > 0.5).astype(np.float32)
    areas = {float(erode_dilate(mask, g).sum()) for g in _seeds(200)}
    assert min(areas) < mask.sum() < max(areas)
    assert len(areas) > 60
    single = [erode_dilate(mask, g, (1, 1)) for g in _seeds(5)]
    assert all(np.array_equal(m, mask) for m in single)  # a kernel of 1 px changes nothing


def test_erosion_and_dilation_agree_with_opencv_for_the_kernel_drawn(alpha):
    mask = (alpha > 0.5).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    eroded, dilated = cv2.erode(mask, kernel), cv2.dilate(mask, kernel)
    possible = [eroded, dilated, cv2.dilate(eroded, kernel), cv2.erode(dilated, kernel)]
    seen = set()
    for g in _seeds():
        found = erode_dilate(mask, g, (9, 9))
        matches = [i for i, p in enumerate(possible) if np.array_equal(found, p)]
        assert matches
        seen.update(matches)
    assert {0, 1} <= seen


def test_operations_come_as_often_as_their_shares_say():
    drawn = drawn_operations(np.random.default_rng(0), (0.0, 3.0, 0.0, 1.0), 4000)
    assert set(drawn) == {1, 3}
    assert 0.72 < np.mean(drawn == 1) < 0.78


def test_cut_mask_copies_one_patch_of_the_mask_over_another():
    mask = np.arange(40 * 60, dtype=np.float32).reshape(40, 60)
    before = mask.copy()
    for g in _seeds():
        out = cut_mask(mask, g)
        assert np.array_equal(mask, before)
        changed = np.argwhere(out != mask)
        if not len(changed):
            continue
        (y0, x0), (y1, x1) = changed.min(0), changed.max(0)
        assert 10 <= y1 - y0 + 1 <= 20
        assert 15 <= x1 - x0 + 1 <= 30
        offset = out[y0, x0] - mask[y0, x0]
        assert (out[y0 : y1 + 1, x0 : x1 + 1] - mask[y0 : y1 + 1, x0 : x1 + 1] == offset).all()


def test_trimaps_are_true_to_alpha(alpha):
    for g in _seeds():
        trimap = noisy_trimap(alpha, g)
        assert set(np.unique(trimap)) <= {0.0, 0.5, 1.0}
        assert (alpha[trimap == 1] >= 1 - 1 / 255).all()
        assert (alpha[trimap == 0] <= 1 / 255).all()
        assert (trimap == 0.5).any()


def test_mattes_are_soft_and_resemble_alpha(alpha):
    for g in _seeds(20):
        matte = noisy_matte(alpha, g)
        assert matte.dtype == np.float32
        assert 0 <= matte.min() <= matte.max() <= 1
        assert np.corrcoef(matte.ravel(), alpha.ravel())[0, 1] > 0.4


def test_masks_move_as_far_as_the_kernels_allow(alpha, monkeypatch):
    never = replace(AUGMENTATION, filled_probability=0.0)
    monkeypatch.setattr(guidance_noise, "AUGMENTATION", never)

    def moved(kernels_px):
        sure = (alpha > 0.01) == (alpha >= 1.0)  # no threshold changes these pixels
        masks = [noisy_mask(alpha, g, 0.0, kernels_px) for g in _seeds(40)]
        return np.mean([np.abs(mask - (alpha >= 0.5))[sure].mean() for mask in masks])

    assert moved((1, 1)) == 0
    assert 0 < moved((1, 8)) < moved((20, 30))


def test_a_seed_decides_everything(alpha):
    for make in (noisy_mask, noisy_trimap, noisy_matte):
        one, two = make(alpha, np.random.default_rng(7)), make(alpha, np.random.default_rng(7))
        assert np.array_equal(one, two)
        assert one.shape == alpha.shape
