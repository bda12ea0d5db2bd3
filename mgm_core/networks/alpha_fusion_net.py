"""The network that decides, pixel by pixel, between the matting network's alpha and colour lines'.

Colour lines find strands that the matting network blurs, and lose themselves where subject and
background share colours; colours of the sure subject and background tell what neither sees, and
are noisy. This network sees which to believe. The matting network comes with four looks at the
image, which differ where it errs, and with the guidance that it had: what is far from it is less
sure. The alpha is a mean of the candidates, weighted at each pixel and pushed towards their highest
or lowest, and so never outside them. It is the prior of the next round's colour lines, which the
network weighs in turn.

Source: ours; the paper has nothing of the kind. See `laplacian.py` and `sampling.py`.
"""

import torch
from torch import Tensor

from mgm_core.networks.fusion_net import STRIDE, WeighingNetwork

__all__ = ["CANDIDATES", "LOOKS", "STRIDE", "ColourLineNetwork"]

_PRIOR_WEIGHTS = 3  # as many as the laplacian's
LOOKS = 4
"""The matting network's alphas: as always, closer and mirrored, closest, and mirrored."""
CANDIDATES = LOOKS + 1 + _PRIOR_WEIGHTS + 2
"""The looks, the prior, colour lines by it, from weak to strong, the looks' mean, and samples."""

# Channels at strides 1, 2, 4, 8 and 16: it errs as much on examples that it has seen often as on
# new ones, so that it gains by being wider.
_WIDTHS = (32, 48, 96, 128, 160)
_MIDDLE = 0.5


class ColourLineNetwork(WeighingNetwork):
    """Image, guidance and candidates to alpha.

    Args:
        candidates: How many alphas there are to choose from; see `CANDIDATES`.
    """

    def __init__(self, candidates: int = CANDIDATES) -> None:
        super().__init__(3 + 1 + candidates, candidates + 1, _WIDTHS)

    def forward(self, image: Tensor, guidance: Tensor, candidates: Tensor) -> Tensor:
        """Return alpha.

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 16.
            guidance: (N, 1, H, W) in [0, 1].
            candidates: (N, C, H, W) alphas in [0, 1].

        Returns:
            (N, 1, H, W) float32 in [0, 1].
        """
        x1 = torch.cat([image, guidance, candidates], dim=1) - _MIDDLE
        scores, candidates = self.scores(x1), candidates.float()
        shares = torch.softmax(scores[:, :-1], dim=1)
        mean = (shares * candidates).sum(dim=1, keepdim=True)
        # A mean of so many is 0 or 1 hardly ever, where one of them may well be.
        push = torch.tanh(scores[:, -1:])
        highest, lowest = candidates.amax(1, keepdim=True), candidates.amin(1, keepdim=True)
        return mean + push * torch.where(push < 0, mean - lowest, highest - mean)
