import re

import numpy as np
import pytest
import torch
from processes import computed_in_parts
from training_data import config_text

from mgm_core.matting.refine import CandidateAlphas, mean_view
from mgm_core.networks.checkpoint import load_fusion, load_prn
from mgm_core.weights import CheckpointError
from training.config import ConfigError, load
from training.loop import Trainer
from training.losses import balance
from training.tasks.fusion import FusionExamples, FusionTask


def _config(folder, data, *corrections):
    path = folder / "config.toml"
    text = config_text(data, folder / "run", 3, "fusion")
    rough = '[[data.sources]]\nkind = "photo_mask"\npath = "photos"\n'
    assert rough in text
    path.write_text(text.replace(rough, ""))
    return load(path, ["data.cached_examples=6", *corrections])


def test_an_example_is_what_the_product_would_see(tmp_path, data):
    config = _config(tmp_path, data)
    examples = FusionExamples(config)
    for index in range(6):
        example = examples[index]
        assert {k: tuple(v.shape) for k, v in example.items()} == {
            "image": (3, 64, 64),
            "guidance": (1, 64, 64),
            "candidates": (8, 64, 64),
            "alpha": (1, 64, 64),
            "supervised": (1, 64, 64),
        }
        views, mean, others = np.split(example["candidates"].numpy(), [2, 3])
        assert np.abs(mean[0] - views.mean(0)).max() < 1.1 / 255
        unknown = example["supervised"][0].numpy() == 1
        image = np.ascontiguousarray(example["image"].numpy().transpose(1, 2, 0))
        for found in others:
            assert (np.abs(found - mean[0])[~unknown] < 1.1 / 255).all()
        if unknown.any():
            # As kept in 8 bits, so that the solution differs a little; samples are the first
            # round's.
            again = CandidateAlphas(image, mean_view(views), unknown)(list(views))[3:]
            assert np.abs(again - others)[:, unknown].mean() < 0.1


def test_examples_are_made_once_and_shown_again_turned(tmp_path, data, monkeypatch):
    config = _config(tmp_path, data)
    examples = FusionExamples(config)
    made = []
    inner = examples._make
    monkeypatch.setattr(examples, "_make", lambda number: made.append(number) or inner(number))
    first, second = ([examples[i] for i in range(start, start + 6)] for start in (0, 6))
    assert sorted(made) == list(range(6))

    def contents(shown):
        return sorted(float(e["image"].double().sum()) for e in shown)

    assert contents(first) == pytest.approx(contents(second))
    assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))
    # Another process finds them, and one of another run makes the same anew.
    others = FusionExamples(config)
    monkeypatch.setattr(others, "_make", lambda number: pytest.fail("was there already"))
    (tmp_path / "other").mkdir()
    anew = FusionExamples(_config(tmp_path / "other", data))
    for index in (0, 7):
        for name, value in examples[index].items():
            assert torch.equal(others[index][name], value)
            assert torch.equal(anew[index][name], value)


def test_examples_of_other_settings_are_not_mistaken_for_these(tmp_path, data):
    cached = FusionExamples(_config(tmp_path, data))[0]
    other = FusionExamples(_config(tmp_path, data, "data.camera=true", "guidance.trimap=3"))[0]
    assert not torch.equal(cached["candidates"], other["candidates"])
    assert len(list((tmp_path / "run").glob("examples-*.raw"))) == 2


def _cache_name(config):
    return FusionExamples(config)._cache._name


def test_examples_of_other_pictures_or_weights_are_not_mistaken_for_these(
    tmp_path, data, monkeypatch
):
    matting, first_round = tmp_path / "matting.safetensors", tmp_path / "fusion.safetensors"
    matting.write_bytes(b"first")
    first_round.write_bytes(b"first")
    config = _config(tmp_path, data, f"network.matting={matting}")
    names = [_cache_name(config)]
    assert _cache_name(config) == names[0]
    with monkeypatch.context() as patched:
        patched.setattr("training.data.composites.HELD_OUT_ANIMALS", frozenset({"0"}))
        names.append(_cache_name(config))
    assert _cache_name(config) == names[0]
    matting.write_bytes(b"second")
    names.append(_cache_name(config))
    monkeypatch.setattr("training.tasks.fusion.FUSION_WEIGHTS", str(first_round))
    names.append(_cache_name(config))
    first_round.write_bytes(b"second")
    names.append(_cache_name(config))
    assert len(set(names)) == 5


