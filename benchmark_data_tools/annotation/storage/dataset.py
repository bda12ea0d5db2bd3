"""A dataset's folder: `image/`, `alpha/` where there are mattes, and finished maps by a pattern.

All that the annotation adds lies in `annotation/`: revisions, the database, users, caches.
"""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from benchmark_data_tools.data.layouts import files_by_name, is_picture
from mgm_core.files.outputs import normalised
from mgm_core.images import read_header

DEFAULT_PATTERN = "detailmap/{name}_cloud_trimap.png"
FOLDER = "annotation"
MAX_MEGAPIXELS = 89.0
"""Of an image that can be labelled."""


@dataclass(frozen=True)
class Picture:
    """An image of the dataset, as found on disk.

    Args:
        name: File name without extension.
        file: Path of the image within the dataset.
        alpha_file: Path of its matte within the dataset; None where there is none.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        sha256: Hash of the image's file.
        turned: Whether EXIF says that the stored pixels are not upright.
    """

    name: str
    file: str
    alpha_file: str | None
    width: int
    height: int
    sha256: str
    turned: bool


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    Args:
        pictures: Usable images in order of name.
        problems: A sentence for each file that cannot be used, or looks wrong.
    """

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]


def check_pattern(pattern: str) -> str:
    """Return the pattern of finished detail maps' paths, or raise ValueError."""
    path = PurePosixPath(pattern)
    if (
        pattern.count("{name}") != 1
        or "{name}" not in path.name
        or path.suffix != ".png"
        or path.is_absolute()
        or ".." in path.parts
        or path.parts[0] in ("image", "alpha", FOLDER)
    ):
        raise ValueError(
            "pattern must be a path within the dataset that has {name} in its file's name, ends in "
            f".png and lies outside image/, alpha/ and {FOLDER}/, got {pattern!r}: write for "
            f"instance {DEFAULT_PATTERN}"
        )
    return pattern


def scan(folder: Path) -> Scan:
    """Look through a dataset: sizes, EXIF, duplicates by hash, mattes that do not fit.

    Args:
        folder: Holds `image/`, and `alpha/` where there are mattes.

    Returns:
        Images that can be labelled, and what is wrong with the rest.

    Raises:
        ValueError: There is no folder of images, or two files differ by extension alone.
    """
    images = files_by_name(folder / "image")
    alphas: dict[str, Path] = {}
    if (folder / "alpha").is_dir():
        found = files_by_name(folder / "alpha")
        alphas = {normalised(name): path for name, path in found.items()}
    pictures, problems, same = [], [], defaultdict(list)
    for name, path in sorted(images.items()):
        try:
            width, height, turned = _upright_size(path)
        except ValueError as error:
            problems.append(f"image/{path.name} is left out: it is no readable image ({error})")
            continue
        alpha = alphas.get(normalised(name))
        if alpha is not None:
            try:
                size = _upright_size(alpha)[:2]
            except ValueError as error:
                problems.append(f"alpha/{alpha.name} is left out: no readable image ({error})")
                alpha = None
            else:
                if size != (width, height):
                    problems.append(
                        f"alpha/{alpha.name} is left out: it is {size[0]}x{size[1]}, its image "
                        f"{width}x{height}"
                    )
                    alpha = None
        if turned:
            problems.append(
                f"image/{path.name} is turned by EXIF: it is labelled upright, at {width}x{height}"
            )
        digest = sha256(path.read_bytes()).hexdigest()
        same[digest].append(path.name)
        pictures.append(
            Picture(
                name,
                f"image/{path.name}",
                f"alpha/{alpha.name}" if alpha else None,
                width,
                height,
                digest,
                turned,
            )
        )
    problems += [
        f"image/{path.name} is left out: it is no picture of a known kind"
        for path in sorted((folder / "image").iterdir())
        if path.is_file() and not path.name.startswith(".") and not is_picture(path)
    ]
    problems += [
        f"image/{first} has duplicates of the same bytes: {', '.join(others)}"
        for first, *others in same.values()
        if others
    ]
    return Scan(tuple(pictures), tuple(problems))


def _upright_size(path: Path) -> tuple[int, int, bool]:
    header = read_header(path, max_megapixels=MAX_MEGAPIXELS)
    return header.width, header.height, header.turned
