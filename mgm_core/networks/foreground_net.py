"""The foreground colour network: image and alpha to foreground colours (section 3.2).

A basic encoder-decoder of its own, apart from the matting network, so that it serves mattes from
anywhere. It predicts colours over the whole image.

Source: section 3.2 of the paper, "Foreground Color Estimation".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.networks.encoder import INPUT_CHANNELS, MobileNetV2Encoder
from mgm_core.networks.layers.blocks import UpStage, conv_norm_relu
from mgm_core.networks.prn import IMAGE_MEAN, IMAGE_STD


class ForegroundNetwork(nn.Module):
    """MobileNetV2 and a light decoder, which says what to change in the image.

    It predicts what lies behind the subject too, since that tells more of a half-transparent
    pixel's colour than anything else: `unseen` makes the two agree with the image.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV2Encoder()
        c2, c4, c8, c16, c32 = MobileNetV2Encoder.channels
        self.stage16 = UpStage(c32, c16, 96)
        self.stage8 = UpStage(96, c8, 64)
        self.stage4 = UpStage(64, c4, 48)
        self.narrow = nn.Conv2d(48, 24, 1)
        self.stage2 = UpStage(24, c2 + 4 * INPUT_CHANNELS, 32)
        self.stage1 = conv_norm_relu(32, 32)
        self.head = nn.Conv2d(32, 4 * 6, 3, padding=1)
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
        foreground, background = self._changes(image, alpha)
        return image + unseen(foreground, background, alpha)

    def both(self, image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return foreground and background colours, which composited by alpha are the image.

        Args:
            image: As for `forward`.
            alpha: As for `forward`.

        Returns:
            Two times (N, 3, H, W), not clamped.
        """
        foreground, background = self._changes(image, alpha)
        return (
            image + unseen(foreground, background, alpha),
            image + unseen(background, foreground, 1 - alpha),
        )

    def _changes(self, image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return by how much foreground and background differ from the image."""
        inputs = torch.cat([(image - self.image_mean).div_(self.image_std), alpha], dim=1)
        x1, x2, x4, x8, x16, x32 = self.encoder(inputs)
        x = self.stage16(x32, x16)
        x = self.stage8(x, x8)
        x = self.stage4(x, x4)
        x1 = x1.to(x2.dtype)  # as the next convolution would: puts planes together faster
        x = self.stage2(self.narrow(x), x2, F.pixel_unshuffle(x1, 2))
        x = x + self.stage1(x)
        foreground, background = F.pixel_shuffle(self.head(x), 2).chunk(2, dim=1)
        return foreground, background


def unseen(foreground: Tensor, background: Tensor, alpha: Tensor) -> Tensor:
    """Return the change of F in the nearest pair of changes that leave the image as it is.

    An image is a pair of colours already, F = B = I. Of all changes f', b' of them with
    alpha f' + (1 - alpha) b' = 0, so that Eq. 1 holds still, the nearest to those given has the
    least (f' - f)² + (b' - b)². Where alpha is 1, f' is 0; where alpha is 0, it is f.

    Args:
        foreground: (N, 3, H, W) change of F, f.
        background: (N, 3, H, W) change of B, b.
        alpha: (N, 1, H, W) in [0, 1].

    Returns:
        (N, 3, H, W), f'.

    Source: the fusion of Forte and Pitié, "F, B, Alpha Matting", 2020, as an exact projection.
    """
    behind = 1 - alpha
    across = behind * foreground - alpha * background
    return behind * across / (alpha.square() + behind.square())
