from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from training_data import config_text

from training.__main__ import main
from training.config import ConfigError, load
from training.tasks.prn import PRNTask
from training.tools.norms import measure


@pytest.fixture
def run(tmp_path, data):
    """Return a configuration's file and weights to start from, of a network that is new."""
    config, start = tmp_path / "config.toml", tmp_path / "start.safetensors"
    config.write_text(config_text(data, tmp_path / "run", 2))
    torch.manual_seed(0)
    task = PRNTask(load(config, []))
    save_file(task.exported(task.module.state_dict()), start, task.metadata())
    return config, start


def test_statistics_are_the_mean_of_all_batches_and_nothing_else_changes(tmp_path, run):
    config, start = run
    command = ["norms", str(config), f"network.start={start}", "--batches", "3"]
    assert main([*command, "--out", str(tmp_path / "out.safetensors")]) == 0
    before, after = load_file(start), load_file(tmp_path / "out.safetensors")
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed
    assert all(key.startswith("decoder.") and key.endswith(statistics) for key in changed)

    task = PRNTask(load(config, [f"network.start={start}"]))
    module, examples = task.module.train(), task.dataset()
    name, norm = next((n, m) for n, m in module.named_modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    for i in (0, 2, 4):
        pair = examples[i], examples[i + 1]
        batch = {key: torch.stack([example[key] for example in pair]) for key in pair[0]}
        with torch.no_grad():
            task.losses(module, batch, 0, 1.0)
    expected = torch.stack([features.mean((0, 2, 3)) for features in seen]).mean(0)
    torch.testing.assert_close(after[f"{name}.running_mean"], expected)


def test_what_cannot_be_measured_is_refused(tmp_path, run, capsys):
    config, start = run
    out = tmp_path / "out.safetensors"
    command = ["norms", str(config), "--out", str(out)]
    assert main(command) == 1
    assert "network.start must name weights, got none" in capsys.readouterr().err
    assert main([*command, f"network.start={start}", "--batches", "0"]) == 1
    assert "--batches must be at least 1, got 0" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(ConfigError, match="must have batch norms whose statistics are not frozen"):
        measure(SimpleNamespace(module=nn.Conv2d(3, 3, 1)), [])
