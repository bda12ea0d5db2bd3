"""Finished masks as folders and files that benchmarks and other tools read, with a data card."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.formats import coco, cvat, label_studio, labelme
from benchmark_data_tools.annotation.formats.items import Labelled
from benchmark_data_tools.annotation.storage.claim import DETAIL
from benchmark_data_tools.annotation.storage.dataset import DEFAULT_PATTERN, MAX_MEGAPIXELS
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import (
    Mask,
    encode_mask,
    is_detail,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import LABEL_KINDS, Entry, Image
from benchmark_data_tools.annotation.team import agreement
from benchmark_data_tools.annotation.team.progress import has_corrections
from mgm_core.images import encode_png, read_mask

ExportKind: TypeAlias = Literal[
    "benchmark", "coco", "cvat", "label_studio", "label_studio_bitmask", "labelme", "png", "trimap"
]
EXPORTS: tuple[ExportKind, ...] = get_args(ExportKind)
# What stands before an image's file name by default.
PREFIXES: dict[ExportKind, str] = {
    "coco": "image/",
    "cvat": "",
    "label_studio": label_studio.LOCAL_FILES,
    "label_studio_bitmask": label_studio.LOCAL_FILES,
}
SOFT: tuple[ExportKind, ...] = ("benchmark", "png", "label_studio", "label_studio_bitmask")
"""Formats that have a place for soft edges."""
_KINDS_OF_LABELS: dict[ExportKind, tuple[str, ...]] = {
    "trimap": ("mask", "trimap"),
    "png": LABEL_KINDS,
}


_LACKING: dict[ExportKind, str] = {
    "benchmark": " that have a matte",
    "cvat": " that are not empty",
}


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        masks: How many masks.
        left_out: A sentence for each finished mask that the format has no place for.
    """

    masks: int
    left_out: tuple[str, ...]


def export(
    store: Store,
    out: Path,
    kind: ExportKind = "benchmark",
    *,
    states: Iterable[str] = FINISHED,
    soft: bool = False,
    labels: Sequence[str] = (DETAIL,),
    alpha_label: str | None = None,
    image_prefix: str | None = None,
) -> Exported:
    """Write finished masks for others to use, with a data card.

    Args:
        store: The store.
        out: Folder that is new or empty.
        kind: "benchmark" is `image/ alpha/ detailmap/`; "trimap" a folder of trimaps, whose unknown
            region a mask's detail is; "png" a folder of masks for each label. The others are
            files of other tools: "coco" and "cvat" (CVAT for images 1.1), "label_studio" with
            brushes or bitmasks, and "labelme" with the images beside its files.
        states: Entries' states to take.
        soft: Benchmark, png and Label Studio: keep soft edges. Without it a mask's detail is 255
            from half strength on, else 0, as protocols count every value above 0.
        labels: What to write; benchmark and trimap take one.
        alpha_label: Benchmark: the label whose finished mattes stand for `alpha/`.
        image_prefix: What stands before an image's file name in COCO's, CVAT's and Label Studio's
            files; None for PREFIXES.

    Returns:
        What was written. The benchmark's runner needs a matte of each image: those without one
        are left out. CVAT has no empty masks.

    Raises:
        StoreError: The folder is not empty, a label or an option does not go with the format, or
            there is nothing to write.
    """
    if kind not in EXPORTS:
        raise StoreError(f"kind must be one of {', '.join(EXPORTS)}, got {kind}: choose one")
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"out must be a new or empty folder, got {out}: name another")
    if image_prefix is not None and kind not in PREFIXES:
        raise StoreError(
            f"image_prefix must come with {', '.join(PREFIXES)}, got {kind}: leave it out"
        )
    if soft and kind not in SOFT:
        raise StoreError(f"soft must come with {', '.join(SOFT)}, got {kind}: leave it out")
    if alpha_label is not None:
        _check_alpha_label(kind, alpha_label, store.label(alpha_label).kind)
    _check_labels(kind, {label: store.label(label).kind for label in labels})
    chosen = [(e, i) for label in labels for e, i in _entries_in(store, states, label)]
    left_out: list[str] = []
    mattes: dict[int, Entry] = {}
    if kind == "benchmark":
        if alpha_label is not None:
            mattes = {image.id: e for e, image in _entries_in(store, states, alpha_label)}
        without = {i.id for _, i in chosen if i.alpha_file is None and i.id not in mattes}
        left_out = [
            f"{image.name} is left out: the benchmark needs a matte, and alpha/ has none of it"
            for _, image in chosen
            if image.id in without
        ]
        chosen = [(entry, image) for entry, image in chosen if image.id not in without]
    if kind == "cvat":
        empty = {e.id for e, _ in chosen if not store.revision(e.id, e.head).detail_px}
        left_out = [
            f"{image.name} is left out: its mask is empty, and CVAT has no empty masks"
            for entry, image in chosen
            if entry.id in empty
        ]
        chosen = [(entry, image) for entry, image in chosen if entry.id not in empty]
    if not chosen:
        raise StoreError(
            f"dataset must have masks to write, got none in {', '.join(states)}"
            f"{_LACKING[kind] if left_out else ''}: finish some, or name other states"
        )
    out.mkdir(parents=True, exist_ok=True)
    if kind in ("benchmark", "png", "trimap"):
        _write_pictures(store, out, kind, chosen, mattes, soft=soft)
    else:
        prefix = PREFIXES.get(kind, "") if image_prefix is None else image_prefix
        _write_documents(store, out, kind, chosen, prefix, soft=soft)
    write_atomically(out / "README.md", data_card(store, chosen, kind, left_out).encode())
    return Exported(len(chosen), tuple(left_out))


