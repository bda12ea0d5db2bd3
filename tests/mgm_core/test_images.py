import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from mgm_core import images
from mgm_core.images import (
    ImageError,
    encode_jpeg,
    encode_png,
    encode_webp,
    read_alpha,
    read_image,
    read_mask,
    read_photo,
    write_image,
)

RNG = np.random.default_rng(20)
# Three colours in an L: every one of the eight orientations shows.
CORNER = np.array(
    [[[255, 0, 0], [0, 255, 0], [9, 9, 9]], [[0, 0, 255]] + 2 * [[9, 9, 9]]], np.uint8
)


def file_of(picture, file_format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(levels, colour_type, *extra_chunks):
    """A PNG of (H, W[, C]) uint16, which Pillow cannot write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", levels.shape[1], len(levels), 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra_chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff_of(levels, *, photometric=2, extra_samples=None, orientation=1):
    """A TIFF of (H, W, C) uint16 in one uncompressed strip."""
    height, width, channels = levels.shape
    fields = {256: width, 257: height, 259: 1, 262: photometric, 274: orientation}
    fields |= {277: channels, 278: height, 279: levels.nbytes}
    if extra_samples is not None:
        fields[338] = extra_samples
    bits_at = 8 + 2 + 12 * (len(fields) + 2) + 4
    fields[273] = bits_at + 2 * channels
    entries = [(tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in fields.items()]
    entries.append((258, 3, channels, 16 if channels == 1 else bits_at))
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0)
    return start + struct.pack(f"<{channels}H", *[16] * channels) + levels.astype("<u2").tobytes()


def icc_profile(space, tags):
    """A version-2 ICC profile for a screen: `tags` are the tags' bodies by their signatures."""
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    bodies = {b"desc": text, b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    offset = 128 + 4 + 12 * len(bodies)
    table, data = struct.pack(">I", len(bodies)), b""
    for signature, body in bodies.items():
        body += bytes(-len(body) % 4)
        table += struct.pack(">4sII", signature, offset + len(data), len(body))
        data += body
    header = struct.pack(
        ">I4xI4s4s4s12x4s", offset + len(data), 0x02400000, b"mntr", space, b"XYZ ", b"acsp"
    )
    header = header.ljust(68, b"\0") + xyz(0.9642, 1.0, 0.8249)[8:]
    return header.ljust(128, b"\0") + table + data


def xyz(*values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def red_and_green_swapped():
    primaries = {
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971),  # sRGB's green
        b"gXYZ": xyz(0.4361, 0.2225, 0.0139),  # sRGB's red
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))
    return icc_profile(b"RGB ", primaries | curves)


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_lossless_file_reads_as_its_levels_over_255(file_format):
    read = read_image(file_of(Image.fromarray(CORNER), file_format))
    assert read.dtype == np.float32
    assert read.shape == (2, 3, 3)
    np.testing.assert_array_equal(read, CORNER / np.float32(255))


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "HEIF", "AVIF"])
def test_a_lossy_file_reads_as_nearly_its_colours(file_format):
    flat = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    read = read_image(file_of(Image.fromarray(flat), file_format, quality=95))
    np.testing.assert_allclose(read, flat / 255, atol=5 / 255)


