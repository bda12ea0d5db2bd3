"""Line charts as pictures, drawn with Pillow: the report needs two, not a plotting library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mgm_core.arrays import Floats

# Okabe and Ito's colours, distinct for colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("circle", "square", "diamond")
SIZE = (960, 500)
LEFT, TOP, RIGHT, BOTTOM = 80, 70, 600, 430
LEGEND_LETTERS = 44

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels."""

    low: float
    high: float
    start: int
    end: int

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Points], *, x_ticks: Sequence[float]
) -> Floats:
    """Draw lines with a legend; the y axis starts at 0.

    Args:
        title: Heading.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        lines: Name -> points (x, y), y of at least 0.
        x_ticks: Where the x axis bears numbers.

    Returns:
        (480, 900, 3) float32 in [0, 1].

    Raises:
        ValueError: If there is nothing to draw.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("lines must hold at least one point, got none: run the benchmark first")
    xs = [x for x, _ in points] + list(x_ticks)
    x_axis = _Axis(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, LEFT, RIGHT)
    highest = max(y for _, y in points)
    y_ticks = _round_numbers(highest if highest > 0 else 1)
    y_axis = _Axis(0, y_ticks[-1], BOTTOM, TOP)
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    draw.text((LEFT, 14), title, "black", font)
    for x in x_ticks:
        draw.line((x_axis.at(x), TOP, x_axis.at(x), BOTTOM), "#dddddd")
        draw.text((x_axis.at(x), BOTTOM + 6), f"{x:g}", "black", small, anchor="mt")
    for y in y_ticks:
        draw.line((LEFT, y_axis.at(y), RIGHT, y_axis.at(y)), "#dddddd")
        draw.text((LEFT - 8, y_axis.at(y)), f"{y:g}", "black", small, anchor="rm")
    draw.rectangle((LEFT, TOP, RIGHT, BOTTOM), outline="black")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 28), x_label, "black", small, anchor="mt")
    draw.text((LEFT, TOP - 8), y_label, "black", small, anchor="ls")
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = [(x_axis.at(x), y_axis.at(y)) for x, y in sorted(line)]
        draw.line(path, colour, 2)
        marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
        middle = TOP + 10 + 20 * number
        draw.line((RIGHT + 14, middle, RIGHT + 38, middle), colour, 2)
        for x, y in [*path, (RIGHT + 26, middle)]:
            _mark(draw, x, y, marker, colour)
        draw.text((RIGHT + 46, middle), _short(name), "black", small, anchor="lm")
    return (np.asarray(picture, np.float32) / 255).astype(np.float32)


def _round_numbers(highest: float) -> list[float]:
    """Ticks from 0 to at least the highest value, four to eight of them, a round step apart."""
    decade = 10.0 ** np.floor(np.log10(highest))
    step = next(s * decade for s in (0.2, 0.25, 0.5, 1.0, 2.0) if highest <= 7 * s * decade)
    return [float(step * n) for n in range(int(np.ceil(highest / step)) + 1)]


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float, marker: str, colour: str) -> None:
    if marker == "circle":
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
    elif marker == "square":
        draw.rectangle((x - 3, y - 3, x + 3, y + 3), colour)
    else:
        draw.polygon(((x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5)), colour)


def _short(name: str) -> str:
    """A path's end says more than its start."""
    return name if len(name) <= LEGEND_LETTERS else "…" + name[1 - LEGEND_LETTERS :]
