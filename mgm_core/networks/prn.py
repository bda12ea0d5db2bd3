"""The Progressive Refinement Network: encoder, decoder and refinement put together (Fig. 2).

Source: section 3.1 of the paper.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from mgm_core.networks.decoder import (
    ASPP,
    LightDecoder,
    SideOutputs,
    UNetDecoder,
    alpha_head,
    to_alpha,
)
from mgm_core.networks.encoder import MobileNetV2Encoder, ResNet34Encoder
from mgm_core.networks.refinement import TEST_KERNELS_PX, dilated, fuse, self_guidance_mask
from mgm_core.networks.sparse import decode_windows, decoded_share, windows

EncoderName = Literal["resnet34", "mobilenet_v2"]
Fusion = Literal["progressive", "last", "convolutions"]
STRIDE = 32  # input sides must be multiples of this
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Refined(NamedTuple):
    """Alpha, its three raw levels and the self-guidance of the finer two, each (N, 1, H, W)."""

    alpha: Tensor
    levels: SideOutputs
    self_guidance_os4: Tensor
    self_guidance_os1: Tensor


class PRN(nn.Module):
    """Image and guidance to alpha (Fig. 2).

    Args:
        encoder: "resnet34" is the paper's network, "mobilenet_v2" the light one for CPUs.
        fusion: "progressive" is the paper's refinement; the others are the rivals of its Table 4:
            "last" takes the level at stride 1 alone, "convolutions" fuses the three linearly.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, encoder: EncoderName, fusion: Fusion = "progressive") -> None:
        super().__init__()
        self.encoder: ResNet34Encoder | MobileNetV2Encoder
        self.decoder: UNetDecoder | LightDecoder
        self.aspp: nn.Module = nn.Identity()
        if encoder == "resnet34":
            self.encoder = ResNet34Encoder()
            self.aspp = ASPP()
            self.decoder = UNetDecoder()
        elif encoder == "mobilenet_v2":
            self.encoder = MobileNetV2Encoder()
            self.decoder = LightDecoder(MobileNetV2Encoder.channels)
        else:
            raise ValueError(
                f"encoder must be 'resnet34' or 'mobilenet_v2', got {encoder!r}: choose one of them"
            )
        if fusion not in get_args(Fusion):
            raise ValueError(
                f"fusion must be one of {', '.join(get_args(Fusion))}, got {fusion!r}: choose one"
            )
        self.encoder_name: EncoderName = encoder
        self.fusion: Fusion = fusion
        self.fusion_convolutions: nn.Module = nn.Identity()
        if fusion == "convolutions":
            self.fusion_convolutions = alpha_head(len(SideOutputs._fields), 16)
        # Constants, not weights: kept out of the state dict, whose keys are the checkpoints'.
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN)[:, None, None], False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD)[:, None, None], False)

    def forward(self, image: Tensor, guidance: Tensor) -> SideOutputs:
        """Return the raw alpha of each level, to be fused by `refined`.

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
            guidance: (N, 1, H, W) in [0, 1].
        """
        *shallow, deep = self.encoder(self._inputs(image, guidance))
        levels: SideOutputs = self.decoder((*shallow, self.aspp(deep)))
        if self.fusion == "convolutions":
            fused = to_alpha(self.fusion_convolutions(torch.cat(levels, dim=1)), 1)
            levels = levels._replace(os1=fused)
        return levels

    def _inputs(self, image: Tensor, guidance: Tensor) -> Tensor:
        return torch.cat([(image - self.image_mean).div_(self.image_std), guidance], dim=1)

    @property
    def fuses_progressively(self) -> bool:
        """Whether finer levels are taken only where coarser ones are uncertain."""
        return self.fusion == "progressive"

    def sparse_alpha(
        self, image: Tensor, guidance: Tensor, wanted: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """Return alpha, its finer levels decoded only where they are taken (`sparse.py`).

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
            guidance: (N, 1, H, W) in [0, 1].
            wanted: (1, 1, H, W) bool, the pixels that count: elsewhere alpha may be the coarsest
                level's. None: all.

        Returns:
            Alpha, (N, 1, H, W), and the share of it whose finer levels were not decoded, 0 where
            windows with their halos cover as much as the picture has.
        """
        assert self.fuses_progressively
        *taps, deep = self.encoder.taps(self._inputs(image, guidance))
        x8, x16 = (self.encoder.skip(level, taps[level]) for level in (3, 4))
        deepest, os8 = self.decoder.coarse(taps[0], x8, x16, self.aspp(deep))
        os8 = os8.float()
        self_guidance = self_guidance_mask(os8, [TEST_KERNELS_PX[0]] * len(os8))
        # Stride 1 may be taken a little beyond where stride 4 is.
        needed = dilated(self_guidance, [TEST_KERNELS_PX[1]] * len(os8))
        if wanted is not None:
            needed = needed & dilated(wanted, TEST_KERNELS_PX[1:])
        os4, os1, skipped = os8.clone(), os8.clone(), 0.0

        def decode(*given: Tensor) -> tuple[Tensor, ...]:
            *deep, t1, t2, t4 = given
            x1, x2, x4 = (self.encoder.skip(level, tap) for level, tap in enumerate((t1, t2, t4)))
            return self.decoder.fine(tuple(deep), x1, x2, x4)

        for n in range(len(os8)):
            where = windows(needed[n, 0].cpu().numpy())
            one = [
                *((x[n : n + 1], 8) for x in deepest),
                *((tap[n : n + 1], 2**level) for level, tap in enumerate(taps[:3])),
            ]
            into = os4[n : n + 1], os1[n : n + 1]
            if where is None:
                for plane, found in zip(into, decode(*(each for each, _ in one)), strict=True):
                    plane.copy_(found)
            else:
                decode_windows(decode, one, where, into)
                skipped += max(0.0, 1 - decoded_share(where, needed.shape[2:]))
        return refine(SideOutputs(os8, os4, os1)).alpha, skipped / len(os8)

    def refined(self, levels: SideOutputs) -> Refined:
        """Return alpha from the raw levels, as this network's fusion does."""
        if self.fuses_progressively:
            return refine(levels)
        everywhere = torch.ones_like(levels.os1, dtype=torch.bool)
        return Refined(levels.os1, levels, everywhere, everywhere)


def refine(levels: SideOutputs) -> Refined:
    """Refine alpha from stride 8 over stride 4 to stride 1 with K of 15 and 7 px (Eqs. 2, 3)."""
    n = len(levels.os8)
    g4 = self_guidance_mask(levels.os8, [TEST_KERNELS_PX[0]] * n)
    alpha = fuse(levels.os8, levels.os4, g4)
    g1 = self_guidance_mask(alpha, [TEST_KERNELS_PX[1]] * n)
    return Refined(fuse(alpha, levels.os1, g1), levels, g4, g1)
