"""Colour samples: alpha from colours of the sure subject and background, wherever they are.

Colour lines know a small window; what they and the network have wrong may still be plain from the
colours further away. Each undecided pixel looks in several directions for the sure subject and the
sure background, takes the pair of colours that explains it and its neighbours best, shares it with
them, and has the alpha that mixes its colour of the two (Eq. 1).

Source: Gastal and Oliveira, "Shared Sampling for Real-Time Alpha Matting", 2010, as PyMatting has
it. The paper has nothing of the kind.
"""

import numpy as np

from mgm_core.arrays import Booleans, Floats

__all__ = ["by_samples"]


_UNKNOWN = 0.5


def by_samples(image: Floats, alpha: Floats, where: Booleans) -> Floats:
    """Return alpha by samples, a second of one core for some 100,000 undecided pixels.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1]; what is not undecided is subject from 0.5 on.
        where: (H, W) bool, the undecided pixels; the others keep their alpha.

    Returns:
        (H, W) float32 in [0, 1]; the alpha given where there is no subject or no background to
        take samples from.

    Raises:
        ValueError: Sizes differ.
    """
    if not image.shape[:2] == alpha.shape == where.shape:
        raise ValueError(
            f"image, alpha and where must have one size, got {image.shape[:2]}, {alpha.shape} and "
            f"{where.shape}: resize them"
        )
    subject = ~where & (alpha >= _UNKNOWN)
    background = ~where & (alpha < _UNKNOWN)
    if not (where.any() and subject.any() and background.any()):
        return alpha.copy()
    # Imported on use, as it starts a compiler.
    from pymatting import estimate_alpha_sm

    trimap = np.where(where, np.float32(_UNKNOWN), subject.astype(np.float32))
    found = estimate_alpha_sm(np.ascontiguousarray(image, np.float32), trimap)
    sampled: Floats = np.where(where, found.clip(0, 1), alpha).astype(np.float32)
    return sampled
