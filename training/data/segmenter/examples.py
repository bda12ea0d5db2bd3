"""What the segmenter learns from: photographs, composites and what is known of each pixel.

A mask of people tells what is a person everywhere; a mask of hair tells where a person is and
nothing of the rest; a photograph alone tells nothing. What is not known is left to the teacher,
which sees the picture before its light was changed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mgm_core.arrays import Colours, Plane
from mgm_core.choices import CATEGORIES
from mgm_core.networks.segmenter_net import PERSON
from mgm_core.segmentation import subject_px
from training.config import Config, ConfigError, DataConfig, SourceConfig
from training.data import augmentation
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import Example, data_root, names_left_out
from training.data.segmenter.lights import relight
from training.data.segmenter.prints import print_on
from training.data.segmenter.subjects import NO_PEOPLE, WITH_PEOPLE
from training.data.sources import (
    Backgrounds,
    Cutout,
    LeaveOut,
    Photographs,
    PhotographsWithHair,
    PhotographsWithMasks,
    Remembered,
    RGBACutouts,
    is_held_out,
    pictures,
)

# How often a composite shows what is no person, instead of people.
_OTHERS_PROBABILITY = 0.15
# How often a person's clothes have a print.
_PRINT_PROBABILITY = 0.3
# How often a composite shows one, two and three people.
_GROUPS = (0.6, 0.25, 0.15)
# The largest person of an example, as the square root of its area, as a share of the crop's side.
_LARGEST = 0.8
# The blur of a mask, in px, inside which a photograph keeps its colours while those behind change.
_SEAM_PX = 2.0
# The largest picture's long side, as a multiple of the crop's.
_MAX_MAGNIFICATION = 3.5


@dataclass(frozen=True)
class Scene:
    """A crop and what is known of it.

    Args:
        image: (S, S, 3) in [0, 1], in the light that it was taken in.
        subject: (S, S) in [0, 1], the share of the subject, 0 where it is not known.
        known: (S, S), where `subject` is known; elsewhere the teacher decides.
        category: What the subject is.
    """

    image: Colours
    subject: Plane
    known: NDArray[np.bool_]
    category: int = PERSON


class Scenes(Protocol):
    """What one source of a configuration gives."""

    def draw(self, generator: Generator) -> Scene:
        """Return a crop."""


class SegmenterExamples(Dataset[Example]):
    """Photographs with masks of people or hair, composites, and photographs without labels.

    Args:
        config: What is drawn, from where, how often.
    """

    def __init__(self, config: Config) -> None:
        data = config.data
        root = data_root(config)
        if data.crop_px % 8 != 1:
            raise ConfigError(
                f"data.crop_px must be 8n + 1 for the segmenter, got {data.crop_px}: take 513"
            )
        self.config = config
        percent = data.backgrounds_keep_out_percent
        backgrounds = Backgrounds(
            [root / path for path in data.backgrounds],
            leave_out=lambda name: name in WITH_PEOPLE or is_held_out(name, percent),
        )
        self.scenes: list[Scenes] = [
            Composed(s, root, data, backgrounds)
            if s.kind == "rgba"
            else Photographed(s, root, data)
            for s in data.sources
        ]
        shares = np.array([s.share for s in data.sources])
        self.cumulative_shares = np.cumsum(shares / shares.sum())

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image` (3, S, S) uint8; `clean` likewise, before its light was changed; `subject`
            (1, S, S) uint8, 255 where the subject is; `known` (1, S, S) bool, false where the
            teacher decides; `category` (1, 1, 1), the subject's.
        """
        generator = np.random.default_rng([self.config.run.seed, index, 2])
        which = int(np.searchsorted(self.cumulative_shares, generator.random(), side="right"))
        scene = self.scenes[min(which, len(self.scenes) - 1)].draw(generator)
        image, subject = scene.image, scene.subject if scene.known.all() else None
        printed = subject is not None and scene.category == PERSON
        if printed and generator.random() < _PRINT_PROBABILITY:
            image = print_on(image, scene.subject, generator)
        image = relight(image, subject, generator)
        image = augmentation.camera(image, generator)
        return {
            "image": _bytes(image),
            "clean": _bytes(scene.image),
            "subject": _bytes(scene.subject[..., None]),
            "known": torch.from_numpy(scene.known)[None],
            "category": torch.full((1, 1, 1), scene.category),
        }


