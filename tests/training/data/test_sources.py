import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from training_data import write_training_data

from training.config import ConfigError, load
from training.data.composites import Composites, names_left_out
from training.data.held_out import HELD_OUT_ANIMALS
from training.data.segmenter.examples import SegmenterExamples
from training.data.sources import (
    Backgrounds,
    ForegroundAlphaFolders,
    PhotographsWithCutouts,
    PhotographsWithMasks,
    Remembered,
    RGBACutouts,
    as_cutout,
    graded,
    is_held_out,
    pictures,
    spread_colours,
)
from training.tools.pack import pack
from training.validation import Validation


@pytest.fixture
def data(tmp_path):
    write_training_data(tmp_path / "data")
    return tmp_path / "data"


def _config(tmp_path, data, sources, corrections=()):
    path = tmp_path / "config.toml"
    path.write_text(
        f'version = 1\ntask = "prn"\n[run]\nfolder = "x"\nsteps = 1\nseed = 5\n[data]\n'
        f'root = "{data}"\ncrop_px = 64\nbackgrounds = ["backgrounds"]\n{sources}'
    )
    return load(path, list(corrections))


CUTOUTS = '[[data.sources]]\nkind = "rgba"\npath = "cutouts"\n'
PHOTOS = '[[data.sources]]\nkind = "photo_mask"\npath = "photos"\n'
PAIRS = '[[data.sources]]\nkind = "fg_alpha"\npath = "pairs"\n'


def test_transparent_pixels_take_the_nearest_colour():
    rgba = np.zeros((1, 5, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 4] = (50, 60, 70, 200)
    spread = spread_colours(rgba)
    assert spread[0, :, 0].tolist() == [10, 10, spread[0, 2, 0], 50, 50]
    assert spread[0, 2, 0] in (10, 50)
    assert (spread[..., 3] == rgba[..., 3]).all()


def test_crops_are_centred_on_unknown_pixels():
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:30, 10:30] = 255
    rgba[10:30, 10:14, 3] = 100
    centres = as_cutout(rgba).centres
    assert len(centres) == 80
    assert set(centres[:, 0].tolist()) == {10, 11, 12, 13}
    with pytest.raises(ValueError, match="alpha must not be empty"):
        as_cutout(np.zeros((4, 4, 4), np.uint8))


def test_every_kind_of_folder_opens(data):
    assert len(RGBACutouts(data / "cutouts")) == 2
    assert len(RGBACutouts(data / "cutouts", leave_out=lambda name: name == "0")) == 1
    pair = ForegroundAlphaFolders(data / "pairs")[0]
    assert pair.exact
    assert pair.rgba.shape == (90, 100, 4)
    photo = PhotographsWithMasks(data / "photos")[0]
    assert not photo.exact
    assert RGBACutouts(data / "cutouts", max_side_px=50)[0].rgba.shape == (45, 50, 4)
    assert len(Backgrounds([data / "backgrounds"])) == 2


def test_grey_of_16_bits_keeps_its_levels_read_and_packed(tmp_path, data):
    ramp = np.tile(np.linspace(0, 65535, 100), (90, 1)).round().astype(np.uint16)
    cv2.imwrite(str(data / "pairs/alpha/b.png"), ramp)
    cv2.imwrite(str(data / "photos/masks/a.png"), ramp)
    alpha = ForegroundAlphaFolders(data / "pairs")[0].rgba[..., 3]
    assert (alpha == np.rint(ramp / 257)).all()
    assert ((PhotographsWithMasks(data / "photos")[0].rgba[..., 3] > 0) == (alpha > 127)).all()
    pack(_config(tmp_path, data, PAIRS), tmp_path / "packed", limit_mb=1.0)
    assert (ForegroundAlphaFolders(tmp_path / "packed/pairs")[0].rgba[..., 3] == alpha).all()


@pytest.mark.parametrize("turned", [False, True])
def test_grey_of_32_bits_is_read_rightly_or_refused(tmp_path, data, turned):
    path = data / "pairs/alpha/b.tif"
    (data / "pairs/alpha/b.png").unlink()
    ramp = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (90, 1))
    tags = {274: 3} if turned else {}  # upside down
    Image.fromarray(ramp).save(path, tiffinfo=tags)
    alpha = ForegroundAlphaFolders(data / "pairs")[0].rgba[..., 3]
    assert (alpha == np.rint((ramp[::-1, ::-1] if turned else ramp) * 255)).all()
    pack(_config(tmp_path, data, PAIRS), tmp_path / "packed", limit_mb=1.0)
    assert (ForegroundAlphaFolders(tmp_path / "packed/pairs")[0].rgba[..., 3] == alpha).all()
    Image.fromarray(ramp * 255).save(path, tiffinfo=tags)
    with pytest.raises(ValueError, match=r"b\.tif must .* 255"):
        ForegroundAlphaFolders(data / "pairs")[0]
    Image.fromarray((ramp * 2**30).astype(np.int32)).save(path, tiffinfo=tags)
    with pytest.raises(ValueError, match=r"b\.tif must be grey or RGB with 8 or 16 bits .* mode I"):
        ForegroundAlphaFolders(data / "pairs")[0]


