"""Light that photographs of people are taken in, put on any photograph: stage, backlight, night.

Every function is pure: an image (H, W, 3) float32 in [0, 1] and a generator in, an image out.
"""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from mgm_core.arrays import Colours, Plane
from training.data.augmentation import jitter

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def grey(image: Colours, generator: Generator) -> Colours:
    """Take the colours away, and often some of the contrast."""
    luma = (image @ _LUMA)[..., None]
    low = np.float32(generator.uniform(0.0, 0.3))
    high = np.float32(generator.uniform(0.6, 1.0))
    return np.asarray(np.broadcast_to(low + (high - low) * luma, image.shape), np.float32)


def stage_light(image: Colours, generator: Generator) -> Colours:
    """Light the scene with two saturated lamps, which take most of its own colours away."""
    height, width = image.shape[:2]
    own_share = np.float32(generator.uniform(0.0, 0.5))
    own = own_share * image + (1 - own_share) * (image @ _LUMA)[..., None]
    lamps = []
    for _ in range(2):
        hue, saturation = generator.random(), generator.uniform(0.4, 1.0)
        lamps.append(np.array(colorsys.hsv_to_rgb(hue, saturation, 1.0), np.float32))
    angle = generator.uniform(0.0, 2 * np.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(np.sin(angle))
    position = (x[None] + y[:, None]) * generator.uniform(0.5, 2.0) + generator.normal(0.0, 0.4)
    share = (1 / (1 + np.exp(-3 * position))).astype(np.float32)[..., None]
    lamp = share * lamps[0] + (1 - share) * lamps[1]
    gain, haze = np.float32(generator.uniform(0.4, 1.8)), np.float32(generator.uniform(0.0, 0.12))
    return np.clip(own * lamp * gain + haze * lamp, 0.0, 1.0).astype(np.float32)


def night(image: Colours, generator: Generator) -> Colours:
    """Underexpose the scene."""
    dark = cv2.pow(image, generator.uniform(1.3, 2.2)) * generator.uniform(0.25, 0.8)
    return np.asarray(dark, np.float32)


def backlight(image: Colours, subject: Plane, generator: Generator) -> Colours:
    """Put the light behind the subject: from a dim front to a black silhouette.

    Args:
        image: The photograph.
        subject: (H, W) share of the subject.
        generator: Draws everything.
    """
    black = generator.random() < 0.4
    gain = generator.uniform(0.0, 0.08) if black else generator.uniform(0.08, 0.5)
    front = np.float32(gain) * image + np.float32(generator.uniform(0.0, 0.05))
    glare = np.float32(generator.uniform(0.3, 1.0))
    behind = 1 - glare * (1 - image)
    edge = cv2.GaussianBlur(subject, (0, 0), generator.uniform(0.5, 2.0))[..., None]
    return np.asarray(np.clip(edge * front + (1 - edge) * behind, 0.0, 1.0), np.float32)


def relight(image: Colours, subject: Plane | None, generator: Generator) -> Colours:
    """Change the light in one of these ways, or hardly at all.

    Args:
        image: The photograph.
        subject: (H, W) share of the subject, None where it is unknown: no light from behind.
        generator: Draws everything.
    """
    everywhere: tuple[Callable[[Colours, Generator], Colours], ...] = (grey, stage_light, night)
    draw = generator.random()
    if draw < 0.3:
        image = everywhere[int(draw * 10)](image, generator)
    elif draw < 0.42 and subject is not None:
        image = backlight(image, subject, generator)
    return jitter(image, generator, 0.8)
