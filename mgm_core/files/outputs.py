"""Which photographs become which files; decided, and checked, before any work.

No result is ever written over a file that the command reads, nor over another result. Files that
only look alike are distinguished by what a path leads to, links and `..` included.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mgm_core.files.formats import FORMATS, Format, format_of, writable
from mgm_core.images import SUFFIXES

__all__ = [
    "PIPE",
    "RESULT_SUFFIXES",
    "Job",
    "Plan",
    "UsageError",
    "check_beside",
    "check_outputs",
    "chosen_mask",
    "file_identities",
    "names_a_folder",
    "normalised",
    "plan",
    "result_names",
    "side_paths",
]

PIPE = Path("-")
"""In place of a path: standard input or standard output."""

RESULT_SUFFIXES = frozenset(suffix for form in FORMATS.values() for suffix in form.suffixes)
"""What a result's name may end in."""


class UsageError(ValueError):
    """The command line asks for something that cannot be done."""


@dataclass(frozen=True)
class Job:
    """One photograph: where it comes from, where the cut-out goes, and what goes beside it.

    Args:
        source: the photograph, or `PIPE`.
        target: the result, or `PIPE`.
        mask: its mask, or None.
        sides: further results by what they show, "alpha" and "foreground".
    """

    source: Path
    target: Path
    mask: Path | None
    sides: dict[str, Path]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Args:
        jobs: in order.
        form: the results' format.
        left_out: sentences on files of the folders that are not taken.
        waiting: sentences on photographs of watched folders whose mask is still to come.
    """

    jobs: tuple[Job, ...]
    form: Format
    left_out: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def plan(
    inputs: Iterable[str],
    output: str,
    *,
    masks: str | None = None,
    recursive: bool = False,
    format_name: str | None = None,
    sides: Iterable[str] = (),
    may_exist: bool = False,
    watched: bool = False,
) -> Plan:
    """Decide which photographs become which files.

    Of two photographs whose results would have one name, as IMG_1.jpg and IMG_1.png, both get
    their endings into it. A folder's hidden files are none of its photographs; nor are results of
    an earlier run, and the masks, where their folder lies within the photographs'.

    Args:
        inputs: photographs, folders of them, or "-".
        output: a file, or a folder where there are several photographs or it says so by a slash at
            its end, or "-".
        masks: a mask for each photograph, or a folder of masks of their names.
        recursive: take the folders' folders too.
        format_name: one of `FORMATS`; None for the output's ending, or PNG.
        sides: further results of each, "alpha" and "foreground".
        may_exist: results that are there are left as they are.
        watched: folders need hold no photographs yet, nor masks of all of them.

    Raises:
        UsageError: an input is missing, the output cannot hold the results, or a name is too long.
    """
    given = [_existing(name) for name in inputs]
    folders = [path for path in given if path.is_dir()]
    if PIPE in given and len(given) > 1:
        raise UsageError(
            "inputs must be '-' alone, got others beside it: take them in two commands"
        )
    into_folder = names_a_folder(output)
    target = Path(output)
    skipped_folders = [Path(f) for f in (output, masks) if f and Path(f).is_dir()]
    sources: list[tuple[Path, Path]] = []  # photograph, its path below the input folder
    left_out: list[str] = []
    for path in given:
        if not path.is_dir():
            sources.append((path, Path(path.name if path != PIPE else "result")))
            continue
        if output != "-" and path.resolve() == target.resolve():
            raise UsageError(
                f"--output must be another folder than the photographs', got {output}: the "
                "results would be taken for photographs the next time; name a new folder"
            )
        found, others = _photographs(path, recursive, skipped_folders)
        if not found and not watched:
            raise UsageError(
                f"inputs must hold photographs, got none in {path}: "
                "give another folder, or --recursive"
            )
        sources += [(photo, photo.relative_to(path)) for photo in found]
        left_out += others
    several = len(sources) > 1 or bool(folders)
    if output != "-" and not into_folder:
        if several and target.suffix.lower() in RESULT_SUFFIXES:
            raise UsageError(
                f"--output must be a folder for several photographs, got {output}: name a folder"
            )
        into_folder = several or not target.suffix
    try:
        if output == "-" or into_folder:
            form = writable(FORMATS[format_name or "png"])
        else:
            form = format_of(target, format_name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if output == "-":
        if several:
            raise UsageError("--output must be a folder for several photographs, got '-': name one")
        if list(sides):
            raise UsageError(
                "--save-alpha and --save-foreground must have a file beside them, got '-' for "
                "--output: name a file"
            )
        targets = [PIPE]
    elif into_folder:
        targets = [target / name for name in result_names([r for _, r in sources], form.suffix)]
    else:
        targets = [target]
    find_mask = _mask_finder(masks)
    jobs: list[Job] = []
    waiting: list[str] = []
    for (source, relative), to in zip(sources, targets, strict=True):
        try:
            jobs.append(Job(source, to, find_mask(relative), side_paths(to, sides)))
        except UsageError as error:
            if not watched:
                raise
            waiting.append(str(error))
    read_folders = {job.source.parent.resolve() for job in jobs if job.source != PIPE}
    for job in jobs:
        if job.source == PIPE or job.target.parent.resolve() not in read_folders:
            continue
        check_beside(
            job.target, job.sides.values(), Path.exists, may_exist=may_exist or not into_folder
        )
    for job in jobs:
        for path in (job.target, *job.sides.values()):
            _check_place(path)
    return Plan(tuple(jobs), form, tuple(left_out), tuple(waiting))


def _existing(name: str) -> Path:
    path = Path(name)
    if name != "-" and not path.exists():
        raise UsageError(f"inputs must exist, got {name}: correct the path")
    return path


def names_a_folder(output: str) -> bool:
    """Tell whether an output is a folder: one that is there, or that ends in a slash."""
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def normalised(name: str) -> str:
    """Return a name in the one form (NFC) that Macs and others can be compared in."""
    return unicodedata.normalize("NFC", name)


def file_identities(path: Path | str) -> list[object]:
    """Return what two paths share where they lead to one file."""
    path = Path(path)
    found: list[object] = [path.resolve()]
    try:
        state = path.stat()
    except (OSError, ValueError):
        return found
    return [*found, (state.st_dev, state.st_ino)]


def check_outputs(
    outputs: Iterable[Path | str],
    inputs: Iterable[Path | str | None],
    identities: Callable[[Path | str], list[object]] = file_identities,
) -> None:
    """Hold every result to be a file of its own, which is neither read nor written twice.

    Args:
        outputs: what is to be written.
        inputs: what is read; None counts for nothing.
        identities: returns what two names share where they lead to one file.

    Raises:
        UsageError: a result is one of the inputs or another result.
    """
    read: dict[object, Path | str] = {}
    for path in inputs:
        if path is not None and path != PIPE:
            read |= dict.fromkeys(identities(path), path)
    written: dict[object, Path | str] = {}
    for path in outputs:
        if path == PIPE:
            continue
        for identity in identities(path):
            if identity in read:
                raise UsageError(
                    f"no result may replace a file that is read, but {path} would be written over "
                    f"{read[identity]}: choose another --output"
                )
            if identity in written:
                raise UsageError(
                    f"every result must be a file of its own, but {path} would be written twice, "
                    f"also as {written[identity]}: rename a photograph, or use two folders"
                )
        written |= dict.fromkeys(identities(path), path)


def check_beside(
    target: Path | str,
    sides: Iterable[Path | str],
    exists: Callable[[Any], bool],
    *,
    may_exist: bool,
) -> None:
    """Hold results that lie beside photographs not to replace another photograph.

    Args:
        target: The result.
        sides: Further results, whose names nobody gave. They are written before the result: where
            that is there, they may be an earlier run's.
        exists: Tells whether a file is there.
        may_exist: The result may be there: somebody gave its name, or it is left as it is.

    Raises:
        UsageError: A file is there that may be another photograph.
    """
    finished = exists(target)
    if finished and not may_exist:
        raise UsageError(
            f"no result may replace {target}, which lies beside a photograph: name the "
            "result, or another folder"
        )
    for path in sides:
        if exists(path) and not finished:
            raise UsageError(
                f"no result may replace {path}, which lies beside a photograph, without "
                f"{PurePath(target).name}: name another result or folder, or remove the file if an "
                "interrupted run left it"
            )


def _photographs(
    folder: Path, recursive: bool, skipped_folders: list[Path]
) -> tuple[list[Path], list[str]]:
    """Return a folder's photographs and sentences on what else is in it."""
    within = folder.resolve()
    closed = [s for s in map(Path.resolve, skipped_folders) if not within.is_relative_to(s)]
    found, others, inside = [], [], 0
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.name.lower() in _OF_SYSTEMS:
            continue
        if any(path.resolve().is_relative_to(one) for one in closed):
            inside += 1
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            others.append(path.relative_to(folder).as_posix())
    notes = []
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        notes.append(f"left out of {folder}, as no pictures of a known kind: {shown}")
    if inside:
        notes.append(f"left out of {folder}, as earlier results or masks: {inside} files")
    return found, notes


