"""Networks made ready for use: the same results from fewer passes over memory and fewer products.

Source: ours. PyTorch's compiler calls the same operators of oneDNN, but needs a C++ compiler on
every machine.
"""

import os
import platform
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mgm_core.networks.layers.blocks import Residual, UnshuffledConv2d, UpConv2d, UpStage
from mgm_core.runtime.cancellation import add_checkpoints

__all__ = ["fold_batch_norm", "prepare_for_inference", "with_fewer_passes"]

Network = TypeVar("Network", bound=nn.Module)

_X86 = ("x86_64", "AMD64")
# How many kernels, one a layer and shape, oneDNN remembers, unless the environment says so. A
# photograph of 12 megapixels takes 1,100 of them, and by default each further one ousts another.
_KERNELS = 8192
# Each row tells which rows of the 3x3 kernel that row of the transposed 4x4 kernel adds up.
_ROWS_ADDED = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
# oneDNN's name for each activation that may follow a convolution, and its numbers.
_ACTIVATIONS: dict[type[nn.Module], Callable[[Any], tuple[str, list[float]]]] = {
    nn.ReLU: lambda _: ("relu", []),
    nn.ReLU6: lambda _: ("hardtanh", [0.0, 6.0]),
    nn.LeakyReLU: lambda layer: ("leaky_relu", [layer.negative_slope]),
}


def prepare_for_inference(network: Network, device: torch.device) -> Network:
    """Return a network as it computes fastest on its device, changed in place.

    Batch norm is folded, channels come last in memory, and on CPUs the network goes over its memory
    fewer times, and kernels for many sizes are remembered. Its layers are checkpoints at which work
    may be cancelled.
    """
    network = network.eval()
    fold_batch_norm(network)
    if device.type == "cpu":
        # oneDNN reads it when it makes its first kernel.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))
        with_fewer_passes(network)
    add_checkpoints(network)
    return network.to(device).to(memory_format=torch.channels_last)


def fold_batch_norm(module: nn.Module) -> None:
    """Carry every batch norm that follows a convolution into it; the map stays the same.

    Pairs are neighbours in a sequence, or attributes named `convN` and `bnN`, which run one after
    the other in all our networks. The module must be in evaluation mode.
    """
    for child in list(module.modules()):
        if isinstance(child, nn.Sequential):
            pairs = [(str(i), str(i + 1)) for i in range(len(child) - 1)]
        else:
            pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)]
        for conv_name, norm_name in pairs:
            conv = child._modules.get(conv_name)
            norm = child._modules.get(norm_name)
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(
                norm, nn.BatchNorm2d
            ):
                fused = fuse_conv_bn_eval(conv, norm, isinstance(conv, nn.ConvTranspose2d))
                setattr(child, conv_name, fused)
                setattr(child, norm_name, nn.Identity())


def with_fewer_passes(network: nn.Module) -> None:
    """Replace layers by others that compute the same faster on a CPU, in place.

    Batch norms must be folded before.
    """
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, UnshuffledConv2d):
                setattr(parent, name, _strided(child))
            elif isinstance(child, Residual):
                setattr(parent, name, _FusedResidual(child))
        if isinstance(parent, UpStage) and isinstance(parent[0], UpConv2d):
            parent[0], parent[2] = _FusedUpConv2d(parent[0], parent[2]), nn.Identity()
        if isinstance(parent, nn.Sequential):
            _fuse_neighbours(parent)


def _fuse_neighbours(layers: nn.Sequential) -> None:
    places = [i for i, layer in enumerate(layers) if not isinstance(layer, nn.Identity)]
    for first, second in pairwise(places):
        conv, activation = layers[first], layers[second]
        if type(conv) is nn.Conv2d and type(activation) in _ACTIVATIONS:
            layers[first], layers[second] = _FusedConv2d(conv, activation), nn.Identity()


class _FusedConv2d(nn.Module):
    """A convolution, a sum if there is one, and an activation in one pass over memory.

    Args:
        conv: The convolution; its parameters are shared.
        activation: One of `_ACTIVATIONS`.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._shape = conv.padding, conv.stride, conv.dilation, conv.groups
        self._activation = _ACTIVATIONS[type(activation)](activation)
        # Weight and bias in the number format that was last computed in.
        self._cast: tuple[Tensor, Tensor | None] = conv.weight.detach(), conv.bias

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the convolved features, activated.

        Args:
            x: (N, C, H, W).
            added: What is added before the activation, of the output's size.
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if not _has_fused_convolution(dtype):
            return self._one_by_one(x, added)
        if self._cast[0].dtype != dtype:
            bias = None if self.bias is None else self.bias.detach().to(dtype)
            self._cast = self.weight.detach().to(dtype), bias
        operation = torch.ops.mkldnn._convolution_pointwise
        given, after = (*self._cast, *self._shape), (*self._activation, "")
        found: Tensor
        if added is None:
            found = operation(x.to(dtype), *given, *after)
        else:
            found = operation.binary(x.to(dtype), added.to(dtype), *given, "add", 1.0, *after)
        return found

    def _one_by_one(self, x: Tensor, added: Tensor | None) -> Tensor:
        padding, stride, dilation, groups = self._shape
        x = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        name, numbers = self._activation
        activated: Tensor = getattr(F, name)(x if added is None else x + added, *numbers)
        return activated


def _has_fused_convolution(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN is here and has kernels of its own for this format on this CPU."""
    if platform.machine() not in _X86 or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


class _FusedResidual(nn.Module):
    def __init__(self, residual: Residual) -> None:
        super().__init__()
        self.conv = _FusedConv2d(residual.conv1, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x, x)
        return found


class _FusedUpConv2d(nn.Module):
    """Computes what an `UpConv2d` and an activation do, with fewer products.

    Of enlarged features, a 3x3 kernel sees each pixel up to four times. A transposed convolution of
    the features as they are sees it once, with the sum of the four weights.
    """

    def __init__(self, conv: UpConv2d, activation: nn.Module) -> None:
        super().__init__()
        count = conv.deep_channels
        deep, skip = conv.weight.detach()[:, :count], conv.weight.detach()[:, count:]
        added = deep.new_tensor(_ROWS_ADDED)
        self.deep = nn.ConvTranspose2d(count, conv.out_channels, 4, 2, 1, bias=False)
        self.deep.weight = nn.Parameter(torch.einsum("yi,odij,xj->doyx", added, deep, added), False)
        beside = nn.Conv2d(skip.shape[1], conv.out_channels, 3, padding=1)
        beside.weight, beside.bias = nn.Parameter(skip, False), conv.bias
        self.skip = _FusedConv2d(beside, activation)

    def forward(self, deep: Tensor, *skip: Tensor) -> Tensor:
        found: Tensor = self.skip(torch.cat(skip, dim=1), self.deep(deep))
        return found


def _strided(conv: UnshuffledConv2d) -> nn.Conv2d:
    """Return a convolution with twice the kernel that takes the pixels where they are."""
    channels = conv.in_channels // 4
    strided = nn.Conv2d(channels, conv.out_channels, 6, stride=2, padding=2)
    # (O, C, row in the block, column in it, the block's row, its column) to rows and columns.
    blocks = conv.weight.detach().view(-1, channels, 2, 2, 3, 3)
    kernel = blocks.permute(0, 1, 4, 2, 5, 3).reshape(strided.weight.shape)
    strided.weight = nn.Parameter(kernel, False)
    strided.bias = conv.bias
    return strided
