"""Grow hair on portraits that have only a rough mask, so that alpha and foreground are exact.

    python -m training.grown_hair --images DIR --masks DIR --count N --seed S --out DIR

The photograph inside the mask is kept; its outline is thrown away and made anew. The body gets a
soft edge whose width we choose, its colours are grown outwards, and strands that follow the hair's
own flow are drawn over it, many times larger, then averaged. About 0.25 s an example of 600x800.

Lengths are in head widths and small distances in pixels of a picture whose long side is 800, so
that a small head grows short hair and a large picture the same hair as a small one.
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mgm_core.images import read_image, read_mask, write_image

Array = NDArray[np.float32]
Range = tuple[float, float]

NODES = 41  # points of a strand: a coil needs about eight a turn
PIECES = 8  # stretches of a strand that are drawn in one colour and width
INTENSITY = 65535  # colours are drawn as 16-bit whole numbers: thin coverage keeps its colour
SHEET_PX = 320
SHEET_ROWS = 8


@dataclass(frozen=True)
class HairStyle:
    """One way that hair grows; each call draws its own value from every range.

    Args:
        chance: How often the style is drawn, relative to the others.
        density: Strands per pixel of hairy outline.
        length: Of most strands, in head widths.
        lock: Strands in one lock.
        lift: 0 follows the photographed hair, 1 leaves at a right angle to the outline.
        gravity: Pull downwards, relative to a strand's own stiffness.
        bend: Standard deviation of the angle by which a strand turns over its length, radians.
        wave: Amplitude of waves or coils, in head widths.
        wave_length: Of one wave, in head widths.
        gather: How far a lock's strands meet at its tip; below 0 they fan out.
        width: Of a strand, pixels.
        everywhere: Whether it grows on the whole outline, like fur, or only on hair.
    """

    chance: float
    density: Range
    length: Range
    lock: tuple[int, int]
    lift: Range
    gravity: Range
    bend: Range
    wave: Range
    wave_length: Range
    gather: Range
    width: Range
    everywhere: bool = False


STYLES = {
    "fuzz": HairStyle(
        chance=1.0,
        density=(0.3, 1.2),
        length=(0.02, 0.07),
        lock=(1, 3),
        lift=(0.3, 0.8),
        gravity=(0.0, 0.1),
        bend=(0.3, 1.0),
        wave=(0.0, 0.004),
        wave_length=(0.05, 0.2),
        gather=(-0.3, 0.3),
        width=(0.25, 0.6),
    ),
    "short": HairStyle(
        chance=2.0,
        density=(0.8, 2.5),
        length=(0.04, 0.14),
        lock=(3, 14),
        lift=(0.15, 0.6),
        gravity=(0.0, 0.15),
        bend=(0.2, 0.8),
        wave=(0.0, 0.006),
        wave_length=(0.1, 0.3),
        gather=(0.0, 0.9),
        width=(0.3, 0.9),
    ),
    "long": HairStyle(
        chance=3.0,
        density=(0.3, 1.4),
        length=(0.15, 0.8),
        lock=(4, 24),
        lift=(0.05, 0.3),
        gravity=(0.1, 0.6),
        bend=(0.2, 1.0),
        wave=(0.0, 0.015),
        wave_length=(0.2, 0.7),
        gather=(-0.3, 0.9),
        width=(0.3, 0.9),
    ),
    "wavy": HairStyle(
        chance=2.0,
        density=(0.4, 1.4),
        length=(0.15, 0.6),
        lock=(6, 30),
        lift=(0.1, 0.4),
        gravity=(0.1, 0.5),
        bend=(0.3, 1.2),
        wave=(0.012, 0.04),
        wave_length=(0.12, 0.35),
        gather=(0.3, 0.95),
        width=(0.3, 0.9),
    ),
    "curly": HairStyle(
        chance=1.5,
        density=(0.5, 1.6),
        length=(0.1, 0.4),
        lock=(4, 20),
        lift=(0.2, 0.7),
        gravity=(0.0, 0.4),
        bend=(0.5, 2.0),
        wave=(0.015, 0.05),
        wave_length=(0.06, 0.15),
        gather=(0.3, 0.9),
        width=(0.3, 0.9),
    ),
    "afro": HairStyle(
        chance=1.0,
        density=(1.0, 3.0),
        length=(0.08, 0.25),
        lock=(1, 6),
        lift=(0.5, 1.0),
        gravity=(0.0, 0.05),
        bend=(1.0, 4.0),
        wave=(0.008, 0.03),
        wave_length=(0.03, 0.08),
        gather=(-0.2, 0.5),
        width=(0.25, 0.7),
    ),
    "fur": HairStyle(
        chance=1.0,
        density=(1.0, 3.0),
        length=(0.03, 0.12),
        lock=(4, 20),
        lift=(0.3, 0.8),
        gravity=(0.0, 0.3),
        bend=(0.2, 0.8),
        wave=(0.0, 0.006),
        wave_length=(0.1, 0.3),
        gather=(0.3, 1.0),
        width=(0.3, 0.9),
        everywhere=True,
    ),
}


@dataclass(frozen=True)
class HairSettings:
    """How often and how far things happen.

    Args:
        style: A name in `STYLES`, "none" for a soft edge only, or None to draw one.
        no_hair_chance: How often a drawn style is "none", 0..1.
        fly_away_chance: How often few long single strands are added, 0..1.
        cloth_chance: How often a stretch of clothing is made translucent, 0..1.
        motion_blur_chance: How often the edge is smeared in one direction, 0..1.
        edge_px: alpha is 1 wherever the mask is deeper than this; pixels at a long side of 800.
        reach: alpha is 0 farther outside the mask than this fraction of the long side.
        most_strands: Upper limit of strands, which bounds the time.
        supersampling: Strands are drawn this many times larger.
    """

    style: str | None = None
    no_hair_chance: float = 0.15
    fly_away_chance: float = 0.6
    cloth_chance: float = 0.12
    motion_blur_chance: float = 0.06
    edge_px: float = 12.0
    reach: float = 0.35
    most_strands: int = 4000
    supersampling: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_chance") and not 0 <= value <= 1:
                raise ValueError(f"{field.name} must lie in 0..1, got {value}: it is a probability")
        if self.style is not None and self.style not in {"none", *STYLES}:
            raise ValueError(
                f"style must be one of {', '.join(['none', *STYLES])}, got {self.style!r}: "
                "leave it out to draw one"
            )
        if self.edge_px < 6:
            raise ValueError(
                f"edge_px must be at least 6, got {self.edge_px}: the soft edge needs room"
            )
        if not 0.1 <= self.reach <= 1:
            raise ValueError(
                f"reach must lie in 0.1..1, got {self.reach}: it is a fraction of the long side"
            )
        if self.most_strands < 1 or self.supersampling < 1:
            raise ValueError(
                f"most_strands and supersampling must be at least 1, got {self.most_strands} and "
                f'{self.supersampling}: use style="none" to grow no hair'
            )


@dataclass(frozen=True)
class Cutout:
    """A foreground that Eq. 1 composites exactly.

    Args:
        foreground: (H, W, 3) float32 sRGB in [0, 1], defined everywhere.
        alpha: (H, W) float32 in [0, 1].
    """

    foreground: Array
    alpha: Array


@dataclass(frozen=True)
class _Subject:
    """What the photograph says about the subject and its hair.

    Args:
        depth: (H, W) pixels inside the outline, negative outside.
        outward: (H, W, 2) unit vectors (x, y) away from the subject.
        colour: (H, W, 3) the subject's colours, grown over the background.
        hairiness: (H, W) how much a place looks like hair, 0..1, grown over the background.
        flow: (H, W, 2) how hair lies, as a double angle; its length is the certainty, 0..1.
        tint: (H, W, 3) smooth colour of the hair around.
        head_px: Width of the head.
        unit: Pixels here of one pixel in a picture whose long side is 800.
    """

    depth: Array
    outward: Array
    colour: Array
    hairiness: Array
    flow: Array
    tint: Array
    head_px: float
    unit: float


@dataclass(frozen=True)
class _Strands:
    """Strands ready to be drawn.

    Args:
        points: (N, NODES, 2) as (x, y), pixels.
        colour: (N, PIECES, 3) in [0, 1].
        width: (N, PIECES) pixels.
    """

    points: Array
    colour: Array
    width: Array


def grow_hair(
    image: Array,
    mask: NDArray[np.float32] | NDArray[np.bool_],
    generator: np.random.Generator,
    settings: HairSettings | None = None,
) -> Cutout:
    """Turn a photograph and a rough mask into a cut-out whose alpha and colours are exact.

    Args:
        image: (H, W, 3) float32 sRGB in [0, 1].
        mask: (H, W) float32 in [0, 1] or bool; the subject is where it is 0.5 or more.
        generator: Source of every random choice.
        settings: How often and how far things happen; the defaults when None.

    Returns:
        Foreground and alpha of the image's size.

    Raises:
        ValueError: If the sizes differ, or the mask is empty, full or thin.
    """
    settings = settings or HairSettings()
    inside = _checked_mask(image, mask)
    subject = _study(image, inside, settings, generator)
    style_name = settings.style or _drawn_style(settings, generator)
    hairy = np.ones_like(subject.depth) if _everywhere(style_name) else subject.hairiness

    alpha = _body_alpha(subject, hairy, settings, generator, bare=style_name == "none")
    premultiplied = np.dstack([subject.colour * alpha[..., None], alpha])
    for layer in _hair_layers(subject, hairy, style_name, settings, generator):
        premultiplied = layer + (1 - layer[..., 3:]) * premultiplied
    if generator.random() < settings.motion_blur_chance:
        premultiplied = _smeared(premultiplied, subject, settings, generator)
    return _finished(premultiplied, subject, settings)


def _checked_mask(image: Array, mask: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.bool_]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        raise ValueError(
            f"image must be (H, W, 3) float32, got {image.shape} {image.dtype}: "
            "read it with mgm_core.images.read_image"
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"mask must have the image's size {image.shape[:2]}, got {mask.shape}: "
            "pass the mask of this image"
        )
    inside = np.asarray(mask >= 0.5)
    if not inside.any() or inside.all():
        raise ValueError(
            f"mask must show a subject and a background, got all {int(inside.flat[0])}: "
            "skip this picture"
        )
    return inside


def _everywhere(style_name: str) -> bool:
    return style_name in STYLES and STYLES[style_name].everywhere


def _drawn_style(settings: HairSettings, generator: np.random.Generator) -> str:
    if generator.random() < settings.no_hair_chance:
        return "none"
    chances = np.array([style.chance for style in STYLES.values()])
    return str(generator.choice(list(STYLES), p=chances / chances.sum()))


# --- what the photograph says ---------------------------------------------------------------------


def _study(
    image: Array,
    inside: NDArray[np.bool_],
    settings: HairSettings,
    generator: np.random.Generator,
) -> _Subject:
    unit = max(image.shape[:2]) / 800
    depth = _signed_depth(inside)
    certain = depth > unit * generator.uniform(4.0, 7.0)
    if not (depth > settings.edge_px * unit).any():
        raise ValueError(
            f"mask must be thicker than {2 * settings.edge_px * unit:.0f} px somewhere, got "
            f"{2 * depth.max():.0f} px: skip this picture or give a larger one"
        )
    nearest = _nearest(certain)
    grown = image[nearest]
    blurred = _blur(grown, 2.5 * unit)
    away = np.clip((depth[nearest] - depth) / (8 * unit), 0, 1)[..., None]
    colour = np.where(certain[..., None], image, grown + away * (blurred - grown))

    top, head_px = _head(inside)
    outward = _unit_vectors(-_gradient(_blur(depth, 0.04 * head_px)))
    hairiness = _hairiness(colour, depth, inside, top, head_px)
    weight = hairiness * (depth > 5 * unit) + np.float32(1e-6)
    return _Subject(
        depth=depth,
        outward=outward,
        colour=colour,
        hairiness=hairiness,
        flow=_flow(colour, weight, head_px),
        tint=_smoothed_where(colour, weight, 0.06 * head_px),
        head_px=head_px,
        unit=unit,
    )


def _signed_depth(inside: NDArray[np.bool_]) -> Array:
    def distance(where: NDArray[np.bool_]) -> Array:
        found = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.asarray(found, np.float32)

    stepped = np.where(inside, distance(inside) - 0.5, 0.5 - distance(~inside))
    return _blur(stepped, 1.5)


def _nearest(where: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the nearest true pixel, for every pixel."""
    _, labels = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(where)
    of_label = np.empty((labels.max() + 1, 2), np.intp)
    of_label[labels[rows, columns]] = np.stack([rows, columns], 1)
    return of_label[labels, 0], of_label[labels, 1]


