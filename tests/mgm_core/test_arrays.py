import numpy as np
import pytest

from mgm_core.arrays import check_image, check_mask, limit_side
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.matting.matter import Matter
from mgm_core.networks.prn import PRN


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), r"photo must be float32 in \[0, 1\], got uint8: divide"),
        (
            np.zeros((2, 2, 3)),
            r"must be float32 in .* got float64: take array.astype\(np.float32\)",
        ),
        (np.zeros((2, 2), np.float32), r"photo must be of shape \(H, W, 3\), got \(2, 2\)"),
        (np.zeros((0, 2, 3), np.float32), r"photo must be of shape \(H, W, 3\), got \(0, 2, 3\)"),
        (np.full((2, 2, 3), np.nan, np.float32), r"photo must be finite, got NaN or infinity"),
        (
            np.full((2, 2, 3), 255, np.float32),
            r"photo must lie in \[0, 1\], got values from 255 to",
        ),
    ],
)
def test_check_image_says_what_is_wrong(array, message):
    with pytest.raises(ValueError, match=message):
        check_image("photo", array)


def test_check_mask_holds_masks_to_two_dimensions():
    check_mask("mask", np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match=r"mask must be of shape \(H, W\), got \(1, 1, 3\)"):
        check_mask("mask", np.zeros((1, 1, 3), np.float32))


def test_one_rule_holds_whatever_takes_an_array():
    image, mask = np.zeros((20, 24, 3), np.float32), np.full((20, 24), 1.00005, np.float32)
    check_mask("mask", mask, (20, 24))
    matter = Matter(PRN("mobilenet_v2").eval(), device="cpu", dtype="float32", least_side_px=0)
    assert matter.matte(image, mask).alpha.max() <= 1
    for takes in (lambda m: matter.matte(image, m), lambda m: estimate_foreground(image, m)):
        with pytest.raises(ValueError, match=r"must be float32 in .* got float64"):
            takes(mask.astype(np.float64))
        with pytest.raises(ValueError, match="must have the image's size 24x20, got 24x19"):
            takes(mask[1:])


def test_a_long_side_is_limited_and_smaller_pictures_stay_as_they_are():
    assert limit_side(np.zeros((1000, 2000, 3), np.float32), 640).shape == (320, 640, 3)
    assert limit_side(np.zeros((2, 2000), np.float32), 100).shape == (1, 100)
    small = np.zeros((30, 40, 3), np.float32)
    assert limit_side(small, 640) is small
