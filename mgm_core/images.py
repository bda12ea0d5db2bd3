"""Image files in, arrays out, and back: the one module that knows 255, file formats and EXIF.

Everywhere else an image is float32 (H, W, 3), sRGB, and a mask or alpha is float32 (H, W), both in
[0, 1] and upright. Reading refuses what would quietly give a wrong picture: a truncated file, an
animation, a colour photo given as a mask.
"""

import struct
from collections.abc import Callable
from io import BytesIO
from os import PathLike, fsync
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Literal, TypeAlias
from zlib import crc32

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

# Pillow loads most of its openers late, and knows none of them by name before.
Image.init()
pillow_heif.register_heif_opener()

__all__ = [
    "ImageError",
    "check_image",
    "check_mask",
    "encode_jpeg",
    "encode_png",
    "encode_webp",
    "read_alpha",
    "read_image",
    "read_mask",
    "write_image",
]

Source: TypeAlias = str | PathLike[str] | bytes | BinaryIO
Floats: TypeAlias = NDArray[np.float32]

# Only these openers run on files from strangers: Pillow's EPS opener, for one, starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP", "GIF")
_FORMAT_NAMES = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
# A phone's MPO or HEIC holds depth maps and bursts behind one primary photo: it is no animation.
_FORMATS_WITH_A_PRIMARY_IMAGE = ("JPEG", "MPO", "HEIF")
_MODES_OF_8_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# What a colour profile has to be for, by Pillow's mode.
_MODES_OF_COLOURS = dict.fromkeys(_MODES_OF_8_BITS, "RGB") | {
    **dict.fromkeys(("1", "L", "LA", "I;16"), "L"),
    "CMYK": "CMYK",
}
# Pillow warns above this many pixels whatever we ask of it.
_PILLOW_MAX_MEGAPIXELS = 89.0
# What lossy compression may add between the channels of a grey mask; colours differ by far more.
_GREY_TOLERANCE = 12 / 255
_JPEG_AND_WEBP_QUALITY = 95
_ICC_TIME = slice(24, 36)


class ImageError(ValueError):
    """A file cannot be read as the image or mask that it was given for."""


def read_image(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read a photo's colours.

    EXIF orientation is applied and an embedded ICC profile is converted to sRGB. 16-bit PNG and
    TIFF keep their precision, unless a profile other than sRGB has to be converted: that is done
    in 8 bits. Where a picture has an alpha channel its colours are taken as stored (straight);
    `read_alpha` reads the channel itself.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header, before any pixel is decoded; at
            most 89.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1].

    Raises:
        ImageError: the file is missing, no image, damaged, animated or too large.
    """
    colours, _ = _read(source, max_megapixels, colour_managed=True)
    return np.ascontiguousarray(colours)


def read_mask(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read a mask, trimap or alpha: the alpha channel unless it is opaque, else the grey values.

    ICC profiles are ignored, as a mask's values are no colours.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 89.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: as in `read_image`, and where the picture is coloured or holds labels 0 and 1.
    """
    colours, alpha = _read(source, max_megapixels, colour_managed=False)
    if alpha is not None and alpha.min() < 1:
        return alpha
    spread = float(np.ptp(colours, axis=2).max())
    if spread > _GREY_TOLERANCE:
        raise ImageError(
            f"{_name(source)} must be a grey mask, got a colour image (its channels differ by up "
            f"to {spread:.2f}): save the mask as greyscale, or as a PNG's alpha channel"
        )
    # Of a lossy picture's channels green carries the least chroma noise.
    grey = np.ascontiguousarray(colours[..., 1])
    if 0 < grey.max() <= 1 / 255:
        raise ImageError(
            f"{_name(source)} must use the whole range from black to white, got values of 0 and 1 "
            "out of 255: multiply the labels by 255"
        )
    return grey


