"""Cut a subject out of a short clip.

    python -m mgm_core.video clip.mp4 -o cutout.webm               # transparent, with sound
    python -m mgm_core.video clip.mp4 -o green.mp4 --background '#00b140'
    python -m mgm_core.video clip.mp4 -o frames/ --long-side 960   # PNGs; frames.zip: in one file

The options on guidance, network and result are those of photographs (`python -m mgm_core --help`),
--settings included. Every frame goes the way of a photograph, with what was decided about the
frame before (`smoothing.py`). Clips are cut out with --quality fast unless another is given, since
refining every frame takes long.
"""

import argparse
import functools
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mgm_core import __main__ as photographs
from mgm_core.arrays import Floats
from mgm_core.cancellation import Cancelled, checkpoint
from mgm_core.choices import SegmenterError
from mgm_core.cutout import (
    MattingNetwork,
    NoSubjectError,
    SegmentingNetwork,
    background,
    corrected,
    finished,
    guidance_of_frame,
    matted,
)
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.recipe import Recipe
from mgm_core.video.files import Clip, ClipLimits, clip_kind, write_clip
from mgm_core.video.smoothing import Steadier

__all__ = ["MattedFrame", "matte_clip"]


# What the command for photographs can do and this one cannot.
_FOR_PHOTOGRAPHS_ALONE = {
    "mask": "--mask",
    "trimap": "--trimap",
    "recursive": "--recursive",
    "skip_existing": "--skip-existing",
    "save_alpha": "--save-alpha",
    "save_foreground": "--save-foreground",
    "format_name": "--format",
    "keep_metadata": "--keep-metadata",
}

_logger = logging.getLogger("mgm")


@dataclass(frozen=True)
class MattedFrame:
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
    target: Path,
    segmenter: SegmentingNetwork,
    matter: MattingNetwork,
    recipe: Recipe,
    *,
    picture: Floats | None = None,
    steadier: Steadier | None = None,
) -> Iterator[MattedFrame]:
    """Cut the subject out of every frame and write the new clip.

    Nothing is written under the target's name before all is done; a generator that is closed
    early leaves no file. Cancelled after its first frame, the clip ends there, complete.

    Args:
        source: the clip.
        target: see `write_clip`.
        segmenter: finds the subject in each frame.
        matter: the matting network.
        recipe: as for photographs; without a mask of one's own and corrections by hand.
        picture: for a background of that kind, (h, w, 3) float32 in [0, 1].
        steadier: carries what was decided from frame to frame; None takes a new one.

    Yields:
        Each frame when it was written.

    Raises:
        Cancelled: it was cancelled before there was a frame.
        NoSubjectError: no frame shows the subject.
        VideoError: the clip cannot be read, or the target not be written.
        ValueError: the recipe is one for a photograph alone, or the target cannot hold
            transparency.
    """
    if recipe.edits or recipe.own_mask:
        raise ValueError(
            "settings for a clip must be without corrections by hand and a mask, got some that "
            "were made for a photo: take them out of the settings"
        )
    steadier = steadier or Steadier()
    transparent = recipe.background.kind == "transparent"
    behind: Floats | None = None
    found = False

    def alpha_of(image: Floats, probability: Floats) -> Floats:
        guided = corrected(guidance_of_frame(probability, recipe), recipe)
        if not guided.guidance.any():
            return guided.guidance  # spares the network; a subject may come later, or have left
        return matted(image, guided, matter, recipe).alpha

    def cut_out(image: Floats) -> tuple[Floats, Floats]:
        nonlocal behind
        checkpoint()
        probability = segmenter.probability(
            image, recipe.category, long_side_px=recipe.segmenter_side_px
        )
        alpha = steadier.alpha(image, probability, functools.partial(alpha_of, image))
        foreground = estimate_foreground(
            image, alpha, recipe.foreground, device=str(matter.device), dtype=matter.dtype_name
        )
        if behind is None or recipe.background.kind == "blur":
            behind = background(image, alpha, foreground, recipe, picture)
        return alpha, finished(foreground, alpha, behind, recipe)

    with write_clip(target, source, transparent=transparent) as writer:
        for number, frame in enumerate(source.read(writer.hear), start=1):
            try:
                alpha, pixels = cut_out(frame.image)
            except Cancelled:
                if number == 1:
                    raise
                break
            found = found or bool(alpha.any())
            writer.write(pixels, frame.time_s)
            yield MattedFrame(number, frame.image, alpha, pixels)
        if not found:
            raise NoSubjectError(
                f"the clip must show a {recipe.category}, got none in {source.frames_read} "
                "frames: choose another category or a lower threshold"
            )


def parser() -> argparse.ArgumentParser:
    """Return the parser of what the command for photographs has not."""
    p = argparse.ArgumentParser(
        prog="python -m mgm_core.video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation of a photograph's option must not be taken for one of these.
        allow_abbrev=False,
    )
    p.add_argument("clip", type=Path)
    p.add_argument(
        "-o", "--output", type=Path, required=True, help=".mp4, .webm, .zip of PNGs, or a folder"
    )
    p.add_argument("--long-side", type=int, metavar="PX", help="shrink larger frames to it")
    p.add_argument("--steady", type=float, default=0.7, help="share of the past; 0: none")
    p.add_argument("--max-seconds", type=float, default=ClipLimits.seconds)
    p.add_argument("--max-frames", type=int, default=ClipLimits.frames)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 where it could not be done."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    own, others = parser().parse_known_args(arguments)
    options = photographs.parser().parse_args([str(own.clip), "-o", str(own.output), *others])
    try:
        _run(own, options)
    except (ValueError, OSError, SegmenterError) as error:
        _logger.error("error: %s", error)
        return 1
    return 0


def _run(own: argparse.Namespace, options: argparse.Namespace) -> None:
    for name, option in _FOR_PHOTOGRAPHS_ALONE.items():
        if getattr(options, name):
            raise ValueError(f"{option} must not be given for a clip, got one: leave it out")
    if "quality" not in options:
        options.quality = "fast"  # also with settings, which were made for a photograph
    recipe, picture_path = photographs.recipe_of(options)
    if clip_kind(own.output) == "mp4" and recipe.background.kind == "transparent":
        raise ValueError(
            "--background must be given for .mp4, which holds no transparency, got none: "
            "give one, or write .webm"
        )
    picture = None
    if picture_path is not None:
        picture = photographs.read_backdrop(picture_path, recipe, options.max_megapixels)
    steadier = Steadier(own.steady)
    limits = ClipLimits(seconds=own.max_seconds, frames=own.max_frames)
    models = photographs.models_of(options)
    with Clip(own.clip, limits, long_side_px=own.long_side) as source:
        frames = matte_clip(
            source,
            own.output,
            models.segmenter(recipe.segmenter),
            models.matter(),
            recipe,
            picture=picture,
            steadier=steadier,
        )
        for _ in tqdm(frames, total=source.frames_expected, unit="frame"):
            pass
        _logger.info(
            "%s: %d frames, %s. %s", own.output, source.frames_read, recipe.methods, source.note
        )


if __name__ == "__main__":
    sys.exit(main())