def test_path_bytes_and_open_file_read_the_same(tmp_path):
    data = file_of(Image.fromarray(CORNER))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    expected = read_image(data)
    for source in (path, str(path), io.BytesIO(data)):
        np.testing.assert_array_equal(read_image(source), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_at_every_depth(orientation):
    upright = np.asarray(
        ImageOps.exif_transpose(
            Image.open(io.BytesIO(file_of(Image.fromarray(CORNER), exif=exif(orientation))))
        )
    )
    chunk = (b"eXIf", exif(orientation).tobytes()[6:])
    deep = CORNER.astype(np.uint16) * 257
    for data in (
        file_of(Image.fromarray(CORNER), "PNG", exif=exif(orientation)),
        file_of(Image.fromarray(CORNER), "TIFF", exif=exif(orientation)),
        png_of(deep, 2, chunk),
        tiff_of(deep, orientation=orientation),
    ):
        np.testing.assert_array_equal(read_image(data), upright / np.float32(255))


def test_a_photo_held_upright_by_a_phone_is_turned_a_quarter_clockwise():
    read = read_image(file_of(Image.fromarray(CORNER), exif=exif(6)))
    np.testing.assert_array_equal(np.rint(255 * read), np.rot90(CORNER, -1))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("file_format", ["HEIF", "AVIF", "JPEG"])
def test_a_turned_photo_of_a_phone_is_upright(file_format, orientation):
    halves = np.zeros((64, 96, 3), np.uint8)
    halves[:32] = 255
    # As bytes: only so does the HEIF encoder write the container's own rotation, as phones do.
    tags = exif(orientation).tobytes()
    read = read_image(file_of(Image.fromarray(halves), file_format, exif=tags))
    white = read.mean(axis=2) > 0.5
    expected = np.zeros((64, 96), bool)
    expected[:32] = True
    np.testing.assert_array_equal(white, np.rot90(expected, -1) if orientation == 6 else expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("make", [png_of, tiff_of])
def test_16_bits_are_kept(make, channels):
    levels = RNG.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    if make is png_of:
        data = png_of(levels, {1: 0, 3: 2, 4: 6}[channels])
    else:
        data = tiff_of(
            levels,
            photometric=1 if channels == 1 else 2,
            extra_samples=2 if channels == 4 else None,
        )
    read = read_image(data)
    expected = np.broadcast_to(levels[..., :3], (5, 7, 3))
    np.testing.assert_array_equal(read, expected / np.float32(65535))
    if channels == 4:
        np.testing.assert_array_equal(read_alpha(data), levels[..., 3] / np.float32(65535))


def test_16_bit_grey_with_alpha_gives_both():
    levels = RNG.integers(0, 65536, (4, 6, 2), dtype=np.uint16)
    data = png_of(levels, 4)
    expected = levels / np.float32(65535)
    np.testing.assert_array_equal(read_image(data)[..., 1], expected[..., 0])
    np.testing.assert_array_equal(read_alpha(data), expected[..., 1])
    np.testing.assert_array_equal(read_mask(data), expected[..., 1])


@pytest.mark.parametrize(("photometric", "extra_samples"), [(0, None), (2, 1)])
def test_16_bit_tiffs_that_would_be_misread_are_refused(photometric, extra_samples):
    levels = np.zeros((3, 3, 4 if extra_samples else 1), np.uint16)
    with pytest.raises(ImageError, match=r"must be plain grey or RGB with straight alpha"):
        read_image(tiff_of(levels, photometric=photometric, extra_samples=extra_samples))


def test_an_embedded_profile_is_converted_to_srgb():
    flat = np.zeros((4, 4, 3), np.uint8)
    flat[:, :2, 0] = 255
    flat[:, 2:, 1] = 255
    profile = red_and_green_swapped()
    expected = flat[..., [1, 0, 2]] / 255
    for data in (
        file_of(Image.fromarray(flat), icc_profile=profile),
        file_of(Image.fromarray(np.dstack([flat, flat[..., 0]])), icc_profile=profile),
        png_of(flat.astype(np.uint16) * 257, 2, (b"iCCP", b"p\0\0" + zlib.compress(profile))),
    ):
        np.testing.assert_allclose(read_image(data), expected, atol=2 / 255)


def test_a_profile_is_no_matter_for_masks():
    grey = np.arange(0, 256, 5, dtype=np.uint8)[None]
    linear = icc_profile(b"GRAY", {b"kTRC": gamma(1.0)})
    data = file_of(Image.fromarray(grey), icc_profile=linear)
    np.testing.assert_array_equal(read_mask(data), grey / np.float32(255))


def test_linear_grey_becomes_srgb_at_every_depth():
    linear = icc_profile(b"GRAY", {b"kTRC": gamma(1.0)})
    grey = Image.fromarray(np.full((2, 2), 128, np.uint8))
    chunk = (b"iCCP", b"p\0\0" + zlib.compress(linear))
    for data in (
        file_of(grey, icc_profile=linear),
        file_of(grey.convert("LA"), icc_profile=linear),
        png_of(np.full((2, 2), 128 * 257, np.uint16), 0, chunk),
    ):
        # sRGB's curve at 128 / 255: 1.055 * 0.502 ** (1 / 2.4) - 0.055.
        np.testing.assert_allclose(read_image(data), 0.737, atol=1 / 255)


def test_grey_tagged_with_an_rgb_profile_stays_grey():
    data = file_of(
        Image.fromarray(np.full((2, 2), 128, np.uint8)), icc_profile=red_and_green_swapped()
    )
    read = read_image(data)
    assert np.ptp(read, axis=2).max() <= 2 / 255
    np.testing.assert_allclose(read, 128 / 255, atol=3 / 255)


def test_a_linear_profile_is_converted_whatever_its_name():
    primaries = {
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(1.0))
    linear = icc_profile(b"RGB ", primaries | curves).replace(b"test\0", b"sRGB\0")
    data = file_of(Image.fromarray(np.full((2, 2, 3), 128, np.uint8)), icc_profile=linear)
    np.testing.assert_allclose(read_image(data), 0.737, atol=2 / 255)


def test_16_bits_tagged_as_srgb_are_kept():
    levels = RNG.integers(0, 65536, (4, 4, 3), dtype=np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = png_of(levels, 2, (b"iCCP", b"p\0\0" + zlib.compress(profile)))
    np.testing.assert_array_equal(read_image(data), levels / np.float32(65535))


@pytest.mark.parametrize("profile", [b"no profile", icc_profile(b"GRAY", {b"kTRC": gamma(1.0)})])
def test_a_profile_that_does_not_fit_is_left_out_and_told(profile):
    data = file_of(Image.fromarray(CORNER), icc_profile=profile)
    photo = read_photo(data)
    np.testing.assert_array_equal(photo.image, CORNER / np.float32(255))
    assert "broken colour profile" in photo.notes[0]
    assert read_photo(file_of(Image.fromarray(CORNER))).notes == ()


def test_cmyk_becomes_rgb():
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(read_image(file_of(inks, "JPEG"))[8, 8], (1, 0, 0), atol=4 / 255)


def test_colours_of_a_transparent_picture_are_straight():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[..., 3] = [[0, 1], [128, 255]]
    data = file_of(Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(data), pixels[..., :3] / np.float32(255))
    np.testing.assert_array_equal(read_alpha(data), pixels[..., 3] / np.float32(255))


def test_a_palette_with_transparent_entries():
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    data = file_of(picture, transparency=bytes([255, 128, 0]))
    np.testing.assert_array_equal(read_image(data)[0], np.eye(3))
    np.testing.assert_array_equal(read_alpha(data)[0], np.float32([255, 128, 0]) / np.float32(255))


def test_masks_of_every_mode_read_the_same():
    levels = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    grey = Image.fromarray(levels)
    opaque = Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 255)])
    cut_out = Image.merge("RGBA", [Image.new("L", grey.size, 77)] * 3 + [grey])
    sources = [
        *(file_of(grey.convert(mode)) for mode in ("1", "L", "P", "RGB")),
        file_of(opaque),
        file_of(cut_out),
        file_of(Image.merge("LA", [Image.new("L", grey.size, 77), grey])),
        png_of(levels.astype(np.uint16) * 257, 0),
        file_of(Image.fromarray(levels / np.float32(255)), "TIFF"),
    ]
    for source in sources:
        read = read_mask(source)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, levels / np.float32(255))


