"""Errors of a matte and of foreground colours, equal to the official evaluation code.

SAD, MSE, gradient and connectivity follow Rhemann et al., "A perceptually motivated online
benchmark for image matting" (CVPR 2009), in the form of the MATLAB code published with Deep Image
Matting (Xu et al., CVPR 2017), which the paper's tables use. Every image-wide error divides by
1,000 where that code's users do, so that the figures read as in the paper; MSE is not scaled
here (the tables print it times 1,000).

An error is summed over a region, a boolean mask of the image. Gradient and connectivity look at
the whole image first and only then sum over the region, so they cannot be computed from a crop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from mgm_core.arrays import Booleans, Floats, check_image, check_mask

GRADIENT_SIGMA_PX = 1.4
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_TOLERANCE = 0.15
PERCENTILES = (50, 75, 90, 95, 99)


@dataclass(frozen=True)
class AlphaErrors:
    """Errors of one matte over one region.

    Args:
        sad: Sum of absolute differences, in thousands of opaque pixels.
        mse: Mean squared difference over the region's pixels, alpha in [0, 1].
        grad: Sum of squared differences of gradient amplitudes, / 1,000.
        conn: Sum of differences of connectedness, / 1,000.
    """

    sad: float
    mse: float
    grad: float
    conn: float


@dataclass(frozen=True)
class ForegroundErrors:
    """Errors of foreground colours over one region, all three channels.

    Args:
        sad: Sum of absolute differences over pixels and channels, / 1,000.
        mse: Mean squared difference over pixels and channels, colours in [0, 1].
    """

    sad: float
    mse: float


def absolute_difference(prediction: Floats, truth: Floats) -> Floats:
    """Difference of two mattes at every pixel, the summand of SAD."""
    difference: Floats = np.abs(prediction - truth)
    return difference


def squared_difference(prediction: Floats, truth: Floats) -> Floats:
    """Squared difference of two mattes at every pixel, the summand of MSE."""
    difference: Floats = np.square(prediction - truth)
    return difference


def gradient_difference(prediction: Floats, truth: Floats) -> Floats:
    """Squared difference of the gradients' amplitudes at every pixel.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32.
    """
    difference: Floats = np.square(_gradient_amplitude(prediction) - _gradient_amplitude(truth))
    return difference


def connectivity_difference(prediction: Floats, truth: Floats) -> Floats:
    """Difference of the degrees of connectedness at every pixel.

    A pixel is connected to the common source up to the last threshold at which it lies in the
    largest 4-connected set that both mattes reach. The official code stops where no pixel of
    both reaches a threshold; here that set is empty, which leaves every pixel unconnected.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32.
    """
    common = np.minimum(prediction, truth)
    connected_up_to = np.zeros_like(common)
    still_connected = np.ones(common.shape, bool)
    for step in range(1, round(1 / CONNECTIVITY_STEP) + 1):
        threshold = np.float32(step * CONNECTIVITY_STEP)
        still_connected &= _largest_component(common >= threshold)
        if not still_connected.any():
            break
        connected_up_to[still_connected] = threshold
    difference: Floats = np.abs(
        _connectedness(prediction, connected_up_to) - _connectedness(truth, connected_up_to)
    )
    return difference


def sad(prediction: Floats, truth: Floats, region: Booleans | None = None) -> float:
    """Sum of absolute differences, in thousands of opaque pixels.

    >>> float(sad(np.full((10, 100), 0.5, np.float32), np.zeros((10, 100), np.float32)))
    0.5

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].
        region: Pixels that count, (H, W) bool; None means all.

    Returns:
        SAD / 1,000.

    Raises:
        ValueError: If shapes or values are wrong, or the region is empty.
    """
    return _total(absolute_difference, prediction, truth, region) / 1000


def mse(prediction: Floats, truth: Floats, region: Booleans | None = None) -> float:
    """Mean squared difference over the region, alpha in [0, 1].

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].
        region: Pixels that count, (H, W) bool; None means all.

    Returns:
        MSE, not scaled.

    Raises:
        ValueError: If shapes or values are wrong, or the region is empty.
    """
    pixels = prediction.size if region is None else int(np.count_nonzero(region))
    return _total(squared_difference, prediction, truth, region) / max(pixels, 1)


def gradient_error(prediction: Floats, truth: Floats, region: Booleans | None = None) -> float:
    """Sum of squared differences of gradient amplitudes, / 1,000.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].
        region: Pixels that count, (H, W) bool; None means all.

    Returns:
        Grad / 1,000.

    Raises:
        ValueError: If shapes or values are wrong, or the region is empty.
    """
    return _total(gradient_difference, prediction, truth, region) / 1000


def connectivity_error(prediction: Floats, truth: Floats, region: Booleans | None = None) -> float:
    """Sum of differences of connectedness, / 1,000.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].
        region: Pixels that count, (H, W) bool; None means all.

    Returns:
        Conn / 1,000.

    Raises:
        ValueError: If shapes or values are wrong, or the region is empty.
    """
    return _total(connectivity_difference, prediction, truth, region) / 1000


def alpha_errors(
    prediction: Floats, truth: Floats, regions: Mapping[str, Booleans]
) -> dict[str, AlphaErrors]:
    """All four errors over several regions, at the cost of one.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].
        regions: Name -> pixels that count, (H, W) bool.

    Returns:
        Name -> errors over that region.

    Raises:
        ValueError: If shapes or values are wrong, or a region is empty.
    """
    check_alphas(prediction, truth)
    for name, region in regions.items():
        _check_region(region, truth.shape, name)
    absolute = absolute_difference(prediction, truth)
    squared = squared_difference(prediction, truth)
    gradient = gradient_difference(prediction, truth)
    connectivity = connectivity_difference(prediction, truth)
    return {
        name: AlphaErrors(
            sad=_sum(absolute, region) / 1000,
            mse=_sum(squared, region) / int(np.count_nonzero(region)),
            grad=_sum(gradient, region) / 1000,
            conn=_sum(connectivity, region) / 1000,
        )
        for name, region in regions.items()
    }


def foreground_errors(prediction: Floats, truth: Floats, region: Booleans) -> ForegroundErrors:
    """SAD and MSE of colours over a region.

    Args:
        prediction: Colours, alpha * F or F, (H, W, 3) float32 in [0, 1].
        truth: True colours, (H, W, 3) float32 in [0, 1].
        region: Pixels that count, (H, W) bool.

    Returns:
        The two errors, summed (SAD) and averaged (MSE) over the three channels too.

    Raises:
        ValueError: If shapes or values are wrong, or the region is empty.
    """
    check_image("prediction", prediction)
    check_image("truth", truth)
    _check_same_shape(prediction, truth)
    _check_region(region, truth.shape[:2], "region")
    difference = prediction[region].astype(np.float64) - truth[region]
    return ForegroundErrors(
        sad=float(np.abs(difference).sum()) / 1000, mse=float(np.square(difference).mean())
    )


def percentiles(values: list[float]) -> dict[int, float]:
    """Spread of an error over images: its 50th to 99th percentile.

    >>> percentiles([1.0, 2.0, 3.0])[50]
    2.0

    Args:
        values: One error per image.

    Returns:
        Percentile -> error, linearly interpolated.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("values must hold at least one error, got none: run the benchmark first")
    return {p: float(np.percentile(values, p)) for p in PERCENTILES}


