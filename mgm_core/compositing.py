"""Put a subject over a new background, or over none. Source: Eq. 1, I = alpha F + (1 - alpha) B."""

from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.images import check_image, check_mask

__all__ = [
    "Fit",
    "blurred_background",
    "checkerboard",
    "composite",
    "fit_background",
    "rgba",
    "solid_background",
]

Floats: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = tuple[float, float, float]
Fit: TypeAlias = Literal["cover", "contain", "stretch"]

# Where the blur reaches next to no background, its mean colour takes over; only pixels far inside
# the subject are concerned.
_MEAN_WEIGHT = 1e-4
# Wider blurs are computed on a smaller image: they leave no detail that it could not hold, and
# would take a minute at 12 megapixels.
_WIDEST_SIGMA_PX = 8.0


def composite(foreground: Floats, alpha: Floats, background: Floats) -> Floats:
    """Blend a foreground over a background (Eq. 1).

    Args:
        foreground: (H, W, 3) float in [0, 1], sRGB.
        alpha: (H, W) float in [0, 1].
        background: (H, W, 3) float in [0, 1], sRGB; `fit_background` and its neighbours make one.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: an array is out of range, or their sizes differ.
    """
    _check_pair("foreground", foreground, alpha)
    _check_pair("background", background, alpha)
    share = alpha[..., None]
    return (share * foreground + (1 - share) * background).astype(np.float32)


def rgba(foreground: Floats, alpha: Floats) -> Floats:
    """Join foreground and alpha into a transparent image with straight colours.

    Colours that 8 bits show at no opacity at all become black. Left in, they would keep what was
    cut away, such as the people in the background, in the file for anyone to bring back, and
    would multiply its size.

    Args:
        foreground: (H, W, 3) float in [0, 1].
        alpha: (H, W) float in [0, 1].

    Returns:
        (H, W, 4) float32 in [0, 1], not premultiplied.

    Raises:
        ValueError: an array is out of range, or their sizes differ.
    """
    _check_pair("foreground", foreground, alpha)
    visible = alpha >= 0.5 / 255
    return np.dstack([foreground * visible[..., None], alpha]).astype(np.float32)


def solid_background(colour: Colour, height: int, width: int) -> Floats:
    """Fill an image with one colour.

    Args:
        colour: red, green and blue in [0, 1], sRGB.
        height: in pixels.
        width: in pixels.

    Returns:
        (height, width, 3) float32.

    Raises:
        ValueError: the colour is out of range, or a size is below 1.
    """
    pixel = np.asarray(colour, dtype=np.float32).reshape(1, 1, -1)
    check_image("colour", pixel)
    _check_size(height, width)
    return np.tile(pixel, (height, width, 1))


def checkerboard(height: int, width: int, tile_px: int = 16) -> Floats:
    """Draw the grey and white tiles that stand for transparency.

    Args:
        height: in pixels.
        width: in pixels.
        tile_px: a tile's side in pixels.

    Returns:
        (height, width, 3) float32: 1 or 0.8, the tile at the top left being white.

    Raises:
        ValueError: a size is below 1.
    """
    _check_size(height, width)
    if tile_px < 1:
        raise ValueError(f"tile_px must be at least 1, got {tile_px}: give a tile's side in pixels")
    rows, columns = np.arange(height) // tile_px, np.arange(width) // tile_px
    odd = (rows[:, None] + columns[None, :]) % 2 == 1
    return np.repeat(np.where(odd, 0.8, 1.0).astype(np.float32)[..., None], 3, axis=2)


def fit_background(
    image: Floats,
    height: int,
    width: int,
    fit: Fit = "cover",
    *,
    margin: Colour = (0.0, 0.0, 0.0),
) -> Floats:
    """Bring a background image to the photo's size.

    Args:
        image: (h, w, 3) float in [0, 1].
        height: wanted, in pixels.
        width: wanted, in pixels.
        fit: "cover" fills the frame and crops what stands out, evenly on both sides; "contain"
            shows all of the image between margins; "stretch" ignores its proportions.
        margin: colour of the margins that "contain" leaves.

    Returns:
        (height, width, 3) float32 in [0, 1].

    Raises:
        ValueError: the image is out of range, a size is below 1, or there is no such fit.
    """
    check_image("image", image)
    _check_size(height, width)
    ratios = height / image.shape[0], width / image.shape[1]
    match fit:
        case "stretch":
            return _resize(image, height, width)
        case "cover":
            scale = max(ratios)
        case "contain":
            scale = min(ratios)
        case _:
            raise ValueError(
                f"fit must be cover, contain or stretch, got {fit!r}: choose one of them"
            )
    inner_height = max(1, round(image.shape[0] * scale))
    inner_width = max(1, round(image.shape[1] * scale))
    resized = _resize(image, inner_height, inner_width)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    if fit == "cover":
        return resized[-top : -top + height, -left : -left + width].copy()
    framed = solid_background(margin, height, width)
    framed[top : top + inner_height, left : left + inner_width] = resized
    return framed


def blurred_background(image: Floats, alpha: Floats, foreground: Floats, sigma_px: float) -> Floats:
    """Blur the photo behind its subject, without the subject's colours in the blur.

    Eq. 1 solved for the background's share, (1 - alpha) B = I - alpha F, is blurred and divided
    by the blurred 1 - alpha: a normalised convolution to which the subject does not contribute.

    Args:
        image: (H, W, 3) float in [0, 1], the photo.
        alpha: (H, W) float in [0, 1].
        foreground: (H, W, 3) float in [0, 1]; the photo itself will do where edges are hard.
        sigma_px: the Gaussian's standard deviation in pixels.

    Returns:
        (H, W, 3) float32 in [0, 1], for `composite`.

    Raises:
        ValueError: an array is out of range, their sizes differ, or the blur is not above 0.
    """
    _check_pair("image", image, alpha)
    _check_pair("foreground", foreground, alpha)
    if not 0 < sigma_px < np.inf:
        raise ValueError(
            f"sigma_px must be above 0, got {sigma_px:g}: give the blur's standard deviation"
        )
    height, width = alpha.shape
    weight = (1 - alpha)[..., None]
    # An estimated foreground may claim more than the photo holds.
    share = np.clip(image - alpha[..., None] * foreground, 0, weight)
    total = float(weight.sum())
    mean: Floats = share.sum(axis=(0, 1)) / total if total > 0 else image.mean(axis=(0, 1))

    shrink = min(1, _WIDEST_SIGMA_PX / sigma_px)
    small_height, small_width = max(1, round(height * shrink)), max(1, round(width * shrink))
    blurred = cv2.GaussianBlur(
        _resize(np.dstack([share, weight]), small_height, small_width),
        (0, 0),
        sigmaX=sigma_px * small_width / width,
        sigmaY=sigma_px * small_height / height,
    )
    background: Floats = (blurred[..., :3] + _MEAN_WEIGHT * mean) / (
        blurred[..., 3:] + _MEAN_WEIGHT
    )
    return _resize(background, height, width)


def _resize(image: Floats, height: int, width: int) -> Floats:
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image.astype(np.float32), (width, height), interpolation=method)
    return np.clip(resized, 0, 1).astype(np.float32)


def _check_pair(name: str, image: Floats, alpha: Floats) -> None:
    check_image(name, image)
    check_mask("alpha", alpha)
    if image.shape[:2] != alpha.shape:
        raise ValueError(
            f"{name} must have alpha's size {alpha.shape}, got {image.shape[:2]}: "
            "resize or fit one of them"
        )


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(
            f"height and width must be at least 1, got {height} and {width}: give them in pixels"
        )
