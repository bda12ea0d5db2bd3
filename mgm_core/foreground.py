"""Estimate the subject's own colours, so that the old background leaves no fringe.

For a given alpha, Eq. 1 still leaves foreground and background open. Source: sec. 3.2, for the
network too; the two classical estimates are those of Germer et al., "Fast Multi-Level Foreground
Estimation", ICPR 2020, and Levin et al., "A Closed Form Solution to Natural Image Matting", 2008.
"""

import functools
import logging
import sys
import threading
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mgm_core.checkpoint import FOREGROUND_WEIGHTS, fold_batch_norm, load_foreground
from mgm_core.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.images import check_image, check_mask
from mgm_core.inference import spans
from mgm_core.network import STRIDE

__all__ = ["ForegroundEstimator", "ForegroundMethod", "NetworkEstimator", "estimate_foreground"]

Floats: TypeAlias = NDArray[np.float32]
ForegroundMethod: TypeAlias = Literal["multilevel", "closed_form", "network", "raw"]

_CLOSED_FORM_MAX_MEGAPIXELS = 4.0

_logger = logging.getLogger(__name__)


class ForegroundEstimator(Protocol):
    """Anything that estimates foreground colours, such as a network."""

    def __call__(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate (H, W, 3) foreground colours in [0, 1] from an image and its alpha (H, W)."""
        ...


def estimate_foreground(
    image: Floats, alpha: Floats, method: ForegroundMethod | ForegroundEstimator = "multilevel"
) -> Floats:
    """Estimate foreground colours; where alpha is 1 they are the image's, exactly.

    Args:
        image: (H, W, 3) float in [0, 1], sRGB.
        alpha: (H, W) float in [0, 1].
        method: "multilevel" is fast, and takes some 110 bytes of memory a pixel; "closed_form" is
            slow, takes six times as much, and is for images of up to 4 megapixels; "network" asks
            the bundled network on the best device; "raw" takes the image's colours, fringe and
            all. Or an estimator, such as a `NetworkEstimator` with other weights.

    Returns:
        (H, W, 3) float32 in [0, 1]. Where alpha is 0 the colours mean nothing.

    Raises:
        ValueError: an array is out of range, their sizes differ, the image is too large, or there
            is no such method.
        CheckpointError: "network" has no weights.
    """
    check_image("image", image)
    check_mask("alpha", alpha)
    if image.shape[:2] != alpha.shape:
        raise ValueError(
            f"alpha must have the image's size {image.shape[:2]}, got {alpha.shape}: "
            "resize one of them"
        )
    if callable(method):
        estimate = method
    elif method in _METHODS:
        estimate = _METHODS[method]
    else:
        methods = ", ".join(get_args(ForegroundMethod))
        raise ValueError(f"method must be one of {methods}, got {method!r}: choose one of them")
    foreground = np.clip(estimate(image, alpha), 0, 1)
    return np.where(alpha[..., None] == 1, image, foreground).astype(np.float32)


class NetworkEstimator:
    """The foreground colour network made ready for use, at any size, on any device.

    An image of more than `tile_px`² pixels is cut into tiles of that size whose overlap of
    `overlap_px` is cross-faded. Tiles where alpha is 0 throughout, or 1 throughout, are left as
    photographed. One object may serve several threads; they take turns.

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
        if tile_px < 64 or tile_px % STRIDE:
            raise ValueError(
                f"tile_px must be a multiple of {STRIDE} and at least 64, got {tile_px}: "
                "1536 suits most machines"
            )
        if not 0 < overlap_px < tile_px // 2:
            raise ValueError(
                f"overlap_px must lie between 0 and half of tile_px, got {overlap_px}: "
                f"{tile_px // 8} would do"
            )
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        network = network.eval()
        fold_batch_norm(network)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
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
                tile = np.s_[top:bottom, left:right]
                fade = _fade(bottom - top, right - left, self.overlap_px)[..., None]
                total[tile] += self._tile(image[tile], alpha[tile]) * fade
                weight[tile] += fade
        return total / weight

    def _tile(self, image: Floats, alpha: Floats) -> Floats:
        if alpha.max() == 0 or alpha.min() == 1:
            return image
        return self._pass(image, alpha)

    def _pass(self, image: Floats, alpha: Floats) -> Floats:
        """Run the network once over an image that fits."""
        height, width = alpha.shape
        pads = ((0, -height % STRIDE), (0, -width % STRIDE))
        padded_image = np.pad(image, (*pads, (0, 0)), mode="reflect")
        padded_alpha = np.pad(alpha, pads, mode="reflect")
        with self._turn, torch.inference_mode():
            x = torch.from_numpy(padded_image).float().permute(2, 0, 1)[None].to(self.device)
            a = torch.from_numpy(padded_alpha).float()[None, None].to(self.device)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                colours = self.network(x.contiguous(memory_format=torch.channels_last), a)
        cropped = colours[0, :, :height, :width].float().clamp(0.0, 1.0)
        foreground: Floats = cropped.permute(1, 2, 0).cpu().numpy()
        return foreground


def _fade(height: int, width: int, overlap_px: int) -> Floats:
    """Return weights that rise from a tile's borders over the overlap, (H, W) in (0, 1]."""
    rows, columns = (np.arange(1, side + 1, dtype=np.float32) for side in (height, width))
    nearest = np.minimum.outer(
        np.minimum(rows, rows[::-1]),
        np.minimum(columns, columns[::-1]),
    )
    return np.minimum(nearest / overlap_px, 1).astype(np.float32)


@functools.cache
def _bundled_network() -> NetworkEstimator:
    return NetworkEstimator.load()


def _network(image: Floats, alpha: Floats) -> Floats:
    return _bundled_network()(image, alpha)


def _raw(image: Floats, alpha: Floats) -> Floats:
    return image


def _multilevel(image: Floats, alpha: Floats) -> Floats:
    _announce_first_use()
    from pymatting import estimate_foreground_ml

    foreground: Floats = estimate_foreground_ml(image, alpha)
    return foreground


def _closed_form(image: Floats, alpha: Floats) -> Floats:
    megapixels = alpha.size / 1e6
    if megapixels > _CLOSED_FORM_MAX_MEGAPIXELS:
        raise ValueError(
            f"image must have at most {_CLOSED_FORM_MAX_MEGAPIXELS:g} megapixels for closed_form, "
            f"got {megapixels:.1f}: use multilevel"
        )
    _announce_first_use()
    from pymatting import estimate_foreground_cf

    foreground: Floats = estimate_foreground_cf(image, alpha)
    return foreground


_METHODS: dict[str, ForegroundEstimator] = {
    "multilevel": _multilevel,
    "closed_form": _closed_form,
    "network": _network,
    "raw": _raw,
}


def _announce_first_use() -> None:
    # pymatting is imported on use as it starts a compiler: seconds that no one else should wait.
    if "pymatting" not in sys.modules:
        _logger.info("loading pymatting: its first call may compile for some seconds")
