"""labelme's JSON in and out: one file an image, with masks, polygons and other filled shapes.

Source: the files that labelme writes. Shapes are filled by Pillow, as labelme does: with their
outline. A mask is a PNG of the box between its two points, both of which belong to it.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from math import dist
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from benchmark_data_tools.annotation.formats.items import (
    Found,
    Labelled,
    Reader,
    Size,
    box_of,
    check_size,
    corners_of,
    inside_to_mask,
    union,
)
from benchmark_data_tools.annotation.storage.masks import Mask, encode_mask

__all__ = ["categories_of", "document_of", "masks_of"]

# The first labelme whose files have all that is written here; later ones read them.
_VERSION = "5.5.0"
_POINTS = {"mask": 2, "rectangle": 2, "circle": 2, "oriented_rectangle": 4, "polygon": None}


def categories_of(documents: dict[str, Any]) -> list[str]:
    """Return the labels that the shapes of several files have, in order.

    Args:
        documents: Name of a file -> what its JSON holds.

    Raises:
        ValueError: None is labelme's.
    """
    if not any(isinstance(d, dict) and "shapes" in d for d in documents.values()):
        raise ValueError("it must hold files with shapes, got none")
    return sorted(
        {str(shape.get("label")) for found in documents.values() for shape in _shapes(found) or ()}
    )


def masks_of(documents: dict[str, Any], categories: Sequence[str] | None) -> Iterator[Found]:
    """Yield each file's mask, the union of its shapes of the labels.

    A file without such shapes holds an empty mask: labelme has a file for what was labelled alone.

    Args:
        documents: Name of a file -> what its JSON holds.
        categories: Labels to take; None for all.
    """
    for name, document in documents.items():
        shapes = _shapes(document)
        path = document.get("imagePath") if isinstance(document, dict) else None
        if shapes is None or not isinstance(path, str):
            yield Found(name, problem="file must be labelme's, got one without image and shapes")
            continue
        chosen = [s for s in shapes if categories is None or str(s.get("label")) in categories]
        others = sorted({str(s.get("shape_type")) for s in chosen} - set(_POINTS))
        if others:
            yield Found(
                path, problem=f"shape must be one of {', '.join(_POINTS)}, got {', '.join(others)}"
            )
            continue
        size = (document.get("imageWidth"), document.get("imageHeight"))
        readers: list[Reader] = [partial(_empty, size)]
        yield Found(path, union(readers + [partial(_read, shape) for shape in chosen]))


def _shapes(document: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - whatever JSON holds
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        return None
    return shapes


def _empty(stated: tuple[object, object], size: Size) -> Mask:
    check_size(*stated, size)
    return np.zeros((size[1], size[0]), np.uint8)


def _read(shape: dict[str, Any], size: Size) -> Mask:
    kind = str(shape["shape_type"])
    try:
        points = np.asarray(shape.get("points"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("points must be pairs of numbers, got others: save it anew") from error
    fits = len(points) >= 3 if kind == "polygon" else len(points) == _POINTS[kind]
    if not fits or not np.isfinite(points).all():
        raise ValueError(
            f"{kind} must have {_POINTS[kind] or '3 or more'} points, got {len(points)}: save it "
            "anew"
        )
    if kind == "mask":
        return _read_mask(shape, points, size)
    picture = Image.new("L", size)
    draw = ImageDraw.Draw(picture)
    (x0, y0), (x1, y1) = points[:2].tolist()
    if kind == "rectangle":
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        draw.rectangle(box, fill=255, outline=255)
    elif kind == "circle":
        radius = dist((x0, y0), (x1, y1))
        draw.ellipse((x0 - radius, y0 - radius, x0 + radius, y0 + radius), fill=255, outline=255)
    else:
        corners = [(float(x), float(y)) for x, y in corners_of(points, size)]
        draw.polygon(corners, fill=255, outline=255)
    return np.array(picture)


def _read_mask(shape: dict[str, Any], points: Any, size: Size) -> Mask:  # noqa: ANN401 - an array
    left, top, right, bottom = (int(value) for value in np.clip(points, -1, 2**31).ravel())
    if not (0 <= left <= right < size[0] and 0 <= top <= bottom < size[1]):
        raise ValueError(
            f"mask must lie within the image of {size[0]}x{size[1]}, got a box from {left}, {top} "
            f"to {right}, {bottom}: it belongs to another image"
        )
    try:
        png = base64.b64decode(shape.get("mask", ""), validate=True)
        with Image.open(BytesIO(png), formats=("PNG",)) as picture:
            check_size(picture.width, picture.height, (right - left + 1, bottom - top + 1))
            levels = np.array(picture.convert("L") if picture.mode == "1" else picture)
    except (
        *(binascii.Error, TypeError, UnidentifiedImageError, OSError, SyntaxError),
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(
            f"mask must be a PNG in base64, got none ({error}): save it anew"
        ) from error
    if levels.ndim != 2:
        raise ValueError("mask must be a PNG of one channel, got several: save it anew")
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[top : bottom + 1, left : right + 1] = inside_to_mask(levels)
    return mask


def document_of(item: Labelled) -> dict[str, Any]:
    """Return an image's JSON, for a file beside it."""
    shapes: list[dict[str, Any]] = []
    for label, mask in item.masks.items():
        left, top, width, height = box_of(mask)
        if not width:
            continue
        inside = mask[top : top + height, left : left + width] > 0
        shapes.append(
            {
                "label": label,
                "points": [[left, top], [left + width - 1, top + height - 1]],
                "group_id": None,
                "description": "",
                "shape_type": "mask",
                "flags": {},
                "mask": base64.b64encode(encode_mask(inside_to_mask(inside))).decode(),
            }
        )
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": item.file,
        "imageData": None,
        "imageHeight": item.height,
        "imageWidth": item.width,
    }