_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def result_names(relatives: list[Path], suffix: str) -> list[Path]:
    """Return a result's name for each photograph; those that would share one keep their endings."""
    sharing: dict[str, list[int]] = defaultdict(list)
    for number, relative in enumerate(relatives):
        sharing[normalised(str(relative.with_suffix(suffix))).casefold()].append(number)
    names = [relative.with_suffix(suffix) for relative in relatives]
    for numbers in sharing.values():
        if len(numbers) > 1:
            for number in numbers:
                relative = relatives[number]
                ending = relative.suffix.removeprefix(".")
                names[number] = relative.with_name(f"{relative.stem}_{ending}{suffix}")
    return names


def side_paths(target: Path, sides: Iterable[str]) -> dict[str, Path]:
    """Return the files of further results beside the result."""
    return {side: target.with_name(f"{target.stem}_{side}.png") for side in sides}


def _check_place(path: Path) -> None:
    """Raise unless a result's path can be written, as far as one can know ahead."""
    if path == PIPE:
        return
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise UsageError(
            f"a result's name must have at most {_LONGEST_NAME} bytes, got "
            f"{len(os.fsencode(path.name))} for {path.name}: shorten the photograph's name"
        )
    if path.is_dir():
        raise UsageError(f"a result must be a file, got the folder {path}: choose another --output")
    for folder in path.parents:
        if folder.exists():
            if not folder.is_dir():
                raise UsageError(
                    f"--output must be in a folder, got the file {folder}: choose another"
                )
            return


