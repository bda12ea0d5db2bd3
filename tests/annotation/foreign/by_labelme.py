"""labelme's side, in its own environment: its files, read and written by its code.

Usage: QT_QPA_PLATFORM=offscreen python by_labelme.py OURS THEIRS IMAGES
"""

import os
import sys
from pathlib import Path

import numpy as np
import truth
from labelme._label_file import LabelFile
from labelme.utils import img_arr_to_b64, shape_to_mask, shapes_to_label
from PIL import Image as Picture

ours, theirs, images = map(Path, sys.argv[1:])
expected = truth.masks()

for name, (width, height) in truth.SIZES.items():
    found = LabelFile(str(ours / "labelme" / f"{name}.json"))
    assert found.image_path == f"{name}.png", found.image_path
    for label in truth.LABELS:
        shapes = [shape for shape in found.shapes if shape["label"] == label]
        classes, _ = shapes_to_label((height, width), shapes, {label: 1})
        np.testing.assert_array_equal(classes > 0, expected[label][name])


def shape(label, kind, points, mask=None):
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }


def write(folder, name, shapes):
    folder.mkdir(parents=True, exist_ok=True)
    width, height = truth.SIZES[name]
    path = os.path.relpath(images / f"{name}.png", folder)
    LabelFile().save(str(folder / f"{name}.json"), shapes, path, height, width)


for name, (width, height) in truth.SIZES.items():
    shapes = []
    for label in truth.LABELS:
        rows, columns = np.nonzero(expected[label][name])
        top, left, bottom, right = map(int, (rows.min(), columns.min(), rows.max(), columns.max()))
        cut = expected[label][name][top : bottom + 1, left : right + 1]
        box = [[left, top], [right, bottom]]
        shapes.append(shape(label, "mask", box, img_arr_to_b64(cut.astype(np.uint8))))
    write(theirs / "labelme" / "train set", name, shapes)
    # One of each filled shape, and what labelme makes of them.
    drawn = {
        "polygon": truth.polygons()[name].tolist(),
        "rectangle": [[width - 2.4, 1.2], [width - 6.6, 5.7]],
        "circle": [[4.3, height / 2], [6.1, height / 2 + 1]],
        "oriented_rectangle": [[1, 0.5], [4.5, 1], [4, 4.2], [0.6, 3.8]],
    }
    write(
        theirs / "labelme_shapes",
        name,
        [shape("hair", kind, points) for kind, points in drawn.items()],
    )
    filled = [shape_to_mask((height, width), points, kind) for kind, points in drawn.items()]
    path = theirs / "filled_as_labelme" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Picture.fromarray(np.where(np.any(filled, 0), 255, 0).astype(np.uint8)).save(path)
