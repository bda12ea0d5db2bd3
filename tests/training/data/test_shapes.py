from dataclasses import replace

import cv2
import numpy as np
import pytest
from training_data import config_text, write_training_data

from training.config import load
from training.data.composites import Composites
from training.data.shapes import SHAPES, RandomShapes, cut_holes, random_field, soft_shape
from training.data.sources import is_held_out
from training.hair.grow import HairSettings, grow_hair
from training.tools.pack import pack


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for name, tint in (("red", (40, 40, 200)), ("blue", (200, 40, 40))):
        grain = generator.integers(0, 40, (90, 120, 3))
        cv2.imwrite(str(folder / f"{name}.png"), (np.array(tint) + grain).astype(np.uint8))
    return folder


@pytest.mark.parametrize("cells", [2, 5, 60])
def test_a_field_has_mean_0_and_deviation_1(cells):
    field = random_field(200, cells, 0.5, np.random.default_rng(1))
    assert field.shape == (200, 200)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)


def test_more_cells_and_more_roughness_change_faster():
    def change(cells, roughness):
        field = random_field(200, cells, roughness, np.random.default_rng(2))
        return np.abs(np.diff(field, axis=1)).mean()

    assert change(2, 0.0) < change(8, 0.0) < change(40, 0.0)
    assert change(3, 0.1) < change(3, 0.8)


def test_a_soft_shape_by_hand():
    field = np.array([[0.0, 1.0, 1.25, 1.5, 3.0]], np.float32)
    alpha = soft_shape(field, 1.0, np.full_like(field, 1.0))
    np.testing.assert_allclose(alpha, [[0.0, 0.5, 0.75, 1.0, 1.0]])


def test_holes_only_take_away_and_leave_a_part():
    torn = [cut_holes(np.ones((240, 240), np.float32), np.random.default_rng(i)) for i in range(6)]
    assert all(t.min() >= 0 and t.max() <= 1 for t in torn)
    assert all(0.01 < (t < 0.5).mean() < 0.95 for t in torn)
    half = np.full((240, 240), 0.5, np.float32)
    assert cut_holes(half, np.random.default_rng(0)).max() <= 0.5


def test_a_shape_is_a_function_of_its_number(photographs):
    first, again = RandomShapes(photographs), RandomShapes(photographs)
    assert len(first) == SHAPES
    for index in (0, 1, 7):
        assert np.array_equal(first[index].rgba, again[index].rgba)
    assert not np.array_equal(first[0].rgba, first[1].rgba)


def test_shapes_hold_subject_background_and_something_between(photographs):
    shapes = RandomShapes(photographs)
    for index in range(12):
        cutout = shapes[index]
        alpha = cutout.rgba[..., 3]
        assert cutout.exact
        assert (alpha > 252).mean() > 0.02
        assert (alpha < 3).mean() > 0.02
        assert ((alpha >= 3) & (alpha <= 252)).sum() > 64


def test_colours_are_the_photographs(photographs):
    shapes = RandomShapes(photographs, leave_out=lambda name: name == "blue")
    for index in range(4):
        cutout = shapes[index]
        seen = cutout.rgba[cutout.rgba[..., 3] > 252][:, :3].astype(int)
        assert (seen[:, 0] > seen[:, 2] + 60).mean() > 0.99  # red over blue


def test_everywhere_lets_hair_grow_where_no_head_is():
    image = np.full((200, 200, 3), 0.4, np.float32)
    image += np.random.default_rng(3).normal(0, 0.02, image.shape).astype(np.float32)
    image = np.clip(image, 0, 1)
    mask = np.zeros((200, 200), bool)
    mask[60:200, 60:140] = True
    settings = HairSettings(style="short", everywhere=True, fly_away_chance=0.0)

    def low(of):
        alpha = grow_hair(image, mask, np.random.default_rng(4), of).alpha
        return alpha[120:190, 40:58].sum()  # beside the foot of the shape

    assert low(settings) > 3 * low(replace(settings, everywhere=False)) + 1


def test_a_config_trains_on_shapes_and_packs_their_photographs_once(tmp_path):
    write_training_data(tmp_path / "data")
    path = tmp_path / "c.toml"
    text = config_text(tmp_path / "data", tmp_path / "run", 2)
    folder = load_backgrounds(path, text)
    path.write_text(text + f'\n[[data.sources]]\nkind = "shapes"\npath = "{folder}"\nshare = 1e9\n')
    config = load(path, [])
    examples = Composites(config)
    example = examples[3]
    assert 0 < float(example["alpha"].mean()) < 1
    assert float(example["supervised"].min()) == 1
    packed = pack(config, tmp_path / "packed", 50)
    assert packed.files == len(list((tmp_path / "packed").rglob("*.webp")))


def load_backgrounds(path, text):
    path.write_text(text)
    return load(path, []).data.backgrounds[0]


def test_repainted_foregrounds_take_a_photographs_colours(tmp_path):
    write_training_data(tmp_path / "data")
    path = tmp_path / "c.toml"
    path.write_text(config_text(tmp_path / "data", tmp_path / "run", 2))

    def examples(*corrections):
        return Composites(load(path, ["data.merge_probability=0.0", *corrections]))

    usual, never = examples(), examples("data.repaint_probability=0.0")
    always = examples("data.repaint_probability=1.0")
    assert np.array_equal(usual[1]["image"], never[1]["image"])
    changed = [
        not np.allclose(always[i]["foreground"], usual[i]["foreground"], atol=0.05)
        for i in range(6)
        if float(usual[i]["supervised"].min()) == 1
    ]
    assert changed
    assert all(changed)


def test_distractors_stand_in_the_background_alone(tmp_path):
    write_training_data(tmp_path / "data")
    path = tmp_path / "c.toml"
    path.write_text(config_text(tmp_path / "data", tmp_path / "run", 2))
    plain = ["data.merge_probability=0.0", "data.camera=false"]

    def examples(*corrections):
        return Composites(load(path, [*plain, *corrections]))

    usual, never = examples(), examples("data.distractor_probability=0.0")
    always = examples("data.distractor_probability=1.0")
    assert np.array_equal(usual[1]["image"], never[1]["image"])
    changed = 0
    for i in range(12):
        without, example = usual[i], always[i]
        if float(example["supervised"].min()) < 1:
            continue
        assert np.array_equal(example["alpha"], without["alpha"])
        assert np.array_equal(example["foreground"], without["foreground"])
        alpha, behind = example["alpha"], example["background"]
        mixed = alpha * example["foreground"] + (1 - alpha) * behind
        assert np.allclose(example["image"], mixed, atol=1e-6)
        changed += not np.allclose(behind, without["background"], atol=0.05)
    assert changed


def test_held_out_photographs_give_no_colours(photographs):
    held_out = [p.stem for p in photographs.iterdir() if is_held_out(p.stem, 50)]
    shapes = RandomShapes(photographs, leave_out=lambda name: is_held_out(name, 50))
    assert not {p.stem for p in shapes.photographs.paths} & set(held_out)
