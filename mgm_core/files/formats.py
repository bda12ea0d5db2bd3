"""Formats that results are written in, chosen by a file's ending or by name."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args
from zlib import crc32

from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mgm_core.arrays import Floats, Levels
from mgm_core.images import (
    encode_jpeg,
    encode_png,
    encode_webp,
    exif_values,
    levels_of,
    srgb_profile,
)

__all__ = ["FORMATS", "Format", "FormatName", "Layer", "encode", "format_of", "writable"]

Pixels: TypeAlias = Floats | Levels
Layer: TypeAlias = tuple[str, Floats]
"""A layer's name and its pixels, (H, W, 4) straight or (H, W, 3), from the bottom up."""
FormatName: TypeAlias = Literal[
    "png", "png16", "webp", "webp-lossless", "tiff", "tiff16", "avif", "jpeg", "psd"
]
_AVIF_QUALITY = 90
_INCH_M = 0.0254


@dataclass(frozen=True)
class Format:
    """What a format can hold.

    Args:
        name: its name on the command line.
        suffixes: endings that choose it; the first is that of new files.
        alpha: it holds transparency.
        most_exif_bytes: the most EXIF that it holds; 0 where it holds none.
        longest_px: the longest side that it can have.
        layers: it holds layers.
        package: what has to be installed to write it; empty where nothing has.
        bits: of a channel.
    """

    name: FormatName
    suffixes: tuple[str, ...]
    alpha: bool = True
    most_exif_bytes: int = 2**31
    longest_px: int = 2**31
    layers: bool = False
    package: str = ""
    bits: Literal[8, 16] = 8

    @property
    def suffix(self) -> str:
        """The ending of new files."""
        return self.suffixes[0]

    def check_fits(self, height: int, width: int, exif: bytes = b"") -> None:
        """Raise unless it can hold a picture.

        Args:
            height: of the picture.
            width: of the picture.
            exif: goes with it.

        Raises:
            ValueError: the picture or its EXIF is too large.
        """
        if max(height, width) > self.longest_px:
            raise ValueError(
                f"the picture must have sides of at most {self.longest_px} px for {self.name}, got "
                f"{width}x{height}: shrink it, or write .png"
            )
        if len(exif) > self.most_exif_bytes:
            raise ValueError(
                f"EXIF must have at most {self.most_exif_bytes} bytes for {self.name}, got "
                f"{len(exif)}: leave --keep-metadata out, or write .png"
            )


