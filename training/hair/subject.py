"""What a photograph says about its subject and hair, given a rough mask: where, how, what colour.

All of it is defined outside the subject too, grown from the nearest certain pixels, since that is
where hair is going to be drawn.
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Floats, check_image

__all__ = ["Reals", "Subject", "analyse", "blur", "spread", "unit_vectors", "values_at"]

Reals: TypeAlias = NDArray[np.floating]
"""Pictures, which are float32, or lists of points, which are float64."""


@dataclass(frozen=True)
class Subject:
    """What hair needs to know of the photograph.

    Args:
        depth: (H, W) pixels inside the mask's outline, negative outside.
        outward: (H, W, 2) unit vectors (x, y) away from the subject.
        colour: (H, W, 3) in [0, 1], the subject's colours, grown over the background.
        tint: (H, W, 3) in [0, 1], smooth colour of the hair around.
        hairiness: (H, W) how much a place looks like hair, 0..1.
        flow: (H, W, 2) how hair lies, as a double angle; its length is the certainty, 0..1.
        head_px: Width of the head, pixels.
        unit: Pixels here of one pixel in a picture whose long side is 800.
        blur_px: Blur of the photograph, sigma in pixels.
    """

    depth: Reals
    outward: Reals
    colour: Reals
    tint: Reals
    hairiness: Reals
    flow: Reals
    head_px: float
    unit: float
    blur_px: float


def analyse(image: Floats, mask: Floats | Booleans, uncertain_px: float) -> Subject:
    """Find hair, its direction and its colours.

    Args:
        image: (H, W, 3) float32 sRGB in [0, 1].
        mask: (H, W) float32 in [0, 1] or bool; the subject is where it is 0.5 or more.
        uncertain_px: Width of the strip inside the outline whose colours may be the background's;
            pixels at a long side of 800.

    Returns:
        What is known of the subject.

    Raises:
        ValueError: If the image is no image, the sizes differ, or the mask is empty, full or
            nowhere deeper than `uncertain_px`.
    """
    check_image("image", image)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"mask must have the image's size {image.shape[:2]}, got {mask.shape}: "
            "pass the mask of this image"
        )
    inside = np.asarray(mask >= 0.5)
    if not inside.any() or inside.all():
        raise ValueError(
            f"mask must show a subject and a background, got {inside.mean():.0%} subject: "
            "leave this picture out"
        )
    unit = max(image.shape[:2]) / 800
    inside = _without_specks(inside)
    top, head_px = _head(inside)
    depth = _signed_depth(inside, 1.5 * unit)
    certain = depth > uncertain_px * unit
    if not certain.any():
        raise ValueError(
            f"mask must be deeper than {uncertain_px * unit:.0f} px somewhere, got "
            f"{depth.max():.1f} px: leave this picture out"
        )
    certain &= ~_background_like(image, depth, unit)
    colour = _grow(image, depth, certain, unit)
    hairiness = _hairiness(colour, depth, top, head_px)
    weight = hairiness * certain + np.float32(1e-6)
    return Subject(
        depth=depth,
        outward=unit_vectors(-_gradient(_coarse_blur(depth, 0.04 * head_px))),
        colour=colour,
        tint=_tint(colour, weight, head_px),
        hairiness=hairiness,
        flow=_flow(colour, weight, head_px),
        head_px=head_px,
        unit=unit,
        blur_px=_photograph_blur_px(image, weight),
    )


def spread(picture: Reals, where: Booleans) -> Reals:
    """Give every pixel the value of the nearest one that is `where`."""
    _, labels = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value = np.empty((labels.max() + 1, *picture.shape[2:]), picture.dtype)
    value[labels[where]] = picture[where]
    return np.asarray(value[np.asarray(labels)])


def blur(picture: Reals, sigma: float) -> Reals:
    """Gaussian blur; sigma in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))


def unit_vectors(vectors: Reals) -> Reals:
    """Vectors (..., 2) brought to length 1."""
    return np.asarray(vectors / (np.hypot(vectors[..., :1], vectors[..., 1:]) + 1e-9))


def values_at(picture: Reals, points: Reals) -> Reals:
    """Values of the pixels nearest to points (..., 2) given as (x, y), the border repeated."""
    height, width = picture.shape[:2]
    columns = np.clip(np.rint(points[..., 0]), 0, width - 1).astype(np.intp)
    rows = np.clip(np.rint(points[..., 1]), 0, height - 1).astype(np.intp)
    return np.asarray(picture[rows, columns])


def _signed_depth(inside: Booleans, smooth_px: float) -> Reals:
    inner, outer = (
        cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        for where in (inside, ~inside)
    )
    # The distance to the outline, which runs half a pixel before the nearest other pixel.
    return blur(np.where(inside, inner - 0.5, 0.5 - outer).astype(np.float32), smooth_px)


