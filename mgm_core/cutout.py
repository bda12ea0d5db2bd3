"""From a photograph to a cut-out: segmentation, guidance, matting, foreground colours in a row.

Source: section 5 of the paper for the order and the threshold; Eq. 1 for what a cut-out is.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mgm_core.compositing import rgba
from mgm_core.foreground import ForegroundEstimator, ForegroundMethod, estimate_foreground
from mgm_core.guidance import GuidanceKind, detect_kind, shift_boundary, to_guidance
from mgm_core.inference import Matte, Matter, without_stray_parts
from mgm_core.segmentation import THRESHOLD, Segmenter

Floats = NDArray[np.float32]


class NoSubjectError(ValueError):
    """The guidance is empty: nothing in the picture is to be cut out."""


@dataclass(frozen=True)
class Guided:
    """Guidance and where it came from.

    Args:
        guidance: (H, W) float32 in [0, 1].
        reason: One sentence for the user.
        known: The trimap whose known regions alpha must keep, or None.
    """

    guidance: Floats
    reason: str
    known: Floats | None = None


@dataclass(frozen=True)
class CutoutSettings:
    """How a photograph is cut out.

    Args:
        category: What the segmenter looks for.
        threshold: Probability from which a pixel belongs to it; the paper's is 0.5.
        long_side_px: Long side that the segmenter is fed with; None for its default.
        shift_px: The guidance is dilated (above 0) or eroded by a kernel of this diameter.
        foreground: How foreground colours are estimated.
        keep_largest: Drop parts that do not hang together with the largest one.
    """

    category: str = "person"
    threshold: float = THRESHOLD
    long_side_px: int | None = None
    shift_px: int = 0
    foreground: ForegroundMethod | ForegroundEstimator = "multilevel"
    keep_largest: bool = False


@dataclass(frozen=True)
class Cutout:
    """A cut-out and what it was made from.

    Args:
        image: The photograph, (H, W, 3) float32 in [0, 1].
        guided: The guidance that was used.
        matte: What the network gave.
        alpha: The final alpha, (H, W) float32 in [0, 1].
        foreground: Colours without the background's, (H, W, 3) float32 in [0, 1].
    """

    image: Floats = field(repr=False)
    guided: Guided
    matte: Matte = field(repr=False)
    alpha: Floats = field(repr=False)
    foreground: Floats = field(repr=False)

    def rgba(self) -> Floats:
        """Return the transparent picture with straight colours, (H, W, 4)."""
        return rgba(self.foreground, self.alpha)


def guidance_from_segmenter(
    image: Floats, segmenter: Segmenter, settings: CutoutSettings = CutoutSettings()
) -> Guided:
    """Threshold the segmenter's probability of the category (section 5).

    Raises:
        NoSubjectError: Nothing of the category was found.
        ValueError: A setting is out of range.
    """
    probability = segmenter.probability(
        image, settings.category, long_side_px=settings.long_side_px
    )
    guidance = (probability >= settings.threshold).astype(np.float32)
    if not guidance.any():
        raise NoSubjectError(
            f"the photo must show a {settings.category}, but {segmenter.name} finds none (highest "
            f"probability {probability.max():.2f}): bring a mask, or choose another category or a "
            "lower threshold"
        )
    return Guided(
        guidance, f"{segmenter.name}: {settings.category} at {settings.threshold:g} and above"
    )


def guidance_from_mask(mask: Floats, kind: GuidanceKind | None = None) -> Guided:
    """Read a mask that the user brings; its kind is detected unless it is given.

    Args:
        mask: (H, W) float32 in [0, 1].
        kind: What the mask is.

    Raises:
        NoSubjectError: The mask is empty.
    """
    detection = detect_kind(mask)
    reason = detection.reason
    if kind is None:
        kind = detection.kind
    elif kind != detection.kind:
        reason = f"read as {kind}, as told ({detection.reason})"
    guidance = to_guidance(mask, kind)
    if not guidance.any():
        raise NoSubjectError(
            "the mask must mark the subject, but it is empty: give one that is white there"
        )
    known = guidance if kind == "trimap" else None
    return Guided(guidance, reason, known)


def cut_out(
    image: Floats, guided: Guided, matter: Matter, settings: CutoutSettings = CutoutSettings()
) -> Cutout:
    """Return the subject that the guidance points to.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        guided: Guidance of the image's size.
        matter: The matting network.
        settings: What is done beside matting.

    Raises:
        ValueError: Sizes differ, or a setting is out of range.
    """
    guidance = guided.guidance
    if settings.shift_px:
        guidance = shift_boundary(guidance, settings.shift_px)
    matte = matter.matte(image, guidance, known=guided.known)
    alpha = without_stray_parts(matte.alpha) if settings.keep_largest else matte.alpha
    foreground = estimate_foreground(image, alpha, settings.foreground)
    return Cutout(image, Guided(guidance, guided.reason, guided.known), matte, alpha, foreground)
