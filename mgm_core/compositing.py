"""Put a subject over a new background, or over none. Source: Eq. 1, I = alpha F + (1 - alpha) B."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from mgm_core.arrays import Booleans, Floats, check_image, check_mask, resized

__all__ = [
    "Colour",
    "Fit",
    "blurred_background",
    "cast_shadow",
    "checkerboard",
    "composite",
    "fit_background",
    "gradient_background",
    "mean_colour",
    "rgba",
    "rgba_over_shadow",
    "soft_shadow",
    "solid_background",
    "wrap_light",
]

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
    joined = np.empty((*alpha.shape, 4), np.float32)
    np.multiply(foreground, visible[..., None], out=joined[..., :3])
    joined[..., 3] = alpha
    return joined


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


def gradient_background(
    start: Colour, end: Colour, angle_deg: float, height: int, width: int
) -> Floats:
    """Fill an image with a linear gradient, as CSS draws it: it just reaches its ends in corners.

    Args:
        start: red, green and blue in [0, 1], sRGB.
        end: likewise.
        angle_deg: direction of its end: 0 is up, 90 to the right, 180 down.
        height: in pixels.
        width: in pixels.

    Returns:
        (height, width, 3) float32.

    Raises:
        ValueError: a colour is out of range, the angle is not finite, or a size is below 1.
    """
    first, last = solid_background(start, 1, 1), solid_background(end, 1, 1)
    _check_size(height, width)
    if not np.isfinite(angle_deg):
        raise ValueError(f"angle_deg must be finite, got {angle_deg}: 180 runs downwards")
    right, up = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    rows, columns = np.ogrid[0.5 : height + 0.5, 0.5 : width + 0.5]
    along = (columns - width / 2) * right - (rows - height / 2) * up
    share = along / (width * abs(right) + height * abs(up)) + 0.5
    blended: Floats = (first + share[..., None] * (last - first)).astype(np.float32)
    return blended


def fit_background(
    image: Floats,
    height: int,
    width: int,
    fit: Fit = "cover",
    *,
    x: float = 0.5,
    y: float = 0.5,
    scale: float = 1.0,
    margin: Colour = (0.0, 0.0, 0.0),
) -> Floats:
    """Bring a background image to the photo's size.

    Args:
        image: (h, w, 3) float in [0, 1].
        height: wanted, in pixels.
        width: wanted, in pixels.
        fit: "cover" fills the frame and crops what stands out; "contain" shows all of the image
            between margins; "stretch" ignores its proportions.
        x: where the image is, from 0 (left edges meet) over 0.5 (middles) to 1 (right edges).
        y: the same from top to bottom.
        scale: makes the image larger or smaller than what fits by this factor.
        margin: colour of what the image leaves of the frame.

    Returns:
        (height, width, 3) float32 in [0, 1].

    Raises:
        ValueError: the image, the position or the scale is out of range, a size is below 1, or
            there is no such fit.
    """
    check_image("image", image)
    _check_size(height, width)
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"x and y must lie in [0, 1], got {x:g} and {y:g}: 0.5 is the middle")
    if not 0 < scale < np.inf:
        raise ValueError(f"scale must be above 0, got {scale:g}: 1 is what fits")
    ratios = height / image.shape[0], width / image.shape[1]
    match fit:
        case "stretch":
            pass
        case "cover":
            ratios = (max(ratios),) * 2
        case "contain":
            ratios = (min(ratios),) * 2
        case _:
            raise ValueError(
                f"fit must be cover, contain or stretch, got {fit!r}: choose one of them"
            )
    rows = _Span.fitting(image.shape[0], ratios[0] * scale, height, y)
    columns = _Span.fitting(image.shape[1], ratios[1] * scale, width, x)
    framed = solid_background(margin, height, width)
    framed[rows.seen, columns.seen] = _resampled(image, rows, columns)
    return framed


@dataclass(frozen=True)
class _Span:
    """An image's extent along one axis of the frame.

    Args:
        source: length of the image, in px.
        length: what it is resized to, in px.
        start: where it begins in the frame; below 0 where it stands out.
        frame: length of the frame, in px.
    """

    source: int
    length: int
    start: int
    frame: int

    @classmethod
    def fitting(cls, source: int, ratio: float, frame: int, position: float) -> "_Span":
        length = max(1, round(source * ratio))
        return cls(source, length, round((frame - length) * position), frame)

    @property
    def seen(self) -> slice:
        """The part of the frame that the image covers."""
        return slice(max(0, self.start), min(self.frame, self.start + self.length))

    @property
    def shown(self) -> slice:
        """The part of the resized image that is in the frame."""
        return slice(self.seen.start - self.start, self.seen.stop - self.start)


def _resampled(image: Floats, rows: _Span, columns: _Span) -> Floats:
    """Resize an image and keep what the frame shows of it."""
    if rows.length * columns.length <= image.shape[0] * image.shape[1]:
        return resized(image, (rows.length, columns.length))[rows.shown, columns.shown]
    # Enlarged whole, an image of which little is seen could need any amount of memory.
    return _interpolated(_interpolated(image, rows, axis=0), columns, axis=1)


def _interpolated(image: Floats, span: _Span, axis: int) -> Floats:
    """Resize one axis linearly and keep what the frame shows of it."""
    centres = np.arange(span.shown.start, span.shown.stop) + 0.5
    at = np.clip(centres * (span.source / span.length) - 0.5, 0, span.source - 1)
    before = np.minimum(at.astype(int), max(0, span.source - 2))
    shape = [1, 1, 1]
    shape[axis] = -1
    share = (at - before).astype(np.float32).reshape(shape)
    after = np.minimum(before + 1, span.source - 1)
    resized: Floats = (1 - share) * image.take(before, axis) + share * image.take(after, axis)
    return resized.astype(np.float32)


def mean_colour(image: Floats, where: Booleans) -> Floats:
    """Return the mean colour of some pixels.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        where: (H, W) bool, the pixels.

    Returns:
        (3,) float32, black where there are no pixels.
    """
    return np.array(cv2.mean(image, where.view(np.uint8))[:3], np.float32)


def blurred_background(
    image: Floats,
    alpha: Floats,
    foreground: Floats,
    sigma_px: float,
    own_alpha: Floats | None = None,
) -> Floats:
    """Blur the photo behind its subject, without the subject's colours in the blur.

    Eq. 1 solved for the background's share, (1 - alpha) B = I - alpha F, is blurred and divided
    by the blurred 1 - alpha: a normalised convolution to which the subject does not contribute.

    Args:
        image: (H, W, 3) float in [0, 1], the photo.
        alpha: (H, W) float in [0, 1].
        foreground: (H, W, 3) float in [0, 1]; the photo itself will do where edges are hard.
        sigma_px: the Gaussian's standard deviation in pixels.
        own_alpha: (H, W) float in [0, 1], the photo's own transparency; None where it is opaque.
            What is transparent takes the colours around it.

    Returns:
        (H, W, 3) float32 in [0, 1], for `composite`.

    Raises:
        ValueError: an array is out of range, their sizes differ, or the blur is not above 0.
    """
    _check_pair("image", image, alpha)
    _check_pair("foreground", foreground, alpha)
    _check_sigma(sigma_px)
    weight = (1 - alpha)[..., None]
    # An estimated foreground may claim more than the photo holds.
    share = np.clip(image - alpha[..., None] * foreground, 0, weight)
    if own_alpha is not None:
        _check_pair("image", image, own_alpha, "own_alpha")
        share, weight = share * own_alpha[..., None], weight * own_alpha[..., None]
    total = float(weight.sum())
    shown = image if own_alpha is None else image * own_alpha[..., None]
    mean: Floats = share.sum(axis=(0, 1)) / total if total > 0 else shown.mean(axis=(0, 1))

    blurred = _blurred(np.dstack([share, weight]), sigma_px)
    background: Floats = (blurred[..., :3] + _MEAN_WEIGHT * mean) / (
        blurred[..., 3:] + _MEAN_WEIGHT
    )
    return np.clip(background, 0, 1).astype(np.float32)


def soft_shadow(
    alpha: Floats, right_px: float, down_px: float, sigma_px: float, strength: float
) -> Floats:
    """Make the opacity of the shadow that a subject casts on a wall behind it.

    It is alpha itself, moved, softened and made paler. What touches the border of the frame goes
    on beyond it.

    Args:
        alpha: (H, W) float in [0, 1].
        right_px: how far it falls to the right, rounded to whole pixels.
        down_px: how far it falls down.
        sigma_px: standard deviation of its softness; 0 leaves it hard.
        strength: its opacity behind an opaque subject, in [0, 1].

    Returns:
        (H, W) float32 in [0, 1], the shadow's own opacity, for `cast_shadow` and
        `rgba_over_shadow`.

    Raises:
        ValueError: a value is out of range.
    """
    check_mask("alpha", alpha)
    _check_share("strength", strength)
    if not 0 <= sigma_px < np.inf:
        raise ValueError(f"sigma_px must be at least 0, got {sigma_px:g}: 0 is a hard shadow")
    height, width = alpha.shape
    rows = np.clip(np.arange(height) - round(down_px), 0, height - 1)
    columns = np.clip(np.arange(width) - round(right_px), 0, width - 1)
    moved: Floats = alpha[rows[:, None], columns]
    soft = _blurred(moved, sigma_px) if sigma_px else moved
    shadow: Floats = np.clip(strength * soft, 0, 1).astype(np.float32)
    return shadow


def cast_shadow(background: Floats, shadow: Floats) -> Floats:
    """Darken a background by a shadow.

    Args:
        background: (H, W, 3) float in [0, 1].
        shadow: (H, W) float in [0, 1], opacity of black.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: an array is out of range, or their sizes differ.
    """
    _check_pair("background", background, shadow, "shadow")
    return (background * (1 - shadow[..., None])).astype(np.float32)


def rgba_over_shadow(foreground: Floats, alpha: Floats, shadow: Floats) -> Floats:
    """Join foreground and alpha into a transparent image that carries its shadow along.

    The shadow is black of its own opacity beneath the subject, so that the image, put over any
    background, gives what `cast_shadow` and `composite` give. Its alpha channel is therefore the
    union of both, 1 - (1 - alpha)(1 - shadow), and no longer the matte.

    Args:
        foreground: (H, W, 3) float in [0, 1].
        alpha: (H, W) float in [0, 1].
        shadow: (H, W) float in [0, 1].

    Returns:
        (H, W, 4) float32 in [0, 1], not premultiplied.

    Raises:
        ValueError: an array is out of range, or their sizes differ.
    """
    _check_pair("foreground", foreground, alpha)
    check_mask("shadow", shadow)
    if shadow.shape != alpha.shape:
        raise ValueError(
            f"shadow must have alpha's size {alpha.shape}, got {shadow.shape}: make it from alpha"
        )
    # The same as 1 - (1 - alpha)(1 - shadow), and exact where both are next to nothing.
    union = alpha + shadow * (1 - alpha)
    share = np.divide(alpha, union, out=np.zeros_like(union), where=union > 0)
    return rgba(share[..., None] * foreground, np.clip(union, 0, 1))


def wrap_light(
    image: Floats, alpha: Floats, background: Floats, sigma_px: float, strength: float
) -> Floats:
    """Let the background's light spill over the subject's edge, as a lens does.

    The visible background, (1 - alpha) B, is blurred and added where the subject is, by the
    "screen" rule 1 - (1 - a)(1 - b): it brightens, and never beyond white.

    Args:
        image: (H, W, 3) float in [0, 1], the composite.
        alpha: (H, W) float in [0, 1].
        background: (H, W, 3) float in [0, 1], what the subject was put over.
        sigma_px: how far the light reaches, as a Gaussian's standard deviation.
        strength: how much of it, in [0, 1]; 0 returns the composite.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: a value is out of range, or sizes differ.
    """
    _check_pair("image", image, alpha)
    _check_pair("background", background, alpha)
    _check_share("strength", strength)
    _check_sigma(sigma_px)
    light = _blurred((1 - alpha)[..., None] * background, sigma_px)
    spilled = np.clip(strength * alpha[..., None] * light, 0, 1)
    # The same as 1 - (1 - a)(1 - b), and exactly the composite where there is no light.
    wrapped: Floats = (image + (1 - image) * spilled).astype(np.float32)
    return wrapped


def _blurred(pixels: Floats, sigma_px: float) -> Floats:
    """Blur by a Gaussian; beyond the border the image goes on as its mirror image."""
    height, width = pixels.shape[:2]
    shrink = min(1, _WIDEST_SIGMA_PX / sigma_px)
    small_height, small_width = max(1, round(height * shrink)), max(1, round(width * shrink))
    blurred: Floats = cv2.GaussianBlur(  # type: ignore[assignment] # float32 in, float32 out
        resized(pixels, (small_height, small_width)),
        (0, 0),
        sigmaX=sigma_px * small_width / width,
        sigmaY=sigma_px * small_height / height,
    )
    return resized(blurred, (height, width))


def _check_pair(name: str, image: Floats, plane: Floats, plane_name: str = "alpha") -> None:
    check_image(name, image)
    check_mask(plane_name, plane)
    if image.shape[:2] != plane.shape:
        raise ValueError(
            f"{name} must have {plane_name}'s size {plane.shape}, got {image.shape[:2]}: "
            "resize or fit one of them"
        )


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value:g}: 0 is none, 1 is all")


def _check_sigma(sigma_px: float) -> None:
    if not 0 < sigma_px < np.inf:
        raise ValueError(
            f"sigma_px must be above 0, got {sigma_px:g}: give the blur's standard deviation"
        )


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(
            f"height and width must be at least 1, got {height} and {width}: give them in pixels"
        )
