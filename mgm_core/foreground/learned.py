"""The foreground colour network made ready for use, at any size, on any device (section 3.2)."""

import functools
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mgm_core.arrays import Floats
from mgm_core.networks.checkpoint import FOREGROUND_WEIGHTS, load_foreground, made_ready
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.prn import STRIDE
from mgm_core.networks.tiling import around, check_tiles, fade, spans
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["NetworkEstimator", "bundled_estimator"]


_CONTEXT_PX = 64  # what is seen of a tile around what is soft


class NetworkEstimator:
    """The foreground colour network made ready for use, at any size, on any device.

    An image of more than `tile_px`² pixels is cut into tiles of that size whose overlap of
    `overlap_px` is cross-faded. A tile is seen from its first to its last row and column with soft
    alpha and a little around them; what lies outside is left as photographed. One object may serve
    several threads; they take turns.

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
        tile_px: int = 1536,
        overlap_px: int = 192,
    ) -> None:
        check_tiles(tile_px, overlap_px, smallest_px=64, usual_px=1536)
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        self.network = made_ready(network, self.device)
        self._turn = threading.Lock()

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
            CheckpointError: The weights cannot be used, or are not bundled yet.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(load_foreground(weights), device=device, dtype=dtype)

    def __call__(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate foreground colours.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1].

        Returns:
            (H, W, 3) float32 in [0, 1].
        """
        height, width = alpha.shape
        if height * width <= self.tile_px**2:
            return self._pass(image, alpha)
        total = np.zeros_like(image, np.float32)
        weight = np.zeros((height, width, 1), np.float32)
        for top, bottom in spans(height, self.tile_px, self.overlap_px):
            for left, right in spans(width, self.tile_px, self.overlap_px):
                checkpoint()
                tile = np.s_[top:bottom, left:right]
                share = fade(bottom - top, right - left, self.overlap_px)[..., None]
                total[tile] += self._where_soft(image[tile], alpha[tile]) * share
                weight[tile] += share
        return total / weight

    def _where_soft(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate a tile where it needs it."""
        # An edge without a soft pixel is a change from one pixel to the next.
        edges = cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        soft = edges | ((alpha > 0) & (alpha < 1))
        if not soft.any():
            return image
        part, found = around(soft, _CONTEXT_PX), image.copy()
        found[part] = self._tile(image[part], alpha[part])
        return found

    def _tile(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate at once a part of a larger image."""
        return self._pass(image, alpha)

    def _pass(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate at once what fits."""
        return self._computed(lambda x, a: (self.network(x, a),), image, alpha)[0]

    def _computed(
        self, function: Callable[[Tensor, Tensor], tuple[Tensor, ...]], image: Floats, alpha: Floats
    ) -> list[Floats]:
        """Have something computed of an image and its alpha, padded to the network's stride."""
        height, width = alpha.shape
        pads = ((0, -height % STRIDE), (0, -width % STRIDE))
        padded_image = np.pad(image, (*pads, (0, 0)), mode="reflect")
        padded_alpha = np.pad(alpha, pads, mode="reflect")
        with self._turn, torch.inference_mode():
            x = torch.from_numpy(padded_image).float().permute(2, 0, 1)[None].to(self.device)
            a = torch.from_numpy(padded_alpha).float()[None, None].to(self.device)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                computed = function(x.contiguous(memory_format=torch.channels_last), a)
        return [
            colours[0, :, :height, :width].float().clamp(0.0, 1.0).permute(1, 2, 0).cpu().numpy()
            for colours in computed
        ]


@functools.cache
def bundled_estimator(device: str, dtype: DtypeName) -> NetworkEstimator:
    """Return the bundled network, loaded once for each device and number format.

    Raises:
        CheckpointError: Its weights are not bundled yet.
        ValueError: Device or dtype is unknown or not on this machine.
    """
    return NetworkEstimator.load(device=device, dtype=dtype)
