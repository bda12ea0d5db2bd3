"""Colour lines made ready for use: the network's alpha and the image in, a better alpha out.

It is done in rounds: the alpha of one is the prior of the next one's colour lines.

See `laplacian.py` and `sampling.py` for the candidates and `alpha_fusion_net.py` for
who chooses.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mgm_core.arrays import Booleans, Floats
from mgm_core.matting.laplacian import ColourLines, without_grain
from mgm_core.matting.sampling import by_samples
from mgm_core.networks.alpha_fusion_net import LOOKS, STRIDE, ColourLineNetwork
from mgm_core.networks.checkpoint import COLOUR_LINE_WEIGHTS, load_colour_lines, made_ready
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.tiling import around, check_tiles, fade, spans
from mgm_core.runtime.cancellation import checkpoint

__all__ = ["ROUNDS", "ColourLineRefiner", "all_looks"]


ROUNDS = 3
"""More change little (docs/experiments.md)."""

# Above this long side the last round, which changes least, is left out, for time.
_LARGE_SIDE_PX = 1280
_CONTEXT_PX = 32  # what the network sees around the undecided pixels


class ColourLineRefiner:
    """Refines a matte where it is undecided; at any size, on any device.

    What there is to do is cut into tiles of `tile_px` whose overlap of `overlap_px` is
    cross-faded; tiles with nothing undecided cost nothing. One object may serve several threads;
    they take turns with the network.

    Args:
        network: Image, guidance and candidates to alpha, in evaluation mode.
        device: Where the network computes; "auto" takes the fastest there is. Colour lines are
            solved for on the CPU.
        dtype: What the network computes in; "auto" is bf16 where the hardware has it.
        tile_px: Side of a tile, a multiple of 16.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
        rounds: How often alpha is refined, 1 or more; where the long side is above 1,280 px and it
            is more than one, once less.

    Raises:
        ValueError: Tiles or rounds are out of range, or the device or dtype is not here.
    """

    def __init__(
        self,
        network: ColourLineNetwork,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 1024,
        overlap_px: int = 128,
        rounds: int = ROUNDS,
    ) -> None:
        check_tiles(tile_px, overlap_px, smallest_px=64, usual_px=1024)
        if rounds < 1:
            raise ValueError(f"rounds must be 1 or more, got {rounds}: {ROUNDS} are usual")
        self.rounds = rounds
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.tile_px, self.overlap_px = tile_px, overlap_px
        self.network = made_ready(network, self.device)
        self._turn = threading.Lock()

    @classmethod
    def load(
        cls,
        weights: str | Path = COLOUR_LINE_WEIGHTS,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
    ) -> "ColourLineRefiner":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(load_colour_lines(weights), device=device, dtype=dtype)

    def __call__(
        self,
        image: Floats,
        guidance: Floats,
        alpha: Floats,
        where: Booleans,
        closer: Sequence[Floats] = (),
    ) -> Floats:
        """Refine alpha.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            guidance: (H, W) float32 in [0, 1], what alpha was found with.
            alpha: (H, W) float32 in [0, 1].
            where: (H, W) bool, the undecided pixels; the others keep their alpha.
            closer: Up to three alphas, (H, W) float32 in [0, 1], by other looks at the image.

        Returns:
            (H, W) float32 in [0, 1].
        """
        looks = all_looks([alpha, *closer])
        refined = alpha.copy()
        if not where.any():
            return refined
        part = around(where, _CONTEXT_PX)
        large = max(alpha.shape) > _LARGE_SIDE_PX
        found = self._tiled(
            image[part],
            guidance[part],
            looks[(slice(None), *part)],
            where[part],
            max(1, self.rounds - 1) if large else self.rounds,
        )
        refined[part] = np.where(where[part], found, alpha[part])
        return refined

    def _tiled(
        self, image: Floats, guidance: Floats, looks: Floats, where: Booleans, rounds: int
    ) -> Floats:
        """Refine tile by tile and cross-fade the overlaps."""
        height, width = where.shape
        total = np.zeros((height, width), np.float32)
        weight = np.zeros((height, width), np.float32)
        for top, bottom in spans(height, self.tile_px, self.overlap_px):
            for left, right in spans(width, self.tile_px, self.overlap_px):
                checkpoint()
                tile = np.s_[top:bottom, left:right]
                share = fade(bottom - top, right - left, self.overlap_px)
                found = looks[0][tile]
                if where[tile].any():
                    found = self._pass(
                        image[tile],
                        guidance[tile],
                        looks[(slice(None), *tile)],
                        where[tile],
                        rounds,
                    )
                total[tile] += found * share
                weight[tile] += share
        return total / weight

    def candidates(
        self, image: Floats, guidance: Floats, looks: Floats, where: Booleans, round_: int
    ) -> Floats:
        """Return what there is to choose from in a round, after the rounds before it.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            guidance: (H, W) float32 in [0, 1].
            looks: (LOOKS, H, W) float32 in [0, 1].
            where: (H, W) bool, the undecided pixels.
            round_: Which one, from 1 on.

        Returns:
            (CANDIDATES, H, W) float32 in [0, 1].
        """
        threads = torch.get_num_threads()
        smooth = without_grain(image)
        lines = ColourLines(smooth, where)
        prior = mean = looks.mean(0)
        same = [mean, by_samples(smooth, mean, where)]  # in all rounds, as the looks are
        torch.set_num_threads(threads)  # pymatting's compiler takes all cores, PyTorch's share too
        for _ in range(round_ - 1):
            candidates = np.stack([*looks, prior, *lines.alphas(prior), *same])
            prior = np.where(where, self._weighed(image, guidance, candidates), prior)
        return np.stack([*looks, prior, *lines.alphas(prior), *same])

    def _pass(
        self, image: Floats, guidance: Floats, looks: Floats, where: Booleans, rounds: int
    ) -> Floats:
        """Refine what fits at once."""
        candidates = self.candidates(image, guidance, looks, where, rounds)
        return self._weighed(image, guidance, candidates)

    def _weighed(self, image: Floats, guidance: Floats, candidates: Floats) -> Floats:
        """Run the network once."""
        height, width = guidance.shape
        pads = ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE))
        with self._turn, torch.inference_mode():
            x, g, c = (
                torch.from_numpy(np.pad(planes, pads, mode="edge"))[None]
                .to(self.device)
                .contiguous(memory_format=torch.channels_last)
                for planes in (image.transpose(2, 0, 1), guidance[None], candidates)
            )
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                refined = self.network(x, g, c)
        planes: Floats = refined[0, 0, :height, :width].clamp(0.0, 1.0).cpu().numpy()
        return planes


def all_looks(taken: Sequence[Floats]) -> Floats:
    """Return as many looks as the network weighs; the last one stands for those not taken.

    Args:
        taken: One or more alphas, (H, W) float32.

    Returns:
        (LOOKS, H, W) float32.
    """
    return np.stack([taken[min(i, len(taken) - 1)] for i in range(LOOKS)])
