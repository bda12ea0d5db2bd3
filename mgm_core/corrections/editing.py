"""Correct the guidance by hand: strokes, clicks, regions kept or dropped, deliberate damage.

Corrections are kept as a list of what was done, in pixels of the photo, and not as a picture: so
they are exact at any size, can be undone one by one, and fit into a recipe. CutMask is that of the
paper's section 3.2.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Floats
from mgm_core.corrections.clicking import Click, segment_clicks
from mgm_core.recipe import Edit
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["CLICKS", "apply_edits", "region_places", "regions"]

CLICKS = ("click_add", "click_remove")
_PIECE_PX = 128  # of a long line, so that drawing it costs what its length does and not its square


def apply_edits(guidance: Floats, edits: Sequence[Edit], image: Floats | None = None) -> Floats:
    """Apply corrections in their order.

    Args:
        guidance: (H, W) float32 in [0, 1].
        edits: the corrections, in px of the guidance.
        image: the photo, (H, W, 3) float32 in [0, 1], by whose colours clicks are bounded.

    Returns:
        (H, W) float32 in [0, 1], a new array.

    Raises:
        ValueError: a click lies outside of the photo, or there is none.
    """
    result = guidance.copy()
    clicks: list[Click] = []
    for edit, following in itertools.zip_longest(edits, edits[1:]):
        checkpoint()
        match edit.tool:
            case "click_add" | "click_remove":
                if image is None:
                    raise ValueError("clicks must come with a photo, got none: paint instead")
                ((x, y),) = edit.points
                clicks.append(Click(x, y, adds=edit.tool == "click_add"))
                # Clicks in a row are one piece of work: the earlier ones stay certain.
                if following is None or following.tool not in CLICKS:
                    result = _click(result, clicks, image)
                    clicks = []
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


def region_places(guidance: Floats, most: int = 12) -> list[tuple[int, int]]:
    """Return a pixel (x, y) well inside each of the largest connected regions, largest first.

    Args:
        guidance: (H, W) float32 in [0, 1].
        most: how many; regions below a thousandth of the largest are left out.
    """
    labels = regions(guidance)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    places = []
    for label in np.argsort(-areas, kind="stable")[:most]:
        if areas[label] * 1000 < max(1, areas.max()):
            break
        inside = labels == label
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        region = inside[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
        # The photo's edge is an edge of the region, too.
        depth = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        places.append((left + int(x), top + int(y)))
    return places


def _click(plane: Floats, clicks: Sequence[Click], image: Floats) -> Floats:
    """Apply clicks; where they change nothing a soft mask stays soft."""
    clicked = segment_clicks(image, clicks, plane)
    return np.where(clicked == (plane >= 0.5), plane, clicked)


def _draw(plane: Floats, edit: Edit, value: float) -> None:
    """Set, in place, every pixel whose centre lies within half the size of the line."""
    reach = edit.size_px / 2
    for (x0, y0), (x1, y1) in _pieces(edit.points):
        checkpoint()
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


def _pieces(points: Sequence[tuple[float, float]]) -> Iterator[NDArray[np.float64]]:
    """Return a line's pieces as pairs of points; the first is its first point, twice."""
    for start, end in itertools.pairwise([*points[:1], *points]):
        count = max(1, math.ceil(math.dist(start, end) / _PIECE_PX))
        corners = np.linspace(start, end, count + 1)
        yield from np.stack([corners[:-1], corners[1:]], axis=1)


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
