"""Broken input for everything that reads files of others: it must refuse in words, or read it.

    scripts/fuzz                      # a minute
    scripts/fuzz --seconds 600        # ten minutes a target
    scripts/fuzz image clip --seed 7

Valid files are made, then cut, spliced and overwritten. Whatever a reader raises but its own error
is a finding: it is printed with its seed, and its input stays in a folder.
"""

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from clips import make_clip, scene  # noqa: E402 - found by the line above

from benchmark_data_tools.annotation.formats import coco, cvat, label_studio, labelme  # noqa: E402
from benchmark_data_tools.annotation.formats.items import Labelled  # noqa: E402
from benchmark_data_tools.annotation.formats.rle import (  # noqa: E402
    coco_decode,
    coco_encode,
    label_studio_decode,
)
from mgm_core.images import read_photo, read_subject_mask  # noqa: E402
from mgm_core.recipe import Background, Edit, Recipe  # noqa: E402
from mgm_core.video.files import Clip, ClipLimits  # noqa: E402
from training import config  # noqa: E402

_NUMBERS = (b"0", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'"x"')
_BYTES = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80", b"\0" * 64)


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Args:
        seeds: valid inputs.
        read: reads one.
        text: whether inputs are text, in which numbers and words are exchanged too.
        refusals: what it may raise, and nothing else.
    """

    seeds: list[bytes] = field(repr=False)
    read: Callable[[bytes], object]
    text: bool = False
    refusals: tuple[type[Exception], ...] = (ValueError,)


def mutated(seeds: list[bytes], draw: random.Random, *, text: bool) -> bytes:
    """Return one of the inputs, broken in one to four places."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        until = min(len(data), at + draw.choice((1, 1, 2, 4, 16, 256)))
        match draw.randrange(8):
            case 0:
                del data[at:]
            case 1:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until] * draw.choice((1, 2, 50))
            case 3:
                data[at:until] = draw.choice(_BYTES)
            case 4:
                data[at:until] = draw.randbytes(until - at)
            case 5:
                other = draw.choice(seeds)
                data[at:until] = other[draw.randrange(len(other)) :][: until - at + 16]
            case 6 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 7 if text:
                words = [*_NUMBERS, b"[" * 2000, b'{"a":' * 500]
                spots = [n for n, byte in enumerate(data) if byte in b"0123456789"]
                if spots:
                    at = draw.choice(spots)
                    data[at : at + 1] = draw.choice(words)
    return bytes(data)


def targets(folder: Path) -> dict[str, Target]:
    """Return all targets, their valid inputs made anew.

    Args:
        folder: for files that are only read by name.
    """
    pictures = list(_pictures())

    def clip(data: bytes) -> None:
        path = folder / "clip.mp4"
        path.write_bytes(data)
        with Clip(path, ClipLimits(seconds=3, frames=9, megapixels=1)) as opened:
            for _ in opened.read():
                pass

    def settings(data: bytes) -> None:
        path = folder / "config.toml"
        path.write_bytes(data)
        config.load(path, [])

    return {
        "image": Target(pictures, lambda data: read_photo(data, max_megapixels=1)),
        "mask": Target(pictures, lambda data: read_subject_mask(data, max_megapixels=1)),
        "recipe": Target(_recipes(), Recipe.from_json, text=True),
        "rle": Target(_runs(), _read_runs, text=True),
        "import": Target(_documents(), _read_document, text=True),
        "config": Target(
            [path.read_bytes() for path in (ROOT / "training" / "configs").glob("*.toml")],
            settings,
            text=True,
        ),
        # FFmpeg is asked for as much memory as a broken header says, and is refused it.
        "clip": Target(list(_clips(folder)), clip, refusals=(ValueError, MemoryError)),
    }


