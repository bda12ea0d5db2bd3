"""Files that leave the server: pictures for the page and downloads."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from numpy.typing import NDArray

from demo.recipe import Order
from demo.studio import Studio
from mgm_core.compositing import rgba
from mgm_core.images import encode_jpeg, encode_png

Floats = NDArray[np.float32]
Product = Literal["cutout", "alpha", "alpha16", "foreground", "guidance", "composite", "all"]

_NAMES = {
    "cutout": "cutout.png",
    "alpha": "alpha.png",
    "alpha16": "alpha-16bit.png",
    "foreground": "foreground.png",
    "guidance": "guidance.png",
    "composite": "composite.png",
    "all": "all.zip",
}


def publish(data: bytes, name: str) -> str:
    """Put a file where Gradio serves it from, and deletes it from in time.

    The folder is named after a keyed hash of the content: only who has the file can name it.

    Args:
        data: the file's content.
        name: how it is called for the visitor.

    Returns:
        Its path.
    """
    path: str = save_bytes_to_cache(data, name, get_upload_folder())
    return path


def for_page(pixels: Floats) -> str:
    """Publish what the page shows, at full size: colours as JPEG of quality 95, planes as PNG.

    Args:
        pixels: (H, W, 3) or (H, W) float32 in [0, 1].

    Returns:
        The file's path.
    """
    if pixels.ndim == 2:
        return publish(encode_png(pixels), "plane.png")
    return publish(encode_jpeg(pixels), "picture.jpg")


def product(studio: Studio, order: Order, wanted: Product) -> str:
    """Make a file to download.

    Args:
        studio: computes what is missing.
        order: the photo and its settings.
        wanted: the transparent cut-out, alpha with 8 or 16 bits, the subject's own colours, the
            guidance, the subject over its new background, or a ZIP of all these.

    Returns:
        The file's path; it is called after the photo.
    """
    stem = Path(order.photo.path).stem
    if wanted == "all":
        names = [name for name in _NAMES if name != "all"]
        data = zipped({f"{stem}-{_NAMES[name]}": _png(studio, order, name) for name in names})
    else:
        data = _png(studio, order, wanted)
    return publish(data, f"{stem}-{_NAMES[wanted]}")


def _png(studio: Studio, order: Order, wanted: str) -> bytes:
    if wanted == "guidance":
        return encode_png(studio.guidance(order).plane)
    alpha = studio.matte(order).alpha
    match wanted:
        case "cutout":
            return encode_png(rgba(studio.foreground(order), alpha))
        case "alpha":
            return encode_png(alpha)
        case "alpha16":
            return encode_png(alpha, bits=16)
        case "foreground":
            return encode_png(studio.foreground(order))
        case "composite":
            return encode_png(studio.result(order))
        case _:
            raise ValueError(
                f"download must be one of {', '.join(_NAMES)}, got {wanted!r}: choose one of them"
            )


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files by name; PNGs are compressed already, so it compresses nothing."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return archive.getvalue()
