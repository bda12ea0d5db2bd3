"""Augmentation of foregrounds, backgrounds and composites (sections 3.1, 4 and 5).

Every function is pure: arrays and a generator in, arrays out. Colours are float32 (H, W, 3) in
[0, 1]; only the geometric maps take bytes, since they pick a small crop out of a large picture.
"""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mgm_core.arrays import Bytes, Colours, Plane
from training.data.augmentation_config import AUGMENTATION
from training.data.sources import Cutout

JPEG_BLOCK_PX = 8
_JPEG_SAMPLINGS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
LUMA = (0.299, 0.587, 0.114)


def _affine(
    centre: tuple[float, float], scale: float, crop_px: int, generator: Generator
) -> NDArray[np.float64]:
    """Return the 2x3 map from the picture to a crop centred on `centre`, randomly turned."""
    config = AUGMENTATION
    angle = np.deg2rad(generator.normal(0.0, config.rotation_degrees / 3))
    shear = np.tan(np.deg2rad(generator.uniform(-config.shear_degrees, config.shear_degrees)))
    stretch = np.exp(generator.normal(0.0, config.stretch_sigma))
    flip = -1.0 if generator.random() < config.flip_probability else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * rotation @ np.array([[flip * stretch, shear], [0.0, 1.0 / stretch]])
    target = crop_px / 2 + generator.uniform(-config.off_centre, config.off_centre, 2) * crop_px
    return np.hstack([linear, (target - linear @ np.asarray(centre))[:, None]])


def _warp(
    picture: Bytes, matrix: NDArray[np.float64], crop_px: int, scale: float, interpolation: int
) -> Bytes:
    """Map a picture into a crop; a strong reduction averages areas instead of skipping pixels."""
    over = max(1, round(1.0 / scale))
    if over > 1:
        side = crop_px * over
        large = cv2.warpAffine(
            picture, matrix * over, (side, side), None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
        )
        return cv2.resize(large, (crop_px, crop_px), None, 0, 0, cv2.INTER_AREA).astype(np.uint8)
    return cv2.warpAffine(
        picture, matrix, (crop_px, crop_px), None, interpolation, cv2.BORDER_REFLECT_101
    ).astype(np.uint8)


def _inside(alpha: Bytes, matrix: NDArray[np.float64], crop_px: int) -> Plane:
    """Return 0 where a crop reaches past a side of the picture that the subject does not touch.

    Past a side that it does touch, the reflected subject is kept: cutting it there would teach
    that people end in straight lines.
    """
    height, width = alpha.shape
    inverse = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))
    axis = np.arange(crop_px, dtype=np.float32)
    x = inverse[0, 0] * axis[None] + inverse[0, 1] * axis[:, None] + inverse[0, 2]
    y = inverse[1, 0] * axis[None] + inverse[1, 1] * axis[:, None] + inverse[1, 2]
    past = np.zeros((crop_px, crop_px), bool)
    for side, beyond in (
        (alpha[0], y < 0),
        (alpha[-1], y > height - 1),
        (alpha[:, 0], x < 0),
        (alpha[:, -1], x > width - 1),
    ):
        if np.mean(side > 127) < 0.05:
            past |= beyond
    return (~past).astype(np.float32)


def cropped_cutout(
    cutout: Cutout,
    crop_px: int,
    scales: tuple[float, float],
    whole_probability: float,
    generator: Generator,
) -> tuple[Colours, Plane]:
    """Return a square crop centred near an unknown pixel, randomly scaled, turned and flipped.

    Args:
        cutout: Source of colours and alpha.
        crop_px: Side of the crop.
        scales: Smallest and largest scale, drawn evenly in the logarithm.
        whole_probability: How often the whole cut-out is shown in the crop instead.
        generator: Draws everything.

    Returns:
        Foreground (S, S, 3) and alpha (S, S), float32 in [0, 1].
    """
    height, width = cutout.rgba.shape[:2]
    whole = crop_px / max(height, width)
    if generator.random() < whole_probability:
        scale = whole * generator.uniform(*AUGMENTATION.whole_scales)
        centre = (width / 2, height / 2)
    else:
        scale = float(np.exp(generator.uniform(*np.log(scales))))
        x, y = cutout.centres[generator.integers(len(cutout.centres))]
        centre = (float(x), float(y))
    return view(cutout, centre, scale, crop_px, generator)


def placed_cutout(
    cutout: Cutout, crop_px: int, scales: tuple[float, float], generator: Generator
) -> tuple[Colours, Plane]:
    """Return a square crop with the cut-out anywhere in it, often reaching past a side.

    Args:
        cutout: Source of colours and alpha.
        crop_px: Side of the crop.
        scales: Smallest and largest scale, drawn evenly in the logarithm.
        generator: Draws everything.

    Returns:
        Foreground (S, S, 3) and alpha (S, S), float32 in [0, 1].
    """
    scale = float(np.exp(generator.uniform(*np.log(scales))))
    x, y = cutout.centres[generator.integers(len(cutout.centres))]
    x, y = np.array([x, y]) + generator.uniform(-0.5, 0.5, 2) * crop_px / scale
    return view(cutout, (float(x), float(y)), scale, crop_px, generator)


