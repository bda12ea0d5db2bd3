"""Where a training step's time goes: loading apart from computing, and the costliest operations.

python -m training CONFIG.toml --profile data.root=DATA
"""

import time
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from training.config import ConfigError
from training.loop import Trainer

_LOADED = 24
_STEPS = 6
_WARM_STEPS = 4
_ROWS = 15


def profiled(trainer: Trainer) -> Iterator[str]:
    """Run a few steps and yield the lines of a report.

    Raises:
        ConfigError: The run is shorter than what is measured.
    """
    run = trainer.config.run
    if run.steps - trainer.step <= _WARM_STEPS + _STEPS:
        raise ConfigError(
            f"run.steps must be above {trainer.step + _WARM_STEPS + _STEPS} to be measured, got "
            f"{run.steps}: give run.steps={trainer.step + 100}"
        )
    # First, since a loading process that is forked after threads of this one have worked can hang.
    together = _examples_a_second(trainer)
    loader = DataLoader(trainer.task.dataset(), batch_size=run.batch, sampler=range(_LOADED))
    for _ in loader:  # the first pass reads files, which the second finds in memory
        pass
    begun = time.perf_counter()
    batches = list(loader)
    loading = (time.perf_counter() - begun) / _LOADED

    batch = {
        k: v.to(trainer.device, memory_format=torch.channels_last) for k, v in batches[0].items()
    }
    trainer.module.train()
    trainer.train_step(batch)
    begun = time.perf_counter()
    for _ in range(_STEPS):
        trainer.train_step(batch)
    computing = (time.perf_counter() - begun) / _STEPS / run.batch
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        trainer.train_step(batch)

    yield f"device {trainer.device}, {trainer.dtype}, {torch.get_num_threads()} threads"
    yield f"loading    {loading * 1e3:8.1f} ms an example, one process"
    yield f"computing  {computing * 1e3:8.1f} ms an example, {1 / computing:.2f} examples/s"
    yield f"loading takes {loading / max(1, run.workers) / computing:.0%} of computing's time"
    yield f"together   {together:8.2f} examples/s, {run.workers} loading beside the computing"
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:_ROWS]:
        share = row.self_cpu_time_total / total
        yield f"{share:6.1%}  {row.self_cpu_time_total / 1e3:8.1f} ms  {row.count:5d} x  {row.key}"


def _examples_a_second(trainer: Trainer) -> float:
    """Return the speed of the training loop as it is, loading included."""
    trainer.module.train()
    begun = 0.0
    for done, batch in enumerate(trainer.batches()):
        if done == _WARM_STEPS:
            begun = time.perf_counter()
        if done == _WARM_STEPS + _STEPS:
            break
        trainer.train_step(batch)
    return _STEPS * trainer.config.run.batch / (time.perf_counter() - begun)
