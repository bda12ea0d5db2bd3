"""Validation on a benchmark folder while training goes on, so that the best weights are kept."""

from pathlib import Path

import numpy as np
from torch import Tensor

from mgm_core.arrays import limit_side
from mgm_core.guidance import dilate, erode
from mgm_core.images import read_image, read_mask
from mgm_core.matting.matter import Matter
from mgm_core.networks.prn import PRN
from training.config import ConfigError
from training.data.sources import pictures

KERNEL_PX = 20
MOST_IMAGES = 12  # spread evenly over the folder
LONG_SIDE_PX = 800  # larger images are reduced to it


class Validation:
    """Mattes of a folder's images, guided by true alpha thresholded and then damaged.

    Half of the images are guided by the mask eroded by 20 px, half by the mask dilated.

    Args:
        folder: Holds `image` and `alpha` with pictures of the same names.
    """

    def __init__(self, folder: Path) -> None:
        alphas = {p.stem: p for p in pictures(folder / "alpha")}
        pairs = [(p, alphas[p.stem]) for p in pictures(folder / "image") if p.stem in alphas]
        if not pairs:
            raise ConfigError(
                f"run.validation must hold pictures of the same names in image and alpha, got none "
                f"in {str(folder)!r}: correct the path"
            )
        chosen = np.linspace(0, len(pairs) - 1, min(MOST_IMAGES, len(pairs))).round().astype(int)
        self.pairs = [pairs[i] for i in chosen]

    def score(self, network: PRN, state: dict[str, Tensor]) -> float:
        """Return the mean squared error of alpha over whole images, mean over the images.

        Args:
            network: A plain network, which is changed.
            state: Weights as the product loads them.
        """
        network.load_state_dict(state)
        matter = Matter(network)
        errors = []
        for i, (image_path, alpha_path) in enumerate(self.pairs):
            image = limit_side(read_image(image_path), LONG_SIDE_PX)
            alpha = limit_side(read_mask(alpha_path), LONG_SIDE_PX)
            mask = (alpha >= 0.5).astype(np.float32)
            guidance = dilate(mask, KERNEL_PX) if i % 2 else erode(mask, KERNEL_PX)
            found = matter.matte(image, guidance).alpha
            errors.append(float(np.square(found - alpha).mean()))
        return float(np.mean(errors))
