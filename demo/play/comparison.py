"""Another tool's cut-out or matte of the same photo, beside ours at the same place."""

from dataclasses import dataclass, field

import cv2

from mgm_core.arrays import Floats, resized
from mgm_core.images import Photo, SubjectMask

__all__ = ["Other", "fit_other"]


@dataclass(frozen=True)
class Other:
    """What another tool made.

    Args:
        alpha: (H, W) float32 in [0, 1].
        colours: (H, W, 3) float32 in [0, 1]; None for a matte alone.
    """

    alpha: Floats = field(repr=False)
    colours: Floats | None = field(default=None, repr=False)


def fit_other(cutout: Photo, matte: SubjectMask | None, height: int, width: int) -> Other:
    """Bring another tool's result to the photo's size.

    Args:
        cutout: the file as a picture; with transparency it is a cut-out.
        matte: the file as a matte, where it has no transparency.
        height: the photo's.
        width: the photo's.

    Raises:
        ValueError: it has other proportions than the photo.
    """
    found_height, found_width = cutout.image.shape[:2]
    # To within a pixel, as sizes are rounded.
    if abs(found_width * height - found_height * width) > max(
        height, width, found_height, found_width
    ):
        raise ValueError(
            f"the other result must have the photo's proportions, {width}x{height}, got "
            f"{found_width}x{found_height}: take it as that tool gives it, not cropped"
        )
    if cutout.alpha is not None:
        alpha, colours = (
            resized(plane, (height, width), cv2.INTER_CUBIC)
            for plane in (cutout.alpha, cutout.image)
        )
        return Other(alpha, colours)
    assert matte is not None, "a file without transparency is read as a matte"
    return Other(resized(matte.mask, (height, width), cv2.INTER_CUBIC))