def view(
    cutout: Cutout, centre: tuple[float, float], scale: float, crop_px: int, generator: Generator
) -> tuple[Colours, Plane]:
    """Return the square crop around a point of the cut-out at this scale, turned and flipped.

    Returns:
        Foreground (S, S, 3) and alpha (S, S), float32 in [0, 1].
    """
    interpolation = _INTERPOLATIONS[generator.integers(len(_INTERPOLATIONS))]
    matrix = _affine(centre, scale, crop_px, generator)
    warped = _warp(cutout.rgba, matrix, crop_px, scale, interpolation)
    crop = warped.astype(np.float32) / np.float32(255)
    alpha: Plane = np.ascontiguousarray(crop[..., 3])
    if cutout.exact:  # a photograph shows what its reflected mask says
        alpha = alpha * _inside(cutout.rgba[..., 3], matrix, crop_px)
    return crop[..., :3], alpha


def merge_foregrounds(
    front: tuple[Colours, Plane], behind: tuple[Colours, Plane]
) -> tuple[Colours, Plane]:
    """Put one foreground before another: alpha = 1 - (1 - a1)(1 - a2).

    The colour is what Eq. 1 asks for: a1 F1 + (1 - a1) a2 F2 over the merged alpha. Where both are
    transparent it is the front's.
    """
    (colour1, alpha1), (colour2, alpha2) = front, behind
    alpha = 1.0 - (1.0 - alpha1) * (1.0 - alpha2)
    share = np.divide(alpha1, alpha, out=np.ones_like(alpha), where=alpha > 1e-3)
    share = np.minimum(share, 1.0)[..., None]  # rounding can exceed it
    colour = colour1 * share + colour2 * (1.0 - share)
    return colour.astype(np.float32), alpha.astype(np.float32)


def jitter(colours: Colours, generator: Generator, strength: float = 1.0) -> Colours:
    """Change brightness, contrast, saturation, gamma and white balance."""
    s, config = strength, AUGMENTATION
    gamma = np.exp(generator.normal(0.0, config.gamma_sigma * s))
    colours = cv2.pow(colours, gamma).astype(np.float32)
    lost, gained = config.saturation
    saturation = generator.uniform(1 - lost * s, 1 + gained * s)
    white_balance = generator.normal(0.0, config.channel_gain_sigma * s, 3)
    gains = np.exp(white_balance + generator.normal(0.0, config.exposure_sigma * s))
    contrast = generator.uniform(1 - config.contrast * s, 1 + config.contrast * s)
    mean = np.mean(cv2.mean(colours)[:3])  # saturation leaves it as it is
    # All of it is one affine map of a pixel's colour: grey + saturation * (colour - grey), then
    # mean + contrast * (that - mean), then the gains.
    mixed = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    offset = np.full((3, 1), (1 - contrast) * mean)
    changed = cv2.transform(colours, gains[:, None] * np.hstack([mixed, offset]))
    return np.clip(changed, 0.0, 1.0).astype(np.float32)


def cropped_background(photograph: Bytes, crop_px: int, generator: Generator) -> Colours:
    """Return a random square part of a photograph, sometimes out of focus.

    Returns:
        (S, S, 3) float32 in [0, 1].
    """
    height, width = photograph.shape[:2]
    side = min(height, width)
    config = AUGMENTATION
    zoom = np.exp(generator.uniform(*config.background_zooms))
    taken = int(np.clip(crop_px * zoom, config.least_background_px, side))
    y = int(generator.integers(0, height - taken + 1))
    x = int(generator.integers(0, width - taken + 1))
    part: NDArray[Any] = photograph[y : y + taken, x : x + taken]
    interpolation = cv2.INTER_AREA if taken > crop_px else cv2.INTER_LINEAR
    part = cv2.resize(part, (crop_px, crop_px), None, 0, 0, interpolation)
    if generator.random() < config.flip_probability:
        part = part[:, ::-1]
    colours: NDArray[Any] = part.astype(np.float32) / 255.0
    if generator.random() < config.defocus_probability:
        sigma = float(np.exp(generator.uniform(*np.log(config.defocus_sigmas_px))))
        colours = cv2.GaussianBlur(np.ascontiguousarray(colours), (0, 0), sigma)
    return colours.astype(np.float32)


