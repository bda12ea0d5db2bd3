"""COCO's JSON: masks as run lengths or polygons, of one category or several.

Source: the COCO data format; a pixel is inside a polygon where its centre is.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark_data_tools.annotation.formats.found import Found, Reader, Size, check_size, union
from benchmark_data_tools.annotation.formats.rle import coco_decode
from benchmark_data_tools.annotation.storage.masks import Mask

__all__ = ["categories_of", "masks_of", "rasterise"]

_MOST_CORNERS = 200_000


def categories_of(document: Any) -> list[str]:  # noqa: ANN401 - whatever JSON holds
    """Return the names of the categories that the annotations have, in order.

    Raises:
        ValueError: It is no COCO document.
    """
    names = _names(document)
    used = {
        names.get(_key(annotation.get("category_id")), "")
        for annotation in _list(document, "annotations")
        if isinstance(annotation, dict)
    }
    return sorted(used - {""})


def masks_of(document: Any, categories: Sequence[str] | None) -> Iterator[Found]:  # noqa: ANN401 - whatever JSON holds
    """Yield an image's mask, the union of its annotations of the categories.

    Args:
        document: What the JSON file holds.
        categories: Names of those to take; None for all.

    Raises:
        ValueError: It is no COCO document.
    """
    names = _names(document)
    files: dict[object, str] = {}
    for image in _list(document, "images"):
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            files[_key(image.get("id"))] = image["file_name"]
    parts: dict[object, list[Reader]] = defaultdict(list)
    problems: dict[object, str] = {}
    for number, annotation in enumerate(_list(document, "annotations")):
        if not isinstance(annotation, dict):
            yield Found(f"annotation {number}", problem="annotation must be an object, got none")
            continue
        name = names.get(_key(annotation.get("category_id")), "")
        if categories is not None and name not in categories:
            continue
        key = _key(annotation.get("image_id"))
        if key not in files:
            yield Found(
                f"annotation {annotation.get('id', number)}",
                problem=f"image_id must be one of the file's images, got {key!r}",
            )
            continue
        reader = _reader(annotation.get("segmentation"))
        if not name and names:
            problems[key] = (
                f"annotation {annotation.get('id', number)} must have one of the file's "
                f"categories, got {annotation.get('category_id')!r}"
            )
        elif reader is None:
            problems[key] = (
                f"annotation {annotation.get('id', number)} must have a mask or polygons, got none"
            )
        else:
            parts[key].append(reader)
    for key in {**parts, **problems}:
        if key in problems:
            yield Found(files[key], problem=problems[key])
        else:
            yield Found(files[key], union(parts[key]))


def _key(value: object) -> object:
    """Return an id as it can be looked up; ids are numbers in some programs and text in others."""
    return str(value) if isinstance(value, int | str) else None


def _list(document: Any, name: str) -> list[Any]:  # noqa: ANN401 - whatever JSON holds
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"it must hold a list of {name}, got none")
    return found


def _names(document: Any) -> dict[object, str]:  # noqa: ANN401 - whatever JSON holds
    listed = document.get("categories", []) if isinstance(document, dict) else []
    return {
        _key(category.get("id")): str(category.get("name", ""))
        for category in (listed if isinstance(listed, list) else [])
        if isinstance(category, dict)
    }


def _reader(segmentation: Any) -> Reader | None:  # noqa: ANN401 - whatever JSON holds
    if isinstance(segmentation, dict) and segmentation:
        return partial(_read_runs, segmentation)
    if isinstance(segmentation, list) and segmentation:
        return partial(_read_polygons, segmentation)
    return None


def _read_runs(segmentation: dict[str, Any], size: Size) -> Mask:
    given, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(given, list) or len(given) != 2:
        raise ValueError(f"size must be height and width, got {given!r}: export it anew")
    check_size(given[1], given[0], size)
    runs = isinstance(counts, list) and all(type(run) is int for run in counts)
    if not isinstance(counts, str) and not runs:
        raise ValueError("counts must be text or a list of whole numbers, got others: export anew")
    assert isinstance(counts, str | list)
    return _levels(coco_decode(given, counts))


def _read_polygons(polygons: list[Any], size: Size) -> Mask:
    inside = np.zeros((size[1], size[0]), bool)
    for polygon in polygons:
        try:
            corners = np.asarray(polygon, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "polygon must be a list of numbers, got something else: export it anew"
            ) from error
        if (
            corners.ndim != 1
            or corners.size < 6
            or corners.size % 2
            or not (np.isfinite(corners).all() and corners.size <= 2 * _MOST_CORNERS)
        ):
            raise ValueError(
                f"polygon must be x and y of 3 to {_MOST_CORNERS} corners, got {corners.size} "
                "numbers: export it anew"
            )
        inside |= rasterise(corners.reshape(-1, 2), *size)
    return _levels(inside)


def _levels(inside: NDArray[np.bool_]) -> Mask:
    mask: Mask = np.where(inside, np.uint8(255), np.uint8(0))
    return mask


def rasterise(corners: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    """Fill a polygon by the even-odd rule.

    Args:
        corners: (N, 2) x and y in px; the last is joined with the first.
        width: Of the mask, in px.
        height: Of the mask, in px.

    Returns:
        (H, W) bool, true where a pixel's centre is inside.
    """
    inside = np.zeros((height, width), bool)
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, axis=0).T
    top = int(np.clip(np.floor(y0.min()), 0, height))
    bottom = int(np.clip(np.ceil(y0.max()), 0, height))
    for row in range(top, bottom):
        centre = row + 0.5
        crossing = (y0 <= centre) != (y1 <= centre)
        share = (centre - y0[crossing]) / (y1[crossing] - y0[crossing])
        across = np.sort(x0[crossing] + share * (x1[crossing] - x0[crossing]))
        columns = np.clip(np.ceil(across - 0.5), 0, width).astype(int)
        for start, end in columns.reshape(-1, 2):
            inside[row, start:end] = True
    return inside
