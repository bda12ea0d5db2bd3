"""The fusion network: which of several candidate alphas to believe, pixel by pixel.

The matting Laplacian finds strands that the matting network blurs, and errs where foreground and
background share colours; colour samples tell what neither sees, and are noisy. This network sees
the image, the guidance and all candidates. Its alpha is a mean of the candidates, weighted at each
pixel and pushed towards their highest or lowest, and so never outside their range.

Source: ours; the paper has nothing of the kind. See `matting/refine.py` for the candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.networks.layers.blocks import UnshuffledConv2d, UpStage, as_computed, conv_norm_relu

__all__ = ["CANDIDATES", "PRIOR_WEIGHTS", "STRIDE", "VIEWS", "FusionNetwork"]

VIEWS = 2
"""The matting network's alphas: of the image as it is, and of the magnified, mirrored one."""
PRIOR_WEIGHTS = (1e-4, 1e-3, 1e-2)
"""Of the views' mean beside the matting Laplacian, light to heavy."""
CANDIDATES = VIEWS + 1 + len(PRIOR_WEIGHTS) + 2
"""The views, their mean, solutions by it, colour samples, and the solution by these."""
STRIDE = 16
"""Sides of the input are multiples of this."""

# Channels at strides 1, 2, 4, 8 and 16.
_WIDTHS = (32, 48, 96, 128, 160)
_MIDDLE = 0.5


class FusionNetwork(nn.Module):
    """Image, guidance and candidates to alpha, by a small U-Net.

    Args:
        candidates: How many alphas there are to choose from.
    """

    def __init__(self, candidates: int = CANDIDATES) -> None:
        super().__init__()
        w1, w2, w4, w8, w16 = _WIDTHS
        inputs = 3 + 1 + candidates
        # From 2x2 blocks of pixels.
        first = nn.Sequential(
            UnshuffledConv2d(inputs, w2), nn.BatchNorm2d(w2), nn.ReLU(inplace=True)
        )
        self.stage2 = nn.Sequential(first, conv_norm_relu(w2, w2))
        self.stage4 = _two_convolutions(w2, w4)
        self.stage8 = _two_convolutions(w4, w8)
        self.stage16 = _two_convolutions(w8, w16)
        self.back8 = UpStage(w16, w8, w8)
        self.back4 = UpStage(w8, w4, w4)
        self.back2 = UpStage(w4, w2, w2)
        self.fine = conv_norm_relu(w2 // 4 + inputs, w1)
        # A score a candidate, and the push.
        self.head = nn.Conv2d(w1, candidates + 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # so that it begins with a plain mean
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
        scores = self._scores(torch.cat([image, guidance, candidates], dim=1).sub_(_MIDDLE))
        candidates = candidates.float()
        shares = torch.softmax(scores[:, :-1], dim=1)
        mean = (shares * candidates).sum(dim=1, keepdim=True)
        # A mean of so many is 0 or 1 hardly ever, where one of them may well be.
        push = torch.tanh(scores[:, -1:])
        highest, lowest = candidates.amax(1, keepdim=True), candidates.amin(1, keepdim=True)
        return mean + push * torch.where(push < 0, mean - lowest, highest - mean)

    def _scores(self, x1: Tensor) -> Tensor:
        """Return what the U-Net finds: (N, 4 + C, H, W) around 0 to (N, C + 1, H, W) float32."""
        x1 = as_computed(x1)
        x2 = self.stage2(x1)
        x4 = self.stage4(F.max_pool2d(x2, 2))
        x8 = self.stage8(F.max_pool2d(x4, 2))
        x16 = self.stage16(F.max_pool2d(x8, 2))
        x = self.back8(x16, x8)
        x = self.back4(x, x4)
        x = self.back2(x, x2)
        x = self.fine(torch.cat([F.pixel_shuffle(x, 2), x1], dim=1))
        scores: Tensor = self.head(x)
        return scores.float()


def _two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_relu(in_channels, channels), conv_norm_relu(channels, channels))
