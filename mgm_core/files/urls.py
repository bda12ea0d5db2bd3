"""Photographs and results behind URLs, such as s3://bucket/photos; whatever `fsspec` has.

A URL's file system comes by a package of its own, such as s3fs. Of files behind URLs nothing is
checked ahead but that they are there, and that no result is written over a photograph, a mask or
another result.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from mgm_core.files.formats import FORMATS, Format, writable
from mgm_core.files.outputs import (
    RESULT_SUFFIXES,
    UsageError,
    check_beside,
    check_outputs,
    chosen_mask,
    file_identities,
    normalised,
    result_names,
    side_paths,
)
from mgm_core.images import SUFFIXES, write_whole

__all__ = ["UrlJob", "UrlPlan", "exists", "is_url", "opened", "plan_urls", "write"]


@dataclass(frozen=True)
class UrlJob:
    """One photograph, as `Job`, by URLs or paths of a disk that all workers share.

    Args:
        source: The photograph.
        target: The result.
        mask: Its mask, or None.
        sides: Further results by what they show.
    """

    source: str
    target: str
    mask: str | None = None
    sides: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UrlPlan:
    """What is to be done, as `Plan`.

    Args:
        jobs: In order.
        form: The results' format.
        left_out: Sentences on files that are not taken.
        waiting: Sentences on photographs of watched folders whose mask is still to come.
    """

    jobs: tuple[UrlJob, ...]
    form: Format
    left_out: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def is_url(name: str) -> bool:
    """Tell whether a name is a URL.

    >>> is_url("s3://bucket/photos"), is_url("photos/")
    (True, False)
    """
    return "://" in name


def opened(place: Path | str) -> Path | BytesIO:
    """Return what `images` reads: a path as it is, a URL's content.

    Raises:
        OSError: It cannot be had.
    """
    if isinstance(place, Path) or not is_url(place):
        return Path(place)
    system, path = _at(place)
    return BytesIO(system.cat_file(path))


def write(place: Path | str, data: bytes) -> None:
    """Write a file, its folder too; on a disk of this machine in one step.

    Raises:
        OSError: It cannot be written.
    """
    local = Path(place) if isinstance(place, Path) or not is_url(place) else _place(place)[1]
    if isinstance(local, Path):
        local.parent.mkdir(parents=True, exist_ok=True)
        write_whole(local, data)
        return
    system, path = _at(str(place))
    system.makedirs(system._parent(path), exist_ok=True)
    system.pipe_file(path, data)


def exists(place: Path | str) -> bool:
    """Tell whether a file is there."""
    if isinstance(place, Path) or not is_url(place):
        return Path(place).exists()
    system, path = _at(place)
    return bool(system.exists(path))


def plan_urls(
    inputs: Iterable[str],
    output: str,
    *,
    masks: str | None = None,
    recursive: bool = False,
    format_name: str | None = None,
    sides: Iterable[str] = (),
    also_read: Iterable[Path | None] = (),
    also_written: Iterable[Path] = (),
    may_exist: bool = False,
    watched: bool = False,
) -> UrlPlan:
    """Decide which photographs become which files, where any of them is behind a URL.

    What lies in an output within a photographs' folder is none of its photographs: it is an earlier
    run's results. Nor is what lies in a folder of masks there.

    Args:
        inputs: Photographs, or folders of them.
        output: A folder.
        masks: A mask for all photographs, or a folder of masks of their names.
        recursive: Take the folders' folders too.
        format_name: One of `FORMATS`; None for PNG.
        sides: Further results of each.
        also_read: Other files that no result may be written over; None counts for nothing.
        also_written: Other files that are written.
        may_exist: Results that are there are left as they are.
        watched: Folders need hold no photographs yet, nor masks of all of them.

    Raises:
        UsageError: An input is missing, the output is no folder or among the inputs, or a file
            would be written that is read or written already, or that may be another photograph.
    """
    names_a_file = PurePosixPath(output).suffix.lower() in RESULT_SUFFIXES
    if output == "-" or (names_a_file and not output.endswith("/")):
        raise UsageError(
            f"--output must be a folder where URLs are given, got {output}: name one, with a slash "
            "at its end"
        )
    form = writable(FORMATS[format_name or "png"])
    out_system, out_path = _place(output)
    below = _files(masks, recursive=recursive) if masks else {}
    one_mask = next(iter(below)) if list(below) == [masks] else None
    by_stem: dict[str, list[str]] = defaultdict(list)
    for mask_url, relative_path in below.items():
        by_stem[normalised(str(relative_path.with_suffix("")))].append(mask_url)
    closed_folders = [(out_system, out_path)]
    if masks and not one_mask:
        closed_folders.append(_place(masks))
    left_out = []
    sources: dict[str, PurePosixPath] = {}  # photograph -> its path below the input folder
    for name in inputs:
        system, path = _place(name)
        if (system, path) == (out_system, out_path):
            raise UsageError(
                f"--output must be another folder than the photographs', got {output}: name one"
            )
        found = _files(name, recursive=recursive)
        inner = [
            folder
            for where, folder in closed_folders
            if where == system and folder != path and folder.is_relative_to(path)
        ]
        inside = {one for one in found if any(map(_place(one)[1].is_relative_to, inner))}
        found = {one: below for one, below in found.items() if one not in inside}
        if inside:
            left_out.append(f"left out of {name}, as earlier results or masks: {len(inside)} files")
        if not found and not watched:
            raise UsageError(f"inputs must hold photographs, got none in {name}: correct it")
        sources |= found
    jobs, waiting = [], []
    names = result_names([Path(relative) for relative in sources.values()], form.suffix)
    for (source, relative), result in zip(sources.items(), names, strict=True):
        mask = one_mask
        if masks and not one_mask:
            named = by_stem.get(normalised(str(relative.with_suffix(""))), [])
            try:
                mask = chosen_mask(relative, named, masks)
            except UsageError as error:
                if not watched:
                    raise
                waiting.append(str(error))
                continue
        beside = {side: path.as_posix() for side, path in side_paths(result, sides).items()}
        places = {side: _joined(output, path) for side, path in beside.items()}
        jobs.append(UrlJob(source, _joined(output, result.as_posix()), mask, places))
    check_outputs(
        [*(place for job in jobs for place in (job.target, *job.sides.values())), *also_written],
        [*(job.source for job in jobs), *(job.mask for job in jobs), *also_read],
        _identities,
    )
    read_folders = {(system, path.parent) for system, path in map(_place, sources)}
    for job in jobs:
        if (out_system, _place(job.target)[1].parent) in read_folders:
            check_beside(job.target, job.sides.values(), exists, may_exist=may_exist)
    return UrlPlan(tuple(jobs), form, tuple(left_out), tuple(waiting))


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _at(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url} must be of a known file system: {error}") from error


def _place(name: Path | str) -> tuple[Any, PurePath]:
    """Return a name's file system and its path there, in one form for all names of a file."""
    from fsspec.implementations.local import LocalFileSystem

    system, path = _at(str(name))
    if isinstance(system, LocalFileSystem):
        return system, Path(path).resolve()
    return system, PurePosixPath(posixpath.normpath(path.lstrip("/")))


def _identities(name: Path | str) -> list[object]:
    """Return what two names, URLs or paths, share where they lead to one file."""
    system, path = _place(name)
    return file_identities(path) if isinstance(path, Path) else [(system, path)]


def _files(name: str, *, recursive: bool) -> dict[str, PurePosixPath]:
    """Return the pictures behind a name, each with its path below it."""
    system, root = _at(name)
    if system.isfile(root):
        return {name: PurePosixPath(PurePosixPath(root).name)}
    found = {}
    for path in system.find(root, maxdepth=None if recursive else 1):
        relative = PurePosixPath(path).relative_to(PurePosixPath(root))
        hidden = any(part.startswith(".") for part in relative.parts)
        if relative.suffix.lower() in SUFFIXES and not hidden:
            found[_joined(name, relative.as_posix())] = relative
    return dict(sorted(found.items()))
