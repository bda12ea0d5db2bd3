"""Files as people have them: read as every viewer reads them, or refused by name."""

import io
import struct
import tracemalloc
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin
from PIL.GifImagePlugin import GifImageFile

from mgm_core import images
from mgm_core.images import (
    SUFFIXES,
    ImageError,
    read_header,
    read_image,
    read_labels,
    read_mask,
    read_photo,
    read_subject_mask,
)
from mgm_core.labels import labels_of
from mgm_core.runtime.admission import within

RED, BLUE = (255, 0, 0), (0, 0, 255)


def file_of(picture, file_format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def pages(*pictures, marks=None):
    """A TIFF of several pages; `marks` are their NewSubfileType tags."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, new=True) as writer:
        for picture, mark in zip(pictures, marks or [None] * len(pictures), strict=True):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            if mark is not None:
                tags[254] = mark
            picture.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return file.getvalue()


RED_PAGE, SMALL = Image.new("RGB", (64, 48), RED), Image.new("RGB", (16, 12), BLUE)


@pytest.mark.parametrize(
    "data",
    [
        pages(RED_PAGE, SMALL),
        pages(RED_PAGE, SMALL, marks=[0, 1]),
        pages(SMALL, RED_PAGE, marks=[1, 0]),
        pages(RED_PAGE, Image.new("RGB", (48, 36), BLUE), marks=[0, 1]),
        pages(RED_PAGE, Image.new("L", (64, 48)), marks=[0, 4]),
    ],
    ids=["unmarked", "marked", "thumbnail first", "pyramid", "mask"],
)
def test_of_a_tiff_with_thumbnails_the_picture_is_read(data):
    image = read_image(data)
    assert image.shape == (48, 64, 3)
    assert (image == (1, 0, 0)).all()


def test_of_a_tiff_of_endless_pages_so_many_are_looked_at():
    page = Image.new("L", (1, 1))
    assert read_image(pages(RED_PAGE, *[page] * 99)).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="must have at most 100 pages, got more: save one alone"):
        read_image(pages(RED_PAGE, *[page] * 100))


def test_a_tiff_whose_tags_overlap_does_not_fill_the_memory():
    page = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (278, 1), (279, 1)]
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in page]
    tags += [struct.pack("<HHII", 40_000 + n, 7, 10**6, 8) for n in range(100)]
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    data = b"".join([header, *tags, bytes(4)]).ljust(10**6 + 8, b"\0")
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="parts must lie side by side in its file"):
            read_image(data)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def exif_block(tags, content, *, kind=7, count, part=None):
    """EXIF of tags with `count` values each, which all lie in the same content."""
    pointer = struct.pack("<HHHIII", 1, part, 4, 1, 26, 0) if part else b""
    start = 8 + len(pointer) + 2 + 12 * tags + 4
    entries = [struct.pack("<HHII", 40_000 + n, kind, count, start) for n in range(tags)]
    header = b"II*\0" + struct.pack("<I", 8) + pointer
    return b"Exif\0\0" + b"".join([header, struct.pack("<H", tags), *entries, bytes(4), content])


def with_chunk(png, kind, content, at):
    body = kind + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:at] + chunk + png[at:]


OVERLAPPING = exif_block(1000, bytes(50_000), count=50_000)
PNG = file_of(RED_PAGE)
JPEG = file_of(RED_PAGE, "JPEG")
PROFILE = b"Raw profile type exif\0\nexif\n1\n" + OVERLAPPING.hex().encode()
NUMBERS = exif_block(1, bytes([1]) * 400_000, kind=5, count=50_000, part=ExifTags.IFD.GPSInfo)
MP = b"MPF\0" + exif_block(500, bytes([1]) * 50_000, kind=5, count=6250)[6:]
MANY = bytes([1]) * 200_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: file_of(RED_PAGE, "JPEG", exif=OVERLAPPING),
        lambda: file_of(RED_PAGE, "JPEG", exif=OVERLAPPING, dpi=(300, 300)),
        lambda: file_of(RED_PAGE, "WEBP", exif=OVERLAPPING),
        lambda: file_of(RED_PAGE, "HEIF", exif=OVERLAPPING),
        lambda: file_of(RED_PAGE, "AVIF", exif=OVERLAPPING),
        lambda: with_chunk(PNG, b"eXIf", OVERLAPPING[6:], 33),
        lambda: with_chunk(PNG, b"eXIf", OVERLAPPING[6:], len(PNG) - 12),
        lambda: with_chunk(PNG, b"tEXt", PROFILE, 33),
        lambda: with_chunk(PNG, b"eXIf", NUMBERS[6:], 33),
    ],
    ids=["JPEG", "dpi", "WebP", "HEIF", "AVIF", "PNG", "behind", "text", "numbers"],
)
@pytest.mark.parametrize("read", [read_header, read_image])
def test_exif_does_not_fill_the_memory(make, read):
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"must have EXIF of at most 4 MiB once read, got mor"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_the_list_of_an_mpos_pictures_is_not_read():
    data = JPEG[:2] + b"\xff\xe2" + struct.pack(">H", len(MP) + 2) + MP + JPEG[2:]
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read_image(data), read_image(JPEG))
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", [read_header, read_image])
def test_a_jpegs_segments_are_collected_once(read, monkeypatch):
    opened = []
    collect = JpegImagePlugin.JpegImageFile._open
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "_open", lambda self: opened.append(collect(self))
    )
    read(file_of(RED_PAGE, "JPEG", exif=exif_block(1, b"text", kind=2, count=4)))
    assert len(opened) == 1


def tiff(*tags, large=False):
    """A TIFF with a page for each list of tags, (tag, kind, count)."""
    plain = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (279, 4, 1, 64)]
    entry, end = ("<HHQQ", "<Q") if large else ("<HHLL", "<L")
    at = 16 if large else 8
    file = b"II+\0" + struct.pack("<HHQ", 8, 0, at) if large else b"II*\0" + struct.pack("<L", at)
    for n, page in enumerate(tags, 1):
        entries = len(plain) + 1 + len(page)
        start = at + (8 if large else 2) + struct.calcsize(entry) * entries + struct.calcsize(end)
        rows = [*plain, (273, 4, 1, start), *((*tag, start + 64) for tag in page)]
        at = start + 64 + len(MANY)
        file += struct.pack("<Q" if large else "<H", entries)
        file += b"".join(struct.pack(entry, *row) for row in sorted(rows))
        file += struct.pack(end, at if n < len(tags) else 0) + bytes(64) + MANY
    return file


@pytest.mark.parametrize("large", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize(("kind", "count"), [(3, 90_000), (5, 20_000)], ids=["whole", "fractions"])
@pytest.mark.parametrize("read", [read_header, read_image])
def test_a_tiffs_own_numbers_do_not_fill_the_memory(read, kind, count, page, large):
    pages = [[], []]
    pages[page] = [(40_000, kind, count), (40_001, kind, count)]
    data = tiff(*pages, large=large)
    tracemalloc.start()
    try:
        with pytest.raises(
            ImageError, match=r"must have tags of at most 4 MiB once read, got more"
        ):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_values_of_a_kind_that_nobody_reads_count_for_nothing():
    block = exif_block(1, b"", kind=99, count=2**31)
    assert read_image(file_of(RED_PAGE, "JPEG", exif=block)).shape[2] == 3


def test_a_tiff_may_have_large_texts_and_a_strip_for_each_of_many_rows():
    for large in (False, True):
        text = [(40_000, 7, len(MANY))]
        np.testing.assert_array_equal(read_image(tiff(text, large=large)), np.zeros((8, 8, 3)))
    tall = Image.new("RGB", (4, 20_000), "red")
    strips = file_of(tall, "TIFF", tiffinfo={278: 1}, compression="tiff_lzw")
    assert len(Image.open(io.BytesIO(strips)).tag_v2[273]) == 20_000
    assert read_image(strips).shape == (20_000, 4, 3)


@pytest.mark.parametrize("part", [ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop])
def test_exif_is_measured_in_all_its_parts(part):
    block = exif_block(1000, bytes(50_000), count=50_000, part=part)
    with pytest.raises(ImageError, match="must have EXIF of at most 4 MiB"):
        read_image(file_of(RED_PAGE, "JPEG", exif=block))


@pytest.mark.parametrize("note", [60_000, 5 * 10**6])
def test_a_large_maker_note_is_no_reason_to_refuse_a_photo(note):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(note)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (1.5, 2.5, 3.5)
    read = Image.Exif()
    read.load(read_photo(file_of(RED_PAGE, "PNG", exif=exif)).exif)
    assert read[ExifTags.Base.Make] == "Camera"
    assert read.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == bytes(note)
    assert read.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (1.5, 2.5, 3.5)


def test_the_frames_of_a_large_gif_are_not_counted(monkeypatch):
    frames = [Image.new("L", (1, 1), grey) for grey in range(3)]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=bytes(70_000))
    monkeypatch.setattr(GifImageFile, "n_frames", property(lambda _: pytest.fail("counts")))
    with pytest.raises(ImageError, match="must be a single picture, got many frames: save one fra"):
        read_image(data)


@pytest.mark.parametrize("file_format", ["GIF", "JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("read", [read_header, read_image])
def test_reading_ends_at_the_time_limit(file_format, read):
    data = file_of(RED_PAGE, file_format)
    with pytest.raises(ValueError, match="a photo must take at most 0 s"), within(0, "a photo"):
        read(data)


def deep_pages(*pictures, orientation=1):
    """A TIFF of 16-bit pages; the last is the picture, the others are marked as smaller copies."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for picture in pictures:
            writer.write(
                picture,
                photometric="rgb" if picture.ndim == 3 else "minisblack",
                subfiletype=int(picture is not pictures[-1]),
                compression="zlib",
                metadata=None,
                extratags=[(274, "H", 1, orientation, True)],
            )
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64)])
def test_of_a_deep_tiff_with_a_thumbnail_the_picture_is_read(shape, orientation):
    levels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    thumbnails = [np.zeros(shape, np.uint16)[::4, ::4], np.zeros(shape, np.uint16)[::2, ::2]]
    data = deep_pages(*thumbnails, levels, orientation=orientation)
    expected = read_image(deep_pages(levels, orientation=orientation))
    np.testing.assert_array_equal(read_image(data), expected)
    turned = np.rot90(levels, {1: 0, 3: 2, 6: -1}[orientation]) / np.float32(65535)
    turned = turned if turned.ndim == 3 else turned[..., None]
    np.testing.assert_array_equal(expected, np.broadcast_to(turned, expected.shape))


