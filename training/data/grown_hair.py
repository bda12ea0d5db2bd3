"""Portraits with rough masks as a source of cut-outs with grown hair, made up when asked for.

Source: `training/hair/grow.py`; this only numbers what it makes.
"""

from pathlib import Path

import numpy as np

from mgm_core.images import read_image, read_mask
from training.data.sources import (
    Cutout,
    LeaveOut,
    as_cutout,
    limit_size,
    nothing,
    pairs_by_name,
)
from training.hair.grow import grow_hair

__all__ = ["HEADS", "GrownHair"]

HEADS = 1500
_SEED = 6


class GrownHair:
    """Grown hair on the portraits of one folder; head `i` is always the same.

    Args:
        folder: Folder that holds `images` and `masks` with pictures of the same names.
        max_side_px: Larger portraits are reduced to this long side.
        leave_out: Tells of a name (without suffix) whether it is not to be used.
    """

    def __init__(
        self, folder: Path, max_side_px: int = 1000, leave_out: LeaveOut = nothing
    ) -> None:
        self.pairs = pairs_by_name(folder, "images", "masks", leave_out)
        self.max_side_px = max_side_px

    def __len__(self) -> int:
        """Return the number of heads; larger numbers give others still."""
        return HEADS

    def __getitem__(self, index: int) -> Cutout:
        """Return head `index`."""
        generator = np.random.default_rng([_SEED, index])
        image_path, mask_path = self.pairs[generator.integers(len(self.pairs))]
        image, mask = read_image(image_path), read_mask(mask_path)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"image and mask must have one size, got {image.shape[:2]} and {mask.shape} for "
                f"{image_path.name!r}: correct or leave out the pair"
            )
        grown = grow_hair(
            limit_size(image, self.max_side_px), limit_size(mask, self.max_side_px), generator
        )
        rgba = np.dstack([grown.foreground, grown.alpha]) * 255 + 0.5
        return as_cutout(rgba.astype(np.uint8))