def enlarge(plane: Plane, crop_px: int) -> Plane:
    """Enlarge a small plane smoothly to a square of `crop_px`."""
    return np.asarray(
        cv2.resize(plane, (crop_px, crop_px), None, 0, 0, cv2.INTER_CUBIC), np.float32
    )


def gradient_background(crop_px: int, generator: Generator) -> Colours:
    """Return a studio backdrop: one colour running into another."""
    start, end = generator.uniform(0.0, 1.0, (2, 3)).astype(np.float32)
    if generator.random() < AUGMENTATION.grey_backdrop_probability:
        start, end = np.full(3, start.mean(), np.float32), np.full(3, end.mean(), np.float32)
    if generator.random() < AUGMENTATION.bright_probability:
        below = np.float32(AUGMENTATION.bright_range)
        start, end = 1 - below * start, 1 - below * end
    angle = generator.uniform(0.0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, crop_px, dtype=np.float32)
    position = (
        0.5 + np.float32(np.cos(angle)) * axis[None] + np.float32(np.sin(angle)) * axis[:, None]
    )
    position = np.clip(position, 0.0, 1.0)[..., None]
    backdrop: Colours = (start * (1 - position) + end * position).astype(np.float32)
    return backdrop


def match_background(
    background: Colours, foreground: Colours, alpha: Plane, generator: Generator
) -> Colours:
    """Move a background's colours towards the subject's at one place, as white cloth before white.

    Means are taken through a soft window around that place.
    """
    height, width = alpha.shape
    sigma = AUGMENTATION.matched_window * max(height, width)
    top, left = generator.random(2) * (height, width)
    row = np.exp(-0.5 * ((np.arange(width) - left) / sigma) ** 2)
    column = np.exp(-0.5 * ((np.arange(height) - top) / sigma) ** 2)
    window = np.outer(column, row).astype(np.float32) + AUGMENTATION.matched_elsewhere
    weight = alpha * window
    if weight.sum() < AUGMENTATION.matched_elsewhere:
        return background
    here = (foreground * weight[..., None]).sum((0, 1)) / weight.sum()
    behind = (background * window[..., None]).sum((0, 1)) / window.sum()
    share = np.float32(generator.uniform(*AUGMENTATION.matched_shares))
    moved: Colours = np.clip(background + share * (here - behind), 0.0, 1.0).astype(np.float32)
    return moved


def remove_colours(colours: Colours) -> Colours:
    """Return a photograph as a film without colours shows it."""
    return np.repeat(colours @ np.array(LUMA, np.float32)[:, None], 3, axis=2)


def reduce(plane: Plane, side_px: int) -> Plane:
    """Reduce a square plane, or colours, to a side."""
    return np.asarray(cv2.resize(plane, (side_px, side_px), None, 0, 0, cv2.INTER_AREA), np.float32)


def camera(image: Colours, generator: Generator) -> Colours:
    """Make a composite look photographed: contrast, blur, noise, JPEG (section 5).

    Composites are cleaner than photographs; a network that has seen only them trusts traces that
    photographs do not have.
    """
    config = AUGMENTATION
    if generator.random() < config.camera_contrast_probability:
        contrast = np.float32(generator.uniform(*config.camera_contrasts))
        mean = image.mean()
        image = np.clip(mean + (image - mean) * contrast, 0.0, 1.0)
    if generator.random() < config.blur_probability:
        sigma = generator.uniform(*config.blur_sigmas_px)
        image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    if generator.random() < config.noise_probability:
        usual = generator.random() < config.usual_noise_probability
        sigma = generator.uniform(*config.noise_sigmas) if usual else config.strong_noise_sigma
        grain = generator.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
        if generator.random() < config.smooth_noise_probability:
            smooth = cv2.GaussianBlur(grain, (0, 0), config.smooth_noise_sigma_px)
            grain = smooth.astype(np.float32) * 2
        image = np.clip(image + grain, 0.0, 1.0)
    if generator.random() < config.jpeg_probability:
        image = _as_jpeg(image, generator)
    return np.ascontiguousarray(image, dtype=np.float32)


def _as_jpeg(image: Colours, generator: Generator) -> Colours:
    """Return an image as JPEG gives it back, its blocks anywhere: photographs come cropped."""
    quality = int(generator.integers(*AUGMENTATION.jpeg_qualities))
    sampling = _JPEG_SAMPLINGS[generator.integers(len(_JPEG_SAMPLINGS))]
    top, left = (int(n) for n in generator.integers(0, JPEG_BLOCK_PX, 2))
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, top, 0, left, 0, cv2.BORDER_REPLICATE)
    coded = cv2.imencode(
        ".jpg",
        (padded[..., ::-1] * 255 + 0.5).astype(np.uint8),
        [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling],
    )[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was coded one line above
    part = decoded[top : top + height, left : left + width, ::-1]
    return part.astype(np.float32) / np.float32(255)
