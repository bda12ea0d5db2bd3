"""Follow a subject through a clip from a mask of its first frame, whatever the subject is.

The last alpha, carried along the picture's motion, is the next guidance, wherever the carried
picture still looks like the new one: where something moved before the subject, it does not. A
segmenter's parts that agree with it are added. What came back into view is found by the anchor,
the frame in which most of the subject was last seen: it is looked for all over the new frame, and
taken where its pixels look alike. After a cut the segmenter begins anew, where it finds something.

The paper mattes single pictures; this is not in it. `docs/video.md` has the measurements.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Bytes, Floats
from mgm_core.video.smoothing import motion, warp

__all__ = ["Tracker"]

# The anchor is looked for on a small copy.
_SEARCH_SIDE_PX = 192
# Shares of the anchor's area: below the first the subject is not seen any more, above the second
# all of it is.
_GONE, _WHOLE = 0.08, 0.9
# Over which extent colours are compared, and how wide what covers a subject is at least; as shares
# of its side.
_EXTENT, _NARROWEST_COVER = 0.06, 0.12
_UNLIKE = 0.12
# The subject's share of a colour below which it is what is around it.
_FOREIGN = 0.15
_BINS = 12
# Of the anchor's pixels, how many have to look alike where it is found again.
_FOUND = 0.25
# A part of a segmentation agrees where so much of it, and of the guidance, is in both.
_AGREEMENT = 0.6
# Share of the pixels that have other colours after a cut; a subject that comes or goes is smaller.
_CUT_DIFFERENCE = 0.5


@dataclass(frozen=True)
class _Seen:
    image: Floats = field(repr=False)
    alpha: Floats = field(repr=False)

    @property
    def area(self) -> float:
        return float(self.alpha.sum())


class Tracker:
    """Makes each frame's guidance from the frames before.

    Args:
        threshold: Probability from which a pixel is the segmenter's subject.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self._threshold = threshold
        self._last: _Seen | None = None
        self._anchor: _Seen | None = None
        self._colours: _Colours | None = None

    @property
    def begun(self) -> bool:
        """Whether a frame was seen."""
        return self._last is not None

    def guidance(self, image: Floats, probability: Floats) -> Floats:
        """Return where the subject is in the next frame, as far as that is known.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            probability: (H, W) float32 in [0, 1], the segmenter's.

        Returns:
            (H, W) float32: 0 or 1; all 0 while the subject is out of sight.
        """
        last, anchor = self._last, self._anchor
        assert last is not None, "the first frame's alpha comes before"
        assert anchor is not None, "there is an anchor from the first frame on"
        found = probability >= self._threshold
        if _difference(last.image, image) > _CUT_DIFFERENCE:
            seen = self._placed(anchor, image)
            agreed = _agreeing_parts(found, seen)
            if seen.any():
                return (seen | agreed).astype(np.float32)
            return _largest_part(found).astype(np.float32)
        where = motion(last.image, image)
        seen = self._still_seen(last, where, image)
        if (rigid := _rigid(where, warp(last.alpha, where) >= 0.5)) is not None:
            seen |= self._still_seen(last, rigid, image)
        if seen.sum() < _WHOLE * anchor.area:
            seen |= self._placed(anchor, image)
        if seen.sum() < _GONE * anchor.area:
            seen[:] = False
        seen |= _agreeing_parts(found, seen)
        return seen.astype(np.float32)

    def saw(self, image: Floats, alpha: Floats) -> None:
        """Take a frame's alpha, the first one's included.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1].
        """
        self._last = _Seen(image, alpha)
        # What is half hidden is no better anchor than the whole of an earlier frame.
        if self._anchor is None or self._last.area >= _WHOLE * self._anchor.area:
            self._anchor = self._last
        if self._colours is None:
            self._colours = _Colours(self._last)

    def _still_seen(self, earlier: _Seen, where: Floats, image: Floats) -> Booleans:
        """Return the part of an earlier alpha, carried along a motion, that is seen in a frame.

        Compared are colours over an extent that the motion's own inaccuracy is small to, with the
        carried ones, and with those of the subject and of what is around it in the anchor. What
        moves before a subject is wider.
        """
        before, alpha = warp(earlier.image, where), warp(earlier.alpha, where)
        inside = alpha >= 0.5
        side_px = float(np.sqrt(inside.sum()))
        extent_px = max(1.5, _EXTENT * side_px)

        def mean(plane: Floats) -> Floats:
            # Of the inside alone: what is beside a subject changes as it moves.
            weight = cv2.GaussianBlur(alpha, (0, 0), extent_px) + np.float32(1e-6)
            weighted = plane * (alpha if plane.ndim == 2 else alpha[..., None])
            blurred = np.asarray(cv2.GaussianBlur(weighted, (0, 0), extent_px), np.float32)
            return blurred / (weight if plane.ndim == 2 else weight[..., None])

        unlike: Booleans = np.abs(mean(before - image)).max(axis=2) > _UNLIKE
        if self._colours is not None:
            unlike |= mean(self._colours.share(image)) < _FOREIGN
        width_px = max(3, round(_NARROWEST_COVER * side_px))
        covered = cv2.morphologyEx(
            (inside & unlike).astype(np.uint8),
            cv2.MORPH_OPEN,
            np.ones((width_px, width_px), np.uint8),
        )
        seen: Booleans = inside & (covered == 0)
        return seen

    def _placed(self, anchor: _Seen, image: Floats) -> Booleans:
        """Find the anchor's subject in a frame; true where a pixel looks as it did."""
        height, width = image.shape[:2]
        none = np.zeros((height, width), bool)
        solid = anchor.alpha >= 0.9
        if not solid.any():
            return none
        scale = min(1.0, _SEARCH_SIDE_PX / max(height, width))
        size = max(8, round(width * scale)), max(8, round(height * scale))
        small, small_anchor = _small(image, size), _small(anchor.image, size)
        small_solid = cv2.resize(solid.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        rows, columns = np.flatnonzero(small_solid.any(1)), np.flatnonzero(small_solid.any(0))
        if not rows.size:
            return none
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        # Parts of it may lie outside of the frame.
        margin = max(rows[-1] - rows[0], columns[-1] - columns[0]) // 2
        around = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        mask = small_solid[box].astype(np.float32)
        squares = cv2.matchTemplate(
            around, small_anchor[box], cv2.TM_SQDIFF, mask=np.repeat(mask[..., None], 3, axis=2)
        )
        _, _, (x, y), _ = cv2.minMaxLoc(squares)
        right = (x - margin - columns[0]) * width / size[0]
        down = (y - margin - rows[0]) * height / size[1]
        here: Floats = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(
            np.float32
        )
        back = here - np.array([right, down], np.float32)
        moved = _Seen(warp(anchor.image, back), warp(anchor.alpha, back))
        # The rest of the way, and how it turned since, by its motion.
        seen = self._still_seen(moved, motion(moved.image, image), image)
        return seen if seen.sum() >= _FOUND * anchor.area else none


class _Colours:
    """How much of each colour is the subject's, in one frame.

    Args:
        seen: The frame.
    """

    def __init__(self, seen: _Seen) -> None:
        levels = self._bins(seen.image)
        count = _BINS**3
        subject = np.bincount(levels, seen.alpha.ravel(), count).reshape((_BINS,) * 3)
        around = np.bincount(levels, 1 - seen.alpha.ravel(), count).reshape((_BINS,) * 3)
        from scipy.ndimage import gaussian_filter  # on use: --help need not wait for it

        # Light changes a little, and noise is everywhere.
        subject, around = (gaussian_filter(counts, 1.0) for counts in (subject, around))
        subject, around = subject / max(subject.sum(), 1), around / max(around.sum(), 1)
        rare = 1e-6
        self._shares = ((subject + rare) / (subject + around + 2 * rare)).astype(np.float32).ravel()

    def share(self, image: Floats) -> Floats:
        """Return for each pixel the subject's share of its colour, (H, W) float32 in [0, 1]."""
        shares: Floats = self._shares[self._bins(image)].reshape(image.shape[:2])
        return shares

    @staticmethod
    def _bins(image: Floats) -> NDArray[np.intp]:
        levels = np.minimum((image.clip(0, 1) * _BINS).astype(np.intp), _BINS - 1)
        return np.asarray(
            (levels[..., 0] * _BINS + levels[..., 1]) * _BINS + levels[..., 2]
        ).ravel()


def _rigid(where: Floats, inside: Booleans) -> Floats | None:
    """Return the turn, shift and scale that a subject's motion is nearly, as a motion; or None.

    Flow is least exact at a subject's outline, where the background moves otherwise.
    """
    ys, xs = np.nonzero(inside)
    if xs.size < 50:
        return None
    step = max(1, xs.size // 2000)
    new = np.stack([xs, ys], axis=1)[::step].astype(np.float32)
    # OpenCV's types do not tell that it may find nothing.
    found: Floats | None = cv2.estimateAffinePartial2D(
        new, where[inside][::step], ransacReprojThreshold=2.0
    )[0]  # type: ignore[assignment]
    if found is None:
        return None
    height, width = inside.shape
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    moved: Floats = (here @ found[:, :2].T + found[:, 2]).astype(np.float32)
    return moved


def _agreeing_parts(found: Booleans, seen: Booleans) -> Booleans:
    """Return the parts of a segmentation that are mostly what is seen of the subject."""
    agreeing = np.zeros_like(found)
    if not seen.any() or not found.any():
        return agreeing
    count, parts = cv2.connectedComponents(found.astype(np.uint8), connectivity=8)
    for part in range(1, count):
        here = parts == part
        both = (here & seen).sum()
        if both >= _AGREEMENT * here.sum() and both >= _AGREEMENT * seen.sum():
            agreeing |= here
    return agreeing


def _largest_part(found: Booleans) -> Booleans:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    if count < 2:
        return np.zeros_like(found)
    return np.asarray(parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _difference(first: Floats, second: Floats) -> float:
    """Return how far two frames' colours are apart, whatever moved in between."""
    bins = [
        cv2.calcHist([_levels(image)], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
        for image in (first, second)
    ]
    shares = [counts / counts.sum() for counts in bins]
    return 0.5 * float(np.abs(shares[0] - shares[1]).sum())


def _small(image: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _levels(image: Floats) -> Bytes:
    return np.asarray(image.clip(0, 1) * np.iinfo(np.uint8).max, np.uint8)
