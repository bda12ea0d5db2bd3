"""Count holes in animals that training keeps out, put over photographs that it keeps out.

    python -m training.tools.animal_holes --cutouts cutouts/people --backgrounds backgrounds

A hole is a connected part of alpha below 0.9, deeper than 10 px inside what truly is solid. Three
of the animals stand before the colours of snow or sky. The whole product mattes them, guided by
the true alpha at 0.5, as it is and off by 20 px, and by the segmenter.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mgm_core.arrays import Colours, Plane
from mgm_core.choices import ANIMAL, DEFAULT_WEIGHTS
from mgm_core.compositing import composite, fit_background, solid_background
from mgm_core.cutout import (
    Guided,
    NoSubjectError,
    guidance_from_mask,
    guidance_from_probability,
    predict_matte,
)
from mgm_core.images import read_image, write_image
from mgm_core.models import Models
from mgm_core.recipe import Recipe
from mgm_core.segmentation import Segmenter
from training.data.held_out import HELD_OUT_ANIMALS
from training.data.sources import RGBACutouts, is_held_out, pictures

__all__ = ["Composite", "composites", "holes"]

LONG_SIDE_PX = 800
DEPTH_PX = 10
SHIFT_PX = 20
SOLID = 254 / 255
WHOLE_ALPHA = 0.9
MARGIN = 0.08  # of the long side, around the animal
# From the top to the bottom: snow under a grey sky, a clear sky, snow.
BRIGHT_COLOURS = (
    ((0.86, 0.88, 0.91), (0.95, 0.96, 0.98)),
    ((0.62, 0.77, 0.93), (0.86, 0.92, 0.97)),
    ((0.97, 0.97, 0.97), (0.90, 0.93, 0.97)),
)
BRIGHT = dict(zip(("496e287aa0", "3e923331ba", "2f176b2f31"), BRIGHT_COLOURS, strict=True))
GUIDANCES = ("right", "eroded", "dilated", "segmenter")


@dataclass(frozen=True)
class Composite:
    """An animal over a background, (H, W, 3) and (H, W) float32 in [0, 1]."""

    name: str
    image: Colours
    alpha: Plane


def composites(cutouts: Path, backgrounds: Path, keep_out_percent: int = 8) -> Iterator[Composite]:
    """Yield the animals in the order of their names.

    Args:
        cutouts: Folder of pictures with alpha that holds them.
        backgrounds: Folder of photographs.
        keep_out_percent: How many percent of these are held out of training.

    Raises:
        ValueError: An animal is missing, or no background is held out.
    """
    source = RGBACutouts(cutouts, LONG_SIDE_PX, lambda name: name not in HELD_OUT_ANIMALS)
    if missing := HELD_OUT_ANIMALS - {path.stem for path in source.paths}:
        raise ValueError(
            f"cutouts must hold the animals that are held out, got none named "
            f"{', '.join(sorted(missing))}: name the folder cutouts/people of the training data"
        )
    behind = [p for p in pictures(backgrounds) if is_held_out(p.stem, keep_out_percent)]
    if not behind:
        raise ValueError(
            f"backgrounds must hold photographs that are held out of training, got none at "
            f"{keep_out_percent} percent: add some"
        )
    step = max(1, len(behind) // len(source.paths))
    for number, path in enumerate(source.paths):
        rgba = source[number].rgba.astype(np.float32) / 255
        margin = round(MARGIN * max(rgba.shape))
        # Space all around, but none below: there most are cut off.
        rgba = np.pad(rgba, ((margin, 0), (margin, margin), (0, 0)), mode="edge")
        rgba[:margin, :, 3] = rgba[:, :margin, 3] = rgba[:, -margin:, 3] = 0
        height, width = rgba.shape[:2]
        if path.stem in BRIGHT:
            top, bottom = (np.array(c, np.float32) for c in BRIGHT[path.stem])
            share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
            ground = np.broadcast_to(top + share * (bottom - top), (height, width, 3))
        else:
            photograph = read_image(behind[number * step % len(behind)])
            ground = fit_background(photograph, height, width)
        alpha, colours, ground = (
            np.ascontiguousarray(plane, np.float32)
            for plane in (rgba[..., 3], rgba[..., :3], ground)
        )
        yield Composite(path.stem, composite(colours, alpha, ground), alpha)


def holes(alpha: Plane, truth: Plane) -> int:
    """Count connected parts of alpha below 0.9 deep inside what truly is solid.

    Args:
        alpha: (H, W) float32 in [0, 1], found.
        truth: (H, W) float32 in [0, 1].
    """
    solid = np.pad(truth >= SOLID, 1, constant_values=True).astype(np.uint8)
    deep = cv2.distanceTransform(solid, cv2.DIST_L2, 5)[1:-1, 1:-1] > DEPTH_PX
    count, _ = cv2.connectedComponents(((alpha < WHOLE_ALPHA) & deep).astype(np.uint8))
    return count - 1


def _guided(animal: Composite, segmenter: Segmenter) -> Iterator[tuple[str, Guided | None]]:
    right = guidance_from_mask((animal.alpha >= 0.5).astype(np.float32), "binary_mask", ANIMAL)
    yield "right", right
    yield "eroded", right.shifted(-SHIFT_PX)
    yield "dilated", right.shifted(SHIFT_PX)
    found = segmenter.probability(animal.image, ANIMAL)
    try:
        yield "segmenter", guidance_from_probability(found, Recipe(category=ANIMAL))
    except NoSubjectError:
        yield "segmenter", None


def main(arguments: list[str] | None = None) -> int:
    """Print a line an animal and the sums."""
    parser = argparse.ArgumentParser(
        prog="python -m training.tools.animal_holes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cutouts", type=Path, required=True)
    parser.add_argument("--backgrounds", type=Path, required=True)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="a bundled name or a file")
    parser.add_argument("--fast", action="store_true", help="the matting network alone")
    parser.add_argument("--out", type=Path, help="folder for the animals over magenta")
    options = parser.parse_args(arguments)
    models = Models(options.weights)
    matter, segmenter = models.matter(), models.segmenter()
    recipe = Recipe(refine="off" if options.fast else "full")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    sums = dict.fromkeys(GUIDANCES, 0)
    tqdm.write("\t".join(["animal", *GUIDANCES]))
    for animal in tqdm(
        composites(options.cutouts, options.backgrounds), total=len(HELD_OUT_ANIMALS)
    ):
        counts: list[str] = []
        for name, guided in _guided(animal, segmenter):
            if guided is None:
                counts.append("not found")
                continue
            alpha = predict_matte(animal.image, guided, matter, recipe).alpha
            counts.append(str(found := holes(alpha, animal.alpha)))
            sums[name] += found
            if options.out is not None:
                plain = solid_background((1.0, 0.0, 1.0), *alpha.shape)
                write_image(
                    options.out / f"{animal.name}_{name}.png",
                    composite(animal.image, alpha, plain),
                )
        tqdm.write("\t".join([animal.name, *counts]))
    tqdm.write("\t".join(["sum", *map(str, sums.values())]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
