"""Foreground colours by the network and in closed form, weighed pixel by pixel.

The foreground network looks twice at the image; with the mean of what it finds as the prior,
colours are solved for in closed form (`closed_form.py`); a second network chooses between
all of them at each pixel (`foreground_fusion_net.py`).
"""

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mgm_core.arrays import Floats
from mgm_core.foreground.closed_form import closed_form_colours
from mgm_core.foreground.learned import NetworkEstimator
from mgm_core.networks.checkpoint import (
    FOREGROUND_WEIGHER_WEIGHTS,
    FOREGROUND_WEIGHTS,
    load_foreground,
    load_foreground_weigher,
    made_ready,
)
from mgm_core.networks.foreground_fusion_net import COLOUR_STRENGTHS, ForegroundWeigher
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.hardware import DtypeName

__all__ = ["FusedEstimator", "bundled_fusion"]


_CLOSER = 2  # how much larger the second look sees the image


class FusedEstimator(NetworkEstimator):
    """The foreground network, closed-form colours and who chooses; at any size, on any device.

    What is cut into tiles is looked at once, not twice.

    Args:
        network: Image and alpha to foreground and background colours, in evaluation mode.
        weigher: What chooses between candidates, in evaluation mode.
        device: Where the networks compute; "auto" takes the fastest there is. Closed-form colours
            are solved for on the CPU.
        dtype: What the networks compute in; "auto" is bf16 where the hardware has it.
        tile_px: Side of a tile, a multiple of 32.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
    """

    def __init__(
        self,
        network: ForegroundNetwork,
        weigher: ForegroundWeigher,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 1024,
        overlap_px: int = 128,
    ) -> None:
        super().__init__(
            network, device=device, dtype=dtype, tile_px=tile_px, overlap_px=overlap_px
        )
        self._both = network.both
        self.weigher = made_ready(weigher, self.device)

    @classmethod
    def load(
        cls,
        weights: str | Path = FOREGROUND_WEIGHTS,
        weigher: str | Path = FOREGROUND_WEIGHER_WEIGHTS,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
    ) -> "FusedEstimator":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        networks = load_foreground(weights), load_foreground_weigher(weigher)
        return cls(*networks, device=device, dtype=dtype)

    def candidates(self, image: Floats, alpha: Floats, *, closer: bool = True) -> Floats:
        """Return what there is to choose from.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1].
            closer: Whether the network looks a second time, closer; else the first look stands for
                both.

        Returns:
            (K, H, W, 3) float32 in [0, 1].
        """
        first = self._computed(self._both, image, alpha)
        looks = [first, self._closer(image, alpha) if closer else first]
        foregrounds, backgrounds = (np.stack(each) for each in zip(*looks, strict=True))
        prior = foregrounds.mean(0), backgrounds.mean(0)
        solved = closed_form_colours(image, alpha, *prior, COLOUR_STRENGTHS)
        return np.concatenate([foregrounds, solved])

    def _closer(self, image: Floats, alpha: Floats) -> list[Floats]:
        """Look at the image mirrored and enlarged, and carry over what it changes."""
        height, width = alpha.shape
        size = width * _CLOSER, height * _CLOSER
        larger, mask = (_mirrored(cv2.resize(array, size)) for array in (image, alpha))
        return [
            (
                image
                + cv2.resize(
                    _mirrored(colours - larger), (width, height), interpolation=cv2.INTER_AREA
                )
            ).clip(0, 1)
            for colours in self._computed(self._both, larger, mask)
        ]

    def _pass(self, image: Floats, alpha: Floats) -> Floats:
        return self._fused(image, alpha, closer=True)

    def _tile(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate at once a part of a larger image."""
        # Strands are wide in what has to be cut into tiles, and a closer look costs most.
        return self._fused(image, alpha, closer=False)

    def _fused(self, image: Floats, alpha: Floats, *, closer: bool) -> Floats:
        """Find candidates and weigh them."""
        candidates = self.candidates(image, alpha, closer=closer)

        def weighed(x: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor]:
            height, width = alpha.shape
            pads = (0, 0), (0, x.shape[2] - height), (0, x.shape[3] - width), (0, 0)
            padded = np.pad(candidates, pads, mode="edge").transpose(0, 3, 1, 2)
            return (self.weigher(x, a, torch.from_numpy(padded)[None].to(self.device)),)

        return self._computed(weighed, image, alpha)[0]


def _mirrored(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array[:, ::-1], np.float32)


@functools.cache
def bundled_fusion(device: str, dtype: DtypeName) -> FusedEstimator:
    """Return the bundled networks, loaded once for each device and number format.

    Raises:
        CheckpointError: Their weights are not bundled.
        ValueError: Device or dtype is unknown or not on this machine.
    """
    return FusedEstimator.load(device=device, dtype=dtype)
