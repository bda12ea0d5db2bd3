"""Parts that several networks are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UpConv2d", "UpStage", "conv_norm_relu", "split_up_convolutions"]

# Each row tells which rows of the 3x3 kernel that row of the transposed 4x4 kernel adds up.
_ROWS_ADDED = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def conv_norm_relu(in_channels: int, channels: int, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and ReLU; sides stay."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


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


class _SplitUpConv2d(nn.Module):
    """Computes what an `UpConv2d` does, with fewer products.

    Of enlarged features, a 3x3 kernel sees each pixel up to four times. A transposed convolution of
    the features as they are sees it once, with the sum of the four weights.
    """

    def __init__(self, conv: UpConv2d) -> None:
        super().__init__()
        count = conv.deep_channels
        deep, skip = conv.weight.detach()[:, :count], conv.weight.detach()[:, count:]
        added = deep.new_tensor(_ROWS_ADDED)
        self.deep = nn.ConvTranspose2d(count, conv.out_channels, 4, 2, 1, bias=False)
        self.deep.weight = nn.Parameter(torch.einsum("yi,odij,xj->doyx", added, deep, added), False)
        self.skip = nn.Conv2d(skip.shape[1], conv.out_channels, 3, padding=1)
        self.skip.weight, self.skip.bias = nn.Parameter(skip, False), conv.bias

    def forward(self, deep: Tensor, *skip: Tensor) -> Tensor:
        x: Tensor = self.skip(torch.cat(skip, dim=1))
        return x.add_(self.deep(deep))


def split_up_convolutions(network: nn.Module) -> None:
    """Replace each `UpConv2d` by one that computes the same with fewer products, in place."""
    for stage in network.modules():
        if isinstance(stage, UpStage) and isinstance(stage[0], UpConv2d):
            stage[0] = _SplitUpConv2d(stage[0])
