"""Cut a subject out of a short clip.

    python -m mgm_core.video clip.mp4 -o cutout.webm               # transparent, with sound
    python -m mgm_core.video clip.mp4 -o green.mp4 --background '#00b140'
    python -m mgm_core.video clip.mp4 -o cutout.mov                # ProRes 4444, for editors
    python -m mgm_core.video clip.mp4 -o frames/ --long-side 960   # PNGs; frames.zip: in one file
    python -m mgm_core.video clip.mp4 -o frames/ --format exr      # EXRs, for compositors
    python -m mgm_core.video clip.mp4 -o cutout.webm --mask first.png   # follow what it shows

The options on guidance, network and result are those of photographs (`python -m mgm_core --help`),
--settings included. Every frame goes the way of a photograph, with what was decided about the
frame before (`smoothing.py`). Clips are cut out by the matting network alone unless a quality is
given, since refining every frame takes long.
"""

import argparse
import functools
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from mgm_core import __main__ as photographs
from mgm_core.arrays import Floats, resized
from mgm_core.choices import WORKING_MEGAPIXELS, with_article
from mgm_core.cutout import (
    Guided,
    MattingNetwork,
    NoSubjectError,
    SegmentingNetwork,
    apply_corrections,
    erase_foreground,
    guidance_from_mask,
    guidance_of_frame,
    make_background,
    predict_matte,
    render,
)
from mgm_core.files.outputs import UsageError, check_outputs
from mgm_core.foreground.estimate import ForegroundEstimator, estimate_foreground
from mgm_core.images import SubjectMask, read_subject_mask
from mgm_core.models import Models
from mgm_core.recipe import PRESETS, Recipe
from mgm_core.runtime.cancellation import Cancelled, checkpoint
from mgm_core.runtime.partial import clear_up
from mgm_core.runtime.renamed import RenamedOption, old_name
from mgm_core.runtime.reporting import allow_any_name, reason_of
from mgm_core.video.files import (
    Clip,
    ClipLimits,
    Frame,
    PictureFormat,
    check_long_side,
    check_target,
    clip_kind,
    write_clip,
)
from mgm_core.video.smoothing import TemporalSmoother
from mgm_core.video.tracking import Tracker
from mgm_core.weights import verify_bundled

__all__ = ["CutOutFrame", "matte_clip"]


_logger = logging.getLogger("mgm")


@dataclass(frozen=True)
class CutOutFrame:
    """A finished frame.

    Args:
        number: from 1.
        image: the clip's own, (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        pixels: what was written: (H, W, 4) straight RGBA, or (H, W, 3) over the background.
    """

    number: int
    image: Floats = field(repr=False)
    alpha: Floats = field(repr=False)
    pixels: Floats = field(repr=False)


