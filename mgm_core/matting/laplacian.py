"""The matting Laplacian: alpha once more from the image, where the network left it uncertain.

In a small window the colours of subject and background mostly lie on a line each, and alpha is
then an affine function of the image's colours there. Closed-form matting minimises how far alpha
is from that; here a prior alpha stands beside it:

    minimise  a' L a + sum of w_i (a_i - p_i)²    over the unknown a,    a = alpha elsewhere

L is the matting Laplacian and p the prior, such as the network's alpha. w_i is large where the
prior is nearly 0 or 1, and it has a strength, the prior weight: a light prior follows the image's
strands, a heavy one the network.

Source: Levin et al., "A Closed Form Solution to Natural Image Matting", 2008, for L. The paper has
nothing of the kind.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.matting.solver import multiply, solve
from mgm_core.matting.stencil import LANES, Integers, StencilMatrix
from mgm_core.runtime.compiled import compiled

__all__ = ["TOLERANCE", "MattingLaplacian", "smooth_compression_noise"]

TOLERANCE = 2e-3
"""The solution may be this share of the prior's residual away (docs/experiments)."""

_LARGEST_VARIANCE = 0.25  # of a pixel that is 0 or 1, at alpha 0.5
_LEAST_VARIANCE = 0.05  # even a network that is sure may be wrong
_MOST_STEPS = 300  # a little short of the solution does no harm
_EPSILON = 1e-7  # PyMatting's, added to a window's covariance of colours, times its pixels
# What is smoothed: enough for the steps between JPEG blocks, and no strand (docs/experiments).
_NOISE_DIAMETER_PX, _NOISE_SIGMA_PX = 9, 3.0
_NOISE_LEVELS = 0.015  # of colours in [0, 1]


def smooth_compression_noise(image: Colours) -> Colours:
    """Smooth the faint steps that compression leaves in plain surroundings; strands stay.

    The Laplacian would follow a JPEG's blocks there, and hair's fringe come out in squares.

    Args:
        image: (H, W, 3) float32 in [0, 1].

    Returns:
        The same size, type and range.
    """
    smooth: Colours = cv2.bilateralFilter(
        np.ascontiguousarray(image), _NOISE_DIAMETER_PX, _NOISE_LEVELS, _NOISE_SIGMA_PX
    ).clip(0, 1)
    return smooth


class MattingLaplacian:
    """The matting Laplacian of an image's unknown pixels, to solve for alpha by several priors.

    Takes some 250 bytes of memory an unknown pixel.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1]; only the known pixels' counts.
        unknown: (H, W) bool, the pixels to solve for; the others keep their alpha.
        tolerance: When a solution is near enough, as a share of the prior's residual.

    Raises:
        ValueError: Sizes differ.
    """

    def __init__(
        self, image: Colours, alpha: Plane, unknown: Booleans, *, tolerance: float = TOLERANCE
    ) -> None:
        if not image.shape[:2] == alpha.shape == unknown.shape:
            raise ValueError(
                f"image, alpha and unknown must have one size, got {image.shape[:2]}, "
                f"{alpha.shape} and {unknown.shape}: resize them"
            )
        self._alpha, self._tolerance = alpha, tolerance
        self._places = np.flatnonzero(unknown)
        count = len(self._places)
        numbers = np.full(unknown.shape, -1, np.int32)
        numbers.ravel()[self._places] = np.arange(count, dtype=np.int32)
        # What the known pixels contribute: L_uk a_k.
        self._known = np.zeros(count, np.float32)
        self._matrix = StencilMatrix.zeros(unknown)
        _assemble(np.ascontiguousarray(image), numbers, alpha, self._matrix.values, self._known)

    def solve(self, priors: Sequence[Plane], weights: Sequence[float]) -> Floats:
        """Solve for alpha by several priors at once.

        Args:
            priors: Up to 4 planes, (H, W) float32 in [0, 1].
            weights: The weight of each, above 0.

        Returns:
            (K, H, W) float32 in [0, 1], one plane a prior.

        Raises:
            ValueError: There are too many priors, or none, or not as many weights; a prior's size
                is another one; a weight is not above 0.
        """
        count = len(priors)
        if not 1 <= count <= LANES or count != len(weights):
            raise ValueError(
                f"priors must be 1 to {LANES}, and weights as many, got {count} and "
                f"{len(weights)}: solve for the others next"
            )
        for prior in priors:
            if prior.shape != self._alpha.shape:
                raise ValueError(
                    f"priors must have the image's size {self._alpha.shape}, got "
                    f"{prior.shape}: resize them"
                )
        if min(weights) <= 0:
            raise ValueError(f"weights must be above 0, got {min(weights):g}: 1e-3 is usual")
        solved: Floats = np.empty((count, *self._alpha.shape), np.float32)
        solved[:] = self._alpha
        if not len(self._places):
            return solved
        # A lane without a prior of its own repeats the last one, and costs nothing.
        lanes = [min(k, count - 1) for k in range(LANES)]
        prior_ = np.stack([priors[k].take(self._places) for k in lanes], axis=1, dtype=np.float32)
        weight = np.array(weights, np.float32)[lanes] * _confidence(prior_)
        wanted = weight * prior_ - self._known[:, None]
        residual = self._known[:, None] + multiply(self._matrix, prior_)
        tolerances: Floats = np.float32(self._tolerance) * np.linalg.norm(residual, axis=0)
        found = solve(self._matrix, weight, wanted, prior_, tolerances, _MOST_STEPS)
        solved.reshape(count, -1)[:, self._places] = found.T[:count].clip(0, 1)
        return solved