def _check_alpha_label(kind: ExportKind, name: str, found: str) -> None:
    if kind != "benchmark":
        raise StoreError(f"alpha_label must come with benchmark, got {kind}: leave it out")
    if found != "alpha":
        raise StoreError(
            f"alpha_label must be a label of mattes, got {name}, a {found}: name one of kind alpha"
        )


def _check_labels(kind: ExportKind, kinds: dict[str, str]) -> None:
    allowed = _KINDS_OF_LABELS.get(kind, ("mask",))
    for name, found in kinds.items():
        if found not in allowed:
            raise StoreError(
                f"label for {kind} must be a {' or '.join(allowed)}, got {name}, a {found}: "
                "export it with --kind png"
            )
    if not kinds or (len(kinds) > 1 and kind in ("benchmark", "trimap")):
        raise StoreError(
            f"{kind} must be of one label, got {len(kinds)}: name one, or use png or coco"
        )


def _write_pictures(
    store: Store,
    out: Path,
    kind: ExportKind,
    chosen: list[tuple[Entry, Image]],
    mattes: dict[int, Entry],
    *,
    soft: bool,
) -> None:
    for entry, image in chosen:
        mask, label_kind = _mask(store, entry), store.label(entry.label).kind
        shown = mask if soft or label_kind != "mask" else _hard(mask)
        if kind == "trimap":
            png = encode_mask(mask) if label_kind == "trimap" else _trimap(store, image, mask)
            write_atomically(out / "trimap" / f"{image.name}.png", png)
        elif kind == "png":
            write_atomically(out / entry.label / f"{image.name}.png", encode_mask(shown))
        else:
            detailmap = DEFAULT_PATTERN.replace("{name}", image.name)  # what Table 5 reads
            write_atomically(out / detailmap, encode_mask(shown))
            _copy(store.folder / image.file, out / image.file)
            if image.id in mattes:
                matte = encode_mask(_mask(store, mattes[image.id]))
                write_atomically(out / "alpha" / f"{image.name}.png", matte)
            elif image.alpha_file is not None:
                _copy(store.folder / image.alpha_file, out / image.alpha_file)


def _write_documents(
    store: Store,
    out: Path,
    kind: ExportKind,
    chosen: list[tuple[Entry, Image]],
    prefix: str,
    *,
    soft: bool,
) -> None:
    address = kind.startswith("label_studio")
    items = _labelled(store, chosen, prefix, address=address, soft=soft)
    if kind == "coco":
        _write_json(out / "detail.json", coco.document_of(items, TOOL_VERSION))
    elif kind == "cvat":
        write_atomically(out / "annotations.xml", cvat.document_of(items))
    elif kind == "labelme":
        for item in items:
            _write_json(out / f"{Path(item.file).stem}.json", labelme.document_of(item))
        for image in {image.id: image for _, image in chosen}.values():
            _copy(store.folder / image.file, out / Path(image.file).name)
    else:
        bitmask = kind == "label_studio_bitmask"
        _write_json(out / "tasks.json", label_studio.document_of(items, bitmask=bitmask))
        labels = list(dict.fromkeys(entry.label for entry, _ in chosen))
        write_atomically(
            out / "label_config.xml", label_studio.config_of(labels, bitmask=bitmask).encode()
        )