def _pictures():
    draw = np.random.default_rng(0)
    colours = Image.fromarray(draw.integers(0, 256, (24, 20, 4), np.uint8), "RGBA")
    kinds = (
        "PNG RGBA, PNG P, PNG L, JPEG RGB, JPEG CMYK, GIF P, WEBP RGBA, BMP RGB, TIFF RGB, TIFF L, "
        "AVIF RGB"
    )
    for kind, mode in (each.split() for each in kinds.split(", ")):
        out = io.BytesIO()
        colours.convert("RGB").convert(mode).save(out, kind)
        yield out.getvalue()
    for options in ({"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}):
        out = io.BytesIO()
        colours.convert("RGB").save(out, "TIFF", **options)
        yield out.getvalue()
    out = io.BytesIO()
    colours.convert("RGB").save(out, "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    yield out.getvalue()
    out = io.BytesIO()
    Image.fromarray(draw.integers(0, 2**16, (9, 9), np.uint16)).save(out, "PNG")
    yield out.getvalue()


def _recipes():
    painted = Recipe(
        edits=(Edit("add", 9.0, ((1.0, 2.0), (3.0, 4.0))), Edit("remove", 3.0, ((5.0, 6.0),))),
        background=Background("gradient", "#102030", "#405060"),
    )
    return [Recipe().to_json().encode(), painted.to_json().encode()]


def _runs():
    detail = np.random.default_rng(0).random((9, 7)) > 0.5
    encoded = coco_encode(detail)
    return [
        json.dumps(encoded).encode(),
        json.dumps({"size": [4, 3], "counts": [2, 5, 5]}).encode(),
        json.dumps({"rle": [0, 0, 0, 96, 0, 2, 1, 0, 4, 3, 5], "size": [3, 8]}).encode(),
    ]


def _read_runs(data: bytes) -> None:
    """Read runs of which the callers know that they are of the right types and an image's size."""
    try:
        said = json.loads(data)
    except RecursionError as error:
        raise ValueError("too deep") from error
    runs = said.get("rle", said.get("counts")) if isinstance(said, dict) else None
    is_text = isinstance(runs, str) and "rle" not in said
    if not is_text and not (isinstance(runs, list) and all(type(run) is int for run in runs)):
        raise ValueError("no runs")
    if "rle" in said:
        label_studio_decode([run % 256 for run in runs], 8, 3)
    else:
        for size in ([9, 7], [4, 3]):
            with contextlib.suppress(ValueError):
                coco_decode(size, runs)


def _documents():
    encoded = coco_encode(np.random.default_rng(0).random((9, 7)) > 0.5)
    categories = [{"id": 1, "name": "hair"}]
    image = {"id": 1, "file_name": "a.png", "width": 7, "height": 9}
    mask = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": encoded}
    runs = {"images": [image], "categories": categories, "annotations": [mask]}
    corners = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 6]]}]
    brush = {"format": "rle", "rle": [0, 0, 0, 96, 0, 2, 1, 0, 4, 3, 5], "brushlabels": ["hair"]}
    result = {"type": "brushlabels", "original_width": 7, "original_height": 9, "value": brush}
    task = {"data": {"image": "/data/a.png"}, "annotations": [{"result": [result]}]}
    drawn = {"hair": np.where(coco_decode(**encoded), np.uint8(255), np.uint8(0))}
    item = Labelled("a.png", 7, 9, drawn)
    polygon = {"label": "hair", "shape_type": "polygon", "points": [[1, 1], [5, 1], [5, 6]]}
    shapes = labelme.document_of(item)
    shapes["shapes"].append(polygon)
    documents = (runs, runs | {"annotations": corners}, [task], {"a.json": shapes})
    outline = b'<polygon label="hair" points="1,1;5,1;5,6"/></image>'
    xml = cvat.document_of([item]).replace(b"</image>", outline)
    return [*(json.dumps(each).encode() for each in documents), xml]


def _read_document(data: bytes) -> None:
    if data.lstrip().startswith(b"<"):
        readers, document = (cvat,), cvat.parse_document(data)
    else:
        readers = (coco, label_studio, labelme)
        try:
            document = json.loads(data)
        except RecursionError as error:
            raise ValueError("too deep") from error
    for reader in readers:
        if reader is labelme and not isinstance(document, dict):
            continue  # files by their names
        try:
            known = reader.categories_of(document)
            for found in reader.masks_of(document, known):
                if found.read is not None:
                    found.read((7, 9))
        except ValueError:
            continue


def _clips(folder: Path):
    for name, options in (("a.mp4", {}), ("b.mkv", {}), ("c.webm", {"codec": "libvpx-vp9"})):
        path = make_clip(folder / name, [scene(x) for x in (4, 12, 20)], **options)
        yield Path(path).read_bytes()


def fuzz(
    target: Target, seed: int, *, seconds: float = float("inf"), count: float = float("inf")
) -> "tuple[Counter[str], list[tuple[str, bytes]]]":
    """Break a target's inputs until time or count is up.

    Args:
        target: what reads them.
        seed: of what is drawn.
        seconds: time limit.
        count: most inputs.

    Returns:
        How many inputs were read, refused and findings, and the findings: a trace and the input.
    """
    draw, counts, findings = random.Random(seed), Counter(), []
    until = time.monotonic() + seconds
    while counts.total() < count and time.monotonic() < until:
        data = mutated(target.seeds, draw, text=target.text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.read(data)
            counts["read"] += 1
        except target.refusals:
            counts["refused"] += 1
        except Exception:  # which is what is looked for
            counts["found"] += 1
            findings.append((traceback.format_exc(), data))
    return counts, findings


def main() -> int:
    """Run the command; return how many targets had findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=float, default=8, help="each target")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        known = targets(Path(folder))
        print("| target | inputs | read | refused | findings |\n|---|---|---|---|---|")  # noqa: T201
        for name in options.target or known:
            counts, findings = fuzz(known[name], options.seed, seconds=options.seconds)
            row = (name, counts.total(), counts["read"], counts["refused"], counts["found"])
            print("|", " | ".join(map(str, row)), "|", flush=True)  # noqa: T201
            seen = set()
            for trace, data in findings:
                kind = "".join(trace.splitlines()[-3:])
                if kind not in seen:
                    seen.add(kind)
                    path = Path(tempfile.mkdtemp(prefix="mgm-fuzz-")) / name
                    path.write_bytes(data)
                    print(path, *trace.splitlines()[-7:], sep="\n", file=sys.stderr)  # noqa: T201
            broken += bool(findings)
    return broken


if __name__ == "__main__":
    sys.exit(main())