def test_a_deep_tiffs_other_pages_are_not_decoded(monkeypatch):
    # Page 0 is above the limit, the picture is not.
    monkeypatch.setattr(cv2, "imdecode", lambda *given: pytest.fail("decodes page 0"))
    data = deep_pages(np.zeros((1200, 1000), np.uint16), np.full((48, 64), 65535, np.uint16))
    image = read_image(data, max_megapixels=1)
    assert image.shape == (48, 64, 3)
    assert (image == 1).all()


def test_deep_pixels_of_another_size_than_the_headers_are_refused(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *given: np.zeros((12, 16), np.uint16))
    with pytest.raises(ImageError, match=r"header says \(48, 64\), its pixels are \(12, 16\)"):
        read_image(deep_pages(np.zeros((48, 64), np.uint16)))


def test_a_tiff_of_several_pictures_is_refused():
    with pytest.raises(ImageError, match="must be a single picture, got 2 frames"):
        read_image(pages(RED_PAGE, RED_PAGE))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"dpi": (300, 300)}),
        ("PNG", {"dpi": (300, 300)}),
        ("TIFF", {"dpi": (300, 300)}),
        ("WEBP", {"exif": {282: 300.0, 283: 300.0, 296: 2}}),
        ("WEBP", {"exif": {282: 118.11, 283: 118.11, 296: 3}}),
    ],
)
def test_resolution_is_read(file_format, options):
    if "exif" in options:
        tags = Image.Exif()
        tags.update(options["exif"])
        options = {"exif": tags}
    photo = read_photo(file_of(RED_PAGE, file_format, **options))
    assert photo.dpi == pytest.approx((300, 300), abs=0.1)


