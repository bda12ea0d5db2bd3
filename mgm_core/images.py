"""Image files in, arrays out, and back: the one module that knows their formats and EXIF.

Everywhere else an image is float32 (H, W, 3), sRGB, and a mask or alpha is float32 (H, W), both in
[0, 1] and upright. Reading refuses what would quietly give a wrong picture: a truncated file, an
animation, a colour photo given as a mask.
"""

import os
import re
import stat
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, cast
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    ExifTags,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    UnidentifiedImageError,
)
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from mgm_core.arrays import Bytes, Floats, Levels, check_shape, check_values
from mgm_core.labels import labels_of
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.partial import written_whole

# Pillow loads most of its openers late, and knows none of them by name before.
Image.init()
try:
    import pillow_heif
except ModuleNotFoundError:
    _READS_HEIF = False
else:
    _READS_HEIF = True
    pillow_heif.register_heif_opener()

__all__ = [
    "LARGEST_MEGAPIXELS",
    "SUFFIXES",
    "Header",
    "ImageError",
    "Photo",
    "SubjectMask",
    "check_limit",
    "encode_jpeg",
    "encode_png",
    "encode_webp",
    "exif_values",
    "levels_of",
    "read_alpha",
    "read_header",
    "read_image",
    "read_labels",
    "read_mask",
    "read_matte",
    "read_photo",
    "read_subject_mask",
    "srgb_profile",
    "write_image",
    "write_whole",
]

Source: TypeAlias = str | PathLike[str] | bytes | BinaryIO

# Only these openers run on files from strangers: Pillow's EPS opener, for one, starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", *(["HEIF"] if _READS_HEIF else []), "AVIF", "TIFF", "BMP", "GIF")
_FORMAT_NAMES = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in (*_FORMATS, "MPO")
)
"""Endings, in lower case, of the files that can be read."""
# A phone's HEIC holds depth maps and bursts behind one primary photo: it is no animation.
_FORMATS_WITH_A_PRIMARY_IMAGE = ("JPEG", "HEIF")
_MODES_OF_8_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# What a colour profile has to be for, by Pillow's mode.
_MODES_OF_COLOURS = dict.fromkeys(_MODES_OF_8_BITS, "RGB") | {
    **dict.fromkeys(("1", "L", "LA", "I;16"), "L"),
    "CMYK": "CMYK",
}
# Pillow refuses more pixels than this whatever we ask of it.
LARGEST_MEGAPIXELS = 178.0
# No picture needs more bytes: 16 bits in four channels, and what else a camera puts into a file.
_MAX_BYTES_PER_PIXEL, _MAX_OTHER_BYTES = 8, 64 * 2**20
# Ten scans are usual in a progressive JPEG. Each is decoded on all of its pixels.
_MAX_JPEG_SCANS = 100
# Each page's tags are read to find the picture; a pyramid of thumbnails has a dozen.
_MAX_TIFF_PAGES = 100
# Small GIFs' frames are counted for the message; in a large one that could take a minute.
_MAX_COUNTED_GIF_BYTES = 2**16
# A tile is decoded whole, however little of it lies in the picture.
_MAX_TILE_PX = 4096 * 4096
# A TIFF's tags are read with each visit to its page, then its pixels.
_MAX_READINGS = 5
_STRIP_ROWS = 64  # so many of a large picture are converted at once, in a processor's cache

# What lossy compression may add between the channels of a grey mask; colours differ by far more.
_GREY_TOLERANCE = 12 / 255
# A colour that a profile must leave as it is, within so many levels, to be sRGB.
_PROBE, _SAME_LEVELS = (64, 128, 192), 3
_JPEG_AND_WEBP_QUALITY = 95
_ICC_TIME = slice(24, 36)
# Of a file's first directory, what tells about the photo; the rest is about the file's pixels.
_EXIF_TAGS = {
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
}
# Of its Exif part, what is about the file's pixels or lies elsewhere in the file.
_EXIF_OF_PIXELS = {
    ExifTags.IFD.Interop,
    ExifTags.Base.ColorSpace,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")
_HEIF_BRANDS = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"hevc")}
_JPEG_START = b"\xff\xd8\xff"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_EXIF_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# A value's bytes, by the number of its type. Pillow keeps those of the first three types as they
# are; each number of another type becomes an object of so many bytes, fractions the largest.
_EXIF_TEXT, _EXIF_FRACTIONS = (1, 2, 7), (5, 10)
_EXIF_VALUE_BYTES = dict.fromkeys((*_EXIF_TEXT, 6), 1) | {3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4}
_EXIF_VALUE_BYTES |= dict.fromkeys((5, 10, 12, 16), 8)
_NUMBER_BYTES, _FRACTION_BYTES = 40, 256
# So much memory may the numbers of EXIF take, and its texts beyond its own length. Photographs have
# some KiB of numbers; a TIFF has two for each of its strips.
_EXTRA_EXIF_BYTES = 4 * 2**20


class ImageError(ValueError):
    """A file cannot be read as the image or mask that it was given for."""


