"""Strands of hair: paths that follow the photographed hair's flow, and their drawing."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.hair.styles import HairStyle
from training.hair.subject import Reals, Subject, blur, unit_vectors, values_at

__all__ = ["Layer", "Roots", "Strands", "draw_strands", "grow_strands", "hair_roots"]

PIECES = 8  # stretches of a strand that are drawn in one colour and width
NODES = 5 * PIECES + 1  # points of a strand: a coil needs about eight a turn
FULL = 65535  # strands are drawn in 16 bits, so that thin coverage keeps its colour
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Roots:
    """Where strands may begin.

    Args:
        points: (N, 2) pixels (x, y) of the outline.
        chance: (N,) how likely each is to carry a strand, 0..1.
    """

    points: Reals
    chance: Reals


@dataclass(frozen=True)
class Strands:
    """Strands ready to be drawn, back to front.

    Args:
        points: (N, NODES, 2) as (x, y), pixels.
        colour: (N, PIECES, 3) in [0, 1].
        width: (N, PIECES) pixels.
    """

    points: Reals
    colour: Reals
    width: Reals


@dataclass(frozen=True)
class Layer:
    """A drawn piece of the picture.

    Args:
        rows: The picture's rows that it covers.
        columns: The picture's columns that it covers.
        premultiplied: (h, w, 4) float32, colours multiplied by coverage, and coverage, 0..1.
    """

    rows: slice
    columns: slice
    premultiplied: Reals


def hair_roots(subject: Subject, hairiness: Reals) -> Roots:
    """Places along the outline, more likely where hair was found a little inside of it."""
    inside = (subject.depth > 0).astype(np.uint8)
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(edge)
    points = np.stack([columns, rows], 1).astype(np.float64)
    inner = points - 8 * subject.unit * values_at(subject.outward, points)
    chance = values_at(hairiness, inner)
    return Roots(points, np.where(chance > 0.3, chance, 0))


def grow_strands(
    subject: Subject,
    roots: Roots,
    style: HairStyle,
    count: int,
    longest_px: float,
    generator: Generator,
) -> Strands:
    """Grow locks: strands that share a guide, waves and colour, and differ a little in each.

    Args:
        subject: What is known of the photograph.
        roots: Where strands may begin; some chance must be above 0.
        style: Ranges to draw from.
        count: About how many strands.
        longest_px: No strand goes farther from its root than this.
        generator: Source of every random choice.

    Returns:
        The strands.
    """
    fewest, most = style.lock
    lock_size = max(1, min(int(generator.integers(fewest, most + 1)), count // 12))
    locks = max(count // lock_size, 1)
    lock = np.repeat(np.arange(locks), lock_size)

    def by_lock(spread: float) -> Reals:
        return np.exp(generator.normal(0, spread, locks))

    length = generator.uniform(*style.length) * subject.head_px * by_lock(0.45)
    length = np.minimum(length, 0.7 * longest_px)
    guides = _guides(subject, roots, length, style, generator)

    t = np.linspace(0, 1, NODES)
    part = np.clip(generator.normal(0.8, 0.2, len(lock)), 0.25, 1.0)[:, None]
    points = _along(guides[lock], part * t)
    travelled = part * t * length[lock, None]
    tangent = unit_vectors(np.gradient(points, axis=1))
    across = np.stack([-tangent[..., 1], tangent[..., 0]], -1)

    spacing = subject.unit * 1.8 * by_lock(0.5) * np.sqrt(lock_size) / 2
    place = generator.normal(0, 1, (len(lock), 1)) * spacing[lock, None]
    gather = np.clip(generator.normal(generator.uniform(*style.gather), 0.25, locks), -1, 1)
    together = 1 - gather[lock, None] * t ** generator.uniform(0.6, 1.5)
    drift = generator.normal(0, 0.02, (len(lock), 1)) * t**2 + 0.05 * _wander(len(lock), generator)
    aside = place * together + drift * length[lock, None]

    # A helix seen from the side; its loop along the strand is foreshortened by the tilt.
    amplitude = subject.head_px * generator.uniform(*style.wave) * by_lock(0.35)[lock, None]
    amplitude = amplitude * np.exp(generator.normal(0, 0.25, (len(lock), 1)))
    period = subject.head_px * generator.uniform(*style.wave_length) * by_lock(0.25)[lock, None]
    phase = generator.uniform(0, 2 * np.pi, locks) + 2.5 * _wander(locks, generator).T
    turn = 2 * np.pi * travelled / period + phase.T[lock] + 1.2 * _wander(len(lock), generator)
    amplitude = amplitude * np.minimum(1, 0.15 + travelled / period)
    tilt = generator.uniform(0.1, 0.9)
    aside = np.clip(aside + amplitude * np.sin(turn), -0.2 * longest_px, 0.2 * longest_px)
    ahead = np.clip(tilt * amplitude * np.cos(turn), -0.1 * longest_px, 0.1 * longest_px)
    points = points + aside[..., None] * across + ahead[..., None] * tangent
    return Strands(
        points, _colours(subject, points, lock, generator), _widths(subject, style, lock, generator)
    )


def draw_strands(
    strands: Strands, shape: tuple[int, int], blur_px: float, opacity: float, supersampling: int
) -> Layer:
    """Draw strands enlarged, average them to size, blur them by their distance from the focus."""
    height, width = shape
    margin = 4 + int(4 * blur_px)
    left, top = np.floor(strands.points.min((0, 1))).astype(int) - margin
    right, bottom = np.ceil(strands.points.max((0, 1))).astype(int) + margin
    left, right = np.clip((left, right), 0, width).tolist()
    top, bottom = np.clip((top, bottom), 0, height).tolist()
    window = slice(top, max(top, bottom)), slice(left, max(left, right))
    if top >= bottom or left >= right:
        return Layer(*window, np.zeros((0, 0, 4), np.float32))

    canvas = np.zeros(
        ((bottom - top) * supersampling, (right - left) * supersampling, 4), np.uint16
    )
    # Whole numbers are the centres of pixels, of the small and of the large ones.
    enlarged = (strands.points - (left, top) + 0.5) * supersampling - 0.5
    fixed = np.rint(enlarged * 2**SUBPIXEL_BITS).astype(np.int32)
    # Below the pixel, OpenCV draws lines 1, 3, 5, .. wide when asked for 1, 2, 4, ..
    thickness = 2 * np.rint((strands.width * supersampling - 1) / 2).astype(int)
    thickness = np.maximum(thickness, 1).tolist()
    colours = (strands.colour * FULL).astype(int).tolist()
    step = NODES // PIECES
    for path, widths, tints in zip(fixed, thickness, colours, strict=True):
        for piece in range(PIECES):
            stretch = path[piece * step : (piece + 1) * step + 1]
            colour = (*tints[piece], FULL)
            cv2.polylines(
                canvas, [stretch], False, colour, widths[piece], cv2.LINE_8, SUBPIXEL_BITS
            )
    size = (right - left, bottom - top)
    small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return Layer(*window, blur(small, blur_px) * np.float32(opacity / FULL))


def _guides(
    subject: Subject, roots: Roots, length: Reals, style: HairStyle, generator: Generator
) -> Reals:
    """Paths (N, NODES, 2) of locks: the hair's flow, stiffness, gravity and a turn of their own."""
    count = len(length)
    chosen = generator.choice(len(roots.points), count, p=roots.chance / roots.chance.sum())
    position = roots.points[chosen].astype(np.float64)
    outward = values_at(subject.outward, position)
    position = position - outward * subject.unit * generator.uniform(3, 10, (count, 1))
    lift = np.clip(generator.normal(generator.uniform(*style.lift), 0.1, (count, 1)), 0, 1)
    gravity = np.array([0.0, generator.uniform(*style.gravity)])
    bend = generator.normal(generator.normal(0, 0.3), generator.uniform(*style.bend), count)
    bend = bend[:, None] * (1 + 2 * _slope(count, generator)) / NODES

    def wanted(before: Reals) -> Reals:
        double = values_at(subject.flow, position)
        angle = np.arctan2(double[:, 1], double[:, 0]) / 2
        flow = np.stack([np.cos(angle), np.sin(angle)], 1)
        flow *= np.where((flow * before).sum(1, keepdims=True) < 0, -1, 1)
        certainty = np.minimum(1, 2 * np.hypot(double[:, :1], double[:, 1:]))
        away = values_at(subject.outward, position)
        return unit_vectors(certainty * (1 - lift) * flow + lift * away + 0.15 * before)

    direction = wanted(unit_vectors(outward + 3 * gravity))
    direction = _turned(direction, generator.normal(0, 0.15, count))
    path = [position]
    for index in range(NODES - 1):
        flow_pull = 0.12 * (1 - index / NODES)
        direction = _turned(direction, bend[:, index])
        direction = unit_vectors(direction + flow_pull * wanted(direction) + 0.1 * gravity)
        position = position + length[:, None] / (NODES - 1) * direction
        path.append(position)
    return np.asarray(np.stack(path, 1))


