"""In and out: benchmark folders, COCO RLE, trimap sets, Label Studio's brush export."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.formats.rle import (
    coco_decode,
    coco_encode,
    label_studio_decode,
)
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import (
    Mask,
    encode_mask,
    is_detail,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.people import program
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image
from benchmark_data_tools.annotation.team import agreement, progress
from benchmark_data_tools.data.layouts import files_by_name
from mgm_core.guidance import known_regions
from mgm_core.images import encode_png, read_mask

ExportKind: TypeAlias = Literal["benchmark", "coco", "trimap"]
ImportKind: TypeAlias = Literal["png", "trimap", "coco", "label_studio"]
EXPORTS: tuple[ExportKind, ...] = get_args(ExportKind)
IMPORTS: tuple[ImportKind, ...] = get_args(ImportKind)
CATEGORY = {"id": 1, "name": "detail"}


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Args:
        taken: Names of images that got a revision.
        problems: A sentence for each mask that was not taken.
    """

    taken: tuple[str, ...]
    problems: tuple[str, ...]


def export(
    store: Store,
    out: Path,
    kind: ExportKind = "benchmark",
    *,
    states: Iterable[str] = FINISHED,
    soft: bool = False,
) -> int:
    """Write finished masks for others to use, with a data card.

    Args:
        store: The store.
        out: Folder that is new or empty.
        kind: "benchmark" is `image/ alpha/ detailmap/`, "coco" one JSON file, "trimap" a folder
            of trimaps whose unknown region is the detail.
        states: Entries' states to take.
        soft: Benchmark: keep soft edges. Without it detail is 255 from half strength on, else 0,
            as protocols count every value above 0.

    Returns:
        How many masks were written.

    Raises:
        StoreError: The folder is not empty, or there is nothing to write.
    """
    if kind not in EXPORTS:
        raise StoreError(f"kind must be one of {', '.join(EXPORTS)}, got {kind}: choose one")
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"out must be a new or empty folder, got {out}: name another")
    chosen = _finished(store, states)
    if not chosen:
        raise StoreError(
            f"dataset must have masks to write, got none in {', '.join(states)}: finish some, or "
            "name other states"
        )
    out.mkdir(parents=True, exist_ok=True)
    if kind == "coco":
        document = coco_document((image, _mask(store, entry)) for entry, image in chosen)
        write_atomically(out / "detail.json", json.dumps(document).encode())
    for entry, image in chosen if kind != "coco" else ():
        mask = _mask(store, entry)
        if kind == "trimap":
            write_atomically(out / "trimap" / f"{image.name}.png", _trimap(store, image, mask))
            continue
        shown = mask if soft else is_detail(mask).astype(np.uint8) * np.uint8(255)
        write_atomically(out / store.pattern.replace("{name}", image.name), encode_mask(shown))
        for file in (image.file, image.alpha_file):
            if file is not None:
                (out / file).parent.mkdir(exist_ok=True)
                shutil.copyfile(store.folder / file, out / file)
    write_atomically(out / "README.md", data_card(store, chosen, kind).encode())
    return len(chosen)


