"""Parts that several networks are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Residual",
    "UnshuffledConv2d",
    "UpConv2d",
    "UpStage",
    "as_computed",
    "conv_norm_relu",
]


def conv_norm_relu(in_channels: int, channels: int, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and ReLU; sides stay."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def as_computed(x: Tensor) -> Tensor:
    """Return features in the number format that convolutions compute in, channels last.

    They would round them so themselves; to put planes together or apart is faster afterwards.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return x.to(dtype, memory_format=torch.channels_last)


class Residual(nn.Module):
    """A 3x3 convolution beside an identity path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolution finds: (N, channels, h, w), all >= 0 before and after."""
        return F.relu(x + self.bn1(self.conv1(x)))


class UnshuffledConv2d(nn.Conv2d):
    """A 3x3 convolution at half the size, each 2x2 block of pixels a place of its own channels.

    Args:
        in_channels: Of a pixel.
        channels: Of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(4 * in_channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features at half the size: (N, in_channels, H, W) -> (N, channels, H/2, W/2)."""
        return super().forward(F.pixel_unshuffle(x, 2))


class UpConv2d(nn.Conv2d):
    """A 3x3 convolution over deep features, enlarged to twice their size, and skip features.

    Args:
        deep_channels: Of the deep features.
        skip_channels: Of all skip features together.
        channels: Of the output.
    """

    def __init__(self, deep_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__(deep_channels + skip_channels, channels, 3, padding=1, bias=False)
        self.deep_channels = deep_channels

    def forward(self, deep: Tensor, *skip: Tensor) -> Tensor:
        """Return features at twice the size of `deep`, that of `skip`."""
        enlarged = F.interpolate(deep, scale_factor=2.0, mode="nearest")
        return super().forward(torch.cat([enlarged, *skip], dim=1))


class UpStage(nn.Sequential):
    """An `UpConv2d`, batch norm, ReLU, and the layers after them.

    Args:
        deep_channels: Of the deep features.
        skip_channels: Of all skip features together.
        channels: Of the output.
        layers: What comes after.
    """

    def __init__(
        self, deep_channels: int, skip_channels: int, channels: int, *layers: nn.Module
    ) -> None:
        super().__init__(
            UpConv2d(deep_channels, skip_channels, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            *layers,
        )

    def forward(self, deep: Tensor, *skip: Tensor) -> Tensor:
        """Return features at twice the size of `deep`, that of `skip`."""
        first, *layers = self
        x: Tensor = first(deep, *skip)
        for layer in layers:
            x = layer(x)
        return x
