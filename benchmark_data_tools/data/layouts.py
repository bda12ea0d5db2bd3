"""Folder layouts of the benchmarks, as their authors publish them.

A benchmark is a folder with one folder per part. An image's partners bear its name, whatever
their extension; a part that many images share (one matte composited over twenty backgrounds)
may bear the name without the image's number: `boy_0.png` .. `boy_19.png` share `boy.png`.
docs/benchmarks.md draws every tree.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mgm_core.files.outputs import normalised
from mgm_core.images import SUFFIXES

PartName = Literal["image", "alpha", "trimap", "foreground", "detailmap"]


@dataclass(frozen=True)
class Part:
    """One folder of a benchmark.

    Args:
        name: What its files are.
        folders: Accepted folder names, in order of preference.
        ending: What follows the image's name in a file's name.
        required: Whether the table needs it.
    """

    name: PartName
    folders: tuple[str, ...]
    ending: str = ""
    required: bool = True


@dataclass(frozen=True)
class Layout:
    """What a table needs on disk.

    Args:
        title: The table's heading.
        parts: Its folders; the first holds the images and decides what samples there are.
        published_name: The published benchmark.
        published_count: Images in it.
    """

    title: str
    parts: tuple[Part, ...]
    published_name: str
    published_count: int


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark with its partners.

    Args:
        name: The image's file name without extension.
        files: Part -> file.
    """

    name: str
    files: dict[PartName, Path]


IMAGE = Part("image", ("merged", "image"))
ALPHA = Part("alpha", ("alpha_copy", "alpha"))
TRIMAP = Part("trimap", ("trimaps", "trimap", "trimap1"))
FOREGROUND = Part("foreground", ("fg", "foreground"))
DETAILS = Part("detailmap", ("detailmap",), ending="_cloud_trimap")
OPTIONAL_TRIMAP = Part("trimap", TRIMAP.folders, required=False)

COMPOSITION = ("Composition-1k", 1000)
PORTRAITS = ("Real-world portraits", 637)

LAYOUTS = {
    "1": Layout("Table 1: matting with trimaps", (IMAGE, ALPHA, TRIMAP), *COMPOSITION),
    "2": Layout(
        "Table 2: refining other methods' mattes", (IMAGE, ALPHA), "Distinctions-646", 1000
    ),
    "3": Layout("Table 3: foreground colours", (IMAGE, ALPHA, TRIMAP, FOREGROUND), *COMPOSITION),
    "4": Layout("Table 4: ablations", (IMAGE, ALPHA, TRIMAP), *COMPOSITION),
    "5": Layout("Table 5: real-world portraits", (IMAGE, ALPHA, DETAILS), *PORTRAITS),
    "robustness": Layout("Robustness to the guidance", (IMAGE, ALPHA, OPTIONAL_TRIMAP), *PORTRAITS),
}


def find_samples(table: str, data: Path, subset: Iterable[str] | None = None) -> list[Sample]:
    """Pair the files of a benchmark.

    Args:
        table: Key of LAYOUTS.
        data: The benchmark's folder.
        subset: Names of the images to take, with or without extension; None takes all.

    Returns:
        Samples in order of name.

    Raises:
        ValueError: If a folder or a partner is missing, or a name is not there.
    """
    image_part, *partner_parts = LAYOUTS[table].parts
    images = files_by_name(_folder(data, image_part))
    names = sorted(images) if subset is None else _chosen(images, subset)
    partners = {
        part: files_by_name(_folder(data, part))
        for part in partner_parts
        if part.required or _existing_folder(data, part) is not None
    }
    missing = [
        f"{part.name} of {name}"
        for name in names
        for part, files in partners.items()
        if _partner(name, part, files) is None
    ]
    if missing:
        raise ValueError(
            f"{data} must hold every partner of every image, got none for {len(missing)}: "
            f"add {_some(missing)}"
        )
    return [
        Sample(
            name,
            {image_part.name: images[name]}
            | {
                part.name: file
                for part, files in partners.items()
                if (file := _partner(name, part, files)) is not None
            },
        )
        for name in names
    ]


def read_subset(path: Path) -> list[str]:
    """Names of images, one a line; empty lines and lines that start with # do not count.

    Raises:
        ValueError: If the file names no image.
    """
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ValueError(f"{path} must name at least one image, got none: write one name a line")
    return names


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture; a Mac's `._photo.jpg` is none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def files_by_name(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without extension.

    Raises:
        ValueError: If the folder is missing or empty, or two files differ only by extension.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder of pictures, got none: check the path")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_picture(path):
            continue
        if path.stem in files:
            raise ValueError(
                f"{folder} must hold one file a name, got {files[path.stem].name} and "
                f"{path.name}: remove one"
            )
        files[path.stem] = path
    if not files:
        raise ValueError(
            f"{folder} must hold pictures, got none: add files ending in "
            f"{' '.join(sorted(SUFFIXES))}"
        )
    return files


def file_of(name: str, files: dict[str, Path], folder: Path, what: str) -> Path:
    """Return an image's partner among a folder's files.

    Raises:
        ValueError: There is none.
    """
    if name not in files:
        raise ValueError(
            f"{folder} must hold a {what} of every image, got none of {name}: add it; a mean over "
            "fewer images would not be comparable"
        )
    return files[name]


def _existing_folder(data: Path, part: Part) -> Path | None:
    return next((data / name for name in part.folders if (data / name).is_dir()), None)


def _folder(data: Path, part: Part) -> Path:
    folder = _existing_folder(data, part)
    if folder is None:
        raise ValueError(
            f"{data} must hold a folder {' or '.join(part.folders)} ({part.name}), got none: "
            "see docs/benchmarks.md for the tree"
        )
    return folder


def _partner(name: str, part: Part, files: dict[str, Path]) -> Path | None:
    shared_name = re.sub(r"_\d+$", "", name)
    if found := files.get(name + part.ending) or files.get(shared_name + part.ending):
        return found
    # Macs write the letters of names in another form than the rest of the world.
    named = {normalised(stem): path for stem, path in files.items()}
    return named.get(normalised(name + part.ending)) or named.get(
        normalised(shared_name + part.ending)
    )


def _chosen(images: dict[str, Path], subset: Iterable[str]) -> list[str]:
    names = sorted({Path(n).stem if Path(n).suffix.lower() in SUFFIXES else n for n in subset})
    absent = [name for name in names if name not in images]
    if absent:
        raise ValueError(
            f"subset must name images of the benchmark, got {_some(absent)}: correct the list"
        )
    return names


def _some(names: list[str]) -> str:
    rest = len(names) - 5
    return ", ".join(names[:5]) + (f" and {rest} more" if rest > 0 else "")
