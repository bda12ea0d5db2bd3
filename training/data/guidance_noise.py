"""Guidance perturbation: true alpha to the kinds of guidance that users bring (section 3.1).

Every function is pure: arrays and a generator in, an array out.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mgm_core.arrays import Bytes, Plane
from training.data.augmentation_config import AUGMENTATION

Shares: TypeAlias = tuple[float, float, float, float]

KERNELS_PX = (1, 30)
OPERATIONS = (
    (cv2.erode,),
    (cv2.dilate,),
    (cv2.erode, cv2.dilate),
    (cv2.dilate, cv2.erode),
)
EQUALLY_OFTEN = (1.0, 1.0, 1.0, 1.0)
UNKNOWN = 0.5  # in a trimap


def _ellipse(kernel_px: int) -> Bytes:
    ellipse: Bytes = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px)).astype(
        np.uint8
    )
    return ellipse


def binarise(alpha: Plane, generator: Generator) -> Plane:
    """Threshold alpha at a level drawn from [0.01, 1).

    Zero itself is left out: alpha >= 0 holds everywhere and would say nothing.
    """
    return (alpha >= generator.uniform(*AUGMENTATION.thresholds)).astype(np.float32)


def drawn_operations(generator: Generator, shares: Shares, n: int) -> NDArray[np.int64]:
    """Draw places in `OPERATIONS`, (n,), by how often each is meant to come."""
    return generator.choice(len(OPERATIONS), n, p=np.divide(shares, sum(shares)))


def erode_dilate(
    mask: Plane,
    generator: Generator,
    kernels_px: tuple[int, int] = KERNELS_PX,
    shares: Shares = EQUALLY_OFTEN,
) -> Plane:
    """Erode, dilate, or both in random order, each with its own elliptic kernel.

    Args:
        mask: (H, W) float32.
        generator: Draws the operation and the kernels.
        kernels_px: Smallest and largest kernel diameter in px, both possible.
        shares: How often each of `OPERATIONS` comes, relative to the others.
    """
    for operation in OPERATIONS[drawn_operations(generator, shares, 1)[0]]:
        kernel_px = int(generator.integers(kernels_px[0], kernels_px[1] + 1))
        mask = operation(mask, _ellipse(kernel_px)).astype(np.float32)
    return mask


def cut_mask(mask: Plane, generator: Generator) -> Plane:
    """Overwrite one patch of the guidance by another of its patches (CutMask).

    Args:
        mask: (H, W) float32; not changed.
        generator: Draws the patch's size and its two places.
    """
    height, width = mask.shape
    low, high = AUGMENTATION.patch_fractions
    h = max(1, round(height * generator.uniform(low, high)))
    w = max(1, round(width * generator.uniform(low, high)))
    (y0, y1), (x0, x1) = (
        generator.integers(0, height - h + 1, 2),
        generator.integers(0, width - w + 1, 2),
    )
    out = mask.copy()
    out[y1 : y1 + h, x1 : x1 + w] = mask[y0 : y0 + h, x0 : x0 + w]
    return out


def noisy_mask(
    alpha: Plane,
    generator: Generator,
    cut_mask_probability: float = 0.25,
    kernels_px: tuple[int, int] = KERNELS_PX,
    shares: Shares = EQUALLY_OFTEN,
) -> Plane:
    """Return the paper's perturbed binary guidance: binarise, erode/dilate, CutMask.

    Beyond the paper, some masks only have their gaps filled, as segmenters fill those between hair
    and shoulder.
    """
    mask = binarise(alpha, generator)
    if generator.random() < AUGMENTATION.filled_probability:
        drawn = int(generator.integers(*AUGMENTATION.filling_kernels_px))
        kernel_px = drawn | 1  # even ones would shift it
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ellipse(kernel_px)), np.float32)
    else:
        mask = erode_dilate(mask, generator, kernels_px, shares)
    if generator.random() < cut_mask_probability:
        mask = cut_mask(mask, generator)
    return mask


def noisy_trimap(alpha: Plane, generator: Generator) -> Plane:
    """Return a trimap of 0, 0.5 and 1 that is true to alpha (our extension of the paper).

    The unknown band is widened by separate kernels inwards and outwards, as careful and careless
    people draw it.
    """
    inside, outside = (int(k) for k in generator.integers(*AUGMENTATION.trimap_kernels_px, 2))
    foreground = cv2.erode((alpha >= 1.0 - 1 / 255).astype(np.uint8), _ellipse(inside))
    possible = cv2.dilate((alpha > 1 / 255).astype(np.uint8), _ellipse(outside))
    return (0.5 * foreground + 0.5 * possible).astype(np.float32)


def is_trimap(guidance: Plane) -> bool:
    """Tell a trimap from masks, which have no 0.5, and from soft mattes, which have all values."""
    known = (guidance == 0) | (guidance == 1)
    return bool((known | (guidance == UNKNOWN)).all() and not known.all())


def noisy_matte(alpha: Plane, generator: Generator) -> Plane:
    """Return a soft matte of low quality: coarse, blurred, shifted levels (our extension)."""
    height, width = alpha.shape
    factor = generator.uniform(*AUGMENTATION.matte_reductions)
    small = cv2.resize(
        alpha, (max(2, round(width / factor)), max(2, round(height / factor))), None, 0, 0,
        cv2.INTER_AREA,
    )  # fmt: skip
    if generator.random() < AUGMENTATION.matte_kernel_probability:
        kernels_px = AUGMENTATION.matte_kernels_px
        small = erode_dilate(np.asarray(small, np.float32), generator, kernels_px)
    matte = cv2.resize(small, (width, height), None, 0, 0, cv2.INTER_LINEAR)
    gain = generator.uniform(*AUGMENTATION.matte_gains)
    shift = generator.uniform(*AUGMENTATION.matte_shifts)
    return np.asarray(np.clip((matte - 0.5) * gain + 0.5 + shift, 0.0, 1.0), np.float32)
