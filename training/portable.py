"""The small checkpoint with which a run goes on where its folder cannot be taken along.

It leaves out the optimiser's state, half of a full checkpoint, and keeps the weights in half
precision beside their moving average, which is what is exported and stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mgm_core.runtime.partial import written_whole
from training.config import ConfigError

__all__ = ["Portable", "Progress", "read_portable", "write_portable"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps, hours, best validation, moving average of the gradient's norm."""

    step: int
    hours: float
    best: float
    gradient_norm: float


@dataclass(frozen=True)
class Portable:
    """What a small checkpoint holds.

    Args:
        module: State of the module, rounded to half precision.
        average: State of its moving average.
        progress: How far the run is.
    """

    module: State
    average: State
    progress: Progress


@contextmanager
def checkpoint_written(path: Path) -> Iterator[Path]:
    """Write a checkpoint or weights so that a kill or a full disk leaves the old ones whole.

    Args:
        path: In the run's folder.

    Yields:
        The file to write to meanwhile.

    Raises:
        OSError: The disk does not take it.
    """
    try:
        with written_whole(path) as part:
            yield part
    except (OSError, RuntimeError, SafetensorError) as error:  # PyTorch and safetensors have theirs
        raise OSError(
            f"{path} must fit onto its disk, got {str(error).splitlines()[0]}: make room, then "
            "give the command again, a run's with --resume; what was there before is whole"
        ) from error


def write_portable(path: Path, portable: Portable) -> None:
    """Write a small checkpoint; a kill or a full disk leaves the old one."""
    tensors = {f"average/{k}": _plain(v) for k, v in portable.average.items()}
    for key, value in portable.module.items():
        half = value.is_floating_point() and bool(value.abs().max() < torch.finfo(torch.half).max)
        tensors[f"module/{key}"] = _plain(value.half() if half else value)
    with checkpoint_written(path) as part:
        save_file(tensors, part, {k: repr(v) for k, v in asdict(portable.progress).items()})


def read_portable(path: Path) -> Portable:
    """Read a small checkpoint.

    Raises:
        ConfigError: The file is no such checkpoint.
    """
    parts: dict[str, State] = {"module": {}, "average": {}}
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping, it only has keys()
                part, key = name.split("/", 1)
                parts[part][key] = file.get_tensor(name)
            metadata = file.metadata() or {}
        progress = Progress(
            int(metadata["step"]),
            float(metadata["hours"]),
            float(metadata["best"]),
            float(metadata["gradient_norm"]),
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(
            f"a portable checkpoint must be a file that a run wrote, got {str(path)!r}, which is "
            f"none ({error}): copy portable.safetensors once more"
        ) from None
    average = parts["average"]
    module = {k: v.to(average[k].dtype) for k, v in parts["module"].items()}
    return Portable(module, average, progress)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