def read_alpha(source: Source, *, max_megapixels: float = 50.0) -> Floats:
    """Read the alpha channel of a picture, opaque or not.

    Args:
        source: path, the file's bytes, or an open binary file.
        max_megapixels: refuse larger images from their header; at most 89.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: as in `read_image`, and where the picture has no alpha channel.
    """
    _, alpha = _read(source, max_megapixels, colour_managed=False)
    if alpha is None:
        raise ImageError(
            f"{_name(source)} must have an alpha channel, got an image without one: "
            "save it as a PNG with transparency"
        )
    return alpha


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
    data = encoders[suffix](array)
    # Not `tempfile`: its files are readable by their owner alone, and stay so after the rename.
    part = path.with_name(f".{path.name}.{token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def encode_png(array: Floats, *, bits: Literal[8, 16] = 8) -> bytes:
    """Encode a PNG; values are rounded, colours are tagged as sRGB.

    Args:
        array: (H, W), (H, W, 3) or (H, W, 4) float in [0, 1]; alpha is straight.
        bits: 8 or 16 bits a channel.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range.
    """
    levels = _levels(array, bits)
    if levels.ndim == 2:
        return cv2.imencode(".png", levels)[1].tobytes()
    order = [2, 1, 0, 3][: levels.shape[2]]
    png = cv2.imencode(".png", np.ascontiguousarray(levels[..., order]))[1].tobytes()
    # OpenCV writes no colour tag. An sRGB chunk (perceptual intent) goes right behind the
    # signature and IHDR, which take 33 bytes.
    body = b"sRGB\x00"
    return png[:33] + struct.pack(">I", 1) + body + struct.pack(">I", crc32(body)) + png[33:]


def encode_jpeg(array: Floats) -> bytes:
    """Encode a JPEG of quality 95 with an sRGB profile.

    Args:
        array: (H, W) or (H, W, 3) float in [0, 1].

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range, or has an alpha channel.
    """
    levels = _levels(array, 8)
    if levels.ndim == 3 and levels.shape[2] == 4:
        raise ValueError(
            f"array must have no alpha channel for JPEG, got shape {array.shape}: "
            "write a .png, or composite it first"
        )
    return _encode_lossy(levels, "JPEG", subsampling=0)


def encode_webp(array: Floats) -> bytes:
    """Encode a lossy WebP of quality 95 with an sRGB profile; alpha is kept lossless.

    Args:
        array: (H, W), (H, W, 3) or (H, W, 4) float in [0, 1].

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range.
    """
    return _encode_lossy(_levels(array, 8), "WEBP")


def check_image(name: str, array: Floats) -> None:
    """Hold an array to be an image: (H, W, 3) float, finite, in [0, 1].

    Args:
        name: what the caller calls the array.
        array: the value to check.

    Raises:
        ValueError: it is not.
    """
    _check_shape(name, array, array.ndim == 3 and array.shape[2:] == (3,), "(H, W, 3)")
    _check_values(name, array)


def check_mask(name: str, array: Floats) -> None:
    """Hold an array to be a mask or alpha: (H, W) float, finite, in [0, 1].

    Args:
        name: what the caller calls the array.
        array: the value to check.

    Raises:
        ValueError: it is not.
    """
    _check_shape(name, array, array.ndim == 2, "(H, W)")
    _check_values(name, array)


def _check_shape(name: str, array: Floats, fits: bool, rule: str) -> None:
    if not fits or array.size == 0:
        raise ValueError(f"{name} must be of shape {rule}, got {array.shape}: reshape it")


def _check_values(name: str, array: Floats) -> None:
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{name} must be float in [0, 1], got {array.dtype}: convert it, 255 becoming 1.0"
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity: look where it was computed")
    # The slack is for rounding in sums; it is far below half a level of 8 bits.
    if low < -1e-4 or high > 1 + 1e-4:
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {low:g} to {high:g}: scale or clip it"
        )


def _levels(array: Floats, bits: Literal[8, 16]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}: choose one of them")
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    _check_shape("array", array, fits, "(H, W), (H, W, 3) or (H, W, 4)")
    _check_values("array", array)
    peak = 2**bits - 1
    # float32 holds every 16-bit level exactly, so that the rounding is exact too.
    levels: Floats = np.rint(np.clip(array, 0, 1) * peak)
    return levels.astype(np.uint8) if bits == 8 else levels.astype(np.uint16)


def _encode_lossy(levels: NDArray[Any], file_format: str, **options: int) -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile carries the time it was made; without it, equal pictures make equal files.
    profile = profile[: _ICC_TIME.start] + bytes(12) + profile[_ICC_TIME.stop :]
    picture = Image.fromarray(levels)
    if levels.ndim == 2:
        profile = b""
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


def _read_bytes(source: Source) -> bytes:
    name = _name(source)
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str | PathLike):
        try:
            data = Path(source).read_bytes()
        except FileNotFoundError as error:
            raise ImageError(f"{name} must exist, got no such file: check its path") from error
        except IsADirectoryError as error:
            raise ImageError(f"{name} must be a file, got a folder: name a file in it") from error
        except OSError as error:
            raise ImageError(
                f"{name} must be readable, got {error.strerror}: check its permissions"
            ) from error
    else:
        data = source.read()
    if not data:
        raise ImageError(f"{name} must be an image file, got an empty file: upload or copy it anew")
    return data