def test_half_of_the_range_is_the_same_number_at_8_and_16_bits():
    eight = read_mask(file_of(Image.fromarray(np.array([[0, 128]], np.uint8))))
    sixteen = read_mask(png_of(np.array([[0, 128 * 257]], np.uint16), 0))
    assert eight[0, 1] == sixteen[0, 1] == np.float32(128 / 255)


def test_a_grey_mask_saved_as_a_colour_jpeg_is_no_colour_image():
    levels = np.zeros((64, 64), np.uint8)
    levels[16:48, 16:48] = 255
    read = read_mask(file_of(Image.fromarray(levels).convert("RGB"), "JPEG", quality=60))
    np.testing.assert_array_equal(read > 0.5, levels > 127)


def test_colour_images_are_refused_as_masks():
    with pytest.raises(ImageError, match=r"must be a grey mask, got a colour image .*greyscale"):
        read_mask(file_of(Image.fromarray(CORNER)))


def test_label_images_are_refused_as_masks():
    labels = file_of(Image.fromarray(np.array([[0, 1]], np.uint8)))
    with pytest.raises(ImageError, match=r"got a map of the labels 0, 1: choose the subject's lab"):
        read_mask(labels)


def test_alpha_of_a_picture_without_one_is_refused():
    with pytest.raises(ImageError, match="must have an alpha channel, got an image without one"):
        read_alpha(file_of(Image.fromarray(CORNER)))


def test_float_masks_outside_the_range_are_refused():
    with pytest.raises(ImageError, match=r"must lie in \[0, 1\], got values from 0 to 3"):
        read_mask(file_of(Image.fromarray(np.float32([[0, 3]])), "TIFF"))


def test_missing_file_folder_and_empty_file_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"^photo.jpg must exist, got no such file: check"):
        read_image(tmp_path / "photo.jpg")
    with pytest.raises(ImageError, match=rf"^{tmp_path.name} must be a file, got a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"^empty.png must be an image file, got an empty file"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("data", [b"GIF? no", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_other_files_are_refused(data):
    with pytest.raises(ImageError, match=r"must be an image file, got \d+ bytes .*use JPEG, PNG"):
        read_image(data)


@pytest.mark.parametrize(
    "file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF", "BMP"]
)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error(file_format, share):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), file_format)
    with pytest.raises(ImageError, match=r"truncated or damaged|another or a damaged"):
        read_image(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF", "BMP"]
)
def test_damaged_files_raise_nothing_but_image_errors(file_format):
    rng = np.random.default_rng(5)
    whole = file_of(Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)), file_format)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(0, min(len(whole), 400), 5):
            damaged[position] = rng.integers(0, 256)
        try:
            read_image(bytes(damaged))
        except ImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("make", [lambda levels: png_of(levels, 2), tiff_of])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_16_bit_file_is_an_error(make, share):
    data = make(RNG.integers(0, 65536, (64, 64, 3), dtype=np.uint16))
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(data[: int(len(data) * share)])


def test_the_public_names_are_complete():
    made_here = {
        name
        for name, value in vars(images).items()
        if getattr(value, "__module__", "") == images.__name__ and not name.startswith("_")
    }
    assert made_here == {name for name in images.__all__ if not name.isupper()}


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_are_refused(file_format):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    data = file_of(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"must be a single picture, got 3 frames: save one frame"):
        read_image(data)


@pytest.mark.parametrize("file_format", ["MPO", "HEIF"])
def test_the_primary_picture_of_a_phones_bundle_is_read(file_format):
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    data = file_of(red, file_format, save_all=True, append_images=[blue])
    np.testing.assert_allclose(read_image(data)[16, 16], (1, 0, 0), atol=8 / 255)


def header_only(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def test_too_many_pixels_are_refused_before_decoding():
    # There are no pixels: only a refusal from the header can count them.
    with pytest.raises(ImageError, match=r"at most 50 megapixels, got 54\.0: shrink it first"):
        read_image(header_only(6000, 9000))
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(header_only(6000, 9000), max_megapixels=60)


@pytest.mark.parametrize("height", [16_000, 60_000])
def test_what_pillow_takes_for_a_bomb_is_refused_by_the_same_rule(height):
    with pytest.raises(ImageError, match=r"must have at most 50 megapixels, got "):
        read_image(header_only(8000, height))


@pytest.mark.parametrize("limit", [0, 179])
def test_limits_that_cannot_be_held_are_refused(limit):
    with pytest.raises(ValueError, match=r"^max_megapixels must be above 0 and at most 178"):
        read_image(file_of(Image.fromarray(CORNER)), max_megapixels=limit)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4)])
def test_png_keeps_every_level(bits, shape):
    peak = np.float32(2**bits - 1)
    array = RNG.integers(0, 2**bits, shape).astype(np.float32) / peak
    data = encode_png(array, bits=bits)
    if len(shape) == 2:
        np.testing.assert_array_equal(read_mask(data), array)
    else:
        np.testing.assert_array_equal(read_image(data), array[..., :3])
    if shape[-1] == 4:
        np.testing.assert_array_equal(read_alpha(data), array[..., 3])


