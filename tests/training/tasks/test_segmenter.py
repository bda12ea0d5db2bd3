import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_data import config_text, write_training_data

from mgm_core.choices import CATEGORIES
from mgm_core.images import read_image, write_image
from mgm_core.segmentation import PERSON, portrait_deeplab
from training.__main__ import main
from training.config import ConfigError, load
from training.data.held_out import HARD_PEOPLE
from training.loop import Trainer
from training.tasks.segmenter import SegmenterTask, targets
from training.tools import segmenter_scores

DOG = CATEGORIES.index("dog")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_training_data(root)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_file(portrait_deeplab().state_dict(), path)
    return path


def _config(tmp_path, data, *corrections):
    path = tmp_path / "config.toml"
    path.write_text(config_text(data, tmp_path / "run", 2, "segmenter"))
    return load(path, ["data.crop_px=65", *corrections])


def test_labels_decide_where_they_tell_and_the_teacher_elsewhere():
    taught = torch.zeros(1, 21, 1, 3)
    taught[0, PERSON], taught[0, DOG] = 2.0, 1.0
    subject = torch.tensor([1.0, 0.0, 0.0])[None, None, None]
    known = torch.tensor([True, True, False])[None, None, None]
    found = targets(taught, subject, known, torch.tensor([PERSON]))[0, :, 0]
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
    assert found[PERSON, 0] == 1
    assert found[PERSON, 1] == 0
    # Without person, a dog is as much likelier than any other class as the teacher says.
    np.testing.assert_allclose(found[DOG, 1] / found[0, 1], np.e, rtol=1e-5)
    np.testing.assert_allclose(found[DOG, 1], np.e / (np.e + 19), rtol=1e-5)
    # The teacher's odds of person, e^2 against e + 19, are squared; the others keep their shares.
    odds = (np.exp(2) / (np.e + 19)) ** 2
    np.testing.assert_allclose(found[PERSON, 2], odds / (1 + odds), rtol=1e-5)
    np.testing.assert_allclose(found[DOG, 2] / found[0, 2], np.e, rtol=1e-5)
    animal = targets(taught, subject, known, torch.tensor([DOG]))[0, :, 0]
    assert animal[DOG, 0] == 1
    assert animal[DOG, 1] == 0
    assert animal[PERSON, 1] > 0.2


def test_the_segmenter_learns_from_its_start_and_is_exported_as_it_is_loaded(tmp_path, data, start):
    config = _config(tmp_path, data, f"network.start={start}")
    task = SegmenterTask(config)
    trainer = Trainer(config, task, resume=False)
    trainer.module.train()
    batch = next(trainer.batches())
    assert batch["image"].dtype == torch.uint8
    terms = trainer.train_step(batch)
    assert terms["loss"] == pytest.approx(terms["cross_entropy"] + 0.3 * terms["jaccard"])
    trainer.save()
    exported = load_file(tmp_path / "run" / "weights.safetensors")
    portrait_deeplab().load_state_dict(exported)
    before = load_file(start)
    for key in ("classifier.1.weight", "backbone.0.0.weight"):
        assert not torch.equal(exported[key], before[key])
        assert torch.equal(task.teacher.state_dict()[key], before[key])
    # The same network, with batch norm apart again.
    network = portrait_deeplab().eval()
    network.load_state_dict(task.exported(trainer.module.state_dict()))
    trainer.module.eval()
    x = torch.rand(1, 3, 65, 65)
    with torch.inference_mode():
        alone = network.classifier(network.backbone(x)["out"])
        torch.testing.assert_close(trainer.module(x), alone, atol=1e-3, rtol=1e-3)
    columns = trainer.task.panel(batch)
    assert [c.shape[1] for c in columns] == [3, 1, 1, 1]
    with pytest.raises(ConfigError, match=r"network\.start must name the segmenter's starting"):
        SegmenterTask(_config(tmp_path, data))


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
