"""Add or remove what a person clicks on: regions found by GrabCut around each click.

Colours alone decide: no network that segments anything. A first guess is what floods out from the
click through similar colours; GrabCut then models both sides and cuts along edges. What a
segmenter found already is one side's model, so that a missing arm joins its person.

Source: Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, by OpenCV; the paper (sec. 3.1)
takes any coarse mask as guidance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mgm_core.arrays import Booleans, Bytes, Floats, check_image, check_mask
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["Click", "segment_clicks"]

_WORKING_PX = (
    480  # longer side that GrabCut sees: its cost grows with the pixels, its models do not
)
_ROUNDS = 3
_DISC = 0.008  # radius of what is certain around a click, of the longer side
_ALIKE = (40, 16, 16)  # 8-bit Lab levels: shading changes lightness more than colour
_NARROWEST = 0.02  # radius of the least first guess, of the longer side


@dataclass(frozen=True)
class Click:
    """A click on the image.

    Args:
        x: Column in pixels.
        y: Row in pixels.
        adds: Whether what lies there joins the mask, or leaves it.
    """

    x: float
    y: float
    adds: bool = True


def segment_clicks(
    image: Floats,
    clicks: Sequence[Click],
    probability: Floats | None = None,
) -> Floats:
    """Return a mask with what was clicked on added to it or taken from it, click by click.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        clicks: In the order in which they were made.
        probability: (H, W) float32 in [0, 1], a segmenter's or a mask; None for nothing found.

    Returns:
        (H, W) float32, 0 or 1. Far from all clicks it is `probability >= 0.5`.

    Raises:
        ValueError: The image or the probability is none, their sizes differ, or a click lies
            outside the image.
    """
    check_image("image", image)
    height, width = image.shape[:2]
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            raise ValueError(
                f"click must lie within the image of {width}x{height}, got ({click.x:g}, "
                f"{click.y:g}): count pixels from the upper left corner"
            )
    mask = np.zeros((height, width), np.bool_)
    if probability is not None:
        check_mask("probability", probability, (height, width))
        mask = probability >= 0.5
    if not clicks:
        return mask.astype(np.float32)
    scale = min(1.0, _WORKING_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small_rgb = np.rint(small * 255).astype(np.uint8)
    before = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    now = before.copy()
    places = [
        (min(size[0] - 1, int(c.x * scale)), min(size[1] - 1, int(c.y * scale)), c.adds)
        for c in clicks
    ]
    for number in range(1, len(places) + 1):
        checkpoint()
        now = _apply(small_rgb, now, places[:number])
    # Where nothing changed the mask keeps its own pixels; else the change's outline is smoothed.
    changed = _enlarge(now != before, (width, height))
    result = np.where(changed, _enlarge(now, (width, height)), mask)
    for click in clicks:
        result[int(click.y), int(click.x)] = click.adds
    return result.astype(np.float32)


def _enlarge(small: Booleans, size: tuple[int, int]) -> Booleans:
    large = cv2.resize(small.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large >= 0.5)


def _apply(rgb: Bytes, mask: Booleans, places: list[tuple[int, int, bool]]) -> Booleans:
    """Apply the last click to a mask; the earlier ones stay certain."""
    x, y, adds = places[-1]
    longer = max(mask.shape)
    # Both directions are one problem: the side that grows is the foreground.
    grown = mask if adds else ~mask
    guess = _alike(rgb, _disc(mask.shape, x, y, _NARROWEST * longer), x, y)
    part = np.zeros_like(mask)
    # What grows may look like what is clicked on (an arm of a person), or not (a hat): try both.
    for side in (cv2.GC_FGD, cv2.GC_BGD):
        labels = np.full(mask.shape, cv2.GC_PR_BGD, np.uint8)
        labels[guess] = cv2.GC_PR_FGD
        labels[grown] = side
        for px, py, was_adding in places:
            value = cv2.GC_FGD if was_adding == adds else cv2.GC_BGD
            labels[_disc(mask.shape, px, py, _DISC * longer)] = value
        part |= _touched(_cut(rgb, labels) & ~grown, x, y)
    return mask | part if adds else mask & ~part


def _cut(rgb: Bytes, labels: Bytes) -> Booleans:
    """Return GrabCut's foreground; all of the image where nothing is background."""
    if not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return np.ones(labels.shape, np.bool_)
    cv2.setRNGSeed(0)  # GrabCut begins with k-means
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(rgb, labels, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _touched(found: Booleans, x: int, y: int) -> Booleans:
    """Return the part of a region that holds a point, which counts as found."""
    region = found.astype(np.uint8)
    region[y, x] = 1
    _, parts = cv2.connectedComponents(region, connectivity=4)
    return np.asarray(parts == parts[y, x])


def _disc(shape: tuple[int, ...], x: int, y: int, radius: float) -> Booleans:
    disc = np.zeros(shape, np.uint8)
    cv2.circle(disc, (x, y), max(1, round(radius)), 1, -1)
    return disc > 0


def _alike(rgb: Bytes, disc: Booleans, x: int, y: int) -> Booleans:
    """Return what joins a disc by colours like its median: one pixel may be a shade or a glint."""
    smooth = cv2.bilateralFilter(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), 7, 30, 5).astype(np.float32)
    near = (np.abs(smooth - np.median(smooth[disc], axis=0)) <= _ALIKE).all(axis=2)
    return _touched(near | disc, x, y)
