"""Every format with the other tool's own code, both ways, pixel by pixel.

Run: `make formats`, which installs the tools of environments.txt. It makes our exports, lets each
tool read them and write its own files, and reads those. `--keep` puts both sides' files into the
folder `kept`, which the ordinary tests use.

Usage: PYTHONPATH=.:tests/annotation python tests/annotation/foreign/cross_test.py \\
    ENVIRONMENTS [--keep]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from foreign import truth
from sqlalchemy import select

from benchmark_data_tools.annotation.formats.exports import export
from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.people import ALONE
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image
from benchmark_data_tools.annotation.team import states
from mgm_core.images import read_mask, write_image

HERE = Path(__file__).parent
PREFIX = "train set/"
LOCAL = "/data/local-files/?d=train set/"
OURS = {  # kind of export -> what stands before the names
    "coco": PREFIX,
    "cvat": PREFIX,
    "label_studio": LOCAL,
    "label_studio_bitmask": LOCAL,
    "labelme": None,
}
TOOLS = {"datumaro": "by_datumaro.py", "labelme": "by_labelme.py", "sdk": "by_label_studio.py"}
THEIRS = {  # what the tools wrote -> kind of import, and where its truth is
    "coco/annotations/instances_default.json": ("coco", None),
    "coco_polygons/annotations/instances_default.json": ("coco", "filled_as_coco"),
    "cvat/default.xml": ("cvat", None),
    "cvat_polygons/default.xml": ("cvat", "filled_as_coco"),
    "label_studio/tasks.json": ("label_studio", None),
    "labelme": ("labelme", None),
    "labelme_shapes": ("labelme", "filled_as_labelme"),
}


def make_dataset(folder: Path) -> Store:
    """Make a dataset of the images, which has the labels and no masks yet."""
    (folder / "image").mkdir(parents=True)
    for name, (width, height) in truth.SIZES.items():
        write_image(folder / "image" / f"{name}.png", np.zeros((height, width, 3), np.float32))
    return Store.create(folder, labels=dict.fromkeys(truth.LABELS, "mask"))[0]


def entries(store: Store, label: str) -> dict[str, int]:
    """Return the entries of a label, by the names of their images."""
    with store.reading() as session:
        rows = session.execute(
            select(Image.name, Entry.id)
            .join(Entry, Entry.image_id == Image.id)
            .where(Entry.label == label)
        )
        return dict(map(tuple, rows))


def write_ours(folder: Path, out: Path) -> None:
    """Export the truth in every format."""
    store = make_dataset(folder)
    for label, masks in truth.masks().items():
        for name, entry_id in entries(store, label).items():
            mask = np.where(masks[name], 255, 0).astype(np.uint8)
            store.save(entry_id, Draft(mask, ALONE, 0))
            states.move(store, entry_id, "done", ALONE)
    for kind, prefix in OURS.items():
        export(store, out / kind, kind, labels=truth.LABELS, image_prefix=prefix)
    store.engine.dispose()


def check_theirs(theirs: Path, scratch: Path) -> int:
    """Import what the tools wrote, each into a dataset of its own; returns how many masks."""
    compared = 0
    for n, (path, (kind, filled)) in enumerate(THEIRS.items()):
        store = make_dataset(scratch / str(n))
        for label in truth.LABELS if filled is None else ("hair",):
            done = import_masks(store, theirs / path, kind, categories=[label], under=label)
            assert done.problems == (), (path, done.problems)
            assert len(done.taken) == len(truth.SIZES), (path, done.taken)
            for name, entry_id in entries(store, label).items():
                expected = (
                    truth.masks()[label][name]
                    if filled is None
                    else read_mask(theirs / filled / f"{name}.png") > 0
                )
                np.testing.assert_array_equal(store.mask(entry_id) > 0, expected, f"{path} {name}")
                compared += 1
        store.engine.dispose()
    return compared


def main(environments: Path, keep: bool) -> None:
    """Run both ways."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ours, theirs = scratch / "ours", scratch / "theirs"
        theirs.mkdir()
        write_ours(scratch / "dataset", ours)
        for tool, script in TOOLS.items():
            python = environments.absolute() / tool / "bin" / "python"
            command = [str(python), str(HERE / script), ours, theirs, scratch / "dataset" / "image"]
            subprocess.run(command, check=True, env=os.environ | {"QT_QPA_PLATFORM": "offscreen"})
        compared = check_theirs(theirs, scratch / "taken in")
        sys.stdout.write(f"{compared} masks of other tools were read, pixel by pixel.\n")
        if keep:
            for source, name in ((ours, "ours"), (theirs, "theirs")):
                shutil.rmtree(HERE / "kept" / name, ignore_errors=True)
                shutil.copytree(
                    source,
                    HERE / "kept" / name,
                    ignore=shutil.ignore_patterns("README.md", "image*"),
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--keep" in sys.argv)