def matte_clip(
    source: Clip,
    target: str | PathLike[str],
    segmenter: SegmentingNetwork,
    matter: MattingNetwork,
    recipe: Recipe,
    *,
    picture: Floats | None = None,
    smoother: TemporalSmoother | None = None,
    pictures: PictureFormat = "png",
    first_mask: SubjectMask | None = None,
    foreground_network: Callable[[], ForegroundEstimator] | None = None,
    working_megapixels: float | None = WORKING_MEGAPIXELS,
) -> Iterator[CutOutFrame]:
    """Cut the subject out of every frame and write the new clip.

    What is transparent in the clip stays so, unless the recipe ignores it. Nothing is written under
    the target's name before all is done; a generator that is closed early leaves no file. Cancelled
    after its first frame, the clip ends there, complete.

    Args:
        source: the clip.
        target: see `write_clip`.
        segmenter: finds the subject in each frame.
        matter: the matting network.
        recipe: as for photographs; without a mask of one's own and corrections by hand.
        picture: for a background of that kind, (h, w, 3) float32 in [0, 1].
        smoother: carries what was decided from frame to frame; None takes a new one. It is not used
            with a first mask.
        pictures: as for `write_clip`.
        first_mask: the subject in the first frame, which is then followed (`tracking.py`), whatever
            it is; of the clip's proportions. None for what the segmenter finds in each frame.
        foreground_network: as for `cut_out`.
        working_megapixels: as for `cut_out`.

    Yields:
        Each frame when it was written.

    Raises:
        Cancelled: it was cancelled before there was a frame.
        NoSubjectError: no frame shows the subject.
        VideoError: the clip cannot be read, or the target not be written.
        ValueError: the recipe is one for a photograph alone, or the target cannot hold
            transparency.
    """
    if recipe.edits or (recipe.own_mask and first_mask is None):
        raise ValueError(
            "settings for a clip must be without corrections by hand and a mask, got some that "
            "were made for a photo: take them out of the settings, or give the first frame's --mask"
        )
    smoother = smoother or TemporalSmoother()
    transparent = recipe.background.kind == "transparent"
    behind: Floats | None = None
    found = False
    tracker = None if first_mask is None else Tracker(recipe.threshold)

    def alpha_of(frame: Frame, probability: Floats) -> Floats:
        return matte_of(frame, guidance_of_frame(probability, recipe))

    def tracked_alpha(frame: Frame, probability: Floats, tracker: Tracker) -> Floats:
        if tracker.begun:
            guided = Guided(tracker.guidance(frame.image, probability), "followed")
        else:
            assert first_mask is not None, "the tracker is there for it"
            mask = _fit_mask(first_mask.mask, frame.image)
            guided = guidance_from_mask(
                mask, recipe.mask_kind, recipe.category, note=first_mask.note
            )
        alpha = matte_of(frame, guided)
        tracker.saw(frame.image, alpha)
        return alpha

    def matte_of(frame: Frame, guided: Guided) -> Floats:
        guided = apply_corrections(guided, recipe)
        if not guided.guidance.any():
            return guided.guidance  # spares the network; a subject may come later, or have left
        return predict_matte(frame.image, guided, matter, recipe, frame.alpha).alpha

    def cut_out(frame: Frame) -> tuple[Floats, Floats]:
        nonlocal behind
        checkpoint()
        image = frame.image
        probability = segmenter.probability(
            image, recipe.category, long_side_px=recipe.segmenter_side_px
        )
        if tracker is None:
            alpha = smoother.alpha(image, probability, functools.partial(alpha_of, frame))
        else:
            alpha = tracked_alpha(frame, probability, tracker)
        if frame.alpha is not None and not recipe.ignore_transparency:
            alpha = np.minimum(alpha, frame.alpha)  # also of what came from the frame before
        foreground = estimate_foreground(
            image,
            alpha,
            recipe.foreground,
            network=foreground_network,
            working_megapixels=working_megapixels,
        )
        foreground = erase_foreground(foreground, frame.alpha, recipe)
        if behind is None or recipe.background.kind == "blur":
            behind = make_background(image, alpha, foreground, recipe, picture, frame.alpha)
        return alpha, render(foreground, alpha, behind, recipe)

    clear_up(Path(target).parent)
    with write_clip(target, source, transparent=transparent, pictures=pictures) as writer:
        for number, frame in enumerate(source.read(writer.hear), start=1):
            try:
                alpha, pixels = cut_out(frame)
            except Cancelled:
                if number == 1:
                    raise
                break
            found = found or bool(alpha.any())
            writer.write(pixels, frame.time_s)
            yield CutOutFrame(number, frame.image, alpha, pixels)
        if not found:
            raise NoSubjectError(
                f"the clip must show {with_article(recipe.category)}, got none in "
                f"{source.frames_read} frames: choose another category or a lower threshold"
            )


