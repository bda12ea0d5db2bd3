"""Follow a subject through a clip from a mask of its first frame, whatever the subject is.

The last alpha, carried along the picture's motion, is the next guidance, wherever the carried
picture still looks like the new one: where something moved before the subject, it does not. A
segmenter's parts that agree with it are added. What came back into view is found by the anchor,
the frame in which most of the subject was last seen: it is looked for all over the new frame, and
taken where its pixels look alike. After a cut the segmenter begins anew, where it finds something.

The paper mattes single pictures; this is not in it. `docs/video.md` has the measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Bytes, Floats
from mgm_core.video.smoothing import motion, similarity, warp

__all__ = ["Tracker"]

# Subjects are followed on copies of the frames, and looked for on still smaller ones.
_SIDE_PX, _SEARCH_SIDE_PX = 512, 192
# Shares of the anchor's area: below the first the subject is not seen any more, above the second
# all of it is.
_GONE, _WHOLE = 0.01, 0.9
# Shares of the subject that look alike: of the anchor, from which on they tell its pose, and of the
# last frame, from which on its shift need not be searched for.
_FOUND, _PLAIN = 0.12, 0.8
# How often a pose is refined, as long as so much more of the subject looks alike.
_ROUNDS, _WORTHWHILE = 4, 0.02
# How alike pixels are that show the same, if exactly there, and if a little beside.
_ALIKE_AT, _ALIKE_NEAR = 0.5, 0.1
# Over which extent colours are compared, and how wide what covers a subject is at least; as shares
# of its side.
_EXTENT, _NARROWEST_COVER = 0.06, 0.12
_UNLIKE = 0.12
# The subject's share of a colour below which it is what is around it.
_FOREIGN = 0.15
_BINS = 12
# The subject's patches that vote for its shift: how many along its longer side, of what side at
# least, and how much of one is the subject at least.
_PATCHES, _LEAST_PATCH_PX, _PATCH_SHARE, _SOLID = 5, 4, 0.6, 0.9
# Up to which difference patches are alike, and what a shift of the whole frame costs in votes.
_ALIKE, _COST_OF_DISTANCE = 0.08, 0.1
# A part of a segmentation agrees where so much of it, and of the guidance, is in both.
_AGREEMENT = 0.6
# Share of the pixels that have other colours after a cut; a subject that comes or goes is smaller.
_CUT_DIFFERENCE = 0.5


Pose: TypeAlias = NDArray[np.float64]
"""(3, 3): from places (x, y, 1) in one frame to those in another."""

_STILL: Pose = np.eye(3)


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
        # Where the anchor's subject is in the last frame, and how the subject moved to get there.
        self._pose = self._step = _STILL
        self._speed = np.zeros(2)

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
        height, width = image.shape[:2]
        image, probability = _at_most(image), _at_most(probability)
        seen = self._guidance(last, anchor, image, probability >= self._threshold)
        if seen.shape == (height, width):
            return seen.astype(np.float32)
        large = cv2.resize(seen.astype(np.float32), (width, height))
        return (large >= 0.5).astype(np.float32)

    def saw(self, image: Floats, alpha: Floats) -> None:
        """Take a frame's alpha, the first one's included.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1].
        """
        self._last = _Seen(_at_most(image), _at_most(alpha))
        # What is half hidden is no better anchor than the whole of an earlier frame.
        if self._anchor is None or self._last.area >= _WHOLE * self._anchor.area:
            self._anchor = self._last
            self._pose = _STILL
        if self._colours is None:
            self._colours = _Colours(self._last)

    def _guidance(self, last: _Seen, anchor: _Seen, image: Floats, found: Booleans) -> Booleans:
        if _difference(last.image, image) > _CUT_DIFFERENCE:
            # Whatever was to be expected is no more.
            self._pose, self._step, self._speed = _STILL, _STILL, np.zeros(2)
            seen = self._place(anchor, [_moved(_STILL, _shift(anchor, image))], image)
            return seen | _agreeing_parts(found, seen) if seen.any() else _largest_part(found)
        seen = self._carry(last, image)
        if seen.sum() < _WHOLE * anchor.area:
            expected = _moved(self._pose, self._speed)
            # The anchor is looked for as it was turned when it was last seen.
            posed = _Seen(*(_posed(plane, self._pose) for plane in (anchor.image, anchor.alpha)))
            anywhere = _moved(self._pose, _shift(posed, image))
            seen |= self._place(anchor, [expected, self._pose, anywhere], image)
        if seen.sum() < _GONE * anchor.area:
            seen[:] = False
        return seen | _agreeing_parts(found, seen)

    def _carry(self, last: _Seen, image: Floats) -> Booleans:
        """Return the last alpha, carried to a frame, where it is seen there.

        Flow finds what moves by less than its own size. Where the subject moved further, its shift
        is found first, and flow tells the rest.
        """
        if last.area < 1:
            return np.zeros(last.alpha.shape, bool)
        fits = [_fit(last, pose, image) for pose in (_STILL, self._step)]
        if max(fit.score for fit in fits) < _PLAIN * last.area:
            fits.append(_fit(last, _moved(_STILL, _shift(last, image)), image))
        best = max(fits, key=lambda fit: fit.score)
        if best.score < _FOUND * last.area:
            return np.zeros(last.alpha.shape, bool)
        seen = self._still_seen(last, best.flow, image)
        seen |= self._still_seen(last, _where(best.pose, image), image)
        if last is self._anchor and seen.sum() >= _WHOLE * last.area:
            middle = np.array([*_middle(last.alpha), 1.0])
            self._speed = (best.pose @ middle - middle)[:2]
            self._pose = self._step = best.pose
        return seen

    def _place(self, anchor: _Seen, poses: Sequence[Pose], image: Floats) -> Booleans:
        """Return what is seen of the anchor's subject in the best of some poses.

        Where too little is seen to tell the pose by, it is the first. A subject that is out of
        sight is taken to move on.
        """
        best = max((_fit(anchor, pose, image) for pose in poses), key=lambda fit: fit.rigid_score)
        self._pose = best.pose if best.rigid_score >= _FOUND * anchor.area else poses[0]
        where = _where(self._pose, image)
        return self._still_seen(anchor, where, image)

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
        # A part that is not covered, and yet looks otherwise, is a rest of what covers it.
        alike = similarity(before, image) > _ALIKE_NEAR
        count, parts = cv2.connectedComponents(seen.astype(np.uint8), connectivity=8)
        for part in range(1, count):
            here = parts == part
            if alike[here].mean() < 0.5:
                seen[here] = False
        return seen


@dataclass(frozen=True)
class _Fitted:
    """How an earlier sight of a subject fits into a frame, from a first guess of its pose on.

    Args:
        pose: from the earlier frame to this one, refined by the flow.
        flow: where each pixel was in the earlier frame, by the guess and the flow.
        flow_score: how much of the subject looks alike by the flow, in px.
        rigid_score: the same by the pose.
    """

    pose: Pose
    flow: Floats
    flow_score: float
    rigid_score: float

    @property
    def score(self) -> float:
        """How much of the subject looks alike, in px."""
        return max(self.flow_score, self.rigid_score)


def _fit(earlier: _Seen, pose: Pose, image: Floats) -> _Fitted:
    """Refine a guess of a subject's pose as long as that makes more of it look alike."""
    best = _fit_once(earlier, pose, image)
    for _ in range(_ROUNDS):
        if best.pose is pose:
            break
        pose = best.pose
        again = _fit_once(earlier, pose, image)
        if again.rigid_score < best.rigid_score + _WORTHWHILE * earlier.area:
            break
        best = again
    return best


