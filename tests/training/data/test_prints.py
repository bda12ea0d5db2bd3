import cv2
import numpy as np
import pytest

from training.data.segmenter.prints import print_on


def cloth(side=160):
    image = np.full((side, side, 3), [0.2, 0.4, 0.9], np.float32)
    subject = np.zeros((side, side), np.float32)
    subject[20:140, 30:130] = 1
    image[subject > 0] = [0.5, 0.3, 0.2]
    image[:, ::10] *= 0.8  # folds
    return image, subject


def test_a_part_of_the_subject_changes_and_nothing_else():
    image, subject = cloth()
    changed = []
    for seed in range(20):
        printed = print_on(image, subject, np.random.default_rng(seed))
        assert printed.dtype == np.float32
        assert printed.min() >= 0
        assert printed.max() <= 1
        different = np.abs(printed - image).max(axis=2) > 0.01
        assert not different[subject == 0].any()
        changed.append(different.mean())
    assert 0 < np.median(changed) < 0.3
    assert len(set(changed)) > 10


def test_folds_stay():
    image, subject = cloth()
    image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    seen = 0
    for seed in range(20):
        light = print_on(image, subject, np.random.default_rng(seed))[..., 0]
        different = (np.abs(light - image[..., 0]) > 0.02).astype(np.uint8)
        deep = cv2.erode(different, np.ones((7, 7), np.uint8)) > 0
        both = deep[:, ::10] & deep[:, 1::10]
        assert (light[:, ::10] < light[:, 1::10])[both].all()
        seen += both.sum()
    assert seen > 0


@pytest.mark.parametrize("width", [0, 2])
def test_a_thin_subject_is_returned_as_it_is(width):
    image, subject = cloth()
    subject[:, 30 + width :] = 0
    assert print_on(image, subject, np.random.default_rng(0)) is image
