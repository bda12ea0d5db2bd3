"""Detail masks as bytes: what the page sends, what the store keeps.

A mask here is uint8 (H, W), 255 on detail, and not the float32 of the rest of the project: the
store promises to give back the very levels that were painted, and 24 megapixels at a time.
"""

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mgm_core.runtime.partial import written_whole

Mask: TypeAlias = NDArray[np.uint8]
DETAIL_FROM = 128
TRIMAP_LEVELS = (0, 128, 255)  # background, unknown, foreground


class MaskError(ValueError):
    """What was given is no mask of the image."""


def decode_mask(png: bytes, width: int, height: int) -> Mask:
    """Decode a grey PNG of 8 bits and of exactly one size.

    Args:
        png: The file's bytes.
        width: The image's width in pixels.
        height: The image's height in pixels.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: It is no such PNG.
    """
    try:
        with Image.open(BytesIO(png), formats=("PNG",)) as picture:
            if picture.mode != "L":
                raise MaskError(
                    f"mask must be a grey PNG of 8 bits, got mode {picture.mode}: "
                    "save it as 8-bit greyscale without alpha"
                )
            # Before any pixel is decoded: a small file may claim to be huge.
            if picture.size != (width, height):
                raise MaskError(
                    f"mask must have the image's size {width}x{height}, got "
                    f"{picture.width}x{picture.height}: it belongs to another image"
                )
            return np.array(picture)
    except UnidentifiedImageError as error:
        raise MaskError(
            f"mask must be a PNG file, got {len(png)} bytes of something else: send a PNG"
        ) from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise MaskError(
            f"mask must be a complete PNG, got a damaged one ({error}): send it again"
        ) from error


def encode_mask(mask: Mask) -> bytes:
    """Encode a mask as a grey PNG of 8 bits.

    Args:
        mask: (H, W) uint8.

    Returns:
        The file's bytes.
    """
    # Masks are runs of few levels: this is ten times as fast as the default, and no larger.
    settings = [
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    ]
    return cv2.imencode(".png", mask, settings)[1].tobytes()


def check_mask(mask: Mask, width: int, height: int) -> None:
    """Raise MaskError unless the array is a mask of the image's size."""
    if mask.dtype != np.uint8 or mask.shape != (height, width):
        raise MaskError(
            f"mask must be uint8 of shape {(height, width)}, got {mask.dtype} of {mask.shape}: "
            "it belongs to another image, or must be scaled to 0..255"
        )


def check_levels(mask: Mask, kind: str) -> None:
    """Raise MaskError unless a mask has the levels that its label's kind allows."""
    if kind == "trimap" and not np.isin(mask, TRIMAP_LEVELS).all():
        strange = mask[~np.isin(mask, TRIMAP_LEVELS)][0]
        raise MaskError(
            f"trimap must hold the levels 0, 128 and 255 alone, got {strange}: paint it without "
            "soft edges, or round it"
        )


def mask_sha256(mask: Mask) -> str:
    """Hash a mask's size and pixels, whatever file they are in."""
    return sha256(f"{mask.shape}".encode() + np.ascontiguousarray(mask).tobytes()).hexdigest()


def is_detail(mask: Mask) -> NDArray[np.bool_]:
    """Return where a mask says detail: at half strength and above."""
    return np.asarray(mask >= DETAIL_FROM)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old file, or none, or the whole new.

    Args:
        path: Its folder is made where missing.
        data: The file's bytes.

    Raises:
        OSError: The disk is full, read-only or broken; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.write_bytes(data)
    # The rename itself is on the disk once its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
