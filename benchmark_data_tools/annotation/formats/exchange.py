"""In and out: benchmark folders, COCO RLE, trimap sets, Label Studio's brush export."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.formats import coco, label_studio
from benchmark_data_tools.annotation.formats.found import Found, Size, check_size
from benchmark_data_tools.annotation.formats.matching import ImageNames
from benchmark_data_tools.annotation.formats.rle import coco_encode
from benchmark_data_tools.annotation.storage.claim import DETAIL
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
from benchmark_data_tools.annotation.storage.tables import LABEL_KINDS, Entry, Image
from benchmark_data_tools.annotation.team import agreement, progress
from benchmark_data_tools.data.layouts import is_picture
from mgm_core.arrays import Plane
from mgm_core.guidance import known_regions
from mgm_core.images import encode_png, read_mask

ExportKind: TypeAlias = Literal["benchmark", "coco", "trimap", "png"]
ImportKind: TypeAlias = Literal["png", "trimap", "coco", "label_studio"]
EXPORTS: tuple[ExportKind, ...] = get_args(ExportKind)
IMPORTS: tuple[ImportKind, ...] = get_args(ImportKind)


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Args:
        taken: Names of images that got a revision.
        problems: A sentence for each mask that was not taken.
    """

    taken: tuple[str, ...]
    problems: tuple[str, ...]


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
) -> Exported:
    """Write finished masks for others to use, with a data card.

    Args:
        store: The store.
        out: Folder that is new or empty.
        kind: "benchmark" is `image/ alpha/ detailmap/`, "coco" one JSON file with a category for
            each label, "trimap" a folder of trimaps, whose unknown region a mask's detail is,
            "png" a folder of masks for each label.
        states: Entries' states to take.
        soft: Benchmark and png: keep soft edges. Without it a mask's detail is 255 from half
            strength on, else 0, as protocols count every value above 0.
        labels: What to write; benchmark and trimap take one.
        alpha_label: Benchmark: the label whose finished mattes stand for `alpha/`.

    Returns:
        What was written. The benchmark's runner needs a matte of each image: those without one
        are left out.

    Raises:
        StoreError: The folder is not empty, a label does not go with the format, or there is
            nothing to write.
    """
    if kind not in EXPORTS:
        raise StoreError(f"kind must be one of {', '.join(EXPORTS)}, got {kind}: choose one")
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"out must be a new or empty folder, got {out}: name another")
    kinds = {label: store.label(label).kind for label in labels}
    _check_labels(kind, kinds)
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
    if not chosen:
        raise StoreError(
            f"dataset must have masks to write, got none in {', '.join(states)}"
            f"{' that have a matte' if left_out else ''}: finish some, or name other states"
        )
    out.mkdir(parents=True, exist_ok=True)
    if kind == "coco":
        document = coco_document(store, chosen)
        write_atomically(out / "detail.json", json.dumps(document).encode())
    for entry, image in chosen if kind != "coco" else ():
        mask = _mask(store, entry)
        shown = mask if soft or kinds[entry.label] != "mask" else _hard(mask)
        if kind == "trimap":
            clean = kinds[entry.label] == "trimap"
            png = encode_mask(mask) if clean else _trimap(store, image, mask)
            write_atomically(out / "trimap" / f"{image.name}.png", png)
        elif kind == "png":
            write_atomically(out / entry.label / f"{image.name}.png", encode_mask(shown))
        else:
            write_atomically(out / store.pattern.replace("{name}", image.name), encode_mask(shown))
            _copy(store.folder / image.file, out / image.file)
            if image.id in mattes:
                matte = encode_mask(_mask(store, mattes[image.id]))
                write_atomically(out / "alpha" / f"{image.name}.png", matte)
            elif image.alpha_file is not None:
                _copy(store.folder / image.alpha_file, out / image.alpha_file)
    write_atomically(out / "README.md", data_card(store, chosen, kind, left_out).encode())
    return Exported(len(chosen), tuple(left_out))


def _check_labels(kind: ExportKind, kinds: dict[str, str]) -> None:
    allowed = {"benchmark": ("mask",), "coco": ("mask",), "trimap": ("mask", "trimap")}.get(
        kind, LABEL_KINDS
    )
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


