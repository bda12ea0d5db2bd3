import numpy as np
import pytest

from mgm_core.arrays import check_image, check_mask


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), r"photo must be float in \[0, 1\], got uint8: convert it"),
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
