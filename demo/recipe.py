"""What a visitor asks for: files by their content, and all settings of a cut-out."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from demo.editing import Edit
from mgm_core.compositing import Fit
from mgm_core.foreground import ForegroundMethod
from mgm_core.guidance import GuidanceKind

MaskKind = Literal["detect", "binary_mask", "soft_mask", "trimap", "trimap_fg"]
BackgroundKind = Literal["transparent", "colour", "picture", "blur"]

GROW_LIMIT_PX = 30


@dataclass(frozen=True)
class File:
    """An uploaded file, known by what is in it.

    Args:
        path: where it lies.
        digest: of its bytes; two files of one content are the same.
    """

    path: Path
    digest: str

    @classmethod
    def at(cls, path: str) -> "File":
        """Read the file at a path.

        Raises:
            ValueError: it is not there any more.
        """
        found = Path(path)
        try:
            content = found.read_bytes()
        except FileNotFoundError:
            raise ValueError(
                f"{found.name} must still be on the server, got one that was deleted after a "
                "while: upload it again"
            ) from None
        return cls(found, hashlib.blake2b(content, digest_size=16).hexdigest())


@dataclass(frozen=True)
class Background:
    """What the subject is put over.

    Args:
        kind: nothing (shown as a checkerboard), a colour, a picture, or the photo's own, blurred.
        colour: red, green, blue in [0, 1].
        fit: how a picture fills the frame.
        blur_percent: the blur's standard deviation in percent of the photo's longer side.
    """

    kind: BackgroundKind = "transparent"
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Fit = "cover"
    blur_percent: float = 1.0

    def __post_init__(self) -> None:
        _check_choice("background", self.kind, get_args(BackgroundKind))
        _check_choice("fit", self.fit, get_args(Fit))
        _check_range("blur_percent", self.blur_percent, 0.05, 10)


@dataclass(frozen=True)
class Recipe:
    """All settings of a cut-out. With the files they decide every pixel of the result.

    Args:
        segmenter: which segmenter makes the guidance, where the visitor brings no mask.
        category: what it looks for.
        threshold: probability from which a pixel is subject; 0.5 in the paper.
        mask_kind: how to read the visitor's own mask.
        grow_px: diameter in px of the ellipse that dilates (above 0) or erodes the guidance.
        edits: corrections by hand, which come last.
        foreground: how the subject's own colours are found.
        background: what the subject is put over.
    """

    segmenter: str = "portrait"
    category: str = "person"
    threshold: float = 0.5
    mask_kind: MaskKind = "detect"
    grow_px: int = 0
    edits: tuple[Edit, ...] = ()
    foreground: ForegroundMethod = "multilevel"
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        _check_choice("mask_kind", self.mask_kind, get_args(MaskKind))
        _check_choice("foreground", self.foreground, get_args(ForegroundMethod))
        _check_range("threshold", self.threshold, 0.01, 0.99)
        _check_range("grow_px", self.grow_px, -GROW_LIMIT_PX, GROW_LIMIT_PX)


@dataclass(frozen=True)
class Order:
    """A recipe and the files that it is applied to.

    Args:
        photo: the photograph.
        recipe: the settings.
        mask: the visitor's own mask, trimap or matte; None for a segmenter's.
        backdrop: picture for a background of that kind.
        perturb_px: what the robustness test does to the finished guidance, as `Recipe.grow_px`;
            nothing is then taken for known. None outside of the test.
    """

    photo: File
    recipe: Recipe
    mask: File | None = None
    backdrop: File | None = None
    perturb_px: int | None = None


def read_colour(text: str) -> tuple[float, float, float]:
    """Read a CSS colour, "#rrggbb" or "rgb(r, g, b)", alpha being ignored.

    Args:
        text: what a colour picker gives.

    Returns:
        Red, green and blue in [0, 1].

    Raises:
        ValueError: the text is no such colour.
    """
    if match := re.fullmatch(r"#([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?", text.strip()):
        levels = list(bytes.fromhex(match[1]))
    elif re.fullmatch(r"rgba?\([\d\s.,%]+\)", text.strip()):
        levels = [round(float(number)) for number in re.findall(r"[\d.]+", text)[:3]]
    else:
        levels = []
    if len(levels) != 3 or max(levels) > 255:
        raise ValueError(f"colour must look like #1a2b3c, got {text!r}: pick it anew")
    red, green, blue = (level / 255 for level in levels)
    return red, green, blue


def guidance_kind(kind: MaskKind, detected: GuidanceKind) -> GuidanceKind:
    """Return the kind that the visitor chose, or else the detected one."""
    return detected if kind == "detect" else kind


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}: choose one")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(
            f"{name} must lie between {low:g} and {high:g}, got {value:g}: move it into this range"
        )
