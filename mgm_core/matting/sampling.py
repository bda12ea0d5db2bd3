"""Colour sampling: alpha from colours of the known foreground and background, wherever they are.

The matting Laplacian knows a small window; what it and the network have wrong may still be plain
from the colours further away. What has the colour of a known pixel nearby is taken for known. Each
other unknown pixel looks in several directions for the nearest known
foreground and the nearest known background, and takes the pair of colours that explains it and its
neighbours best. Then it takes the pairs that explain it best among those of the pixels around it,
and has the alpha that mixes its colour of their mean (Eq. 1).

Source: Gastal and Oliveira, "Shared Sampling for Real-Time Alpha Matting", 2010, without its terms
for probability and edges. The paper has nothing of the kind.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.compositing import mean_colour
from mgm_core.matting.solver import row_blocks
from mgm_core.matting.stencil import Integers
from mgm_core.runtime.compiled import compiled
from mgm_core.runtime.workers import executor

__all__ = ["sample_alpha"]

Labels: TypeAlias = NDArray[np.int8]

_UNKNOWN = 0.5
_DIRECTIONS = 4
# Neighbours look in directions that differ, so that together they look everywhere.
_GRID_PX = 8
_SHARING_REACH_PX, _SHARING_STEP_PX = 5, 2
# Unknown pixels whose colour is so near to that of a known pixel, so near to them, are as it is.
_EXPANSION_PX, _EXPANSION_DISTANCE = 10, 0.04
_MISFIT_SCALE = 0.1  # at which the colours explain a pixel badly, of colours in [0, 1]
_BLUR_SIGMA_PX = 2.0  # of the alpha that replaces what is explained badly


def sample_alpha(image: Colours, alpha: Plane, unknown: Booleans) -> Plane:
    """Return alpha by colour samples.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1]; what is known is foreground from 0.5 on.
        unknown: (H, W) bool; the other pixels keep their alpha.

    Returns:
        (H, W) float32 in [0, 1]; the alpha given where there is no foreground or no background to
        take samples from.

    Raises:
        ValueError: Sizes differ.
    """
    if not image.shape[:2] == alpha.shape == unknown.shape:
        raise ValueError(
            f"image, alpha and unknown must have one size, got {image.shape[:2]}, {alpha.shape} "
            f"and {unknown.shape}: resize them"
        )
    foreground = ~unknown & (alpha >= _UNKNOWN)
    background = ~unknown & (alpha < _UNKNOWN)
    if not (unknown.any() and foreground.any() and background.any()):
        return alpha.astype(np.float32)
    image = np.ascontiguousarray(image)
    foreground, background = _expand(image, foreground, background)
    left = ~foreground & ~background
    if not left.any():
        return np.where(unknown, foreground, alpha).astype(np.float32)
    rows, columns = (found.astype(np.int32) for found in np.nonzero(left))
    pairs = np.empty((len(rows), 2, 3), np.float32)
    means = np.stack([mean_colour(image, side) for side in (foreground, background)])
    distances = np.stack([_distance(foreground), _distance(background)])
    blocks = row_blocks(len(rows))
    gathered = image, rows, columns, distances, _directions(), means, pairs
    with executor(len(blocks)) as pool:
        list(pool.map(lambda block: _gather(*gathered, *block), blocks))
    numbers = np.full(unknown.shape, -1, np.int32)
    numbers[left] = np.arange(len(rows), dtype=np.int32)
    found, confidence = np.empty((2, len(rows)), np.float32)
    apart = np.float32(np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1).mean())
    shared = image, rows, columns, numbers, pairs, apart, found, confidence
    with executor(len(blocks)) as pool:
        list(pool.map(lambda block: _share(*shared, *block), blocks))
    sampled = foreground.astype(np.float32)
    sampled[left] = found
    smooth = np.asarray(cv2.GaussianBlur(sampled, (0, 0), _BLUR_SIGMA_PX), np.float32)
    sampled[left] = confidence * found + (1 - confidence) * smooth[left]
    return np.where(unknown, sampled, alpha).astype(np.float32, copy=False)


def _expand(
    image: Colours, foreground: Booleans, background: Booleans
) -> tuple[Booleans, Booleans]:
    """Take for known what has the colour of a known pixel nearby, as the nearest such."""
    labels = np.full(foreground.shape, -1, np.int8)
    labels[foreground], labels[background] = 1, 0
    nearest = _distance(foreground | background)
    rows, columns = (
        found.astype(np.int32) for found in np.nonzero((nearest > 0) & (nearest <= _EXPANSION_PX))
    )
    reach = np.arange(-_EXPANSION_PX, _EXPANSION_PX + 1)
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=2).reshape(-1, 2)
    squares = (offsets**2).sum(1)
    order = np.argsort(squares, kind="stable")
    offsets = offsets[order][(squares[order] > 0) & (squares[order] <= _EXPANSION_PX**2)]
    found = labels.copy()
    blocks = row_blocks(len(rows))
    expanded = image, rows, columns, labels, offsets.astype(np.int32), found
    with executor(len(blocks)) as pool:
        list(pool.map(lambda block: _find_alike(*expanded, *block), blocks))
    return found == 1, found == 0


def _distance(mask: Booleans) -> Floats:
    """Return how far each pixel is from a mask, (H, W) in px."""
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(distance, np.float32)


def _directions() -> Floats:
    """Return the unit vectors along which the pixels of a grid look, (G², D, 2)."""
    # 64 equal shares of a turn, in an order in which neighbours differ (a prime shuffles them).
    shares = np.arange(_GRID_PX**2) * 99991 % _GRID_PX**2 / _GRID_PX**2
    turns = shares[:, None] + np.arange(_DIRECTIONS) / _DIRECTIONS
    vectors = np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=2)
    return vectors.astype(np.float32)


@compiled(fastmath=True)
def _mix(colour: Floats, pair: Floats) -> tuple[np.float32, np.float32]:
    """Return the alpha that mixes a colour of a pair best, and the squared distance left."""
    d0, d1, d2 = pair[0, 0] - pair[1, 0], pair[0, 1] - pair[1, 1], pair[0, 2] - pair[1, 2]
    e0, e1, e2 = colour[0] - pair[1, 0], colour[1] - pair[1, 1], colour[2] - pair[1, 2]
    alpha = (e0 * d0 + e1 * d1 + e2 * d2) / (d0 * d0 + d1 * d1 + d2 * d2 + np.float32(1e-5))
    alpha = max(np.float32(0), min(np.float32(1), alpha))
    e0 -= alpha * d0
    e1 -= alpha * d1
    e2 -= alpha * d2
    return alpha, e0 * e0 + e1 * e1 + e2 * e2


@compiled(fastmath=True)
def _find_alike(
    image: Colours,
    rows: Integers,
    columns: Integers,
    labels: Labels,
    offsets: Integers,
    found: Labels,
    first: int,
    last: int,
) -> None:
    """Give pixels the label of the nearest known pixel of their colour, in place."""
    height, width = labels.shape
    most = np.float32(_EXPANSION_DISTANCE**2)
    for n in range(first, last):
        row, column = rows[n], columns[n]
        for i in range(len(offsets)):
            y, x = row + offsets[i, 0], column + offsets[i, 1]
            if y < 0 or x < 0 or y >= height or x >= width or labels[y, x] < 0:
                continue
            d0 = image[row, column, 0] - image[y, x, 0]
            d1 = image[row, column, 1] - image[y, x, 1]
            d2 = image[row, column, 2] - image[y, x, 2]
            if d0 * d0 + d1 * d1 + d2 * d2 <= most:
                found[row, column] = labels[y, x]
                break


@compiled(fastmath=True)
def _gather(
    image: Colours,
    rows: Integers,
    columns: Integers,
    distances: Floats,
    directions: Floats,
    means: Floats,
    pairs: Floats,
    first: int,
    last: int,
) -> None:
    """Find each unknown pixel's own pair of colours, in place: `pairs` (N, 2, 3)."""
    height, width = image.shape[:2]
    colours = np.empty((2, _DIRECTIONS, 3), np.float32)
    away = np.empty((2, _DIRECTIONS), np.float32)
    pair = np.empty((2, 3), np.float32)
    for n in range(first, last):
        row, column = rows[n], columns[n]
        own = directions[row % _GRID_PX * _GRID_PX + column % _GRID_PX]
        counts = np.zeros(2, np.int64)
        for kind in range(2):
            for d in range(_DIRECTIONS):
                t = np.float32(0)
                while True:
                    y = int(row + t * own[d, 0] + np.float32(0.5))
                    x = int(column + t * own[d, 1] + np.float32(0.5))
                    if y < 0 or x < 0 or y >= height or x >= width:
                        break
                    # There is nothing nearer than this: so far one may go at once.
                    nearest = distances[kind, y, x]
                    if nearest == 0:
                        colours[kind, counts[kind]] = image[y, x]
                        away[kind, counts[kind]] = t
                        counts[kind] += 1
                        break
                    t += max(np.float32(1), nearest - np.float32(1))
            if counts[kind] == 0:
                colours[kind, 0] = means[kind]
                away[kind, 0] = 1
                counts[kind] = 1
        up, down = max(0, row - 1), min(height - 1, row + 1)
        left, right = max(0, column - 1), min(width - 1, column + 1)
        best = np.float32(np.inf)
        for i in range(counts[0]):
            pair[0] = colours[0, i]
            for j in range(counts[1]):
                pair[1] = colours[1, j]
                misfit = _mix(image[row, column], pair)[1]
                misfit += _mix(image[up, column], pair)[1]
                misfit += _mix(image[down, column], pair)[1]
                misfit += _mix(image[row, left], pair)[1]
                misfit += _mix(image[row, right], pair)[1]
                misfit += np.float32(1e-6)
                cost = misfit * misfit * misfit * away[0, i] * away[1, j]
                if cost < best:
                    best = cost
                    pairs[n] = pair


