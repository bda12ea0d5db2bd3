"""Contact sheets of what training sees, to be looked at before and after a change of data.

python -m training sheet CONFIG.toml --out sheet.png data.root=DATA
python -m training guidance ALPHA.png --out sheet.png
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from mgm_core.arrays import Floats
from mgm_core.images import read_mask, write_image
from training.data.composites import Example
from training.data.guidance_noise import (
    binarise,
    cut_mask,
    erode_dilate,
    noisy_mask,
    noisy_matte,
    noisy_trimap,
)

_GUIDANCE_ROWS: tuple[tuple[str, Callable[[Floats, Generator], Floats]], ...] = (
    ("threshold", binarise),
    ("eroded, dilated", lambda a, g: erode_dilate(binarise(a, g), g)),
    ("CutMask", lambda a, g: cut_mask(binarise(a, g), g)),
    ("all of them", noisy_mask),
    ("trimap", noisy_trimap),
    ("matte", noisy_matte),
)


def example_sheet(dataset: Dataset[Example], count: int, path: Path) -> None:
    """Write examples to a PNG, one a row, one column for each of its planes."""
    rows = []
    for index in range(count):
        example = dataset[index]
        planes = [
            np.broadcast_to(_floats(plane).transpose(1, 2, 0), (*plane.shape[1:], 3))
            for plane in example.values()
            if plane.shape[-1] > 1
        ]
        rows.append(np.hstack(planes))
    write_image(path, np.ascontiguousarray(np.vstack(rows), np.float32).clip(0, 1))


def _floats(plane: Tensor) -> Floats:
    """Return a plane in [0, 1]; bytes are levels of 8 bits."""
    values = plane.numpy().astype(np.float32)
    return values / np.float32(255) if plane.dtype == torch.uint8 else values


def guidance_sheet(alpha_path: Path, columns: int, seed: int, path: Path) -> list[str]:
    """Write perturbed guidances of one alpha to a PNG; return what each row shows."""
    alpha = read_mask(alpha_path)
    rows = []
    for row, (_, perturb) in enumerate(_GUIDANCE_ROWS):
        made = [
            perturb(alpha, np.random.default_rng([seed, row, column])) for column in range(columns)
        ]
        rows.append(np.hstack([alpha, *made]))
    write_image(path, np.ascontiguousarray(np.vstack(rows)))
    return [name for name, _ in _GUIDANCE_ROWS]