class Photographed:
    """Photographs of which all, the hair, or nothing is known.

    Args:
        source: One of the configuration's sources.
        root: The folder that its path is relative to.
        data: The configuration's data.
    """

    def __init__(self, source: SourceConfig, root: Path, data: DataConfig) -> None:
        kinds: dict[str, type[PhotographsWithMasks | PhotographsWithHair | Photographs]] = {
            "photo_mask": PhotographsWithMasks,
            "hair_mask": PhotographsWithHair,
            "photograph": Photographs,
        }
        if source.kind not in kinds:
            raise ConfigError(
                f"kind must be 'rgba' or one of {', '.join(kinds)} for the segmenter, got "
                f"{source.kind!r} for {source.path}"
            )
        self.kind, self.data = source.kind, data
        leave_out = _held_out(source, root)
        self.photographs = Remembered(
            kinds[source.kind](root / source.path, data.max_side_px, leave_out)
        )

    def draw(self, generator: Generator) -> Scene:
        """Return part of a photograph."""
        photograph = self.photographs[int(generator.integers(len(self.photographs)))]
        image, subject = close_view(photograph, self.data, generator)
        if self.kind == "photo_mask":
            known = np.ones(subject.shape, bool)
            if generator.random() < AUGMENTATION.matched_probability:
                behind = augmentation.match_background(image, image, subject, generator)
                blurred = cv2.GaussianBlur(subject, (0, 0), _SEAM_PX).astype(np.float32)
                image = _over(image, blurred, behind)
        elif self.kind == "hair_mask":
            known = subject > 0.5
        else:
            known = np.zeros(subject.shape, bool)
        return Scene(image, subject * known, known)


class Composed:
    """One to three cut-outs of people, or what is no person, over photographs.

    Args:
        source: One of the configuration's sources.
        root: The folder that its path is relative to.
        data: The configuration's data.
        backgrounds: Photographs.
    """

    def __init__(
        self, source: SourceConfig, root: Path, data: DataConfig, backgrounds: Backgrounds
    ) -> None:
        self.data, self.backgrounds = data, backgrounds
        cutouts = RGBACutouts(root / source.path, data.max_side_px, names_left_out(source, root))
        self.cutouts = Remembered(cutouts)
        shown = [CATEGORIES.index(NO_PEOPLE.get(p.stem, "person")) for p in cutouts.paths]
        self.people = [index for index, category in enumerate(shown) if category == PERSON]
        if not self.people:
            raise ConfigError(f"{source.path} must show people, got cut-outs of animals alone")
        self.others = [(i, category) for i, category in enumerate(shown) if category != PERSON]

    def draw(self, generator: Generator) -> Scene:
        """Return a composite; what is known is known everywhere, or the teacher decides."""
        data = self.data
        photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
        if generator.random() < data.backdrop_probability:
            image = augmentation.gradient_background(data.crop_px, generator)
        else:
            image = augmentation.cropped_background(photograph, data.crop_px, generator)
        if self.others and generator.random() < _OTHERS_PROBABILITY:
            index, category = self.others[int(generator.integers(len(self.others)))]
            colours, alpha = close_view(self.cutouts[index], data, generator)
            known = np.full(alpha.shape, category != 0)
            return Scene(_over(colours, alpha, image), alpha * known, known, category)
        count = 1 + int(np.searchsorted(np.cumsum(_GROUPS)[:-1], generator.random()))
        subject = np.zeros(image.shape[:2], np.float32)
        far = count > 1 or generator.random() < 0.25
        for _ in range(count):
            cutout = self.cutouts[self.people[int(generator.integers(len(self.people)))]]
            if far:
                colours, alpha = place_cutout(cutout, data.crop_px, generator)
            else:
                colours, alpha = close_view(cutout, data, generator)
            colours = augmentation.jitter(colours, generator, 0.6)
            if generator.random() < AUGMENTATION.matched_probability:
                image = augmentation.match_background(image, colours, alpha, generator)
            image = _over(colours, alpha, image)
            subject = 1 - (1 - subject) * (1 - alpha)
        return Scene(image, subject, np.ones(subject.shape, bool))