def _fit_once(earlier: _Seen, pose: Pose, image: Floats) -> _Fitted:
    guess = _where(pose, image)
    # What is around the subject moves otherwise, and would draw the flow along.
    share = warp(earlier.alpha, guess)[..., None]
    near = share * warp(earlier.image, guess) + (1 - share) * image
    rest = motion(near, image)
    flow = warp(guess, rest)
    inside = warp(earlier.alpha, flow)
    alike = similarity(warp(near, rest), image)
    score = float((alike * inside).sum())
    # What is covered has a flow, too, of nothing that is the subject's.
    refined = _rigid(flow, (inside >= 0.5) & (alike > _ALIKE_AT))
    poses = [pose] if refined is None else [pose, refined]
    rigid_score, pose = max(
        ((_score(earlier, p, image), p) for p in poses), key=lambda pair: pair[0]
    )
    return _Fitted(pose, flow, score, rigid_score)


def _score(earlier: _Seen, pose: Pose, image: Floats) -> float:
    """Return how much of a subject looks alike in a frame, in px."""
    where = _where(pose, image)
    alike = similarity(warp(earlier.image, where), image) * warp(earlier.alpha, where)
    return float(alike.sum())


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


def _shift(earlier: _Seen, image: Floats) -> Pose | None:
    """Return how far a subject moved, right and down in px, wherever it went; None if it is small.

    Each patch of it votes for the shifts at which it finds its own colours, so that a part of the
    subject that is hidden says nothing about the rest.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SEARCH_SIDE_PX / max(height, width))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small, before = _small(image, size), _small(earlier.image, size)
    solid = cv2.resize(earlier.alpha, size, interpolation=cv2.INTER_AREA) >= _SOLID
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    longer = max(int(np.ptp(rows)), int(np.ptp(columns)))
    side = max(_LEAST_PATCH_PX, longer // _PATCHES)
    # Parts of the subject may lie outside of the frame, where there is no colour.
    margin = longer + 1
    around = cv2.copyMakeBorder(
        small, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(-9.0, -9.0, -9.0)
    )
    # Of shifts of -top - margin to height - top, and so on.
    votes = np.zeros((size[1] + margin, size[0] + margin), np.float32)
    count = 0
    for y in range(top, int(rows[-1]) + 1, side):
        for x in range(left, int(columns[-1]) + 1, side):
            patch = np.s_[y : y + side, x : x + side]
            inside = solid[patch]
            if inside.mean() < _PATCH_SHARE:
                continue
            mask = np.repeat(inside[..., None].astype(np.float32), 3, axis=2)
            squares = cv2.matchTemplate(
                around, before[patch], cv2.TM_SQDIFF, mask=None if inside.all() else mask
            )
            alike = np.exp(-squares / (mask.sum() * np.float32(_ALIKE) ** 2))
            part = alike[y - top :, x - left :][: votes.shape[0], : votes.shape[1]]
            votes[: part.shape[0], : part.shape[1]] += part
            count += 1
    if not count:
        return None
    # Of places that are as like, the nearest.
    down, right = np.ogrid[: votes.shape[0], : votes.shape[1]]
    down, right = down - margin - top, right - margin - left
    votes /= count
    votes -= _COST_OF_DISTANCE * np.hypot(down, right) / max(size)
    row, column = divmod(int(np.argmax(votes)), votes.shape[1])
    moved = (column - margin - left) * width / size[0], (row - margin - top) * height / size[1]
    return np.array(moved, np.float64)


def _rigid(flow: Floats, inside: Booleans) -> Pose | None:
    """Return the turn, shift and scale that a subject's motion is nearly, or None.

    Flow is least exact at a subject's outline, where the background moves otherwise.
    """
    ys, xs = np.nonzero(inside)
    if xs.size < 50:
        return None
    step = max(1, xs.size // 2000)
    new = np.ascontiguousarray(np.stack([xs, ys], axis=1)[::step], np.float32)
    old = np.ascontiguousarray(flow[inside][::step])
    # OpenCV's types do not tell that it may find nothing.
    found: Pose | None = cv2.estimateAffinePartial2D(old, new, ransacReprojThreshold=2.0)[0]  # type: ignore[assignment]
    if found is None or not 0.5 < abs(np.linalg.det(found[:, :2])) < 2:
        return None
    return np.vstack([found, [0, 0, 1]])


def _moved(pose: Pose, shift: Pose | None) -> Pose:
    """Return a pose moved to the right and down; None is no shift."""
    matrix = np.eye(3)
    matrix[:2, 2] = 0 if shift is None else shift
    return matrix @ pose


def _where(pose: Pose, image: Floats) -> Floats:
    """Return where each pixel of a frame was, by a pose, as a `motion`."""
    height, width = image.shape[:2]
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    back = np.linalg.inv(pose)[:2]
    where: Floats = (here @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return where


def _posed(plane: Floats, pose: Pose) -> Floats:
    return warp(plane, _where(pose, plane))


def _middle(alpha: Floats) -> tuple[float, float]:
    ys, xs = np.nonzero(alpha >= 0.5)
    return (float(xs.mean()), float(ys.mean())) if xs.size else (0.0, 0.0)


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


def _at_most(plane: Floats) -> Floats:
    """Return a picture or plane, or a copy of `_SIDE_PX` where it is larger."""
    height, width = plane.shape[:2]
    scale = _SIDE_PX / max(height, width)
    return plane if scale >= 1 else _small(plane, (round(width * scale), round(height * scale)))


def _small(image: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _levels(image: Floats) -> Bytes:
    return np.asarray(image.clip(0, 1) * np.iinfo(np.uint8).max, np.uint8)
