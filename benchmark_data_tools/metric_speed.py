"""How long the metrics take.

python -m benchmark_data_tools measure
"""

import time
from collections.abc import Callable

import cv2
import numpy as np

from benchmark_data_tools.metrics import (
    absolute_difference,
    alpha_errors,
    connectivity_difference,
    gradient_difference,
    squared_difference,
)
from mgm_core.arrays import Floats

NOISE = 0.15
SIGMA_PX = 6.0


def metric_seconds(height: int, width: int, repeats: int) -> dict[str, float]:
    """Time the metrics on a generated matte, on one core.

    Args:
        height: Of the matte, in px.
        width: Of the matte, in px.
        repeats: How often; the shortest time counts, as others hold waiting for other programs.

    Returns:
        Metric, and "all four" over two regions as the tables need them -> processor seconds.

    Raises:
        ValueError: If a number is too small.
    """
    if min(height, width) < 16 or repeats < 1:
        raise ValueError(
            f"height and width must be 16 or more and repeats 1 or more, got {height}, {width} "
            f"and {repeats}: 1500, 2000 and 3 suit most machines"
        )
    prediction, truth = _mattes(height, width)
    regions = {"whole": np.ones_like(truth, bool), "unknown": (truth > 0) & (truth < 1)}
    jobs: dict[str, Callable[[], object]] = {
        "sad": lambda: absolute_difference(prediction, truth).sum(),
        "mse": lambda: squared_difference(prediction, truth).sum(),
        "grad": lambda: gradient_difference(prediction, truth).sum(),
        "conn": lambda: connectivity_difference(prediction, truth).sum(),
        "all four": lambda: alpha_errors(prediction, truth, regions),
    }
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return {name: min(_seconds(job) for _ in range(repeats)) for name, job in jobs.items()}
    finally:
        cv2.setNumThreads(threads)


def _seconds(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def _mattes(height: int, width: int) -> tuple[Floats, Floats]:
    """A prediction and the truth: soft blobs, and noise upon them."""
    generator = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(generator.standard_normal((height, width)), (0, 0), SIGMA_PX)
    truth = np.clip(blobs / blobs.std() + 0.5, 0, 1)
    prediction = np.clip(truth + NOISE * generator.standard_normal((height, width)), 0, 1)
    return prediction.astype(np.float32), truth.astype(np.float32)
