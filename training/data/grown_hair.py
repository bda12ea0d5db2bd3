"""Portraits with rough masks as a source of cut-outs with grown hair, made up when asked for.

Source: `training/hair/grow.py`; this only numbers what it makes.
"""

import numpy as np

from mgm_core.arrays import limit_side
from mgm_core.images import read_image, read_mask
from training.data.sources import Cutout, PairedPictures, as_cutout, check_one_size
from training.hair.grow import grow_hair

__all__ = ["HEADS", "GrownHair"]

HEADS = 1500
_SEED = 6


class GrownHair(PairedPictures):
    """Grown hair on the portraits of one folder, by `images/` and `masks/`.

    Head `i` is always the same.
    """

    def __len__(self) -> int:
        """Return the number of heads; larger numbers give others still."""
        return HEADS

    def __getitem__(self, index: int) -> Cutout:
        """Return head `index`.

        Raises:
            ValueError: Its portrait, which is named, is not suited.
        """
        generator = np.random.default_rng([_SEED, index])
        image_path, mask_path = self.pairs[generator.integers(len(self.pairs))]
        image, mask = read_image(image_path), read_mask(mask_path)
        check_one_size(image, mask, "image and mask", image_path)
        image, mask = (limit_side(plane, self.max_side_px) for plane in (image, mask))
        try:
            grown = grow_hair(image, mask, generator)
        except ValueError as error:
            raise ValueError(f"{image_path.name}: {error}") from error
        rgba = np.dstack([grown.foreground, grown.alpha]) * 255 + 0.5
        return as_cutout(rgba.astype(np.uint8))
