import json

import numpy as np
import pytest
import torch
from processes import computed_in_parts
from safetensors.torch import load_file, save_file
from training_data import config_text

from mgm_core.choices import CATEGORIES
from mgm_core.images import read_image, write_image
from mgm_core.networks.segmenter_net import PERSON, PersonNetwork
from training.__main__ import main
from training.config import ConfigError, load
from training.data.held_out import HARD_PEOPLE
from training.loop import Trainer
from training.tasks.segmenter import (
    SegmenterTask,
    load_person_network,
    near_outline,
    targets,
)
from training.tools import segmenter_scores


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    state = PersonNetwork().state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("edges.")}, path)
    return path


def _config(tmp_path, data, *corrections):
    path = tmp_path / "config.toml"
    path.write_text(config_text(data, tmp_path / "run", 2, "segmenter"))
    return load(path, ["data.crop_px=65", *corrections])


def test_labels_decide_where_they_tell_and_the_teacher_elsewhere():
    taught = torch.tensor([2.0, 2.0, 1.0]).reshape(1, 1, 1, 3)
    subject = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    known = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    person = targets(taught, subject, known, torch.tensor([True]))[0, 0, 0]
    # The teacher's odds of person, e, are squared.
    squared = np.e**2 / (1 + np.e**2)
    np.testing.assert_allclose(person, [1, 0, squared], rtol=1e-6)
    # A dog is no person, and beside it there may be one.
    dog = targets(taught, subject, known, torch.tensor([False]))[0, 0, 0]
    np.testing.assert_allclose(dog, [0, np.e**4 / (1 + np.e**4), squared], rtol=1e-6)


def test_an_outline_is_near_within_12_px():
    subject = torch.zeros(1, 1, 1, 40)
    subject[..., 20:] = 1  # at stride 2: the outline is between 19 and 20
    near = near_outline(subject)[0, 0, 0]
    assert torch.equal(near.nonzero()[:, 0], torch.arange(14, 26))


def test_the_segmenter_learns_from_its_start_and_is_exported_as_it_is_loaded(tmp_path, data, start):
    config = _config(tmp_path, data, f"network.start={start}", "network.frozen_blocks=2")
    task = SegmenterTask(config)
    trainer = Trainer(config, task, resume=False)
    trainer.module.train()
    batch = next(trainer.batches())
    assert batch["image"].dtype == torch.uint8
    terms = trainer.train_step(batch)
    assert terms["loss"] == pytest.approx(terms["cross_entropy"] + 0.5 * terms["jaccard"])
    trainer.save()
    exported = tmp_path / "run" / "weights.safetensors"
    before, after = load_file(start), load_file(exported)
    for key in ("classifier.1.weight", "backbone.2.conv.0.0.weight"):
        assert not torch.equal(after[key], before[key])
        assert torch.equal(task.teacher.state_dict()[key], before[key])
    network = load_person_network(str(exported)).eval()
    assert network.edges.correction.weight.any()
    trainer.module.eval()
    x = torch.rand(1, 3, 65, 65)
    with torch.inference_mode():
        # The same network as in training, with batch norm apart again; the first blocks as before.
        torch.testing.assert_close(_averaged(trainer)(x), network(x), atol=1e-3, rtol=1e-3)
        first = network.backbone["1"](network.backbone["0"](x))
        old = load_person_network(str(start)).eval()
        torch.testing.assert_close(
            first, old.backbone["1"](old.backbone["0"](x)), atol=1e-4, rtol=1e-4
        )
    columns = trainer.task.panel(batch)
    assert [c.shape[1] for c in columns] == [3, 1, 1, 1]
    with pytest.raises(ConfigError, match=r"network\.start must name the segmenter's starting"):
        SegmenterTask(_config(tmp_path, data))


def test_the_parts_of_a_batch_have_its_loss_whatever_they_show(tmp_path, data, start, monkeypatch):
    task = SegmenterTask(_config(tmp_path, data, f"network.start={start}"))
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 255, (2, 3, 65, 65), generator=generator, dtype=torch.uint8)
    subject = torch.zeros(2, 1, 65, 65, dtype=torch.uint8)
    subject[0, :, 20:50, 10:40] = 255  # a labelled person; of the second nothing is known
    known = torch.zeros(2, 1, 65, 65, dtype=torch.bool)
    known[0] = True
    category = torch.full((2, 1, 1, 1), PERSON)
    batch = {"image": image, "clean": image, "subject": subject, "known": known,
             "category": category}  # fmt: skip
    parts = [{name: plane[i : i + 1] for name, plane in batch.items()} for i in range(2)]
    whole = task.losses(task.module, batch, 0, 0.0)
    module = "training.tasks.segmenter"
    monkeypatch.setattr(f"{module}.world_size", lambda: 2)
    found = computed_in_parts(
        monkeypatch, module, lambda part: task.losses(task.module, part, 0, 0.0), parts
    )
    for name, value in whole.items():
        assert sum(terms[name].item() for terms in found) / 2 == pytest.approx(value.item())


