"""The training loop: schedule, checkpoints, moving average, logs; any task that gives losses.

Everything random is drawn from generators seeded by the run's seed and the step or the example's
number, so that a checkpoint needs no generator states: a run that was killed and resumed goes on
exactly as it would have.
"""

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mgm_core.networks.hardware import best_dtype, resolve_device
from mgm_core.runtime.partial import clear_up
from training.config import Config, ConfigError, RunConfig
from training.data.composites import Example
from training.distributed import (
    first_process_value,
    local_part,
    rank,
    start,
    synchronised,
    use_one_thread,
)
from training.losses import detach
from training.portable import (
    Portable,
    Progress,
    checkpoint_written,
    read_portable,
    write_portable,
)
from training.tasks.task import Task

log = logging.getLogger(__name__)

_PANEL_ROWS = 4
# An optimiser without memory takes its longest steps first, in the middle of a run as well.
_FRESH_STEPS = 100


class NonFiniteLossError(RuntimeError):
    """The loss is not a number any more; going on would destroy the weights."""


def learning_rate(step: float, steps: int, warm_up: float, peak: float) -> float:
    """Return the rate at a step: linear warm-up, then half a cosine to zero (section 4)."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class _ConsecutiveBatches(Sampler[list[int]]):
    """Example numbers of each batch from a step on; each process takes its part."""

    def __init__(self, start: int, steps: int, batch: int) -> None:
        self.start, self.steps, self.batch = start, steps, batch
        self.part = local_part(batch)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            yield list(range(step * self.batch, (step + 1) * self.batch))[self.part]

    def __len__(self) -> int:
        return self.steps - self.start


class MovingAverage:
    """Exponential moving average of a module's state, which is what is exported.

    Args:
        module: The module to follow.
        decay: Share of the old average kept a step; it rises to this from the first step on, so
            that a short run is not dominated by where it started.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's state after `step`."""
        decay = min(self.decay, (step + 1) / (step + 10))
        state = module.state_dict()
        numbers = [k for k, v in state.items() if v.is_floating_point()]
        averages = [self.state[k] for k in numbers]
        torch._foreach_lerp_(averages, [state[k] for k in numbers], 1 - decay)
        for key in state.keys() - set(numbers):
            self.state[key].copy_(state[key])


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a kill or a full disk leaves the old one whole."""
    with checkpoint_written(path) as part:
        torch.save(content, part)


def export(task: Task, state: dict[str, Tensor], path: Path) -> None:
    """Write a state of a task's module as the product loads it."""
    weights = {
        k: v.detach().to("cpu", copy=True).contiguous() for k, v in task.exported(state).items()
    }
    with checkpoint_written(path) as part:
        save_file(weights, part, task.metadata())


def loader(task: Task, run: RunConfig, start: int, stop: int) -> DataLoader[Example]:
    """Return what loads the batches of the steps from `start` to before `stop`."""
    return DataLoader(
        task.dataset(),
        batch_sampler=_ConsecutiveBatches(start, stop, run.batch),
        num_workers=run.workers,
        worker_init_fn=use_one_thread,
        prefetch_factor=4 if run.workers else None,
    )


class Trainer:
    """One run of a task.

    Args:
        config: The run.
        task: What is trained.
        resume: Go on from the folder's checkpoint, or from its portable one if that is all it has.
    """

    def __init__(self, config: Config, task: Task, resume: bool) -> None:
        self.config, self.task = config, task
        run = config.run
        if run.validation and config.task != "prn":
            raise ConfigError(
                f"run.validation must be empty for the task {config.task!r}, got "
                f"{run.validation!r}: only matting networks are validated"
            )
        self.folder = Path(run.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_up(self.folder)
        if run.threads:
            torch.set_num_threads(run.threads)
        self.device = resolve_device(start(run.device))
        self.dtype = best_dtype(self.device, run.dtype)
        self.module = task.module.to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            task.parameter_groups(),
            lr=config.optimiser.learning_rate,
            betas=config.optimiser.betas,
            weight_decay=config.optimiser.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.average = MovingAverage(self.module, config.optimiser.ema)
        self.gradient_norm = 0.0
        self.step = 0
        self.hours = 0.0
        self.best = math.inf
        self.fresh_since: int | None = None  # step from which the optimiser had to begin anew
        self.parallel = synchronised(self.module, self.device)
        if resume:
            self._restore()
        elif self.checkpoint_path.exists() or self.portable_path.exists():
            raise ConfigError(
                f"run.folder must hold no checkpoint of another run, got {run.folder!r}: "
                "give --resume to go on, or another folder"
            )

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint is."""
        return self.folder / "checkpoint.pt"

    @property
    def portable_path(self) -> Path:
        """Where the checkpoint without the optimiser's state is."""
        return self.folder / "portable.safetensors"

    def _restore(self) -> None:
        if not self.checkpoint_path.exists():
            self._restore_portable()
            return
        try:
            saved = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        except (EOFError, RuntimeError, UnpicklingError) as error:
            raise ConfigError(
                f"run.folder must hold a checkpoint that can be read, got {self.checkpoint_path}, "
                "which is damaged: copy it once more, or remove it to go on from "
                f"{self.portable_path.name}"
            ) from error
        self._load_module(saved["module"], self.checkpoint_path)
        self.average.state = saved["average"]
        # Its moments are taken, and not its settings: they are the configuration's.
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({**saved["optimiser"], "param_groups": groups})
        self.gradient_norm = saved["gradient_norm"]
        self.step = saved["step"]
        self.hours = saved["hours"]
        self.best = saved.get("best", math.inf)
        self.fresh_since = saved.get("fresh_since")

    def _load_module(self, state: dict[str, Tensor], path: Path) -> None:
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise ConfigError(
                f"{path} must be of the network that the config describes, got another's: give "
                "the settings of [network] that its run began with, or another run.folder"
            ) from error

    def _restore_portable(self) -> None:
        if not self.portable_path.exists():
            raise ConfigError(
                f"run.folder must hold a checkpoint to resume, got {str(self.folder)!r}, which "
                "has none: start without --resume"
            )
        portable = read_portable(self.portable_path)
        self._load_module(portable.module, self.portable_path)
        self.average.state = {k: v.to(self.device) for k, v in portable.average.items()}
        progress = portable.progress
        self.step, self.hours, self.best = progress.step, progress.hours, progress.best
        self.gradient_norm, self.fresh_since = progress.gradient_norm, progress.step
        log.warning(
            "going on from %s, which leaves out the optimiser's state: the rate rises again "
            "over %d steps",
            self.portable_path,
            _FRESH_STEPS,
        )

    def save(self) -> None:
        """Write both checkpoints and the exported weights, once for all processes."""
        if rank() != 0:
            return
        save_atomically(
            {
                "module": self.module.state_dict(),
                "average": self.average.state,
                "optimiser": self.optimiser.state_dict(),
                "gradient_norm": self.gradient_norm,
                "step": self.step,
                "hours": self.hours,
                "best": self.best,
                "fresh_since": self.fresh_since,
            },
            self.checkpoint_path,
        )
        progress = Progress(self.step, self.hours, self.best, self.gradient_norm)
        write_portable(
            self.portable_path, Portable(self.module.state_dict(), self.average.state, progress)
        )
        self._export(self.folder / "weights.safetensors")

    def _export(self, path: Path) -> None:
        """Write the averaged weights as the product loads them."""
        export(self.task, self.average.state, path)

    @property
    def fraction(self) -> float:
        """How much of the run is over, by steps or by the clock, whichever is further."""
        run = self.config.run
        by_clock = self.hours * 60 / run.minutes if run.minutes > 0 else 0.0
        return min(1.0, max(self.step / run.steps, by_clock))

    def batches(self) -> Iterator[Example]:
        """Return the batches from this step to the run's end."""
        if self.config.data.on_device:
            examples = self.task.on_device(self.device, self.step)
            steps = range(self.step, self.config.run.steps)
            return (channels_last(examples.batch(step)) for step in steps)
        return self._loaded()

    def _loaded(self) -> Iterator[Example]:
        for batch in loader(self.task, self.config.run, self.step, self.config.run.steps):
            yield channels_last({k: v.to(self.device) for k, v in batch.items()})

    def train_step(self, batch: Example) -> dict[str, float]:
        """Take one step and return the logged terms."""
        optimiser = self.config.optimiser
        steps, fraction = self.config.run.steps, self.fraction
        rate = learning_rate(fraction * steps, steps, optimiser.warm_up, optimiser.learning_rate)
        if self.fresh_since is not None:
            rate *= min(1.0, (self.step - self.fresh_since + 1) / _FRESH_STEPS)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.task.losses(self.parallel, batch, self.step, fraction)
        self.optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
        norm = self._clip()
        numbers = detach(terms)
        if not (math.isfinite(numbers["loss"]) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"the loss is {numbers['loss']} and the gradient's norm {norm} at step "
                f"{self.step}: resume from the last checkpoint with a lower "
                "optimiser.learning_rate"
            )
        self.optimiser.step()
        self.average.update(self.module, self.step)
        self.step += 1
        return {**numbers, "learning_rate": rate, "gradient_norm": norm}

    def _clip(self) -> float:
        """Shorten a gradient longer than twice the moving average of its norm."""
        limit = self.config.optimiser.clip_factor * self.gradient_norm
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf))
        clipped = min(norm, limit) if limit > 0 else norm
        self.gradient_norm = clipped if limit <= 0 else 0.98 * self.gradient_norm + 0.02 * clipped
        return norm

    def run(self) -> None:
        """Train to the run's end, writing logs, checkpoints and the best weights."""
        if self.fraction >= 1:
            self.save()  # a kill may have come between the files that the last save writes
            return
        run = self.config.run
        writer = SummaryWriter(self.folder / "log") if rank() == 0 else None
        log.info("training on %s in %s from step %d", self.device, self.dtype, self.step)
        self.module.train()
        batches = self.batches()
        last_save = started = time.monotonic()
        running: dict[str, float] = {}
        count = 0  # of the steps in it: less than log_every after a resume
        bar = tqdm(
            total=run.steps, initial=self.step, unit="step", mininterval=10, disable=rank() != 0
        )
        for batch in batches:
            for name, value in self.train_step(batch).items():
                running[name] = running.get(name, 0.0) + value
            count += 1
            bar.update()
            now = time.monotonic()
            # By one clock, since learning rate and end follow it: each process's own would drift.
            self.hours = first_process_value(self.hours + (now - started) / 3600, self.device)
            seconds, started = now - started, now
            running["samples_per_second"] = (
                running.get("samples_per_second", 0.0) + run.batch / seconds
            )
            if self.step % run.log_every == 0:
                self._log(writer, {name: total / count for name, total in running.items()})
                bar.set_postfix({"loss": f"{running['loss'] / count:.4f}"})
                running, count = {}, 0
            if writer is not None and run.panel_every and self.step % run.panel_every == 0:
                writer.add_image("panel", self.panel(batch), self.step)
            if run.validation and self.step % run.validate_every == 0:
                self._validate(writer)  # before the checkpoint, which holds the best score
            over = self.fraction >= 1
            if now - last_save > 60 * run.checkpoint_minutes or over:
                self.save()
                last_save = time.monotonic()
            if over:
                break
        bar.close()
        if writer is not None:
            writer.close()

    def _log(self, writer: SummaryWriter | None, running: dict[str, float]) -> None:
        if writer is not None:
            for name, value in running.items():
                writer.add_scalar(name, value, self.step)

    def panel(self, batch: Example) -> Tensor:
        """Return a picture of the first examples and what is made of them, (3, H, W) in [0, 1]."""
        self.module.eval()
        with torch.no_grad():
            rows = self.task.panel({k: v[:_PANEL_ROWS] for k, v in batch.items()})
        self.module.train()
        columns = [row.expand(-1, 3, -1, -1).float().clamp(0, 1).cpu() for row in rows]
        return torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)

    def _validate(self, writer: SummaryWriter | None) -> None:
        """Score the averaged weights and keep them where none were better."""
        if writer is None:  # the first process does it alone
            return
        score = self.task.validate(self.task.exported(self.average.state))
        assert score is not None, "the constructor refuses a task without validation"
        writer.add_scalar("validation", score, self.step)
        log.info("step %d: validation %.6f, best so far %.6f", self.step, score, self.best)
        if score < self.best:
            self.best = score
            self._export(self.folder / "best.safetensors")


def channels_last(batch: Example) -> Example:
    """Return a batch with pixels' channels side by side, as convolutions are fastest."""
    return {k: v.contiguous(memory_format=torch.channels_last) for k, v in batch.items()}
