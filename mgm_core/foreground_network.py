"""The foreground colour network: image and alpha to foreground colours (section 3.2).

A basic encoder-decoder of its own, apart from the matting network, so that it serves mattes from
anywhere. It predicts colours over the whole image.

Source: section 3.2 of the paper, "Foreground Color Estimation".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.encoder import INPUT_CHANNELS, MobileNetV2Encoder
from mgm_core.network import IMAGE_MEAN, IMAGE_STD


def _stage(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class ForegroundNetwork(nn.Module):
    """MobileNetV2 and a light decoder; the result is the image plus a correction.

    Where alpha is 1 the answer is the image itself. So the network says what to change, and starts
    from changing nothing.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV2Encoder()
        c2, c4, c8, c16, c32 = MobileNetV2Encoder.channels
        self.stage16 = _stage(c32 + c16, 96)
        self.stage8 = _stage(96 + c8, 64)
        self.stage4 = _stage(64 + c4, 48)
        self.narrow = nn.Conv2d(48, 24, 1)
        self.stage2 = _stage(24 + c2 + 4 * INPUT_CHANNELS, 32)
        self.stage1 = _stage(32, 32)
        self.head = nn.Conv2d(32, 4 * 3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN)[:, None, None], False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD)[:, None, None], False)

    def forward(self, image: Tensor, alpha: Tensor) -> Tensor:
        """Return foreground colours.

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
            alpha: (N, 1, H, W) in [0, 1].

        Returns:
            (N, 3, H, W), not clamped: training needs the gradient outside [0, 1] too.
        """
        inputs = torch.cat([(image - self.image_mean) / self.image_std, alpha], dim=1)
        x1, x2, x4, x8, x16, x32 = self.encoder(inputs)
        x = self.stage16(torch.cat([_enlarged(x32), x16], dim=1))
        x = self.stage8(torch.cat([_enlarged(x), x8], dim=1))
        x = self.stage4(torch.cat([_enlarged(x), x4], dim=1))
        x = self.stage2(torch.cat([_enlarged(self.narrow(x)), x2, F.pixel_unshuffle(x1, 2)], 1))
        x = x + self.stage1(x)
        correction = F.pixel_shuffle(self.head(x), 2)
        return image + correction


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
