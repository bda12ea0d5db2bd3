"""CVAT's XML in and out ("CVAT for images 1.1"): masks and polygons.

Source: CVAT's description of its XML format. A mask's run lengths go row by row through the
box that it lies in, background first. Polygons are filled as COCO's, which is what CVAT itself
exports.
"""

import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from benchmark_data_tools.annotation.formats.coco import fill
from benchmark_data_tools.annotation.formats.items import (
    Found,
    Labelled,
    Reader,
    Size,
    box_of,
    check_size,
    corners_of,
    inside_to_mask,
    runs_of,
    union,
)
from benchmark_data_tools.annotation.formats.markup import parse_xml
from benchmark_data_tools.annotation.storage.masks import Mask

__all__ = ["categories_of", "document_of", "masks_of", "parse_document", "read_document"]

_MOST_BYTES = 2**30
# What lies on an image; a tag is a word about all of it.
_SHAPES = ("mask", "polygon", "box", "polyline", "points", "ellipse", "cuboid", "skeleton")


def read_document(path: Path) -> ElementTree.Element:
    """Read an XML file, or the one in the ZIP that CVAT exports.

    Raises:
        ValueError: It is none of CVAT for images.
    """
    if zipfile.is_zipfile(path):
        try:
            data = _unpack(path)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
            raise ValueError(
                f"its ZIP must be whole and without a password, got {error}"
            ) from error
    else:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it must have at most {_MOST_BYTES} bytes, got more")
        data = path.read_bytes()
    return parse_document(data)


def _unpack(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = [i for i in archive.infolist() if Path(i.filename).name == "annotations.xml"]
        if len(names) != 1:
            raise ValueError(f"it must hold one annotations.xml, got {len(names)}")
        if names[0].file_size > _MOST_BYTES:
            raise ValueError(f"annotations.xml must have at most {_MOST_BYTES} bytes, got more")
        return archive.read(names[0])


def parse_document(data: bytes) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
        ValueError: It is none of CVAT for images.
    """
    root = parse_xml(data)
    if root.tag != "annotations":
        raise ValueError(f"it must hold annotations, got {root.tag}")
    if root.find("track") is not None:
        raise ValueError("it must be 'CVAT for images 1.1', got tracks of a video")
    return root


def categories_of(document: ElementTree.Element) -> list[str]:
    """Return the labels that the shapes have, in order."""
    return sorted({shape.get("label", "") for shape in document.iter() if shape.tag in _SHAPES})


def masks_of(document: ElementTree.Element, categories: Sequence[str] | None) -> Iterator[Found]:
    """Yield each image's mask, the union of its masks and polygons of the labels.

    Args:
        document: The file's root.
        categories: Labels to take; None for all.
    """
    for image in document.iter("image"):
        name = image.get("name", "")
        shapes = [
            shape
            for shape in image
            if shape.tag in _SHAPES and (categories is None or shape.get("label") in categories)
        ]
        others = sorted({shape.tag for shape in shapes} - {"mask", "polygon"})
        if others:
            yield Found(name, problem=f"shape must be a mask or a polygon, got {', '.join(others)}")
        elif shapes:
            readers: list[Reader] = [partial(_read, shape, image) for shape in shapes]
            yield Found(name, union(readers))


def _read(shape: ElementTree.Element, image: ElementTree.Element, size: Size) -> Mask:
    check_size(_whole(image, "width"), _whole(image, "height"), size)
    if shape.tag == "polygon":
        corners = [pair.split(",") for pair in shape.get("points", "").split(";")]
        return inside_to_mask(fill(corners_of(corners, size), size))
    left, top, width, height = (_whole(shape, n) for n in ("left", "top", "width", "height"))
    if not (left >= 0 and top >= 0 and 0 < width <= size[0] - left and 0 < height <= size[1] - top):
        raise ValueError(
            f"mask must lie within the image, got a box at {left}, {top} of {width}x{height}: "
            "it belongs to another image"
        )
    try:
        runs = np.array([int(run) for run in shape.get("rle", "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"rle must be whole numbers, got something else ({error})") from error
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise ValueError(
            f"rle must fill {width}x{height} pixels, got runs of {runs.sum()}: export it anew"
        )
    mask = np.zeros((size[1], size[0]), np.uint8)
    values = np.where(np.arange(runs.size) % 2 == 1, np.uint8(255), np.uint8(0))
    mask[top : top + height, left : left + width] = np.repeat(values, runs).reshape(height, width)
    return mask


def _whole(element: ElementTree.Element, name: str) -> int:
    try:
        return int(element.get(name, ""))
    except ValueError as error:
        raise ValueError(
            f"{name} of {element.tag} must be a whole number, got {element.get(name)!r}: "
            "export it anew"
        ) from error


def document_of(items: Iterable[Labelled]) -> bytes:
    """Return an XML file, which CVAT takes for a task that has images of these names."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    names = ElementTree.SubElement(task, "labels")
    known: dict[str, None] = {}
    for number, item in enumerate(items):
        image = ElementTree.SubElement(
            root,
            "image",
            id=str(number),
            name=item.file,
            width=str(item.width),
            height=str(item.height),
        )
        for label, mask in item.masks.items():
            known[label] = None
            left, top, width, height = box_of(mask)
            if not width:
                continue
            within = mask[top : top + height, left : left + width] > 0
            ElementTree.SubElement(
                image,
                "mask",
                label=label,
                source="manual",
                occluded="0",
                rle=", ".join(map(str, runs_of(within.ravel()))),
                left=str(left),
                top=str(top),
                width=str(width),
                height=str(height),
                z_order="0",
            )
    for label in known:
        ElementTree.SubElement(ElementTree.SubElement(names, "label"), "name").text = label
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return written
