"""Where a training step's time goes: loading apart from computing, and the costliest operations.

python -m training CONFIG.toml --profile data.root=DATA
"""

import time
from collections.abc import Iterator

import torch
from torch.profiler import profile
from torch.utils.data import DataLoader

from training.config import ConfigError
from training.data.composites import Example
from training.loop import Trainer, channels_last

_LOADED = 24
_STEPS = 6
_WARM_STEPS = 4
_ROWS = 15


def profile_run(trainer: Trainer) -> Iterator[str]:
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
    loading, batch = _loading(trainer)
    trainer.module.train()
    trainer.train_step(batch)
    begun = time.perf_counter()
    for _ in range(_STEPS):
        trainer.train_step(batch)
    computing = (time.perf_counter() - begun) / _STEPS / run.batch
    with profile() as profiler:
        trainer.train_step(batch)

    yield f"device {trainer.device}, {trainer.dtype}, {torch.get_num_threads()} threads"
    made = "on the device" if trainer.config.data.on_device else "one process"
    yield f"loading    {loading * 1e3:8.1f} ms an example, {made}"
    yield f"computing  {computing * 1e3:8.1f} ms an example, {1 / computing:.2f} examples/s"
    side_by_side = 1 if trainer.config.data.on_device else max(1, run.workers)
    yield f"loading takes {loading / side_by_side / computing:.0%} of computing's time"
    yield f"together   {together:8.2f} examples/s, {run.workers} loading beside the computing"
    everything = profiler.key_averages()
    # A GPU's own kernels where there are any: the processor only starts them.
    kernels = [row for row in everything if row.device_type.name != "CPU"]
    times = [
        (row.self_device_time_total if kernels else row.self_cpu_time_total, row)
        for row in kernels or everything
    ]
    total = sum(time_us for time_us, _ in times)
    for time_us, row in sorted(times, key=lambda pair: -pair[0])[:_ROWS]:
        yield f"{time_us / total:6.1%}  {time_us / 1e3:8.1f} ms  {row.count:5d} x  {row.key}"


def _loading(trainer: Trainer) -> tuple[float, Example]:
    """Return the seconds that making an example takes, and a batch."""
    run = trainer.config.run
    if trainer.config.data.on_device:
        made = trainer.batches()
        begun = time.perf_counter()
        for _ in range(_STEPS):
            batch = next(made)
        float(batch["image"].sum())  # waits for the device
        return (time.perf_counter() - begun) / _STEPS / run.batch, batch
    loader = DataLoader(trainer.task.dataset(), batch_size=run.batch, sampler=range(_LOADED))
    for _ in loader:  # the first pass reads files, which the second finds in memory
        pass
    begun = time.perf_counter()
    batches = list(loader)
    seconds = (time.perf_counter() - begun) / _LOADED
    return seconds, channels_last({k: v.to(trainer.device) for k, v in batches[0].items()})


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
