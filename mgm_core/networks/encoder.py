"""Encoders: image and guidance to features at strides 1 to 32 (section 3.1, Fig. 2).

Two encoders stand behind one interface: `encoder(inputs)` returns the features that the decoder
of the same family takes, finest first. `inputs` is the normalised image with the guidance as its
fourth channel.

Source: section 4 "Network Architectures" of the paper; the ResNet34-UNet follows the facts known
of the authors' public checkpoints, so that these load by name (see `checkpoint.py`).
"""

import torch
from torch import Tensor, nn

from mgm_core.runtime.torchvision_models import mobilenet_v2

INPUT_CHANNELS = 4  # red, green, blue, guidance


class BasicBlock(nn.Module):
    """ResNet's basic block: two 3x3 convolutions beside an identity path."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2, stride),
                nn.Conv2d(in_channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Halve the size where the stride is 2: (N, C, H, W) -> (N, channels, H/s, W/s)."""
        out = self.activation(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.activation(out + self.downsample(x))
        return result


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def _shortcut(in_channels: int, channels: int) -> nn.Sequential:
    # ReLU before batch norm is the released network's order, kept for its checkpoints.
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(channels),
    )


class ResNet34Encoder(nn.Module):
    """The paper's ResNet34 with a three-convolution stem and five shortcuts to the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(INPUT_CHANNELS, 32, 3, 2, 1, bias=False)
        self.conv2 = nn.Conv2d(32, 32, 3, 1, 1, bias=False)
        self.conv3 = nn.Conv2d(32, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.bn2 = nn.BatchNorm2d(32)
        self.bn3 = nn.BatchNorm2d(64)
        self.activation = nn.ReLU(inplace=True)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(64, 128, blocks=4, stride=2)
        self.layer3 = _stage(128, 256, blocks=4, stride=2)
        self.layer_bottleneck = _stage(256, 512, blocks=2, stride=2)
        self.shortcut = nn.ModuleList(
            _shortcut(*channels)
            for channels in ((INPUT_CHANNELS, 32), (32, 32), (64, 64), (128, 128), (256, 256))
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return features at strides 1, 2, 4, 8, 16 (through the shortcuts) and 32.

        Args:
            inputs: (N, 4, H, W), H and W multiples of 32.

        Returns:
            Six tensors of 32, 32, 64, 128, 256 and 512 channels.
        """
        *taps, x32 = self.taps(inputs)
        return *(self.skip(i, tap) for i, tap in enumerate(taps)), x32

    def taps(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the shortcuts take, and the features at stride 32."""
        x = self.activation(self.bn1(self.conv1(inputs)))
        stem = self.activation(self.bn2(self.conv2(x)))  # stride 2
        x = self.activation(self.bn3(self.conv3(stem)))  # stride 4
        x4 = self.layer1(x)
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        x32 = self.layer_bottleneck(x16)
        return inputs, stem, x4, x8, x16, x32

    def skip(self, level: int, tap: Tensor) -> Tensor:
        """Return the features at stride 2^level from what `taps` returned there."""
        found: Tensor = self.shortcut[level](tap)
        return found


class MobileNetV2Encoder(nn.Module):
    """torchvision's MobileNetV2 up to stride 32, its first convolution widened to four channels."""

    channels = (16, 24, 32, 96, 320)
    _ends = (2, 4, 7, 14, 18)  # one past the last block at strides 2, 4, 8, 16, 32

    def __init__(self) -> None:
        super().__init__()
        features = mobilenet_v2(weights=None).features[: self._ends[-1]]
        stem = features[0][0]
        features[0][0] = nn.Conv2d(
            INPUT_CHANNELS, stem.out_channels, stem.kernel_size, stem.stride, 1, bias=False
        )
        self.features = features

    def load_image_weights(self, state: dict[str, Tensor]) -> None:
        """Start from weights trained on images alone: the guidance's channel starts at zero.

        Args:
            state: torchvision's `mobilenet_v2` state, keys `features.*`; a classifier or later
                features in it are left out.

        Raises:
            ValueError: A weight of the encoder is missing from `state`.
        """
        own = self.state_dict()
        missing = [key for key in own if key not in state and "num_batches" not in key]
        if missing:
            raise ValueError(
                f"state must hold every weight of MobileNetV2's features, got none for "
                f"{missing[0]!r}: give torchvision's mobilenet_v2 state dict"
            )
        start = {key: state.get(key, own[key]) for key in own}
        stem = "features.0.0.weight"
        image_channels = state[stem]
        start[stem] = torch.cat([image_channels, torch.zeros_like(image_channels[:, :1])], dim=1)
        self.load_state_dict(start)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs themselves and features at strides 2, 4, 8, 16 and 32.

        Args:
            inputs: (N, 4, H, W), H and W multiples of 32.

        Returns:
            Six tensors of 4, 16, 24, 32, 96 and 320 channels.
        """
        taps = [inputs]
        x = inputs
        for start, end in zip((0, *self._ends[:-1]), self._ends, strict=True):
            for block in self.features[start:end]:
                x = block(x)
            taps.append(x)
        return tuple(taps)

    def taps(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the features: this encoder has no shortcuts of its own."""
        return self(inputs)  # type: ignore[no-any-return] # of a module, mypy knows no types

    def skip(self, level: int, tap: Tensor) -> Tensor:
        """Return the features at stride 2^level from what `taps` returned there."""
        return tap