@dataclass(frozen=True)
class Photo:
    """A photograph as it was read.

    Args:
        image: (H, W, 3) float32 sRGB in [0, 1], upright; colours are straight.
        alpha: (H, W) float32 in [0, 1]; None where the file has no transparency.
        dpi: pixels an inch from left to right and from top to bottom; None where the file does not
            tell.
        exif: the file's EXIF without orientation and thumbnail, as a file has it; may be empty.
        notes: sentences on what was not taken as the file says.
        exif_fault: why the file's EXIF cannot be written again; empty where it can.
    """

    image: Floats = field(repr=False)
    alpha: Floats | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    exif: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
    exif_fault: str = ""


@dataclass(frozen=True)
class SubjectMask:
    """A mask of the subject, and how its file was read.

    Args:
        mask: (H, W) float32 in [0, 1].
        note: what was read of a map of labels; empty for other masks.
    """

    mask: Floats = field(repr=False)
    note: str = ""


def read_photo(source: Source, *, max_megapixels: float = 50.0) -> Photo:
    """Read a photo with its transparency and its resolution.

    EXIF orientation is applied and an embedded ICC profile is converted to sRGB; one that is broken
    or belongs to other pixels is left out, and noted. 16-bit PNG and TIFF keep their precision,
    unless a profile other than sRGB has to be converted: that is done in 8 bits. Of a TIFF with
    thumbnails the picture itself is read.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header, before any pixel is decoded; at
            most 178.

    Returns:
        The photo.

    Raises:
        ImageError: the file is missing, no image, damaged, animated or too large.
    """
    found = _read(source, max_megapixels, colour_managed=True)
    return Photo(
        np.ascontiguousarray(found.colours),
        found.alpha,
        found.dpi,
        found.exif,
        found.notes,
        found.exif_fault,
    )


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before any pixel is decoded.

    Args:
        width: in px, upright.
        height: in px, upright.
        turned: the stored pixels lie on their side.
        plain: they are RGB or grey of 8 bits, opaque, upright and without a colour profile, so
            that every program shows them as `read_image` reads them.
        format: Pillow's name of the format.
    """

    width: int
    height: int
    turned: bool
    plain: bool
    format: str


def read_header(source: Source, *, max_megapixels: float = 50.0) -> Header:
    """Read a picture's size and kind; files that `read_image` refuses by their header are refused.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images; at most 178.

    Returns:
        The header.

    Raises:
        ImageError: as in `read_photo`.
    """
    name = _name(source)
    data = _read_bytes(source, check_limit(max_megapixels))
    with _naming_damage(name), _without_bomb_warning():
        opened = _open(name, data, max_megapixels)
        bits = _bits(name, opened)
        _check_exif_of(name, opened)
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
        turned = orientation in (5, 6, 7, 8)
        plain = (
            bits == 8
            and opened.mode in ("RGB", "L")
            and orientation == 1
            and not opened.has_transparency_data
            and not {"icc_profile", "gamma", "chromaticity"} & set(opened.info)
        )
        width, height = opened.size[::-1] if turned else opened.size
        return Header(width, height, turned, plain, str(opened.format))


def read_image(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read a photo's colours as `read_photo` does, as stored (straight) under any alpha channel.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1].

    Raises:
        ImageError: as in `read_photo`.
    """
    return read_photo(source, max_megapixels=max_megapixels).image


def read_mask(source: Source, *, label: int | None = None, max_megapixels: float = 50.0) -> Floats:
    """Read a mask, trimap or alpha: the alpha channel unless it is opaque, else the grey values.

    ICC profiles are ignored, as a mask's values are no colours.

    Args:
        source: path, the file's bytes, or an open binary file.
        label: which of a class map's labels is the subject; None where the file is none.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: as in `read_photo`, and where the picture is coloured, holds labels and none
            was chosen, or does not hold the label.
    """
    return _read_mask(source, max_megapixels, label, the_only_label=False).mask


