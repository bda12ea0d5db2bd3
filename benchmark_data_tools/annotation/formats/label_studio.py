"""Label Studio's JSON in and out, brushes and bitmasks; JSON-MIN in.

Source: Label Studio's documentation of its formats. Everything else that an annotation holds, as
rectangles, choices and relations, is left out.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np

from benchmark_data_tools.annotation.formats.items import (
    Found,
    Labelled,
    Reader,
    Size,
    check_size,
    union,
)
from benchmark_data_tools.annotation.formats.rle import label_studio_decode, label_studio_encode
from benchmark_data_tools.annotation.storage.masks import Mask
from mgm_core.images import SUFFIXES, read_mask

__all__ = ["categories_of", "config_of", "document_of", "masks_of", "result_of"]

LOCAL_FILES = "/data/local-files/?d=image/"
"""How Label Studio names files of its own disk, where the dataset's folder is its root."""

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


def document_of(items: Iterable[Labelled], *, bitmask: bool) -> list[dict[str, Any]]:
    """Return tasks with one annotation each, for Label Studio to import.

    Args:
        items: The images; their files are addresses.
        bitmask: Whether masks are bitmasks, or brushes.
    """
    return [
        {
            "data": {"image": item.file},
            "annotations": [
                {
                    "result": [
                        result_of(mask, label, bitmask=bitmask)
                        for label, mask in item.masks.items()
                    ]
                }
            ],
        }
        for item in items
    ]


def result_of(
    mask: Mask,
    label: str | None,
    *,
    bitmask: bool,
    from_name: str = "mask",
    to_name: str = "image",
) -> dict[str, Any]:
    """Return a mask as a result of an annotation or a prediction.

    Args:
        mask: (H, W) uint8.
        label: What it is of; None for a Brush or Bitmask that has no labels.
        bitmask: Whether it is a bitmask, or a brush.
        from_name: The tag that makes masks.
        to_name: The image's tag.
    """
    kind = ("bitmask" if bitmask else "brush") + ("" if label is None else "labels")
    if bitmask:
        value: dict[str, Any] = {"imageDataURL": _data_url(mask)}
    else:
        value = {"format": "rle", "rle": label_studio_encode(mask)}
    if label is not None:
        value[kind] = [label]
    return {
        "from_name": from_name,
        "to_name": to_name,
        "type": kind,
        "original_width": mask.shape[1],
        "original_height": mask.shape[0],
        "image_rotation": 0,
        "value": value,
    }


def config_of(labels: Sequence[str], *, bitmask: bool) -> str:
    """Return the labelling interface that `document_of` fits, as a project's settings take it."""
    tag = "BitmaskLabels" if bitmask else "BrushLabels"
    lines = [f"    <Label value={quoteattr(label)}/>" for label in labels]
    return "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image" zoom="true" smoothing="false"/>',
            f'  <{tag} name="mask" toName="image">',
            *lines,
            f"  </{tag}>",
            "</View>",
            "",
        ]
    )


def _data_url(mask: Mask) -> str:
    """Return a PNG whose alpha is the mask, black on nothing, as Label Studio's own bitmasks."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask
    png = cv2.imencode(".png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(png).decode()
