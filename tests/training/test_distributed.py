import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_data import config_text, write_training_data

from training.config import load
from training.distributed import _SynchronisedNorm
from training.loop import Trainer
from training.tasks.prn import PRNTask

_PROGRAM = """
import json, sys, torch
from pathlib import Path
from training.config import load
from training.distributed import rank, stop
from training.loop import Trainer
from training.tasks.prn import PRNTask
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)  # Adam's first steps turn rounding into whole steps
config = load(Path(sys.argv[1]), ["run.batch=4", "network.frozen_norm=false",
                                   "optimiser.learning_rate=1e-4", "run.folder=" + sys.argv[2]])
trainer = Trainer(config, PRNTask(config), False)
trainer.module.train()
double = ({k: v.double() for k, v in batch.items()} for batch in trainer.batches())
losses = [trainer.train_step(batch)["loss"] for batch in double]
if rank() == 0:
    Path(sys.argv[3]).write_text(json.dumps(losses))
stop()
"""

# The second process's clock is three times as fast as the first's.
_TIMED_PROGRAM = """
import itertools, json, sys, types
from pathlib import Path
import training.loop
from training.config import load
from training.distributed import rank, stop
from training.tasks.prn import PRNTask
config = load(Path(sys.argv[1]), ["run.minutes=0.1", "run.log_every=100",
                                   "run.folder=" + sys.argv[2]])
trainer = training.loop.Trainer(config, PRNTask(config), False)
ticks = itertools.count(0.0, 1 + 2 * rank())
training.loop.time = types.SimpleNamespace(monotonic=lambda: next(ticks))
rates, step = [], trainer.train_step
def timed(batch):
    terms = step(batch)
    rates.append(terms["learning_rate"])
    return terms
trainer.train_step = timed
trainer.run()
out = Path(sys.argv[3]).with_suffix(f".{rank()}.json")
out.write_text(json.dumps([trainer.step, trainer.hours, rates]))
stop()
"""


def _launch(tmp_path, program, count, *, steps, timeout=300):
    """Run a program in so many processes; return the path that it was given for its results."""
    write_training_data(tmp_path / "data")
    config = tmp_path / "config.toml"
    config.write_text(config_text(tmp_path / "data", tmp_path / "x", steps))
    file = tmp_path / "program.py"
    file.write_text(program)
    root = Path(__file__).parents[2]
    out = tmp_path / f"{count}.json"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    subprocess.run(
        [sys.executable, *(launcher if count > 1 else []), str(file), str(config),
         str(tmp_path / f"run{count}"), str(out)],
        check=True, cwd=root, capture_output=True, timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return out


@pytest.mark.filterwarnings("default")
def test_two_processes_compute_what_one_does(tmp_path):
    losses = {}
    for count in (1, 2):
        (folder := tmp_path / str(count)).mkdir()
        losses[count] = json.loads(_launch(folder, _PROGRAM, count, steps=3).read_text())
    assert len(losses[1]) == 3
    assert losses[2] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.filterwarnings("default")
def test_two_processes_go_by_one_clock(tmp_path):
    out = _launch(tmp_path, _TIMED_PROGRAM, 2, steps=20, timeout=120)
    first, second = (json.loads(out.with_suffix(f".{n}.json").read_text()) for n in (0, 1))
    assert first == second
    assert first[0] == 6  # of one second each
    assert first[1] == pytest.approx(0.1 / 60)


def test_batch_norm_of_several_processes_in_bf16(monkeypatch):
    monkeypatch.setattr("training.distributed.dist.all_reduce", lambda x: None)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 3 + 5
    one, several = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    several.__class__ = _SynchronisedNorm
    expected, found = one(x), several(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.01)
    torch.testing.assert_close(several.running_var, one.running_var, atol=0, rtol=0.01)


def test_a_batch_that_cannot_be_shared(tmp_path, monkeypatch):
    write_training_data(tmp_path / "data")
    path = tmp_path / "config.toml"
    path.write_text(config_text(tmp_path / "data", tmp_path / "x", 4))
    config = load(path, ["run.batch=3"])
    trainer = Trainer(config, PRNTask(config), resume=False)
    monkeypatch.setattr("training.distributed.world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"multiple of the 2 processes, got 3: .*batch=2"):
        next(trainer.batches())