def coco_document(masks: Iterable[tuple[Image, Mask]]) -> dict[str, Any]:
    """Return a COCO document of detail masks, as pycocotools reads it."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, mask in masks:
        detail = is_detail(mask)
        images.append(
            {
                "id": image.id,
                "file_name": image.file,
                "width": image.width,
                "height": image.height,
            }
        )
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image.id,
                "category_id": CATEGORY["id"],
                "iscrowd": 1,  # COCO's word for an annotation that is a mask, no polygon
                "segmentation": coco_encode(detail),
                "area": int(detail.sum()),
                "bbox": _box(detail),
            }
        )
    return {
        "info": {"description": "Detail regions of portraits", "version": TOOL_VERSION},
        "images": images,
        "categories": [CATEGORY],
        "annotations": annotations,
    }


def data_card(store: Store, chosen: list[tuple[Entry, Image]], kind: ExportKind) -> str:
    """Describe an export in Markdown: what it holds, who made it, how far they agree."""
    ids = {entry.id for entry, _ in chosen}
    revisions = [revision for entry_id in sorted(ids) for revision in store.revisions(entry_id)]
    detail = [
        revision.detail_px / (image.width * image.height)
        for entry, image in chosen
        for revision in revisions
        if (revision.entry_id, revision.number) == (entry.id, entry.head)
    ]
    people = Counter(entry.assignee or "nobody" for entry, _ in chosen)
    states = Counter(entry.state for entry, _ in chosen)
    corrected = {r.entry_id for r in revisions if r.kind in ("proposal", "import")}
    seconds = sum(revision.active_seconds for revision in revisions)
    lines = [
        "# Detail regions",
        "",
        f"Written {datetime.now(UTC):%Y-%m-%d} as {kind}, annotation tool {TOOL_VERSION}.",
        "",
        "| | |",
        "|---|---|",
        f"| Images | {len(chosen)} |",
        *(f"| {state.replace('_', ' ')} | {number} |" for state, number in sorted(states.items())),
        f"| Begun from a proposal or an import, then corrected | {len(corrected)} |",
        f"| Detail, mean part of the image | {100 * float(np.mean(detail)):.2f} % |",
        f"| Revisions | {len(revisions)} |",
        f"| Active work | {seconds / 3600:.2f} h, {seconds / len(chosen):.0f} s an image |",
        "",
        "| Annotator | Images |",
        "|---|---|",
        *(f"| {name} | {number} |" for name, number in sorted(people.items())),
        "",
        "## Agreement of blind second passes",
        "",
    ]
    means = agreement.means(agreement.pairs(store))
    if not means:
        return "\n".join([*lines, "No image has two finished passes.", ""])
    lines += ["| Who | Images | IoU | Boundary F at 3 px | Kappa |", "|---|---|---|---|---|"]
    lines += [
        f"| {m.who} | {m.images} | {m.iou:.3f} | {m.boundary_f:.3f} | {m.kappa:.3f} |"
        for m in means
    ]
    return "\n".join([*lines, ""])


def import_masks(
    store: Store, source: Path, kind: ImportKind, *, author: str = "import"
) -> Imported:
    """Take in masks that were made elsewhere, each as a new revision.

    An entry that has work of its own keeps it as its head; the import then opens a conflict.

    Args:
        store: The store.
        source: "png" and "trimap": a folder of files named as the images, or by the dataset's
            pattern. "coco" and "label_studio": a JSON file.
        kind: What the source is. Of a trimap the unknown region is taken.
        author: Who made the masks.

    Returns:
        What was taken, and what was not.

    Raises:
        StoreError: The source is none of this kind.
    """
    if kind not in IMPORTS:
        raise StoreError(f"kind must be one of {', '.join(IMPORTS)}, got {kind}: choose one")
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image)
            .join(Image, Image.id == Entry.image_id)
            .where(Entry.blind_pass == 1)
        ).all()
    by_name = {image.name: entry for entry, image in rows}
    taken, problems = [], []
    for name, read in _SOURCES[kind](store, source):
        if name not in by_name:
            problems.append(f"{name}: no image of the dataset has this name")
            continue
        entry = by_name[name]
        try:
            store.save(entry.id, Draft(read(), program(author), 0, "import"))
        except ValueError as error:
            problems.append(f"{name}: {error}")
        else:
            taken.append(name)
    return Imported(tuple(taken), tuple(problems))


_Read: TypeAlias = Callable[[], Mask]


def _pictures(store: Store, folder: Path) -> Iterator[tuple[str, _Read]]:
    for name, path in _named(store, folder):
        yield name, partial(_read_picture, path)


def _trimaps(store: Store, folder: Path) -> Iterator[tuple[str, _Read]]:
    for name, path in _named(store, folder):
        yield name, partial(_read_unknown, path)


def _coco(_store: Store, path: Path) -> Iterator[tuple[str, _Read]]:
    document = _json(path)
    together: dict[str, list[dict[str, Any]]] = {}
    try:
        names = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
        for annotation in document["annotations"]:
            segmentation = annotation["segmentation"]
            if not isinstance(segmentation, dict):
                raise StoreError(
                    f"{path.name} must hold masks as RLE, got a polygon: export masks instead"
                )
            together.setdefault(names[annotation["image_id"]], []).append(segmentation)
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{path.name} must be a COCO file, got none ({error!r}): export it anew"
        ) from error
    for name, parts in together.items():
        yield name, partial(_read_coco, parts)


def _label_studio(_store: Store, path: Path) -> Iterator[tuple[str, _Read]]:
    together: dict[str, list[dict[str, Any]]] = {}
    try:
        for item in _json(path):
            name = Path(next(str(v) for v in item["data"].values() if isinstance(v, str))).stem
            together[name] = [
                result
                for annotation in item["annotations"]
                for result in annotation["result"]
                if result["type"] == "brushlabels"
            ]
    except (KeyError, TypeError, StopIteration) as error:
        raise StoreError(
            f"{path.name} must be a Label Studio JSON export, got none ({error!r}): export it anew"
        ) from error
    for name, results in together.items():
        if results:
            yield name, partial(_read_label_studio, results)


def _read_picture(path: Path) -> Mask:
    return _levels(read_mask(path, max_megapixels=89))


def _read_unknown(path: Path) -> Mask:
    known = known_regions(read_mask(path, max_megapixels=89))
    return _levels((~(known.foreground | known.background)).astype(np.float32))


def _read_coco(parts: list[dict[str, Any]]) -> Mask:
    detail = np.stack([coco_decode(part["size"], part["counts"]) for part in parts]).any(0)
    mask: Mask = np.where(detail, np.uint8(255), np.uint8(0))
    return mask


def _read_label_studio(results: list[dict[str, Any]]) -> Mask:
    parts = [
        label_studio_decode(r["value"]["rle"], r["original_width"], r["original_height"])
        for r in results
    ]
    together = np.zeros_like(parts[0])
    for part in parts:
        np.maximum(together, part, out=together)
    return together


_SOURCES: dict[ImportKind, Callable[[Store, Path], Iterator[tuple[str, _Read]]]] = {
    "png": _pictures,
    "trimap": _trimaps,
    "coco": _coco,
    "label_studio": _label_studio,
}


def statistics(store: Store) -> str:
    """Return progress as a text table, everyone first."""
    header = ["who", "open", "in work", "done", "review", "accepted", "returned", "skipped"]
    table = [[*header, "hours", "per hour", "corrected"]]
    for author in (None, *progress.authors(store)):
        one = progress.progress(store, author)
        rate = f"{one.per_hour:.1f}" if one.per_hour is not None else "-"
        table.append(
            [
                author or "all",
                *(
                    str(one.counts[state])
                    for state in (
                        "open",
                        "in_work",
                        "done",
                        "in_review",
                        "accepted",
                        "returned",
                        "skipped",
                    )
                ),
                f"{one.seconds / 3600:.2f}",
                rate,
                f"{one.corrected} of {one.finished}",
            ]
        )
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table
    )


def _finished(store: Store, states: Iterable[str]) -> list[tuple[Entry, Image]]:
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image)
            .join(Image, Image.id == Entry.image_id)
            .where(Entry.blind_pass == 1, Entry.state.in_(tuple(states)), Entry.head > 0)
            .order_by(Image.name)
        ).all()
    return [(entry, image) for entry, image in rows]


def _mask(store: Store, entry: Entry) -> Mask:
    mask = store.mask(entry.id, entry.head)
    assert mask is not None, "entries without a head are not chosen"
    return mask


def _trimap(store: Store, image: Image, mask: Mask) -> bytes:
    """Detail is unknown; elsewhere the matte decides, and without one all is background."""
    known: NDArray[np.float32] = np.zeros(mask.shape, np.float32)
    if image.alpha_file is not None:
        known = (read_mask(store.folder / image.alpha_file, max_megapixels=89) >= 0.5).astype(
            np.float32
        )
    return encode_png(np.where(is_detail(mask), np.float32(128 / 255), known))


def _box(detail: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(detail.any(1)), np.flatnonzero(detail.any(0))
    if not rows.size:
        return [0, 0, 0, 0]
    return [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


def _levels(plane: NDArray[np.float32]) -> Mask:
    return np.rint(plane * 255).astype(np.uint8)


def _named(store: Store, folder: Path) -> Iterator[tuple[str, Path]]:
    ending = Path(store.pattern).stem.split("{name}")[1]
    for stem, path in sorted(files_by_name(folder).items()):
        yield stem.removesuffix(ending) if ending else stem, path


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever the file holds; callers check
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(
            f"{path.name} must be a JSON file, got none ({error}): check the path"
        ) from error