def _hard(mask: Mask) -> Mask:
    return np.where(is_detail(mask), np.uint8(255), np.uint8(0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def coco_document(store: Store, chosen: Iterable[tuple[Entry, Image]]) -> dict[str, Any]:
    """Return a COCO document of masks, as pycocotools reads it; each label is a category."""
    images: dict[int, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for entry, image in chosen:
        detail = is_detail(_mask(store, entry))
        images[image.id] = {
            "id": image.id,
            "file_name": image.file,
            "width": image.width,
            "height": image.height,
        }
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image.id,
                "category_id": categories.setdefault(entry.label, len(categories) + 1),
                "iscrowd": 1,  # COCO's word for an annotation that is a mask, no polygon
                "segmentation": coco_encode(detail),
                "area": int(detail.sum()),
                "bbox": _box(detail),
            }
        )
    return {
        "info": {"description": "Detail regions of portraits", "version": TOOL_VERSION},
        "images": list(images.values()),
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }


def data_card(
    store: Store,
    chosen: list[tuple[Entry, Image]],
    kind: ExportKind,
    left_out: Sequence[str] = (),
) -> str:
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
        f"| Left out for want of a matte | {len(left_out)} |",
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
    store: Store,
    source: Path,
    kind: ImportKind,
    *,
    author: str = "import",
    categories: Sequence[str] | None = None,
    label: int | None = None,
    under: str = DETAIL,
) -> Imported:
    """Take in masks that were made elsewhere, each as a new revision.

    An entry that has work of its own keeps it as its head; the import then opens a conflict. What
    is wrong with one mask costs that one alone.

    Args:
        store: The store.
        source: "png" and "trimap": a folder of files named as the images, or by the dataset's
            pattern. "coco" and "label_studio": a JSON file.
        kind: What the source is. Of a trimap the unknown region is taken.
        author: Who made the masks.
        categories: COCO's categories or Label Studio's labels to take, united; None for the only
            one.
        label: "png": which of a class map's labels is taken; None where they are no class maps.
        under: The dataset's label that the masks are of.

    Returns:
        What was taken, and what was not.

    Raises:
        StoreError: The source is none of this kind, or several categories are there and none is
            named.
    """
    if kind not in IMPORTS:
        raise StoreError(f"kind must be one of {', '.join(IMPORTS)}, got {kind}: choose one")
    if categories and kind not in _DOCUMENTS:
        raise StoreError(
            f"category must come with coco or label_studio, got {kind}: leave it out, or take "
            "--label for class maps"
        )
    if label is not None and kind != "png":
        raise StoreError(f"label must come with png, got {kind}: leave it out")
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image)
            .join(Image, Image.id == Entry.image_id)
            .where(Entry.blind_pass == 1, Entry.label == store.label(under).name)
        ).all()
    by_name = {image.name: (entry, image) for entry, image in rows}
    names = ImageNames(by_name)
    taken, problems = [], []
    meant: dict[str, list[Found]] = defaultdict(list)
    for found in _found(store, source, kind, categories, label):
        name = names.find(found.path)
        if name is None:
            reason = found.problem or "no image of the dataset has this name"
            problems.append(f"{found.path}: {reason}")
        else:
            meant[name].append(found)
    for name, masks in meant.items():
        paths = ", ".join(one.path for one in masks)
        if len(masks) > 1:
            problems.append(f"{paths}: would all go to {name}; leave one of them in the source")
            continue
        entry, image = by_name[name]
        try:
            mask = _mask_of(masks[0], image)
            store.save(entry.id, Draft(mask, program(author), 0, "import"))
        except ValueError as error:
            problems.append(f"{paths}: {error}")
        else:
            taken.append(name)
    return Imported(tuple(taken), tuple(problems))


def _mask_of(found: Found, image: Image) -> Mask:
    if found.read is None:
        raise ValueError(found.problem)
    return found.read((image.width, image.height))


def _found(
    store: Store,
    source: Path,
    kind: ImportKind,
    categories: Sequence[str] | None,
    label: int | None,
) -> Iterator[Found]:
    if kind not in _DOCUMENTS:
        read = partial(_read_picture, label=label) if kind == "png" else _read_unknown
        for name, path in _named(store, source):
            yield Found(name, partial(read, path))
        return
    title, categories_of, masks_of = _DOCUMENTS[kind]
    document = _json(source)
    try:
        known = categories_of(document)
        found = list(masks_of(document, _chosen(known, categories)))
    except StoreError:
        raise
    except ValueError as error:
        raise StoreError(
            f"{source.name} must be {title}, got none ({error}): export it anew"
        ) from error
    yield from found


def _chosen(known: list[str], categories: Sequence[str] | None) -> Sequence[str] | None:
    if categories is None and len(known) > 1:
        raise StoreError(
            "category must be chosen where there are several, got "
            f"{', '.join(known)}: name one by --category, or several to unite them"
        )
    for name in categories or ():
        if name not in known:
            raise StoreError(
                f"category must be one of {', '.join(known)}, got {name}: choose one of them"
            )
    return categories


_DOCUMENTS: dict[str, tuple[str, Callable[[Any], list[str]], Callable[..., Iterator[Found]]]] = {
    "coco": ("a COCO file", coco.categories_of, coco.masks_of),
    "label_studio": (
        "a Label Studio JSON export",
        label_studio.categories_of,
        label_studio.masks_of,
    ),
}


def _read_picture(path: Path, size: Size, label: int | None) -> Mask:
    return _levels(_of_size(read_mask(path, label=label, max_megapixels=89), size))


def _read_unknown(path: Path, size: Size) -> Mask:
    known = known_regions(_of_size(read_mask(path, max_megapixels=89), size))
    return _levels((~(known.foreground | known.background)).astype(np.float32))


def _of_size(plane: Plane, size: Size) -> Plane:
    check_size(plane.shape[1], plane.shape[0], size)
    return plane


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
    if not folder.is_dir():
        raise StoreError(f"source must be a folder of pictures, got {folder.name}: check the path")
    ending = Path(store.pattern).stem.split("{name}")[1]
    for path in sorted(folder.iterdir()):
        if is_picture(path):
            yield path.stem.removesuffix(ending) if ending else path.stem, path


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever the file holds; callers check
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise StoreError(
                f"{path.name} must have at most {_MOST_JSON_BYTES // 2**20} MiB, got "
                f"{path.stat().st_size // 2**20}: export it in parts"
            )
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StoreError(
            f"{path.name} must be a JSON file, got none ({error}): check the path"
        ) from error


_MOST_JSON_BYTES = 2 * 2**30
