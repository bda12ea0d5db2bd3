"""Parts that several networks are made of."""

from torch import nn

__all__ = ["conv_norm_relu"]


def conv_norm_relu(in_channels: int, channels: int) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and ReLU; sides stay."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )
