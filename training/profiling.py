"""Where a training step's time goes: loading apart from computing, and the costliest operations.

python -m training CONFIG.toml --profile data.root=DATA
"""

import time
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from training.loop import Trainer

_LOADED = 24
_STEPS = 4
_ROWS = 15


def profiled(trainer: Trainer) -> Iterator[str]:
    """Run a few steps and yield the lines of a report."""
    run = trainer.config.run
    dataset = trainer.task.dataset()
    loader = DataLoader(dataset, batch_size=1, sampler=range(2 * _LOADED), num_workers=0)
    examples = iter(loader)
    for _ in range(_LOADED):  # the first pass reads files, which later ones find in memory
        next(examples)
    begun = time.perf_counter()
    for _ in range(_LOADED):
        next(examples)
    loading = (time.perf_counter() - begun) / _LOADED

    batch = next(trainer.batches())
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
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:_ROWS]:
        share = row.self_cpu_time_total / total
        yield f"{share:6.1%}  {row.self_cpu_time_total / 1e3:8.1f} ms  {row.count:5d} x  {row.key}"
