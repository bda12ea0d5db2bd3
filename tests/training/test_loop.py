import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_data import config_text

from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.prn import PRN
from training.config import ConfigError, load
from training.frozen_norm import freeze_batch_norm, plain_state
from training.loop import (
    MovingAverage,
    NonFiniteLossError,
    Trainer,
    learning_rate,
    save_atomically,
)
from training.portable import Portable, Progress, read_portable, write_portable
from training.tasks.prn import PRNTask, guide_of


def _config(tmp_path, data, name="run", steps=6, corrections=()):
    path = tmp_path / f"{name}.toml"
    path.write_text(config_text(data, tmp_path / name, steps))
    return load(path, list(corrections))


def _losses(config, resume=False, stop_at=None):
    torch.manual_seed(0)
    trainer = Trainer(config, PRNTask(config), resume)
    trainer.module.train()
    found = []
    for batch in trainer.batches():
        found.append(trainer.train_step(batch)["loss"])
        if trainer.step == stop_at:
            trainer.save()
            break
    return found, trainer


def test_a_resumed_run_gives_the_losses_of_an_uninterrupted_one(tmp_path, data):
    whole, _ = _losses(_config(tmp_path, data, "whole"))
    first, _ = _losses(_config(tmp_path, data, "parts"), stop_at=3)
    second, trainer = _losses(_config(tmp_path, data, "parts"), resume=True)
    assert trainer.step == 6
    assert [*first, *second] == pytest.approx(whole, rel=1e-6)


def test_a_resumed_run_takes_other_settings_of_the_optimiser(tmp_path, data):
    _, before = _losses(_config(tmp_path, data), stop_at=2)
    settings = [
        "optimiser.betas=[0.9, 0.99]",
        "optimiser.weight_decay=0.1",
        "optimiser.encoder_rate_factor=0.05",
    ]
    config = _config(tmp_path, data, corrections=settings)
    after = Trainer(config, PRNTask(config), resume=True)
    for group, factor in zip(after.optimiser.param_groups, (0.05, 1.0), strict=True):
        assert group["betas"] == (0.9, 0.99)
        assert (group["weight_decay"], group["factor"]) == (0.1, factor)
    moments, state = (trainer.optimiser.state_dict()["state"] for trainer in (before, after))
    assert moments.keys() == state.keys()
    for key in moments:
        torch.testing.assert_close(state[key], moments[key], rtol=0, atol=0)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, data):
    _losses(_config(tmp_path, data), stop_at=1)
    config = _config(tmp_path, data, corrections=["network.frozen_norm=false"])
    for file in ("checkpoint.pt", "portable.safetensors"):
        with pytest.raises(ConfigError, match=f"{file} must be of the network that the config"):
            Trainer(config, PRNTask(config), resume=True)
        (tmp_path / "run" / file).unlink()