def test_examples_of_other_weights_in_a_further_file_are_not_mistaken_for_these(tmp_path, data):
    config = _config(tmp_path, data, f"network.matting={tmp_path / 'matting.safetensors'}")
    (tmp_path / "matting.safetensors").write_bytes(b"first")
    names = []
    for content in (b"second", b"third"):
        (tmp_path / "matting.2.safetensors").write_bytes(content)
        names.append(_cache_name(config))
    assert names[0] != names[1]


def test_a_trimaps_known_regions_are_kept(tmp_path, data):
    config = _config(tmp_path, data, "guidance.mask=0", "guidance.matte=0", "guidance.trimap=1")
    examples = FusionExamples(config)
    for index in range(6):
        example = examples[index]
        where = example["supervised"] == 1
        decided = example["candidates"][:1][~where]
        assert where.any()
        assert set(decided.unique().tolist()) <= {0.0, 1.0}


def test_training_lowers_the_loss_and_is_loaded_as_it_was_trained(tmp_path, data):
    config = _config(tmp_path, data, "run.steps=40", "optimiser.learning_rate=5e-3")
    task = FusionTask(config)
    trainer = Trainer(config, task, resume=False)
    trainer.module.train()
    losses = [trainer.train_step(batch) for batch in trainer.batches()]
    assert {"l1", "laplacian", "l1_before", "laplacian_before"} <= losses[0].keys()
    ratios = [terms["l1"] / terms["l1_before"] for terms in losses if terms["l1_before"] > 0]
    assert np.mean(ratios[-10:]) < np.mean(ratios[:3])
    trainer.save()
    network = load_fusion(tmp_path / "run" / "weights.safetensors")
    assert not network.training
    state = trainer.average.state
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    with pytest.raises(CheckpointError, match="must be of a resnet34 or mobilenet_v2 network"):
        load_prn(tmp_path / "run" / "weights.safetensors")
    with torch.no_grad():
        panel = task.panel(_batch(task))
    assert [p.shape[1] for p in panel] == [3] + [1] * 11


def test_examples_count_by_how_little_the_network_errs_in_them():
    supervised = torch.zeros(4, 1, 8, 8)
    supervised[:3, :, :, :4] = 1
    supervised[2, :, 4:] = 0
    difference = torch.ones(4, 1, 8, 8) * torch.tensor([0.01, -0.1, 0.4, 0.5])[:, None, None, None]
    weights = balance(supervised, difference)
    assert torch.equal(weights > 0, supervised > 0)
    assert weights.sum() == pytest.approx(supervised.sum())
    each = weights[:3, 0, 0, 0]
    assert (each[0] / each[1]).item() == pytest.approx(0.12 / 0.03)
    assert (each[1] / each[2]).item() == pytest.approx(0.42 / 0.12)
    nothing = torch.zeros_like(supervised)
    assert torch.equal(balance(nothing, difference), nothing)


def test_examples_count_alike_in_every_process(monkeypatch):
    supervised = torch.ones(2, 1, 8, 8)
    difference = supervised * torch.tensor([0.01, 0.4])[:, None, None, None]
    whole = balance(supervised, difference)
    parts = [(supervised[i : i + 1], difference[i : i + 1]) for i in range(2)]
    found = computed_in_parts(monkeypatch, "training.losses", lambda p: balance(*p), parts)
    torch.testing.assert_close(torch.cat(found), whole)


def _batch(task):
    examples = task.dataset()
    return {k: torch.stack([examples[i][k] for i in (0, 1)]) for k in examples[0]}


def test_what_cannot_be_trained_is_refused(tmp_path, data):
    text = "data.on_device must be false for the task 'fusion', got true"
    with pytest.raises(ConfigError, match=re.escape(text)):
        FusionTask(_config(tmp_path, data, "data.on_device=true"))
    text = "data.cached_examples must be 1 or more, got 0: 5000 are enough"
    with pytest.raises(ConfigError, match=re.escape(text)):
        FusionExamples(_config(tmp_path, data, "data.cached_examples=0"))
    with pytest.raises(CheckpointError, match="weights must be a file or one of"):
        FusionExamples(_config(tmp_path, data, "network.matting=nothing"))[0]
