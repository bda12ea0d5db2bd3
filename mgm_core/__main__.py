"""Cut subjects out of photographs.

python -m mgm_core photo.jpg -o cutout.png
python -m mgm_core photos/ -o cutouts/ --recursive --skip-existing
python -m mgm_core photo.jpg -o cutout.png --trimap trimap.png --save-alpha
"""

import argparse
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mgm_core.compositing import blurred_background, composite, fit_background, solid_background
from mgm_core.cutout import (
    Cutout,
    CutoutSettings,
    Guided,
    cut_out,
    guidance_from_mask,
    guidance_from_segmenter,
)
from mgm_core.foreground import ForegroundMethod
from mgm_core.guidance import GuidanceKind
from mgm_core.hardware import DtypeName
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.inference import COARSE_SIDE_PX, DEFAULT_WEIGHTS, Matter
from mgm_core.segmentation import BUNDLED, CATEGORIES, SEGMENTERS, Segmenter, SegmenterError

Floats = NDArray[np.float32]

INPUT_SUFFIXES = {
    ".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp",
}  # fmt: skip
DEFAULT_BLUR_PX = 12.0


@dataclass(frozen=True)
class Job:
    """One photograph: where it comes from and where the cut-out goes."""

    source: Path
    target: Path
    mask: Path | None


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
    guidance = p.add_argument_group("guidance")
    given = guidance.add_mutually_exclusive_group()
    given.add_argument(
        "--mask", type=Path, help="mask or matte, its kind is detected; a folder for several"
    )
    given.add_argument("--trimap", type=Path, help="trimap of 0, 128, 255; a folder for several")
    guidance.add_argument(
        "--kind", choices=get_args(GuidanceKind), help="what --mask is, instead of detecting it"
    )
    guidance.add_argument("--segmenter", choices=SEGMENTERS, default=BUNDLED)
    guidance.add_argument(
        "--category", choices=CATEGORIES, default="person", metavar="NAME", help="one of VOC's 20"
    )
    guidance.add_argument("--threshold", type=float, default=0.5, help="probability, default 0.5")
    guidance.add_argument("--segmenter-side", type=int, metavar="PX", help="its long side in px")
    guidance.add_argument(
        "--shift", type=int, default=0, metavar="PX", help="dilate the guidance, erode below 0"
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
    network.add_argument("--dtype", choices=get_args(DtypeName), default="auto")
    result = p.add_argument_group("result")
    result.add_argument(
        "--background", help="'#rrggbb', 'blur', 'blur:SIGMA' or a picture; none: transparent"
    )
    result.add_argument("--foreground", choices=get_args(ForegroundMethod), default="multilevel")
    result.add_argument("--keep-largest", action="store_true", help="drop stray parts")
    result.add_argument("--save-alpha", action="store_true", help="write NAME_alpha.png, 16 bits")
    result.add_argument("--save-foreground", action="store_true", help="write NAME_foreground.png")
    p.add_argument("--max-megapixels", type=float, default=50.0)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 where a photograph failed, 2 for a wrong command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    try:
        todo = jobs(options)
        settings = CutoutSettings(
            category=options.category,
            threshold=_fraction("--threshold", options.threshold),
            long_side_px=options.segmenter_side,
            shift_px=options.shift,
            foreground=options.foreground,
            keep_largest=options.keep_largest,
        )
        background = Background(options.background, options.max_megapixels)
        matter = Matter.load(
            _weights(options.weights),
            device=options.device,
            dtype=options.dtype,
            coarse_side_px=options.coarse_side or None,
        )
        segmenter = None
        if any(job.mask is None for job in todo):
            segmenter = Segmenter.load(
                options.segmenter, device=options.device, dtype=options.dtype
            )
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
                kind: GuidanceKind | None = "trimap" if options.trimap else options.kind
                guided = guidance_from_mask(mask, kind)
            else:
                assert segmenter is not None
                guided = guidance_from_segmenter(image, segmenter, settings)
            _write(cut_out(image, guided, matter, settings), job, background, options)
            _report(job, guided, len(todo) == 1)
        except (ValueError, OSError, MemoryError) as error:
            failures.append((job.source, str(error) or type(error).__name__))
    return _summary(len(todo), skipped, failures)


def _report(job: Job, guided: Guided, alone: bool) -> None:
    if alone:
        print(f"{job.target}  (guidance: {guided.reason})")


def _summary(count: int, skipped: int, failures: list[tuple[Path, str]]) -> int:
    if count > 1:
        done = count - skipped - len(failures)
        print(f"{done} cut out, {skipped} skipped, {len(failures)} failed")
    for path, reason in failures:
        print(f"failed: {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _weights(given: str) -> str | Path:
    return Path(given) if Path(given).suffix else given


def _fraction(name: str, value: float) -> float:
    if not 0.0 < value < 1.0:
        raise UsageError(f"{name} must lie between 0 and 1, got {value:g}: 0.5 is the paper's")
    return value


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


class Background:
    """What is put behind the subjects, as told on the command line.

    Args:
        text: Nothing, a colour, "blur", "blur:SIGMA", or a picture's path.
        max_megapixels: Limit for the picture.
    """

    def __init__(self, text: str | None, max_megapixels: float) -> None:
        self.colour: tuple[float, float, float] | None = None
        self.picture: Floats | None = None
        self.sigma_px: float | None = None
        self.wanted = text is not None
        if text is None:
            return
        if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
            red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
            self.colour = (red, green, blue)
        elif match := re.fullmatch(r"blur(?::([0-9.]+))?", text):
            self.sigma_px = float(match[1] or DEFAULT_BLUR_PX)
        elif Path(text).is_file():
            self.picture = read_image(Path(text), max_megapixels=max_megapixels)
        else:
            raise UsageError(
                f"--background must be '#rrggbb', 'blur', 'blur:SIGMA' or a picture, got {text!r}: "
                "quote the colour, or correct the path"
            )

    def behind(self, cutout: Cutout) -> Floats:
        """Return the composite over this background, (H, W, 3)."""
        height, width = cutout.alpha.shape
        if self.colour is not None:
            background = solid_background(self.colour, height, width)
        elif self.picture is not None:
            background = fit_background(self.picture, height, width)
        else:
            assert self.sigma_px is not None
            background = blurred_background(
                cutout.image, cutout.alpha, cutout.foreground, self.sigma_px
            )
        return composite(cutout.foreground, cutout.alpha, background)


def _write(cutout: Cutout, job: Job, background: Background, options: argparse.Namespace) -> None:
    target = job.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if options.save_alpha:
        write_image(target.with_name(f"{target.stem}_alpha.png"), cutout.alpha, bits=16)
    if options.save_foreground:
        write_image(target.with_name(f"{target.stem}_foreground.png"), cutout.foreground)
    # The result itself last: --skip-existing takes its presence for completeness.
    write_image(target, background.behind(cutout) if background.wanted else cutout.rgba())


if __name__ == "__main__":
    sys.exit(main())