def test_no_resolution_is_no_resolution_and_a_turned_one_is_turned():
    for file_format in ("JPEG", "PNG", "TIFF", "WEBP"):
        assert read_photo(file_of(RED_PAGE, file_format)).dpi is None
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    photo = read_photo(file_of(RED_PAGE, "JPEG", dpi=(100, 200), exif=tags))
    assert photo.image.shape == (64, 48, 3)
    assert photo.dpi == (200, 100)


def test_a_jpeg_whose_exif_tells_no_resolution_has_none():
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "A. Photographer"
    data = file_of(RED_PAGE, "JPEG", exif=tags)
    assert read_photo(data).dpi is None
    tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = 300.0, 150.0
    assert read_photo(file_of(RED_PAGE, "JPEG", exif=tags)).dpi == (300, 150)


def test_a_resolution_stays_though_a_value_of_exif_cannot_be_written_again():
    block = exif_block(1, struct.pack("<ii", -5, 0), kind=10, count=1, part=ExifTags.IFD.Exif)
    photo = read_photo(file_of(RED_PAGE, "JPEG", exif=block, dpi=(300, 150)))
    assert (photo.dpi, photo.exif) == ((300, 150), b"")
    assert photo.exif_fault


def test_exif_is_kept_without_what_was_true_of_the_file_alone():
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Artist] = "A. Photographer"
    about_photo = tags.get_ifd(ExifTags.IFD.Exif)
    about_photo[ExifTags.Base.ISOSpeedRatings] = 400
    about_photo[ExifTags.Base.ColorSpace] = 65535
    about_photo[ExifTags.Base.ExifImageWidth], about_photo[ExifTags.Base.ExifImageHeight] = 64, 48
    about_photo[ExifTags.IFD.Interop] = {1: "R98"}  # lies elsewhere in the file
    stored = Image.Exif()
    stored.load(read_photo(file_of(RED_PAGE, "JPEG", exif=tags)).exif)
    assert stored[ExifTags.Base.Artist] == "A. Photographer"
    assert dict(stored.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.ISOSpeedRatings: 400}
    assert ExifTags.Base.Orientation not in stored
    assert read_photo(file_of(RED_PAGE, "JPEG")).exif == b""


