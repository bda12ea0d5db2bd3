"""The foreground colour network made ready for use, at any size, on any device (section 3.2)."""

from pathlib import Path

import cv2
import numpy as np
from torch import nn

from mgm_core.arrays import Colours, Plane
from mgm_core.networks.checkpoint import FOREGROUND_WEIGHTS, load_foreground
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.inference import prepare_for_inference
from mgm_core.networks.prn import STRIDE
from mgm_core.networks.tiling import TiledRunner, on_torch

__all__ = ["NetworkEstimator"]

_CONTEXT_PX = 64  # what is seen around what is soft


class NetworkEstimator:
    """The foreground colour network made ready for use, at any size, on any device.

    Tiles are computed where alpha is soft or has an edge (`TiledRunner`); elsewhere the colours are
    the photograph's. One object may serve several threads; they take turns.

    Args:
        network: Image (N, 3, H, W) and alpha (N, 1, H, W) to foreground colours, in evaluation
            mode; a `ForegroundNetwork`.
        device: Where it computes; "auto" takes the fastest there is.
        dtype: What it computes in; "auto" is bf16 where the hardware has it.
        tile_px: Side of a tile, a multiple of 32.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 640,
        overlap_px: int = 96,
    ) -> None:
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.network = prepare_for_inference(network, self.device)
        self._run = TiledRunner(
            on_torch(self.network, self.device, self.dtype),
            stride=STRIDE,
            tile_px=tile_px,
            overlap_px=overlap_px,
            padding="reflect",
            context_px=_CONTEXT_PX,
        )

    @classmethod
    def load(
        cls,
        weights: str | Path = FOREGROUND_WEIGHTS,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
    ) -> "NetworkEstimator":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(load_foreground(weights), device=device, dtype=dtype)

    def __call__(self, image: Colours, alpha: Plane) -> Colours:
        """Estimate foreground colours.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1].

        Returns:
            (H, W, 3) float32 in [0, 1].
        """
        # An edge without a soft pixel is a change from one pixel to the next.
        edges = cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        soft = edges | ((alpha > 0) & (alpha < 1))
        foreground = image.copy()
        if soft.any():
            planes = image.transpose(2, 0, 1)[None], alpha[None, None]
            self._run(*planes, wanted=soft, into=foreground.transpose(2, 0, 1)[None])
        return foreground