def _confidence(prior: Floats) -> Floats:
    """Return how much a prior's pixel counts, by how near to 0 or 1 it is; 0.83 to 5."""
    confidence: Floats = np.float32(_LARGEST_VARIANCE) / (
        prior * (1 - prior) + np.float32(_LEAST_VARIANCE)
    )
    return confidence


@compiled()
def _assemble(
    image: Colours,
    numbers: Integers,
    alpha: Plane,
    values: Floats,
    known: Floats,
) -> None:
    """Add up the windows of 3x3 px that hold an unknown pixel, in place.

    Args:
        image: (H, W, 3).
        numbers: (H, W), the row of each unknown pixel; below 0 where alpha is known.
        alpha: (H, W).
        values: (N, 25), zeros.
        known: (N,), zeros.
    """
    height, width = numbers.shape
    c = np.empty((9, 3))  # a window's colours, less their mean
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            window = numbers[y - 1 : y + 2, x - 1 : x + 2]
            if window.max() < 0:
                continue
            mean0 = mean1 = mean2 = 0.0
            for i in range(9):
                for channel in range(3):
                    c[i, channel] = image[y + i // 3 - 1, x + i % 3 - 1, channel]
                mean0 += c[i, 0] / 9
                mean1 += c[i, 1] / 9
                mean2 += c[i, 2] / 9
            # Nine times the covariance of the colours, and its inverse.
            a00 = a11 = a22 = _EPSILON
            a01 = a02 = a12 = 0.0
            for i in range(9):
                c[i, 0] -= mean0
                c[i, 1] -= mean1
                c[i, 2] -= mean2
                a00 += c[i, 0] * c[i, 0]
                a01 += c[i, 0] * c[i, 1]
                a02 += c[i, 0] * c[i, 2]
                a11 += c[i, 1] * c[i, 1]
                a12 += c[i, 1] * c[i, 2]
                a22 += c[i, 2] * c[i, 2]
            b00, b01, b02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
            b11, b12, b22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
            determinant = a00 * b00 + a01 * b01 + a02 * b02
            for i in range(9):
                row = window[i // 3, i % 3]
                if row < 0:
                    continue
                d0 = (b00 * c[i, 0] + b01 * c[i, 1] + b02 * c[i, 2]) / determinant
                d1 = (b01 * c[i, 0] + b11 * c[i, 1] + b12 * c[i, 2]) / determinant
                d2 = (b02 * c[i, 0] + b12 * c[i, 1] + b22 * c[i, 2]) / determinant
                for j in range(9):
                    value = -1.0 / 9 - (d0 * c[j, 0] + d1 * c[j, 1] + d2 * c[j, 2])
                    if i == j:
                        value += 1.0
                    column = window[j // 3, j % 3]
                    if column < 0:
                        known[row] += value * alpha[y + j // 3 - 1, x + j % 3 - 1]
                    else:
                        entry = (j // 3 - i // 3 + 2) * 5 + j % 3 - i % 3 + 2
                        values[row, entry] += value
