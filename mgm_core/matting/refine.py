"""Matting-Laplacian refinement: the network's alpha and the image in, a better alpha out.

    views of the image by the matting network -> their mean -> candidate alphas -> fusion network

Only the unknown region changes: a trimap's, or what the network left between 0 and 1. The
candidates are the views, their mean, solutions of the matting Laplacian with the mean as the prior,
light to heavy (`laplacian.py`), colour samples (`sampling.py`), and the solution with these as the
prior.

Source: ours; the paper has nothing of the kind.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.networks.checkpoint import FUSION_WEIGHTS, load_fusion, prepare_for_inference
from mgm_core.networks.fusion_net import PRIOR_WEIGHTS, STRIDE, VIEWS, FusionNetwork
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.refinement import self_guidance_mask
from mgm_core.networks.tiling import (
    TiledRunner,
    around,
    check_tiles,
    fade,
    on_torch,
    spans,
)
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["Refiner", "candidate_alphas", "unknown_region"]


BAND_KERNEL_PX = 5
"""What dilates the uncertain pixels; more changes little (docs/experiments)."""

_SAMPLED_PRIOR_WEIGHT = 1e-2
_CONTEXT_PX = 32  # what is seen around the unknown region
_FUSION_TILE_PX, _FUSION_OVERLAP_PX = 576, 64


def unknown_region(alpha: Plane, kernel_px: int = BAND_KERNEL_PX) -> Booleans:
    """Return where alpha is neither 0 nor 1, to eight bits, or near to it.

    Args:
        alpha: (H, W) float32 in [0, 1].
        kernel_px: Diameter of the ellipse that dilates it.

    Returns:
        (H, W) bool.
    """
    mask = self_guidance_mask(torch.from_numpy(alpha)[None, None], [kernel_px])
    found: Booleans = mask[0, 0].numpy()
    return found


def candidate_alphas(image: Colours, views: Sequence[Plane], unknown: Booleans) -> Floats:
    """Return what the fusion network chooses from.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        views: Alphas of the same image, (H, W) float32 in [0, 1].
        unknown: (H, W) bool.

    Returns:
        (CANDIDATES, H, W) float32 in [0, 1].
    """
    # Imported on use, as they start a compiler.
    from mgm_core.matting.laplacian import MattingLaplacian, smooth_compression_noise
    from mgm_core.matting.sampling import sample_alpha

    smooth = smooth_compression_noise(image)
    mean = np.stack(views).mean(0)
    samples = sample_alpha(smooth, mean, unknown)
    laplacian = MattingLaplacian(smooth, mean, unknown)
    priors = [mean] * len(PRIOR_WEIGHTS) + [samples]
    solutions = laplacian.solve(priors, [*PRIOR_WEIGHTS, _SAMPLED_PRIOR_WEIGHT])
    return np.stack([*views, mean, *solutions[:-1], samples, solutions[-1]])


class Refiner:
    """Refines a matte in its unknown region; at any size, on any device.

    Large images are solved in tiles of `tile_px` whose overlap of `overlap_px` is cross-faded;
    tiles without unknown pixels cost nothing. One object may serve several threads; they take turns
    with the network.

    Args:
        network: Image, guidance and candidates to alpha, in evaluation mode.
        device: Where the network computes; "auto" takes the fastest there is. Candidates are found
            on the CPU.
        dtype: What the network computes in; "auto" is bf16 where the hardware has it.
        tile_px: Side of a tile, a multiple of 32.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.

    Raises:
        ValueError: Tiles are out of range, or the device or dtype is not here.
    """

    def __init__(
        self,
        network: FusionNetwork,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 2048,
        overlap_px: int = 128,
    ) -> None:
        check_tiles(tile_px, overlap_px, smallest_px=64, usual_px=2048)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.network = prepare_for_inference(network, self.device)
        self._fuse = TiledRunner(
            on_torch(self.network, self.device, self.dtype),
            stride=STRIDE,
            tile_px=_FUSION_TILE_PX,
            overlap_px=_FUSION_OVERLAP_PX,
            padding="edge",
            context_px=_CONTEXT_PX,
        )

    @classmethod
    def load(
        cls,
        weights: str | Path = FUSION_WEIGHTS,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
    ) -> "Refiner":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(load_fusion(weights), device=device, dtype=dtype)

    def __call__(
        self, image: Colours, guidance: Plane, views: Sequence[Plane], unknown: Booleans
    ) -> Plane:
        """Refine alpha.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            guidance: (H, W) float32 in [0, 1], what alpha was found with.
            views: One or two alphas, (H, W) float32 in [0, 1]; the first is refined. One stands for
                both.
            unknown: (H, W) bool; the other pixels keep their alpha.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            ValueError: There are no views, or too many.
        """
        if not 1 <= len(views) <= VIEWS:
            raise ValueError(f"views must be 1 or {VIEWS}, got {len(views)}: leave some out")
        planes = np.stack([*views, *views[:1]][:VIEWS])
        refined: Plane = views[0].copy()
        if not unknown.any():
            return refined
        part = around(unknown, _CONTEXT_PX)
        total = np.zeros_like(refined[part])
        weight = np.zeros_like(total)
        height, width = total.shape
        for top, bottom in spans(height, self.tile_px, self.overlap_px):
            for left, right in spans(width, self.tile_px, self.overlap_px):
                tile = np.s_[top:bottom, left:right]
                share = fade(bottom - top, right - left, self.overlap_px)
                total[tile] += share * self._refine_tile(
                    image[part][tile],
                    guidance[part][tile],
                    planes[(slice(None), *part)][(slice(None), *tile)],
                    unknown[part][tile],
                )
                weight[tile] += share
        refined[part] = np.where(unknown[part], total / weight, refined[part])
        return refined

    def _refine_tile(
        self, image: Colours, guidance: Plane, views: Floats, unknown: Booleans
    ) -> Plane:
        """Refine what is solved at once."""
        refined: Plane = views[0].copy()
        if not unknown.any():
            return refined
        checkpoint()
        candidates = candidate_alphas(image, list(views), unknown)
        planes = image.transpose(2, 0, 1), guidance[None], candidates
        fused = self._fuse(*(plane[None] for plane in planes), wanted=unknown)
        np.copyto(refined, fused[0, 0], where=unknown)
        return refined