def _background_like(image: Reals, depth: Reals, unit: float) -> Booleans:
    """Pixels just inside a careless mask that look like the background beside them."""
    height, width = depth.shape
    size = (width // 2 + 1, height // 2 + 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_AREA), np.float32)
    deep, outside = depth > 14 * unit, depth < -3 * unit
    if not deep.any() or not outside.any():
        return np.zeros((height, width), bool)
    to_subject, to_background = (
        np.linalg.norm(small - blur(spread(small, where), 2), axis=-1) for where in (deep, outside)
    )
    alike = (to_background < 0.5 * to_subject) & (to_background < 0.12) & ~deep
    alike = cv2.dilate(alike.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.resize(alike, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def _grow(image: Reals, depth: Reals, certain: Booleans, unit: float) -> Reals:
    """Colours of certain pixels, over the rest those of the nearest, smoother farther away."""
    grown = spread(image, certain)
    away = np.clip((4 * unit - depth) / (8 * unit), 0, 1)[..., None]
    grown += away * (blur(grown, 2.5 * unit) - grown)
    grown[certain] = image[certain]
    return grown


def _head(inside: Booleans) -> tuple[int, float]:
    """Top row and width of the head: the highest part that is as tall as it is wide."""
    widths = inside.sum(1)
    top = int(np.flatnonzero(widths)[0])
    for height in range(16, len(widths) - top):
        width = float(np.median(widths[top : top + height]))
        if height >= width:
            return top, max(width, 16.0)
    return top, max(float(np.median(widths[top:])), 16.0)


def _without_specks(inside: Booleans) -> Booleans:
    """Fill a mask's holes (teeth, glints on glasses) and remove its islands below 1 % of it."""
    smallest = 0.01 * inside.sum()
    height, width = inside.shape
    for part in (~inside, inside):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8))
        left, top, wide, high, area = stats.T
        cut_off = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
        small = (area < smallest) & ~cut_off
        small[0] = False  # label 0 is all that is not of this part
        inside = inside ^ small[np.asarray(labels)]
    if not inside.any():
        raise ValueError(
            "mask must show one subject, got only pieces of less than 1 % of it: "
            "leave this picture out"
        )
    return inside


def _hairiness(colour: Reals, depth: Reals, top: int, head_px: float) -> Reals:
    """Compare colours with those at the top of the head (hair) and in its middle (skin)."""
    height, width = depth.shape
    # Half the size is plenty for a judgement that ends up blurred.
    size = (width // 2 + 1, height // 2 + 1)
    small = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
    depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_AREA), np.float32)
    lab = np.asarray(cv2.cvtColor(blur(small, 1), cv2.COLOR_RGB2Lab), np.float32)
    lab[..., 0] *= np.float32(0.6)  # a highlight on hair is still hair
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    below = (rows - top / 2) / (head_px / 2)
    strip = (depth > 0.03 * head_px) & (depth < 0.12 * head_px) & (below < 0.6)
    nowhere = np.zeros((height, width), np.float32)
    if not strip.any():
        return nowhere
    middle = np.median(columns[(depth > 0) & (below < 1)])
    face = (abs(below - 0.65) < 0.15) & (abs(columns - middle) < 0.075 * head_px) & (depth > 0)
    if not face.any():
        return nowhere
    to_hair = np.linalg.norm(lab - np.median(lab[strip], axis=0), axis=-1)
    to_skin = np.linalg.norm(lab - np.median(lab[face], axis=0), axis=-1)
    grey = _grey(small)
    texture = blur(abs(grey - blur(grey, 1)), 2.5) / (blur(grey, 2.5) + 0.1)

    evidence = (to_skin - to_hair) / 6 + (texture - 0.03) / 0.01
    unlike_skin = 1 / (1 + np.exp(-np.clip(evidence, -30, 30)))
    like_hair = np.exp(-((to_hair / 40) ** 2))
    high = np.clip(2.2 - below, 0, 1)
    score = blur((high * like_hair * unlike_skin).astype(np.float32), 0.015 * head_px)
    return np.asarray(cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR))


def _flow(colour: Reals, weight: Reals, head_px: float) -> Reals:
    """Structure tensor of the hair, smoothed as a double angle and grown over the background."""
    gradient = _gradient(blur(_grey(colour), 1))
    x, y = gradient[..., 0], gradient[..., 1]
    # Hair lies across the gradient, which turns the double angle by 180 degrees.
    tensor = np.dstack([y * y - x * x, -2 * x * y, x * x + y * y]) * weight[..., None]
    near = _coarse_blur(tensor, 0.05 * head_px)
    far = _coarse_blur(tensor, 0.3 * head_px)
    tensor = near + np.float32(0.02) * far
    return np.asarray(tensor[..., :2] / (tensor[..., 2:] + np.float32(1e-12)))


def _tint(colour: Reals, weight: Reals, head_px: float) -> Reals:
    """Mean colour of hair nearby, and of hair farther away where none is near."""
    weighted = np.dstack([colour * weight[..., None], weight])
    near = _coarse_blur(weighted, 0.06 * head_px)
    far = _coarse_blur(weighted, 0.36 * head_px)
    mean = near + np.float32(0.02) * far
    return np.asarray(mean[..., :3] / (mean[..., 3:] + np.float32(1e-12)))


def _photograph_blur_px(image: Reals, weight: Reals) -> float:
    """Judge sigma from the energy of the finest texture against that of the next coarser."""
    grey = _grey(image)
    fine, coarse = blur(grey, 0.8), blur(grey, 2)
    ratio = (weight * (grey - fine) ** 2).sum() / ((weight * (fine - coarse) ** 2).sum() + 1e-12)
    # Measured on sharp portraits' hair after blurs of known sigma.
    return float(
        np.interp(ratio, (0.07, 0.15, 0.33, 0.6, 1.3, 1.65), (2.0, 1.2, 0.8, 0.6, 0.4, 0.3))
    )


def _coarse_blur(picture: Reals, sigma: float) -> Reals:
    """Blur by a wide Gaussian on a smaller copy, as nothing fine is left after it."""
    height, width = picture.shape[:2]
    factor = max(1, int(sigma / 3))
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _grey(picture: Reals) -> Reals:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)


def _gradient(picture: Reals) -> Reals:
    down, right = np.gradient(picture)
    return np.stack([right, down], -1)