def test_values_are_rounded_not_cut():
    read = read_mask(encode_png(np.float32([[0.0, 0.498, 0.6 / 255, 0.4 / 255, 1.0]])))
    np.testing.assert_array_equal(np.rint(255 * read), [[0, 127, 1, 0, 255]])


def test_colour_pngs_are_tagged_as_srgb_and_alphas_are_not():
    tagged = Image.open(io.BytesIO(encode_png(np.zeros((2, 2, 3), np.float32))))
    tagged.load()
    assert tagged.info["srgb"] == 0
    bare = Image.open(io.BytesIO(encode_png(np.zeros((2, 2), np.float32))))
    bare.load()
    assert "srgb" not in bare.info


def test_write_image_chooses_by_the_files_ending(tmp_path):
    array = np.full((16, 16, 3), 0.25, np.float32)
    for ending, file_format in (
        (".png", "PNG"),
        (".jpg", "JPEG"),
        (".JPEG", "JPEG"),
        (".webp", "WEBP"),
    ):
        path = tmp_path / f"result{ending}"
        write_image(path, array)
        with Image.open(path) as picture:
            assert picture.format == file_format
        np.testing.assert_allclose(read_image(path), 0.25, atol=3 / 255)
    write_image(tmp_path / "deep.png", array, bits=16)
    np.testing.assert_allclose(read_image(tmp_path / "deep.png"), 0.25, atol=1e-5)


def test_jpeg_keeps_colours_that_change_from_pixel_to_pixel():
    array = np.zeros((16, 16, 3), np.float32)
    array[:, ::2, 0] = array[:, 1::2, 2] = 1
    np.testing.assert_allclose(read_image(encode_jpeg(array)), array, atol=0.05)


def test_webp_keeps_alpha_exactly():
    array = RNG.integers(0, 256, (8, 8, 4)).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(read_alpha(encode_webp(array)), array[..., 3])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "alpha.png"
    write_image(path, np.zeros((2, 2), np.float32))
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_image(path, np.ones((2, 2), np.float32))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["alpha.png"]


def test_others_may_read_what_was_written(tmp_path):
    write_image(tmp_path / "alpha.png", np.zeros((2, 2), np.float32))
    (tmp_path / "plain").touch()
    assert (tmp_path / "alpha.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_cannot_be_written_is_refused(tmp_path):
    grey = np.zeros((2, 2), np.float32)
    with pytest.raises(
        ValueError, match=r"path must end in \.png, \.jpg, \.jpeg, \.webp, got a\.tif"
    ):
        write_image(tmp_path / "a.tif", grey)
    with pytest.raises(ValueError, match=r"bits must be 8 for \.jpg, got 16: write a \.png"):
        write_image(tmp_path / "a.jpg", grey, bits=16)
    with pytest.raises(ImageError, match="path must be in a folder that exists"):
        write_image(tmp_path / "none" / "a.png", grey)
    with pytest.raises(ValueError, match="must have no alpha channel for JPEG"):
        encode_jpeg(np.zeros((2, 2, 4), np.float32))
    with pytest.raises(ValueError, match="bits must be 8 or 16, got 12"):
        encode_png(grey, bits=12)
    with pytest.raises(ValueError, match=r"array must be of shape \(H, W\), .*got \(2, 2, 2\)"):
        encode_png(np.zeros((2, 2, 2), np.float32))


def test_a_float_with_the_slack_of_rounding_is_clipped():
    assert read_mask(encode_png(np.float32([[0, 1 + 1e-6]])))[0, 1] == 1


def test_16_bit_files_of_opencv_agree_with_ours():
    array = RNG.random((4, 5, 3)).astype(np.float32)
    decoded = cv2.imdecode(
        np.frombuffer(encode_png(array, bits=16), np.uint8), cv2.IMREAD_UNCHANGED
    )
    np.testing.assert_array_equal(decoded[..., ::-1], np.rint(array * np.float32(65535)))