def _averaged(trainer):
    trainer.module.load_state_dict(trainer.average.state)
    return trainer.module


class _RightHalf:
    """A segmenter that calls the right half of every photograph a person, a cat the rest."""

    def probability(self, image):
        plane = np.zeros(image.shape[:2], np.float32)
        plane[:, plane.shape[1] // 2 :] = 1
        return plane

    def probabilities(self, image):
        person = self.probability(image)
        every = np.zeros((len(CATEGORIES), *person.shape), np.float32)
        every[PERSON], every[CATEGORIES.index("cat")] = person, 1 - person
        return every


@pytest.fixture
def held_out(tmp_path):
    """One photograph with a mask, one with hair, eight hard people, one background each."""
    root = tmp_path / "data"
    mask = np.zeros((100, 80), np.float32)
    mask[:, 20:] = 1  # three quarters of the width, of which half is found
    hair = np.zeros((100, 80), np.float32)
    hair[:50, 30:50] = 1
    grey = np.full((100, 80, 3), 0.5, np.float32)
    for path, plane in (
        ("photos/images/a.png", grey),
        ("photos/masks/a.png", mask),
        ("figaro/image/a.png", grey),
        ("figaro/hair/a.png", hair),
        ("backgrounds/a.png", grey),
        ("bg_cc0/image/a.png", np.full((1200, 1000, 3), 0.3, np.float32)),
        *((f"cutouts/{name}.png", None) for name in sorted(HARD_PEOPLE)[:8]),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if plane is None:
            plane = np.full((100, 80, 4), 0.7, np.float32)
            plane[..., 3] = 0
            plane[20:, 10:70, 3] = 1
        write_image(root / path, plane)
    return root


def test_scores_are_those_of_what_was_held_out(tmp_path, held_out, monkeypatch, capsys):
    text = config_text(held_out, tmp_path / "run", 2, "segmenter")
    text = text.replace('path = "photos"', 'path = "photos"\nkeep_out_percent = 100')
    text = text.replace('path = "cutouts"', 'path = "cutouts"\nkeep_out = "cutouts"')
    text = text.replace(
        "[guidance]", '[[data.sources]]\nkind = "hair_mask"\npath = "figaro"\nkeep_out_every = 10\n'
        "[guidance]",
    )  # fmt: skip
    path = tmp_path / "config.toml"
    path.write_text(text)
    monkeypatch.setattr(segmenter_scores, "load_segmenter", lambda *_: _RightHalf())
    out = tmp_path / "scores.json"
    assert main(
        ["segmenter-scores", str(path), "network.start=x", "--weights", "x", "--out", str(out)]
    ) == 0  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("photos: 1 held out, IoU mean 0.6667, 5th percentile 0.6667")
    assert lines[0].startswith("hard portraits: 8 held out, IoU mean 0.")
    # Half of the hair is found; dilated by 3 px (6 % of 100 px) it reaches to row 52 and column 52.
    assert lines[2].startswith("figaro: 1 held out, hair found 0.5000, less than 0.9 of it in 1.00")
    far = (40 * 100 - 13 * 53) / 8000
    assert lines[2].endswith(f"person far from hair {far:.4f} of the area")
    assert lines[3] == (
        "backgrounds: class maps agree with the start's on 1.0000 of 4000 pixels outside persons"
    )
    assert "1 megapixel" in lines[4]
    values = json.loads(out.read_text())
    assert values["photos"] == {"a": 0.66667}
    treatments = {name.split()[1] for name in values["hard portraits"]}
    assert len(treatments) == 8
    assert read_image(tmp_path / "scores_hard_portraits.png").shape == (480, 1200, 3)


def test_hard_portraits_are_the_same_each_time_and_darken_or_crop_as_named(held_out):
    first = list(
        segmenter_scores.hard_portraits(held_out / "cutouts", held_out / "bg_cc0" / "image")
    )
    again = list(
        segmenter_scores.hard_portraits(held_out / "cutouts", held_out / "bg_cc0" / "image")
    )
    for (name, image, alpha), (_, repeated, _) in zip(first, again, strict=True):
        assert np.array_equal(image, repeated)
        assert image.shape[:2] == alpha.shape
        assert alpha.max() == 1
        kind = name.split()[1]
        inside = image[alpha > 0.99].mean()
        if kind == "silhouette":
            assert inside < 0.05 < image[:400][alpha[:400] < 0.01].mean()
        if kind in ("head", "hand"):
            assert max(alpha.shape) < 600
            assert (alpha < 0.5).any()
        if kind == "grey":
            assert np.ptp(image, axis=2).max() < 1e-6