def test_the_exported_weights_are_what_the_product_loads(tmp_path, data):
    _, trainer = _losses(_config(tmp_path, data), stop_at=2)
    folder = tmp_path / "run"
    network = load_prn(folder / "weights.safetensors")
    trainer.module.load_state_dict(trainer.average.state)
    trainer.module.eval()
    inputs = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        for ours, theirs in zip(trainer.module(*inputs), network(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_one_example_is_learned_by_heart(tmp_path, data):
    config = _config(
        tmp_path, data, steps=50,
        corrections=["optimiser.learning_rate=3e-3", "optimiser.betas=[0.9, 0.999]",
                     "network.frozen_norm=false", "data.merge_probability=0.0"],
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = Trainer(config, PRNTask(config), resume=False)
    trainer.module.train()
    batch = next(trainer.batches())
    losses = [trainer.train_step(batch)["loss"] for _ in range(50)]
    assert losses[-1] < losses[0] / 10


def test_a_run_goes_on_elsewhere_from_its_portable_checkpoint(tmp_path, data, caplog):
    whole, _ = _losses(_config(tmp_path, data, "whole"))
    _, before = _losses(_config(tmp_path, data, "here"), stop_at=3)
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "here" / "portable.safetensors").rename(there / "portable.safetensors")
    config = _config(tmp_path, data, "there")
    with pytest.raises(ConfigError, match="must hold no checkpoint of another run"):
        Trainer(config, PRNTask(config), resume=False)
    after = Trainer(config, PRNTask(config), resume=True)
    assert "leaves out the optimiser's state" in caplog.text
    assert (after.step, after.hours, after.best) == (3, before.hours, before.best)
    for key, value in before.average.state.items():
        assert torch.equal(after.average.state[key], value)
    losses, after = _losses(config, resume=True)
    assert losses[0] == pytest.approx(whole[3], rel=0.01)  # the same examples, rounded weights
    assert after.step == 6


def test_after_a_portable_checkpoint_the_rate_rises_again(tmp_path, data):
    config = _config(tmp_path, data)
    _losses(config, stop_at=3)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    trainer = Trainer(config, PRNTask(config), resume=True)
    batch = next(trainer.batches())
    usual = learning_rate(3, 6, config.optimiser.warm_up, config.optimiser.learning_rate)
    assert trainer.train_step(batch)["learning_rate"] == pytest.approx(usual / 100)
    trainer.save()
    again = Trainer(config, PRNTask(config), resume=True)  # from the full one this time
    assert again.fresh_since == 3


def test_the_bundled_networks_portable_checkpoint_has_at_most_16_mib(tmp_path):
    network = PRN("mobilenet_v2")
    freeze_batch_norm(network.encoder)
    state = network.state_dict()
    progress = Progress(1, 0.5, math.inf, 0.1)
    write_portable(tmp_path / "p.safetensors", Portable(state, state, progress))
    assert (tmp_path / "p.safetensors").stat().st_size <= 16 * 2**20
    assert read_portable(tmp_path / "p.safetensors").progress == progress


def test_a_portable_checkpoint_that_is_none_is_refused(tmp_path):
    path = tmp_path / "portable.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="must be a file that a run wrote"):
        read_portable(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="must be a file that a run wrote"):
        read_portable(path)


def test_half_precision_is_not_taken_where_it_overflows(tmp_path):
    state = {"large": torch.tensor([1e6]), "small": torch.tensor([0.1]), "count": torch.tensor(7)}
    path = tmp_path / "p.safetensors"
    write_portable(path, Portable(state, state, Progress(0, 0.0, math.inf, 0.0)))
    back = read_portable(path).module
    assert back["large"].item() == 1e6
    assert back["small"].item() == pytest.approx(0.1, rel=1e-3)
    assert back["count"].item() == 7
    assert back["small"].dtype == torch.float32


def test_killed_at_any_moment_it_goes_on_from_a_whole_checkpoint(tmp_path, data):
    path = tmp_path / "killed.toml"
    path.write_text(config_text(data, tmp_path / "killed", 400) + "\n")
    command = [sys.executable, "-m", "training", str(path), "run.checkpoint_minutes=0.0005"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2], start_new_session=True,
    )  # fmt: skip
    weights = tmp_path / "killed" / "weights.safetensors"
    try:
        while not weights.exists():
            assert process.poll() is None, "training ended by itself"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    config = load(path, ["run.steps=400"])
    trainer = Trainer(config, PRNTask(config), resume=True)
    assert trainer.step > 0
    load_file(weights)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_atomically({"step": 1}, path)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_atomically({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_run_that_was_killed_between_its_last_files_writes_them_when_resumed(tmp_path, data):
    config = _config(tmp_path, data)
    _losses(config, stop_at=6)
    files = [tmp_path / "run" / f"{name}.safetensors" for name in ("portable", "weights")]
    written = [load_file(file) for file in files]
    for file in files:
        file.unlink()
    Trainer(config, PRNTask(config), resume=True).run()
    for file, tensors in zip(files, written, strict=True):
        assert all(torch.equal(value, tensors[key]) for key, value in load_file(file).items())


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_a_damaged_checkpoint_is_named(tmp_path, data, size):
    config = _config(tmp_path, data)
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    save_atomically({"module": torch.zeros(100_000)}, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ConfigError, match=r"that can be read, got .*checkpoint\.pt, which is dam"):
        Trainer(config, PRNTask(config), resume=True)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, data):
    config = _config(tmp_path, data)
    trainer = Trainer(config, PRNTask(config), resume=False)
    batch = next(trainer.batches())
    batch["image"][0, 0, 0, 0] = math.nan
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan .* at step 0: resume from"):
        trainer.train_step(batch)


def test_a_folder_of_another_run_is_not_overwritten(tmp_path, data):
    config = _config(tmp_path, data)
    _losses(config, stop_at=1)
    with pytest.raises(ConfigError, match="must hold no checkpoint of another run"):
        Trainer(config, PRNTask(config), resume=False)
    other = _config(tmp_path, data, "other")
    with pytest.raises(ConfigError, match="must hold a checkpoint to resume"):
        Trainer(other, PRNTask(other), resume=True)


def test_the_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 0.05, 1e-3) for step in range(101)]
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert rates[5] == pytest.approx(1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    assert rates[100] == pytest.approx(0)


def test_a_run_longer_than_it_was_to_be_is_over(tmp_path, data):
    config = _config(tmp_path, data, corrections=["run.minutes=60.0"])
    trainer = Trainer(config, PRNTask(config), resume=False)
    trainer.hours = 1.5
    assert trainer.fraction == 1  # beyond it half a cosine would rise again


def test_logged_losses_are_means_after_a_resume_too(tmp_path, data, monkeypatch):
    losses, _ = _losses(_config(tmp_path, data, "whole"))
    config = _config(tmp_path, data, corrections=["run.log_every=4"])
    _losses(config, stop_at=2)
    logged = []
    monkeypatch.setattr(Trainer, "_log", lambda _self, _writer, means: logged.append(means["loss"]))
    Trainer(config, PRNTask(config), resume=True).run()
    assert logged == [pytest.approx(sum(losses[2:4]) / 2, rel=1e-6)]


def test_the_curriculum_goes_from_truth_over_a_coin_to_self_guidance():
    stages = [guide_of(step / 100, 0.05, 0.15) for step in range(100)]
    assert stages[:5] == ["truth"] * 5
    assert stages[5:15] == ["coin"] * 10
    assert set(stages[15:]) == {"self"}


def test_the_average_follows_the_weights():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = MovingAverage(module, 0.9)
    torch.nn.init.ones_(module.weight)
    average.update(module, step=1000)
    assert average.state["weight"].item() == pytest.approx(0.1)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_depthwise_convolutions_learn_the_same_in_bf16(dilation):
    generator = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(32, 32, 3, 1, dilation, dilation, 32, bias=False)
    sequence = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(32))
    freeze_batch_norm(sequence)
    sequence.to(memory_format=torch.channels_last)
    x, upstream = torch.randn(2, 2, 32, 41, 41, generator=generator)
    gradients = []
    for enabled in (False, True):
        sequence.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found = sequence(x.contiguous(memory_format=torch.channels_last))
        found.backward(upstream.to(found.dtype))
        gradients.append(conv.weight.grad.clone())
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert error < 0.02


def test_frozen_norms_compute_the_same_and_come_apart_again():
    torch.manual_seed(0)
    sequence = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(8)),
        torch.nn.Sequential(
            torch.nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=8, bias=False),
            torch.nn.BatchNorm2d(8),
        ),
    )
    for module in sequence.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    sequence.eval()
    x = torch.rand(2, 3, 16, 16)
    expected = sequence(x).detach()
    keys = set(sequence.state_dict())
    plain = torch.nn.Sequential(*(torch.nn.Sequential(*s) for s in sequence))
    freeze_batch_norm(sequence)
    torch.testing.assert_close(sequence.train()(x).detach(), expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        sequence[0][0].bias.add_(0.3)
        sequence[1][0].weight.mul_(1.2)
    changed = sequence(x).detach()
    state = plain_state(sequence, sequence.state_dict())
    assert set(state) == keys
    plain.load_state_dict(state)
    torch.testing.assert_close(plain.eval()(x).detach(), changed, atol=1e-5, rtol=1e-4)
