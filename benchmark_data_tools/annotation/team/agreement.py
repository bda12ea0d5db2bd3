"""How far two annotators agree on images that both labelled blind."""

import csv
from collections import defaultdict
from dataclasses import astuple, dataclass, fields
from io import StringIO
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import aliased

from benchmark_data_tools.annotation.storage.masks import Mask, is_detail
from benchmark_data_tools.annotation.storage.store import FINISHED, Store, UnknownError
from benchmark_data_tools.annotation.storage.tables import Entry, Image
from mgm_core.guidance import dilate

BOUNDARY_PX = 3


@dataclass(frozen=True)
class Pair:
    """Two annotators' masks of one image.

    Args:
        image_id: The image.
        name: Its name.
        first: Annotator of the first pass.
        second: Annotator of the second pass.
        iou: Intersection over union of detail.
        boundary_f: F-measure of the outlines at 3 px.
        kappa: Cohen's kappa over pixels.
    """

    image_id: int
    name: str
    first: str
    second: str
    iou: float
    boundary_f: float
    kappa: float


@dataclass(frozen=True)
class Mean:
    """Means over pairs: of two annotators, of one, or of all.

    Args:
        who: The annotators.
        images: Number of pairs.
        iou: Mean intersection over union.
        boundary_f: Mean F-measure of the outlines.
        kappa: Mean kappa.
    """

    who: str
    images: int
    iou: float
    boundary_f: float
    kappa: float


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of detail; 1 where neither has any."""
    first, second = is_detail(a), is_detail(b)
    union = int((first | second).sum())
    return 1.0 if union == 0 else int((first & second).sum()) / union


def boundary_f(a: Mask, b: Mask, tolerance_px: int = BOUNDARY_PX) -> float:
    """F-measure of two outlines, a pixel being found within `tolerance_px` of the other's.

    Args:
        a: (H, W) uint8.
        b: (H, W) uint8.
        tolerance_px: Distance in pixels.

    Returns:
        In [0, 1]; 1 where neither has an outline.
    """
    outlines = [_outline(is_detail(mask)) for mask in (a, b)]
    if not outlines[0].any() and not outlines[1].any():
        return 1.0
    if not outlines[0].any() or not outlines[1].any():
        return 0.0
    near = [dilate(o.astype(np.float32), 2 * tolerance_px + 1) > 0 for o in outlines]
    precision = float(near[1][outlines[0]].mean())
    recall = float(near[0][outlines[1]].mean())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def kappa(a: Mask, b: Mask) -> float:
    """Cohen's kappa over pixels: agreement beyond chance; 1 where both are constant and equal."""
    first, second = is_detail(a), is_detail(b)
    p, q = float(first.mean()), float(second.mean())
    chance = p * q + (1 - p) * (1 - q)
    observed = float((first == second).mean())
    return 1.0 if chance == 1.0 else (observed - chance) / (1 - chance)


def disagreement_map(a: Mask, b: Mask) -> NDArray[np.float32]:
    """Return (H, W, 3) float32: both white, the first alone orange, the second alone blue."""
    first, second = is_detail(a), is_detail(b)
    picture = np.zeros((*a.shape, 3), np.float32)
    picture[first & second] = 1
    picture[first & ~second] = (0.90, 0.62, 0.0)
    picture[second & ~first] = (0.34, 0.71, 0.91)
    return picture


def pairs(store: Store) -> list[Pair]:
    """Compare all images whose two passes are finished, in order of name."""
    first, second = aliased(Entry), aliased(Entry)
    with store.reading() as session:
        rows = session.execute(
            select(first, second, Image)
            .join(second, second.image_id == first.image_id)
            .join(Image, Image.id == first.image_id)
            .where(first.blind_pass == 1, second.blind_pass == 2)
            .where(first.state.in_(FINISHED), second.state.in_(FINISHED))
            .order_by(Image.name)
        ).all()
    found = []
    for one, two, image in rows:
        a, b = store.mask(one.id), store.mask(two.id)
        if a is None or b is None:
            continue
        who = (one.assignee or "?", two.assignee or "?")
        found.append(Pair(image.id, image.name, *who, iou(a, b), boundary_f(a, b), kappa(a, b)))
    return found


def map_of(store: Store, image_id: int) -> NDArray[np.float32]:
    """Return the disagreement map of an image; UnknownError where it has no two finished passes."""
    with store.reading() as session:
        entries = session.scalars(
            select(Entry)
            .where(Entry.image_id == image_id, Entry.state.in_(FINISHED))
            .order_by(Entry.blind_pass)
        ).all()
    masks = [mask for entry in entries if (mask := store.mask(entry.id)) is not None]
    if len(masks) != 2:
        raise UnknownError(
            f"image must have two finished passes, got {image_id} with {len(masks)}: wait for both"
        )
    return disagreement_map(masks[0], masks[1])


def means(found: list[Pair]) -> list[Mean]:
    """Average over each two annotators, each one, and all."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in found:
        groups[" + ".join(sorted((pair.first, pair.second)))].append(pair)
    for pair in found:
        for name in sorted({pair.first, pair.second}):
            groups[name].append(pair)
    groups["all"] = list(found)
    return [
        Mean(
            who,
            len(group),
            fmean(pair.iou for pair in group),
            fmean(pair.boundary_f for pair in group),
            fmean(pair.kappa for pair in group),
        )
        for who, group in groups.items()
        if group
    ]


def to_csv(found: list[Pair]) -> str:
    """Write pairs as CSV with a header."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Pair))
    writer.writerows(astuple(pair) for pair in found)
    return text.getvalue()


def _outline(detail: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of detail with a neighbour outside; the image's border is no outline."""
    inside = detail.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray(detail & (cv2.erode(inside, cross) == 0))