def _write_json(path: Path, document: object) -> None:
    write_atomically(path, json.dumps(document, separators=(",", ":")).encode())


def _labelled(
    store: Store, chosen: list[tuple[Entry, Image]], prefix: str, *, address: bool, soft: bool
) -> Iterator[Labelled]:
    """Yield each image once, with all its masks: one image's in memory at a time."""
    if address:  # the prefix's own & and ? part it, those of a file's name do not
        prefix = quote(prefix, safe="/:?=&%#@+")
    entries: dict[int, list[Entry]] = {}
    images = {image.id: image for _, image in chosen}
    for entry, image in chosen:
        entries.setdefault(image.id, []).append(entry)
    for image_id, its_entries in entries.items():
        image = images[image_id]
        masks = {entry.label: _mask(store, entry) for entry in its_entries}
        name = PurePosixPath(image.file).name
        yield Labelled(
            prefix + (quote(name, safe="") if address else name),
            image.width,
            image.height,
            masks if soft else {label: _hard(mask) for label, mask in masks.items()},
        )


def _hard(mask: Mask) -> Mask:
    return np.where(is_detail(mask), np.uint8(255), np.uint8(0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def data_card(
    store: Store,
    chosen: list[tuple[Entry, Image]],
    kind: ExportKind,
    left_out: Sequence[str] = (),
) -> str:
    """Describe an export in Markdown: what it holds, who made it, how far they agree."""
    ids = {entry.id for entry, _ in chosen}
    revisions = [revision for entry_id in sorted(ids) for revision in store.revisions(entry_id)]
    detail_px = {(one.entry_id, one.number): one.detail_px for one in revisions}
    detail = [
        detail_px[entry.id, entry.head] / (image.width * image.height) for entry, image in chosen
    ]
    images = len({image.id for _, image in chosen})
    people = Counter(agreement.authors_of(store, entry) for entry, _ in chosen)
    states = Counter(entry.state for entry, _ in chosen)
    beside = {conflict.entry_id for conflict in store.open_conflicts()}
    unsettled = [image.name for entry, image in chosen if entry.id in beside]
    with store.reading() as session:
        corrected = ids & set(session.scalars(select(Entry.id).where(has_corrections())))
    seconds = sum(revision.active_seconds for revision in revisions)
    lines = [
        "# Detail regions",
        "",
        f"Written {datetime.now(UTC):%Y-%m-%d} as {kind}, annotation tool {TOOL_VERSION}.",
        "",
        "| | |",
        "|---|---|",
        f"| Images | {images} |",
        f"| Masks | {len(chosen)} |",
        *(f"| {state.replace('_', ' ')} | {number} |" for state, number in sorted(states.items())),
        f"| Begun from a proposal or an import, then corrected | {len(corrected)} |",
        f"| Detail, mean part of the image | {100 * float(np.mean(detail)):.2f} % |",
        f"| With a conflict to settle | {', '.join(dict.fromkeys(unsettled)) or 'none'} |",
        f"| Revisions | {len(revisions)} |",
        f"| Active work | {seconds / 3600:.2f} h, {seconds / images:.0f} s an image |",
        f"| Left out{' for want of a matte' if kind == 'benchmark' else ''} | {len(left_out)} |",
        "",
        "| Annotator | Masks |",
        "|---|---|",
        *(f"| {name} | {number} |" for name, number in sorted(people.items())),
        "",
        "## Agreement of blind second passes",
        "",
    ]
    means = agreement.means(agreement.pairs(store))
    if not means:
        return "\n".join([*lines, "No image has two finished passes.", ""])
    lines += [
        "| Label | Who | Images | IoU | Boundary F at 3 px | Kappa | SAD / 1000 | MSE x 1000 |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {m.label} | {m.who} | {m.images} | {m.iou:.3f} | {m.boundary_f:.3f} | "
            f"{m.kappa:.3f} | {m.sad:.3f} | {m.mse:.3f} |"
            for m in means
        ),
    ]
    return "\n".join([*lines, ""])


def _entries_in(store: Store, states: Iterable[str], label: str) -> list[tuple[Entry, Image]]:
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image)
            .join(Image, Image.id == Entry.image_id)
            .where(Entry.blind_pass == 1, Entry.label == label)
            .where(Entry.state.in_(tuple(states)), Entry.head > 0)
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
        matte = read_mask(store.folder / image.alpha_file, max_megapixels=MAX_MEGAPIXELS)
        known = (matte >= 0.5).astype(np.float32)
    return encode_png(np.where(is_detail(mask), np.float32(128 / 255), known))
