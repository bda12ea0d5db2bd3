"""Matting-Laplacian refinement: the network's alpha and the image in, a better alpha out.

    views of the image by the matting network -> their mean -> candidate alphas -> fusion network
                                                                     ^-- again by its alpha --'

Only the unknown region changes: a trimap's, or what the network left between 0 and 1. The
candidates are the views, their mean, solutions of the matting Laplacian with the mean as the prior,
light to heavy (`laplacian.py`), colour samples (`sampling.py`), and the solution with these as the
prior. The fusion network has weights for trimaps and weights for masks.

Source: ours; the paper has nothing of the kind.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.matting.enlarge import enlarge_alpha, reduced
from mgm_core.networks.checkpoint import FUSION_WEIGHTS, MASK_FUSION_WEIGHTS, load_fusion
from mgm_core.networks.fusion_net import PRIOR_WEIGHTS, STRIDE, VIEWS, FusionNetwork
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.inference import prepare_for_inference
from mgm_core.networks.refinement import self_guidance_mask
from mgm_core.networks.tiling import (
    Run,
    TiledRunner,
    around,
    check_tiles,
    of_whole,
    on_torch,
    tiles,
)
from mgm_core.runtime.cancellation import checkpoint

__all__ = [
    "BAND_KERNEL_PX",
    "ROUNDS",
    "SAMPLED_PRIOR_WEIGHT",
    "CandidateAlphas",
    "Refiner",
    "enforced",
    "fusion_weights",
    "mean_view",
    "refine_at_half",
    "refine_views",
    "unknown_region",
]


BAND_KERNEL_PX = 7
"""What dilates the uncertain pixels; more changes little (docs/experiments)."""

SAMPLED_PRIOR_WEIGHT = 1e-2
"""Beside the colour samples."""

ROUNDS = 2
"""How often alpha is refined; the views of the second round are the alpha of the first."""

LEAST_REFINED_PX = 125_000
"""Images of fewer than four times as many pixels are refined at more than half their size."""

_FINAL_ALPHA = 0.02  # alpha at most so far from 0 or 1 after a round is final
_CONTEXT_PX = 32  # what is seen around the unknown region
_FUSION_TILE_PX, _FUSION_OVERLAP_PX = 384, 32


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


class CandidateAlphas:
    """What the fusion network chooses from, round after round.

    Colours are sampled and the matting Laplacian is made up once: neither changes with the rounds.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        mean: The views' mean, (H, W) float32 in [0, 1].
        unknown: (H, W) bool.
    """

    def __init__(self, image: Colours, mean: Plane, unknown: Booleans) -> None:
        # Imported on use, as they start a compiler.
        from mgm_core.matting.laplacian import MattingLaplacian, smooth_compression_noise
        from mgm_core.matting.sampling import sample_alpha

        smooth = smooth_compression_noise(image)
        self._samples = sample_alpha(smooth, mean, unknown)
        self._laplacian = MattingLaplacian(smooth, mean, unknown)

    def __call__(self, views: Sequence[Plane]) -> Floats:
        """Return the candidates by alphas of the image, (H, W) float32 in [0, 1].

        Returns:
            (CANDIDATES, H, W) float32 in [0, 1].
        """
        mean = mean_view(views)
        priors = [mean] * len(PRIOR_WEIGHTS) + [self._samples]
        solutions = self._laplacian.solve(priors, [*PRIOR_WEIGHTS, SAMPLED_PRIOR_WEIGHT])
        return np.stack([*views, mean, *solutions[:-1], self._samples, solutions[-1]])


def mean_view(views: Sequence[Plane]) -> Plane:
    """Return the views' mean, (H, W) float32; of one view it is this view itself."""
    return views[0] if len(views) == 1 else np.mean(views, axis=0, dtype=np.float32)


def fusion_weights(known: Plane | None) -> str:
    """Return the name of the bundled weights that suit a guidance.

    Args:
        known: Where alpha is known, by a trimap, as for `Matter.matte`; None with a mask.
    """
    return MASK_FUSION_WEIGHTS if known is None else FUSION_WEIGHTS


Candidates: TypeAlias = Callable[[Colours, Plane, Booleans], Callable[[Sequence[Plane]], Floats]]
"""From an image, its views' mean and the unknown region to what finds candidates by views."""


