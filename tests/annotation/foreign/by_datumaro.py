"""Datumaro's side, in its own environment: CVAT and COCO, read and written by its code.

Usage: python by_datumaro.py OURS THEIRS IMAGES
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import truth
from datumaro.components.annotation import Mask, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from datumaro.util import mask_tools
from PIL import Image as Picture

ours, theirs, images = map(Path, sys.argv[1:])
expected = truth.masks()


def check(dataset):
    """Compare a dataset's masks with those that every tool must read."""
    labels = dataset.categories()[next(iter(dataset.categories()))]
    seen = 0
    for item in dataset:
        for one in item.annotations:
            if not isinstance(one, Mask):
                continue  # the box that COCO gives beside each mask
            label, name = labels[one.label].name, Path(item.id).name
            np.testing.assert_array_equal(one.image > 0, expected[label][name])
            seen += 1
    assert seen == 6, seen


# CVAT's reader wants the images beside the file.
beside = theirs / "cvat_in"
shutil.copytree(images, beside / "images" / "train set")
shutil.copy(ours / "cvat" / "annotations.xml", beside / "annotations.xml")
check(Dataset.import_from(str(beside), "cvat"))
shutil.rmtree(beside)
beside = theirs / "coco_in"
(beside / "annotations").mkdir(parents=True)
shutil.copytree(images, beside / "images" / "default" / "train set")
document = (ours / "coco" / "detail.json").read_text("utf-8")
(beside / "annotations" / "instances_default.json").write_text(document, "utf-8")
check(Dataset.import_from(str(beside), "coco"))
shutil.rmtree(beside)


def media(name):
    width, height = truth.SIZES[name]
    return Image.from_numpy(np.zeros((height, width, 3), np.uint8))


def dataset(annotations):
    items = [
        DatasetItem(
            f"train set/{name}", subset="default", media=media(name), annotations=annotations(name)
        )
        for name in truth.SIZES
    ]
    return Dataset.from_iterable(items, categories=list(truth.LABELS))


drawn = dataset(
    lambda name: [
        Mask(image=expected[label][name].astype(np.uint8), label=n)
        for n, label in enumerate(truth.LABELS)
    ]
)
outlined = dataset(lambda name: [Polygon(truth.polygons()[name].ravel().tolist(), label=0)])
drawn.export(str(theirs / "cvat"), "cvat")
outlined.export(str(theirs / "cvat_polygons"), "cvat")
drawn.export(str(theirs / "coco"), "coco_instances", segmentation_mode="mask")
outlined.export(str(theirs / "coco_polygons"), "coco_instances", segmentation_mode="polygons")
for name, (width, height) in truth.SIZES.items():
    corners = truth.polygons()[name].ravel().tolist()
    filled = mask_tools.rles_to_mask([corners], width, height)
    path = theirs / "filled_as_coco" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Picture.fromarray(np.where(filled, 255, 0).astype(np.uint8)).save(path)
