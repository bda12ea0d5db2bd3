"""COCO's JSON in and out: masks as run lengths or polygons, of one category or several.

Source: the COCO data format. Polygons are filled by pycocotools, as everyone's are.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.mask import frPyObjects

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
from benchmark_data_tools.annotation.formats.rle import coco_decode, coco_encode
from benchmark_data_tools.annotation.storage.masks import Mask

__all__ = ["categories_of", "document_of", "fill", "masks_of"]


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
    return inside_to_mask(coco_decode([size[1], size[0]], counts))


def _read_polygons(polygons: list[Any], size: Size) -> Mask:
    inside = np.zeros((size[1], size[0]), bool)
    for polygon in polygons:
        inside |= fill(corners_of(polygon, size), size)
    return inside_to_mask(inside)


def fill(corners: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """Fill a polygon as COCO does.

    Args:
        corners: (N, 2) x and y in px; the last is joined with the first.
        size: Of the mask.

    Returns:
        (H, W) bool.
    """
    (found,) = frPyObjects([corners.ravel().tolist()], size[1], size[0])
    return coco_decode([size[1], size[0]], found["counts"].decode())


def document_of(items: Iterable[Labelled], version: str) -> dict[str, Any]:
    """Return a COCO document of masks; each label is a category.

    Args:
        items: The images.
        version: Of the tool that writes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for item in items:
        images.append(
            {
                "id": len(images) + 1,
                "file_name": item.file,
                "width": item.width,
                "height": item.height,
            }
        )
        for label, mask in item.masks.items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": categories.setdefault(label, len(categories) + 1),
                    "iscrowd": 1,  # COCO's word for an annotation that is a mask, no polygon
                    "segmentation": coco_encode(mask > 0),
                    "area": int(np.count_nonzero(mask)),
                    "bbox": box_of(mask),
                }
            )
    return {
        "info": {"description": "Detail regions of portraits", "version": version},
        "images": images,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }
