"""Every format that results are written in gives back what was put in."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from psd_tools import PSDImage

from mgm_core.files import formats
from mgm_core.files.formats import FORMATS, encode, format_of
from mgm_core.images import read_alpha, read_image, read_photo, srgb_profile

RNG = np.random.default_rng(3)
SMOOTH = np.stack(
    np.broadcast_arrays(
        np.linspace(0, 1, 48)[None],
        np.linspace(1, 0, 40)[:, None],
        0.4,
        np.linspace(0, 1, 40)[:, None],
    ),
    axis=-1,
).astype(np.float32)
LOSSLESS_8 = ("png", "webp-lossless", "tiff")
LOSSLESS_16 = ("png16", "tiff16")


@pytest.mark.parametrize("name", [*LOSSLESS_8, *LOSSLESS_16])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_formats_keep_every_level(name, channels):
    peak = 65535 if name in LOSSLESS_16 else 255
    pixels = RNG.integers(1, peak + 1, (8, 9, channels)).astype(np.float32) / np.float32(peak)
    data = encode(FORMATS[name], pixels)
    np.testing.assert_array_equal(read_image(data), pixels[..., :3])
    if channels == 4:
        np.testing.assert_array_equal(read_alpha(data), pixels[..., 3])


def test_a_tiff_of_16_bits_says_that_its_alpha_is_straight():
    with tifffile.TiffFile(io.BytesIO(encode(FORMATS["tiff16"], SMOOTH))) as file:
        assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert file.pages[0].dtype == np.uint16


@pytest.mark.parametrize("name", ["webp", "avif", "jpeg"])
def test_lossy_formats_keep_colours_nearly_and_alpha_where_they_have_it(name):
    form = FORMATS[name]
    pixels = SMOOTH if form.alpha else SMOOTH[..., :3]
    data = encode(form, pixels)
    shown = pixels[..., 3] > 0.1 if form.alpha else np.ones(pixels.shape[:2], bool)
    np.testing.assert_allclose(read_image(data)[shown], pixels[..., :3][shown], atol=0.04)
    if form.alpha:
        np.testing.assert_allclose(read_alpha(data), pixels[..., 3], atol=0.02)


def test_a_psd_has_its_layers():
    behind = np.full((40, 48, 3), (1, 0, 0), np.float32)
    merged = SMOOTH[..., :3] * SMOOTH[..., 3:] + behind * (1 - SMOOTH[..., 3:])
    layers = [("Background", behind), ("Subject", SMOOTH)]
    document = PSDImage.open(
        io.BytesIO(encode(FORMATS["psd"], merged, layers=layers, dpi=(300, 300)))
    )
    assert [layer.name for layer in document] == ["Background", "Subject"]
    assert [layer.size for layer in document] == [(48, 40)] * 2
    # The sRGB profile is applied to what is in sRGB already: it rounds once more.
    np.testing.assert_allclose(np.asarray(document.topil())[..., :3] / 255, merged, atol=2 / 255)
    # Over an opaque picture the subject's alpha is a layer mask, which can be painted on.
    subject = document[1]
    np.testing.assert_allclose(subject.numpy()[..., :3], SMOOTH[..., :3], atol=0.003)
    np.testing.assert_allclose(np.asarray(subject.mask.topil()) / 255, SMOOTH[..., 3], atol=0.003)
    np.testing.assert_allclose(document[0].numpy()[..., :3], behind, atol=0.003)
    alone = PSDImage.open(io.BytesIO(encode(FORMATS["psd"], SMOOTH)))[0]
    np.testing.assert_allclose(alone.numpy(), SMOOTH, atol=0.003)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "psd"])
def test_resolution_and_exif_are_written(name):
    form = FORMATS[name]
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "A. Photographer"
    exif = tags.tobytes() if form.most_exif_bytes else b""
    photo = read_photo(encode(form, SMOOTH[..., :3], dpi=(300, 150), exif=exif))
    assert photo.dpi == pytest.approx((300, 150), rel=1e-3)
    bare = read_photo(encode(form, SMOOTH[..., :3]))
    assert bare.dpi is None
    assert bare.exif == b""
    if form.most_exif_bytes:
        tags = Image.Exif()
        tags.load(photo.exif)
        assert tags[ExifTags.Base.Artist] == "A. Photographer"


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].most_exif_bytes])
@pytest.mark.parametrize("dpi", [None, (300, 150)])
def test_all_of_a_photographs_exif_is_kept(name, dpi):
    tags = Image.Exif()
    tags[ExifTags.Base.Artist], tags[ExifTags.Base.Copyright] = "Zoë".encode(), "© Zoë".encode()
    about_photo = tags.get_ifd(ExifTags.IFD.Exif)
    about_photo[ExifTags.Base.ISOSpeedRatings] = 400
    about_photo[ExifTags.Base.ExposureTime] = 0.008
    about_photo[ExifTags.Base.MakerNote] = b"note" * 10
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (1.5, 2.5, 3.5)
    given = read_photo(encode(FORMATS["png"], SMOOTH[..., :3], exif=tags.tobytes())).exif
    data = encode(FORMATS[name], SMOOTH[..., :3], dpi=dpi, exif=given)
    assert read_photo(data).exif == given
    assert "© Zoë".encode() in data
    written = Image.Exif()
    written.load(given)
    assert written.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
    assert written.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (1.5, 2.5, 3.5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_programs_read_a_tiff(channels):
    pixels = RNG.integers(0, 256, (150, 9, channels), np.uint8).squeeze()
    data = encode(FORMATS["tiff"], pixels, dpi=(300, 150))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), pixels)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,) * (channels == 4)
        assert page.iccprofile == (srgb_profile() if channels > 1 else None)
        assert page.get_resolution("INCH") == (300, 150)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize(("name", "most"), [("webp", 16_383), ("psd", 30_000), ("jpeg", 65_500)])
def test_what_a_format_has_no_room_for_is_refused(name, most):
    row = np.zeros((1, most + 1, 3), np.uint8)
    assert encode(FORMATS[name], row[:, 1:])
    with pytest.raises(
        ValueError, match=f"sides of at most {most} px for {name}, got {most + 1}x1"
    ):
        encode(FORMATS[name], row)


def test_a_jpeg_has_no_room_for_much_exif():
    exif = b"Exif\0\0".ljust(65_534, b"\0")
    with pytest.raises(
        ValueError, match="EXIF must have at most 65533 bytes for jpeg, got 65534: "
    ):
        encode(FORMATS["jpeg"], SMOOTH[..., :3], exif=exif)


def test_a_psd_of_a_resolution_beyond_its_numbers_is_written():
    assert encode(FORMATS["psd"], SMOOTH, dpi=(90_000, 90_000))


def test_the_ending_or_the_name_decides():
    assert format_of(Path("a.PNG")).name == "png"
    assert format_of(Path("a.tif")).name == "tiff"
    assert format_of(Path("a.jpe")).name == "jpeg"
    assert format_of(Path("a.tif"), "tiff16").name == "tiff16"
    with pytest.raises(ValueError, match=r"must end in \.png, .*, \.psd, got a\.gif: choose one"):
        format_of(Path("a.gif"))
    with pytest.raises(ValueError, match=r"must end in \.tiff or \.tif for tiff16, got a\.png"):
        format_of(Path("a.png"), "tiff16")


def test_a_format_whose_package_is_missing_is_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"without the package psd_tools, got it: pip install"):
        format_of(Path("a.psd"))
    assert format_of(Path("a.tiff")).name == "tiff"