class Refiner:
    """Refines a matte in its unknown region; at any size, on any device.

    Large images are solved in tiles whose overlap of `overlap_px` is cross-faded, and in a tile
    what surrounds the unknown pixels; tiles without these cost nothing. One object may serve
    several threads; they take turns with the network.

    Args:
        network: Image, guidance and candidates to alpha, in evaluation mode.
        device: Where the network computes; "auto" takes the fastest there is. Candidates are found
            on the CPU.
        dtype: What the network computes in; "auto" is bf16 where the hardware has it.
        tile_px: Up to as many pixels as a square of this side are solved at once; a multiple of 32.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
        rounds: How often alpha is refined.
        candidates: What finds the candidates; another one than `CandidateAlphas` only to compare.
        run: Computes in the network's place, such as another engine's session of it.

    Raises:
        ValueError: Tiles are out of range, or the device or dtype is not here.
    """

    def __init__(
        self,
        network: FusionNetwork,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 1280,
        overlap_px: int = 128,
        rounds: int = ROUNDS,
        candidates: Candidates = CandidateAlphas,
        run: Run | None = None,
    ) -> None:
        check_tiles(tile_px, overlap_px, smallest_px=64, usual_px=1280)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        self._rounds, self._candidates = rounds, candidates
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.network = prepare_for_inference(network, self.device)
        self._fuse = TiledRunner(
            run or on_torch(self.network, self.device, self.dtype),
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
        run: Run | None = None,
    ) -> "Refiner":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(load_fusion(weights), device=device, dtype=dtype, run=run)

    def __call__(
        self,
        image: Colours,
        guidance: Plane,
        views: Sequence[Plane],
        unknown: Booleans,
        rounds: int | None = None,
    ) -> Plane:
        """Refine alpha.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            guidance: (H, W) float32 in [0, 1], what alpha was found with.
            views: One or two alphas, (H, W) float32 in [0, 1]; the first is refined. One stands for
                both.
            unknown: (H, W) bool; the other pixels keep their alpha.
            rounds: How often alpha is refined; None is the refiner's own number.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            ValueError: There are no views, or too many.
        """
        if not 1 <= len(views) <= VIEWS:
            raise ValueError(f"views must be 1 or {VIEWS}, got {len(views)}: leave some out")
        views = [*views, *views[:1]][:VIEWS]
        refined: Plane = np.where(unknown, np.float32(0), views[0])
        if not unknown.any():
            return refined
        frame = around(unknown, _CONTEXT_PX)
        height, width = (side.stop - side.start for side in frame)
        rows, columns = tiles(height, width, self.tile_px, self.overlap_px)
        for down, down_share in rows:
            for right, right_share in columns:
                tile = of_whole((down, right), frame)
                wanted = unknown[tile]
                if not wanted.any():
                    continue
                checkpoint()
                part = around(wanted, _CONTEXT_PX)
                share = down_share[part[0], None] * right_share[part[1]]
                part = of_whole(part, tile)
                found = self._refine_part(
                    image, guidance, views, unknown, part, rounds or self._rounds
                )
                np.add(refined[part], share * found, out=refined[part], where=unknown[part])
        return refined

    def _refine_part(
        self,
        image: Colours,
        guidance: Plane,
        views: Sequence[Plane],
        unknown: Booleans,
        part: tuple[slice, slice],
        rounds: int,
    ) -> Plane:
        """Refine what is solved at once; what is known there means nothing."""
        where, views = unknown[part], [view[part] for view in views]
        find = self._candidates(image[part], mean_view(views), where)
        for number in range(rounds):
            if number:  # the network computes a third less than in the first round
                where = where & _still_unknown(views[0])
                if not where.any():
                    break
            planes = image[part].transpose(2, 0, 1), guidance[part][None], find(views)
            fused = self._fuse(*(plane[None] for plane in planes), wanted=where)[0, 0]
            views = [np.where(where, fused, views[0])] * VIEWS
        return views[0]


def refine_views(
    refiner: Refiner,
    image: Colours,
    guidance: Plane,
    alpha: Plane,
    magnified: Plane | None,
    known: Plane | None,
) -> Plane:
    """Refine alpha in its unknown region.

    Args:
        refiner: What refines.
        image: (H, W, 3) float32 in [0, 1].
        guidance: (H, W) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], the network's.
        magnified: Alpha of the magnified view, likewise, or None.
        known: As for `Matter.matte`.
    """
    views = [alpha] if magnified is None else [alpha, magnified]
    if known is None:
        unknown = unknown_region(mean_view(views))
    else:
        unknown = _unknown(known)
        views = [enforced(view, known) for view in views]
    return refiner(image, guidance, views, unknown)


def refine_at_half(
    refiner: Refiner, image: Colours, guidance: Plane, alpha: Plane, known: Plane | None
) -> Plane:
    """Refine alpha in its unknown region once, at half the size or a little more.

    What is found there is enlarged along the image's edges. The arguments are those of
    `refine_views`; alpha has known values already.
    """
    unknown = unknown_region(alpha) if known is None else _unknown(known)
    if not unknown.any():
        return alpha
    height, width = alpha.shape
    scale = min(1.0, max(0.5, (LEAST_REFINED_PX / alpha.size) ** 0.5))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small, small_guidance, view = (reduced(plane, size) for plane in (image, guidance, alpha))
    where = unknown_region(view) if known is None else _unknown(reduced(known, size))
    found = refiner(small, small_guidance, [view], where, rounds=1)
    if size != alpha.shape:
        found = enlarge_alpha(image, small, found)
    return np.where(unknown, found, alpha)


def _unknown(known: Plane) -> Booleans:
    where: Booleans = (known != 0) & (known != 1)
    return where


def enforced(alpha: Plane, known: Plane) -> Plane:
    """Return alpha, (H, W), with the values of `known` where they are 0 or 1."""
    return np.where(_unknown(known), alpha, known)


def _still_unknown(alpha: Plane) -> Booleans:
    """Return where alpha is not near 0 or 1, and what is around, (H, W) bool."""
    between = (alpha > _FINAL_ALPHA) & (alpha < 1 - _FINAL_ALPHA)
    return unknown_region(np.where(between, alpha, np.float32(0)))
