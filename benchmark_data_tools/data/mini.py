"""The mini benchmark: every table's layout, small enough to run on a CPU in minutes.

Shapes with soft edges, veils and strands, drawn with exact alpha, cut colours out of one
photograph and lie over another. Alpha and F are exact: they are rounded to 8 bits before the
image is composited (Eq. 1), so only the image's own rounding is left. One seed gives one
benchmark. Its figures compare methods run on it, and nothing else.

The photographs are free to pass on: see mini_pictures/LICENCES.md.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from benchmark_data_tools.data.layouts import LAYOUTS, Layout
from benchmark_data_tools.regions import TRIMAP_KERNEL_PX
from mgm_core.arrays import Floats
from mgm_core.compositing import composite
from mgm_core.guidance import dilate, shift_boundary, trimap_from_alpha
from mgm_core.images import read_image, write_image

PICTURES = Path(__file__).parent / "mini_pictures"
HEIGHT, WIDTH = 256, 320
SUPERSAMPLING = 4
DETAIL_KERNEL_PX = 9
COUNTS = {"1": 6, "2": 4, "3": 4, "4": 4, "5": 4, "robustness": 4}


def make(out: Path, *, seed: int = 0) -> None:
    """Write the mini benchmark.

    Args:
        out: Folder that gets a folder a table; must be empty or new.
        seed: Of all that is drawn.

    Raises:
        ValueError: If there is something in the folder already.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"out must be an empty folder, got {out}: choose another")
    generator = np.random.default_rng(seed)
    photographs = [read_image(path) for path in sorted(PICTURES.glob("*.jpg"))]
    for table, count in COUNTS.items():
        for number in range(count):
            _write_sample(LAYOUTS[table], out / table, f"mini_{number}", photographs, generator)


def _write_sample(
    layout: Layout, folder: Path, name: str, photographs: list[Floats], generator: Generator
) -> None:
    alpha = draw_alpha(generator)
    order = generator.permutation(len(photographs))
    foreground = _rounded(_crop(photographs[order[0]], generator))
    background = _crop(photographs[order[1]], generator)
    pictures = {
        "image": composite(foreground, alpha, background),
        "alpha": alpha,
        "trimap": _saved_trimap(trimap_from_alpha(alpha, TRIMAP_KERNEL_PX)),
        "foreground": foreground,
        "detailmap": dilate(((alpha > 0) & (alpha < 1)).astype(np.float32), DETAIL_KERNEL_PX),
    }
    for part in layout.parts:
        subfolder = folder / part.folders[0]
        subfolder.mkdir(parents=True, exist_ok=True)
        suffix = ".jpg" if part.name == "detailmap" else ".png"  # as published
        write_image(subfolder / f"{name}{part.ending}{suffix}", pictures[part.name])
    if layout is LAYOUTS["5"]:
        (folder / "probability").mkdir(exist_ok=True)
        write_image(folder / "probability" / f"{name}.png", _probability(alpha, generator))


def draw_alpha(generator: Generator) -> Floats:
    """Draw a subject: a wobbling body with a soft edge, strands, and now and then a veil.

    Args:
        generator: Source of randomness.

    Returns:
        (256, 320) float32 in [0, 1], with pixels of both 0 and 1.
    """
    body, outline = _body(generator)
    sigma_px = generator.uniform(0.6, 3.0)
    alpha = cv2.GaussianBlur(body, (0, 0), sigma_px)
    strands = _strands(outline, generator)
    alpha = 1 - (1 - alpha) * (1 - strands)
    if generator.random() < 0.4:
        veil, _ = _body(generator)
        alpha = np.maximum(alpha, cv2.GaussianBlur(veil, (0, 0), 4) * generator.uniform(0.3, 0.7))
    return _rounded(np.clip(alpha, 0, 1))


def _body(generator: Generator) -> tuple[Floats, Floats]:
    """A filled closed curve, and its points (N, 2) as x, y in px."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = generator.uniform(50, 75) * np.ones_like(angle)
    for waves in range(2, 7):
        radius += generator.normal(0, 12 / waves) * np.cos(
            waves * angle + generator.uniform(0, 2 * np.pi)
        )
    centre = (
        WIDTH / 2 + generator.uniform(-40, 40),
        HEIGHT / 2 + generator.uniform(-20, 20),
    )
    points = np.stack(
        [centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1
    )
    canvas = np.zeros((HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(canvas, [np.rint(points * SUPERSAMPLING).astype(np.int32)], 255)
    return _averaged(canvas), points.astype(np.float32)


def _strands(outline: Floats, generator: Generator) -> Floats:
    """Curved hairs rooted on an outline."""
    canvas = np.zeros((HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING), np.uint8)
    centre = outline.mean(axis=0)
    for _ in range(int(generator.integers(30, 90))):
        root = outline[generator.integers(len(outline))]
        outwards = root - centre
        direction = np.arctan2(outwards[1], outwards[0]) + generator.normal(0, 0.4)
        steps = 12
        bends = direction + np.cumsum(generator.normal(0, 0.12, steps))
        length_px = generator.uniform(15, 60) / steps
        moves = length_px * np.stack([np.cos(bends), np.sin(bends)], axis=1)
        path = np.concatenate([root[None], root + np.cumsum(moves, axis=0)]) * SUPERSAMPLING
        thickness = int(generator.integers(2, 2 * SUPERSAMPLING))
        cv2.polylines(canvas, [np.rint(path).astype(np.int32)], False, 255, thickness)
    return _averaged(canvas)


def _averaged(canvas: cv2.typing.MatLike) -> Floats:
    small = cv2.resize(canvas.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return (small / 255).astype(np.float32)


def _crop(photograph: Floats, generator: Generator) -> Floats:
    height, width = photograph.shape[:2]
    top = int(generator.integers(height - HEIGHT + 1))
    left = int(generator.integers(width - WIDTH + 1))
    crop = photograph[top : top + HEIGHT, left : left + WIDTH]
    return np.ascontiguousarray(crop[:, :: generator.choice([-1, 1])])


def _probability(alpha: Floats, generator: Generator) -> Floats:
    """What a segmentation network makes of a subject: no strands, an edge off by some pixels."""
    shifted = shift_boundary((alpha >= 0.5).astype(np.float32), int(generator.integers(-9, 10)))
    return np.clip(cv2.GaussianBlur(shifted, (0, 0), 4), 0, 1).astype(np.float32)


def _saved_trimap(trimap: Floats) -> Floats:
    return np.where(trimap == 0.5, np.float32(128 / 255), trimap).astype(np.float32)


def _rounded(picture: Floats) -> Floats:
    return (np.rint(picture * 255) / 255).astype(np.float32)