def test_a_pack_writes_nothing_beside_its_folder(tmp_path, data):
    for path in (str(data / "cutouts"), "../data/cutouts"):
        config = _config(tmp_path, data, CUTOUTS.replace('"cutouts"', f'"{path}"'))
        with pytest.raises(ConfigError, match=r"paths must lie in data\.root to be packed, got"):
            pack(config, tmp_path / "packed", limit_mb=1.0)
    assert sorted(path.name for path in (data / "cutouts").iterdir()) == ["0.png", "1.png"]


def test_missing_and_mismatched_folders_say_what_to_do(data):
    with pytest.raises(ValueError, match=r"folder must be a directory, got .*none.*: correct"):
        pictures(data / "none")
    (data / "empty").mkdir()
    with pytest.raises(ValueError, match="folder must hold pictures, got none"):
        pictures(data / "empty")
    with pytest.raises(ValueError, match=r"must hold SOURCES\.tsv"):
        graded(data / "cutouts")
    cv2.imwrite(str(data / "pairs/alpha/b.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"must have one size, got \(90, 100\) and \(5, 5\) for"):
        ForegroundAlphaFolders(data / "pairs")[0]
    (data / "pairs/alpha/b.png").rename(data / "pairs/alpha/c.png")
    with pytest.raises(ValueError, match="in fg and alpha that are not left out, got none"):
        ForegroundAlphaFolders(data / "pairs")


@pytest.mark.parametrize("kind", ["rgba", "shapes"])
def test_a_source_of_which_nothing_is_left_names_its_folder(tmp_path, data, kind):
    (data / "cutouts" / "SOURCES.tsv").write_text("file\tgrade\n0.png\tfine\n1.png\tplain\n")
    sources = CUTOUTS.replace("rgba", kind)
    message = r"must hold pictures that are not left out, got none in '.*/cutouts': correct the"
    for choice in ('grade = "fien"', "keep_out_percent = 100"):
        with pytest.raises(ValueError, match=message):
            Composites(_config(tmp_path, data, f"{sources}{choice}\n"))
    everything = ["data.backgrounds_keep_out_percent=100"]
    with pytest.raises(ValueError, match=r"got none in '.*/backgrounds'"):
        Composites(_config(tmp_path, data, CUTOUTS, everything))
    assert len(Composites(_config(tmp_path, data, f'{sources}grade = "fine"\n')).sources) == 1


def test_unreadable_pictures_are_skipped_counted_and_named(data, caplog):
    (data / "cutouts" / "00.png").write_bytes(b"not a picture")
    source = Remembered(RGBACutouts(data / "cutouts"))
    readable = [source[i] for i in range(3)]
    assert all(c.rgba.shape == (90, 100, 4) for c in readable)
    assert len(source.failures) == 1
    assert "00.png" in caplog.text
    cv2.imwrite(str(data / "cutouts" / "blank.png"), np.zeros((9, 9, 4), np.uint8))
    empty = RGBACutouts(data / "cutouts", leave_out=lambda name: name == "00")
    assert Remembered(empty)[2].rgba.shape == (90, 100, 4)
    assert "left out blank.png (1 so far): alpha must not be empty" in caplog.text
    (data / "cutouts" / "blank.png").unlink()
    for path in (data / "cutouts").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="must hold a readable cut-out, got 3 that are not"):
        Remembered(RGBACutouts(data / "cutouts"))[0]


def test_the_split_depends_on_names_alone_and_grades_choose(data):
    names = [f"{i:05d}" for i in range(2000)]
    out = [n for n in names if is_held_out(n, 8)]
    assert 110 < len(out) < 210
    assert set(out) <= {n for n in names if is_held_out(n, 16)}
    (data / "cutouts" / "SOURCES.tsv").write_text("file\tgrade\n0.png\tfine\n1.png\tplain\n")
    assert graded(data / "cutouts") == {"0": "fine", "1": "plain"}


def test_pairs_whose_alpha_is_of_a_kind_that_is_not_read_are_counted_and_named(data, caplog):
    (name,) = ForegroundAlphaFolders(data / "pairs").names
    alpha = data / "pairs" / "alpha"
    for ending in ("exr", "HEIC"):
        shutil.copy(data / "pairs" / "fg" / name, data / "pairs" / "fg" / f"{ending}.png")
        shutil.copy(alpha / name, alpha / f"{ending}.{ending}")
    (alpha / "SOURCES.tsv").touch()
    assert not caplog.text
    assert ForegroundAlphaFolders(data / "pairs").names == [name]
    assert f"left out 2 pictures of {alpha}, such as HEIC.HEIC: save them as PNG" in caplog.text
    assert caplog.text.count("left out") == 1


def test_a_list_of_names_to_leave_out_has_one_a_line(tmp_path, data, caplog):
    (data / "cutouts" / "0.png").rename(data / "cutouts" / "wine glass.png")
    (data / "out.txt").write_text("wine glass.png\n\n  1 \n")
    config = _config(tmp_path, data, CUTOUTS + 'leave_out = "out.txt"\n')
    left_out = names_left_out(config.data.sources[0], data)
    assert [left_out(name) for name in ("wine glass", "1", "wine", "glass")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not caplog.text
    (data / "out.txt").write_text("wine glass 1\n1.png\n")
    names_left_out(config.data.sources[0], data)
    assert "names 1 of 2 pictures that are not in" in caplog.text
    assert "such as wine glass 1: write one name a line" in caplog.text


def test_an_example_is_its_own_composite_and_a_function_of_its_number(tmp_path, data):
    config = _config(tmp_path, data, CUTOUTS + PAIRS)
    examples, again = Composites(config), Composites(config)
    for index in (0, 3, 10**6):
        one, two = examples[index], again[index]
        assert all((one[k] == two[k]).all() for k in one)
        blended = one["alpha"] * one["foreground"] + (1 - one["alpha"]) * one["background"]
        np.testing.assert_allclose(one["image"], blended, atol=1e-5)
        assert (one["supervised"] == 1).all()
        for name, plane in one.items():
            assert plane.shape[1:] == (64, 64)
            assert 0 <= plane.min() <= plane.max() <= 1, name
    assert (examples[0]["image"] != examples[1]["image"]).any()


def test_rough_masks_are_not_trusted_near_their_outline(tmp_path, data):
    config = _config(tmp_path, data, f"{CUTOUTS}{PHOTOS}share = 1e6\n")
    example = Composites(config)[0]
    assert 0 < example["supervised"].mean() < 1
    assert (example["foreground"] == example["background"]).all()
    edge = np.abs(np.diff(example["alpha"][0].numpy(), axis=1)) > 0
    assert edge.any()
    assert (example["supervised"][0, :, 1:].numpy()[edge] == 0).all()


def test_a_teachers_alpha_is_trusted_everywhere(tmp_path, data):
    (data / "taught/images").mkdir(parents=True)
    (data / "cutouts").rename(data / "taught/cutouts")
    for path in (data / "taught/cutouts").iterdir():
        cv2.imwrite(str(data / "taught/images" / path.name), cv2.imread(str(path)))
    sources = '[[data.sources]]\nkind = "photo_cutout"\npath = "taught"\nshare = 1e6\n'
    config = _config(tmp_path, data, PAIRS + sources)
    example = Composites(config)[0]
    assert (example["supervised"] == 1).all()
    assert (example["foreground"] == example["background"]).all()
    alpha = example["alpha"]
    assert ((alpha > 0.1) & (alpha < 0.9)).any()
    pack(config, tmp_path / "packed", limit_mb=1.0)
    there = _config(tmp_path, tmp_path / "packed", PAIRS + sources)
    torch.testing.assert_close(Composites(there)[0]["alpha"], alpha, atol=0.02, rtol=0)
    cv2.imwrite(str(data / "taught/images/0.png"), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must have one size, got \(5, 5\) and \(90, 100\) for"):
        PhotographsWithCutouts(data / "taught")[0]


def test_data_that_cannot_be_trained_on(tmp_path, data):
    with pytest.raises(ConfigError, match="must hold a source with exact alpha"):
        Composites(_config(tmp_path, data, PHOTOS))
    with pytest.raises(ConfigError, match=r"with exact alpha .* and a share above 0"):
        Composites(_config(tmp_path, data, f"{PHOTOS}{CUTOUTS}share = 0.0\n"))
    with pytest.raises(ConfigError, match=r"data\.root must be a folder, got '/none'"):
        Composites(_config(tmp_path, data, CUTOUTS, ["data.root=/none"]))
    with pytest.raises(ConfigError, match="leave_out must be a text file of names"):
        Composites(_config(tmp_path, data, CUTOUTS + 'leave_out = "none.txt"\n'))


def test_what_is_for_the_segmenter_alone_is_refused(tmp_path, data):
    config = _config(tmp_path, data, CUTOUTS + "keep_out_every = 2\n")
    with pytest.raises(ConfigError, match=r"keep_out_every must be 0 .*, got 2 for cutouts: use"):
        Composites(config)
    hair = '[[data.sources]]\nkind = "hair_mask"\npath = "photos"\n'
    with pytest.raises(ConfigError, match=r"kind must be one of rgba, .*, got 'hair_mask' for pho"):
        Composites(_config(tmp_path, data, CUTOUTS + hair))


def test_held_out_backgrounds_are_neither_shown_nor_packed(tmp_path, data):
    config = _config(tmp_path, data, CUTOUTS, ["data.backgrounds_keep_out_percent=10"])
    assert [is_held_out(name, 10) for name in ("0", "1")] == [True, False]
    assert [path.stem for path in Composites(config).backgrounds.paths] == ["1"]
    pack(config, tmp_path / "packed", limit_mb=1.0)
    assert [path.stem for path in (tmp_path / "packed/backgrounds").iterdir()] == ["1"]


def test_held_out_animals_are_neither_shown_nor_packed(tmp_path, data):
    assert len(HELD_OUT_ANIMALS) == 20
    (data / "cutouts" / "0.png").rename(data / "cutouts" / f"{min(HELD_OUT_ANIMALS)}.png")
    config = _config(tmp_path, data, CUTOUTS)
    assert len(Composites(config).sources[0]) == 1
    pack(config, tmp_path / "packed", limit_mb=1.0)
    assert [path.stem for path in (tmp_path / "packed/cutouts").iterdir()] == ["1"]


def test_a_pack_is_small_and_trains_like_its_sources(tmp_path, data):
    config = _config(tmp_path, data, CUTOUTS + PHOTOS + PAIRS)
    packed = pack(config, tmp_path / "packed", limit_mb=1.0)
    assert packed.files == 8
    assert packed.size == sum(p.stat().st_size for p in (tmp_path / "packed").rglob("*.webp"))
    there = _config(tmp_path, tmp_path / "packed", CUTOUTS + PHOTOS + PAIRS)
    for index in range(4):
        here, packed_example = Composites(config)[index], Composites(there)[index]
        assert (here["guidance"] == packed_example["guidance"]).all()
        assert (here["alpha"] == packed_example["alpha"]).all()  # lossless
        assert (here["image"] - packed_example["image"]).abs().mean() < 0.2
    with pytest.raises(ConfigError, match="the folder must be empty or new"):
        pack(config, tmp_path / "packed", limit_mb=1.0)
    with pytest.raises(ConfigError, match=r"--limit-mb must leave room for 8 files, got 0\.001"):
        pack(config, tmp_path / "other", limit_mb=0.001)


def test_a_pack_holds_lists_validation_and_what_the_segmenter_reads(tmp_path, data):
    (data / "left_out.txt").write_text("0\n")
    (data / "coco").mkdir()
    (data / "backgrounds").rename(data / "coco/train")
    wide = np.zeros((10, 1100, 3), np.uint8)
    cv2.imwrite(str(data / "coco/train/wide.png"), wide)
    cv2.imwrite(str(data / "photos/images/b.png"), wide)
    cv2.imwrite(str(data / "photos/masks/b.png"), wide)
    for old, new in (("photos/images", "figaro/image"), ("photos/masks", "figaro/hair")):
        shutil.copytree(data / old, data / new)
    for old, new in (("photos/images", "test/image"), ("photos/masks", "test/alpha")):
        shutil.copytree(data / old, data / new)
    sources = (
        f'{CUTOUTS}leave_out = "left_out.txt"\n'
        '[[data.sources]]\nkind = "hair_mask"\npath = "figaro"\nkeep_out_every = 2\n'
        '[[data.sources]]\nkind = "photograph"\npath = "photos/images"\n'
    )
    corrections = ['data.backgrounds=["coco/train"]', "run.validation=test", "data.crop_px=65"]
    packed = tmp_path / "packed"
    pack(_config(tmp_path, data, sources, corrections), packed, limit_mb=1.0)
    assert (packed / "left_out.txt").read_text() == "0\n"
    assert [path.stem for path in (packed / "cutouts").iterdir()] == ["1"]
    assert cv2.imread(str(packed / "coco/train/wide.webp")).shape[1] == 900  # a background's
    assert cv2.imread(str(packed / "photos/images/b.webp")).shape[1] == 1000  # a foreground's
    config = _config(tmp_path, packed, sources, corrections)
    hair = SegmenterExamples(config).scenes[1].photographs.source
    assert hair.names == ["b.webp"]  # as where every second was counted off
    assert len(Validation(packed / "test").pairs) == 2
