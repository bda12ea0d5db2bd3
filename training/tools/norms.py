"""Measure the statistics of batch norms anew, for weights whose training is over.

python -m training norms CONFIG.toml --out FILE network.start=WEIGHTS [key=value ...]

Exported weights are a moving average; the statistics beside them are averages of those that other
weights had.

Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization".
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.config import Config, ConfigError
from training.distributed import use_one_thread
from training.loop import Example, Task, channels_last
from training.portable import checkpoint_written

_logger = logging.getLogger(__name__)


def write_with_measured_norms(config: Config, task: Task, batches: int, path: Path) -> None:
    """Write a task's weights with the mean statistics of so many batches.

    Args:
        config: The run; `network.start` names the weights.
        task: What was trained, with these weights.
        batches: How many batches are seen; examples are those of a run's first steps.
        path: The new weights, as the product loads them.

    Raises:
        ConfigError: There are no weights to start from, no batch is seen, or no batch norm is left
            to measure.
    """
    if not config.network.start:
        raise ConfigError("network.start must name weights, got none: add network.start=WEIGHTS")
    if batches < 1:
        raise ConfigError(f"--batches must be at least 1, got {batches}: 100 of 16 crops will do")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = measured(task, _batches(config, task, batches))
    with checkpoint_written(path) as part:
        save_file(state, part, task.metadata())


@torch.no_grad()
def measured(task: Task, batches: Iterable[Example]) -> dict[str, Tensor]:
    """Return a task's exported weights with the mean statistics of batches of one size.

    Raises:
        ConfigError: No batch norm is left to measure; frozen ones are part of their convolutions.
    """
    module = task.module.eval()
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    if not norms:
        raise ConfigError(
            "the network must have batch norms whose statistics are not frozen, got none: "
            "leave its weights as they are"
        )
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches in place of a moving one
        norm.train()
    for step, batch in enumerate(batches):
        task.losses(module, batch, step, 1.0)
        _logger.info("batch %d", step + 1)
    return {key: value.contiguous() for key, value in task.exported(module.state_dict()).items()}


def _batches(config: Config, task: Task, count: int) -> Iterator[Example]:
    size = config.run.batch
    loader: DataLoader[Example] = DataLoader(
        task.dataset(),
        batch_sampler=[list(range(i * size, (i + 1) * size)) for i in range(count)],
        num_workers=config.run.workers,
        worker_init_fn=use_one_thread,
    )
    return map(channels_last, loader)