def _held_out(source: SourceConfig, root: Path) -> LeaveOut:
    """Return what tells of a photograph's name whether it is kept for evaluation."""
    leave_out = names_left_out(source, root)
    if not source.keep_out_every:
        return leave_out
    every = {p.stem for p in pictures(root / source.path / "image")[:: source.keep_out_every]}
    return lambda name: name in every or leave_out(name)


def close_view(cutout: Cutout, data: DataConfig, generator: Generator) -> tuple[Colours, Plane]:
    """Return most of a picture, or a head, a hand or a foot of it, randomly turned.

    At the smallest scale the whole picture is seen with a margin; at the largest a person fills
    the crop.
    """
    height, width = cutout.rgba.shape[:2]
    whole = data.crop_px / max(height, width)
    close = _LARGEST * data.crop_px / subject_px(cutout.rgba[..., 3] > 127)
    close = min(close, _MAX_MAGNIFICATION * whole)
    smallest, largest = whole * data.scales[0], max(whole * data.scales[1], close)
    if generator.random() < 0.6:  # as it comes at use
        largest = whole * data.scales[1]
    scale = np.exp(generator.uniform(np.log(smallest), np.log(largest)))
    if scale > whole * data.scales[1]:
        x, y = (float(v) for v in cutout.centres[int(generator.integers(len(cutout.centres)))])
    else:
        x, y = np.array([width, height]) * generator.uniform(0.4, 0.6, 2)
    return augmentation.view(cutout, (float(x), float(y)), float(scale), data.crop_px, generator)


def place_cutout(cutout: Cutout, crop_px: int, generator: Generator) -> tuple[Colours, Plane]:
    """Return a small or middling figure anywhere in a crop; one cut off below ends at its foot."""
    height, width = cutout.rgba.shape[:2]
    scale = crop_px / max(height, width) * np.exp(generator.uniform(np.log(0.25), np.log(1.1)))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    rgba = cv2.resize(cutout.rgba, size, interpolation=cv2.INTER_AREA)
    if generator.random() < 0.5:
        rgba = rgba[:, ::-1]
    left = round(float(generator.uniform(-0.3 * size[0], crop_px - 0.7 * size[0])))
    if np.mean(rgba[-1, :, 3] > 127) > 0.05:
        top = crop_px - size[1] + round(float(generator.uniform(0.0, 0.3 * size[1])))
    else:
        top = round(float(generator.uniform(-0.2 * size[1], crop_px - 0.8 * size[1])))
    picture = np.zeros((crop_px, crop_px, 4), np.uint8)
    y0, y1 = max(0, top), min(crop_px, top + size[1])
    x0, x1 = max(0, left), min(crop_px, left + size[0])
    picture[y0:y1, x0:x1] = rgba[y0 - top : y1 - top, x0 - left : x1 - left]
    share = picture.astype(np.float32) / np.float32(255)
    return share[..., :3], np.ascontiguousarray(share[..., 3])


def _over(colours: Colours, alpha: Plane, background: Colours) -> Colours:
    share = alpha[..., None]
    return (share * colours + (1 - share) * background).astype(np.float32)


def _bytes(plane: NDArray[np.float32]) -> Tensor:
    """Return (H, W, C) in [0, 1] as (C, H, W) uint8."""
    rounded = (np.clip(plane, 0, 1) * 255 + 0.5).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(rounded.transpose(2, 0, 1)))