def _head(inside: NDArray[np.bool_]) -> tuple[int, float]:
    """Top row and width of the head: the highest part that is as tall as it is wide."""
    widths = inside.sum(1)
    top = int(np.flatnonzero(widths)[0])
    for height in range(16, len(widths) - top):
        width = float(np.median(widths[top : top + height]))
        if height >= width:
            return top, max(width, 16.0)
    return top, float(np.median(widths[top:]))


def _hairiness(
    colour: Array, depth: Array, inside: NDArray[np.bool_], top: int, head_px: float
) -> Array:
    """Compare colours with those at the top of the head (hair) and in its middle (skin)."""
    lab = cv2.cvtColor(_blur(colour, 2), cv2.COLOR_RGB2Lab) * np.float32([0.6, 1, 1])
    rows, columns = np.indices(depth.shape, np.float32)
    below = (rows - top) / np.float32(head_px)
    strip = inside & (depth > 0.03 * head_px) & (depth < 0.12 * head_px) & (below < 0.35)
    middle = float(np.median(columns[inside & (below < 1)]))
    face = inside & (abs(below - 0.65) < 0.15) & (abs(columns - middle) < 0.15 * head_px)
    if not strip.any() or not face.any():
        return np.zeros_like(depth)
    to_hair = np.linalg.norm(lab - np.median(lab[strip], axis=0), axis=-1)
    to_skin = np.linalg.norm(lab - np.median(lab[face], axis=0), axis=-1)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    texture = _blur(abs(grey - _blur(grey, 2)), 5) / (_blur(grey, 5) + 0.1)

    unlike_skin = (to_skin - to_hair) / 6 + (texture - 0.03) / 0.01
    place = np.clip(2.2 - below, 0, 1)
    alike = np.exp(-((to_hair / 30) ** 2))
    score = place * alike / (1 + np.exp(-np.clip(unlike_skin, -30, 30)))
    return np.asarray(_blur(score.astype(np.float32), 0.03 * head_px), np.float32)