_PNG, _WEBP, _TIFF = (".png",), (".webp",), (".tiff", ".tif")
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("png", _PNG),
        Format("png16", _PNG, bits=16),
        Format("webp", _WEBP, longest_px=16_383),
        Format("webp-lossless", _WEBP, longest_px=16_383),
        Format("tiff", _TIFF),
        Format("tiff16", _TIFF, most_exif_bytes=0, package="tifffile", bits=16),
        Format("avif", (".avif",), longest_px=32_768),  # decoders take no more
        Format("jpeg", _JPEG, alpha=False, most_exif_bytes=65_533, longest_px=65_500),
        Format(
            "psd",
            (".psd",),
            most_exif_bytes=0,
            longest_px=30_000,
            layers=True,
            package="psd_tools",
        ),
    )
}
assert set(FORMATS) == set(get_args(FormatName)), "every name has its format"


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format of a file by its ending, or the one that was named, which must go with it.

    Raises:
        ValueError: no format has this ending, the named one has another, or what writes it is not
            installed.
    """
    suffix = path.suffix.lower()
    if name is not None and suffix not in FORMATS[name].suffixes:
        raise ValueError(
            f"a result's name must end in {' or '.join(FORMATS[name].suffixes)} for {name}, got "
            f"{path.name}: change one of them"
        )
    fitting = [form for form in FORMATS.values() if suffix in form.suffixes]
    if not fitting:
        endings = dict.fromkeys(s for form in FORMATS.values() for s in form.suffixes)
        raise ValueError(
            f"a result's name must end in {', '.join(endings)}, got {path.name}: choose one of "
            "them, or end a folder's name with a slash"
        )
    return writable(fitting[0] if name is None else FORMATS[name])


def writable(form: Format) -> Format:
    """Return a format that can be written here.

    Raises:
        ValueError: what writes it is not installed.
    """
    if form.package and find_spec(form.package) is None:
        raise ValueError(
            f"--format must be another than {form.name} without the package {form.package}, got "
            "it: pip install 'mgm[formats]'"
        )
    return form


def encode(
    form: Format,
    pixels: Pixels,
    *,
    dpi: tuple[float, float] | None = None,
    exif: bytes = b"",
    layers: Sequence[Layer] = (),
) -> bytes:
    """Encode a picture.

    Args:
        form: the format.
        pixels: (H, W), (H, W, 3) or (H, W, 4) straight, float in [0, 1], or integers of
            `form.bits`.
        dpi: pixels an inch across and down; None to state none.
        exif: EXIF as `images.read_photo` gives it.
        layers: from the bottom up, where the format has layers; none for the picture alone.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the array is of another shape, type or range, or the format has no alpha
            channel, or not the room.
    """
    height, width = pixels.shape[:2]
    form.check_fits(height, width, exif)
    return _ENCODERS[form.name](pixels, _About(dpi, exif, tuple(layers)))


@dataclass(frozen=True)
class _About:
    """What a file says beside its pixels."""

    dpi: tuple[float, float] | None
    exif: bytes
    layers: tuple[Layer, ...]


def _png(bits: Literal[8, 16]) -> Callable[[Pixels, _About], bytes]:
    def encoder(pixels: Pixels, about: _About) -> bytes:
        chunks = b""
        if about.dpi is not None:
            per_metre = [round(side / _INCH_M) for side in about.dpi]
            chunks += _chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
        if about.exif:
            chunks += _chunk(b"eXIf", about.exif.removeprefix(b"Exif\0\0"))
        png = encode_png(pixels, bits=bits)
        # Behind the signature and IHDR, which take 33 bytes.
        return png[:33] + chunks + png[33:]

    return encoder


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))


def _jpeg(pixels: Pixels, about: _About) -> bytes:
    options: dict[str, Any] = {}
    if about.dpi is not None:
        # The header's own unit is whole pixels an inch.
        options["dpi"] = tuple(min(65535, max(1, round(side))) for side in about.dpi)
    if about.exif:
        options["exif"] = about.exif
    return encode_jpeg(pixels, **options)


def _webp(lossless: bool) -> Callable[[Pixels, _About], bytes]:
    def encoder(pixels: Pixels, about: _About) -> bytes:
        options: dict[str, Any] = {"exif": _exif_with_resolution(about)}
        if lossless:
            options["lossless"] = True
        return encode_webp(pixels, **options)

    return encoder


def _avif(pixels: Pixels, about: _About) -> bytes:
    levels = levels_of(pixels, 8)
    file = BytesIO()
    Image.fromarray(levels).save(
        file,
        "AVIF",
        quality=_AVIF_QUALITY,
        subsampling="4:4:4",
        icc_profile=srgb_profile() if levels.ndim == 3 else b"",
        exif=_exif_with_resolution(about),
    )
    return file.getvalue()


def _exif_with_resolution(about: _About) -> bytes:
    """Return EXIF that tells the resolution, for formats that have no other place for it."""
    if about.dpi is None:
        return about.exif
    tags = Image.Exif()
    tags.update(_values(about.exif))
    tags[Base.XResolution], tags[Base.YResolution] = map(float, about.dpi)
    tags[Base.ResolutionUnit] = 2
    return tags.tobytes()


def _values(exif: bytes) -> dict[int, Any]:
    tags = Image.Exif()
    tags.load(exif)
    return exif_values(tags)


def _tiff(pixels: Pixels, about: _About) -> bytes:
    levels = levels_of(pixels, 8)
    tags = ImageFileDirectory_v2()
    tags.update(_values(about.exif))
    file = BytesIO()
    Image.fromarray(levels).save(
        file,
        "TIFF",
        # Pillow does not write the parts of EXIF into a compressed file.
        compression="raw" if about.exif else "tiff_adobe_deflate",
        icc_profile=srgb_profile() if levels.ndim == 3 else b"",
        tiffinfo=tags,
        **({} if about.dpi is None else {"dpi": about.dpi}),
    )
    return file.getvalue()


def _tiff16(pixels: Pixels, about: _About) -> bytes:
    import tifffile  # Pillow writes no colours of 16 bits

    levels = levels_of(pixels, 16)
    options: dict[str, Any] = {"photometric": "minisblack"}
    if levels.ndim == 3:
        options = {"photometric": "rgb", "iccprofile": srgb_profile()}
        options["extrasamples"] = ["unassalpha"] * (levels.shape[2] - 3)
    if about.dpi is not None:
        options |= {"resolution": about.dpi, "resolutionunit": "INCH"}
    file = BytesIO()
    tifffile.imwrite(file, levels, compression="zlib", metadata=None, software=False, **options)
    return file.getvalue()


def _psd(pixels: Pixels, about: _About) -> bytes:
    from psd_tools import PSDImage
    from psd_tools.constants import Resource
    from psd_tools.psd.image_resources import ImageResource, ResoulutionInfo

    merged = Image.fromarray(levels_of(pixels, 8))
    document = PSDImage.frompil(merged if pixels.ndim == 3 else merged.convert("RGB"))
    for name, layer in about.layers or (("Subject", pixels),):
        document.create_pixel_layer(Image.fromarray(levels_of(layer, 8)), name)
    facts: dict[Resource, Any] = {Resource.ICC_PROFILE: srgb_profile()}
    if about.dpi is not None:
        # In 1/65536 pixels an inch; 1 is the unit that people see, an inch.
        across, down = (min(2**32 - 1, round(side * 65536)) for side in about.dpi)
        facts[Resource.RESOLUTION_INFO] = ResoulutionInfo(across, 1, 1, down, 1, 1)
    for key, fact in facts.items():
        document.image_resources[key] = ImageResource(key=key, data=fact)
    file = BytesIO()
    document.save(file)
    return file.getvalue()


_ENCODERS: dict[FormatName, Callable[[Pixels, _About], bytes]] = {
    "png": _png(8),
    "png16": _png(16),
    "webp": _webp(lossless=False),
    "webp-lossless": _webp(lossless=True),
    "tiff": _tiff,
    "tiff16": _tiff16,
    "avif": _avif,
    "jpeg": _jpeg,
    "psd": _psd,
}
