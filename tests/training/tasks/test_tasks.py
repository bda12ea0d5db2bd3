import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_data import config_text

from mgm_core.images import read_image, write_image
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN
from mgm_core.weights import bundled_path
from training.__main__ import main
from training.config import ConfigError, load
from training.loop import Trainer
from training.spectral_norm import add_spectral_norm, without_spectral_norm
from training.tasks.foreground import ForegroundExamples, ForegroundTask, random_alpha
from training.tasks.prn import FUSIONS, PRNTask


def _config(tmp_path, data, task="prn", corrections=(), steps=2):
    path = tmp_path / "config.toml"
    path.write_text(config_text(data, tmp_path / "run", steps, task))
    return load(path, list(corrections))


def _one_step(config, task):
    trainer = Trainer(config, task, resume=False)
    trainer.module.train()
    batch = next(trainer.batches())
    terms = trainer.train_step(batch)
    trainer.save()
    return trainer, batch, terms


@pytest.mark.parametrize("variant", list(FUSIONS))
def test_every_ablation_trains_and_is_loaded_as_it_was_trained(tmp_path, data, variant):
    config = _config(tmp_path, data, corrections=[f"network.variant={variant}"])
    trainer, batch, terms = _one_step(config, PRNTask(config))
    network = load_prn(tmp_path / "run" / "weights.safetensors")
    assert network.fusion == FUSIONS[variant]
    levels = network(batch["image"], batch["guidance"])
    alpha = network.refined(levels).alpha
    assert (alpha == levels.os1).all() or variant == "prn"
    moved = {
        name.split(".")[1]
        for name, parameter in trainer.module.named_parameters()
        if "decoder.head" in name and parameter.grad is not None and parameter.grad.any()
    }
    everything = {"head_os8", "head_os4", "head_os1"}
    assert moved == ({"head_os1"} if variant == "baseline" else everything)
    assert {k for k in terms if "/" in k} == {
        f"{level}/{term}"
        for level in ("os8", "os4", "os1")
        for term in ("l1", "laplacian", "composition")
    }


@pytest.mark.parametrize("crop_px", [0, 100])
def test_crops_that_the_network_does_not_take_are_refused(tmp_path, data, crop_px):
    config = _config(tmp_path, data, corrections=[f"data.crop_px={crop_px}"])
    with pytest.raises(ConfigError, match=f"crop_px must be a multiple of 32 .* got {crop_px}:"):
        PRNTask(config)


def test_training_goes_on_from_the_bundled_weights(tmp_path, data):
    bundled = bundled_path("prn_mobilenet_v2")
    config = _config(tmp_path, data, corrections=[f"network.start={bundled}"])
    started = PRNTask(config)
    state = started.exported(started.module.state_dict())
    product = load_prn("prn_mobilenet_v2").state_dict()
    name = "decoder.stage4.0.weight"
    assert torch.equal(state[name], product[name])


def test_spectral_norm_bounds_every_convolution_and_folds_into_the_same_network():
    torch.manual_seed(0)
    network = PRN("resnet34")
    add_spectral_norm(network)
    network.train()
    inputs = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for _ in range(15):  # a power iteration a pass
            network(*inputs)
    network.eval()
    weight = network.encoder.layer1[0].conv1.weight
    largest = torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item()
    assert largest == pytest.approx(1, abs=0.05)
    plain = PRN("resnet34").eval()
    plain.load_state_dict(without_spectral_norm(network.state_dict()))
    with torch.inference_mode():
        for a, b in zip(network(*inputs), plain(*inputs), strict=True):
            torch.testing.assert_close(a, b, atol=0.03, rtol=0.05)


def test_random_alpha_blending_knows_the_foreground_everywhere(tmp_path, data):
    config = _config(tmp_path, data, "foreground")
    example = ForegroundExamples(config)[1]
    blended = (
        example["alpha"] * example["foreground"] + (1 - example["alpha"]) * example["background"]
    )
    np.testing.assert_allclose(example["image"], blended, atol=1e-5)
    assert (example["supervised"] == 1).all()
    without = _config(tmp_path, data, "foreground", ["data.random_alpha_blending=false"])
    example = ForegroundExamples(without)[1]
    assert ((example["supervised"] == 1) == (example["alpha"] > 0)).all()


def test_random_alpha_blending_leaves_some_cutouts_their_own_colours(tmp_path, data):
    config = _config(tmp_path, data, "foreground", ["data.own_colours_probability=0.5"])
    rows = [ForegroundExamples(config)[index] for index in range(24)]
    own = sum(bool((row["supervised"] == 0).any()) for row in rows)
    assert 6 <= own <= 18
    for row in rows:
        assert (row["supervised"][row["alpha"] > 0] == 1).all()


