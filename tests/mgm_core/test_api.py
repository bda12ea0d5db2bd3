import doctest
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mgm_core
from mgm_core import Click, ImageError, NoSubjectError, api, cut_out, read_image, write_image
from mgm_core.foreground.learned import NetworkEstimator
from mgm_core.images import read_photo, srgb_profile

SIZE = 64


@pytest.fixture(scope="module")
def photo():
    """A red square on dark grey, as bytes (H, W, 3)."""
    pixels = np.full((SIZE, SIZE, 3), 40, np.uint8)
    pixels[16:48, 16:48] = (200, 60, 60)
    return pixels


@pytest.fixture(scope="module")
def mask():
    marked = np.zeros((SIZE, SIZE), np.bool_)
    marked[18:46, 18:46] = True
    return marked


@pytest.fixture(scope="module")
def expected(photo, mask):
    return cut_out(photo, mask=mask, quality="fast")


def test_best_loads_its_networks_once_where_it_is_told_to_compute(photo, mask, monkeypatch):
    loaded = []
    load = NetworkEstimator.load
    monkeypatch.setattr(
        NetworkEstimator, "load", lambda **where: loaded.append(where) or load(**where)
    )
    monkeypatch.setattr(api, "_models", {})
    for _ in range(2):
        cut_out(photo, mask=mask, quality="best", device="cpu")
    assert loaded == [{"device": "cpu", "dtype": "auto"}]


def test_the_public_names_are_complete():
    assert set(mgm_core.__all__) == set(mgm_core._MODULES) == set(dir(mgm_core))
    for name in mgm_core.__all__:
        assert getattr(mgm_core, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'cutout_of'"):
        _ = mgm_core.cutout_of


def test_importing_it_loads_nothing():
    code = "import sys, mgm_core; print([m for m in ('numpy', 'torch', 'cv2') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_example_in_the_docstring_holds():
    import mgm_core.api

    found = doctest.testmod(mgm_core.api)
    assert found.attempted > 0
    assert not found.failed


def test_a_photo_may_come_in_any_form(tmp_path, photo, mask, expected):
    path, mask_path = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(photo).save(path)
    Image.fromarray(mask).save(mask_path)
    forms = [
        str(path),
        path,
        path.read_bytes(),
        BytesIO(path.read_bytes()),
        Image.fromarray(photo),
        photo.astype(np.float32) / 255,
        photo.astype(np.uint16) * 257,
    ]
    masks = [str(mask_path), mask_path.read_bytes(), Image.fromarray(mask), mask.astype(np.float32)]
    for form in forms:
        assert np.allclose(
            cut_out(form, mask=mask, quality="fast").alpha, expected.alpha, atol=1e-5
        )
    for form in masks:
        assert np.array_equal(cut_out(photo, mask=form, quality="fast").alpha, expected.alpha)


def test_what_comes_out(tmp_path, expected, photo):
    assert expected.rgba.shape == (SIZE, SIZE, 4)
    assert np.array_equal(expected.rgba[..., 3], expected.alpha)
    assert expected.foreground.shape == (SIZE, SIZE, 3)
    expected.save(tmp_path / "cutout.png")
    with Image.open(tmp_path / "cutout.png") as written:
        assert written.mode == "RGBA"
        levels = np.asarray(written)
    assert np.array_equal(levels[32, 32], [*photo[32, 32], 255])
    with pytest.raises(ValueError, match=r"cutout\.xyz"):
        expected.save(tmp_path / "cutout.xyz")


def test_a_background_is_a_colour_or_a_picture(tmp_path, photo, mask):
    green = cut_out(photo, mask=mask, quality="fast", background="#00ff00").picture
    assert np.array_equal(green[2, 2], [0, 1, 0])
    blue = np.zeros((8, 8, 3), np.float32)
    blue[..., 2] = 1
    write_image(tmp_path / "blue.png", blue)
    for picture in (blue, str(tmp_path / "blue.png")):
        over = cut_out(photo, mask=mask, quality="fast", background=picture)
        assert np.array_equal(over.picture[2, 2], [0, 0, 1])
    over.save(tmp_path / "over.jpg")
    assert read_image(tmp_path / "over.jpg")[2, 2, 2] > 0.9


def test_a_trimap_keeps_what_it_knows(photo):
    trimap = np.full((SIZE, SIZE), 0.5, np.float32)
    trimap[:8], trimap[20:44, 20:44] = 0, 1
    alpha = cut_out(photo, trimap=trimap, quality="fast").alpha
    assert not alpha[:8].any()
    assert (alpha[20:44, 20:44] == 1).all()


def test_clicks_add_and_take_away(photo, mask):
    nothing = np.zeros((SIZE, SIZE), np.float32)
    nothing[0, 0] = 1
    clicked = cut_out(photo, mask=nothing, points=[(32, 32)], quality="fast")
    assert clicked.cutout.guided.guidance[32, 32] == 1
    away = Click(32, 32, adds=False)
    with pytest.raises(NoSubjectError):
        cut_out(photo, mask=mask, points=[away], quality="fast")


def test_pillow_images_of_floats_are_read_as_arrays_are(photo, mask, expected):
    given = Image.fromarray(mask.astype(np.float32))
    assert given.mode == "F"
    made = cut_out(photo, mask=given, quality="fast")
    np.testing.assert_array_equal(made.alpha, expected.alpha)


def test_the_profile_of_a_pillow_image_for_print_is_read_as_a_files_is():
    profile = bytearray(srgb_profile())
    profile[16:20] = b"CMYK"  # such a profile cannot be used, which the note tells
    picture = Image.new("CMYK", (20, 20), (200, 10, 10, 10))
    file = BytesIO()
    picture.save(file, "JPEG", icc_profile=bytes(profile))
    (note,) = read_photo(file.getvalue()).notes
    assert api._read(Image.open(file), 1).notes == (note,)


def test_pillow_images_are_turned_upright_as_files_are(photo, mask):
    turned = Image.fromarray(np.ascontiguousarray(photo[:40]))
    turned.getexif()[0x0112] = 6  # a quarter turn
    upright = np.rot90(photo[:40], -1)
    guidance = np.ascontiguousarray(np.rot90(mask[:40], -1))
    made = cut_out(turned, mask=guidance, quality="fast")
    np.testing.assert_array_equal(made.cutout.image, upright / np.float32(255))


def test_points_may_be_numpys(photo):
    nothing = np.zeros((SIZE, SIZE), np.float32)
    nothing[0, 0] = 1
    (point,) = np.array([[32, 32]])
    made = cut_out(photo, mask=nothing, points=[tuple(point)], quality="fast")
    assert made.cutout.guided.guidance[32, 32] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trimap": np.zeros((SIZE, SIZE), np.float32)}, "mask and trimap must not both be given"),
        ({"quality": "slow"}, "quality must be one of fast, best, got 'slow'"),
        ({"category": "unicorn"}, "category must be one of .*, got 'unicorn'"),
        ({"points": [(99, 3)]}, "click must lie within the image"),
        ({"background": "no such file.png"}, "no such file.png"),
        ({"background": "#fff"}, r"background must be none, #rrggbb, .* or a picture, got '#fff'"),
        ({"background": "white"}, r"background must be none, #rrggbb, .* got 'white': correct it"),
    ],
)
def test_what_cannot_be_done_is_told(photo, mask, options, message):
    with pytest.raises(ValueError, match=message):
        cut_out(photo, mask=mask, **options)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.bool_, np.float32, np.float64])
def test_arrays_of_all_types_have_the_same_shapes_and_limits(kind):
    plane = np.eye(20, dtype=kind)
    for read, of in ((api._read, "image"), (api._read_mask, "mask")):
        column = getattr(read(plane[..., None], 50), of)
        np.testing.assert_array_equal(column, getattr(read(plane, 50), of))
        with pytest.raises(
            ValueError, match=r"an array must have shape \(H, W\), .*got \(20, 20, 2"
        ):
            read(np.stack([plane, plane], 2), 50)
        with pytest.raises(ImageError, match=r"must have at most 0.0001 megapixels, got 0.0: shri"):
            read(plane, 1e-4)
        with pytest.raises(ValueError, match=r"must hold pixels, got shape \(0, 20\): give some"):
            read(plane[:0], 50)


def test_a_pillow_image_of_grey_multiplied_by_alpha_is_read():
    grey = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 255)])
    read = api._read(grey.convert("La"), 50)
    np.testing.assert_allclose(read.image, 100 / 255, atol=1e-6)
    assert (read.alpha == 1).all()


def test_what_is_no_picture_is_told(photo, mask):
    with pytest.raises(ImageError):
        cut_out(b"not a picture", mask=mask)
    with pytest.raises(ValueError, match=r"float32 in \[0, 1\]|must lie in"):
        cut_out(photo.astype(np.float64), mask=mask)
    with pytest.raises(ValueError, match="an array must be of uint8"):
        cut_out(photo.astype(np.int64), mask=mask)
    with pytest.raises(ValueError, match=r"must have shape \(H, W\)"):
        cut_out(photo[:, :, :2], mask=mask)
    with pytest.raises(ValueError, match=r"must have 8 or 16 bits .* got mode I: convert it"):
        cut_out(photo, mask=Image.fromarray(mask.astype(np.int32)))
    with pytest.raises(ValueError, match="photo's alpha"):
        cut_out(np.full((SIZE, SIZE, 4), 2, np.float32).clip([0, 0, 0, 2], [1, 1, 1, 2]), mask=mask)
    with pytest.raises(ValueError, match="points must not be given with a trimap"):
        cut_out(photo, trimap=mask, points=[(3, 3)])


def test_it_is_typed():
    assert (Path(mgm_core.__file__).parent / "py.typed").is_file()
