"""Training examples of the matting network: cut-outs over backgrounds, with perturbed guidance.

Example `index` is a pure function of the configuration, the seed and the index. A resumed run, a
run on two processes and a run with another number of loading workers see the same examples.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mgm_core.arrays import Colours, Plane
from training.config import Config, ConfigError, SourceConfig
from training.data import augmentation
from training.data.augmentation_config import AUGMENTATION
from training.data.grown_hair import GrownHair
from training.data.guidance_noise import noisy_mask, noisy_matte, noisy_trimap
from training.data.held_out import HELD_OUT_ANIMALS, LISTS
from training.data.shapes import RandomShapes
from training.data.sources import (
    Backgrounds,
    Cutout,
    ForegroundAlphaFolders,
    LeaveOut,
    PhotographsWithCutouts,
    PhotographsWithMasks,
    Remembered,
    RGBACutouts,
    Source,
    graded,
    is_held_out,
    listed,
)

Example = dict[str, Tensor]

# Rough masks are trusted this far from their outline, in px of the photograph.
ROUGH_BAND_PX = 30
_ROUNDING = 1e-3


def open_source(config: SourceConfig, root: Path, max_side_px: int) -> Source:
    """Open one folder of foregrounds as the configuration says.

    Raises:
        ValueError: The folder does not hold what its kind needs, or the kind is the segmenter's.
    """
    folder = root / config.path
    kinds: dict[str, Callable[[Path, int, LeaveOut], Source]] = {
        "rgba": RGBACutouts,
        "fg_alpha": ForegroundAlphaFolders,
        "hair": GrownHair,
        "photo_cutout": PhotographsWithCutouts,
        "photo_mask": PhotographsWithMasks,
        "shapes": RandomShapes,
    }
    if config.kind not in kinds:
        raise ConfigError(
            f"kind must be one of {', '.join(kinds)} for all tasks but the segmenter, got "
            f"{config.kind!r} for {config.path}: take the source out"
        )
    return kinds[config.kind](folder, max_side_px, names_left_out(config, root))


def data_root(config: Config) -> Path:
    """Return the folder that all paths of a configuration are relative to.

    Raises:
        ConfigError: It is no folder.
    """
    root = Path(config.data.root)
    if not root.is_dir():
        raise ConfigError(
            f"data.root must be a folder, got {config.data.root!r}: give data.root=PATH"
        )
    return root


def open_backgrounds(config: Config) -> Backgrounds:
    """Open the photographs that the configuration puts behind its foregrounds."""
    root, percent = data_root(config), config.data.backgrounds_keep_out_percent
    return Backgrounds(
        [root / path for path in config.data.backgrounds],
        leave_out=lambda name: is_held_out(name, percent),
    )


def cumulative_shares(config: Config) -> NDArray[np.float64]:
    """Return how often the first, the first two, ... of the sources are drawn, rising to 1.

    Raises:
        ConfigError: No source that is ever drawn has exact alpha.
    """
    drawn = [s for s in config.data.sources if s.share > 0]
    if all(s.kind in ("photo_mask", "photo_cutout") for s in drawn):
        raise ConfigError(
            "data.sources must hold a source with exact alpha (rgba, fg_alpha, hair or shapes) and "
            "a share above 0, got photographs alone: add one"
        )
    shares = np.array([s.share for s in config.data.sources])
    return np.cumsum(shares / shares.sum())


def names_left_out(config: SourceConfig, root: Path) -> LeaveOut:
    """Return what tells of a picture's name whether the configuration leaves it out.

    Raises:
        ValueError: A list that it needs is missing, or the kind has no such choice.
    """
    if config.keep_out_every and config.kind != "hair_mask":
        raise ConfigError(
            f"keep_out_every must be 0 for all kinds but hair_mask, got {config.keep_out_every} "
            f"for {config.path}: use keep_out_percent"
        )
    names: frozenset[str] = frozenset()
    if config.leave_out:
        path = root / config.leave_out
        if not path.is_file():
            raise ConfigError(f"leave_out must be a text file of names, got {str(path)!r}")
        names = listed(path, root / config.path)
    grades = graded(root / config.path) if config.grade else {}
    return lambda name: (
        name in names
        or name in HELD_OUT_ANIMALS
        or name in LISTS[config.keep_out]
        or is_held_out(name, config.keep_out_percent)
        or grades.get(name, "") != config.grade
    )


class Composites(Dataset[Example]):
    """Examples of the matting network, numbered without end.

    Args:
        config: What is drawn, from where, how often.
    """

    def __init__(self, config: Config) -> None:
        root = data_root(config)
        self.config = config
        self.sources = [
            Remembered(open_source(s, root, config.data.max_side_px)) for s in config.data.sources
        ]
        self.cumulative_shares = cumulative_shares(config)
        self.backgrounds = open_backgrounds(config)

    def _taken(self, planes: list[Plane], generator: Generator) -> list[Plane]:
        """Make a composite look photographed, some at a smaller size first.

        Args:
            planes: Image, foreground, background, alpha, supervised.
            generator: Draws everything.
        """
        side = self.config.data.crop_px
        magnified = generator.random() < AUGMENTATION.magnified_probability
        if magnified:
            factor = generator.choice(AUGMENTATION.magnifications)
            planes = [augmentation.reduce(plane, round(side / factor)) for plane in planes]
        planes = [self._photographed(planes[0], generator), *planes[1:]]
        if magnified:
            planes = [augmentation.enlarge(plane, side).clip(0, 1) for plane in planes]
            planes[-1] = (planes[-1] > 1 - _ROUNDING).astype(np.float32)
        return planes

    def _photographed(self, image: Colours, generator: Generator) -> Colours:
        """Make a composite look photographed."""
        return augmentation.camera(image, generator)

    def _cutout(self, generator: Generator) -> Cutout:
        which = int(np.searchsorted(self.cumulative_shares, generator.random(), side="right"))
        source = self.sources[min(which, len(self.sources) - 1)]
        return source[int(generator.integers(len(source)))]

    def _exact_cutout(self, generator: Generator) -> Cutout:
        """Draw until a cut-out has exact alpha; the constructor made sure that there is one."""
        while True:
            cutout = self._cutout(generator)
            if cutout.exact:
                return cutout

    def _background(self, generator: Generator) -> Colours:
        data = self.config.data
        if generator.random() < data.backdrop_probability:
            return augmentation.gradient_background(data.crop_px, generator)
        photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
        return augmentation.cropped_background(photograph, data.crop_px, generator)

    def _crop(self, cutout: Cutout, generator: Generator) -> tuple[Colours, Plane]:
        data = self.config.data
        return augmentation.cropped_cutout(
            cutout, data.crop_px, data.scales, data.whole_probability, generator
        )

    def _exact_crop(self, cutout: Cutout, generator: Generator) -> tuple[Colours, Plane]:
        """Return a crop of a cut-out with exact alpha, sometimes in a photograph's colours."""
        data = self.config.data
        foreground, alpha = self._crop(cutout, generator)
        if data.repaint_probability > 0 and generator.random() < data.repaint_probability:
            photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
            foreground = augmentation.cropped_background(photograph, data.crop_px, generator)
        return foreground, alpha

    def _with_distractor(self, background: Colours, generator: Generator) -> Colours:
        """Return the background with another cut-out in it, which no guidance will mark."""
        colours, alpha = augmentation.placed_cutout(
            self._exact_cutout(generator), self.config.data.crop_px, self.config.data.scales,
            generator,
        )  # fmt: skip
        colours = augmentation.jitter(colours, generator)
        return np.asarray(background + alpha[..., None] * (colours - background), np.float32)

    def _guidance(self, alpha: Plane, generator: Generator) -> Plane:
        guidance = self.config.guidance
        draw = generator.random() * (guidance.mask + guidance.trimap + guidance.matte)
        if draw < guidance.trimap:
            return noisy_trimap(alpha, generator)
        if draw < guidance.trimap + guidance.matte:
            return noisy_matte(alpha, generator)
        return noisy_mask(
            alpha, generator, guidance.cut_mask_probability, guidance.mask_kernels_px,
            guidance.mask_operations,
        )  # fmt: skip

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image`, `foreground`, `background` (3, S, S), `alpha`, `guidance` (1, S, S), float32
            in [0, 1], and `supervised` (1, S, S), 1 where alpha may be trusted, else 0. Where it is
            not exact everywhere, foreground and background are the same, so that the composition
            loss is zero.
        """
        data = self.config.data
        generator = np.random.default_rng([self.config.run.seed, index])
        cutout = self._cutout(generator)
        crop = self._exact_crop if cutout.exact else self._crop
        foreground, alpha = crop(cutout, generator)
        supervised = np.ones_like(alpha)
        grey = generator.random() < AUGMENTATION.grey_probability
        dark = generator.random() < AUGMENTATION.dark_probability
        darkness = np.exp(generator.uniform(*np.log(AUGMENTATION.dark_factors)))
        light = np.float32(darkness if dark else 1.0)
        if cutout.exact:
            if generator.random() < data.merge_probability:
                other = self._cutout(generator)
                if other.exact:
                    behind = self._exact_crop(other, generator)
                    foreground, alpha = augmentation.merge_foregrounds((foreground, alpha), behind)
            foreground = augmentation.jitter(foreground, generator)
            background = augmentation.jitter(self._background(generator), generator)
            if data.distractor_probability > 0 and generator.random() < data.distractor_probability:
                background = self._with_distractor(background, generator)
            if generator.random() < AUGMENTATION.matched_probability:
                background = augmentation.match_background(background, foreground, alpha, generator)
            foreground, background = foreground * light, background * light
            if grey:
                foreground = augmentation.remove_colours(foreground)
                background = augmentation.remove_colours(background)
            image = alpha[..., None] * foreground + (1.0 - alpha[..., None]) * background
        else:
            image = augmentation.jitter(foreground, generator, 0.5)
            foreground = background = image
            if not cutout.taught:
                alpha = (alpha > 0.5).astype(np.float32)
                band = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (ROUGH_BAND_PX, ROUGH_BAND_PX))
                supervised = (cv2.dilate(alpha, band) == cv2.erode(alpha, band)).astype(np.float32)
        planes = [image, foreground, background, alpha, supervised]
        if data.camera:
            planes = self._taken(planes, generator)
        image, foreground, background, alpha, supervised = planes
        if grey:  # grain and JPEG are without colours, too
            image = augmentation.remove_colours(image)
        guidance = self._guidance(alpha, generator)
        return {
            "image": channels_first(image),
            "foreground": channels_first(foreground),
            "background": channels_first(background),
            "alpha": torch.from_numpy(alpha)[None],
            "guidance": torch.from_numpy(guidance)[None],
            "supervised": torch.from_numpy(supervised)[None],
        }


def channels_first(colours: Colours) -> Tensor:
    """Return (H, W, 3) colours as a (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)))
