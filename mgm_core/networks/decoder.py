"""Decoders: encoder features to raw alpha at strides 8, 4 and 1 (section 3.1, Fig. 2).

Both decoders return the same three side outputs; the refinement that fuses them stands in
`refinement.py`. `UNetDecoder` and `ASPP` are the paper's (ResNet34-UNet with ASPP);
`LightDecoder` does the same for MobileNetV2 at a fraction of the cost.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.networks.encoder import INPUT_CHANNELS
from mgm_core.networks.layers.blocks import Residual, UpStage, conv_norm_relu
from mgm_core.networks.layers.two_colours import (
    COARSE_PLANES,
    FINE_PLANES,
    line_ends,
    places_on_lines,
)


class SideOutputs(NamedTuple):
    """Raw alpha of each level, enlarged to the input's size, each (N, 1, H, W) in [0, 1]."""

    os8: Tensor
    os4: Tensor
    os1: Tensor


def to_alpha(logits: Tensor, scale: int) -> Tensor:
    """Enlarge a head's output by `scale` and squash it into [0, 1]."""
    if scale > 1:
        logits = F.interpolate(logits, scale_factor=scale, mode="bilinear", align_corners=False)
    # In float32: around 1, bf16 knows no alphas closer than 1/256.
    return (torch.tanh(logits.float()) + 1) / 2