def _flow(colour: Array, weight: Array, head_px: float) -> Array:
    """Structure tensor of the hair, smoothed as a double angle and grown over the background."""
    gradient = _gradient(_blur(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), 1))
    x, y = gradient[..., 0], gradient[..., 1]
    # Hair lies across the gradient, which turns the double angle by 180 degrees.
    tensor = np.dstack([y * y - x * x, -2 * x * y, x * x + y * y]) * weight[..., None]
    near = _coarse_blur(tensor, 0.05 * head_px)
    far = _coarse_blur(tensor, 0.3 * head_px)
    tensor = near + 0.02 * far
    return np.asarray(tensor[..., :2] / (tensor[..., 2:] + 1e-12), np.float32)


# --- body -----------------------------------------------------------------------------------------


def _body_alpha(
    subject: _Subject,
    hairy: Array,
    settings: HairSettings,
    generator: np.random.Generator,
    *,
    bare: bool,
) -> Array:
    """A new outline a little inside the mask's, with an edge whose softness varies along it."""
    unit = subject.unit
    edge_px = settings.edge_px * unit
    shape = subject.depth.shape
    focus = _smooth_noise(shape, subject.head_px, generator)
    softness = np.exp(generator.normal(-0.2, 0.3) + 0.4 * focus)
    hair_softness = softness * generator.uniform(1.0, 3.0)
    softness = np.clip(softness + hairy * (hair_softness - softness), 0.45, 3.5) * unit
    inset = unit * generator.uniform(1.5, 3.5)
    if not bare:
        tufts = 1.2 * _smooth_noise(shape, 6 * unit, generator)
        inset = inset + unit * hairy * (generator.uniform(0.5, 3.0) + tufts)
    softness = np.minimum(softness, (edge_px - inset) / 2.5)
    alpha = _normal_cdf((subject.depth - inset) / softness)
    if generator.random() < settings.cloth_chance:
        patches = _smooth_noise(shape, 0.4 * subject.head_px, generator)
        thin = generator.uniform(0.2, 0.8) * np.clip(patches - 0.5, 0, 1) * (1 - hairy)
        alpha = alpha * (1 - thin * np.clip(1.2 - subject.depth / edge_px, 0, 1))
    return np.asarray(np.where(subject.depth > edge_px, 1, alpha), np.float32)


