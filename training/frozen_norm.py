"""Batch norm frozen into convolutions while a pretrained encoder is trained further.

With small batches the statistics measured on ImageNet serve better than those of eight crops, and
a normalisation with fixed statistics is an affine map that the convolution can hold: the
weights are scaled instead of the much larger features. The unscaled weight stays the parameter,
so that the optimiser's steps keep the proportions of the original training.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mgm_core.runtime.compiled import compiled

NORM_EPS = 1e-5


class FrozenNormConv(nn.Module):
    """A convolution that carries the batch norm behind it, its statistics fixed.

    Args:
        conv: The convolution, without bias.
        norm: The batch norm that follows it.
    """

    scale: Tensor
    mean: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None or conv.bias is not None:
            raise ValueError(
                "conv and norm must be a convolution without bias and a batch norm with running "
                f"statistics, got {conv} and {norm}: freeze a torchvision encoder"
            )
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups
        self.dilation = conv.dilation
        self.weight = conv.weight
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        self.register_buffer("scale", scale)
        self.register_buffer("mean", norm.running_mean.clone())
        self.bias = nn.Parameter(norm.bias.detach() - norm.running_mean * scale)

    @property
    def _dilated_depthwise(self) -> bool:
        """Whether `DilatedDepthwise` can stand in: 3x3, one channel a group, same size."""
        return (
            self.weight.shape[1:] == (1, 3, 3)
            and self.dilation != (1, 1)
            and self.padding == self.dilation == (self.dilation[0],) * 2
            and self.stride == (1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return norm(conv(x))."""
        weight = self.weight * self.scale[:, None, None, None]
        if x.device.type == "cpu" and self._dilated_depthwise:
            y: Tensor = DilatedDepthwise.apply(x, weight, self.bias, self.dilation[0])
            return y
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class DilatedDepthwise(torch.autograd.Function):
    """A dilated depthwise convolution of the input's size, with a weight gradient of its own.

    oneDNN's is slow, and in bf16 with channels last it is wrong, now and then infinite (seen in
    PyTorch 2.14 on avx512_bf16).
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        dilation: int,
    ) -> Tensor:
        """Return the convolution of x, (N, C, H, W), by weight, (C, 1, 3, 3)."""
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return F.conv2d(x, weight, bias, 1, dilation, dilation, x.shape[1])

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        *gradients: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of x, weight and bias."""
        (x, weight), dilation = ctx.saved_tensors, ctx.dilation
        of_y = gradients[0].to(x.dtype)
        of_x = F.conv2d(of_y, weight.flip(2, 3), None, 1, dilation, dilation, x.shape[1])
        of_weight = np.zeros((3, 3, x.shape[1]), np.float32)
        _add_weight_gradient(_channels_last(x), _channels_last(of_y), dilation, of_weight)
        of_taps = torch.from_numpy(of_weight).permute(2, 0, 1)[:, None]
        return of_x, of_taps, of_y.sum((0, 2, 3), dtype=torch.float32), None


def _channels_last(x: Tensor) -> NDArray[np.float32]:
    return x.permute(0, 2, 3, 1).float().contiguous().numpy()


@compiled(fastmath=True)
def _add_weight_gradient(
    x: NDArray[np.float32], of_y: NDArray[np.float32], dilation: int, total: NDArray[np.float32]
) -> None:
    """Add the gradient of a depthwise 3x3 kernel, (3, 3, C); x and of_y are (N, H, W, C)."""
    count, height, width, channels = x.shape
    for n in range(count):
        for row in range(height):
            for i in range(3):
                x_row = row + (i - 1) * dilation
                if not 0 <= x_row < height:
                    continue
                for column in range(width):
                    for j in range(3):
                        x_column = column + (j - 1) * dilation
                        if not 0 <= x_column < width:
                            continue
                        for c in range(channels):
                            total[i, j, c] += of_y[n, row, column, c] * x[n, x_row, x_column, c]


def _pairs(module: nn.Module) -> list[tuple[nn.Sequential, int]]:
    """Return every place where a convolution is followed by a batch norm, in order."""
    found = []
    for child in module.modules():
        if isinstance(child, nn.Sequential):
            found += [
                (child, i)
                for i in range(len(child) - 1)
                if isinstance(child[i], nn.Conv2d) and isinstance(child[i + 1], nn.BatchNorm2d)
            ]
    return found


def freeze_batch_norm(module: nn.Module) -> None:
    """Replace every convolution and batch norm of `module`'s sequences by one frozen convolution.

    The batch norm's place keeps an identity, so that names of other weights do not move.
    """
    for sequence, i in _pairs(module):
        conv, norm = sequence[i], sequence[i + 1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        sequence[i] = FrozenNormConv(conv, norm)
        sequence[i + 1] = nn.Identity()


def plain_state(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with convolutions and batch norms apart again.

    Args:
        module: The module, frozen or not, that `state` belongs to; tells the shapes of frozen
            places.
        state: Its state or a moving average of it.

    Returns:
        The state of the same module before `freeze_batch_norm`.
    """
    plain = dict(state)
    for name, child in module.named_modules():
        if not isinstance(child, FrozenNormConv):
            continue
        parent, _, index = name.rpartition(".")
        norm = f"{parent}.{int(index) + 1}"
        scale, mean = plain.pop(f"{name}.scale"), plain.pop(f"{name}.mean")
        bias = plain.pop(f"{name}.bias")
        # Only the product counts; a variance of 1 - eps makes the weight the whole scale.
        plain[f"{norm}.weight"] = scale
        plain[f"{norm}.bias"] = bias + mean * scale
        plain[f"{norm}.running_mean"] = mean
        plain[f"{norm}.running_var"] = torch.full_like(mean, 1.0 - NORM_EPS)
        plain[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return plain
