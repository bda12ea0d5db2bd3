"""The network that decides, pixel by pixel, between estimates of the foreground's colours.

The foreground network knows what subjects look like, and leaves some of the background in faint
hair; closed-form colours, which change no more than they must, are right there and wrong where the
subject's colours do change with alpha. This network sees which. The colours are a mean of the
candidates, weighted at each pixel, and so never outside them.

Source: ours; the paper has nothing of the kind. See `foreground/fusion.py`.
"""

import torch
from torch import Tensor

from mgm_core.networks.fusion_net import WeighingNetwork

__all__ = ["COLOUR_CANDIDATES", "COLOUR_LOOKS", "COLOUR_STRENGTHS", "ForegroundWeigher"]

COLOUR_LOOKS = 2
"""The foreground network's estimates among them: as always, and closer and mirrored."""
COLOUR_STRENGTHS = (1e-4, 3e-3, 1e-1)
"""Of the prior of closed-form colours, weak to strong."""
COLOUR_CANDIDATES = COLOUR_LOOKS + len(COLOUR_STRENGTHS)

_MIDDLE = 0.5
_CONTRAST = 2.0  # candidates differ from the image by less than the image does from grey


class ForegroundWeigher(WeighingNetwork):
    """Image, alpha and candidates to foreground colours."""

    def __init__(self) -> None:
        super().__init__(3 + 1 + 3 * COLOUR_CANDIDATES, COLOUR_CANDIDATES)

    def forward(self, image: Tensor, alpha: Tensor, candidates: Tensor) -> Tensor:
        """Return foreground colours.

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 16.
            alpha: (N, 1, H, W) in [0, 1].
            candidates: (N, K, 3, H, W) colours in [0, 1].

        Returns:
            (N, 3, H, W) float32 in [0, 1].
        """
        changes = (candidates - image[:, None]).flatten(1, 2) * _CONTRAST
        x1 = torch.cat([image - _MIDDLE, alpha - _MIDDLE, changes], dim=1)
        shares = torch.softmax(self.scores(x1), dim=1)
        return (shares[:, :, None] * candidates.float()).sum(dim=1)
