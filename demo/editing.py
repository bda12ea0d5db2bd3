"""Corrections of the guidance by hand: strokes, regions kept or dropped, deliberate damage.

They are kept as a list of what was done, in pixels of the photo, and not as a picture: so they are
exact at any size, can be undone one by one, and fit into the settings that a visitor takes away.
CutMask is that of the paper's section 3.2.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Tool: TypeAlias = Literal["add", "remove", "pick", "damage"]

MAX_EDITS = 400
MAX_POINTS = 4000
MAX_SIZE_PX = 2000
MAX_COORDINATE_PX = 100_000


@dataclass(frozen=True)
class Edit:
    """One correction.

    Args:
        tool: "add" and "remove" draw a line of round ends; "pick" drops the region that it hits,
            or brings it back; "damage" copies a random patch of the guidance over another.
        size_px: diameter of the line.
        points: x and y of the line's corners, or of the point that is hit, in px.
        seed: what the damage is drawn from.
    """

    tool: Tool
    size_px: int = 1
    points: tuple[tuple[float, float], ...] = ()
    seed: int = 0


def read_edits(sent: object) -> tuple[Edit, ...]:
    """Read the corrections that a browser or a settings file sends.

    Args:
        sent: a list of mappings with the fields of `Edit`, as JSON gives it.

    Raises:
        ValueError: it is anything else, or more than can be meant.
    """
    if not isinstance(sent, list) or len(sent) > MAX_EDITS:
        count = len(sent) if isinstance(sent, list) else type(sent).__name__
        raise ValueError(
            f"corrections must be a list of at most {MAX_EDITS}, got {count}: undo some"
        )
    return tuple(map(_read_edit, sent))


def _read_edit(sent: object) -> Edit:
    if not isinstance(sent, Mapping) or sent.get("tool") not in get_args(Tool):
        raise ValueError(
            f"a correction must have one of the tools {', '.join(get_args(Tool))}, got "
            f"{str(sent)[:60]!r}: undo it and draw it again"
        )
    points = sent.get("points", [])
    if not isinstance(points, list) or len(points) > MAX_POINTS:
        raise ValueError(
            f"a stroke must have at most {MAX_POINTS} points, got another thing or more: "
            "undo it and draw a shorter one"
        )
    return Edit(
        sent["tool"],
        round(_number(sent.get("size_px", 1), 1, MAX_SIZE_PX)),
        tuple(_point(point) for point in points),
        round(_number(sent.get("seed", 0), 0, 2**31)),
    )


def _point(sent: object) -> tuple[float, float]:
    if not isinstance(sent, Sequence) or isinstance(sent, str) or len(sent) != 2:
        raise ValueError(f"a point must be x and y, got {str(sent)[:60]!r}: draw it again")
    x, y = (_number(number, -MAX_COORDINATE_PX, MAX_COORDINATE_PX) for number in sent)
    return x, y


def _number(sent: object, low: float, high: float) -> float:
    if isinstance(sent, bool) or not isinstance(sent, int | float) or not low <= sent <= high:
        raise ValueError(
            f"a correction's numbers must lie between {low} and {high}, got {str(sent)[:60]!r}: "
            "undo it and draw it again"
        )
    return float(sent)


def apply_edits(guidance: Floats, edits: Sequence[Edit]) -> Floats:
    """Apply corrections in their order.

    Args:
        guidance: (H, W) float32 in [0, 1].
        edits: the corrections.

    Returns:
        (H, W) float32 in [0, 1], a new array.
    """
    corrected = guidance.copy()
    for edit in edits:
        match edit.tool:
            case "add" | "remove":
                _draw(corrected, edit, 1.0 if edit.tool == "add" else 0.0)
            case "pick":
                corrected = _with_region_toggled(corrected, guidance, edit)
            case "damage":
                corrected = cut_mask(corrected, np.random.default_rng(edit.seed))
    return corrected


def cut_mask(guidance: Floats, generator: np.random.Generator) -> Floats:
    """Copy one random patch of the guidance over another (CutMask).

    Args:
        guidance: (H, W) float32 in [0, 1].
        generator: where the patches come from; they take 1/4 to 1/2 of height and width.

    Returns:
        (H, W) float32 in [0, 1], a new array.
    """
    damaged = guidance.copy()
    height, width = (
        max(1, round(length * share))
        for length, share in zip(guidance.shape, generator.uniform(0.25, 0.5, 2), strict=True)
    )
    (y0, y1), (x0, x1) = (
        generator.integers(0, total - length, 2, endpoint=True)
        for total, length in zip(guidance.shape, (height, width), strict=True)
    )
    damaged[y1 : y1 + height, x1 : x1 + width] = guidance[y0 : y0 + height, x0 : x0 + width]
    return damaged


def regions(guidance: Floats) -> NDArray[np.int32]:
    """Number the connected regions of a guidance from 1 on; the rest is 0. (H, W)."""
    _, labels = cv2.connectedComponents((guidance >= 0.5).astype(np.uint8), connectivity=8)
    return labels.astype(np.int32, copy=False)


def _draw(plane: Floats, edit: Edit, value: float) -> None:
    """Set, in place, every pixel whose centre lies within half the size of the line."""
    reach = edit.size_px / 2
    for (x0, y0), (x1, y1) in itertools.pairwise([*edit.points[:1], *edit.points]):
        left, right = max(0, math.floor(min(x0, x1) - reach)), math.ceil(max(x0, x1) + reach)
        top, bottom = max(0, math.floor(min(y0, y1) - reach)), math.ceil(max(y0, y1) + reach)
        near = plane[top : max(top, bottom), left : max(left, right)]
        ys, xs = np.ogrid[top : top + near.shape[0], left : left + near.shape[1]]
        from_x, from_y = xs + 0.5 - x0, ys + 0.5 - y0
        along_x, along_y = x1 - x0, y1 - y0
        # Share of the way from one corner to the next at which a pixel is nearest to the line.
        share = (from_x * along_x + from_y * along_y) / max(along_x**2 + along_y**2, 1e-9)
        share = np.clip(share, 0, 1)
        distance = np.hypot(from_x - share * along_x, from_y - share * along_y)
        # Half a pixel's diagonal at the least, so that the thinnest line has no gaps.
        near[distance <= max(reach, 0.71)] = value


def _with_region_toggled(corrected: Floats, original: Floats, edit: Edit) -> Floats:
    if not edit.points:
        return corrected
    x, y = (math.floor(number) for number in edit.points[0])
    height, width = corrected.shape
    if not (0 <= x < width and 0 <= y < height):
        return corrected
    # Hit again, a dropped region comes back as it was.
    for present, kept in ((corrected, np.zeros_like(corrected)), (original, original)):
        labels = regions(present)
        if labels[y, x]:
            return np.where(labels == labels[y, x], kept, corrected)
    return corrected
