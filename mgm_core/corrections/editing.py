"""Correct the guidance by hand: strokes, regions kept or dropped, deliberate damage.

Corrections are kept as a list of what was done, in pixels of the photo, and not as a picture: so
they are exact at any size, can be undone one by one, and fit into a recipe. CutMask is that of the
paper's section 3.2.
"""

import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Floats
from mgm_core.recipe import Edit

__all__ = ["apply_edits", "regions"]


def apply_edits(guidance: Floats, edits: Sequence[Edit]) -> Floats:
    """Apply corrections in their order.

    Args:
        guidance: (H, W) float32 in [0, 1].
        edits: the corrections, in px of the guidance.

    Returns:
        (H, W) float32 in [0, 1], a new array.
    """
    result = guidance.copy()
    for edit in edits:
        match edit.tool:
            case "add" | "remove":
                _draw(result, edit, 1.0 if edit.tool == "add" else 0.0)
            case "pick":
                result = _with_region_toggled(result, guidance, edit)
            case "damage":
                result = _copy_patch(result, edit)
    return result


def regions(guidance: Floats) -> NDArray[np.int32]:
    """Number the connected regions of a guidance from 1 on; the rest is 0. (H, W)."""
    _, labels = cv2.connectedComponents((guidance >= 0.5).astype(np.uint8), connectivity=8)
    return labels.astype(np.int32, copy=False)


def _draw(plane: Floats, edit: Edit, value: float) -> None:
    """Set, in place, every pixel whose centre lies within half the size of the line."""
    reach = edit.size_px / 2
    for (x0, y0), (x1, y1) in itertools.pairwise([*edit.points[:1], *edit.points]):
        left, right = max(0, math.floor(min(x0, x1) - reach)), math.ceil(max(x0, x1) + reach)
        top, bottom = max(0, math.floor(min(y0, y1) - reach)), math.ceil(max(y0, y1) + reach)
        near = plane[top : max(top, bottom), left : max(left, right)]
        ys, xs = np.ogrid[top : top + near.shape[0], left : left + near.shape[1]]
        from_x, from_y = xs + 0.5 - x0, ys + 0.5 - y0
        along_x, along_y = x1 - x0, y1 - y0
        # Share of the way from one corner to the next at which a pixel is nearest to the line.
        share = (from_x * along_x + from_y * along_y) / max(along_x**2 + along_y**2, 1e-9)
        share = np.clip(share, 0, 1)
        distance = np.hypot(from_x - share * along_x, from_y - share * along_y)
        # Half a pixel's diagonal at the least, so that the thinnest line has no gaps.
        near[distance <= max(reach, 0.71)] = value


def _copy_patch(plane: Floats, edit: Edit) -> Floats:
    """Copy a patch over another (CutMask); what lies outside of the guidance is left out."""
    (x0, y0), (x1, y1), (to_x, to_y) = ((math.floor(x), math.floor(y)) for x, y in edit.points)
    height, width = plane.shape
    # The part of the patch that is inside at both places, counted from its own top left.
    left, top = max(0, -x0, -to_x), max(0, -y0, -to_y)
    right = min(x1, width, width + x0 - to_x) - x0
    bottom = min(y1, height, height + y0 - to_y) - y0
    damaged = plane.copy()
    if left < right and top < bottom:
        damaged[to_y + top : to_y + bottom, to_x + left : to_x + right] = plane[
            y0 + top : y0 + bottom, x0 + left : x0 + right
        ]
    return damaged


def _with_region_toggled(result: Floats, original: Floats, edit: Edit) -> Floats:
    x, y = (math.floor(number) for number in edit.points[0])
    height, width = result.shape
    if not (0 <= x < width and 0 <= y < height):
        return result
    # Hit again, a dropped region comes back as it was.
    for present, replacement in ((result, np.zeros_like(result)), (original, original)):
        labels = regions(present)
        if labels[y, x]:
            return np.where(labels == labels[y, x], replacement, result)
    return result