def test_a_16_bit_tiff_in_planes_is_refused():
    file = io.BytesIO()
    planes = np.full((3, 4, 5), 60000, np.uint16)
    tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError, match="must be plain grey or RGB with straight alpha, pixel by"):
        read_photo(file.getvalue())


def test_a_further_channel_of_a_tiff_that_is_no_transparency_is_left_out():
    pixels = np.full((4, 5, 4), 60000, np.uint16)
    pixels[..., 3] = 100
    for levels in (pixels, (pixels >> 8).astype(np.uint8)):
        file = io.BytesIO()
        tifffile.imwrite(file, levels, photometric="rgb", extrasamples=["unspecified"])
        photo = read_photo(file.getvalue())
        assert photo.alpha is None
        assert photo.image == pytest.approx(60000 / 65535, abs=0.01)


def test_usual_endings_are_known():
    usual = {".jpg", ".jpe", ".jfif", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}
    assert usual | {".heic", ".heif", ".avif", ".mpo"} <= SUFFIXES
    assert not {".eps", ".pdf", ".psd", ".svg", ".ico"} & SUFFIXES


def header_only(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = file_of(Image.new("L", (1, 1)))
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_a_large_picture_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"at most 50 megapixels, got 108\.0: shrink it"):
            read_image(header_only(12_000, 9_000))
        with pytest.raises(ImageError, match="truncated or damaged"):
            read_image(header_only(12_000, 9_000), max_megapixels=120)