def check_alphas(prediction: Floats, truth: Floats) -> None:
    """Refuse what has no meaningful error.

    Args:
        prediction: Matte, (H, W) float32 in [0, 1].
        truth: True matte, (H, W) float32 in [0, 1].

    Raises:
        ValueError: If an image is not (H, W) float in [0, 1], or the two differ in size.
    """
    check_mask("prediction", prediction)
    check_mask("truth", truth)
    _check_same_shape(prediction, truth)


def _check_same_shape(prediction: Floats, truth: Floats) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction must have the truth's shape {truth.shape}, got {prediction.shape}: "
            "predict at the image's own size"
        )


def _check_region(region: Booleans, shape: tuple[int, ...], name: str) -> None:
    if region.dtype != np.bool_ or region.shape != shape:
        raise ValueError(
            f"{name} must be a boolean mask of shape {shape}, "
            f"got {region.dtype} {region.shape}: compare the trimap with its value for unknown"
        )
    if not region.any():
        raise ValueError(
            f"{name} must hold at least one pixel, got none: an empty region has no error, "
            "check the trimap or the detail map"
        )


def _total(
    difference: Callable[[Floats, Floats], Floats],
    prediction: Floats,
    truth: Floats,
    region: Booleans | None,
) -> float:
    check_alphas(prediction, truth)
    if region is None:
        region = np.ones(truth.shape, bool)
    _check_region(region, truth.shape, "region")
    return _sum(difference(prediction, truth), region)


def _sum(difference: Floats, region: Booleans) -> float:
    return float(difference.sum(where=region, dtype=np.float64))


def _gradient_amplitude(alpha: Floats) -> Floats:
    low, high = alpha.min(), alpha.max()
    if high > low:  # the official code stretches each matte to [0, 1] by its own extremes
        alpha = (alpha - low) / (high - low)
    smooth, slope = _gaussian_and_its_derivative(GRADIENT_SIGMA_PX)
    # Not OpenCV: its filters round by where in memory an image happens to lie, and a run that is
    # resumed must end with the same figures to the last digit.
    across = correlate1d(correlate1d(alpha, slope, 1, mode="nearest"), smooth, 0, mode="nearest")
    down = correlate1d(correlate1d(alpha, smooth, 1, mode="nearest"), slope, 0, mode="nearest")
    amplitude: Floats = np.sqrt(np.square(across) + np.square(down))
    return amplitude


def _gaussian_and_its_derivative(
    sigma_px: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two 1-D kernels whose outer product is the official 2-D kernel of unit energy."""
    smallest = 1e-2  # the kernel ends where the Gaussian falls below this
    half_px = int(
        np.ceil(sigma_px * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * sigma_px * smallest)))
    )
    x = np.arange(-half_px, half_px + 1, dtype=np.float64)
    gaussian = np.exp(-(x**2) / (2 * sigma_px**2)) / (sigma_px * np.sqrt(2 * np.pi))
    derivative = -x * gaussian / sigma_px**2
    return gaussian / np.linalg.norm(gaussian), derivative / np.linalg.norm(derivative)


def _largest_component(mask: Booleans) -> Booleans:
    """The largest 4-connected set; the first in column order where several are."""
    # Labelling the transpose numbers components down the columns, as MATLAB does.
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask.T, np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    if count == 1:
        return np.zeros_like(mask)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.asarray(labels == largest).T


def _connectedness(alpha: Floats, connected_up_to: Floats) -> Floats:
    excess = alpha - connected_up_to
    return np.where(excess >= CONNECTIVITY_TOLERANCE, 1 - excess, np.float32(1))
