"""Files that leave the server: pictures for the page and downloads."""

import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Literal

from gradio.processing_utils import hash_bytes
from gradio.utils import get_upload_folder

from demo.backend.orders import Order
from demo.backend.studio import Studio
from mgm_core.arrays import Floats
from mgm_core.files.formats import FORMATS, encode
from mgm_core.images import encode_jpeg, encode_png

Product = Literal[
    "cutout", "alpha", "alpha16", "foreground", "guidance", "composite", "settings", "all"
]

_NAMES = {
    "cutout": "cutout.png",
    "alpha": "alpha.png",
    "alpha16": "alpha-16bit.png",
    "foreground": "foreground.png",
    "guidance": "guidance.png",
    "composite": "composite.png",
    "settings": "settings.json",
    "all": "all.zip",
}


def publish(data: bytes, name: str) -> str:
    """Put a file where Gradio serves it from, and `leftovers.py` deletes it in time.

    The folder is named after a keyed hash of the content: only who has the file can name it. The
    page may be loading the same file from earlier, so that it is there whole or not at all.

    Args:
        data: the file's content.
        name: how it is called for the visitor.

    Returns:
        Its path.
    """
    path = Path(get_upload_folder()).resolve() / hash_bytes(data) / Path(name).name
    with suppress(FileNotFoundError):
        os.utime(path)  # the oldest files are deleted
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(token_hex(16))
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return str(path)


def new_file(name: str) -> Path:
    """Return a path for a file that is too large to be held in memory before it is published.

    Args:
        name: how it is called for the visitor.
    """
    folder = Path(get_upload_folder()) / token_hex(16)
    folder.mkdir(parents=True)
    return folder / Path(name).name


def for_page(pixels: Floats) -> str:
    """Publish what the page shows, at full size: colours as JPEG of quality 95, planes as PNG.

    Args:
        pixels: (H, W, 3) or (H, W) float32 in [0, 1].

    Returns:
        The file's path.
    """
    return publish(*encoded_for_page(pixels))


def encoded_for_page(pixels: Floats) -> tuple[bytes, str]:
    """Return what `for_page` publishes: a file's content and its name."""
    if pixels.ndim == 2:
        return encode_png(pixels), "plane.png"
    return encode_jpeg(pixels), "picture.jpg"


def product(studio: Studio, order: Order, wanted: Product) -> str:
    """Make a file to download.

    Args:
        studio: computes what is missing.
        order: the photo and its settings.
        wanted: the transparent cut-out (with its shadow, if it has one), alpha with 8 or 16 bits,
            the subject's own colours, the guidance, the subject over its new background (again the
            cut-out, if it has none), the settings as JSON, or a ZIP of all these.

    Returns:
        The file's path; it is called after the photo.
    """
    stem = Path(order.photo.path).stem
    if wanted == "all":
        names = [name for name in _NAMES if name != "all"]
        data = zipped({f"{stem}-{_NAMES[name]}": encoded(studio, order, name) for name in names})
    else:
        data = encoded(studio, order, wanted)
    return publish(data, f"{stem}-{_NAMES[wanted]}")


def encoded(studio: Studio, order: Order, wanted: str) -> bytes:
    """Return a file to download as its bytes; `product` says which there are."""
    dpi = studio.photo(order.photo).dpi
    match wanted:
        case "guidance":
            return encode_png(studio.guidance(order).guidance)
        case "cutout":
            return encode(FORMATS["png"], studio.cut_out(order), dpi=dpi)
        case "alpha":
            return encode(FORMATS["png"], studio.matte(order).alpha, dpi=dpi)
        case "alpha16":
            return encode(FORMATS["png16"], studio.matte(order).alpha, dpi=dpi)
        case "foreground":
            return encode(FORMATS["png"], studio.foreground(order), dpi=dpi)
        case "composite":
            return encode(FORMATS["png"], studio.result(order), dpi=dpi)
        case "settings":
            return settings(studio, order).encode()
        case _:
            raise ValueError(
                f"download must be one of {', '.join(_NAMES)}, got {wanted!r}: choose one of them"
            )


def settings(studio: Studio, order: Order) -> str:
    """Return an order's recipe as JSON, by which the command line makes the same result."""
    recipe = replace(order.recipe, own_mask=order.mask is not None)
    if recipe.edits:
        height, width = studio.image(order.photo).shape[:2]
        recipe = replace(recipe, drawn_on=(width, height))
    return recipe.to_json()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files by name; PNGs are compressed already, so it compresses nothing."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return archive.getvalue()
