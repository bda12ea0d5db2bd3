"""The networks of the bundled segmenters: two DeepLabV3, one for people, one for the rest.

People's is sharpened to stride 2 by a decoder of its own. Source: Chen et al., "Rethinking Atrous
Convolution for Semantic Image Segmentation", 2017, for DeepLabV3; the decoder is ours.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.choices import CATEGORIES
from mgm_core.runtime.torchvision_models import (
    ASPP,
    DeepLabV3,
    IntermediateLayerGetter,
    mobilenet_v2,
)

__all__ = [
    "PERSON",
    "EdgeDecoder",
    "PersonNetwork",
    "PortraitNetworks",
    "class_odds",
    "corner_aligned_logits",
    "portrait_deeplab",
]

PERSON = CATEGORIES.index("person")

# The MobileNetV2 block whose output is at stride 4, and its channels; those of the ASPP and of the
# decoder.
_FINE_BLOCK, _FINE_CHANNELS, _DEEP_CHANNELS, _DECODER_CHANNELS = 3, 24, 256, 32
_USUAL_ODDS = 4.0  # brings log-odds to the features' size


def portrait_deeplab() -> nn.Module:
    """Return DeepLabV3 on MobileNetV2 at output stride 8, without weights."""
    features: Any = mobilenet_v2(weights=None).features[:18]
    for block in range(7, 18):
        depthwise = features[block].conv[1][0]
        if block in (7, 14):
            depthwise.stride = (1, 1)
        if block > 7:
            depthwise.dilation = depthwise.padding = (2, 2) if block < 15 else (4, 4)
    network: nn.Module = DeepLabV3(
        IntermediateLayerGetter(features, {"17": "out"}),
        nn.Sequential(ASPP(320, [], 256), nn.Conv2d(256, len(CATEGORIES), 1)),
    )
    return network


def corner_aligned_logits(network: nn.Module, x: Tensor) -> Tensor:
    """Return the logits of a `portrait_deeplab` at the input's size.

    Its sides are 8n + 1 px, so that the corners of input and features fall together.
    """
    deeplab = cast("DeepLabV3", network)
    return _corner_aligned(deeplab.classifier(deeplab.backbone(x)["out"]), x)


def class_odds(logits: Tensor, classes: Sequence[int] = (PERSON,)) -> Tensor:
    """Return the log-odds of any of some classes, (N, 21, h, w) -> (N, 1, h, w)."""
    these = logits[:, [*classes]].logsumexp(dim=1, keepdim=True)
    return these - _without(logits, classes).logsumexp(dim=1, keepdim=True)


def _without(logits: Tensor, classes: Sequence[int]) -> Tensor:
    return logits[:, [i for i in range(logits.shape[1]) if i not in classes]]


class EdgeDecoder(nn.Module):
    """Sharpens a map of log-odds at stride 8 by features at stride 4, to stride 2.

    Its last layer begins at zero, so that an untrained one only enlarges.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv2d(_DEEP_CHANNELS, _FINE_CHANNELS, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(2 * _FINE_CHANNELS + 1, _DECODER_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, padding=1),
            nn.ReLU(),
        )
        self.correction = nn.Conv2d(_DECODER_CHANNELS, 4, 1)  # a 2x2 block of each cell
        for parameter in self.correction.parameters():
            nn.init.zeros_(parameter)

    def forward(self, fine: Tensor, deep: Tensor, odds: Tensor) -> Tensor:
        """Return the log-odds at stride 2.

        Args:
            fine: (N, 24, 2h - 1, 2w - 1), features at stride 4.
            deep: (N, 256, h, w), features at stride 8.
            odds: (N, 1, h, w).
        """
        deep, near = _corner_aligned(self.deep(deep), fine), _corner_aligned(odds, fine)
        x = self.layers(torch.cat([fine, deep, near / _USUAL_ODDS], dim=1))
        correction = F.pixel_shuffle(self.correction(x), 2)[..., :-1, :-1]
        return _corner_aligned(near, correction) + correction


class PersonNetwork(nn.Module):
    """A `portrait_deeplab` for people, of which an `EdgeDecoder` sharpens the outline."""

    def __init__(self) -> None:
        super().__init__()
        deeplab = cast("DeepLabV3", portrait_deeplab())
        self.backbone, self.classifier = deeplab.backbone, deeplab.classifier
        self.edges = EdgeDecoder()

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of person at stride 2: (N, 3, H, W) -> (N, 1, H', W').

        The sides are 8n + 1 px, so that the corners of input and features fall together.
        """
        fine = x
        for index, block in enumerate(self.backbone.values()):
            x = block(x)
            if index == _FINE_BLOCK:
                fine = x
        deep = self.classifier[0](x)
        refined: Tensor = self.edges(fine, deep, class_odds(self.classifier[1](deep)))
        return refined


def _corner_aligned(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class PortraitNetworks(nn.Module):
    """Two networks: one says where people are, the other what everything else is.

    Args:
        person: A `PersonNetwork`.
        classes: A `portrait_deeplab`, which tells the other categories apart.
    """

    def __init__(self, person: nn.Module, classes: nn.Module) -> None:
        super().__init__()
        self.person, self.classes = person, classes

    def odds(self, x: Tensor) -> Tensor:
        """Return the log-odds of person at the input's size, (N, 1, H, W)."""
        return _corner_aligned(self.person(x), x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the 21 categories at the input's size, (N, 21, H, W)."""
        others = _without(corner_aligned_logits(self.classes, x), (PERSON,))
        person = self.odds(x) + others.logsumexp(dim=1, keepdim=True)
        return torch.cat([others[:, :PERSON], person, others[:, PERSON:]], dim=1)