def alpha_head(in_channels: int, channels: int, out_channels: int = 1) -> nn.Sequential:
    """Conv-BN-ReLU-Conv (section 4)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels, out_channels, 3, padding=1),
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling at stride 32: 512 channels in and out."""

    def __init__(self) -> None:
        super().__init__()
        channels, width = 512, 256
        self.aspp1 = nn.Conv2d(channels, width, 1, bias=False)
        self.aspp2 = nn.Conv2d(channels, width, 3, padding=2, dilation=2, bias=False)
        self.aspp3 = nn.Conv2d(channels, width, 3, padding=4, dilation=4, bias=False)
        self.aspp4 = nn.Conv2d(channels, width, 3, padding=8, dilation=8, bias=False)
        self.aspp5 = nn.Conv2d(channels, width, 1, bias=False)
        self.aspp1_bn = nn.BatchNorm2d(width)
        self.aspp2_bn = nn.BatchNorm2d(width)
        self.aspp3_bn = nn.BatchNorm2d(width)
        self.aspp4_bn = nn.BatchNorm2d(width)
        self.aspp5_bn = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(5 * width, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Gather context around every position: (N, 512, h, w) -> (N, 512, h, w)."""
        pooled = F.adaptive_avg_pool2d(x, 1)
        pooled = F.relu(self.aspp5_bn(self.aspp5(pooled)))
        branches = [
            F.relu(self.aspp1_bn(self.aspp1(x))),
            F.relu(self.aspp2_bn(self.aspp2(x))),
            F.relu(self.aspp3_bn(self.aspp3(x))),
            F.relu(self.aspp4_bn(self.aspp4(x))),
            pooled.expand(-1, -1, *x.shape[2:]),
        ]
        projected: Tensor = self.bn2(self.conv2(torch.cat(branches, dim=1)))
        return F.relu(projected)


class UpBlock(nn.Module):
    """Basic block of the decoder; `upsample` doubles the size by a transposed convolution."""

    def __init__(self, in_channels: int, channels: int, upsample: bool) -> None:
        super().__init__()
        self.conv1: nn.Module
        self.upsample: nn.Module = nn.Identity()
        if upsample:
            self.conv1 = nn.ConvTranspose2d(in_channels, in_channels, 4, 2, 1, bias=False)
            self.upsample = nn.Sequential(
                nn.UpsamplingNearest2d(scale_factor=2),
                nn.Conv2d(in_channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )
        else:
            self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.activation = nn.LeakyReLU(0.2, inplace=True)
        self.conv2 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Double the size where `upsample` is set: (N, C, h, w) -> (N, channels, 2h, 2w)."""
        out = self.activation(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.activation(out + self.upsample(x))
        return result


def _up_stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    first = UpBlock(in_channels, channels, upsample=True)
    return nn.Sequential(
        first, *(UpBlock(channels, channels, upsample=False) for _ in range(blocks - 1))
    )


class UNetDecoder(nn.Module):
    """The paper's decoder: basic blocks [2, 3, 3, 2], shortcuts added after each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _up_stage(512, 256, blocks=2)
        self.layer2 = _up_stage(256, 128, blocks=3)
        self.layer3 = _up_stage(128, 64, blocks=3)
        self.layer4 = _up_stage(64, 32, blocks=2)
        self.conv1 = nn.ConvTranspose2d(32, 32, 4, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.activation = nn.LeakyReLU(0.2, inplace=True)
        # The heads' names are those of the authors' checkpoints.
        self.refine_OS8 = alpha_head(128, 32)
        self.refine_OS4 = alpha_head(64, 32)
        self.refine_OS1 = alpha_head(32, 32)

    def forward(self, features: tuple[Tensor, ...]) -> SideOutputs:
        """Decode features at strides 1, 2, 4, 8, 16, 32 into the three raw alphas."""
        *shallow, x8, x16, x32 = features
        deep, os8 = self.coarse(shallow[0], x8, x16, x32)
        return SideOutputs(os8, *self.fine(deep, *shallow))

    def coarse(
        self, x1: Tensor, x8: Tensor, x16: Tensor, x32: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return what `fine` takes at stride 8, and the raw alpha there."""
        x = self.layer1(x32) + x16
        x = self.layer2(x) + x8
        return (x,), to_alpha(self.refine_OS8(x), 8)

    def fine(
        self, deep: tuple[Tensor, ...], x1: Tensor, x2: Tensor, x4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the raw alphas at strides 4 and 1 from what `coarse` returned."""
        (x,) = deep
        x = self.layer3(x) + x4
        os4 = to_alpha(self.refine_OS4(x), 4)
        x = self.layer4(x) + x2
        x = self.activation(self.bn1(self.conv1(x))) + x1
        return os4, to_alpha(self.refine_OS1(x), 1)


class LightContext(nn.Module):
    """A lean stand-in for ASPP: 1x1, two dilated 3x3 and pooled branches at stride 32."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        width = channels // 2
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.near = conv_norm_relu(channels, width, dilation=2)
        self.far = conv_norm_relu(channels, width, dilation=4)
        self.pooled = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(
            nn.Conv2d(channels + 3 * width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gather context: (N, in_channels, h, w) -> (N, channels, h, w)."""
        x = self.reduce(x)
        pooled = self.pooled(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[2:])
        projected: Tensor = self.project(torch.cat([x, self.near(x), self.far(x), pooled], dim=1))
        return projected


class LightDecoder(nn.Module):
    """Two 3x3 convolutions a stage, made for CPUs; the last level works on 2x2 blocks of pixels.

    Convolutions with few channels at full resolution are what a CPU is slowest at. So the finest
    features are computed at stride 2 from the inputs' 2x2 blocks (nothing is lost: each pixel
    becomes its own channels) and its head gives the four pixels of a block at once.
    """

    def __init__(self, encoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = encoder_channels
        self.context = LightContext(c32, 128)
        self.stage16 = UpStage(128, c16, 96, Residual(96), Residual(96))
        self.stage8 = UpStage(96, c8, 64, Residual(64), Residual(64))
        self.stage4 = UpStage(64, c4 + COARSE_PLANES, 48, Residual(48), Residual(48))
        self.narrow = nn.Conv2d(48, 24, 1)  # before enlarging: four times fewer pixels
        self.stage2 = UpStage(24, c2 + 4 * INPUT_CHANNELS + FINE_PLANES, 32)
        self.stage1 = conv_norm_relu(32, 32)
        self.residual1 = Residual(32)
        self.head_os8 = alpha_head(64, 32)
        self.head_os4 = alpha_head(48, 24)
        self.head_os1 = nn.Sequential(*alpha_head(32, 32, 4), nn.PixelShuffle(2))

    def forward(self, features: tuple[Tensor, ...]) -> SideOutputs:
        """Decode the inputs and features at strides 2 to 32 into the three raw alphas."""
        *shallow, x8, x16, x32 = features
        deep, os8 = self.coarse(shallow[0], x8, x16, x32)
        return SideOutputs(os8, *self.fine(deep, *shallow))

    def coarse(
        self, x1: Tensor, x8: Tensor, x16: Tensor, x32: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return what `fine` takes at stride 8, and the raw alpha there."""
        x = self.stage16(self.context(x32), x16)
        x = self.stage8(x, x8)
        logits8 = self.head_os8(x)
        ends = line_ends(x1, to_alpha(logits8.detach(), 1))
        return (x, ends), to_alpha(logits8, 8)

    def fine(
        self, deep: tuple[Tensor, ...], x1: Tensor, x2: Tensor, x4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the raw alphas at strides 4 and 1 from what `coarse` returned."""
        x, ends = deep
        coarse, fine = places_on_lines(x1, ends)
        x = self.stage4(x, x4, coarse.to(x.dtype))
        os4 = to_alpha(self.head_os4(x), 4)
        # Rounded as the next convolution would: puts planes together faster.
        x1, fine = x1.to(x2.dtype), fine.to(x2.dtype)
        x = self.stage2(self.narrow(x), x2, F.pixel_unshuffle(x1, 2), fine)
        x = self.residual1(x + self.stage1(x))
        return os4, to_alpha(self.head_os1(x), 1)