def _fit_mask(mask: Floats, image: Floats) -> Floats:
    """Bring a mask of the clip's proportions to the size that its frames have here.

    Raises:
        ValueError: it has other proportions.
    """
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    # To within a pixel of either, as sizes are rounded.
    if abs(mask_width * height - mask_height * width) > max(width, height, *mask.shape):
        raise ValueError(
            f"--mask must have the first frame's proportions, {width}x{height}, got "
            f"{mask_width}x{mask_height}: export the frame, and draw the mask over it"
        )
    return resized(mask, (height, width))


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(
        prog="python -m mgm_core.video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("clip", help="clip; -: standard input")
    p.add_argument(
        "-o",
        "--output",
        required=True,
        help=".mp4, .webm, .mov (ProRes 4444), .zip of pictures, a folder with a slash at its end, "
        "or - for standard output",
    )
    p.add_argument(
        "--format",
        dest="clip_format",
        choices=("mp4", "webm", "mov", "zip", "png", "exr"),
        help="what goes to standard output, or what a folder's or ZIP's pictures are",
    )
    p.add_argument("--long-side", type=int, metavar="PX", help="shrink larger frames to it")
    p.add_argument(
        "--smoothing",
        type=float,
        default=0.7,
        metavar="SHARE",
        help="temporal smoothing: share of the frame before in what looks unchanged; 0: none. With "
        "--mask the subject is followed instead, without smoothing",
    )
    p.add_argument(
        old_name("--smoothing"),
        dest="smoothing",
        type=float,
        action=RenamedOption,
        help=argparse.SUPPRESS,
    )
    p.add_argument("--max-seconds", type=float, default=ClipLimits.seconds)
    p.add_argument("--max-frames", type=int, default=ClipLimits.frames)
    photographs.add_options(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where it could not be done, 2 for a wrong command line, 130 where it was interrupted.
    """
    allow_any_name()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    try:
        with _files(options) as (clip, target):
            _run(options, clip, target)
    except UsageError as error:
        _logger.error("error: %s", error)
        return 2
    except Exception as error:  # each library has its own for a lack of memory; others are raised
        reason = reason_of(error)
        if reason is None:
            raise
        _logger.error("error: %s", reason)
        return 1
    except KeyboardInterrupt:
        _logger.error("stopped: nothing was written")
        return 130
    return 0


@contextmanager
def _files(options: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """Give files for the clip and the result, where a pipe takes the place of either."""
    with TemporaryDirectory(prefix="mgm-") as folder:
        clip, target = Path(options.clip), options.output
        if options.clip == "-":
            clip = Path(folder) / "standard-input"
            with clip.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if options.output == "-":
            if options.clip_format not in ("mp4", "webm", "mov", "zip"):
                raise UsageError(
                    "--format must be mp4, webm, mov or zip for standard output, got "
                    f"{options.clip_format}: say which"
                )
            target = str(Path(folder) / f"result.{options.clip_format}")
        yield clip, target
        if options.output == "-":
            with Path(target).open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for, checked; nothing is read yet but settings."""

    recipe: Recipe
    picture: Path | None
    pictures: PictureFormat
    smoother: TemporalSmoother
    models: Models


def _asked(options: argparse.Namespace, clip: Path, target: str) -> _Asked:
    """Raise ValueError where options are wrong or do not go together."""
    chosen = "quality" in options or "refine" in options
    if "quality" not in options:
        options.quality = "fast"  # also with settings, which were made for a photograph
    recipe, picture = photographs.recipe_of(options)
    if not chosen and recipe.refine == PRESETS["fast"].refine:
        recipe = replace(recipe, refine="off")
    check_long_side(options.long_side)
    pictures = _check_output(options, clip, target, picture)
    if clip_kind(target) == "mp4" and recipe.background.kind == "transparent":
        raise UsageError(
            "--background must be given for .mp4, which holds no transparency, got none: "
            "give one, or write .webm"
        )
    smoother = TemporalSmoother(options.smoothing)
    return _Asked(recipe, picture, pictures, smoother, photographs.models_of(options))


def _run(options: argparse.Namespace, clip: Path, target: str) -> None:
    try:
        asked = _asked(options, clip, target)
    except ValueError as error:
        raise UsageError(str(error)) from error
    recipe, models = asked.recipe, asked.models
    check_target(target, transparent=recipe.background.kind == "transparent")
    verify_bundled()
    picture = None
    if asked.picture is not None:
        picture = photographs.read_backdrop(asked.picture, recipe, options.max_megapixels)
    first_mask = None
    if mask := options.mask or options.trimap:
        first_mask = read_subject_mask(
            mask, label=recipe.label, max_megapixels=options.max_megapixels
        )
    limits = ClipLimits(seconds=options.max_seconds, frames=options.max_frames)
    with Clip(clip, limits, long_side_px=options.long_side) as source:
        frames = matte_clip(
            source,
            target,
            models.segmenter(recipe.segmenter),
            models.matter(),
            recipe,
            picture=picture,
            smoother=asked.smoother,
            pictures=asked.pictures,
            first_mask=first_mask,
            foreground_network=models.foreground_network,
            working_megapixels=models.working_megapixels,
        )
        for _ in tqdm(frames, total=source.frames_expected, unit="frame"):
            pass
        _logger.info(
            "%s: %d frames, %s. %s",
            "written" if options.output == "-" else options.output,
            source.frames_read,
            recipe.methods,
            source.note,
        )


def _check_output(
    options: argparse.Namespace,
    clip: Path,
    target: str,
    picture: Path | None,
) -> PictureFormat:
    """Raise if the result is a file that is read; return what kind of pictures are wanted."""
    kind = clip_kind(target)
    wanted = options.clip_format
    in_pictures = kind in ("zip", "folder")
    if wanted not in (None, kind) and not (in_pictures and wanted in ("png", "exr")):
        raise UsageError(
            f"--format must go with --output, got {wanted} for {Path(target).name}: leave it out"
        )
    path = Path(target)
    inputs = [clip, picture, options.settings]
    inputs += [Path(mask) for mask in (options.mask, options.trimap) if mask]
    if Path(options.weights).suffix:
        inputs.append(Path(options.weights))
    check_outputs([path], inputs)
    for read in inputs:
        if kind == "folder" and read is not None and read.resolve().is_relative_to(path.resolve()):
            raise UsageError(
                f"--output must be a folder that nothing is read from, got {path} with "
                f"{read.name} in it: choose another"
            )
    return "exr" if wanted == "exr" else "png"


if __name__ == "__main__":
    sys.exit(main())