def read_matte(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read a matte as `read_mask` does, but few and small values are strengths, never labels.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: as in `read_mask`, but for maps of labels.
    """
    found = _read(source, max_megapixels, colour_managed=False)
    return _alpha_or_grey(_name(source), found)


def read_subject_mask(
    source: Source, *, label: int | None = None, max_megapixels: float = 50.0
) -> SubjectMask:
    """Read a mask as `read_mask` does; a class map's only label is taken for the subject.

    Args:
        source: path, the file's bytes, or an open binary file.
        label: which of a class map's labels is the subject; None for the only one.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        The mask.

    Raises:
        ImageError: as in `read_mask`; of several labels one has to be chosen.
    """
    return _read_mask(source, max_megapixels, label, the_only_label=True)


def read_labels(source: Source, *, max_megapixels: float = 50.0) -> dict[int, float]:
    """Tell which labels a class map holds, to choose the subject's from.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        Each label's share of the pixels, without background and unlabelled, in order; empty for
        masks, trimaps, mattes and colour pictures.

    Raises:
        ImageError: as in `read_photo`.
    """
    found = _read(source, max_megapixels, colour_managed=False)
    if found.levels is None or (found.alpha is not None and found.alpha.min() < 1):
        return {}
    labels = labels_of(found.levels, certainly=found.coloured_palette)
    return {label: float((found.levels == label).mean()) for label in labels or ()}


def read_alpha(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read the alpha channel of a picture, opaque or not.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 178.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: as in `read_photo`, and where the picture has no alpha channel.
    """
    alpha = _read(source, max_megapixels, colour_managed=False).alpha
    if alpha is None:
        raise ImageError(
            f"{_name(source)} must have an alpha channel, got an image without one: "
            "save it as a PNG with transparency"
        )
    return alpha


def _read_mask(
    source: Source, max_megapixels: float, label: int | None, *, the_only_label: bool
) -> SubjectMask:
    found = _read(source, max_megapixels, colour_managed=False)
    name = _name(source)
    if found.alpha is not None and found.alpha.min() < 1 and label is None:
        return SubjectMask(found.alpha)
    levels = found.levels
    labels = None if levels is None else labels_of(levels, certainly=found.coloured_palette)
    if label is not None or (the_only_label and labels is not None and len(labels) == 1):
        if levels is None:
            raise ImageError(
                f"{name} must be a map of labels for label {label}, got a colour image: save the "
                "labels as greyscale or as a palette's entries"
            )
        chosen = levels == (labels[0] if label is None and labels else label)
        if not chosen.any():
            raise ImageError(f"{name} must have label {label}, got {_listed(levels)}: choose one")
        note = f"label {label if labels is None or label is not None else labels[0]} of " + (
            _listed(levels)
        )
        return SubjectMask(chosen.astype(np.float32), note)
    if labels is None and levels is not None and not the_only_label and (levels == 1).all():
        labels = (1,)  # a matte stored as 0 and 1 that happens to hold no 0
    if labels is not None:
        raise ImageError(
            f"{name} must use the whole range from black to white, got a map of the labels "
            f"{_listed(levels)}: choose the subject's label, or save it as 255 and the rest as 0"
        )
    return SubjectMask(_alpha_or_grey(name, found))


def _alpha_or_grey(name: str, found: "_Decoded") -> Floats:
    if found.alpha is not None and found.alpha.min() < 1:
        return found.alpha
    spread = float(np.ptp(found.colours, axis=2).max())
    if spread > _GREY_TOLERANCE:
        raise ImageError(
            f"{name} must be a grey mask, got a colour image (its channels differ by up "
            f"to {spread:.2f}): save the mask as greyscale, or as a PNG's alpha channel"
        )
    # Of a lossy picture's channels green carries the least chroma noise.
    return np.ascontiguousarray(found.colours[..., 1])


def _listed(levels: NDArray[Any] | None, shown: int = 12) -> str:
    assert levels is not None, "only maps of labels are listed"
    values = np.unique(levels)
    text = ", ".join(map(str, values[:shown]))
    return text if len(values) <= shown else f"{text} and {len(values) - shown} more"


def write_image(path: str | PathLike[str], array: Floats, *, bits: Literal[8, 16] = 8) -> None:
    """Write an image file in one step: readers see the old file or the whole new one.

    Args:
        path: ends in .png, .jpg, .jpeg or .webp; the last three are lossy (quality 95), and JPEG
            has no alpha.
        array: (H, W) grey, (H, W, 3) sRGB or (H, W, 4) sRGB with straight alpha, float in [0, 1].
        bits: bits a channel; 16 is for PNG only.

    Raises:
        ValueError: the array or the file's ending cannot be written.
        ImageError: the folder does not exist.
    """
    path = Path(path)
    encoders: dict[str, Callable[[Floats], bytes]] = {
        ".png": lambda pixels: encode_png(pixels, bits=bits),
        ".jpg": encode_jpeg,
        ".jpeg": encode_jpeg,
        ".webp": encode_webp,
    }
    suffix = path.suffix.lower()
    if suffix not in encoders:
        raise ValueError(
            f"path must end in {', '.join(encoders)}, got {path.name}: choose one of them"
        )
    if bits == 16 and suffix != ".png":
        raise ValueError(f"bits must be 8 for {suffix}, got 16: write a .png")
    if not path.parent.is_dir():
        raise ImageError(f"path must be in a folder that exists, got {path}: create its folder")
    write_whole(path, encoders[suffix](array))


def write_whole(path: str | PathLike[str], data: bytes) -> None:
    """Write a file in one step: readers see the old file or the whole new one.

    Args:
        path: in a folder that exists.
        data: the file's content.

    Raises:
        OSError: the disk does not take it; nothing is left behind.
    """
    with written_whole(Path(path)) as part:
        part.write_bytes(data)


def encode_png(array: Floats | Levels, *, bits: Literal[8, 16] = 8) -> bytes:
    """Encode a PNG; values are rounded, colours are tagged as sRGB.

    Args:
        array: (H, W), (H, W, 3) or (H, W, 4) float in [0, 1], or integers of so many bits; alpha is
            straight.
        bits: 8 or 16 bits a channel.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range.
    """
    levels = levels_of(array, bits)
    if levels.ndim == 2:
        return cv2.imencode(".png", levels)[1].tobytes()
    swap = cv2.COLOR_RGB2BGR if levels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    png = cv2.imencode(".png", cv2.cvtColor(levels, swap))[1].data
    # OpenCV writes no colour tag. An sRGB chunk (perceptual intent) goes right behind the
    # signature and IHDR, which take 33 bytes.
    body = b"sRGB\x00"
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", crc32(body))
    return b"".join((png[:33], chunk, png[33:]))  # one copy: at 50 megapixels it takes 0.1 GB


def encode_jpeg(array: Floats | Levels, **options: Any) -> bytes:  # noqa: ANN401 - what Pillow takes
    """Encode a JPEG of quality 95 with an sRGB profile.

    Args:
        array: (H, W) or (H, W, 3) float in [0, 1].
        options: further ones of Pillow's, such as dpi and exif.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range, or has an alpha channel.
    """
    levels = levels_of(array, 8)
    if levels.ndim == 3 and levels.shape[2] == 4:
        raise ValueError(
            f"array must have no alpha channel for JPEG, got shape {array.shape}: "
            "write a .png, or composite it first"
        )
    return _encode_lossy(levels, "JPEG", subsampling=0, **options)


def encode_webp(array: Floats | Levels, **options: Any) -> bytes:  # noqa: ANN401 - what Pillow takes
    """Encode a lossy WebP of quality 95 with an sRGB profile; alpha is kept lossless.

    Args:
        array: (H, W), (H, W, 3) or (H, W, 4) float in [0, 1].
        options: further ones of Pillow's, such as lossless and exif.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range.
    """
    return _encode_lossy(levels_of(array, 8), "WEBP", **options)


def srgb_profile() -> bytes:
    """Return an ICC profile for sRGB, the same at all times."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile carries the time it was made; without it, equal pictures make equal files.
    return profile[: _ICC_TIME.start] + bytes(12) + profile[_ICC_TIME.stop :]


def levels_of(array: Floats | Levels, bits: Literal[8, 16]) -> Levels:
    """Return an array's values as integers of 8 or 16 bits; those that are stay as they are.

    Raises:
        ValueError: the array is of another shape, type or range.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}: choose one of them")
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    check_shape("array", array, fits, "(H, W), (H, W, 3) or (H, W, 4)")
    if array.dtype == (np.uint8 if bits == 8 else np.uint16):
        return cast(Levels, array)
    check_values("array", cast(Floats, array))
    levels = np.empty(array.shape, np.uint8 if bits == 8 else np.uint16)
    peak = 2**bits - 1
    for first in range(0, len(array), _STRIP_ROWS):  # large pictures are not copied whole
        strip = np.s_[first : first + _STRIP_ROWS]
        # float32 holds every 16-bit level exactly, so that the rounding is exact too.
        levels[strip] = np.rint(np.clip(array[strip], 0, 1) * peak)
    return levels


