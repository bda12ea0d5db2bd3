import re

import numpy as np
import pytest
import torch
from training_data import config_text

from mgm_core.foreground.closed_form import closed_form_colours
from mgm_core.networks.checkpoint import load_foreground_weigher
from mgm_core.networks.foreground_fusion_net import COLOUR_CANDIDATES, COLOUR_LOOKS
from training.config import ConfigError, load
from training.data.guidance_noise import is_trimap
from training.loop import Trainer
from training.tasks.foreground_fusion import ForegroundWeigherExamples, ForegroundWeigherTask


def _config(folder, data, *corrections):
    path = folder / "config.toml"
    path.write_text(config_text(data, folder / "run", 3, "foreground_weigher"))
    own = "data.random_alpha_blending=false", "data.kept_examples=6"
    return load(path, [*own, *corrections])


def test_an_example_is_what_the_product_would_choose_from(tmp_path, data):
    config = _config(tmp_path, data)
    examples = ForegroundWeigherExamples(config)
    hits = 0
    for index in range(6):
        example = examples[index]
        assert {k: tuple(v.shape) for k, v in example.items()} == {
            "image": (3, 64, 64),
            "alpha": (1, 64, 64),
            "candidates": (15, 64, 64),
            "foreground": (3, 64, 64),
            "supervised": (1, 64, 64),
        }
        image, alpha, foreground = (
            example[k].numpy().transpose(1, 2, 0) for k in ("image", "alpha", "foreground")
        )
        candidates = example["candidates"].numpy().reshape(COLOUR_CANDIDATES, 3, 64, 64)
        opaque = (alpha[..., 0] == 1) & (example["supervised"][0].numpy() == 1)
        soft = (alpha[..., 0] > 0.05) & (alpha[..., 0] < 0.95)
        if opaque.any() and soft.any():
            assert np.abs(image - foreground)[opaque].mean() < 0.02
            # The strongest prior's colours are nearest to the looks' mean.
            apart = np.abs(candidates - candidates[:COLOUR_LOOKS].mean(0))[:, :, soft].mean((1, 2))
            assert apart[-1] < apart[2]
            hits += 1
    assert hits >= 3


def test_closed_form_candidates_are_those_of_the_looks_mean(tmp_path, data):
    config = _config(tmp_path, data, "data.scales=[1.0, 1.1]")
    examples = ForegroundWeigherExamples(config)
    _, estimator = examples._loaded()
    example = examples[0]
    image = np.ascontiguousarray(example["image"].numpy().transpose(1, 2, 0))
    alpha = example["alpha"][0].numpy()
    candidates = estimator.candidates(image, alpha)
    looks = candidates[:COLOUR_LOOKS]
    # F and B of the network composite to the image, and so does their mean.
    share = alpha[..., None].clip(0.2, 0.8)
    background = ((image - share * looks.mean(0)) / (1 - share)).clip(0, 1)
    again = closed_form_colours(image, alpha, looks.mean(0), background, [1e-4])[0]
    soft = (alpha > 0.3) & (alpha < 0.8)
    assert np.abs(again - candidates[COLOUR_LOOKS])[soft].mean() < 0.05


def test_examples_are_made_once_and_shown_again_turned(tmp_path, data, monkeypatch):
    examples = ForegroundWeigherExamples(_config(tmp_path, data))
    made = []
    inner = examples._made
    monkeypatch.setattr(examples, "_made", lambda number: made.append(number) or inner(number))
    first, second = ([examples[i] for i in range(start, start + 6)] for start in (0, 6))
    assert sorted(made) == list(range(6))
    sums = [sorted(float(e["image"].double().sum()) for e in shown) for shown in (first, second)]
    assert sums[0] == pytest.approx(sums[1])
    assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))
    other = ForegroundWeigherExamples(_config(tmp_path, data, "run.seed=1"))[0]
    assert not torch.equal(other["image"], first[0]["image"])


def test_trimaps_are_told_from_masks_and_mattes():
    trimap = np.array([[0, 0.5, 1]], np.float32)
    assert is_trimap(trimap)
    assert is_trimap(np.full((2, 2), 0.5, np.float32))
    assert not is_trimap(np.array([[0, 1, 1]], np.float32))
    assert not is_trimap(np.array([[0, 0.4, 0.5, 1]], np.float32))


def test_training_lowers_the_loss_and_is_loaded_as_it_was_trained(tmp_path, data):
    config = _config(tmp_path, data, "run.steps=40", "optimiser.learning_rate=5e-3")
    task = ForegroundWeigherTask(config)
    trainer = Trainer(config, task, resume=False)
    trainer.module.train()
    losses = [trainer.train_step(batch) for batch in trainer.batches()]
    ratios = [terms["l1"] / terms["l1_before"] for terms in losses if terms["l1_before"] > 0]
    assert np.mean(ratios[-10:]) < np.mean(ratios[:3])
    trainer.save()
    network = load_foreground_weigher(tmp_path / "run" / "weights.safetensors")
    assert not network.training
    state = trainer.average.state
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    examples = task.dataset()
    batch = {k: torch.stack([examples[i][k] for i in (0, 1)]) for k in examples[0]}
    with torch.no_grad():
        panel = task.panel(batch)
    assert [p.shape[1] for p in panel] == [3, 1, 3, 3, 3, 3, 3, 3, 3]
    start = f"network.start={tmp_path / 'run' / 'weights.safetensors'}"
    again = ForegroundWeigherTask(_config(tmp_path, data, start)).module.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in again.items() if v.is_floating_point())


def test_what_cannot_be_trained_is_refused(tmp_path, data):
    for name in ("on_device", "random_alpha_blending"):
        text = f"data.{name} must be false for the task 'foreground_weigher', got true"
        with pytest.raises(ConfigError, match=re.escape(text)):
            ForegroundWeigherTask(_config(tmp_path, data, f"data.{name}=true"))
    text = "data.kept_examples must be 1 or more, got 0: 5000 are enough"
    with pytest.raises(ConfigError, match=re.escape(text)):
        ForegroundWeigherExamples(_config(tmp_path, data, "data.kept_examples=0"))
