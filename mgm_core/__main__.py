"""Cut subjects out of photographs.

python -m mgm_core photo.jpg -o cutout.png
python -m mgm_core photos/ -o cutouts/ --recursive --skip-existing
python -m mgm_core photo.jpg -o cutout.png --quality fast
python -m mgm_core photo.jpg -o cutout.png --trimap trimap.png --save-alpha
python -m mgm_core photo.jpg -o cutout.png --settings settings.json   # as the page saved them

What is given beside --settings overrides them.
"""

import argparse
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from mgm_core.arrays import Floats
from mgm_core.choices import (
    CATEGORIES,
    COARSE_SIDE_PX,
    DEFAULT_WEIGHTS,
    SEGMENTERS,
    SegmenterError,
    category_index,
)
from mgm_core.compositing import Fit
from mgm_core.cutout import (
    Cutout,
    Guided,
    cut_out,
    guidance_from_mask,
    guidance_from_segmenter,
)
from mgm_core.foreground.estimate import ForegroundMethod
from mgm_core.guidance import GuidanceKind
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.models import Models
from mgm_core.networks.hardware import DtypeName
from mgm_core.recipe import Background, Quality, Recipe

INPUT_SUFFIXES = {
    ".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One photograph: where it comes from and where the cut-out goes."""

    source: Path
    target: Path
    mask: Path | None


class _OldName(argparse.BooleanOptionalAction):
    """An option's name in an earlier version."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take the option and say what it is called now."""
        assert option_string is not None
        new = ("--no-" if option_string.startswith("--no-") else "--") + self.dest
        print(f"{option_string} is now called {new}; the next version drops it", file=sys.stderr)
        super().__call__(parser, namespace, None, option_string)


class UsageError(ValueError):
    """The command line asks for something that cannot be done."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(
        prog="mgm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("inputs", nargs="+", type=Path, help="photographs or folders of them")
    p.add_argument("-o", "--output", type=Path, required=True, help="file, or folder for several")
    p.add_argument("--recursive", action="store_true", help="look into folders of folders")
    p.add_argument("--skip-existing", action="store_true", help="leave finished ones as they are")
    p.add_argument("--settings", type=Path, help="JSON as the page saves it")
    # What belongs to a recipe has no default here: only what is given overrides --settings.
    unset = argparse.SUPPRESS
    guidance = p.add_argument_group("guidance")
    given = guidance.add_mutually_exclusive_group()
    given.add_argument(
        "--mask", type=Path, help="mask or matte, its kind is detected; a folder for several"
    )
    given.add_argument("--trimap", type=Path, help="trimap of 0, 128, 255; a folder for several")
    guidance.add_argument(
        "--kind",
        dest="mask_kind",
        choices=get_args(GuidanceKind),
        default=unset,
        help="what --mask is, instead of detecting it",
    )
    guidance.add_argument("--segmenter", choices=SEGMENTERS, default=unset)
    guidance.add_argument(
        "--category",
        choices=CATEGORIES,
        default=unset,
        metavar="NAME",
        help="one of VOC's 20, default person; with --mask, what it shows",
    )
    guidance.add_argument("--threshold", type=float, default=unset, help="probability, default 0.5")
    guidance.add_argument(
        "--segmenter-side",
        dest="segmenter_side_px",
        type=int,
        default=unset,
        metavar="PX",
        help="one look at this long side in px; default: people twice, the second time closer",
    )
    guidance.add_argument(
        "--shift",
        dest="shift_px",
        type=int,
        default=unset,
        metavar="PX",
        help="dilate the guidance, erode below 0",
    )
    network = p.add_argument_group("network")
    network.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, help="bundled name, .safetensors, or authors' .pth"
    )
    network.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    network.add_argument(
        "--coarse-side",
        type=int,
        default=COARSE_SIDE_PX,
        metavar="PX",
        help="images over twice this long side are matted at it first; 0: never",
    )
    network.add_argument(
        "--least-side",
        type=int,
        metavar="PX",
        help="images of a shorter long side are magnified to it for the network, at most by half; "
        "0: never; by default 800 for the light network, 0 for ResNet34",
    )
    network.add_argument("--dtype", choices=get_args(DtypeName), default="auto")
    network.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="refine alpha where the network is uncertain; by default as --quality says",
    )
    network.add_argument(
        "--colour-lines", dest="refine", action=_OldName, default=unset, help=argparse.SUPPRESS
    )
    result = p.add_argument_group("result")
    result.add_argument(
        "--quality",
        choices=get_args(Quality),
        default=unset,
        help="fast: the matting network alone; best: refined alpha, the default for photographs; "
        "what --refine or --foreground say is taken instead",
    )
    result.add_argument(
        "--background",
        dest="behind",
        metavar="WHAT",
        help="'none' (transparent, the default), '#rrggbb', 'gradient:#rrggbb,#rrggbb,ANGLE' "
        "(0 is up, 90 right, 180 down), 'blur', 'blur:PERCENT' (of the longer side), or a picture",
    )
    result.add_argument("--fit", choices=get_args(Fit), help="of a picture, default cover")
    result.add_argument(
        "--position", metavar="X,Y", help="of a picture: 0,0 top left, 1,1 bottom right"
    )
    result.add_argument("--scale", type=float, help="of a picture, as a multiple of what fits")
    result.add_argument(
        "--shadow",
        dest="shadow_numbers",
        metavar="STRENGTH[,X,Y[,BLUR]]",
        help="0 to 1; how far it falls right and down and its softness in percent of the longer "
        "side; in a transparent PNG it is black below the subject",
    )
    result.add_argument(
        "--light-wrap",
        dest="light_wrap_numbers",
        metavar="STRENGTH[,WIDTH]",
        help="0 to 1; how far the background's light spills over the edge, in percent",
    )
    result.add_argument(
        "--foreground",
        choices=get_args(ForegroundMethod),
        default=unset,
        help="how the subject's own colours are found; by default as --quality says",
    )
    result.add_argument(
        "--keep-largest",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="drop stray parts",
    )
    result.add_argument("--save-alpha", action="store_true", help="write NAME_alpha.png, 16 bits")
    result.add_argument("--save-foreground", action="store_true", help="write NAME_foreground.png")
    p.add_argument("--max-megapixels", type=float, default=50.0)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 where a photograph failed, 2 for a wrong command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    try:
        recipe, picture_path = recipe_of(options)
        category_index(recipe.category)
        todo = jobs(options)
        picture = None
        if picture_path is not None:
            picture = read_image(picture_path, max_megapixels=options.max_megapixels)
        models = models_of(options)
        matter = models.matter()
        segmenter = None
        if any(job.mask is None for job in todo):
            segmenter = models.segmenter(recipe.segmenter)
    except (ValueError, SegmenterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failures: list[tuple[Path, str]] = []
    skipped = 0
    for job in tqdm(todo, unit="photo", disable=len(todo) == 1):
        if options.skip_existing and job.target.exists():
            skipped += 1
            continue
        try:
            image = read_image(job.source, max_megapixels=options.max_megapixels)
            if job.mask is not None:
                mask = read_mask(job.mask, max_megapixels=options.max_megapixels)
                guided = guidance_from_mask(mask, recipe.mask_kind, recipe.category)
            else:
                assert segmenter is not None
                guided = guidance_from_segmenter(image, segmenter, recipe)
            _write(cut_out(image, guided, matter, recipe), job, picture, options)
            _report(job, guided, recipe, len(todo) == 1)
        except (ValueError, OSError, MemoryError) as error:
            failures.append((job.source, str(error) or type(error).__name__))
    return _summary(len(todo), skipped, failures, recipe)


def _report(job: Job, guided: Guided, recipe: Recipe, alone: bool) -> None:
    if alone:
        print(f"{job.target}  (guidance: {guided.reason}; {recipe.methods})")


def _summary(count: int, skipped: int, failures: list[tuple[Path, str]], recipe: Recipe) -> int:
    if count > 1:
        done = count - skipped - len(failures)
        print(f"{done} cut out, {skipped} skipped, {len(failures)} failed ({recipe.methods})")
    for path, reason in failures:
        print(f"failed: {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def models_of(options: argparse.Namespace) -> Models:
    """Return the networks that the command line asks for, none of them loaded yet."""
    return Models(
        Path(options.weights) if Path(options.weights).suffix else options.weights,
        device=options.device,
        dtype=options.dtype,
        coarse_side_px=options.coarse_side or None,
        least_side_px=options.least_side,
    )


def recipe_of(options: argparse.Namespace) -> tuple[Recipe, Path | None]:
    """Return the settings that the command line asks for, and the background picture's path.

    Raises:
        ValueError: The settings cannot be read, or a value is out of range.
        UsageError: An option cannot be understood, or a file is missing.
    """
    recipe = Recipe() if options.settings is None else _read_settings(options.settings)
    given = {
        name: value for name, value in vars(options).items() if name in Recipe.__dataclass_fields__
    }
    mask = options.mask or options.trimap
    if options.trimap:
        given["mask_kind"] = "trimap"
    if "segmenter" in given and not mask:
        given["own_mask"] = False
    if "quality" in given:
        recipe = recipe.with_quality(given["quality"])
    recipe = replace(recipe, **given)
    if recipe.own_mask and not mask:
        raise UsageError(
            "--mask must be given with these settings, got none: they were made with a mask; name "
            "it, or take a --segmenter instead"
        )
    background, picture = _background(recipe.background, options)
    recipe = replace(recipe, background=background)
    if options.shadow_numbers is not None:
        names = ("strength", "x_percent", "y_percent", "blur_percent")
        numbers = _numbers("--shadow", options.shadow_numbers, (1, 3, 4))
        shadow = replace(recipe.shadow, **dict(zip(names, numbers, strict=False)))
        recipe = replace(recipe, shadow=shadow)
    if options.light_wrap_numbers is not None:
        strength, *width = _numbers("--light-wrap", options.light_wrap_numbers, (1, 2))
        percent = width[0] if width else recipe.light_wrap_percent
        recipe = replace(recipe, light_wrap=strength, light_wrap_percent=percent)
    return recipe, picture


def _read_settings(path: Path) -> Recipe:
    if not path.is_file():
        raise UsageError(f"--settings must be a file, got {path}: correct the path")
    return Recipe.from_json(path.read_bytes())


def _background(
    background: Background, options: argparse.Namespace
) -> tuple[Background, Path | None]:
    """Return the background with what the options change of it, and the picture's path."""
    text = options.behind
    picture = None
    colour, number = "#[0-9a-fA-F]{6}", r"\d+(?:\.\d+)?"
    if text is None:
        pass
    elif text == "none":
        background = replace(background, kind="transparent")
    elif re.fullmatch(colour, text):
        background = replace(background, kind="colour", colour=text)
    elif match := re.fullmatch(rf"gradient:({colour}),({colour}),(-?{number})", text):
        background = replace(
            background,
            kind="gradient",
            colour=match[1],
            colour_to=match[2],
            angle_deg=float(match[3]),
        )
    elif text == "blur":
        background = replace(background, kind="blur")
    elif match := re.fullmatch(rf"blur:({number})", text):
        background = replace(background, kind="blur", blur_percent=float(match[1]))
    elif Path(text).is_file():
        background, picture = replace(background, kind="picture"), Path(text)
    else:
        raise UsageError(
            "--background must be 'none', '#rrggbb', 'gradient:#rrggbb,#rrggbb,ANGLE', 'blur', "
            f"'blur:PERCENT' or a picture, got {text!r}: quote the colour, or correct the path"
        )
    if background.kind == "picture" and picture is None:
        raise UsageError(
            "--background must name a picture with these settings, got none: they were made with "
            "one; name it, or another background"
        )
    changes: dict[str, object] = {}
    if options.fit is not None:
        changes["fit"] = options.fit
    if options.position is not None:
        changes["x"], changes["y"] = _numbers("--position", options.position, (2,))
    if options.scale is not None:
        changes["scale"] = options.scale
    if changes and background.kind != "picture":
        raise UsageError(
            f"--fit, --position and --scale must come with a picture, got {background.kind}: name "
            "one by --background"
        )
    return replace(background, **changes), picture  # type: ignore[arg-type] # checked by it


def _numbers(name: str, text: str, counts: Sequence[int]) -> tuple[float, ...]:
    """Read numbers with commas between them."""
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UsageError(
            f"{name} must be {wanted} numbers with commas between them, got {text!r}: --help "
            "says which"
        )
    return numbers


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return the photographs to cut out, each with its target and its mask.

    Raises:
        UsageError: An input is missing, the output cannot hold the results, or two results would
            be one file.
    """
    sources: list[tuple[Path, Path]] = []  # photograph, its path below the input folder
    for given in options.inputs:
        if given.is_dir():
            found = [(path, path.relative_to(given)) for path in _photographs(given, options)]
            if not found:
                raise UsageError(
                    f"inputs must hold photographs, got none in {given}: "
                    "give another folder, or --recursive"
                )
            sources += found
        elif given.is_file():
            sources.append((given, Path(given.name)))
        else:
            raise UsageError(f"inputs must exist, got {given}: correct the path")
    output: Path = options.output
    several = len(sources) > 1 or options.inputs[0].is_dir()
    if several and output.suffix and not output.is_dir():
        raise UsageError(
            f"--output must be a folder for several photographs, got {output}: name a folder"
        )
    into_folder = several or output.is_dir() or not output.suffix
    todo, owners = [], dict[Path, Path]()
    for source, relative in sources:
        target = output / relative.with_suffix(".png") if into_folder else output
        if target in owners:
            raise UsageError(
                f"every photograph must have a result of its own, but {owners[target]} and "
                f"{source} would both become {target}: cut them out into two folders"
            )
        if target.resolve() == source.resolve():
            raise UsageError(
                f"--output must not be the photograph itself, got {target}: choose another folder"
            )
        owners[target] = source
        todo.append(Job(source, target, _mask_of(options.mask or options.trimap, relative)))
    return todo


def _photographs(folder: Path, options: argparse.Namespace) -> Iterator[Path]:
    found = folder.rglob("*") if options.recursive else folder.iterdir()
    return (p for p in sorted(found) if p.suffix.lower() in INPUT_SUFFIXES and p.is_file())


def _mask_of(given: Path | None, relative: Path) -> Path | None:
    """Return the mask of a photograph: the file given, or the one of its name in the folder."""
    if given is None or given.is_file():
        return given
    if given.is_dir():
        folder = given / relative.parent
        for path in sorted(folder.glob("*")):
            if path.stem == relative.stem and path.suffix.lower() in INPUT_SUFFIXES:
                return path
        raise UsageError(
            f"every photograph must have a mask, got none for {relative} in {given}: "
            "add one of the same name"
        )
    raise UsageError(f"the mask must exist, got {given}: correct the path")


def _write(cutout: Cutout, job: Job, picture: Floats | None, options: argparse.Namespace) -> None:
    target = job.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if options.save_alpha:
        write_image(target.with_name(f"{target.stem}_alpha.png"), cutout.alpha, bits=16)
    if options.save_foreground:
        write_image(target.with_name(f"{target.stem}_foreground.png"), cutout.foreground)
    # The result itself last: --skip-existing takes its presence for completeness.
    write_image(target, cutout.result(picture))


if __name__ == "__main__":
    sys.exit(main())
