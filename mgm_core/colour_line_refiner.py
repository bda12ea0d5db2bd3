"""Colour lines made ready for use: the network's alpha and the image in, a better alpha out.

See `colour_lines.py` for the candidates and `colour_line_network.py` for who chooses.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mgm_core.checkpoint import COLOUR_LINE_WEIGHTS, load_colour_lines, made_ready
from mgm_core.colour_line_network import LOOKS, STRIDE, ColourLineNetwork
from mgm_core.colour_lines import colour_line_alphas, without_grain
from mgm_core.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.tiles import check_tiles, fade, spans

__all__ = ["ColourLineRefiner", "all_looks"]

Floats: TypeAlias = NDArray[np.float32]
Booleans: TypeAlias = NDArray[np.bool_]

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
    """

    def __init__(
        self,
        network: ColourLineNetwork,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 1024,
        overlap_px: int = 128,
    ) -> None:
        check_tiles(tile_px, overlap_px, smallest_px=64, usual_px=1024)
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
            closer: Up to two alphas, (H, W) float32 in [0, 1], by closer looks at the image.

        Returns:
            (H, W) float32 in [0, 1].
        """
        looks = all_looks([alpha, *closer])
        refined = alpha.copy()
        if not where.any():
            return refined
        rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
        top, left = max(0, rows[0] - _CONTEXT_PX), max(0, columns[0] - _CONTEXT_PX)
        part = np.s_[top : rows[-1] + 1 + _CONTEXT_PX, left : columns[-1] + 1 + _CONTEXT_PX]
        found = self._tiled(image[part], guidance[part], looks[(slice(None), *part)], where[part])
        refined[part] = np.where(where[part], found, alpha[part])
        return refined

    def _tiled(self, image: Floats, guidance: Floats, looks: Floats, where: Booleans) -> Floats:
        """Refine tile by tile and cross-fade the overlaps."""
        height, width = where.shape
        total = np.zeros((height, width), np.float32)
        weight = np.zeros((height, width), np.float32)
        for top, bottom in spans(height, self.tile_px, self.overlap_px):
            for left, right in spans(width, self.tile_px, self.overlap_px):
                tile = np.s_[top:bottom, left:right]
                share = fade(bottom - top, right - left, self.overlap_px)
                found = looks[0][tile]
                if where[tile].any():
                    found = self._pass(
                        image[tile], guidance[tile], looks[(slice(None), *tile)], where[tile]
                    )
                total[tile] += found * share
                weight[tile] += share
        return total / weight

    def _pass(self, image: Floats, guidance: Floats, looks: Floats, where: Booleans) -> Floats:
        """Refine what fits at once."""
        threads = torch.get_num_threads()
        lines = colour_line_alphas(without_grain(image), looks.mean(0), where)
        candidates = np.concatenate([looks, lines])
        torch.set_num_threads(threads)  # pymatting's compiler takes all cores, PyTorch's share too
        height, width = where.shape
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
