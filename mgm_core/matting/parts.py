"""Connected parts of an alpha: which of them stay, and what is filled or faded out.

Source: ours; the paper takes the network's alpha as it is.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Plane
from mgm_core.runtime.workers import each_strip

__all__ = ["within_reach", "without_gaps", "without_stray_parts", "without_unguided_parts"]

STRAY_ALPHA = 0.05
REACH = 0.1
"""Of the longer side; chosen on the grown-hair benchmark (docs/experiments)."""
WHOLE_ALPHA = 0.9
"""What is less is a gap."""
_NEAREST_PX = 4_000_000  # of the picture in which a faint pixel's part is found


def without_stray_parts(alpha: Plane) -> Plane:
    """Keep the largest connected part of alpha > 0.05 and the faint fringe around it.

    Args:
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32, 0 in the other parts.
    """
    count, labels, stats = _parts(alpha)
    if count <= 2:
        return alpha
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return _only_parts(alpha, labels, np.arange(count) == largest)


def without_unguided_parts(alpha: Plane, guidance: Plane) -> Plane:
    """Drop connected parts of alpha > 0.05 in which no pixel is guided, and their faint fringe.

    Args:
        alpha: (H, W) float32 in [0, 1].
        guidance: (H, W) float32 in [0, 1]; above 0 it guides, unknown pixels of a trimap too.

    Returns:
        (H, W) float32, 0 in the dropped parts.
    """
    count, labels, _ = _parts(alpha)
    chosen = np.zeros(count, np.bool_)
    for row, guided in zip(labels, guidance, strict=True):  # row by row: all at once are a copy
        chosen[row[guided > 0]] = True
    if chosen[1:].all():
        return alpha
    return _only_parts(alpha, labels, chosen)


def within_reach(alpha: Plane, guidance: Plane) -> Plane:
    """Fade alpha out where it is farther from all that is guided than hair reaches.

    In busy backgrounds the network sees a haze of subject far from any guidance; hair that a mask
    leaves out lies next to it. Full up to `REACH` of the longer side, nothing from twice that on.

    Args:
        alpha: (H, W) float32 in [0, 1].
        guidance: (H, W) float32 in [0, 1]; above 0 it guides, unknown pixels of a trimap too.

    Returns:
        (H, W) float32.
    """
    unguided = (guidance <= 0).astype(np.uint8)
    if not unguided.any():
        return alpha
    # In place: at 50 megapixels each copy takes 0.2 GB.
    share = np.asarray(cv2.distanceTransform(unguided, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
    share /= np.float32(-REACH * max(alpha.shape))
    share += 2
    np.clip(share, 0, 1, out=share)
    share *= alpha
    return share


def without_gaps(alpha: Plane, certain: Booleans) -> Plane:
    """Fill connected parts of alpha < 0.9 that lie in what is certainly subject.

    Args:
        alpha: (H, W) float32 in [0, 1].
        certain: (H, W) bool.

    Returns:
        (H, W) float32, 1 in the filled parts.
    """
    gaps = (alpha < WHOLE_ALPHA).astype(np.uint8)
    count, labels = cv2.connectedComponents(gaps, connectivity=8)
    filled = np.ones(count, np.bool_)
    filled[0] = False
    for row, surely in zip(labels, certain, strict=True):  # row by row: all at once are a copy
        filled[row[~surely]] = False
    if not filled.any():
        return alpha
    return np.where(filled[labels], np.float32(1), alpha)


def _parts(alpha: Plane) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Return number, labels and statistics of the connected parts; label 0 is what is fainter."""
    present = (alpha > STRAY_ALPHA).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(present, connectivity=8)
    return count, np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def _only_parts(alpha: Plane, labels: NDArray[np.int32], chosen: Booleans) -> Plane:
    """Return alpha of the parts whose labels are chosen; `chosen[0]` does not matter."""
    if not labels.any():
        return alpha
    # What is fainter goes with the part that it is nearest to, which is found at a smaller size:
    # every picture of these labels takes 4 bytes a pixel.
    step = math.ceil(math.sqrt(alpha.size / _NEAREST_PX))
    few = labels[::step, ::step] if labels[::step, ::step].any() else labels
    nearest = cv2.distanceTransformWithLabels(
        (few == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    stays = np.zeros(int(nearest.max()) + 1, np.bool_)
    stays[nearest[few > 0]] = chosen[few[few > 0]]
    height, width = alpha.shape
    fringe = cv2.resize(
        stays[nearest].view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    found = np.empty_like(alpha)

    def fill(rows: slice) -> None:
        part = labels[rows]
        wanted = np.where(part > 0, chosen[part], fringe[rows] > 0)
        np.multiply(alpha[rows], wanted, out=found[rows])

    each_strip(height, fill)
    return found
