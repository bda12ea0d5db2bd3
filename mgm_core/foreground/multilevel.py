"""Estimate foreground and background colours from coarse to fine: fast, and stopped at any time.

Source: Germer et al., "Fast Multi-Level Foreground Estimation", ICPR 2020, Algorithm 1; Eq. 6 is
the system of each pixel. PyMatting's function of the same name gives the same colours, but goes
through a large photograph in one call, which nobody can end.
"""

import numpy as np

from mgm_core.arrays import Floats
from mgm_core.compositing import mean_colour
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.runtime.compiled import compiled

__all__ = ["estimate_multilevel"]

_REGULARISATION = 1e-5
_SMALL_SIDE_PX, _SMALL_ITERATIONS, _LARGE_ITERATIONS = 32, 10, 2
# Rows between two checkpoints hold so many pixels: a tenth of a second.
_PIXELS_AT_ONCE = 1_000_000
# From where on a pixel's colour is taken for pure, for the colours to begin with.
_FOREGROUND_FROM, _BACKGROUND_TO = 0.9, 0.1


def estimate_multilevel(image: Floats, alpha: Floats) -> Floats:
    """Estimate foreground colours.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) float32.
    """
    height, width = alpha.shape
    foreground, background = (
        mean_colour(image, pure)[None, None]
        for pure in (alpha > _FOREGROUND_FROM, alpha < _BACKGROUND_TO)
    )
    levels = int(np.ceil(np.log2(max(width, height))))
    for level in range(levels + 1):
        share = level / levels if levels else 1.0
        size = round(height**share), round(width**share)
        foreground, background = _resized(foreground, size), _resized(background, size)
        level_image, level_alpha = _resized(image, size), _resized(alpha, size)
        iterations = _SMALL_ITERATIONS if max(size) <= _SMALL_SIDE_PX else _LARGE_ITERATIONS
        rows = max(1, _PIXELS_AT_ONCE // size[1])
        for _ in range(iterations):
            for top in range(0, size[0], rows):
                checkpoint()
                _relax(
                    foreground,
                    background,
                    level_image,
                    level_alpha,
                    top,
                    min(top + rows, size[0]),
                )
    return foreground


def _resized(picture: Floats, size: tuple[int, int]) -> Floats:
    """Take the nearest pixel to the left and above."""
    if picture.shape[:2] == size:
        return np.ascontiguousarray(picture, np.float32)
    (new_height, new_width), (height, width) = size, picture.shape[:2]
    rows = np.arange(new_height) * height // new_height
    columns = np.arange(new_width) * width // new_width
    taken: Floats = picture.take(rows, 0).take(columns, 1)
    return taken.astype(np.float32, copy=False)


@compiled(fastmath=True)
def _relax(
    foreground: Floats,
    background: Floats,
    image: Floats,
    alpha: Floats,
    first: int,
    last: int,
) -> None:
    """Solve each pixel's system in rows by its neighbours' colours as they are now, in place."""
    height, width = alpha.shape
    for y in range(first, last):
        for x in range(width):
            a = alpha[y, x]
            b = np.float32(1) - a
            weights = np.float32(0)
            f0 = f1 = f2 = b0 = b1 = b2 = np.float32(0)
            for side in range(4):
                v = min(max(y + (side == 3) - (side == 2), 0), height - 1)
                u = min(max(x + (side == 1) - (side == 0), 0), width - 1)
                weight = np.float32(_REGULARISATION) + abs(a - alpha[v, u])
                weights += weight
                f0 += weight * foreground[v, u, 0]
                f1 += weight * foreground[v, u, 1]
                f2 += weight * foreground[v, u, 2]
                b0 += weight * background[v, u, 0]
                b1 += weight * background[v, u, 1]
                b2 += weight * background[v, u, 2]
            # [a a + w, a b; a b, b b + w] has this determinant.
            scale = np.float32(1) / (weights * (weights + a * a + b * b))
            ff, fb, bb = scale * (b * b + weights), -scale * a * b, scale * (a * a + weights)
            for c, f, g in ((0, f0, b0), (1, f1, b1), (2, f2, b2)):
                f += a * image[y, x, c]
                g += b * image[y, x, c]
                foreground[y, x, c] = min(max(ff * f + fb * g, np.float32(0)), np.float32(1))
                background[y, x, c] = min(max(fb * f + bb * g, np.float32(0)), np.float32(1))
