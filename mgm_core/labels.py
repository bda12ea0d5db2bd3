"""Tell maps of labels from masks: files whose integers name classes and are no strengths.

PASCAL VOC's person is 15, LoveDA's building 2, Cityscapes' person 24; 255 stands for what nobody
labelled. Read as strengths such maps are nearly black, and guide to nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["labels_of"]

Levels = NDArray[Any]

# Up to here the highest label is taken for one by its value alone, as a share of 8 and of 16 bits.
_SMALL = {np.dtype(np.uint8): 64, np.dtype(np.uint16): 256}
# So few values are no gradient, whatever they are beside.
_FEW, _SOME = 8, 32
# Labels come in patches: most pixels are as their right and lower neighbours.
_PATCHES = 0.5
# Shares of edges at which a value between the two sides' is left out. A soft mask has none.
_JUMPS = 0.25


def labels_of(levels: Levels, *, certainly: bool = False) -> tuple[int, ...] | None:
    """Return the labels of a map, without 0 (background) and the highest integer (unlabelled).

    Args:
        levels: (H, W) uint8 or uint16, as stored.
        certainly: the integers are labels, as entries of a coloured palette are.

    Returns:
        The labels in order; None for masks, trimaps and mattes.
    """
    values, counts = np.unique(levels, return_counts=True)
    unlabelled = np.iinfo(levels.dtype).max
    inner = (values > 0) & (values < unlabelled)
    labels = values[inner]
    if len(values) == 1 and not certainly:
        return None
    if not labels.size:
        return (int(unlabelled),) if certainly and unlabelled in values else None
    found = tuple(int(label) for label in labels)
    if certainly:
        return found
    # What is mostly white is a mask with some noise or softness.
    if counts[values == unlabelled].sum() >= counts[inner].sum():
        return None
    if labels.max() < _SMALL[levels.dtype]:
        return found if labels.size <= _FEW or _patches(levels) >= _PATCHES else None
    middle = (unlabelled + 1) // 2
    trimap = np.abs(labels.astype(np.int64) - middle) <= unlabelled // 16
    if trimap.all() or not 2 <= labels.size <= _SOME:
        return None
    hard = _patches(levels) >= _PATCHES and _jumps(levels, values) >= _JUMPS
    return found if hard else None


def _patches(levels: Levels) -> float:
    """Return the share of labelled pixels that are as their right and their lower neighbour."""
    here = levels[:-1, :-1]
    labelled = here > 0
    alike = (here == levels[:-1, 1:]) & (here == levels[1:, :-1])
    return float(alike[labelled].mean()) if labelled.any() else 0.0


def _jumps(levels: Levels, values: Levels) -> float:
    """Return the share of edges between values that are not next to each other in order."""
    rank = np.searchsorted(values, levels)
    steps = np.concatenate(
        [np.abs(np.diff(rank, axis=axis)).ravel().astype(np.int64) for axis in (0, 1)]
    )
    edges = steps[steps > 0]
    return float((edges > 1).mean()) if edges.size else 0.0
