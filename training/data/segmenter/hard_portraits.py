"""A test of hard photographs of people, composed of cut-outs that no training has seen.

Of the backgrounds, `portrait_permissive` was trained on `bg_cc0/image/Word_*`; `portrait` on none.

Light and crops are of their own, not those of `lights.py`: what is measured is whether the
segmenter finds people in light that it was not taught. Picture `index` depends on nothing but the
index and the files.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mgm_core.arrays import Colours, Plane
from training.data.held_out import HARD_PEOPLE
from training.data.sources import Backgrounds, RGBACutouts

_HEIGHT_PX, _WIDTH_PX = 1100, 900

Picture = tuple[str, Colours, Plane]
Treatment = Callable[[Colours, Plane, Generator], Colours]


def hard_portraits(cutouts: Path, backgrounds: Path) -> Iterator[Picture]:
    """Yield name, image (H, W, 3) and true alpha (H, W) of each picture of the test.

    Args:
        cutouts: Folder that holds the cut-outs of `HARD_PEOPLE`.
        backgrounds: Folder of photographs without people.
    """
    source = RGBACutouts(cutouts, 1300, lambda name: name not in HARD_PEOPLE)
    behind = Backgrounds([backgrounds])
    for index, path in enumerate(source.paths):
        generator = np.random.default_rng([7, index])
        colours, alpha = _place(source[index].rgba, generator)
        backdrop = _cover(behind[index % len(behind)], generator)
        name, treatment = _TREATMENTS[index % len(_TREATMENTS)]
        share = alpha[..., None]
        image = share * colours + (1 - share) * backdrop
        if name in ("head", "hand"):
            image, alpha = _part(image, alpha, name == "head", generator)
        image = treatment(image.astype(np.float32), alpha, generator)
        image = np.clip(image, 0, 1).astype(np.float32)
        yield f"{path.stem} {name}", image, alpha


def _place(rgba: NDArray[np.uint8], generator: Generator) -> tuple[Colours, Plane]:
    """Return a cut-out as large as fits, standing on the lower edge, as colours and alpha."""
    height, width = rgba.shape[:2]
    scale = min(_HEIGHT_PX * 0.92 / height, _WIDTH_PX * 1.05 / width)
    size = round(width * scale), round(height * scale)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    sized = cv2.resize(rgba, size, interpolation=interpolation)
    picture = np.zeros((_HEIGHT_PX, _WIDTH_PX, 4), np.uint8)
    middle = (_WIDTH_PX - size[0]) // 2
    left = middle + round(float(generator.uniform(-0.5, 0.5)) * max(0, middle))
    x0, x1 = max(0, left), min(_WIDTH_PX, left + size[0])
    picture[-size[1] :, x0:x1] = sized[:, x0 - left : x1 - left]
    share = picture.astype(np.float32) / np.float32(255)
    return share[..., :3], np.ascontiguousarray(share[..., 3])


def _cover(photograph: NDArray[np.uint8], generator: Generator) -> Colours:
    height, width = photograph.shape[:2]
    scale = max(_HEIGHT_PX / height, _WIDTH_PX / width)
    large = cv2.resize(photograph, (round(width * scale) + 1, round(height * scale) + 1))
    left = int(generator.integers(0, large.shape[1] - _WIDTH_PX + 1))
    top = int(generator.integers(0, large.shape[0] - _HEIGHT_PX + 1))
    part = large[top : top + _HEIGHT_PX, left : left + _WIDTH_PX]
    return np.asarray(part, np.float32) / np.float32(255)


def _part(image: Colours, alpha: Plane, head: bool, generator: Generator) -> tuple[Colours, Plane]:
    """Return the upper third of the subject, or a square around a point of its outline."""
    y, x = np.nonzero(alpha > 0.5)
    if head:
        side = max(360, int(0.45 * (y.max() - y.min())))
        crown = y < y.min() + side // 2
        centre = int(x[crown].mean()), int(y.min() + side * 0.42)
    else:
        side = max(360, int(0.4 * (y.max() - y.min())))
        edge = cv2.morphologyEx(
            (alpha > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        edge_y, edge_x = np.nonzero(edge[: -side // 2])
        chosen = int(generator.integers(len(edge_x)))
        centre = int(edge_x[chosen]), int(edge_y[chosen])
    left = int(np.clip(centre[0] - side // 2, 0, _WIDTH_PX - side))
    top = int(np.clip(centre[1] - side // 2, 0, _HEIGHT_PX - side))
    window = np.s_[top : top + side, left : left + side]
    return np.ascontiguousarray(image[window]), np.ascontiguousarray(alpha[window])


def _luma(image: Colours) -> Plane:
    return np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32))


def _spots(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Light the scene with three coloured spots out of the dark."""
    del alpha
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    light = np.full(image.shape, 0.04, np.float32)
    for _ in range(3):
        colour = generator.dirichlet((0.4, 0.4, 0.4)).astype(np.float32)
        at_x, at_y = generator.uniform(0.1, 0.9, 2) * (width, height) / max(height, width)
        radius = generator.uniform(0.2, 0.5)
        spot = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * radius**2))
        light += 2.2 * spot[..., None].astype(np.float32) * colour
    return (0.75 * _luma(image)[..., None] + 0.25 * image) * light


def _duotone(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Map dark to one colour and bright to another, as posters and screens do."""
    del alpha
    dark, bright = generator.uniform(0, 0.35, 3), generator.uniform(0.35, 1, 3)
    return np.asarray(dark + _luma(image)[..., None] * (bright - dark), np.float32)


def _backlit(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Dim the front, brighten what is behind, and let the light leak around the edge."""
    share = alpha[..., None]
    leak = cv2.GaussianBlur(1 - alpha, (0, 0), 6)[..., None] * share
    front = image * np.float32(generator.uniform(0.12, 0.35)) + 0.5 * leak
    behind = np.sqrt(np.clip(image, 0, 1)) * np.float32(0.5) + np.float32(0.5)
    return np.asarray(share * front + (1 - share) * behind, np.float32)


def _silhouette(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Put a black figure before an evening sky over a dark ground."""
    share = alpha[..., None]
    height = image.shape[0]
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, low = generator.uniform(0.2, 0.6, 3), np.array([1.0, generator.uniform(0.4, 0.8), 0.3])
    sky = np.asarray(top * (1 - rows) + low * rows, np.float32)
    ground = rows > generator.uniform(0.75, 0.95)
    sky = np.where(ground, 0.08, sky) * (0.8 + 0.2 * image)
    return np.asarray(share * image * np.float32(0.03) + (1 - share) * sky, np.float32)


def _grey(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Return black and white of low contrast."""
    del alpha
    low = generator.uniform(0.1, 0.4)
    return np.asarray(
        np.broadcast_to(low + (0.85 - low) * _luma(image)[..., None], image.shape), np.float32
    )


def _noisy(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    """Underexpose and brighten again, with the noise that this brings."""
    del alpha
    sigma = generator.uniform(0.08, 0.2)
    return image + generator.normal(0, sigma, image.shape).astype(np.float32)


def _as_it_is(image: Colours, alpha: Plane, generator: Generator) -> Colours:
    del alpha, generator
    return image


_TREATMENTS: tuple[tuple[str, Treatment], ...] = (
    ("spots", _spots),
    ("backlit", _backlit),
    ("head", _as_it_is),
    ("grey", _grey),
    ("silhouette", _silhouette),
    ("hand", _as_it_is),
    ("duotone", _duotone),
    ("noisy", _noisy),
)
