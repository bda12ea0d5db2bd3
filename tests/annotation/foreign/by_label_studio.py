"""Label Studio's side, in the environment of its SDK: its converter reads and writes brushes.

Usage: python by_label_studio.py OURS THEIRS IMAGES
"""

import base64
import io
import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import truth
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image as Picture

ours, theirs, images = map(Path, sys.argv[1:])
expected = truth.masks()

for kind in ("label_studio", "label_studio_bitmask"):
    tasks = json.loads((ours / kind / "tasks.json").read_text("utf-8"))
    interface = LabelInterface((ours / kind / "label_config.xml").read_text("utf-8"))
    seen = 0
    for task in tasks:
        # As Label Studio takes the path of a local file out of the address.
        (path,) = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
        assert Path(path).parent.name == "train set", path
        for annotation in task["annotations"]:
            assert interface.validate_annotation(annotation)
            for result in annotation["result"]:
                size = result["original_height"], result["original_width"]
                value = result["value"]
                if kind == "label_studio":
                    levels = brush.decode_rle(value["rle"]).reshape(*size, 4)[..., 3]
                    label = value["brushlabels"][0]
                else:
                    png = base64.b64decode(value["imageDataURL"].split(",")[1])
                    levels = np.asarray(Picture.open(io.BytesIO(png)))[..., 3]
                    label = value["bitmasklabels"][0]
                np.testing.assert_array_equal(levels > 0, expected[label][Path(path).stem])
                seen += 1
    assert seen == 6, seen

tasks = []
for name in truth.SIZES:
    results = []
    for label in truth.LABELS:
        mask = theirs / "mask.png"
        Picture.fromarray(np.where(expected[label][name], 255, 0).astype(np.uint8)).save(mask)
        results += brush.image2annotation(str(mask), label, "mask", "image")["result"]
        mask.unlink()
    tasks.append(
        {
            "data": {"image": f"/data/upload/1/0123abcd-{name.replace(' ', '_')}.png"},
            "annotations": [{"result": results}],
        }
    )
for task in tasks:  # the identifiers are random
    for number, result in enumerate(task["annotations"][0]["result"]):
        result["id"] = f"result{number}"
(theirs / "label_studio").mkdir(parents=True)
(theirs / "label_studio" / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False), "utf-8")
