"""Foreground colours in closed form, beside an estimate of them, for a given alpha.

Alpha leaves colours open; what is asked for is that they change where alpha does as little as the
image allows, and are not far from what a network thinks:

    minimise  |alpha F + (1 - alpha) B - I|² + sum over neighbours of |change of alpha| (|change of
              F|² + |change of B|²) + strength (|F - F'|² + |B - B'|²)

F' and B' are the network's. A weak prior follows the image, a strong one the network.

Source: Levin et al., "A Closed Form Solution to Natural Image Matting", 2008; the prior is ours.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mgm_core.arrays import Booleans, Floats
from mgm_core.runtime.cancellation import checkpoint

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["closed_form_colours"]


_LEAST_SMOOTHNESS = 1e-5  # of neighbours with the same alpha
_TOLERANCE = 1e-3  # of what the prior leaves open
_PRECISION = 1e-6  # of single numbers, which cannot tell what is smaller
_MOST_STEPS = 500


def closed_form_colours(
    image: Floats,
    alpha: Floats,
    foreground: Floats,
    background: Floats,
    strengths: Sequence[float],
) -> Floats:
    """Solve for foreground colours once for each strength of the prior.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) float32 in [0, 1], the prior's.
        background: (H, W, 3) float32 in [0, 1], the prior's.
        strengths: Weights of the prior, each above 0.

    Returns:
        (S, H, W, 3) float32 in [0, 1]; the prior's where alpha is 0 or 1, but for next neighbours.

    Raises:
        ValueError: Sizes differ, or a strength is not above 0.
    """
    for name, array in (("image", image), ("foreground", foreground), ("background", background)):
        if array.shape != (*alpha.shape, 3):
            raise ValueError(
                f"{name} must have alpha's size {alpha.shape} and 3 colours, got {array.shape}: "
                "resize one of them"
            )
    if min(strengths) <= 0:
        raise ValueError(f"strengths must be above 0, got {min(strengths):g}: 3e-3 is usual")
    # Imported on use: SciPy's solvers take a while, and the page must not wait for them.
    from scipy.sparse import bmat, diags
    from scipy.sparse.linalg import LinearOperator, cg

    solved = np.repeat(foreground[None], len(strengths), axis=0).astype(np.float32)
    soft = ((alpha > 0) & (alpha < 1)).astype(np.uint8)
    where = cv2.dilate(soft, np.ones((3, 3), np.uint8)).astype(bool)
    if not where.any():
        return solved
    a = alpha[where].astype(np.float32)
    smooth = _smoothness(alpha, where)
    prior = np.concatenate([foreground[where], background[where]]).astype(np.float32)
    seen = np.concatenate([a[:, None] * image[where], (1 - a)[:, None] * image[where]])
    found = prior.copy()
    # Strong priors first: they are solved for in the fewest steps, and lead to the weaker ones.
    for i in sorted(range(len(strengths)), key=strengths.__getitem__, reverse=True):
        strength = np.float32(strengths[i])
        across = diags(a * (1 - a))
        matrix = bmat(
            [
                [smooth + diags(a * a + strength), across],
                [across, smooth + diags((1 - a) ** 2 + strength)],
            ],
            format="csr",
            dtype=np.float32,
        )
        inverse = 1 / matrix.diagonal()
        conditioner = LinearOperator(matrix.shape, lambda x, d=inverse: d * x, dtype=np.float32)
        wanted = (seen + strength * prior).astype(np.float32)
        left_open = np.linalg.norm(wanted - matrix @ prior, axis=0)
        least = _PRECISION * np.linalg.norm(wanted, axis=0)
        tolerated = np.maximum(_TOLERANCE * left_open, least)
        for channel in range(3):
            found[:, channel] = cg(
                matrix,
                wanted[:, channel],
                x0=found[:, channel],
                rtol=0,
                atol=float(tolerated[channel]),
                maxiter=_MOST_STEPS,  # a little short of the solution does no harm
                M=conditioner,
                callback=checkpoint,
            )[0]
        solved[i][where] = found[: len(a)].clip(0, 1)
    return solved


def _smoothness(alpha: Floats, where: Booleans) -> "csr_matrix":
    """Return what neighbours' differences cost, as a quadratic form over some pixels, (N, N)."""
    from scipy.sparse import csr_matrix, diags

    numbers = np.full(alpha.shape, -1, np.int32)
    numbers[where] = np.arange(np.count_nonzero(where))
    pairs, weights = [], []
    for one, other in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:], np.s_[:-1]),
    ):
        both = where[one] & where[other]
        pairs.append(np.stack([numbers[one][both], numbers[other][both]]))
        # Twice, as every pair is one in both directions.
        weights.append(2 * (np.abs(alpha[one][both] - alpha[other][both]) + _LEAST_SMOOTHNESS))
    i, j = np.concatenate(pairs, axis=1)
    weight = np.concatenate(weights).astype(np.float32)
    count = int(numbers.max()) + 1
    joint = csr_matrix((weight, (i, j)), (count, count))
    joint = joint + joint.T
    return diags(np.asarray(joint.sum(axis=1)).ravel()) - joint
