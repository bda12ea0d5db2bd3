"""Alpha and colours that were found at a smaller size, at the size of the photograph.

In a small window alpha is nearly an affine function of the image's colours, as the matting
Laplacian has it. The guided filter finds these functions at the smaller size; taken with the
photograph's own colours they bring its edges and strands back. Colours take the photograph's detail
where the subject is nearly opaque.

Source: He, Sun and Tang, "Guided Image Filtering", 2010, and He and Sun, "Fast Guided Filter",
2015, for alpha. The paper has nothing of the kind.
"""

import cv2
import numpy as np

from mgm_core.arrays import Colours, Floats, Plane
from mgm_core.runtime.workers import each_strip

__all__ = ["enlarge_alpha", "enlarge_colours", "guided_filter", "reduced", "working_size"]

# A window of 3x3 px, and what is added to the covariance of its colours (docs/experiments).
_WINDOW_PX = 3
_EPSILON = 1e-4
_STRIP_ROWS = 128
_ROUNDING = 1e-4  # sums of areas are not exact, and a trimap is known where it is 0 or 1
_DETAIL_FROM = 0.75  # alpha from which colours take detail, all of it at 1


def working_size(size: tuple[int, ...], megapixels: float | None) -> tuple[int, int]:
    """Return the height and width, in proportion, of no more megapixels than this.

    >>> working_size((3000, 4000), 3.0)
    (1500, 2000)
    >>> working_size((1000, 1000), 3.0)
    (1000, 1000)

    Args:
        size: Height and width of the photograph.
        megapixels: How many at most; None sets no limit.
    """
    height, width = size
    if megapixels is None or height * width <= megapixels * 1e6:
        return height, width
    scale = (megapixels * 1e6 / (height * width)) ** 0.5
    # Rounded down, so that the result is within the limit. The summand makes up for float64, in
    # which a whole number may come out a little too small.
    rows, columns = (max(1, int(length * scale + 1e-6)) for length in (height, width))
    return rows, columns