def _read(
    source: Source, max_megapixels: float, *, colour_managed: bool
) -> tuple[Floats, Floats | None]:
    """Decode a file to upright float32 colours (H, W, 3) and, if it has one, alpha (H, W)."""
    if not 0 < max_megapixels <= _PILLOW_MAX_MEGAPIXELS:
        raise ValueError(
            f"max_megapixels must be above 0 and at most {_PILLOW_MAX_MEGAPIXELS:g}, got "
            f"{max_megapixels:g}: choose a limit in this range and shrink larger images"
        )
    name = _name(source)
    data = _read_bytes(source)
    try:
        opened = _open(name, data, max_megapixels)
        bits = _bits(name, opened)
        # This decodes the file, needlessly where OpenCV does it below: but Pillow notices truncated
        # files, and OpenCV not.
        picture = ImageOps.exif_transpose(opened)
        profile = opened.info.get("icc_profile") if colour_managed else None
        in_srgb = _converted_to_srgb(name, picture, profile) if profile else None
        if in_srgb is not None:
            return _fraction(np.asarray(in_srgb)), _alpha_of_8_bits(picture)
        if bits == 16:
            return _split(_fraction(_decode_16_bits(data, opened)))
        if bits == 32:
            return _split(_float_values(name, picture))
        straight = picture.convert("RGBA") if picture.has_transparency_data else picture
        return _fraction(np.asarray(straight.convert("RGB"))), _alpha_of_8_bits(picture)
    except ImageError:
        raise
    # What Pillow and its codecs raise for damaged files; its warnings tell of them too, and are
    # exceptions where the caller has made them so.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        RuntimeError,
        struct.error,
        Warning,
    ) as error:
        raise ImageError(
            f"{name} must be a complete image, got a truncated or damaged file ({error}): "
            "save or upload it anew"
        ) from error


def _open(name: str, data: bytes, max_megapixels: float) -> ImageFile.ImageFile:
    """Read a file's header and refuse what must not be decoded."""
    too_large = f"{name} must have at most {max_megapixels:g} megapixels, got"
    try:
        picture = Image.open(BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} must be an image file, got {len(data)} bytes of another or a damaged "
            f"format: use {_FORMAT_NAMES}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{too_large} more than {_PILLOW_MAX_MEGAPIXELS:g}: shrink it first"
        ) from error
    megapixels = picture.width * picture.height / 1e6
    if megapixels > max_megapixels:
        raise ImageError(f"{too_large} {megapixels:.1f}: shrink it first")
    try:
        frames = getattr(picture, "n_frames", 1)
    except TypeError as error:
        # Pillow's answer to a later page of a TIFF that lacks its size.
        raise OSError(str(error)) from error
    if frames > 1 and picture.format not in _FORMATS_WITH_A_PRIMARY_IMAGE:
        raise ImageError(f"{name} must be a single picture, got {frames} frames: save one frame")
    return picture


def _bits(name: str, picture: ImageFile.ImageFile) -> int:
    """Tell the bits a channel that the header promises, where we can keep them."""
    if picture.mode == "F":
        return 32
    if picture.format == "PNG":
        # Pillow's mode hides the depth of colour PNGs; its raw mode ends in ";16B" for them.
        deep = str(picture.tile[0].args).endswith(";16B")
        return 16 if deep else 8
    if picture.format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined] # only TIFF images have it
        depths = set(tags.get(ExifTags.Base.BitsPerSample, (1,)))
        if depths == {16}:
            # OpenCV returns these samples as stored: grey must count up from black, colours be
            # RGB, and alpha be straight.
            plain = tags.get(ExifTags.Base.PhotometricInterpretation) in (1, 2)
            if not plain or 1 in tags.get(ExifTags.Base.ExtraSamples, ()):
                raise ImageError(
                    f"{name} must be plain grey or RGB with straight alpha, got another kind of "
                    "16-bit TIFF: save it as a PNG"
                )
            return 16
    if picture.mode not in _MODES_OF_8_BITS:
        raise ImageError(
            f"{name} must be grey or RGB with 8 or 16 bits a channel, got mode {picture.mode}: "
            "save it as a PNG"
        )
    return 8


def _decode_16_bits(data: bytes, opened: ImageFile.ImageFile) -> NDArray[np.uint16]:
    # Pillow reads 16-bit colour as 8 bits; OpenCV keeps it, as BGR(A).
    decoded: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise OSError("its 16-bit pixels cannot be decoded")
    if decoded.ndim == 3:
        decoded = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]
    if opened.format == "PNG":
        # OpenCV turns TIFFs upright, PNGs not.
        decoded = _upright(decoded, opened.getexif().get(ExifTags.Base.Orientation, 1))
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
        _check_values(name, values)
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


def _converted_to_srgb(name: str, picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert a picture's colours, without alpha, to sRGB; None where they are sRGB already."""
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}[source.profile.xcolor_space.strip()]
        own_mode = _MODES_OF_COLOURS[picture.mode]
        # A grey picture is often tagged with an RGB profile; its grey then stands for R = G = B.
        if mode != own_mode and (mode, own_mode) != ("RGB", "L"):
            raise ImageCms.PyCMSError(f"a profile for {mode} on {own_mode} pixels")
        if picture.mode == "I;16":
            # Pillow's own conversion to 8 bits cuts all values off at 255.
            picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
        straight = picture.convert("RGBA") if picture.has_transparency_data else picture
        converted = ImageCms.profileToProfile(
            straight.convert(mode), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, KeyError) as error:
        raise ImageError(
            f"{name} must have a colour profile that fits it, got {error}: convert the image to "
            "sRGB in an image editor"
        ) from error
    return converted
