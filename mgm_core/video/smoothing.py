"""Keep a clip's alpha calm: what was decided about a frame goes on into the next one.

Frame by frame, the segmenter changes its mind about pixels that did not change, and the outline
flickers. So the last frame's probability and alpha are warped along the picture's motion. They
share in the probability that becomes guidance, and in alpha, wherever the warped picture still
looks like the new one; where something moved into view, they do not.

The paper mattes single pictures; this is not in it. `docs/video.md` has the measurements.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from mgm_core.arrays import Bytes, Floats

__all__ = ["TemporalSmoother"]


# Motion is found on a small copy: its outlines are as sharp as a guidance needs.
_FLOW_SIDE_PX = 256
_FLOW_LEVELS = 250  # it compares bytes
# Differences of noise are below, those of anything that moved in far above.
_ALIKE_DIFFERENCE = 0.06
_BLUR_SIGMA_PX = 1.5
# Of what goes into the new probability, alpha knows the outline better and corrects itself
# less: with more of it a wrong region stays.
_SHARE_OF_ALPHA = np.float32(0.25)


@dataclass(frozen=True)
class _Previous:
    image: Floats = field(repr=False)
    probability: Floats = field(repr=False)
    alpha: Floats = field(repr=False)


class TemporalSmoother:
    """Carries probability and alpha from frame to frame.

    Args:
        share: how much of the past goes into what looks unchanged; 0 is frame by frame.

    Raises:
        ValueError: `share` is out of range.
    """

    def __init__(self, share: float = 0.7) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"share must be at least 0 and below 1, got {share:g}: 0.7 is usual")
        self._share = np.float32(share)
        self._past: _Previous | None = None

    def alpha(
        self, image: Floats, probability: Floats, matte: Callable[[Floats], Floats]
    ) -> Floats:
        """Return the next frame's alpha.

        Args:
            image: (H, W, 3) float32 in [0, 1], of the size of the frames before.
            probability: (H, W) float32 in [0, 1], the segmenter's.
            matte: makes alpha, (H, W) float32 in [0, 1], of the probability that it is given.

        Raises:
            ValueError: the size changed.
        """
        past = self._past
        if past is not None and past.image.shape != image.shape:
            raise ValueError(
                f"image must keep the size of the frame before, got {image.shape} after "
                f"{past.image.shape}: begin anew for another clip"
            )
        if past is None or self._share == 0:
            alpha = matte(probability)
        else:
            where = motion(past.image, image)
            weight = self._share * similarity(warp(past.image, where), image)
            last_alpha = warp(past.alpha, where)
            last_probability = warp(past.probability, where)
            expected = _blend(last_alpha, last_probability, _SHARE_OF_ALPHA)
            probability = _blend(expected, probability, weight)
            alpha = _blend(last_alpha, matte(probability), weight)
        self._past = _Previous(image, probability, alpha)
        return alpha


def motion(before: Floats, after: Floats) -> Floats:
    """Return where each pixel of a frame was in the one before, by optical flow.

    Args:
        before: (H, W, 3) float32 in [0, 1].
        after: (H, W, 3) float32 in [0, 1].

    Returns:
        (H, W, 2) float32: x and y in px.
    """
    height, width = after.shape[:2]
    scale = min(1.0, _FLOW_SIDE_PX / max(height, width))
    size = max(16, round(width * scale)), max(16, round(height * scale))
    new, old = (
        _grey_levels(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
        for image in (after, before)
    )
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = finder.calc(new, old, np.empty(0))
    flow = cv2.resize(flow, (width, height))
    places: Floats = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    places = places + flow * np.array([width / size[0], height / size[1]])
    return places.astype(np.float32)


def warp(plane: Floats, where: Floats) -> Floats:
    """Move a picture or plane along a `motion`, bilinearly."""
    x, y = cv2.split(where)
    moved = cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def similarity(first: Floats, second: Floats) -> Floats:
    """Return how alike two pictures are at every pixel, noise aside.

    Args:
        first: (H, W, 3) float32 in [0, 1].
        second: (H, W, 3) float32 in [0, 1].

    Returns:
        (H, W) float32 in [0, 1]; 1 where they are the same.
    """
    difference = np.abs(_blur(first) - _blur(second)).max(axis=2)
    alike: Floats = np.exp(-np.square(_blur(difference) / np.float32(_ALIKE_DIFFERENCE)))
    return alike


def _blur(plane: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _BLUR_SIGMA_PX), np.float32)


def _grey_levels(image: Floats) -> Bytes:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(_FLOW_LEVELS * grey.clip(0, 1), np.uint8)


def _blend(first: Floats, second: Floats, share: Floats | np.float32) -> Floats:
    mixed: Floats = share * first + (1 - share) * second
    return mixed.clip(0, 1).astype(np.float32)
