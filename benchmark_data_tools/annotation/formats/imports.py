"""Masks of other tools, each taken in as a new revision."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from benchmark_data_tools.annotation.formats import coco, cvat, label_studio, labelme
from benchmark_data_tools.annotation.formats.items import Found, Size, check_size
from benchmark_data_tools.annotation.formats.matching import ImageNames
from benchmark_data_tools.annotation.storage.claim import DETAIL
from benchmark_data_tools.annotation.storage.dataset import MAX_MEGAPIXELS
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import Mask
from benchmark_data_tools.annotation.storage.people import program
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image
from benchmark_data_tools.data.layouts import is_picture
from mgm_core.arrays import Plane
from mgm_core.guidance import known_regions
from mgm_core.images import read_mask

ImportKind: TypeAlias = Literal["png", "trimap", "coco", "cvat", "label_studio", "labelme"]
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
            pattern. "labelme": a folder of its JSON files. "coco" and "label_studio": a JSON file.
            "cvat": its XML, or the ZIP with it.
        kind: What the source is. Of a trimap the unknown region is taken; under a label of
            trimaps, all of it.
        author: Who made the masks.
        categories: COCO's categories, or the other tools' labels, to take, united; None for the
            only one.
        label: "png": which of a class map's labels is taken; None where they are no class maps.
        under: The dataset's label that the masks are of.

    Returns:
        What was taken, and what was not.

    Raises:
        StoreError: The source is none of this kind, does not go with the label, or several
            categories are there and none is named.
    """
    if kind not in IMPORTS:
        raise StoreError(f"kind must be one of {', '.join(IMPORTS)}, got {kind}: choose one")
    if categories and kind not in _FORMATS:
        raise StoreError(
            f"category must come with {', '.join(_FORMATS)}, got {kind}: leave it out, or take "
            "--label for class maps"
        )
    if label is not None and kind != "png":
        raise StoreError(f"label must come with png, got {kind}: leave it out")
    levels = store.label(under).kind
    if kind == "trimap" and levels == "alpha":
        raise StoreError(
            f"label for trimap must be a mask or a trimap, got {under}, an alpha: take mattes in "
            "with --kind png"
        )
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image)
            .join(Image, Image.id == Entry.image_id)
            .where(Entry.blind_pass == 1, Entry.label == under)
        ).all()
    by_name = {image.name: (entry, image) for entry, image in rows}
    names = ImageNames(by_name)
    taken, problems = [], []
    meant: dict[str, list[Found]] = defaultdict(list)
    # A trimap under a label of trimaps keeps its levels, as any picture does.
    pictures = "png" if levels == "trimap" and kind == "trimap" else kind
    for found in _found(store.pattern, names, source, pictures, categories, label):
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
    pattern: str,
    names: ImageNames,
    source: Path,
    kind: ImportKind,
    categories: Sequence[str] | None,
    label: int | None,
) -> Iterator[Found]:
    if kind not in _FORMATS:
        read = partial(_read_picture, label=label) if kind == "png" else _read_unknown
        for name, path in _named(pattern, names, source):
            yield Found(name, partial(read, path))
        return
    form = _FORMATS[kind]
    try:
        document = form.load(source)
        known = form.categories_of(document)
        found = list(form.masks_of(document, _chosen(known, categories)))
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{source.name} must be {form.title}, got none ({error}): export it anew"
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


class _Format(NamedTuple):
    """How another tool's files are read: what they are, and its module's functions."""

    title: str
    load: Callable[[Path], Any]
    categories_of: Callable[[Any], list[str]]
    masks_of: Callable[..., Iterator[Found]]


def _read_picture(path: Path, size: Size, label: int | None) -> Mask:
    return _levels(_of_size(read_mask(path, label=label, max_megapixels=MAX_MEGAPIXELS), size))


def _read_unknown(path: Path, size: Size) -> Mask:
    known = known_regions(_of_size(read_mask(path, max_megapixels=MAX_MEGAPIXELS), size))
    return _levels((~(known.foreground | known.background)).astype(np.float32))


def _of_size(plane: Plane, size: Size) -> Plane:
    check_size(plane.shape[1], plane.shape[0], size)
    return plane


def _levels(plane: NDArray[np.float32]) -> Mask:
    return np.rint(plane * 255).astype(np.uint8)


def _named(pattern: str, names: ImageNames, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each picture, under its own name where an image has it, else under its pattern's."""
    if not folder.is_dir():
        raise StoreError(f"source must be a folder of pictures, got {folder.name}: check the path")
    before, after = Path(pattern).stem.split("{name}")
    for path in sorted(folder.rglob("*")):
        if is_picture(path):
            stem = path.stem
            if names.find(path.name) is None:
                stem = stem.removeprefix(before).removesuffix(after)
            yield stem + path.suffix, path


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


def _json_files(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise StoreError(f"source must be a folder of labelme's files, got {folder.name}: check it")
    paths = [p for p in sorted(folder.rglob("*.json")) if not p.name.startswith("._")]
    return {str(path.relative_to(folder)): _json(path) for path in paths}


_MOST_JSON_BYTES = 2 * 2**30
_FORMATS: dict[str, _Format] = {
    "coco": _Format("a COCO file", _json, coco.categories_of, coco.masks_of),
    "cvat": _Format("CVAT's XML", cvat.read_document, cvat.categories_of, cvat.masks_of),
    "label_studio": _Format(
        "a Label Studio JSON export", _json, label_studio.categories_of, label_studio.masks_of
    ),
    "labelme": _Format(
        "a folder of labelme's", _json_files, labelme.categories_of, labelme.masks_of
    ),
}
