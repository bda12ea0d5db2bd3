"""Several processes, one a device, started by torchrun; a single process needs none of it.

    torchrun --nproc-per-node 4 -m training CONFIG.toml

Every process takes its part of each batch. Batch norm and the areas that losses are divided by are
those of the whole batch, so that N processes compute what one would.
"""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number."""
    return dist.get_rank() if dist.is_initialized() else 0


def start(device: str) -> str:
    """Join the other processes that torchrun started, if it did; return this one's device.

    Args:
        device: The configured device; with CUDA each process takes the card of its own number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu"


def stop() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a value without gradient over all processes."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / world_size()


def first_process_value(value: float, device: torch.device) -> float:
    """Return the first process's value, in all processes."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def local_part(batch: int) -> slice:
    """Return which part of a batch this process computes.

    Raises:
        ValueError: The batch cannot be shared out evenly.
    """
    count = world_size()
    if batch % count:
        raise ValueError(
            f"run.batch must be a multiple of the {count} processes, got {batch}: "
            f"give run.batch={batch // count * count or count}"
        )
    size = batch // count
    return slice(rank() * size, (rank() + 1) * size)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - torch's context is untyped
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - likewise
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient


class _SynchronisedNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes on CPUs, where torch has none."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = x.numel() // x.shape[1] * world_size()
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # bf16 cannot add up a batch
        mean: Tensor = _Sum.apply(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance: Tensor = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = self.momentum if self.momentum is not None else 0.1
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module for training by several processes, batch norm synchronised."""
    if world_size() == 1:
        return module
    if device.type == "cuda":
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
        module = convert(module)  # type: ignore[no-untyped-call]  # untyped in torch
    else:
        for child in module.modules():
            if type(child) is nn.BatchNorm2d:
                child.__class__ = _SynchronisedNorm
    return nn.parallel.DistributedDataParallel(module)


def use_one_thread(worker: int) -> None:
    """Keep a loading process to one thread; two cores have no room for more."""
    del worker
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