_LONGEST_NAME = 255  # of every file system in use


def _mask_finder(masks: str | None) -> Callable[[Path], Path | None]:
    """Return a function from a photograph's path below its folder to its mask."""
    if masks is None:
        return lambda relative: None
    given = Path(masks)
    if given.is_file():
        return lambda relative: given
    if not given.is_dir():
        raise UsageError(f"the mask must exist, got {masks}: correct the path")
    listed: dict[Path, dict[str, list[Path]]] = {}

    def find(relative: Path) -> Path | None:
        folder = given / relative.parent
        if folder not in listed:
            listed[folder] = _by_stem(folder)
        named = listed[folder].get(normalised(relative.stem), [])
        return folder / chosen_mask(relative, [path.name for path in named], masks)

    return find


def chosen_mask(photograph: PurePath, named: Sequence[str], masks: str) -> str:
    """Return which of the masks of a photograph's name is its mask.

    Args:
        photograph: Its path below its folder.
        named: The masks that share its name, but for the ending.
        masks: Where they are.

    Raises:
        UsageError: There is none, or several, of which its own ending does not choose one.
    """
    ending = photograph.suffix.lower()
    same = [name for name in named if PurePath(name).suffix.lower() == ending]
    if not named:
        raise UsageError(
            f"every photograph must have a mask, got none for {photograph} in {masks}: add one of "
            "the same name"
        )
    if len(named) > 1 and len(same) != 1:
        raise UsageError(
            f"every photograph must have one mask, got {', '.join(named)} for {photograph} in "
            f"{masks}: leave one"
        )
    return same[0] if same else named[0]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        known = path.suffix.lower() in SUFFIXES and path.is_file()
        if known and not path.name.startswith("."):
            found[normalised(path.stem)].append(path)
    return found