def _colours(
    subject: Subject, points: Reals, lock: NDArray[np.intp], generator: Generator
) -> Reals:
    """Colours (N, PIECES, 3) of the hair near the root, varied by strand, lock and along it."""
    count, locks = len(points), int(lock[-1]) + 1
    root = points[:, 0]
    away = values_at(subject.outward, root)
    inner = root - away * subject.unit * generator.uniform(0, 12, (count, 1))
    own, tint = values_at(subject.colour, inner), values_at(subject.tint, root)
    # A colour unlike the hair around is a gap in the hair, or skin.
    difference = np.linalg.norm(own - tint, axis=1, keepdims=True)
    trust = np.exp(-((difference / 0.25) ** 2)) * values_at(subject.hairiness, inner)[:, None]
    colour = tint + trust * generator.uniform(0.4, 1.0, (count, 1)) * (own - tint)

    t = (np.arange(PIECES) + 0.5) / PIECES
    light = generator.normal(0, 0.15, locks)[lock] + generator.normal(0, 0.15, count)
    centre = generator.uniform(0, 1.2, (locks, 1))[lock]
    highlight = generator.uniform(0, 0.5) * np.exp(-(((t - centre) / 0.2) ** 2))
    root_shade = generator.uniform(-0.25, 0) * np.exp(-t / 0.15)
    to_tip = generator.normal(0.1, 0.15) * t
    gain = np.exp(light[:, None] + highlight + root_shade + to_tip)
    warmth = 1 + generator.normal(0, 0.02, (count, 1)) * np.array([1, 0, -1])
    painted = (colour * warmth)[:, None] * gain[..., None]

    # Where it still lies on the photographed hair, a strand looks like what is beneath it.
    middles = points[:, NODES // PIECES // 2 :: NODES // PIECES][:, :PIECES]
    outside = np.clip(1 - values_at(subject.depth, middles) / (6 * subject.unit), 0, 1)
    beneath = values_at(subject.colour, middles)
    return np.asarray(np.clip(beneath + outside[..., None] * (painted - beneath), 0, 1))


def _widths(
    subject: Subject, style: HairStyle, lock: NDArray[np.intp], generator: Generator
) -> Reals:
    locks = int(lock[-1]) + 1
    varied = generator.normal(0, 0.2, locks)[lock] + generator.normal(0, 0.3, len(lock))
    width = subject.unit * generator.uniform(*style.width) * np.exp(varied)
    t = (np.arange(PIECES) + 0.5) / PIECES
    taper = 1 - 0.8 * t ** generator.uniform(1.5, 4.0)
    return np.asarray(width[:, None] * taper)


def _wander(count: int, generator: Generator) -> Reals:
    """Smooth random curves (count, NODES) that start at 0 and stray by about 1."""
    t = np.linspace(0, 1, NODES)
    curves = np.zeros((count, NODES))
    for wave in range(1, 6):
        height, phase = generator.standard_normal((2, count, 1))
        curves += height / wave * (np.sin(np.pi * wave * t + 3 * phase) - np.sin(3 * phase))
    return curves


def _slope(count: int, generator: Generator) -> Reals:
    """Straight lines (count, NODES) through 0 in the middle, at random slopes."""
    return generator.standard_normal((count, 1)) * np.linspace(-0.5, 0.5, NODES)


def _turned(vectors: Reals, angle: Reals) -> Reals:
    cos, sin, x, y = np.cos(angle), np.sin(angle), vectors[:, 0], vectors[:, 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], 1)


def _along(paths: Reals, t: Reals) -> Reals:
    """Points (N, M, 2) of paths (N, NODES, 2) at parts t (N, M) of their length, 0..1."""
    index = np.minimum((t * (NODES - 1)).astype(np.intp), NODES - 2)
    rest = (t * (NODES - 1) - index)[..., None]
    rows = np.arange(len(paths))[:, None]
    return np.asarray(paths[rows, index] * (1 - rest) + paths[rows, index + 1] * rest)
