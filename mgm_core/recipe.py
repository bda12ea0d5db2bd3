"""All settings of a cut-out as one value, which can be kept as JSON, sent, and repeated elsewhere.

The page, the programs' endpoints and the command line take the same recipe, so that the same photo
becomes the same pixels in each. Sizes are in pixels of the photo or in percent of its longer side;
colours are "#rrggbb". Values are checked when a recipe is made, whoever makes it.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

from mgm_core.choices import SEGMENTERS, Refinement, classes_of
from mgm_core.compositing import Colour, Fit
from mgm_core.foreground.estimate import ForegroundMethod, current_method
from mgm_core.guidance import GuidanceKind
from mgm_core.runtime.renamed import RECIPE_KEYS, rename_keys
from mgm_core.runtime.settings import (
    AtMost,
    Checked,
    Like,
    Within,
    read_settings,
    shown,
)

__all__ = [
    "AUTO",
    "BACKGROUNDS",
    "PRESETS",
    "SHIFT_LIMIT_PX",
    "VERSION",
    "Background",
    "BackgroundKind",
    "Edit",
    "MaskKind",
    "Preset",
    "Quality",
    "Recipe",
    "Shadow",
    "Tool",
    "read_background",
    "read_colour",
    "read_edits",
]

MaskKind: TypeAlias = Literal["detect", GuidanceKind]
BackgroundKind: TypeAlias = Literal["transparent", "colour", "gradient", "picture", "blur"]
Quality: TypeAlias = Literal["fast", "best"]
Tool: TypeAlias = Literal["add", "remove", "pick", "damage", "click_add", "click_remove"]

VERSION = 1
"""Of the JSON form; it changes when an old file could no longer mean the same."""

SHIFT_LIMIT_PX = 200
AUTO = "auto"
"""The category that stands for what a photo shows: people, else animals or the largest thing."""


class Preset(NamedTuple):
    """The settings that a quality stands for.

    Args:
        refine: Whether the matting network's alpha is refined, and how.
        foreground: How the subject's own colours are found.
    """

    refine: Refinement
    foreground: ForegroundMethod


PRESETS: Mapping[Quality, Preset] = {
    "fast": Preset(refine="half", foreground="multilevel"),
    "best": Preset(refine="full", foreground="network"),
}

_ALPHAS: Mapping[Refinement, str] = {
    "off": "the network's alpha",
    "half": "alpha refined at half the size",
    "full": "refined alpha",
}
_logger = logging.getLogger(__name__)
_MAX_EDITS = 400
_MAX_POINTS = 4000
_COLOUR = "#[0-9a-fA-F]{6}"


HexColour: TypeAlias = Annotated[str, Like(_COLOUR, "#1a2b3c")]
Coordinate: TypeAlias = Annotated[float, Within(-100_000, 100_000)]
Side: TypeAlias = Annotated[int, Within(1, 100_000)]


_BY_QUALITY: Any = None  # the default of what a quality's preset decides


@dataclass(frozen=True)
class Edit(Checked):
    """One correction of the guidance by hand.

    Args:
        tool: "add" and "remove" draw a line of round ends; "pick" drops the region that is hit,
            or brings it back; "damage" copies a patch of the guidance over another (CutMask,
            section 3.2); "click_add" and "click_remove" add or remove the thing that is hit, as
            the photo's colours bound it.
        size_px: diameter of the line.
        points: x and y in px. The line's corners; the point that is hit; the top left and bottom
            right of the patch that is copied, and the top left of where it goes.
    """

    where: ClassVar[str] = "edit"

    tool: Tool
    size_px: Annotated[int, Within(1, 2000)] = 1
    points: Annotated[tuple[tuple[Coordinate, Coordinate], ...], AtMost(_MAX_POINTS)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = {"pick": 1, "damage": 3, "click_add": 1, "click_remove": 1}.get(self.tool)
        if not self.points or wanted not in (None, len(self.points)):
            raise ValueError(
                f"an edit's points must be {wanted or 'some'} for {self.tool}, got "
                f"{len(self.points)}: undo it and do it again"
            )


_Edits: TypeAlias = Annotated[tuple[Edit, ...], AtMost(_MAX_EDITS)]


@dataclass(frozen=True)
class Background(Checked):
    """What the subject is put over.

    Args:
        kind: nothing, a colour, a gradient, a picture, or the photo's own background, blurred.
        colour: of one colour; of a gradient's start; of the margins beside a picture.
        colour_to: of a gradient's end.
        angle_deg: direction of a gradient's end, as in CSS: 0 is up, 90 right, 180 down.
        fit: how a picture fills the frame.
        x: where a picture is, from 0 (its left edge at the frame's) to 1 (right edges meet).
        y: the same from top to bottom.
        scale: a picture's size as a multiple of what fits.
        blur_percent: the blur's standard deviation in percent of the photo's longer side.
    """

    where: ClassVar[str] = "background"

    kind: BackgroundKind = "transparent"
    colour: HexColour = "#ffffff"
    colour_to: HexColour = "#000000"
    angle_deg: Annotated[float, Within(-360, 360)] = 180.0
    fit: Fit = "cover"
    x: Annotated[float, Within(0, 1)] = 0.5
    y: Annotated[float, Within(0, 1)] = 0.5
    scale: Annotated[float, Within(0.05, 20)] = 1.0
    blur_percent: Annotated[float, Within(0.05, 10)] = 1.0


@dataclass(frozen=True)
class Shadow(Checked):
    """A soft shadow that the subject casts on what is behind it.

    Args:
        strength: its opacity behind an opaque subject; 0 is none.
        x_percent: how far it falls to the right, in percent of the photo's longer side.
        y_percent: how far it falls down.
        blur_percent: standard deviation of its softness.
    """

    where: ClassVar[str] = "shadow"

    strength: Annotated[float, Within(0, 1)] = 0.0
    x_percent: Annotated[float, Within(-25, 25)] = 1.0
    y_percent: Annotated[float, Within(-25, 25)] = 2.0
    blur_percent: Annotated[float, Within(0, 10)] = 1.5


@dataclass(frozen=True)
class Recipe(Checked):
    """All settings of a cut-out. With the files they decide every pixel of the result.

    Args:
        segmenter: which segmenter makes the guidance where no mask is brought.
        category: what it looks for, and what a mask shows: persons have no holes deep inside;
            `AUTO` looks for people first, else for animals or the largest thing.
        threshold: probability from which a pixel is subject; 0.5 in the paper.
        segmenter_side_px: long side that the segmenter is fed with once; None for its default.
        own_mask: the guidance is a mask that has to be brought, and not a segmenter's.
        mask_kind: how to read that mask.
        label: which label of a class map is the subject; None for the only one.
        shift_px: diameter in px of the ellipse that dilates (above 0) or erodes the guidance.
        edits: corrections by hand, which come last.
        drawn_on: width and height in px of the photo that the corrections were made for; None for
            any.
        quality: what the two settings `refine` and `foreground` are, unless they are given: see
            `PRESETS`, and `with_quality` for how to change it.
        refine: whether the matting network's alpha is refined where it is uncertain: "off",
            "half" (once, at half the size) or "full".
        ignore_transparency: take a photo that is transparent in places for opaque; else the result
            is nowhere more opaque than the photo.
        keep_largest: drop what does not hang together with the largest part of the result.
        foreground: how the subject's own colours are found.
        background: what the subject is put over.
        shadow: what it casts there.
        light_wrap: how much of the background's light spills over the subject's edge; 0 is none.
        light_wrap_percent: how far it reaches, as a standard deviation in percent of the photo's
            longer side.
    """

    segmenter: str = "portrait"
    category: str = "person"
    threshold: Annotated[float, Within(0.01, 0.99)] = 0.5
    segmenter_side_px: Annotated[int, Within(65, 2049)] | None = None
    own_mask: bool = False
    mask_kind: MaskKind = "detect"
    label: Annotated[int, Within(0, 65535)] | None = None
    shift_px: Annotated[int, Within(-SHIFT_LIMIT_PX, SHIFT_LIMIT_PX)] = 0
    edits: _Edits = ()
    drawn_on: tuple[Side, Side] | None = None
    quality: Quality = "best"
    refine: Refinement = _BY_QUALITY
    ignore_transparency: bool = False
    keep_largest: bool = False
    foreground: ForegroundMethod = _BY_QUALITY
    background: Background = field(default_factory=Background)
    shadow: Shadow = field(default_factory=Shadow)
    light_wrap: Annotated[float, Within(0, 1)] = 0.0
    light_wrap_percent: Annotated[float, Within(0.05, 10)] = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.category != AUTO:
            classes_of(self.category)
        if self.segmenter not in SEGMENTERS:
            raise ValueError(
                f"segmenter must be one of {', '.join(SEGMENTERS)}, got {shown(self.segmenter)}: "
                "choose one"
            )
        for name, value in PRESETS[self.quality]._asdict().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def with_quality(self, quality: Quality) -> "Recipe":
        """Return the recipe of another quality.

        A setting that differs from what the present quality stands for was chosen, and stays.
        """
        own = PRESETS[self.quality]._asdict()
        chosen = {name: getattr(self, name) for name in own if getattr(self, name) != own[name]}
        return replace(self, quality=quality, **{**PRESETS[quality]._asdict(), **chosen})

    @property
    def methods(self) -> str:
        """What finds alpha and colours, in words."""
        return f"{self.quality}: {_ALPHAS[self.refine]}, {self.foreground} colours"

    def to_json(self) -> str:
        """Return the recipe as JSON, one setting a line."""
        lines = [
            f"  {json.dumps(name)}: {json.dumps(value)}"
            for name, value in {"version": VERSION, **asdict(self)}.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Recipe":
        """Read what `to_json` wrote, or less: what is left out keeps its default.

        Args:
            text: JSON; without the key "version" it is taken for this version's.

        Raises:
            ValueError: it is no JSON, of another version, or has an unknown key or a wrong value.
        """
        try:
            settings = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"settings must be JSON, got something else ({error}): correct or download them "
                "anew"
            ) from error
        if not isinstance(settings, dict):
            raise ValueError(
                f"settings must be a JSON object, got {shown(settings)}: download them anew"
            )
        version = settings.pop("version", VERSION)
        if version != VERSION or isinstance(version, bool):
            raise ValueError(
                f"settings must be of version {VERSION}, got {shown(version)}: read them with the "
                "program that wrote them, or make them anew"
            )
        return read_settings(cls, _renamed(settings))


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Take keys and values by the names that they had in an earlier version, and say so."""
    settings = rename_keys(settings, RECIPE_KEYS, "settings")
    if isinstance(refine := settings.get("refine"), bool):
        # An earlier version's fast recipes hold false: its preset, which is "half" now.
        preset = not refine and settings.get("quality") == "fast"
        settings = settings | {"refine": "full" if refine else "half" if preset else "off"}
    if isinstance(foreground := settings.get("foreground"), str):
        settings = settings | {"foreground": current_method(foreground)}
    return settings


def read_colour(text: str) -> Colour:
    """Read "#rrggbb".

    Returns:
        Red, green and blue in [0, 1].

    Raises:
        ValueError: the text is no such colour.
    """
    if not re.fullmatch(_COLOUR, text):
        raise ValueError(f"colour must look like #1a2b3c, got {text!r}: correct it")
    # "ff" is 1, whatever the number of bits that a file has for it.
    red, green, blue = (int(text[i : i + 2], 16) / 0xFF for i in (1, 3, 5))
    return red, green, blue


BACKGROUNDS = "none, #rrggbb, gradient:#rrggbb,#rrggbb,ANGLE, blur or blur:PERCENT"
"""What `read_background` reads, as messages name it."""


def read_background(text: str, base: Background | None = None) -> Background | None:
    """Read a background as people write it.

    Args:
        text: "none", "#rrggbb", "gradient:#rrggbb,#rrggbb,ANGLE" (degrees, as in CSS), "blur" or
            "blur:PERCENT" (of the photo's longer side).
        base: What is not said is taken from it; None takes the defaults.

    Returns:
        The background; None where the text is none of these, and so may be a picture's path.

    Raises:
        ValueError: A number is out of range.
    """
    base = Background() if base is None else base
    number = r"\d+(?:\.\d+)?"
    if text == "none":
        return replace(base, kind="transparent")
    if re.fullmatch(_COLOUR, text):
        return replace(base, kind="colour", colour=text)
    if match := re.fullmatch(rf"gradient:({_COLOUR}),({_COLOUR}),(-?{number})", text):
        start, end, angle = match.groups()
        return replace(base, kind="gradient", colour=start, colour_to=end, angle_deg=float(angle))
    if text == "blur":
        return replace(base, kind="blur")
    if match := re.fullmatch(rf"blur:({number})", text):
        return replace(base, kind="blur", blur_percent=float(match[1]))
    return None


def read_edits(sent: object) -> tuple[Edit, ...]:
    """Read the corrections that a browser sends: a list of mappings, as JSON gives it.

    Raises:
        ValueError: it is anything else, or more than can be meant.
    """
    return read_settings(_Edits, sent, "edits")
