"""The network that decides, pixel by pixel, between several estimates of the same thing.

Alpha by colour lines (`alpha_fusion_net.py`) and foreground colours in closed form
(`foreground_fusion_net.py`) are chosen by it.

Source: ours; the paper has nothing of the kind.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["STRIDE", "WeighingNetwork"]

STRIDE = 16
"""Sides of the input are multiples of this."""

_WIDTHS = (24, 48, 64, 80, 80)


class WeighingNetwork(nn.Module):
    """A small U-Net that gives each pixel's scores for what there is to choose from.

    Args:
        inputs: Planes that it sees.
        scores: How many scores there are.
        widths: Channels at strides 1, 2, 4, 8 and 16.
    """

    def __init__(
        self, inputs: int, scores: int, widths: tuple[int, int, int, int, int] = _WIDTHS
    ) -> None:
        super().__init__()
        w1, w2, w4, w8, w16 = widths
        self.stage2 = _two_convolutions(4 * inputs, w2)
        self.stage4 = _two_convolutions(w2, w4)
        self.stage8 = _two_convolutions(w4, w8)
        self.stage16 = _two_convolutions(w8, w16)
        self.back8 = _convolution(w16 + w8, w8)
        self.back4 = _convolution(w8 + w4, w4)
        self.back2 = _convolution(w4 + w2, w2)
        self.fine = _convolution(w2 // 4 + inputs, w1)
        self.head = nn.Conv2d(w1, scores, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # so that it begins with a plain mean
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def scores(self, x1: Tensor) -> Tensor:
        """Return the scores, which are 0 before it has learned anything.

        Args:
            x1: (N, C, H, W), around 0; H and W multiples of 16.

        Returns:
            (N, K, H, W) float32.
        """
        x2 = self.stage2(F.pixel_unshuffle(x1, 2))
        x4 = self.stage4(F.max_pool2d(x2, 2))
        x8 = self.stage8(F.max_pool2d(x4, 2))
        x16 = self.stage16(F.max_pool2d(x8, 2))
        x = self.back8(torch.cat([_enlarged(x16), x8], dim=1))
        x = self.back4(torch.cat([_enlarged(x), x4], dim=1))
        x = self.back2(torch.cat([_enlarged(x), x2], dim=1))
        x = self.fine(torch.cat([F.pixel_shuffle(x, 2), x1], dim=1))
        scores: Tensor = self.head(x)
        return scores.float()


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
