import cv2
import numpy as np
import pytest
from training_data import config_text, write_training_data

from mgm_core.choices import CATEGORIES
from mgm_core.networks.segmenter_net import PERSON
from mgm_core.segmentation import subject_px
from training.config import ConfigError, load
from training.data.held_out import CC0_PORTRAITS, HARD_PEOPLE
from training.data.segmenter import lights
from training.data.segmenter.examples import SegmenterExamples, close_view, place_cutout
from training.data.segmenter.subjects import NO_PEOPLE
from training.data.sources import Cutout, is_held_out

CAT = next(name for name, category in NO_PEOPLE.items() if category == "cat")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training data with hair masks, a photograph, a cat and a cut-out that is kept."""
    root = tmp_path_factory.mktemp("data")
    write_training_data(root)
    generator = np.random.default_rng(1)
    for folder in ("figaro/image", "figaro/hair", "plain", "animals"):
        (root / folder).mkdir(parents=True)
    for i in range(3):
        picture = generator.integers(0, 255, (90, 100, 3))
        cv2.imwrite(str(root / f"figaro/image/{i}.png"), picture)
        hair = np.zeros((45, 50), np.uint8)  # half the photograph's size
        hair[5:20, 10:40] = 255
        cv2.imwrite(str(root / f"figaro/hair/{i}.png"), hair)
    cv2.imwrite(str(root / "plain/a.png"), picture)
    rgba = np.full((90, 100, 4), 200, np.uint8)
    rgba[:, :20, 3] = 0
    for name in (CAT, min(HARD_PEOPLE)):
        cv2.imwrite(str(root / f"animals/{name}.png"), rgba)
    return root


def _examples(tmp_path, data, kind, path, *more):
    text = config_text(data, tmp_path / "run", 2, "segmenter")
    start, end = text.index("[[data.sources]]"), text.index("[guidance]")
    source = f'[[data.sources]]\nkind = "{kind}"\npath = "{path}"\n' + "\n".join(more) + "\n"
    (tmp_path / "config.toml").write_text(text[:start] + source + text[end:])
    return SegmenterExamples(load(tmp_path / "config.toml", ["data.crop_px=65"]))


def test_each_kind_tells_as_much_as_is_known(tmp_path, data):
    masks = _examples(tmp_path, data, "photo_mask", "photos")[0]
    assert masks["known"].all()
    assert masks["subject"].max() == 255
    hair = [_examples(tmp_path, data, "hair_mask", "figaro")[i] for i in range(6)]
    for example in hair:  # hair alone is known, and it is all subject
        assert np.array_equal(example["known"].numpy(), example["subject"].numpy() > 127)
    assert any(example["known"].any() for example in hair)
    plain = _examples(tmp_path, data, "photograph", "plain")[0]
    assert not plain["known"].any()
    assert plain["subject"].max() == 0
    people = _examples(tmp_path, data, "rgba", "cutouts")
    assert people[0]["known"].all()
    assert people[0]["category"].item() == PERSON
    again = _examples(tmp_path, data, "rgba", "cutouts")
    assert all(bool((again[3][k] == people[3][k]).all()) for k in people[3])
    assert not bool((people[3]["image"] == people[3]["clean"]).all())


def test_animals_are_taught_as_animals_and_kept_pictures_are_not_shown(tmp_path, data):
    with pytest.raises(ConfigError, match="animals must show people, got cut-outs of animals"):
        _examples(tmp_path, data, "rgba", "animals", 'keep_out = "cutouts"')
    examples = _examples(tmp_path, data, "rgba", "animals")
    shown = {examples[i]["category"].item() for i in range(40)}
    assert shown == {PERSON, CATEGORIES.index("cat")}
    every = _examples(tmp_path, data, "hair_mask", "figaro", "keep_out_every = 2")
    assert [p[0].stem for p in every.scenes[0].photographs.source.pairs] == ["1"]
    assert len(CC0_PORTRAITS) == 24
    with pytest.raises(ConfigError, match=r"kind must be 'rgba' or one of photo_mask, .*'shapes'"):
        _examples(tmp_path, data, "shapes", "plain")
    with pytest.raises(ConfigError, match=r"crop_px must be 8n \+ 1 .* got 64: take 513"):
        SegmenterExamples(load(tmp_path / "config.toml", []))


def test_backgrounds_that_are_held_out_are_not_shown(tmp_path, data):
    _examples(tmp_path, data, "rgba", "cutouts")
    half = ["data.crop_px=65", "data.backgrounds_keep_out_percent=50"]
    examples = SegmenterExamples(load(tmp_path / "config.toml", half))
    shown = {path.stem for path in examples.scenes[0].backgrounds.paths}
    assert shown == {name for name in ("0", "1") if not is_held_out(name, 50)}
    assert len(shown) == 1


def test_pictures_are_seen_as_a_whole_and_closer(tmp_path, data):
    config = _examples(tmp_path, data, "photo_mask", "photos").config.data
    picture = np.zeros((600, 600, 4), np.uint8)
    picture[200:400, 200:400] = 255
    cutout = Cutout(picture, np.full((1, 2), 300, np.int32), exact=False)
    views = [close_view(cutout, config, np.random.default_rng(s))[1] for s in range(80)]
    sizes = np.array([subject_px(alpha > 0.5) for alpha in views])
    whole = 65 / 600 * 200
    assert whole * config.scales[0] * 0.8 < sizes.min()
    assert sizes.max() > 0.7 * 65
    assert np.median(sizes) < 2 * whole


def test_a_figure_cut_off_below_stands_at_the_crops_foot():
    rgba = np.zeros((100, 60, 4), np.uint8)
    rgba[10:, 10:50] = 255
    cutout = Cutout(rgba, np.zeros((1, 2), np.int32))
    for seed in range(20):
        colours, alpha = place_cutout(cutout, 65, np.random.default_rng(seed))
        assert colours.shape == (65, 65, 3)
        shown = np.flatnonzero((alpha > 0.5).any(1))
        assert not len(shown) or shown.max() == 64
    rgba[90:] = 0
    ends = set()
    for seed in range(20):
        shown = np.flatnonzero(
            (place_cutout(cutout, 65, np.random.default_rng(seed))[1] > 0.5).any(1)
        )
        ends.add(shown.max() if len(shown) else None)
    assert len(ends) > 5


def test_light_changes_colours_and_leaves_shapes():
    generator = np.random.default_rng(2)
    image = generator.random((40, 30, 3), np.float32) * 0.5 + 0.3
    subject = np.zeros((40, 30), np.float32)
    subject[10:, 8:22] = 1
    assert np.ptp(lights.grey(image, generator), axis=2).max() < 1e-6
    assert lights.night(image, generator).mean() < image.mean()
    for _ in range(10):
        dark = lights.backlight(image, subject, generator)
        assert dark[20:, 12:18].mean() < 0.55 * image[20:, 12:18].mean()
        assert dark[:4].mean() >= image[:4].mean()
        stage = lights.stage_light(image, generator)
        assert stage.dtype == np.float32
        assert stage.min() >= 0
        assert stage.max() <= 1
    for _ in range(30):
        image_lit = lights.relight(image, None, generator)
        assert image_lit.shape == image.shape
        assert np.isfinite(image_lit).all()
