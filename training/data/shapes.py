"""Random shapes and textures in the colours of photographs.

Cut-outs teach what people, plants and things look like. Here nothing but colour and guidance tells
what belongs to the subject: the outline is noise, and any photograph gives the colours. Shapes have
hair or fur, soft edges of any width, holes, or stretches of glass.

Source: section 3.2 of the paper blends photographs by any alpha for the foreground network; this
does so for the matting network (our extension).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mgm_core.arrays import Floats, Plane
from training.data.sources import Backgrounds, Cutout, LeaveOut, as_cutout, nothing
from training.hair.grow import HairSettings, grow_hair

__all__ = [
    "BLOB_PROBABILITY",
    "SHAPES",
    "RandomShapes",
    "cut_holes",
    "random_alpha",
    "random_field",
    "soft_shape",
]


SHAPES = 1500
BLOB_PROBABILITY = 0.25  # how often Random Alpha Blending takes a smooth random alpha
SIDE_PX = 480
_SEED = 5


@dataclass(frozen=True)
class _Chances:
    hair: float = 0.55
    holes: float = 0.2
    glass: float = 0.12


CHANCES = _Chances()
HAIR = HairSettings(everywhere=True, no_hair_chance=0.0, most_strands=2500, supersampling=3)


def random_field(side_px: int, cells: int, roughness: float, generator: Generator) -> Plane:
    """Return noise of several scales, mean 0 and deviation 1.

    Args:
        side_px: Side of the square.
        cells: Waves of the coarsest scale along a side.
        roughness: Each scale's height over that of the scale twice as coarse, 0..1.
        generator: Draws everything.

    Returns:
        (S, S) float32.
    """
    field = np.zeros((side_px, side_px), np.float32)
    height = 1.0
    while cells < side_px / 3 and height > 0.02:
        nodes = generator.standard_normal((cells + 3, cells + 3)).astype(np.float32)
        step = side_px / cells
        # Nodes lie `step` apart, from one step outside the square to one beyond it.
        to_nodes = np.array([[1 / step, 0, 1.0], [0, 1 / step, 1.0]])
        field += np.float32(height) * cv2.warpAffine(
            nodes, to_nodes, (side_px, side_px), None, cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        cells, height = cells * 2, height * roughness
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def soft_shape(field: Plane, level: float, softness: Plane) -> Plane:
    """Return the alpha of the places above a level.

    Args:
        field: (S, S) heights.
        level: Height at which alpha is 0.5.
        softness: (S, S) heights over which alpha rises from 0 to 1, above 0.

    Returns:
        (S, S) float32 in [0, 1].
    """
    return np.asarray(np.clip(0.5 + (field - level) / softness, 0.0, 1.0), np.float32)


def random_alpha(crop_px: int, generator: Generator) -> Plane:
    """Return a smooth random alpha: noise of a random coarseness, more or less contrasted."""
    cells = int(generator.integers(3, 24))
    noise = generator.standard_normal((cells, cells)).astype(np.float32)
    smooth = cv2.resize(noise, (crop_px, crop_px), None, 0, 0, cv2.INTER_CUBIC)
    gain = np.exp(generator.uniform(-1.0, 2.0))
    return np.asarray(np.clip(smooth * gain + generator.uniform(0.2, 0.8), 0, 1), np.float32)


def cut_holes(alpha: Plane, generator: Generator) -> Plane:
    """Tear holes of one size into a part of alpha, like lace, leaves or a net."""
    side_px = len(alpha)
    pores = random_field(side_px, int(generator.integers(12, 80)), 0.4, generator)
    lowest = -0.9
    if generator.random() < 0.5:  # cracks instead of spots: heights near 0
        pores, lowest = np.asarray(np.abs(pores) * 1.5 - 0.5, np.float32), -0.35
    cover = soft_shape(pores, generator.uniform(lowest, 0.1), np.full_like(pores, 0.35))
    where = random_field(side_px, 2, 0.3, generator)
    part = soft_shape(where, generator.uniform(-1.0, 0.6), np.full_like(where, 0.3))
    return np.asarray(alpha * (1.0 - part * (1.0 - cover)), np.float32)


class RandomShapes:
    """Random shapes in the colours of one folder's photographs; shape `i` is always the same.

    Args:
        folder: Folder of photographs.
        max_side_px: Larger photographs are reduced to this long side.
        leave_out: Tells of a name (without suffix) whether it is not to be used.
    """

    def __init__(
        self, folder: Path, max_side_px: int = 1000, leave_out: LeaveOut = nothing
    ) -> None:
        self.photographs = Backgrounds([folder], max_side_px, leave_out)

    def __len__(self) -> int:
        """Return the number of shapes."""
        return SHAPES

    @property
    def names(self) -> list[str]:
        """The names of the photographs, in order."""
        return self.photographs.names

    def __getitem__(self, index: int) -> Cutout:
        """Return shape `index`."""
        generator = np.random.default_rng([_SEED, index])
        colours = self._colours(generator)
        hairy = generator.random() < CHANCES.hair
        roughness = generator.uniform(0.2, 0.4) if hairy else generator.uniform(0.2, 0.8)
        field = random_field(SIDE_PX, int(generator.integers(2, 5)), roughness, generator)
        level = float(np.quantile(field, generator.uniform(0.4, 0.75)))
        if hairy:
            cutout = grow_hair(colours, field > level, generator, HAIR)
            colours, alpha = cutout.foreground, cutout.alpha
        else:
            uneven = 0.6 * random_field(SIDE_PX, 3, 0.5, generator)
            softness = np.exp(generator.uniform(-4.0, -0.3) + uneven)
            alpha = soft_shape(field, level, softness)
        if generator.random() < CHANCES.holes:
            alpha = cut_holes(alpha, generator)
        if generator.random() < CHANCES.glass:
            where = random_field(SIDE_PX, 2, 0.3, generator)
            clear = soft_shape(where, generator.uniform(-0.5, 1.0), np.full_like(where, 0.2))
            alpha = alpha * (1.0 - generator.uniform(0.2, 0.8) * clear)
        rgba = np.dstack([colours, alpha]) * 255 + 0.5
        return as_cutout(rgba.astype(np.uint8))

    def _colours(self, generator: Generator) -> Floats:
        """Return a square part of a photograph, sometimes of few colours, as hair and fur are."""
        photograph = self.photographs[int(generator.integers(len(self.photographs)))]
        height, width = photograph.shape[:2]
        taken = round(min(height, width) * generator.uniform(0.4, 1.0))
        y = int(generator.integers(0, height - taken + 1))
        x = int(generator.integers(0, width - taken + 1))
        part: NDArray[Any] = photograph[y : y + taken, x : x + taken]
        interpolation = cv2.INTER_AREA if taken > SIDE_PX else cv2.INTER_CUBIC
        part = cv2.resize(part, (SIDE_PX, SIDE_PX), None, 0, 0, interpolation)
        colours = part.astype(np.float32) / np.float32(255)
        if generator.random() < 0.4:
            smooth = cv2.GaussianBlur(colours, (0, 0), SIDE_PX / 8)
            colours = smooth + np.float32(generator.uniform(0.1, 0.6)) * (colours - smooth)
        return np.asarray(np.clip(colours, 0.0, 1.0), np.float32)
