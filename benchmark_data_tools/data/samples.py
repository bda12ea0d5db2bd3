"""A benchmark's pictures: read, held to the rules of their table, and fingerprinted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark_data_tools.data.layouts import LAYOUTS, Sample, find_samples
from benchmark_data_tools.regions import details, unknown
from mgm_core.arrays import Floats
from mgm_core.images import read_image, read_mask, read_matte
from mgm_core.weights import sha256_of

MAX_MEGAPIXELS = 89.0
TRIMAP_VALUES = (0, 128, 255)


@dataclass(frozen=True)
class Pictures:
    """The pictures of one sample, all of one size.

    Args:
        image: I, (H, W, 3) float32 in [0, 1].
        alpha: True matte, (H, W) float32 in [0, 1].
        trimap: (H, W) float32 of 0, 128 / 255 and 1.
        foreground: True F, (H, W, 3) float32 in [0, 1].
        detail_map: (H, W) float32 in [0, 1].
    """

    image: Floats
    alpha: Floats
    trimap: Floats | None = None
    foreground: Floats | None = None
    detail_map: Floats | None = None


def load(sample: Sample) -> Pictures:
    """Read a sample.

    Args:
        sample: What `find_samples` found.

    Returns:
        Its pictures.

    Raises:
        ValueError: If a file is damaged, of the wrong kind or of another size than the image.
    """
    files = sample.files
    image = read_image(files["image"], max_megapixels=MAX_MEGAPIXELS)
    size = image.shape[:2]
    return Pictures(
        image=image,
        alpha=read_grey(files["alpha"], size),
        trimap=_read_trimap(files["trimap"], size) if "trimap" in files else None,
        foreground=read_colours(files["foreground"], size) if "foreground" in files else None,
        detail_map=_read_details(files["detailmap"], size) if "detailmap" in files else None,
    )


def read_grey(path: Path, size: tuple[int, ...]) -> Floats:
    """Read a benchmark's grey picture of a known size.

    Args:
        path: Grey picture.
        size: (H, W) px.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: If it is damaged, coloured, holds 0 and 1 of 255, or has another size.
    """
    grey = read_mask(path, max_megapixels=MAX_MEGAPIXELS)
    _check_size(path, grey, size)
    return grey


def read_prediction(path: Path, size: tuple[int, ...]) -> Floats:
    """Read a predicted matte of a known size; one that is almost empty is no map of labels.

    Args:
        path: Grey picture.
        size: (H, W) px.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: If it is damaged, coloured, or has another size.
    """
    matte = read_matte(path, max_megapixels=MAX_MEGAPIXELS)
    _check_size(path, matte, size)
    return matte


def read_colours(path: Path, size: tuple[int, ...]) -> Floats:
    """Read colours of a known size.

    Args:
        path: Picture.
        size: (H, W) px.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: If it is damaged or has another size.
    """
    colours = read_image(path, max_megapixels=MAX_MEGAPIXELS)
    _check_size(path, colours, size)
    return colours


def problems(table: str, data: Path, subset: Iterable[str] | None = None) -> Iterator[str]:
    """Everything that is wrong with a benchmark's folder, file by file.

    Args:
        table: Key of LAYOUTS.
        data: The benchmark's folder.
        subset: Names of the images to look at; None looks at all.

    Yields:
        One sentence a problem.
    """
    try:
        samples = find_samples(table, data, subset)
    except ValueError as error:
        yield str(error)
        return
    for sample in samples:
        try:
            load(sample)
        except ValueError as error:
            yield f"{sample.name}: {error}"


def count_note(table: str, count: int) -> str:
    """Say whether the number of images is that of the published benchmark.

    Args:
        table: Key of LAYOUTS.
        count: Images found.

    Returns:
        One sentence.
    """
    layout = LAYOUTS[table]
    if count == layout.published_count:
        return f"{count} images, as many as {layout.published_name} has."
    return (
        f"{count} images; {layout.published_name} has {layout.published_count}: "
        "the figures will not be comparable with the paper's."
    )


def manifest(samples: Iterable[Sample], data: Path) -> str:
    """SHA-256 of every file that a run reads, in the format of `sha256sum`.

    Args:
        samples: The samples of a run.
        data: The benchmark's folder; paths are written relative to it.

    Returns:
        One line a file, sorted by path.
    """
    files = sorted({file for sample in samples for file in sample.files.values()})
    return "".join(f"{sha256_of(file)}  {file.relative_to(data).as_posix()}\n" for file in files)


def compare_manifest(found: str, expected: str) -> list[str]:
    """Files that differ between two manifests.

    Args:
        found: Manifest of the files on disk.
        expected: Manifest to hold them to.

    Returns:
        One sentence a file; none where the manifests agree.
    """
    found_files, expected_files = _by_path(found), _by_path(expected)
    return [
        f"{path}: "
        + (
            "not in the manifest"
            if path not in expected_files
            else "missing"
            if path not in found_files
            else "its SHA-256 differs from the manifest's"
        )
        for path in sorted(found_files | expected_files)
        if found_files.get(path) != expected_files.get(path)
    ]


def _by_path(lines: str) -> dict[str, str]:
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines.splitlines())}


def _check_size(path: Path, picture: Floats, size: tuple[int, ...]) -> None:
    if picture.shape[:2] != tuple(size):
        raise ValueError(
            f"{path.name} must have the image's size {size[1]}x{size[0]}, got "
            f"{picture.shape[1]}x{picture.shape[0]}: use pictures of one size"
        )


def _read_trimap(path: Path, size: tuple[int, ...]) -> Floats:
    trimap = read_grey(path, size)
    levels = np.unique(np.rint(trimap * 255).astype(int))
    strange = sorted(set(levels.tolist()) - set(TRIMAP_VALUES))
    if strange:
        raise ValueError(
            f"{path.name} must hold 0, 128 and 255 only, got {strange[:5]} too: "
            "save the trimap without compression loss, unknown as 128"
        )
    if not unknown(trimap).any():
        raise ValueError(
            f"{path.name} must have unknown pixels (128), got none: an empty region has no error"
        )
    return trimap


def _read_details(path: Path, size: tuple[int, ...]) -> Floats:
    detail_map = read_grey(path, size)
    if not details(detail_map).any():
        raise ValueError(
            f"{path.name} must mark details with values above 0, got none: "
            "an empty region has no error"
        )
    return detail_map
