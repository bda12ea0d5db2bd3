"""Array types, and the checks that hold arrays to them.

Types cannot tell shapes; the names do. Pictures are float32, RGB, in [0, 1] and upright.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Booleans",
    "Bytes",
    "Colours",
    "Floats",
    "Levels",
    "Plane",
    "check_image",
    "check_mask",
    "check_shape",
    "check_values",
    "limit_side",
    "resized",
]

Plane: TypeAlias = NDArray[np.float32]
"""(H, W) in [0, 1]: a mask, a trimap, guidance, a probability or alpha."""
Colours: TypeAlias = NDArray[np.float32]
"""(H, W, 3) in [0, 1]: an image, foreground or background."""
Floats: TypeAlias = NDArray[np.float32]
"""float32 of any shape."""
Booleans: TypeAlias = NDArray[np.bool_]
"""(H, W) in most places: a region."""
Bytes: TypeAlias = NDArray[np.uint8]
"""Levels of 8 bits, of any shape."""
Levels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""The integers that files hold, of any shape."""

# Rounding in sums takes values this far out of [0, 1]; it is far below half a level of 8 bits.
_SLACK = 1e-4


def check_image(name: str, array: Colours) -> None:
    """Raise unless the array is an image: (H, W, 3) float32, finite, in [0, 1].

    Args:
        name: What the caller calls the array.
        array: The value to check.

    Raises:
        ValueError: It is not.
    """
    check_shape(name, array, array.ndim == 3 and array.shape[2:] == (3,), "(H, W, 3)")
    check_values(name, array)


def check_mask(name: str, array: Plane, size: tuple[int, int] | None = None) -> None:
    """Raise unless the array is a mask or alpha: (H, W) float32, finite, in [0, 1].

    Args:
        name: What the caller calls the array.
        array: The value to check.
        size: (H, W) of the image that it belongs to, where there is one.

    Raises:
        ValueError: It is not, or has another size.
    """
    check_shape(name, array, array.ndim == 2, "(H, W)")
    check_values(name, array)
    _check_size(name, array, size)


def check_shape(name: str, array: Floats | Levels, fits: bool, rule: str) -> None:
    """Raise unless the array's shape fits the rule and it holds something."""
    if not fits or array.size == 0:
        raise ValueError(f"{name} must be of shape {rule}, got {array.shape}: reshape it")


def check_values(name: str, array: Floats) -> None:
    """Raise unless the array's values are float32, finite and in [0, 1]."""
    if array.dtype != np.float32:
        do = (
            "take array.astype(np.float32)"
            if np.issubdtype(array.dtype, np.floating)
            else "divide by its largest level, such as 255, and convert it"
        )
        raise ValueError(f"{name} must be float32 in [0, 1], got {array.dtype}: {do}")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity: look where it was computed")
    if low < -_SLACK or high > 1 + _SLACK:
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {low:g} to {high:g}: scale or clip it"
        )


def resized(
    array: Floats, size: tuple[int, int], enlarging: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    """Return an image or plane at another size: areas averaged where it shrinks, else interpolated.

    Args:
        array: (H, W) or (H, W, 3) float in [0, 1].
        size: Height and width.
        enlarging: OpenCV's interpolation where it grows.

    Returns:
        The same of this size, float32 in [0, 1].
    """
    shrinks = size[0] * size[1] < array.shape[0] * array.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else enlarging
    return np.asarray(cv2.resize(array, size[::-1], interpolation=interpolation), np.float32).clip(
        0, 1
    )


def limit_side(array: Floats, long_side_px: int) -> Floats:
    """Return an image or plane reduced to this long side, or itself where it is no larger."""
    height, width = array.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1:
        return array
    return resized(array, (max(1, round(height * scale)), max(1, round(width * scale))))


def _check_size(name: str, array: Floats, size: tuple[int, int] | None) -> None:
    if size is not None and array.shape[:2] != size:
        raise ValueError(
            f"{name} must have the image's size {size[1]}x{size[0]}, got "
            f"{array.shape[1]}x{array.shape[0]}: resize it"
        )