def _normal_cdf(x: Array) -> Array:
    """Profile of a straight edge under Gaussian blur (logistic approximation), exactly 0 or 1
    beyond 2.5 standard deviations.
    """
    profile = 1 / (1 + np.exp(-1.702 * np.clip(x, -4, 4)))
    return np.asarray(np.clip((profile - 0.5) / 0.972 + 0.5, 0, 1), np.float32)


# --- hair -----------------------------------------------------------------------------------------


def _hair_layers(
    subject: _Subject,
    hairy: Array,
    style_name: str,
    settings: HairSettings,
    generator: np.random.Generator,
) -> list[Array]:
    """Premultiplied RGBA layers (H, W, 4), from back to front."""
    roots, chance = _outline(subject, hairy)
    if style_name == "none" or chance.sum() < 20 * subject.unit:
        return []
    style = STYLES[style_name]
    count = min(int(generator.uniform(*style.density) * chance.sum()), settings.most_strands)
    sharpness = generator.uniform(0.3, 0.7)
    layers = []
    depths = int(generator.integers(1, 4))
    for index in range(depths):
        strands = _strands(
            subject, roots, chance, style, max(count // depths, 1), settings, generator
        )
        blur = sharpness
        if generator.random() < 0.3:
            blur = generator.uniform(0.7, 2.5 if index == 0 else 1.2)
        opacity = generator.uniform(0.6, 1.0)
        layers.append(_drawn(strands, subject, blur, opacity, settings))
    if generator.random() < settings.fly_away_chance:
        single = _fly_away_style(style)
        few = max(int(count * generator.uniform(0.01, 0.06)), 3)
        strands = _strands(subject, roots, chance, single, few, settings, generator)
        layers.append(_drawn(strands, subject, sharpness, generator.uniform(0.4, 0.9), settings))
    return layers


def _fly_away_style(style: HairStyle) -> HairStyle:
    low, high = style.length
    return HairStyle(
        chance=0.0,
        density=style.density,
        length=(1.2 * low, 1.5 * high + 0.05),
        lock=(1, 2),
        lift=(0.2, 0.9),
        gravity=(0.0, 0.2),
        bend=(0.8, 2.5),
        wave=style.wave,
        wave_length=style.wave_length,
        gather=(-0.5, 0.2),
        width=(0.25, 0.5),
    )


def _outline(subject: _Subject, hairy: Array) -> tuple[Array, Array]:
    """Pixels (x, y) along the outline and how many strands each should get, 0..1."""
    inside = (subject.depth > 0).astype(np.uint8)
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(edge)
    points = np.stack([columns, rows], 1).astype(np.float32)
    # Hair is judged a little inside: at the outline itself everything is blurred together.
    chance = _at(hairy, points - 8 * subject.unit * _at(subject.outward, points))
    return points, np.where(chance > 0.3, chance, 0).astype(np.float32)


def _strands(
    subject: _Subject,
    roots: Array,
    chance: Array,
    style: HairStyle,
    count: int,
    settings: HairSettings,
    generator: np.random.Generator,
) -> _Strands:
    head, unit = subject.head_px, subject.unit
    lock_size = generator.integers(style.lock[0], style.lock[1] + 1)
    locks = max(count // lock_size, 1)
    longest = 0.6 * settings.reach * 800 * unit
    length = generator.uniform(*style.length) * head * np.exp(generator.normal(0, 0.45, locks))
    length = np.minimum(length, longest)
    chosen = roots[generator.choice(len(roots), locks, p=chance / chance.sum())]
    outward = _at(subject.outward, chosen)
    start = chosen - outward * unit * generator.uniform(3, 10, (locks, 1))
    guide = _guides(subject, start, length, style, generator)

    lock = np.repeat(np.arange(locks), lock_size)
    strands = len(lock)
    t = np.linspace(0, 1, NODES)
    part = np.clip(generator.normal(0.8, 0.2, strands), 0.25, 1.0)
    points = _along(guide[lock], part[:, None] * t)
    tangent = _unit_vectors(np.gradient(points, axis=1))
    across = np.stack([-tangent[..., 1], tangent[..., 0]], -1)

    spacing = unit * np.exp(generator.normal(0.6, 0.5, locks))[lock, None]
    place = generator.normal(0, 1, (strands, 1)) * spacing * np.sqrt(lock_size) / 2
    gather = np.clip(generator.normal(generator.uniform(*style.gather), 0.25, locks), -1, 1)
    offset = place * (1 - gather[lock, None] * t ** generator.uniform(0.6, 1.5))
    loose = generator.normal(0, 0.02, (strands, 1)) * length[lock, None] * t**2
    wander = np.cumsum(generator.normal(0, 1, (strands, NODES)), 1) / NODES
    offset = offset + loose + 0.05 * length[lock, None] * wander

    amplitude = head * generator.uniform(*style.wave)
    amplitude = amplitude * np.exp(generator.normal(0, 0.3, locks))[lock, None]
    wave_length = head * generator.uniform(*style.wave_length)
    wave_length = wave_length * np.exp(generator.normal(0, 0.2, locks))[lock, None]
    travelled = t * (part * length[lock])[:, None]
    phase = generator.uniform(0, 6.28, locks)[lock] + generator.normal(0, 0.25, strands)
    turn = 2 * np.pi * travelled / wave_length + phase[:, None]
    ramp = np.minimum(1, 0.2 + travelled / wave_length)
    tilt = generator.uniform(0.2, 1.0)
    # A helix seen from the side: the loop along the strand is foreshortened by the tilt.
    points = points + across * (offset + ramp * amplitude * np.sin(turn))[..., None]
    points = points + tangent * (tilt * ramp * amplitude * (np.cos(turn)))[..., None]

    return _Strands(
        points=points.astype(np.float32),
        colour=_strand_colours(subject, points, lock, generator),
        width=_strand_widths(style, lock, unit, generator),
    )


def _guides(
    subject: _Subject,
    start: Array,
    length: NDArray[np.float64],
    style: HairStyle,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Paths (N, NODES, 2) of locks: the hair's flow, stiffness, gravity and an own turn."""
    count = len(start)
    lift = np.clip(generator.normal(generator.uniform(*style.lift), 0.1, (count, 1)), 0, 1)
    gravity = np.array([0, generator.uniform(*style.gravity)])
    bend = generator.normal(0, generator.uniform(*style.bend), count)
    bend = bend + generator.normal(0, 0.3)
    step = (length / (NODES - 1))[:, None]
    cos, sin = np.cos(bend / NODES), np.sin(bend / NODES)

    def wanted(position: NDArray[np.float64], before: NDArray[np.float64]) -> Array:
        outward = _at(subject.outward, position)
        double = _at(subject.flow, position)
        angle = np.arctan2(double[:, 1], double[:, 0]) / 2
        flow = np.stack([np.cos(angle), np.sin(angle)], 1)
        flow *= np.where((flow * before).sum(1, keepdims=True) < 0, -1, 1)
        certainty = np.minimum(1, 2 * np.hypot(double[:, :1], double[:, 1:]))
        return _unit_vectors(certainty * (1 - lift) * flow + lift * outward + 0.15 * before)

    outward = _at(subject.outward, start)
    direction = wanted(start, _unit_vectors(outward + 3 * gravity))
    angle = generator.normal(0, 0.15, count)
    direction = _turned(direction, np.cos(angle), np.sin(angle))
    position = start.astype(np.float64)
    path = [position]
    for index in range(NODES - 1):
        pull = 0.12 * (1 - index / NODES)
        direction = _turned(direction, cos, sin)
        direction = _unit_vectors(
            direction + pull * wanted(position, direction) + 0.1 * gravity
        ).astype(np.float64)
        position = position + step * direction
        path.append(position)
    return np.stack(path, 1)


def _strand_colours(
    subject: _Subject,
    points: NDArray[np.float64],
    lock: NDArray[np.intp],
    generator: np.random.Generator,
) -> Array:
    """Colours of the hair near the root, lighter and darker by strand, lock and along the way."""
    count, unit = len(points), subject.unit
    root = points[:, 0].astype(np.float32)
    inner = root - _at(subject.outward, root) * unit * generator.uniform(0, 12, (count, 1))
    own, tint = _at(subject.colour, inner), _at(subject.tint, root)
    difference = np.linalg.norm(own - tint, axis=1, keepdims=True)
    trust = np.exp(-((difference / 0.25) ** 2)) * _at(subject.hairiness, inner)[:, None]
    colour = tint + trust * generator.uniform(0.4, 1.0, (count, 1)) * (own - tint)

    light = generator.normal(0, 0.15, lock.max() + 1)[lock] + generator.normal(0, 0.15, count)
    t = (np.arange(PIECES) + 0.5) / PIECES
    centre = generator.uniform(0, 1.2, (lock.max() + 1, 1))[lock]
    highlight = generator.uniform(0, 0.5) * np.exp(-(((t - centre) / 0.2) ** 2))
    to_tip = generator.normal(0.1, 0.15) * t + generator.uniform(-0.25, 0) * np.exp(-t / 0.15)
    gain = np.exp(light[:, None] + highlight + to_tip)
    warmth = 1 + generator.normal(0, 0.02, (count, 1)) * np.array([1, 0, -1])
    painted = (colour * warmth)[:, None] * gain[..., None]

    # Where it still lies on the photographed hair a strand looks like what is beneath it.
    middles = points[:, NODES // PIECES // 2 :: NODES // PIECES][:, :PIECES]
    outside = np.clip(1 - _at(subject.depth, middles) / (6 * unit), 0, 1)[..., None]
    beneath = _at(subject.colour, middles)
    return np.clip(beneath + outside * (painted - beneath), 0, 1).astype(np.float32)


def _strand_widths(
    style: HairStyle, lock: NDArray[np.intp], unit: float, generator: np.random.Generator
) -> Array:
    width = generator.uniform(*style.width) * unit
    width = width * np.exp(generator.normal(0, 0.2, lock.max() + 1))[lock]
    width = width * np.exp(generator.normal(0, 0.3, len(lock)))
    t = (np.arange(PIECES) + 0.5) / PIECES
    taper = 1 - 0.8 * t ** generator.uniform(1.5, 4.0)
    return np.asarray(width[:, None] * taper, np.float32)


def _drawn(
    strands: _Strands, subject: _Subject, blur: float, opacity: float, settings: HairSettings
) -> Array:
    """Draw strands enlarged and average them: premultiplied RGBA (H, W, 4)."""
    height, width = subject.depth.shape
    layer = np.zeros((height, width, 4), np.float32)
    margin = 4 + int(3 * blur)
    low = np.floor(strands.points.min((0, 1))).astype(int) - margin
    high = np.ceil(strands.points.max((0, 1))).astype(int) + margin
    left, top = np.clip(low, 0, (width, height))
    right, bottom = np.clip(high, 0, (width, height))
    if right <= left or bottom <= top:
        return layer
    scale = settings.supersampling
    canvas = np.zeros(((bottom - top) * scale, (right - left) * scale, 4), np.uint16)
    # A pixel's centre is a whole number; four more bits keep the position below the large pixel.
    large = (strands.points - (left, top) + 0.5) * scale - 0.5
    fixed = np.round(large * 16).astype(np.int32)
    thickness = np.maximum(np.round(strands.width * scale), 1).astype(int).tolist()
    colours = (strands.colour * INTENSITY).astype(int).tolist()
    stride = (NODES - 1) // PIECES
    for points, widths, tints in zip(fixed, thickness, colours, strict=True):
        for piece in range(PIECES):
            stretch = points[piece * stride : (piece + 1) * stride + 1]
            tint = (*tints[piece], INTENSITY)
            cv2.polylines(canvas, [stretch], False, tint, widths[piece], cv2.LINE_8, 4)
    size = (right - left, bottom - top)
    small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    layer[top:bottom, left:right] = _blur(small, blur) * (opacity / INTENSITY)
    return layer


# --- finish ---------------------------------------------------------------------------------------


def _smeared(
    premultiplied: Array,
    subject: _Subject,
    settings: HairSettings,
    generator: np.random.Generator,
) -> Array:
    """Motion blur of the edge; the inside stays as photographed."""
    length = generator.uniform(3, 9) * subject.unit
    angle = generator.uniform(0, np.pi)
    half = int(length / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    reach = 16 * length / 2 * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(np.round(16 * half + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], (1.0,), 1, cv2.LINE_8, 4)
    moved = cv2.filter2D(premultiplied, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    edge = np.clip(2 - 2 * subject.depth / (settings.edge_px * subject.unit), 0, 1)[..., None]
    return np.asarray(premultiplied + edge * (moved - premultiplied), np.float32)


def _finished(premultiplied: Array, subject: _Subject, settings: HairSettings) -> Cutout:
    alpha = np.clip(premultiplied[..., 3], 0, 1)
    alpha[alpha < 1 / 512] = 0
    alpha[(alpha > 1 - 1 / 512) | (subject.depth > settings.edge_px * subject.unit)] = 1
    seen = alpha > 0
    colour = premultiplied[..., :3] / np.maximum(premultiplied[..., 3:], 1 / 1024)
    grown = colour[_nearest(seen)]
    foreground = np.where(seen[..., None], colour, _blur(grown, 1.5 * subject.unit))
    return Cutout(np.clip(foreground, 0, 1).astype(np.float32), alpha.astype(np.float32))


# --- arrays ---------------------------------------------------------------------------------------


def _blur(array: Array, sigma: float) -> Array:
    return np.asarray(cv2.GaussianBlur(array, (0, 0), sigma), np.float32)


def _coarse_blur(array: Array, sigma: float) -> Array:
    """Blur by a wide Gaussian on a smaller copy, as nothing fine is left after it."""
    height, width = array.shape[:2]
    factor = max(1, int(sigma / 3))
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _smoothed_where(array: Array, weight: Array, sigma: float) -> Array:
    """Weighted mean over a neighbourhood, and over a wider one where that holds no weight."""
    both = np.dstack([array * weight[..., None], weight])
    both = _coarse_blur(both, sigma) + np.float32(0.02) * _coarse_blur(both, 6 * sigma)
    return np.asarray(both[..., :3] / (both[..., 3:] + 1e-12), np.float32)


def _smooth_noise(shape: tuple[int, ...], size_px: float, generator: np.random.Generator) -> Array:
    """(H, W) random field of unit variance at its nodes, which lie `size_px` apart."""
    nodes = [int(side / size_px) + 2 for side in shape]
    noise = generator.standard_normal(nodes, np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC))


def _gradient(array: Array) -> Array:
    rows, columns = np.gradient(array)
    return np.stack([columns, rows], -1)


def _unit_vectors(vectors: NDArray[np.floating]) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / (length + 1e-9), np.float32)


def _turned(
    vectors: NDArray[np.floating], cos: NDArray[np.float64], sin: NDArray[np.float64]
) -> NDArray[np.float64]:
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], 1)


def _at(array: Array, points: NDArray[np.floating]) -> Array:
    """Values at points (..., 2) given as (x, y), bilinear, the border repeated."""
    flat = np.asarray(points, np.float32).reshape(-1, 2)
    height, width = array.shape[:2]
    x = np.clip(flat[:, 0], 0, width - 1).astype(np.int32)
    y = np.clip(flat[:, 1], 0, height - 1).astype(np.int32)
    return np.asarray(array[y, x].reshape(*points.shape[:-1], *array.shape[2:]))


def _along(path: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of paths (N, NODES, 2) at parts t (N, M) of their length, 0..1."""
    at = t * (NODES - 1)
    index = np.minimum(at.astype(np.intp), NODES - 2)
    rest = (at - index)[..., None]
    rows = np.arange(len(path))[:, None]
    return np.asarray(path[rows, index] * (1 - rest) + path[rows, index + 1] * rest)


# --- command --------------------------------------------------------------------------------------


def _pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    by_stem = {path.stem: path for path in masks.iterdir()}
    pairs = [
        (path, by_stem[path.stem]) for path in sorted(images.iterdir()) if path.stem in by_stem
    ]
    if not pairs:
        raise ValueError(
            f"images and masks must share file names, got none in {images} and {masks}: "
            "name a mask like its image, whatever the ending"
        )
    return pairs


def _sheet_row(cutout: Cutout, background: Array, generator: np.random.Generator) -> Array:
    """A small whole and three pieces at full size: composite, alpha, and both once more."""
    height, width = cutout.alpha.shape
    scale = max(height / background.shape[0], width / background.shape[1])
    size = tuple(int(np.ceil(scale * side)) for side in background.shape[1::-1])
    cover = cv2.resize(background, size)[:height, :width]
    picture = np.asarray(cover + cutout.alpha[..., None] * (cutout.foreground - cover), np.float32)
    alpha = np.repeat(cutout.alpha[..., None], 3, -1)
    small = np.zeros((SHEET_PX, SHEET_PX, 3), np.float32)
    fit = SHEET_PX / max(height, width)
    whole = cv2.resize(picture, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA)
    small[: whole.shape[0], : whole.shape[1]] = whole[:SHEET_PX, :SHEET_PX]
    soft = np.argwhere((cutout.alpha > 0.05) & (cutout.alpha < 0.95))
    soft = soft if len(soft) else np.array([[height // 2, width // 2]])
    row = [small]
    for _ in range(2):
        middle = soft[generator.integers(len(soft))]
        top, left = np.clip(middle - SHEET_PX // 2, 0, np.maximum(0, (height, width)) - SHEET_PX)
        window = np.s_[top : top + SHEET_PX, left : left + SHEET_PX]
        row += [picture[window], alpha[window]]
    return np.hstack(row)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.grown_hair", description="Cut-outs with grown hair, RGBA PNG."
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks, same names")
    parser.add_argument("--count", type=int, required=True, help="how many cut-outs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the cut-outs")
    parser.add_argument("--style", choices=["none", *STYLES], help="only this style")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write")
    parser.add_argument("--backgrounds", type=Path, help="photographs behind the contact sheet")
    return parser.parse_args()


def main() -> None:
    """Write cut-outs, and a contact sheet of the first ones."""
    arguments = _arguments()
    pairs = _pairs(arguments.images, arguments.masks)
    settings = HairSettings(style=arguments.style)
    behind = sorted(arguments.backgrounds.iterdir()) if arguments.backgrounds else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in tqdm(range(arguments.count), unit="cut-out"):
        generator = np.random.default_rng([arguments.seed, index])
        image_path, mask_path = pairs[generator.integers(len(pairs))]
        image, mask = read_image(image_path), read_mask(mask_path)
        cutout = grow_hair(image, mask, generator, settings)
        rgba = np.dstack([cutout.foreground, cutout.alpha])
        write_image(arguments.out / f"{image_path.stem}_{index:05d}.png", rgba)
        if arguments.sheet and index < SHEET_ROWS:
            background = np.full((8, 8, 3), generator.uniform(0.2, 0.8, 3), np.float32)
            if behind:
                background = read_image(behind[generator.integers(len(behind))])
            rows.append(_sheet_row(cutout, background, generator))
    if rows:
        write_image(arguments.sheet, np.vstack(rows))


if __name__ == "__main__":
    main()
