"""Make guidance: the coarse mask that tells the network roughly where the subject is.

A binary mask, a soft mask or alpha, and a trimap all serve. Source: sec. 3.1 (perturbed guidance),
sec. 4 (Trimap and TrimapFG) and sec. 5 (trimaps from segmentations, robustness to guidance).

Morphology takes OpenCV's ellipse of diameter `kernel_px`, with its centre at kernel_px // 2 for
both erosion and dilation. So the two are duals at every size, erode(1 - g) = 1 - dilate(g), and a
boundary moves alike whichever side one calls the subject. An ellipse of an even diameter has no
middle pixel: dilation grows a subject by one pixel more to the right and below than to the left and
above, and erosion shrinks it by one more from the left and above.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Floats, check_mask

__all__ = [
    "Detection",
    "GuidanceKind",
    "KnownRegions",
    "detect_kind",
    "dilate",
    "erode",
    "from_binary_mask",
    "from_probability",
    "from_soft_mask",
    "from_trimap",
    "from_trimap_fg",
    "known_regions",
    "shift_boundary",
    "solid_inside",
    "to_guidance",
    "trimap_from_alpha",
    "trimap_from_probability",
]

GuidanceKind: TypeAlias = Literal["binary_mask", "soft_mask", "trimap", "trimap_fg"]

# What a segmenter marks beside the subject: below this share of the largest part, never this sure.
_SPECK_SHARE, _SURE = 0.01, 0.8
# Levels of 8 bits by which JPEG moves the flat parts of a trimap at a quality of 50.
_NOISE = 16 / 255
# Depths inside a person, of the longer side; chosen on training photographs (docs/experiments).
SOLID_FROM, SOLID = 0.08, 0.12
# Between these values a pixel is neither black nor white, JPEG's ripples beside edges included.
_GREY_FROM, _GREY_TO = 0.2, 0.8
# A soft brush leaves the rest of what it paints for its edge.
_PAINTED_SHARE = 0.6


def from_binary_mask(mask: Floats, threshold: float = 128 / 255) -> Floats:
    """Turn a mask into guidance of zeros and ones.

    Args:
        mask: (H, W) float in [0, 1], 1 on the subject.
        threshold: the least value that counts as subject, in (0, 1].

    Returns:
        (H, W) float32, 0 or 1.

    Raises:
        ValueError: the mask or the threshold is out of range.
    """
    check_mask("mask", mask)
    if not 0 < threshold <= 1:
        raise ValueError(
            f"threshold must be above 0 and at most 1, got {threshold:g}: "
            "divide a threshold for 8 bits by 255"
        )
    return (mask >= np.float32(threshold)).astype(np.float32)


def from_soft_mask(mask: Floats) -> Floats:
    """Take a soft mask, a probability or a rough alpha as guidance as it is.

    Args:
        mask: (H, W) float in [0, 1], 1 on the subject.

    Returns:
        (H, W) float32 in [0, 1], a copy.

    Raises:
        ValueError: the mask is out of range.
    """
    check_mask("mask", mask)
    return np.clip(mask, 0, 1).astype(np.float32)


def from_probability(probability: Floats, threshold: float = 0.5) -> Floats:
    """Threshold a segmenter's probability (sec. 5) and drop specks that it doubts itself.

    A flag or a lamp beside a person can just pass the threshold on a few pixels. A part is such a
    speck where it is smaller than a hundredth of the largest part and nowhere likelier than 0.8;
    people far away are likelier than that. The paper drops nothing.

    Args:
        probability: (H, W) float in [0, 1].
        threshold: The subject is where the probability is at least this, in (0, 1].

    Returns:
        (H, W) float32: 0 or 1.

    Raises:
        ValueError: the probability or the threshold is out of range.
    """
    mask = from_binary_mask(probability, threshold)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    chosen = areas >= _SPECK_SHARE * areas[1:].max()
    chosen[labels[probability >= _SURE]] = True
    chosen[0] = False
    found: Floats = chosen.astype(np.float32)[labels]
    return found


def from_trimap(trimap: Floats) -> Floats:
    """Turn a trimap into guidance, its unknown pixels being 0.5 (sec. 4, "Trimap").

    Args:
        trimap: (H, W) float in [0, 1]; each value counts as the nearest of 0 (background), 0.5
            (unknown) and 1 (foreground).

    Returns:
        (H, W) float32: 0, 0.5 or 1.

    Raises:
        ValueError: the trimap is out of range.
    """
    known = known_regions(trimap)
    return np.where(known.foreground, 1, np.where(known.background, 0, 0.5)).astype(np.float32)


def from_trimap_fg(trimap: Floats, threshold: float = 170 / 255) -> Floats:
    """Take only a trimap's certain foreground as guidance (sec. 4, "TrimapFG").

    Args:
        trimap: (H, W) float in [0, 1].
        threshold: the least value that counts as certain foreground, in (0, 1].

    Returns:
        (H, W) float32, 0 or 1.

    Raises:
        ValueError: the trimap or the threshold is out of range.
    """
    check_mask("trimap", trimap)
    return from_binary_mask(trimap, threshold)


_MAKERS: dict[GuidanceKind, Callable[[Floats], Floats]] = {
    "binary_mask": from_binary_mask,
    "soft_mask": from_soft_mask,
    "trimap": from_trimap,
    "trimap_fg": from_trimap_fg,
}


def to_guidance(mask: Floats, kind: GuidanceKind) -> Floats:
    """Turn a mask of a known kind into guidance.

    Args:
        mask: (H, W) float in [0, 1].
        kind: what the mask is; `detect_kind` can tell all but "trimap_fg", which is a choice.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: there is no such kind, or the mask is out of range.
    """
    if kind not in _MAKERS:
        kinds = ", ".join(get_args(GuidanceKind))
        raise ValueError(f"kind must be one of {kinds}, got {kind!r}: choose one of them")
    return _MAKERS[kind](mask)


@dataclass(frozen=True)
class Detection:
    """What an uploaded mask seems to be.

    Attributes:
        kind: how to read it.
        reason: a sentence for the user that says why.
        constant: the mask has the same value everywhere, and so guides to nothing.
        strength: the value that stands for the subject in a binary mask that was painted with a
            brush of less than full opacity; else 1.
    """

    kind: GuidanceKind
    reason: str
    constant: bool = False
    strength: float = 1.0


def detect_kind(mask: Floats) -> Detection:
    """Tell what an uploaded mask is from its values, whatever JPEG or resizing did to its edges.

    The grey pixels decide. In a binary mask they are at most a line one pixel wide along the
    boundary; in a trimap the band is wider and most of it is at 128; else the mask is soft. Without
    any white, one grey that most of the mask has is a binary mask's, painted at less than full
    strength: nobody makes a trimap without foreground.

    Args:
        mask: (H, W) float in [0, 1].

    Returns:
        The kind (never "trimap_fg", which a trimap's owner chooses), and the reason.

    Raises:
        ValueError: the mask is out of range.
    """
    check_mask("mask", mask)
    low, high = (round(float(value) * 255) for value in (mask.min(), mask.max()))
    if high - low <= 1:
        kind: GuidanceKind = "binary_mask" if low == 0 or high == 255 else "soft_mask"
        return Detection(kind, _reason_of_constant(low, high), constant=True)

    levels = np.unique(np.rint(mask * 255)).astype(int)
    grey = (mask > _GREY_FROM) & (mask < _GREY_TO)
    middle = np.abs(mask - 0.5) <= _NOISE
    clusters = [
        level
        for level, members in ((0, mask <= _GREY_FROM), (128, middle), (255, mask >= _GREY_TO))
        if members.any()
    ]
    grey_px, middle_px = int(grey.sum()), int(middle.sum())
    if {0, 255} <= set(clusters) and grey_px <= _boundary_length(mask):
        return Detection("binary_mask", f"{_listed(levels, [0, 255])}: a binary mask")
    if 255 in clusters and len(clusters) > 1 and middle_px >= 0.5 * grey_px > 0:
        return Detection("trimap", f"{_listed(levels, clusters)}: a trimap")
    strength = _painted_strength(mask)
    if levels.size == 2 and low < 128 <= high:
        reason = f"{_listed(levels, [low, high])}: a binary mask"
        return Detection("binary_mask", reason, strength=strength or 1.0)
    if strength is not None:
        values = _listed(levels, [low, round(strength * 255)])
        return Detection(
            "binary_mask", f"{values}: a binary mask at {strength:.0%} strength", strength=strength
        )
    return Detection("soft_mask", f"many values from {low} to {high}: a soft mask")


def _painted_strength(mask: Floats) -> float | None:
    """Return the grey that stands for the subject where nothing is white; None for other masks."""
    high = float(mask.max())
    if high >= _GREY_TO or float(mask.min()) > high / 4:
        return None
    painted = mask[mask >= high / 2]
    strength = float(np.median(painted))
    alike = np.abs(painted - strength) <= min(_NOISE, strength / 8)
    return strength if alike.mean() >= _PAINTED_SHARE else None


def _boundary_length(mask: Floats) -> float:
    """Count the pairs of neighbours at which the mask crosses 1/4 or 3/4, in pixels of boundary.

    At neither value does a trimap have pixels, so that noise in its middle counts for nothing.
    """
    pairs = 0
    for crossing in (0.25, 0.75):
        inside = mask >= crossing
        pairs += int((inside[1:] != inside[:-1]).sum())
        pairs += int((inside[:, 1:] != inside[:, :-1]).sum())
    return pairs / 2


def _reason_of_constant(low: int, high: int) -> str:
    if low == 0:
        return "all values 0: an empty mask, paint or upload one that marks the subject"
    if high == 255:
        return "all values 255: the mask covers the whole image, leave the background out of it"
    return f"all values {low}: the mask says nothing about the subject"


def _listed(levels: NDArray[np.int_], clusters: list[int]) -> str:
    count = {1: "one value", 2: "two values", 3: "three values"}[len(clusters)]
    if levels.size == len(clusters):
        return f"{count} {', '.join(str(level) for level in levels)}"
    return f"{count} {', '.join(str(level) for level in clusters)} but for noise and edges"


def erode(guidance: Floats, kernel_px: int) -> Floats:
    """Shrink the subject: each pixel takes the least value under the ellipse.

    A subject that touches the image's border keeps touching it.

    Args:
        guidance: (H, W) float in [0, 1].
        kernel_px: the ellipse's diameter in pixels; 0 and 1 leave the guidance unchanged.

    Returns:
        (H, W) float32 in [0, 1], a new array.

    Raises:
        ValueError: the guidance is out of range, or the diameter is negative or fractional.
    """
    check_mask("guidance", guidance)
    return _morphology(cv2.MORPH_ERODE, guidance, kernel_px)


def dilate(guidance: Floats, kernel_px: int) -> Floats:
    """Grow the subject: each pixel takes the greatest value under the ellipse.

    Args:
        guidance: (H, W) float in [0, 1].
        kernel_px: the ellipse's diameter in pixels; 0 and 1 leave the guidance unchanged.

    Returns:
        (H, W) float32 in [0, 1], a new array.

    Raises:
        ValueError: the guidance is out of range, or the diameter is negative or fractional.
    """
    check_mask("guidance", guidance)
    return _morphology(cv2.MORPH_DILATE, guidance, kernel_px)


def shift_boundary(guidance: Floats, signed_kernel_px: int) -> Floats:
    """Grow the subject (above 0) or shrink it (below 0), as in sec. 5's robustness test.

    Args:
        guidance: (H, W) float in [0, 1].
        signed_kernel_px: plus or minus the ellipse's diameter in pixels; the boundary moves by
            half of it.

    Returns:
        (H, W) float32 in [0, 1], a new array.

    Raises:
        ValueError: the guidance is out of range, or the diameter is fractional.
    """
    if signed_kernel_px < 0:
        return erode(guidance, -signed_kernel_px)
    return dilate(guidance, signed_kernel_px)


def solid_inside(guidance: Floats) -> Floats:
    """Return the least alpha that depth inside guidance stands for, where gaps are not that deep.

    So it is with persons: what the matting network leaves out far inside them is nearly always a
    hole in clothes. 0 up to a depth of `SOLID_FROM` of the longer side, 1
    from `SOLID` on. The picture's border is no boundary.

    Args:
        guidance: (H, W) float32 in [0, 1]; inside is where it is 1.

    Returns:
        (H, W) float32 in [0, 1].
    """
    inside = (guidance == 1).astype(np.uint8)
    if inside.all():
        return np.ones_like(guidance)
    # In place: at 50 megapixels each copy takes 0.2 GB.
    share = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
    share /= max(guidance.shape)
    share -= np.float32(SOLID_FROM)
    share /= np.float32(SOLID - SOLID_FROM)
    return np.clip(share, 0, 1, out=share)


def _morphology(operation: int, guidance: Floats, kernel_px: int) -> Floats:
    if kernel_px != int(kernel_px) or kernel_px < 0:
        raise ValueError(
            f"kernel_px must be a whole number of at least 0, got {kernel_px}: "
            "give the kernel's diameter in pixels"
        )
    guidance = guidance.astype(np.float32)
    if kernel_px == 0:
        return guidance
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(kernel_px), int(kernel_px)))
    # OpenCV's default border takes no part in minimum or maximum, so that erosion cannot eat a
    # subject from the image's border.
    return cv2.morphologyEx(guidance, operation, ellipse).astype(np.float32, copy=False)


class KnownRegions(NamedTuple):
    """What a trimap decides.

    Attributes:
        foreground: (H, W) bool, alpha is 1 there.
        background: (H, W) bool, alpha is 0 there.
    """

    foreground: Booleans
    background: Booleans


def known_regions(trimap: Floats) -> KnownRegions:
    """Read a trimap's known regions; the rest is unknown.

    Args:
        trimap: (H, W) float in [0, 1]; each value counts as the nearest of 0, 0.5 and 1.

    Returns:
        The regions of certain foreground and background.

    Raises:
        ValueError: the trimap is out of range.
    """
    check_mask("trimap", trimap)
    return KnownRegions(foreground=trimap > 0.75, background=trimap < 0.25)


def trimap_from_alpha(alpha: Floats, kernel_px: int) -> Floats:
    """Make a trimap from an alpha: its transitions, dilated, are unknown (sec. 4, Distinction-646).

    Args:
        alpha: (H, W) float in [0, 1]. What 8 bits round to neither 0 nor 255 is unknown.
        kernel_px: diameter in pixels of the ellipse that dilates the unknown region.

    Returns:
        (H, W) float32: 0, 0.5 or 1.

    Raises:
        ValueError: the alpha is out of range, or the diameter is negative or fractional.
    """
    check_mask("alpha", alpha)
    return _trimap(alpha > 1 - 0.5 / 255, alpha < 0.5 / 255, kernel_px)


def trimap_from_probability(
    probability: Floats, foreground: float = 0.95, background: float = 0.05, kernel_px: int = 20
) -> Floats:
    """Make a trimap from a segmenter's probability (sec. 5).

    Args:
        probability: (H, W) float in [0, 1], of the pixel being subject.
        foreground: above this probability a pixel is foreground.
        background: below this probability a pixel is background.
        kernel_px: diameter in pixels of the ellipse that dilates the unknown region.

    Returns:
        (H, W) float32: 0, 0.5 or 1.

    Raises:
        ValueError: the probability is out of range, the limits are not in order, or the diameter
            is negative or fractional.
    """
    check_mask("probability", probability)
    if not 0 <= background < foreground <= 1:
        raise ValueError(
            f"background and foreground must rise within [0, 1], got {background:g} and "
            f"{foreground:g}: the paper's are 0.05 and 0.95"
        )
    return _trimap(probability > foreground, probability < background, kernel_px)


def _trimap(foreground: Booleans, background: Booleans, kernel_px: int) -> Floats:
    unknown = (~(foreground | background)).astype(np.float32)
    near_unknown = _morphology(cv2.MORPH_DILATE, unknown, kernel_px) > 0
    return np.where(near_unknown, 0.5, foreground).astype(np.float32)
