"""The network that decides, pixel by pixel, between the matting network's alpha and colour lines'.

Colour lines find strands that the matting network blurs, and lose themselves where subject and
background share colours; this network sees which. The matting network comes with three looks at the
image, which differ where it errs, and with the guidance that it had: what is far from it is less
sure. The alpha is a mean of the candidates, weighted at each pixel, and so never outside them. It
is the prior of the next round's colour lines, which the network weighs in turn.

Source: ours; the paper has nothing of the kind. See `colour_lines.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.colour_lines import STRENGTHS

__all__ = ["CANDIDATES", "LOOKS", "STRIDE", "ColourLineNetwork"]

LOOKS = 3
"""The matting network's alphas among them: as always, closer and mirrored, and closest."""
CANDIDATES = LOOKS + 1 + len(STRENGTHS)
"""The looks, the prior and colour lines by it, from weak to strong."""
STRIDE = 16
"""Sides of the input are multiples of this."""

_WIDTHS = (48, 64, 80, 80)  # at strides 2, 4, 8 and 16
_FINE_WIDTH = 24  # at stride 1
_MIDDLE = 0.5


class ColourLineNetwork(nn.Module):
    """A small U-Net over image, guidance and candidates, which gives the candidates' weights.

    Args:
        candidates: How many alphas there are to choose from; see `CANDIDATES`.
    """

    def __init__(self, candidates: int = CANDIDATES) -> None:
        super().__init__()
        inputs = 3 + 1 + candidates
        w2, w4, w8, w16 = _WIDTHS
        self.stage2 = _two_convolutions(4 * inputs, w2)
        self.stage4 = _two_convolutions(w2, w4)
        self.stage8 = _two_convolutions(w4, w8)
        self.stage16 = _two_convolutions(w8, w16)
        self.back8 = _convolution(w16 + w8, w8)
        self.back4 = _convolution(w8 + w4, w4)
        self.back2 = _convolution(w4 + w2, w2)
        self.fine = _convolution(w2 // 4 + inputs, _FINE_WIDTH)
        self.head = nn.Conv2d(_FINE_WIDTH, candidates, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # it begins with the plain mean
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

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
        x2 = self.stage2(F.pixel_unshuffle(x1, 2))
        x4 = self.stage4(F.max_pool2d(x2, 2))
        x8 = self.stage8(F.max_pool2d(x4, 2))
        x16 = self.stage16(F.max_pool2d(x8, 2))
        x = self.back8(torch.cat([_enlarged(x16), x8], dim=1))
        x = self.back4(torch.cat([_enlarged(x), x4], dim=1))
        x = self.back2(torch.cat([_enlarged(x), x2], dim=1))
        x = self.fine(torch.cat([F.pixel_shuffle(x, 2), x1], dim=1))
        shares = torch.softmax(self.head(x).float(), dim=1)
        return (shares * candidates.float()).sum(dim=1, keepdim=True)


def _convolution(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(in_channels, channels), _convolution(channels, channels))


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
