"""Measure the statistics of batch norms anew, for weights whose training is over.

python -m training norms CONFIG.toml --out FILE network.start=WEIGHTS [key=value ...]

Exported weights are the moving average of many steps' weights. The statistics beside them are an
average too, of what each step's own weights produced, and fit none of them exactly.

Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization".
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from training.config import Config, ConfigError
from training.data.composites import Example
from training.loop import channels_last, export, loader
from training.tasks.task import Task

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
    measure(task, map(channels_last, loader(task, config.run, 0, batches)))
    export(task, task.module.state_dict(), path)


@torch.no_grad()
def measure(task: Task, batches: Iterable[Example]) -> None:
    """Give a task's batch norms the mean statistics of batches of one size.

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
