"""Colour lines: alpha once more from the image, where the network left it undecided.

In a small window the colours of subject and background mostly lie on a line each, and alpha is
then an affine function of the image's colours there. Closed-form matting minimises how far it is
from that; here the network's alpha stands beside it as a prior:

    minimise  a' L a + sum of w_i (a_i - alpha_i)²    over the undecided a,    a = alpha elsewhere

L is the matting Laplacian. w is large where the network is nearly sure, and it has a strength: a
weak prior follows the image's strands, a strong one the network. What comes of it is a better
prior, so that it may be done in rounds.

Source: Levin et al., "A Closed Form Solution to Natural Image Matting", 2008. The paper has nothing
of the kind.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from mgm_core.arrays import Booleans, Floats
from mgm_core.networks.refinement import TEST_KERNELS_PX, self_guidance_mask
from mgm_core.runtime.cancellation import checkpoint

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["STRENGTHS", "ColourLines", "undecided", "without_grain"]


STRENGTHS = (1e-4, 1e-3, 1e-2)
"""Of the prior, weak to strong, in units of the Laplacian; chosen on the grown-hair benchmark."""

_LARGEST_VARIANCE = 0.25  # of a pixel that is 0 or 1, at alpha 0.5
_LEAST_VARIANCE = 0.05  # even a network that is sure may be wrong
# The solution changes little below this share of what the prior leaves open.
_TOLERANCE = 1e-3
_MOST_STEPS = 1000
_RADIUS_PX = 1  # of a window
# What is smoothed: enough for the steps between JPEG blocks, and no strand (docs/experiments.md).
_GRAIN_DIAMETER_PX, _GRAIN_SIGMA_PX = 9, 3.0
_GRAIN_LEVELS = 0.015  # of colours in [0, 1]
_STRIP_PX = 64


def undecided(alpha: Floats) -> Booleans:
    """Return where alpha is neither 0 nor 1, to eight bits, or near to it, as after stride 8.

    Args:
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W) bool.
    """
    mask = self_guidance_mask(torch.from_numpy(alpha)[None, None], TEST_KERNELS_PX[:1])
    found: Booleans = mask[0, 0].numpy()
    return found


def without_grain(image: Floats) -> Floats:
    """Smooth the faint steps that compression leaves in plain surroundings; strands stay.

    Colour lines would follow a JPEG's blocks there, and hair's fringe come out in squares.

    Args:
        image: (H, W, 3) float32 in [0, 1].

    Returns:
        The same size, type and range.
    """
    smooth: Floats = cv2.bilateralFilter(
        np.ascontiguousarray(image), _GRAIN_DIAMETER_PX, _GRAIN_LEVELS, _GRAIN_SIGMA_PX
    ).clip(0, 1)
    return smooth


class ColourLines:
    """The colour lines of an image, where alpha is undecided, to solve for it by several priors.

    Takes up to 2 kB of memory for each pixel that is solved for, and a second of one core for
    100,000 to 170,000 of them and each prior.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        where: (H, W) bool, the pixels to solve for; the others keep their alpha.

    Raises:
        ValueError: Sizes differ.
    """

    def __init__(self, image: Floats, where: Booleans) -> None:
        if image.shape[:2] != where.shape:
            raise ValueError(
                f"image and where must have one size, got {image.shape[:2]} and {where.shape}: "
                "resize them"
            )
        self._where = where
        if where.any():
            # Single precision is enough for the tolerance, and takes half the time.
            rows = _laplacian_rows(image, where).astype(np.float32)
            self._among = rows[:, np.flatnonzero(where)]
            self._beside = rows[:, np.flatnonzero(~where)]
            self._diagonal = self._among.diagonal()

    def alphas(self, prior: Floats, strengths: Sequence[float] = STRENGTHS) -> Floats:
        """Solve for alpha once for each strength of the prior.

        Args:
            prior: (H, W) float32 in [0, 1].
            strengths: Weights of the prior, each above 0.

        Returns:
            (S, H, W) float32 in [0, 1], one plane a strength.

        Raises:
            ValueError: The prior's size is another one, or a strength is not above 0.
        """
        if prior.shape != self._where.shape:
            raise ValueError(
                f"image and prior must have one size, got {self._where.shape} and {prior.shape}: "
                "resize them"
            )
        if min(strengths) <= 0:
            raise ValueError(f"strengths must be above 0, got {min(strengths):g}: 1e-3 is usual")
        solved = np.repeat(prior[None].astype(np.float32), len(strengths), axis=0)
        if not self._where.any():
            return solved
        known = self._beside @ prior[~self._where]
        wanted = prior[self._where].astype(np.float32)
        found = wanted
        # Strong priors first: they are solved for in the fewest steps, and lead to the weaker ones.
        for i in sorted(range(len(strengths)), key=strengths.__getitem__, reverse=True):
            found = self._solve(wanted, known, strengths[i], found)
            solved[i][self._where] = found.clip(0, 1)
        return solved

    def _solve(self, prior: Floats, known: Floats, strength: float, start: Floats) -> Floats:
        """Solve for the undecided pixels, (N,)."""
        # Imported on use: SciPy's solvers take a while, and the page must not wait for them.
        from scipy.sparse.linalg import LinearOperator, cg

        weight = strength * _LARGEST_VARIANCE / (prior * (1 - prior) + np.float32(_LEAST_VARIANCE))
        weight = weight.astype(np.float32)
        matrix = LinearOperator(
            self._among.shape, lambda x: self._among @ x + weight * x, dtype=np.float32
        )
        inverse = 1 / (self._diagonal + weight)
        conditioner = LinearOperator(self._among.shape, lambda x: inverse * x, dtype=np.float32)
        wanted = weight * prior - known
        left_open = float(np.linalg.norm(wanted - matrix @ prior))
        found, _ = cg(
            matrix,
            wanted,
            x0=start,
            rtol=0,
            atol=_TOLERANCE * left_open,
            maxiter=_MOST_STEPS,  # a little short of the solution does no harm
            M=conditioner,
            callback=checkpoint,
        )
        solution: Floats = found.astype(np.float32)
        return solution


def _laplacian_rows(image: Floats, where: Booleans) -> "csr_matrix":
    """Return the matting Laplacian's rows of some pixels, (N, H W).

    It is made strip by strip: pymatting gives all rows, some 600 bytes a pixel, of which these are
    a small part.
    """
    # Imported on use, as it starts a compiler.
    from pymatting import cf_laplacian
    from scipy.sparse import csr_matrix, vstack

    height, width = where.shape
    strips = []
    for first in range(0, height, _STRIP_PX):
        checkpoint()
        wanted = where.copy()
        wanted[:first] = wanted[first + _STRIP_PX :] = False
        if not wanted.any():
            continue
        # A pixel's windows reach so far.
        top, bottom = max(0, first - 2 * _RADIUS_PX), first + _STRIP_PX + 2 * _RADIUS_PX
        columns = np.flatnonzero(wanted.any(axis=0))
        left = max(0, int(columns[0]) - 2 * _RADIUS_PX)
        part = np.s_[top:bottom, left : int(columns[-1]) + 1 + 2 * _RADIUS_PX]
        laplacian = cf_laplacian(image[part].astype(np.float64), is_known=~where[part])
        rows = laplacian[np.flatnonzero(wanted[part])]
        y, x = np.divmod(rows.indices, wanted[part].shape[1])
        indices = (y + top) * width + x + left
        shape = rows.shape[0], height * width
        strips.append(csr_matrix((rows.data, indices, rows.indptr), shape))
    return vstack(strips, format="csr")
