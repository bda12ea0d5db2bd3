"""The ways that hair grows: ranges from which every grown example draws its own values."""

from dataclasses import dataclass, replace

__all__ = ["STYLES", "HairStyle", "fly_aways", "fringe"]

Range = tuple[float, float]


@dataclass(frozen=True)
class HairStyle:
    """One way that hair grows. Lengths are in head widths, so a small head grows short hair.

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
        width: Of a strand, pixels at a long side of 800.
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
        lift=(0.2, 0.7),
        gravity=(0.0, 0.1),
        bend=(0.3, 1.0),
        wave=(0.0, 0.004),
        wave_length=(0.05, 0.2),
        gather=(-0.3, 0.3),
        width=(0.25, 0.8),
    ),
    "short": HairStyle(
        chance=2.0,
        density=(0.8, 2.5),
        length=(0.04, 0.14),
        lock=(3, 14),
        lift=(0.1, 0.5),
        gravity=(0.0, 0.15),
        bend=(0.2, 0.8),
        wave=(0.0, 0.006),
        wave_length=(0.1, 0.3),
        gather=(0.0, 0.9),
        width=(0.3, 1.0),
    ),
    "long": HairStyle(
        chance=3.0,
        density=(0.4, 1.5),
        length=(0.15, 0.8),
        lock=(4, 24),
        lift=(0.02, 0.2),
        gravity=(0.1, 0.7),
        bend=(0.2, 1.0),
        wave=(0.0, 0.015),
        wave_length=(0.2, 0.7),
        gather=(-0.3, 0.9),
        width=(0.3, 1.0),
    ),
    "wavy": HairStyle(
        chance=2.0,
        density=(0.5, 1.6),
        length=(0.12, 0.5),
        lock=(6, 30),
        lift=(0.05, 0.35),
        gravity=(0.1, 0.6),
        bend=(0.3, 1.2),
        wave=(0.008, 0.03),
        wave_length=(0.12, 0.35),
        gather=(0.0, 0.9),
        width=(0.3, 1.0),
    ),
    "curly": HairStyle(
        chance=1.5,
        density=(0.5, 1.8),
        length=(0.1, 0.4),
        lock=(4, 20),
        lift=(0.15, 0.6),
        gravity=(0.0, 0.5),
        bend=(0.5, 2.5),
        wave=(0.012, 0.04),
        wave_length=(0.07, 0.18),
        gather=(0.0, 0.9),
        width=(0.3, 1.0),
    ),
    "afro": HairStyle(
        chance=1.0,
        density=(1.0, 3.0),
        length=(0.06, 0.22),
        lock=(1, 6),
        lift=(0.5, 1.0),
        gravity=(0.0, 0.05),
        bend=(1.5, 5.0),
        wave=(0.006, 0.025),
        wave_length=(0.03, 0.09),
        gather=(-0.2, 0.5),
        width=(0.25, 0.9),
    ),
    "fur": HairStyle(
        chance=1.0,
        density=(1.0, 3.0),
        length=(0.03, 0.12),
        lock=(4, 20),
        lift=(0.25, 0.7),
        gravity=(0.0, 0.3),
        bend=(0.2, 0.8),
        wave=(0.0, 0.006),
        wave_length=(0.1, 0.3),
        gather=(0.3, 1.0),
        width=(0.3, 1.0),
        everywhere=True,
    ),
}


def fly_aways(style: HairStyle) -> HairStyle:
    """Long single thin strands that go their own way, for heads of a style."""
    shortest, longest = style.length
    return replace(
        style,
        length=(1.2 * shortest, 1.5 * longest + 0.05),
        lock=(1, 2),
        lift=(0.15, 0.8),
        gravity=(0.0, 0.2),
        bend=(0.8, 2.5),
        gather=(-0.5, 0.2),
        width=(0.25, 0.7),
    )


def fringe(style: HairStyle) -> HairStyle:
    """Short strands close to the head, out of which the style's longer ones come."""
    shortest, longest = style.length
    return replace(
        style,
        length=(min(0.03, shortest), min(0.1, longest)),
        lock=(2, 10),
        bend=(0.3, 1.2),
        wave=(0.3 * style.wave[0], 0.3 * style.wave[1]),
        gather=(-0.3, 0.8),
    )