def reduced(array: Floats, size: tuple[int, int]) -> Floats:
    """Return an image or plane at a smaller (height, width), areas averaged; 0 and 1 stay exact."""
    small = np.asarray(cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
    small[small < _ROUNDING] = 0
    small[small > 1 - _ROUNDING] = 1
    return small


def enlarge_alpha(image: Colours, small_image: Colours, alpha: Plane) -> Plane:
    """Return alpha at the image's size, its edges at the image's.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        small_image: (h, w, 3) float32 in [0, 1], the same image.
        alpha: (h, w) float32 in [0, 1].

    Returns:
        (H, W) float32 in [0, 1]; 0 or 1 where alpha is it all around.
    """
    height, width = image.shape[:2]
    functions = np.empty((4, *alpha.shape), np.float32)

    def fit(rows: slice) -> None:
        # With the rows around that the windows of its border see.
        top, bottom = max(0, rows.start - _WINDOW_PX), rows.stop + _WINDOW_PX
        found = _affine(small_image[top:bottom], alpha[top:bottom], _WINDOW_PX, _EPSILON)
        functions[:, rows] = found[:, rows.start - top :][:, : rows.stop - rows.start]

    each_strip(len(alpha), fit, _STRIP_ROWS)
    *slopes, offset = (_Enlarged(_mean(plane, _WINDOW_PX), height, width) for plane in functions)
    enlarged = np.empty((height, width), np.float32)

    def fill(rows: slice) -> None:
        strip = offset[rows]
        for i, slope in enumerate(slopes):
            strip += slope[rows] * image[rows, :, i]
        np.clip(strip, 0, 1, out=enlarged[rows])

    each_strip(height, fill, _STRIP_ROWS)
    return enlarged


def enlarge_colours(
    image: Colours, small_image: Colours, foreground: Colours, alpha: Plane, into: Colours
) -> Colours:
    """Return foreground colours at the image's size; where alpha is 1 they are the image's.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        small_image: (h, w, 3) float32 in [0, 1], the same image.
        foreground: (h, w, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        into: Takes the result, (H, W, 3) float32; may be the image.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    for i in range(3):
        _enlarge_channel(
            image[..., i], small_image[..., i], foreground[..., i], alpha, into[..., i]
        )
    return into


def _enlarge_channel(
    image: Plane, small_image: Plane, foreground: Plane, alpha: Plane, into: Plane
) -> None:
    height, width = alpha.shape
    seen, found = (
        _Enlarged(np.ascontiguousarray(small), height, width) for small in (small_image, foreground)
    )

    def fill(rows: slice) -> None:
        share = (alpha[rows] - np.float32(_DETAIL_FROM)) / np.float32(1 - _DETAIL_FROM)
        detail = np.maximum(share, 0) * (image[rows] - seen[rows])
        colours = np.where(share == 1, image[rows], found[rows] + detail)
        np.clip(colours, 0, 1, out=into[rows])

    each_strip(height, fill, _STRIP_ROWS)


def guided_filter(image: Colours, plane: Plane, radius_px: int, epsilon: float) -> Plane:
    """Move a plane's edges to the image's: in each window it is an affine function of colours.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        plane: (H, W) float32 in [0, 1].
        radius_px: Of the window, a square of 2 r + 1 px.
        epsilon: What is added to the covariance of a window's colours.

    Returns:
        (H, W) float32 in [0, 1].
    """
    side_px = 2 * radius_px + 1
    *slopes, offset = (_mean(f, side_px) for f in _affine(image, plane, side_px, epsilon))
    filtered = offset + sum(slope * image[..., i] for i, slope in enumerate(slopes))
    return np.clip(filtered, 0, 1)


class _Enlarged:
    """A plane at a larger size, interpolated, strip by strip: whole ones would take memory.

    Args:
        plane: (h, w) float32.
        height: Of the larger size.
        width: Likewise.
    """

    def __init__(self, plane: Plane, height: int, width: int) -> None:
        wide = cv2.resize(plane, (width, len(plane)), interpolation=cv2.INTER_LINEAR)
        self._wide = np.asarray(wide, np.float32)
        places = (np.arange(height, dtype=np.float32) + 0.5) * (len(plane) / height) - 0.5
        places = places.clip(0, len(plane) - 1)
        self._above = places.astype(np.intp)
        self._below = np.minimum(self._above + 1, len(plane) - 1)
        self._share = (places - self._above).astype(np.float32)[:, None]

    def __getitem__(self, rows: slice) -> Plane:
        """Return some rows of it."""
        above, below = self._wide[self._above[rows]], self._wide[self._below[rows]]
        found: Plane = above + self._share[rows] * (below - above)
        return found


def _affine(image: Colours, alpha: Plane, side_px: int, epsilon: float) -> Floats:
    """Return each window's affine function of colours that is nearest to alpha: (4, h, w)."""
    mean, mean_alpha = _mean(image, side_px), _mean(alpha, side_px)
    # The covariances of colours with each other and with alpha, in each window.
    pairs = {
        (i, j): _mean(image[..., i] * image[..., j], side_px) - mean[..., i] * mean[..., j]
        for i in range(3)
        for j in range(i, 3)
    }
    with_alpha = [
        _mean(image[..., i] * alpha, side_px) - mean[..., i] * mean_alpha for i in range(3)
    ]
    slopes = _solve(pairs, with_alpha, epsilon)
    offset = mean_alpha - sum(slopes[i] * mean[..., i] for i in range(3))
    return np.stack([*slopes, offset])


def _mean(planes: Floats, side_px: int) -> Floats:
    return np.asarray(cv2.blur(planes, (side_px, side_px)), np.float32)


def _solve(pairs: dict[tuple[int, int], Plane], wanted: list[Plane], epsilon: float) -> list[Plane]:
    """Solve the symmetric equations of three unknowns at each pixel, by elimination.

    Cramer's rule would lose float32's digits where the channels are alike, as in grey photographs.
    """
    a00, a11, a22 = (pairs[i, i] + np.float32(epsilon) for i in range(3))
    a01, a02, a12 = pairs[0, 1], pairs[0, 2], pairs[1, 2]
    by01, by02 = _over(a01, a00), _over(a02, a00)
    a11, a12, a22 = a11 - by01 * a01, a12 - by01 * a02, a22 - by02 * a02
    by12 = _over(a12, a11)
    w0, w1, w2 = wanted[0], wanted[1] - by01 * wanted[0], wanted[2] - by02 * wanted[0]
    x2 = _over(w2 - by12 * w1, a22 - by12 * a12)
    x1 = _over(w1, a11) - by12 * x2
    return [_over(w0, a00) - by01 * x1 - by02 * x2, x1, x2]


def _over(numerator: Plane, denominator: Plane) -> Plane:
    return np.asarray(numerator / denominator, np.float32)
