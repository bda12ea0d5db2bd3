"""How far two annotators agree on images that both labelled blind.

Regions are compared by IoU, their outlines' F-measure and Cohen's kappa: detail from half strength
on, the unknown region of trimaps, and of mattes what is at least half opaque. SAD and MSE compare
levels, in the benchmarks' units: they are what counts for mattes.
"""

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

from benchmark_data_tools.annotation.storage.errors import UnknownError
from benchmark_data_tools.annotation.storage.masks import Mask, is_detail
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import (
    PAINTED,
    Conflict,
    Entry,
    Image,
    Label,
    Revision,
)
from mgm_core.guidance import dilate

BOUNDARY_PX = 3


@dataclass(frozen=True)
class Pair:
    """Two annotators' masks of one image.

    Args:
        entry_id: The first pass.
        name: The image's name.
        label: What is labelled.
        first: Who drew the first pass's mask.
        second: Who drew the second pass's mask.
        iou: Intersection over union of the regions.
        boundary_f: F-measure of the outlines at 3 px.
        kappa: Cohen's kappa over pixels.
        sad: Sum of absolute differences of levels in [0, 1], in thousands.
        mse: Mean squared difference of levels in [0, 1], times 1000.
    """

    entry_id: int
    name: str
    label: str
    first: str
    second: str
    iou: float
    boundary_f: float
    kappa: float
    sad: float
    mse: float


@dataclass(frozen=True)
class Mean:
    """Means over a label's pairs: of two annotators, of one, or of all.

    Args:
        label: What is labelled.
        who: The annotators.
        images: Number of pairs.
        iou: Mean intersection over union.
        boundary_f: Mean F-measure of the outlines.
        kappa: Mean kappa.
        sad: Mean sum of absolute differences, in thousands.
        mse: Mean squared difference, times 1000.
    """

    label: str
    who: str
    images: int
    iou: float
    boundary_f: float
    kappa: float
    sad: float
    mse: float


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


def sad(a: Mask, b: Mask) -> float:
    """Sum of absolute differences of levels in [0, 1], in thousands."""
    return float(cv2.absdiff(a, b).sum(dtype=np.int64)) / 255 / 1000


def mse(a: Mask, b: Mask) -> float:
    """Mean squared difference of levels in [0, 1], times 1000."""
    return float(np.square(cv2.absdiff(a, b), dtype=np.float32).mean()) / 255**2 * 1000


def pairs(store: Store) -> list[Pair]:
    """Compare all entries whose two passes are finished, in order of name."""
    found = []
    for one, two, name, kind in _pairs_of_passes(store):
        a, b = store.mask(one.id), store.mask(two.id)
        assert a is not None, "pairs have heads"
        assert b is not None, "pairs have heads"
        regions = region(a, kind), region(b, kind)
        found.append(
            Pair(
                one.id,
                name,
                one.label,
                authors_of(store, one),
                authors_of(store, two),
                iou(*regions),
                boundary_f(*regions),
                kappa(*regions),
                sad(a, b),
                mse(a, b),
            )
        )
    return found


def region(mask: Mask, kind: str) -> Mask:
    """Return the region that counts, (H, W) uint8 of 0 and 255: a trimap's is the unknown one."""
    chosen = (mask > 0) & (mask < 255) if kind == "trimap" else is_detail(mask)
    return np.where(chosen, np.uint8(255), np.uint8(0))


def authors_of(store: Store, entry: Entry) -> str:
    """Return who drew an entry's head and what it was made of, in order."""
    by_number = {revision.number: revision for revision in store.revisions(entry.id)}
    settled = _settled(store, entry.id)
    made: dict[int, Revision] = {}
    waiting, seen = [entry.head], {0}
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        revision = by_number[number]
        pixels = revision.mask_sha256
        same = [n for n, r in by_number.items() if n < number and r.mask_sha256 == pixels]
        if revision.kind in ("restore", "resolve") and same:
            waiting.append(max(same))  # whose pixels were chosen
            continue
        waiting += [revision.parent, *settled[number]]
        if revision.parent not in same:  # else saved again
            made[number] = revision
    ordered = [made[number] for number in sorted(made)]
    names = [revision.author for revision in ordered if revision.kind in PAINTED]
    return " + ".join(dict.fromkeys(names)) or (ordered[-1].author if ordered else "")


def _settled(store: Store, entry_id: int) -> dict[int, list[int]]:
    """Return revisions that settled conflicts -> what lay beside the head in these."""
    query = select(Conflict.resolved_by, Conflict.stale).where(Conflict.entry_id == entry_id)
    found: dict[int, list[int]] = defaultdict(list)
    with store.reading() as session:
        for settled_by, stale in session.execute(query):
            if settled_by is not None:
                found[settled_by].append(stale)
    return found


def map_of(store: Store, entry_id: int) -> NDArray[np.float32]:
    """Return the disagreement map of a first pass; UnknownError unless both are finished."""
    for one, two, _, kind in _pairs_of_passes(store):
        if one.id == entry_id:
            a, b = store.mask(one.id), store.mask(two.id)
            assert a is not None, "pairs have heads"
            assert b is not None, "pairs have heads"
            return disagreement_map(region(a, kind), region(b, kind))
    raise UnknownError(
        f"entry must be the first of two finished passes, got {entry_id}: wait for both"
    )


def _pairs_of_passes(store: Store) -> list[tuple[Entry, Entry, str, str]]:
    """Return both entries, the image's name and the label's kind."""
    first, second = aliased(Entry), aliased(Entry)
    with store.reading() as session:
        rows = session.execute(
            select(first, second, Image.name, Label.kind)
            .join(second, (second.image_id == first.image_id) & (second.label == first.label))
            .join(Image, Image.id == first.image_id)
            .join(Label, Label.name == first.label)
            .where(first.blind_pass == 1, second.blind_pass == 2)
            .where(first.state.in_(FINISHED), second.state.in_(FINISHED))
            .where(first.head > 0, second.head > 0)
            .order_by(Image.name, first.label)
        ).all()
    return [(one, two, name, kind) for one, two, name, kind in rows]


def means(found: list[Pair]) -> list[Mean]:
    """Average over each two annotators, each one, and all, label by label."""
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for label in dict.fromkeys(pair.label for pair in found):
        own = [pair for pair in found if pair.label == label]
        for pair in own:
            groups[label, " + ".join(sorted((pair.first, pair.second)))].append(pair)
        for pair in own:
            for name in sorted({pair.first, pair.second}):
                groups[label, name].append(pair)
        groups[label, "all"] = own
    return [
        Mean(
            label,
            who,
            len(group),
            fmean(pair.iou for pair in group),
            fmean(pair.boundary_f for pair in group),
            fmean(pair.kappa for pair in group),
            fmean(pair.sad for pair in group),
            fmean(pair.mse for pair in group),
        )
        for (label, who), group in groups.items()
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
