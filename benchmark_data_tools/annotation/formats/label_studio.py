"""Label Studio's exports: JSON and JSON-MIN, brushes and bitmasks.

Source: Label Studio's documentation of its export formats. Everything else that an annotation
holds, as rectangles, choices and relations, is left out.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmark_data_tools.annotation.formats.found import Found, Reader, Size, check_size, union
from benchmark_data_tools.annotation.formats.rle import label_studio_decode
from benchmark_data_tools.annotation.storage.masks import Mask
from mgm_core.images import SUFFIXES, read_mask

__all__ = ["categories_of", "masks_of"]

# The tags that label pixels; a brush without labels is called "brush".
_LABELS = ("brushlabels", "bitmasklabels", "brush", "bitmask")


def categories_of(document: Any) -> list[str]:  # noqa: ANN401 - whatever JSON holds
    """Return the labels that the masks have, in order.

    Raises:
        ValueError: It is no export of Label Studio's.
    """
    return sorted(
        {
            label
            for task in _tasks(document)
            for work in _works(task)
            for value in work
            for label in _labels(value)
        }
    )


def masks_of(document: Any, categories: Sequence[str] | None) -> Iterator[Found]:  # noqa: ANN401 - whatever JSON holds
    """Yield each task's mask, the union of an annotation's brushes and bitmasks.

    Of several people's annotations of one task the one that is marked as true counts; without a
    mark nobody decides.

    Args:
        document: What the JSON file holds.
        categories: Labels to take; None for all.

    Raises:
        ValueError: It is no export of Label Studio's.
    """
    known = categories_of(document)
    for number, task in enumerate(_tasks(document)):
        path = _path(task)
        if path is None:
            name = f"task {task.get('id', number)}" if isinstance(task, dict) else f"task {number}"
            yield Found(name, problem="task must name an image, got none")
            continue
        works = [
            [value for value in work if categories is None or set(_labels(value)) & set(categories)]
            for work in _works(task)
        ]
        works = [work for work in works if work]
        if len(works) > 1:
            yield Found(
                path,
                problem=f"task must have one annotation, got {len(works)}: mark one as true, or "
                "export one",
            )
        elif works and known and not all(map(_labels, works[0])):
            yield Found(path, problem="task must have a label for every mask, got one without")
        elif works:
            yield Found(path, union([_reader(value) for value in works[0]]))


def _tasks(document: Any) -> list[Any]:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(document, list) or not any(
        isinstance(task, dict) and ("annotations" in task or "completions" in task or _is_min(task))
        for task in document
    ):
        raise ValueError("it must be a list of tasks with annotations, got none")
    return document


def _is_min(task: dict[str, Any]) -> bool:
    """Tell whether a task is of JSON-MIN, which names the image and the masks side by side."""
    return "data" not in task and ("annotation_id" in task or bool(_works(task)))


def _path(task: Any) -> str | None:  # noqa: ANN401 - whatever JSON holds
    """Return the image's path or address: of a task's texts the first that looks like a picture."""
    if not isinstance(task, dict):
        return None
    data = task.get("data", task)
    texts = [v for v in data.values() if isinstance(v, str)] if isinstance(data, dict) else []
    for text in texts:
        if any(suffix in text.lower() for suffix in SUFFIXES):
            return text
    return texts[0] if texts and "data" in task else None


def _works(task: Any) -> list[list[dict[str, Any]]]:  # noqa: ANN401 - whatever JSON holds
    """Return the values of the masks of each annotation of a task that counts."""
    if not isinstance(task, dict):
        return []
    listed = task.get("annotations", task.get("completions"))
    if listed is None and "data" not in task:
        values = [
            one
            for found in task.values()
            if isinstance(found, list)
            for one in found
            if isinstance(one, dict) and (set(_LABELS) & set(one) or _is_mask(one))
        ]
        return [values] if values else []
    works = []
    for annotation in listed if isinstance(listed, list) else []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        values = [
            {
                **result["value"],
                "original_width": result.get("original_width"),
                "original_height": result.get("original_height"),
            }
            for result in (results if isinstance(results, list) else [])
            if isinstance(result, dict)
            and result.get("type") in _LABELS
            and isinstance(result.get("value"), dict)
        ]
        if values and annotation.get("ground_truth"):
            return [values]
        works.append(values)
    return [work for work in works if work]


def _is_mask(value: dict[str, Any]) -> bool:
    return "rle" in value or "imageDataURL" in value


def _labels(value: dict[str, Any]) -> list[str]:
    for name in _LABELS:
        if isinstance(value.get(name), list):
            return [label for label in value[name] if isinstance(label, str)]
    return []


def _reader(value: dict[str, Any]) -> Reader:
    return partial(_read_bitmask if "imageDataURL" in value else _read_brush, value)


def _read_brush(value: dict[str, Any], size: Size) -> Mask:
    check_size(value.get("original_width"), value.get("original_height"), size)
    rle = value.get("rle")
    if not isinstance(rle, list) or not all(type(b) is int and 0 <= b < 256 for b in rle):
        raise ValueError("rle must be a list of bytes, got something else: export it anew")
    return label_studio_decode(rle, *size)


def _read_bitmask(value: dict[str, Any], size: Size) -> Mask:
    """Read a PNG of black on nothing, or of white on black."""
    address = value["imageDataURL"]
    head, _, encoded = address.partition(",") if isinstance(address, str) else ("", "", "")
    if not head.startswith("data:image/png"):
        raise ValueError("imageDataURL must hold a PNG, got something else: export it anew")
    try:
        png = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"imageDataURL must be base64, got {error}: export it anew") from error
    plane = read_mask(png, max_megapixels=size[0] * size[1] / 1e6 + 0.01)
    check_size(plane.shape[1], plane.shape[0], size)
    return np.rint(plane * 255).astype(np.uint8)
