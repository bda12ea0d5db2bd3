"""Regions over which errors are summed.

Source: the paper's sections 4 (unknown region) and 5 (detail masks).
"""

import cv2
import numpy as np

from mgm_core.arrays import Booleans, Floats
from mgm_core.guidance import dilate, known_regions

TRIMAP_KERNEL_PX = 20
"""Diameter of the ellipse that makes a trimap's unknown region of a true alpha."""


def whole(alpha: Floats) -> Booleans:
    """Every pixel of the image.

    Args:
        alpha: Any matte of the image, (H, W) float32.

    Returns:
        (H, W) bool.
    """
    return np.ones(alpha.shape, bool)


def unknown(trimap: Floats) -> Booleans:
    """Pixels that the trimap leaves open.

    Args:
        trimap: (H, W) float32 in [0, 1].

    Returns:
        (H, W) bool.
    """
    foreground, background = known_regions(trimap)
    return ~(foreground | background)


def details(detail_map: Floats, above: float = 0.0) -> Booleans:
    """Pixels that an annotator marked as detail (hair and other soft parts).

    Published detail maps are JPEG files, whose compression leaves values just above 0 beside the
    marked parts. `above=0` counts them, as the authors' code does; 0.1 leaves them out.

    Args:
        detail_map: (H, W) float32 in [0, 1].
        above: Largest value that is not detail, in [0, 1).

    Returns:
        (H, W) bool.
    """
    return np.asarray(detail_map > above)


def boundary_band(alpha: Floats, width_px: int) -> Booleans:
    """Pixels near the matte's outline, where it crosses half of its largest alpha.

    Args:
        alpha: True matte, (H, W) float32 in [0, 1].
        width_px: Diameter of the ellipse that the outline is drawn with.

    Returns:
        (H, W) bool; empty where the matte is constant.
    """
    inside = (alpha >= alpha.max() / 2).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, cross).astype(np.float32)
    return np.asarray(dilate(outline, width_px) > 0)
