"""Prints, panels and patches on clothes: parts of another colour, which belong to the person.

Source: ours. They are to teach that a white panel before a white wall is no hole.
"""

import cv2
import numpy as np
from numpy.random import Generator

from mgm_core.arrays import Colours, Plane
from training.data.augmentation import LUMA

__all__ = ["print_on"]

_LEAST_DEPTH = 0.01  # of a print inside the subject's outline, as a share of the crop's side
_LENGTHS = (0.03, 0.25)  # of a print's half axes, likewise, drawn evenly in the logarithm
_FOLDS = 0.02  # sigma of the mean that a fold's light is compared with, likewise
_SHARES = (0.6, 1.0)  # how much of the cloth's own colour goes
_EDGE_PX = 0.7


def print_on(image: Colours, subject: Plane, generator: Generator) -> Colours:
    """Give a part of the subject the colour of what is behind it, white, grey, black or any other.

    The cloth's folds stay. A subject too thin for a print is returned as it is.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        subject: (H, W) float32 in [0, 1].
        generator: Draws everything.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    side = max(subject.shape)
    deep = cv2.distanceTransform((subject > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inside = deep > _LEAST_DEPTH * side
    places = np.argwhere(inside)
    if not len(places):
        return image
    top, left = (int(v) for v in places[generator.integers(len(places))])
    low, high = (np.log(length) for length in _LENGTHS)
    axes = np.exp(generator.uniform(low, high, 2)) * side
    angle = float(generator.uniform(0, 180))
    shape = np.zeros(subject.shape, np.uint8)
    if generator.random() < 0.5:
        cv2.ellipse(shape, ((left, top), tuple(2 * axes), angle), 1, -1)
    else:
        corners = cv2.boxPoints(((left, top), tuple(2 * axes), angle))
        cv2.fillConvexPoly(shape, np.rint(corners).astype(np.int32), 1)
    share = (shape & inside).astype(np.float32) * np.float32(generator.uniform(*_SHARES))
    share = np.asarray(cv2.GaussianBlur(share, (0, 0), _EDGE_PX), np.float32)[..., None]
    light = image @ np.array(LUMA, np.float32) + np.float32(0.05)
    folds = light / cv2.GaussianBlur(light, (0, 0), _FOLDS * side)
    colour = _colour(image, subject, generator)
    return np.clip(image + share * (folds[..., None] * colour - image), 0, 1).astype(np.float32)


def _colour(image: Colours, subject: Plane, generator: Generator) -> Colours:
    """Return the colour of a place behind the subject in half of all cases, (3,)."""
    behind = np.argwhere(subject < 0.02)
    if len(behind) and generator.random() < 0.5:
        top, left = behind[generator.integers(len(behind))]
        return np.asarray(image[top, left])
    if generator.random() < 0.5:
        return np.full(3, generator.choice([0.03, 0.5, 0.95]), np.float32)
    return generator.random(3, dtype=np.float32)