@compiled(fastmath=True)
def _share(
    image: Colours,
    rows: Integers,
    columns: Integers,
    numbers: Integers,
    pairs: Floats,
    apart: np.float32,
    alphas: Floats,
    confidences: Floats,
    start: int,
    stop: int,
) -> None:
    """Find alpha by the mean of the three best pairs around each pixel, and how sure it is."""
    height, width = numbers.shape
    mean = np.empty((2, 3), np.float32)
    for n in range(start, stop):
        row, column = rows[n], columns[n]
        colour = image[row, column]
        first = second = third = n
        least = _mix(colour, pairs[n])[1]
        less = little = np.float32(np.inf)
        for y in range(row - _SHARING_REACH_PX, row + _SHARING_REACH_PX + 1, _SHARING_STEP_PX):
            if y < 0 or y >= height:
                continue
            for x in range(
                column - _SHARING_REACH_PX, column + _SHARING_REACH_PX + 1, _SHARING_STEP_PX
            ):
                if x < 0 or x >= width or numbers[y, x] < 0:
                    continue
                other = numbers[y, x]
                misfit = _mix(colour, pairs[other])[1]
                if misfit < least:
                    third, second, first = second, first, other
                    little, less, least = less, least, misfit
                elif misfit < less:
                    third, second = second, other
                    little, less = less, misfit
                elif misfit < little:
                    third, little = other, misfit
        for kind in range(2):
            for c in range(3):
                total = pairs[first, kind, c] + pairs[second, kind, c] + pairs[third, kind, c]
                mean[kind, c] = total / np.float32(3)
        alpha, misfit = _mix(colour, mean)
        alphas[n] = alpha
        distance = np.float32(0)
        for c in range(3):
            distance += (mean[0, c] - mean[1, c]) ** 2
        contrast = min(np.float32(1), np.sqrt(distance) / (apart + np.float32(1e-5)))
        confidences[n] = contrast * np.exp(-np.sqrt(misfit) / np.float32(_MISFIT_SCALE))