def _encode_lossy(levels: NDArray[Any], file_format: str, **options: Any) -> bytes:  # noqa: ANN401 - what Pillow takes
    profile = srgb_profile() if levels.ndim == 3 else b""
    picture = Image.fromarray(levels)
    file = BytesIO()
    picture.save(file, file_format, quality=_JPEG_AND_WEBP_QUALITY, icc_profile=profile, **options)
    return file.getvalue()


def _name(source: Source) -> str:
    """Name a source in messages: without its folder, which is nobody's business on a server."""
    if isinstance(source, bytes):
        return "the image"
    if isinstance(source, str | PathLike):
        return Path(source).name or str(source)
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) else "the image"


def _read_bytes(source: Source, most: int) -> bytes:
    name = _name(source)
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str | PathLike):
        try:
            with Path(source).open("rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_ISREG(found.st_mode) and found.st_size > most:
                    raise _too_many_bytes(name, found.st_size, most)
                data = file.read(most + 1)
        except FileNotFoundError as error:
            raise ImageError(f"{name} must exist, got no such file: check its path") from error
        except IsADirectoryError as error:
            raise ImageError(f"{name} must be a file, got a folder: name a file in it") from error
        except OSError as error:
            raise ImageError(
                f"{name} must be readable, got {error.strerror}: check its permissions"
            ) from error
    else:
        data = source.read(most + 1)
    if len(data) > most:
        raise _too_many_bytes(name, len(data), most)
    if not data:
        raise ImageError(f"{name} must be an image file, got an empty file: upload or copy it anew")
    return data


def _too_many_bytes(name: str, found: int, most: int) -> "ImageError":
    return ImageError(
        f"{name} must be an image file of at most {most // 2**20} MiB, got {found // 2**20}: save "
        "it anew, or smaller"
    )


@dataclass(frozen=True)
class _Decoded:
    """An upright file's content.

    Args:
        colours: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], or None.
        levels: (H, W) integers as they are stored, of grey and palette files; or None.
        coloured_palette: the levels are entries of a palette that is not grey.
        dpi: as in `Photo`; so are exif, notes and exif_fault.
    """

    colours: Floats
    alpha: Floats | None
    levels: NDArray[Any] | None = None
    coloured_palette: bool = False
    dpi: tuple[float, float] | None = None
    exif: bytes = b""
    notes: tuple[str, ...] = ()
    exif_fault: str = ""


def _read(source: Source, max_megapixels: float, *, colour_managed: bool) -> _Decoded:
    """Decode a file to upright float32 colours and what goes with them."""
    name = _name(source)
    data = _read_bytes(source, check_limit(max_megapixels))
    with _naming_damage(name), _without_bomb_warning():
        return _decode(name, data, max_megapixels, colour_managed)


def check_limit(max_megapixels: float, name: str = "max_megapixels") -> int:
    """Return how many bytes a file may have for a limit on its megapixels.

    Args:
        max_megapixels: The limit.
        name: What an error calls it.

    Raises:
        ValueError: The limit is impossible.
    """
    if not 0 < max_megapixels <= LARGEST_MEGAPIXELS:
        raise ValueError(
            f"{name} must be above 0 and at most {LARGEST_MEGAPIXELS:g}, got "
            f"{max_megapixels:g}: choose a limit in this range and shrink larger images"
        )
    return int(max_megapixels * 1e6 * _MAX_BYTES_PER_PIXEL) + _MAX_OTHER_BYTES


@contextmanager
def _naming_damage(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError.

    For damaged files Pillow and its codecs raise nearly every exception there is, and warnings,
    which are exceptions where the caller has made them so.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(
            f"{name} must be a complete image, got a truncated or damaged file ({error}): "
            "save or upload it anew"
        ) from error


@contextmanager
def _without_bomb_warning() -> Iterator[None]:
    """Keep Pillow from warning of large pictures: `_open` holds them to the caller's limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _decode(name: str, data: bytes, max_megapixels: float, colour_managed: bool) -> _Decoded:
    opened = _open(name, data, max_megapixels)
    bits = _bits(name, opened)
    # This decodes the file, needlessly where OpenCV does it below: but Pillow notices truncated
    # files, and OpenCV not.
    opened.load()
    _check_exif_of(name, opened)
    picture = ImageOps.exif_transpose(opened)
    turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    about: dict[str, Any] = {}
    # Viewers show pictures whose EXIF is damaged; where up is had to be read above.
    with suppress(Exception):
        about["dpi"] = _dpi(opened, turned)
    try:
        about["exif"] = _exif(opened)
    except Exception as error:  # damaged EXIF raises nearly anything in Pillow; the reason is kept
        about["exif_fault"] = str(error) or type(error).__name__
    profile = opened.info.get("icc_profile") if colour_managed else None
    if profile:
        try:
            in_srgb = _converted_to_srgb(picture, profile)
        except (ImageCms.PyCMSError, KeyError, OSError, ValueError) as error:
            about["notes"] = (
                f"{name} has a broken colour profile ({error}); its colours are read as sRGB.",
            )
        else:
            if in_srgb is not None:
                alpha = _alpha_of_8_bits(picture)
                return _Decoded(_fraction(np.asarray(in_srgb)), alpha, **about)
    if bits == 16:
        deep = _decode_16_bits(data, opened, (picture.height, picture.width))
        grey = deep if deep.ndim == 2 else None
        return _Decoded(*_split(_fraction(deep)), levels=grey, **about)
    if bits == 32:
        return _Decoded(*_split(_float_values(name, picture)), **about)
    straight = picture.convert("RGBA") if picture.has_transparency_data else picture
    colours = np.asarray(straight if straight.mode == "RGB" else straight.convert("RGB"))
    levels, coloured = _levels_as_stored(picture, colours)
    return _Decoded(_fraction(colours), _alpha_of_8_bits(picture), levels, coloured, **about)


def _levels_as_stored(picture: Image.Image, colours: Bytes) -> tuple[Bytes | None, bool]:
    """Return the integers of a picture that may be a map of labels, and whether it is coloured."""
    grey = all((row == row[:, :1]).all() for row in colours)  # ends with the first coloured row
    if picture.mode == "P" and not grey:
        return np.asarray(picture), True
    # A picture of one bit has no labels but black and white.
    return (colours[..., 0] if grey and picture.mode != "1" else None), False


def _dpi(opened: ImageFile.ImageFile, turned: bool) -> tuple[float, float] | None:
    """Return the resolution that a file states, in pixels an inch of the upright picture."""
    found = opened.info.get("dpi")
    if found is None:
        tags = opened.getexif()
        per_inch = {2: 1.0, 3: 2.54}.get(tags.get(ExifTags.Base.ResolutionUnit, 2))
        sides = [tags.get(tag) for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)]
        if per_inch is None or None in sides:
            return None
        found = [float(side) * per_inch for side in sides if side is not None]
    try:
        across, down = (float(side) for side in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow fills in 1 where a TIFF does not tell.
    if not (1 < across < 100_000 and 1 < down < 100_000):
        return None
    return (down, across) if turned else (across, down)


def _exif(opened: ImageFile.ImageFile) -> bytes:
    """Return a file's EXIF but for what is no longer true of the upright picture."""
    found = exif_values(opened.getexif())
    about_photo = Image.Exif()
    for tag, value in found.items():
        if tag in _EXIF_TAGS:
            about_photo[tag] = value
        elif tag in _EXIF_PARTS:
            true = {inner: value[inner] for inner in value if inner not in _EXIF_OF_PIXELS}
            if true:
                about_photo[tag] = true
    return about_photo.tobytes() if len(about_photo) else b""


def exif_values(exif: Image.Exif) -> dict[int, Any]:
    """Return EXIF's values by tag, ready for Pillow to write; a part's values are a dictionary.

    Pillow reads texts as Latin-1 and writes them as ASCII, with "?" for every other letter. It
    writes bytes as they are, so that texts with other letters are returned as bytes.
    """
    values = dict(exif) | {part: exif.get_ifd(part) for part in _EXIF_PARTS}
    return {tag: _as_stored(value) for tag, value in values.items() if value != {}}


def _as_stored(value: object) -> object:
    if isinstance(value, dict):
        return {tag: _as_stored(inner) for tag, inner in value.items()}
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


class _Content(BytesIO):
    """A file's bytes, which a decoder may read several times over, and until its time is up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left_bytes = _MAX_READINGS * len(data) + 2**20

    def read(self, size: int | None = -1, /) -> bytes:
        checkpoint()
        found = super().read(size)
        self._left_bytes -= len(found)
        if self._left_bytes < 0:
            raise ImageError(
                "an image's parts must lie side by side in its file, got some that overlap: save "
                "it anew"
            )
        return found


def _open(name: str, data: bytes, max_megapixels: float) -> ImageFile.ImageFile:
    """Read a file's header and refuse what must not be decoded."""
    too_large = f"{name} must have at most {max_megapixels:g} megapixels, got"
    picture: ImageFile.ImageFile
    try:
        _check_before_opening(name, data)
        if data.startswith(_JPEG_START):
            picture = _Jpeg(_Content(data))
        else:
            picture = Image.open(_Content(data), formats=_FORMATS)
    except (UnidentifiedImageError, SyntaxError) as error:
        if not _READS_HEIF and data[4:12] in _HEIF_BRANDS:
            raise ImageError(
                f"{name} must not be HEIC while the package pillow-heif is missing: "
                "pip install 'mgm[heif]', or save it as JPEG"
            ) from error
        raise ImageError(
            f"{name} must be an image file, got {len(data)} bytes of another or a damaged "
            f"format: use {_FORMAT_NAMES}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{too_large} more than {LARGEST_MEGAPIXELS:g}: shrink it first"
        ) from error
    frames: int | str = 1
    if isinstance(picture, TiffImageFile):
        frames = _seek_main_page(name, picture)
    elif picture.format != "GIF" or len(data) <= _MAX_COUNTED_GIF_BYTES:
        frames = getattr(picture, "n_frames", 1)
    elif getattr(picture, "is_animated", False):
        frames = "many"
    megapixels = picture.width * picture.height / 1e6
    if megapixels > max_megapixels:
        raise ImageError(f"{too_large} {megapixels:.1f}: shrink it first")
    if frames != 1 and picture.format not in _FORMATS_WITH_A_PRIMARY_IMAGE:
        raise ImageError(f"{name} must be a single picture, got {frames} frames: save one frame")
    if isinstance(picture, TiffImageFile):
        tags = picture.tag_v2
        # Sides of tiles, in px.
        tile_px = int(tags.get(322, 0)) * int(tags.get(323, 0))
        if tile_px > max(_MAX_TILE_PX, 4 * picture.width * picture.height):
            raise ImageError(
                f"{name} must have tiles of its size, got some of {tile_px / 1e6:.0f} megapixels: "
                "save it anew"
            )
    if isinstance(picture, _Jpeg) and _jpeg_scans(data) > _MAX_JPEG_SCANS:
        raise ImageError(
            f"{name} must have at most {_MAX_JPEG_SCANS} scans, got more: save it anew as a "
            "plain JPEG"
        )
    return picture


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF is not read as it is opened; of an MPO the first picture."""

    def _read_dpi_from_exif(self) -> None:
        """Leave it to `_dpi`; Pillow also takes 72 dpi where none are stated."""


def _check_before_opening(name: str, data: bytes) -> None:
    """Measure what Pillow reads when it opens a TIFF or an AVIF."""
    if data.startswith(_TIFF_STARTS):
        _check_exif(name, data, "tags")
    elif AvifImagePlugin._accept(data[:16]) is True:
        from PIL import _avif  # some builds of Pillow have none

        *_, exif, _, _ = _avif.AvifDecoder(data, "auto", 1).get_info()
        if exif:
            _check_exif(name, exif)


def _check_exif_of(name: str, opened: ImageFile.ImageFile) -> None:
    if opened.format == "PNG" and "exif" not in opened.info:
        opened.load()  # it may lie behind the pixels
    if block := opened.info.get("exif"):
        _check_exif(name, block)
    elif text := opened.info.get("Raw profile type exif"):  # ImageMagick's way in a PNG
        _check_exif(name, bytes.fromhex("".join(text.split("\n")[3:])))


def _check_exif(name: str, block: bytes, what: Literal["EXIF", "tags"] = "EXIF") -> None:
    """Refuse EXIF that would take far more memory than its bytes, before Pillow reads it.

    Its values may lie on each other in any number, and Pillow copies each. The tags of all pages of
    a TIFF are laid out in the same way; `_Content` bounds their texts.
    """
    head = 0
    while block.startswith(b"Exif\0\0", head):
        head += 6
    block = block[head:]
    order: Literal["big", "little"] = "big" if block.startswith(b"MM") else "little"
    large = block[2:3] == b"+"  # a BigTIFF
    entry = struct.Struct((">" if order == "big" else "<") + ("HHQQ" if large else "HHLL"))
    word = 8 if large else 4
    left_of_texts = len(block) + _EXTRA_EXIF_BYTES if what == "EXIF" else float("inf")
    left = _EXTRA_EXIF_BYTES

    def number_at(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], order)

    pages = {number_at(word, word)}
    directories = list(pages)
    for start in directories:  # which grows
        first = start + (8 if large else 2)
        end = first + entry.size * number_at(start, first - start)
        for at in range(first, min(end, len(block) - entry.size + 1), entry.size):
            tag, kind, count, offset = entry.unpack_from(block, at)
            size = _EXIF_VALUE_BYTES.get(kind, 0)
            value = at + entry.size - word if count * size <= word else offset
            if value + count * size > len(block):
                break  # as Pillow does
            left -= entry.size
            if kind in _EXIF_TEXT:
                left_of_texts -= count * size
            elif size:
                left -= count * (_FRACTION_BYTES if kind in _EXIF_FRACTIONS else _NUMBER_BYTES)
            if min(left, left_of_texts) < 0:
                raise ImageError(
                    f"{name} must have {what} of at most {_EXTRA_EXIF_BYTES >> 20} MiB once "
                    f"read, got more: save it anew without {what}"
                )
            if tag in (*_EXIF_PARTS, ExifTags.IFD.Interop):
                directories.append(number_at(value, size))
        following = number_at(end, word)
        if what == "tags" and start in pages and following not in {0, *pages}:
            if len(pages) > _MAX_TIFF_PAGES:
                break  # more are not read
            pages.add(following)
            directories.append(following)


def _seek_main_page(name: str, picture: TiffImageFile) -> int:
    """Go to the picture of a TIFF whose other pages are smaller copies and masks of it.

    Returns:
        How many pages are pictures of their own.
    """
    sizes: list[int] = []
    own = []
    while True:
        page = len(sizes)
        try:
            picture.seek(page)
        except EOFError:
            break
        if page == _MAX_TIFF_PAGES:
            raise ImageError(
                f"{name} must have at most {_MAX_TIFF_PAGES} pages, got more: save one alone"
            )
        sizes.append(picture.width * picture.height)
        tags = picture.tag_v2
        # Bit 0 marks a smaller copy, bit 2 a mask; the older tag has 2 for a smaller copy.
        if not int(tags.get(254, 0)) & 0b101 and tags.get(255) != 2:
            own.append(page)
    # Many programs mark no thumbnail: it is far smaller than its picture.
    largest = max(own or range(len(sizes)), key=lambda page: sizes[page])
    others = [page for page in own if page != largest and sizes[page] * 4 > sizes[largest]]
    picture.seek(largest)
    return 1 + len(others)


def _jpeg_scans(data: bytes) -> int:
    """Count the scans of a JPEG's first picture, each of which costs a pass over all of it."""
    scans, at = 0, 2
    while scans <= _MAX_JPEG_SCANS:
        # In a scan's own bytes 0xFF is followed by 0 or by one of the restart markers.
        marker = _JPEG_MARKER.search(data, at)
        if marker is None or marker[0][1] == 0xD9:  # the picture's end
            break
        scans += marker[0][1] == 0xDA
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans


def _bits(name: str, picture: ImageFile.ImageFile) -> int:
    """Tell the bits a channel that the header promises, where we can keep them."""
    if picture.mode == "F":
        return 32
    if picture.format == "PNG":
        # Pillow's mode hides the depth of colour PNGs; its raw mode ends in ";16B" for them.
        deep = str(picture.tile[0].args).endswith(";16B")
        return 16 if deep else 8
    if isinstance(picture, TiffImageFile):
        tags = picture.tag_v2
        depths = set(tags.get(ExifTags.Base.BitsPerSample, (1,)))
        if depths == {16}:
            # OpenCV returns these samples as stored: grey must count up from black, colours be
            # RGB and lie side by side, and alpha be straight.
            plain = tags.get(ExifTags.Base.PhotometricInterpretation) in (1, 2)
            in_planes = tags.get(ExifTags.Base.PlanarConfiguration) == 2
            several = tags.get(ExifTags.Base.SamplesPerPixel, 1) > 1
            if not plain or (in_planes and several) or 1 in _extra_samples(picture):
                raise ImageError(
                    f"{name} must be plain grey or RGB with straight alpha, pixel by pixel, got "
                    "another kind of 16-bit TIFF: save it as a PNG"
                )
            return 16
    if picture.mode not in _MODES_OF_8_BITS:
        raise ImageError(
            f"{name} must be grey or RGB with 8 or 16 bits a channel, got mode {picture.mode}: "
            "save it as a PNG"
        )
    return 8


def _extra_samples(picture: TiffImageFile) -> tuple[int, ...]:
    """Return what a TIFF's channels beyond its colours are: 0 unspecified, 1 and 2 alpha."""
    return tuple(picture.tag_v2.get(ExifTags.Base.ExtraSamples, ()))


def _decode_16_bits(
    data: bytes, opened: ImageFile.ImageFile, shape: tuple[int, int]
) -> NDArray[np.uint16]:
    """Return the pixels of the page that `opened` is at, upright, of this height and width."""
    # Pillow reads 16-bit colour as 8 bits; OpenCV keeps it, as BGR(A).
    page = opened.tell() if opened.format == "TIFF" else 0
    content = np.frombuffer(data, np.uint8)
    found: Sequence[NDArray[Any] | None]
    if page:  # the pages before it are not decoded, whatever their size
        _, found = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    else:
        found = [cv2.imdecode(content, cv2.IMREAD_UNCHANGED)]
    decoded: NDArray[Any] | None = found[0] if found else None
    if decoded is None or decoded.dtype != np.uint16:
        raise OSError("its 16-bit pixels cannot be decoded")
    if decoded.ndim == 3:
        decoded = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]
    if isinstance(opened, TiffImageFile) and 0 in _extra_samples(opened):
        decoded = decoded[..., :3]  # a selection or a scanner's infrared is no transparency
    if opened.format == "PNG":
        # OpenCV turns TIFFs upright, PNGs not.
        decoded = _upright(decoded, opened.getexif().get(ExifTags.Base.Orientation, 1))
    if decoded.shape[:2] != shape:
        raise OSError(f"its header says {shape}, its pixels are {decoded.shape[:2]}")
    return decoded


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo one of EXIF's eight orientations: a transposition from 5 on, then flips."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _float_values(name: str, picture: Image.Image) -> Floats:
    values = np.array(picture, dtype=np.float32)
    try:
        check_values(name, values)
    except ValueError as error:
        raise ImageError(str(error)) from error
    return np.clip(values, 0, 1)


def _fraction(levels: NDArray[Any]) -> Floats:
    peak = np.float32(np.iinfo(levels.dtype).max)
    return (levels / peak).astype(np.float32, copy=False)


def _split(pixels: Floats) -> tuple[Floats, Floats | None]:
    """Split (H, W), (H, W, 3) or (H, W, 4) into colours and alpha."""
    if pixels.ndim == 2:
        return np.broadcast_to(pixels[..., None], (*pixels.shape, 3)), None
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return pixels[..., :3], alpha


def _alpha_of_8_bits(picture: Image.Image) -> Floats | None:
    if not picture.has_transparency_data:
        return None
    return _fraction(np.asarray(picture.convert("RGBA").getchannel("A")))


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Tell whether a profile is sRGB by its name and by what it does; some linear ones say so."""
    if not ImageCms.getProfileDescription(profile).startswith("sRGB"):
        return False
    probe = Image.new("RGB", (1, 1), _PROBE)
    seen = ImageCms.profileToProfile(probe, profile, ImageCms.createProfile("sRGB"))
    return bool(np.abs(np.asarray(seen, np.int16) - _PROBE).max() <= _SAME_LEVELS)


def _converted_to_srgb(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert a picture's colours, without alpha, to sRGB; None where they are sRGB already."""
    source = ImageCms.getOpenProfile(BytesIO(profile))
    mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}[source.profile.xcolor_space.strip()]
    if mode == "RGB" and _is_srgb(source):
        return None
    own_mode = _MODES_OF_COLOURS[picture.mode]
    # A grey picture is often tagged with an RGB profile; its grey then stands for R = G = B.
    if mode != own_mode and (mode, own_mode) != ("RGB", "L"):
        raise ImageCms.PyCMSError(f"a profile for {mode} on {own_mode} pixels")
    if picture.mode == "I;16":
        # Pillow's own conversion to 8 bits cuts all values off at 255.
        picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
    straight = picture.convert("RGBA") if picture.has_transparency_data else picture
    return ImageCms.profileToProfile(
        straight.convert(mode), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