@pytest.mark.parametrize("on_device", ["false", "true"])
def test_some_cutouts_come_with_the_alpha_that_the_matting_network_predicts(
    tmp_path, data, on_device
):
    corrections = [
        f"data.on_device={on_device}",
        "data.own_colours_probability=0.5",
        "data.predicted_alpha_probability=1",
        "loss.squared=3.0",
        "run.batch=16",
    ]
    config = _config(tmp_path, data, "foreground", corrections)
    task = ForegroundTask(config)
    _, batch, terms = _one_step(config, task)
    predicted = batch["predicted_alpha"].flatten() == 1
    assert 3 <= predicted.sum() <= 13
    own = (batch["supervised"] == 0).flatten(1).any(1)
    assert not (own & ~predicted).any()
    errors = (task.given_alpha(batch) - batch["alpha"]).abs().mean((1, 2, 3))
    assert (errors[~predicted] == 0).all()
    assert (errors[predicted] > 0).all()
    assert errors[predicted].mean() < 0.2
    assert np.isfinite(terms["loss"])
    assert terms["squared"] > 0


def test_random_alphas_differ_and_are_soft():
    alphas = [random_alpha(64, np.random.default_rng(i)) for i in range(8)]
    for alpha in alphas:
        assert alpha.shape == (64, 64)
        assert 0 <= alpha.min() < alpha.max() <= 1
        assert len(np.unique(alpha)) > 100
    assert len({float(a.mean()) for a in alphas}) == 8


def test_the_foreground_network_starts_from_the_image_and_learns(tmp_path, data):
    network = ForegroundNetwork().eval()
    image, alpha = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    with torch.inference_mode():
        assert (network(image, alpha) == image).all()
    config = _config(tmp_path, data, "foreground", ["optimiser.learning_rate=2e-3"], steps=25)
    trainer = Trainer(config, ForegroundTask(config), resume=False)
    trainer.module.train()
    batch = next(trainer.batches())
    losses = [trainer.train_step(batch)["loss"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    trainer.save()
    network.load_state_dict(load_file(tmp_path / "run" / "weights.safetensors"))
    with pytest.raises(ConfigError, match=r"network\.encoder must be 'mobilenet_v2'"):
        ForegroundTask(_config(tmp_path, data, "foreground", ["network.encoder=resnet34"]))


def test_a_profile_tells_loading_from_computing(tmp_path, data, capsys):
    _config(tmp_path, data, steps=12)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"of another run")
    assert main([str(tmp_path / "config.toml"), "--profile"]) == 0
    assert checkpoint.read_bytes() == b"of another run"
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"device cpu, torch\.(float32|bfloat16), 1 threads", lines[0])
    assert [line.split()[0] for line in lines[1:5]] == [
        "loading",
        "computing",
        "loading",
        "together",
    ]
    rates = [float(re.search(r"([\d.]+) examples/s", lines[i])[1]) for i in (2, 4)]
    assert all(rate > 0 for rate in rates)
    assert any("convolution_backward" in line for line in lines[5:])
    _config(tmp_path, data, steps=4)
    assert main([str(tmp_path / "config.toml"), "--profile"]) == 1
    assert "run.steps must be above 10 to be measured, got 4" in capsys.readouterr().err


def test_a_run_from_the_command_line_validates_and_keeps_the_best(tmp_path, data, capsys):
    folder = data / "validation"
    for part in ("image", "alpha"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    write_image(folder / "image" / "a.png", generator.random((80, 96, 3), dtype=np.float32))
    alpha = np.zeros((80, 96), np.float32)
    alpha[20:60, 30:70] = 1
    write_image(folder / "alpha" / "a.png", alpha)
    _config(tmp_path, data)
    arguments = [str(tmp_path / "config.toml"), "run.validation=validation",
                 "run.validate_every=2", "run.panel_every=2"]  # fmt: skip
    assert main(arguments) == 0
    load_prn(tmp_path / "run" / "best.safetensors")
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert saved["best"] < math.inf
    assert any((tmp_path / "run" / "log").iterdir())
    assert main(arguments) == 1
    assert "must hold no checkpoint of another run" in capsys.readouterr().err


def test_a_validation_that_cannot_be_is_refused_before_the_first_step(tmp_path, data, capsys):
    _config(tmp_path, data)
    arguments = [str(tmp_path / "config.toml"), "run.validation=none"]
    assert main(arguments) == 1
    assert "folder must be a directory, got" in capsys.readouterr().err
    config = _config(tmp_path, data, "foreground", ["run.validation=validation"])
    with pytest.raises(ConfigError, match=r"run\.validation must be empty for the task 'foregroun"):
        Trainer(config, ForegroundTask(config), resume=False)


def test_an_empty_folder_is_told_without_a_traceback(tmp_path, data, capsys):
    _config(tmp_path, data)
    assert main([str(tmp_path / "config.toml"), f"data.root={tmp_path}"]) == 1
    assert "error: folder must be a directory, got" in capsys.readouterr().err


def test_sheets_show_the_examples_and_the_perturbed_guidance(tmp_path, data, capsys):
    _config(tmp_path, data)
    out = tmp_path / "sheet.png"
    assert main(["sheet", str(tmp_path / "config.toml"), "--out", str(out), "--count", "3"]) == 0
    assert read_image(out).shape == (3 * 64, 6 * 64, 3)
    alpha = tmp_path / "alpha.png"
    y, x = np.mgrid[:64, :80]
    write_image(alpha, np.clip((20 - np.hypot(y - 32, x - 40)) / 6, 0, 1).astype(np.float32))
    assert main(["guidance", str(alpha), "--out", str(out), "--columns", "4"]) == 0
    assert read_image(out).shape == (6 * 64, 5 * 80, 3)
    assert "CutMask" in capsys.readouterr().out