@pytest.mark.parametrize(
    "error", [IndexError("index out of range"), TypeError("no"), KeyError(3), RuntimeError("x")]
)
def test_whatever_a_decoder_raises_is_an_image_error(monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr(images.ImageOps, "exif_transpose", broken)
    with pytest.raises(ImageError, match="must be a complete image, got a truncated or damaged"):
        read_image(file_of(RED_PAGE))


def test_memory_that_is_short_is_no_damage_to_the_file(monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr(images.ImageOps, "exif_transpose", short)
    with pytest.raises(MemoryError):
        read_image(file_of(RED_PAGE))


def test_files_that_no_picture_fills_are_refused_unread(tmp_path):
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.write(file_of(RED_PAGE, "JPEG"))
        file.truncate(4 * 2**30)
    with pytest.raises(ImageError, match=r"must be an image file of at most \d+ MiB, got 4096"):
        read_image(sparse)
    with sparse.open("rb") as file, pytest.raises(ImageError, match="of at most"):
        read_image(file, max_megapixels=0.1)


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded():
    data = file_of(Image.new("L", (64, 64)), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    length = int.from_bytes(data[start + 2 : start + 4])
    end = start + 2 + length
    while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
        end += 1
    many = data[:end] + data[start:end] * 1000 + data[end:]
    with pytest.raises(ImageError, match="must have at most 100 scans, got more"):
        read_image(many)
    # What lies behind the picture, as a phone's film does, is none of its scans.
    assert read_image(data + b"\xff\xda\x00\x08" * 1000).shape == (64, 64, 3)


def test_tiles_far_larger_than_their_picture_are_refused():
    data = bytearray(file_of(RED_PAGE, "TIFF"))
    entries = struct.unpack_from("<H", data, start := struct.unpack_from("<I", data, 4)[0])[0]
    for n in range(entries):
        at = start + 2 + 12 * n
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (278, 279):  # rows and bytes of a strip become a tile's sides
            struct.pack_into("<HHII", data, at, {278: 322, 279: 323}[tag], 4, 1, 60_000)
        elif tag == 273:
            struct.pack_into("<H", data, at, 324)
    with pytest.raises(ImageError, match=r"must have tiles of its size, got some of 3600 mega"):
        read_image(bytes(data))


# Maps of labels


def patches(*labels, dtype=np.uint8):
    """Patches of labels beside each other on a background of 0."""
    plane = np.zeros((40, 20 * len(labels) + 4), dtype)
    for n, label in enumerate(labels):
        plane[8:32, 4 + 20 * n : 20 + 20 * n] = label
    return plane


@pytest.mark.parametrize(
    ("levels", "labels"),
    [
        (patches(15), (15,)),
        (patches(1), (1,)),
        (patches(1, 2, 7), (1, 2, 7)),
        (patches(15, 255), None),  # as much white as label: a mask with a dark grey part
        (patches(24, 26, 33), (24, 26, 33)),
        (patches(12, 126, 150), (12, 126, 150)),
        (patches(90), None),  # one grey patch: a mask painted at less than full strength
        (patches(0, 255), None),
        (np.full((8, 8), 26, np.uint8), None),
        (patches(128, 255), None),
        (patches(15, dtype=np.uint16), (15,)),
        (patches(26001, 24002, 24003, dtype=np.uint16), (24002, 24003, 26001)),
        (patches(65535, 32768, dtype=np.uint16), None),
        (np.tile(np.arange(0, 41, dtype=np.uint8), (8, 1)), None),  # a dim ramp
        (np.tile(np.arange(0, 256, dtype=np.uint8), (8, 1)), None),
        (np.tile(np.arange(0, 256, 5, dtype=np.uint8).repeat(12), (40, 1)), None),
    ],
)
def test_labels_are_told_from_strengths(levels, labels):
    assert labels_of(levels) == labels


def test_unlabelled_pixels_around_a_label_are_no_label():
    levels = patches(15, 15)
    levels[7:9, 4:44] = 255
    assert labels_of(levels) == (15,)


def test_the_only_label_is_the_subject_and_of_several_one_is_told():
    single, several = (file_of(Image.fromarray(patches(*n))) for n in ([15], [7, 15]))
    found = read_subject_mask(single)
    np.testing.assert_array_equal(found.mask, patches(1))
    assert found.note == "label 15 of 0, 15"
    with pytest.raises(ImageError, match=r"got a map of the labels 0, 7, 15: choose the subject"):
        read_subject_mask(several)
    chosen = read_subject_mask(several, label=15)
    np.testing.assert_array_equal(chosen.mask, patches(0, 1))
    with pytest.raises(ImageError, match=r"must have label 3, got 0, 7, 15: choose one"):
        read_subject_mask(several, label=3)
    # Where a matte is wanted nothing is guessed.
    with pytest.raises(ImageError, match="got a map of the labels 0, 15"):
        read_mask(single)
    np.testing.assert_array_equal(read_mask(single, label=15), patches(1))


def test_a_palettes_entries_are_labels_and_its_colours_are_not():
    picture = Image.fromarray(patches(15))
    picture = picture.convert("P")
    colours = np.zeros((256, 3), np.uint8)
    colours[15] = (192, 128, 128)  # VOC's person
    picture.putpalette(colours.tobytes())
    np.testing.assert_array_equal(read_subject_mask(file_of(picture)).mask, patches(1))


def test_labels_are_listed_with_their_shares():
    levels = patches(7, 15)
    assert read_labels(file_of(Image.fromarray(levels))) == {
        7: pytest.approx((levels == 7).mean()),
        15: pytest.approx((levels == 15).mean()),
    }
    transparent = Image.fromarray(np.dstack([levels, levels])).convert("LA")
    assert read_labels(file_of(transparent)) == read_labels(file_of(Image.fromarray(patches(255))))
    assert read_labels(file_of(transparent)) == {}


def test_a_coloured_picture_has_no_labels():
    coloured = np.dstack([patches(255), patches(0), patches(0)])
    assert read_labels(file_of(Image.fromarray(coloured))) == {}
    with pytest.raises(ImageError, match="must be a map of labels for label 3, got a colour"):
        read_mask(file_of(Image.fromarray(coloured)), label=3)


def test_masks_stay_masks():
    soft = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (20, 1))
    for levels in (soft, patches(255), patches(128, 255), patches(128)):
        found = read_subject_mask(file_of(Image.fromarray(levels)))
        np.testing.assert_array_equal(found.mask, levels / np.float32(255))
        assert found.note == ""
