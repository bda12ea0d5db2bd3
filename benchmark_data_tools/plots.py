"""Line charts as pictures, drawn with Pillow: the report needs two, not a plotting library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark_data_tools.metrics import FloatImage

# Okabe and Ito's colours, distinct for colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
SIZE = (900, 480)
LEFT, TOP, RIGHT, BOTTOM = 80, 50, 600, 410
TICKS = 5

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

    def ticks(self) -> list[float]:
        return [float(value) for value in np.linspace(self.low, self.high, TICKS)]


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Points], *, x_ticks: Sequence[float]
) -> FloatImage:
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
    y_axis = _Axis(0, highest * 1.05 if highest > 0 else 1, BOTTOM, TOP)
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    draw.text((LEFT, 14), title, "black", font)
    for x in x_ticks:
        draw.line((x_axis.at(x), TOP, x_axis.at(x), BOTTOM), "#dddddd")
        draw.text((x_axis.at(x), BOTTOM + 6), f"{x:g}", "black", small, anchor="mt")
    for y in y_axis.ticks():
        draw.line((LEFT, y_axis.at(y), RIGHT, y_axis.at(y)), "#dddddd")
        draw.text((LEFT - 8, y_axis.at(y)), f"{y:.3g}", "black", small, anchor="rm")
    draw.rectangle((LEFT, TOP, RIGHT, BOTTOM), outline="black")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 28), x_label, "black", small, anchor="mt")
    draw.text((8, TOP - 16), y_label, "black", small)
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = [(x_axis.at(x), y_axis.at(y)) for x, y in sorted(line)]
        draw.line(path, colour, 2)
        for x, y in path:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        top = TOP + 20 * number
        draw.line((RIGHT + 14, top + 8, RIGHT + 38, top + 8), colour, 3)
        draw.text((RIGHT + 46, top), name, "black", small)
    return (np.asarray(picture, np.float32) / 255).astype(np.float32)
