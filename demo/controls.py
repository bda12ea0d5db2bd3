"""The values of the page's controls, grouped as the page shows them, and the order they make."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from demo.backend.orders import File, Order, number, picked_colour, whole
from demo.web.uploads import uploaded
from mgm_core.compositing import Fit
from mgm_core.foreground.estimate import ForegroundMethod
from mgm_core.recipe import (
    AUTO,
    Background,
    BackgroundKind,
    MaskKind,
    Quality,
    Recipe,
    Shadow,
    read_edits,
)

__all__ = [
    "CONTROL_NAMES",
    "PER_PHOTO",
    "BackgroundControls",
    "Controls",
    "LightControls",
    "MaskControls",
    "SubjectControls",
]


@dataclass(frozen=True)
class SubjectControls:
    """What is cut out, and how well."""

    category: str = AUTO
    shift_px: float = 0
    threshold: float = 0.5
    segmenter: str = "portrait"
    quality: Quality = "best"
    keep_largest: bool = False
    ignore_transparency: bool = False


@dataclass(frozen=True)
class MaskControls:
    """The visitor's own mask."""

    mask: str | None = None
    mask_kind: MaskKind = "detect"
    label: int | None = None


@dataclass(frozen=True)
class BackgroundControls:
    """What the subject is put over, and with which colours."""

    background: BackgroundKind = "transparent"
    colour: str = "#2f6f4f"
    colour_to: str = "#d8e8d0"
    angle_deg: float = 180
    backdrop: str | None = None
    fit: Fit = "cover"
    x_percent: float = 50
    y_percent: float = 50
    scale: float = 1
    blur_percent: float = 1
    foreground: ForegroundMethod | Literal["quality"] = "quality"

    def chosen(self) -> Background:
        """Return the background as a recipe has it."""
        return Background(
            kind=self.background,
            colour=picked_colour(self.colour),
            colour_to=picked_colour(self.colour_to),
            angle_deg=self.angle_deg,
            fit=self.fit,
            x=number("x_percent", self.x_percent) / 100,
            y=number("y_percent", self.y_percent) / 100,
            scale=self.scale,
            blur_percent=self.blur_percent,
        )


@dataclass(frozen=True)
class LightControls:
    """The subject's shadow, and the background's light on its edge."""

    shadow: float = 0
    shadow_x_percent: float = 1
    shadow_y_percent: float = 2
    shadow_blur_percent: float = 1.5
    light_wrap: float = 0
    light_wrap_percent: float = 1.5

    def cast_shadow(self) -> Shadow:
        """Return the shadow as a recipe has it."""
        return Shadow(
            self.shadow, self.shadow_x_percent, self.shadow_y_percent, self.shadow_blur_percent
        )


@dataclass(frozen=True)
class Controls:
    """The values of all controls; the defaults are those that the page opens with.

    Args:
        photo: the uploaded photograph's path.
        edits: the corrections that the canvas sends.
        subject: the controls under "Subject".
        own_mask: those under "Your own mask".
        backing: those under "New background".
        light: those under "Shadow and light".
    """

    photo: str | None = None
    edits: object = ()
    subject: SubjectControls = field(default_factory=SubjectControls)
    own_mask: MaskControls = field(default_factory=MaskControls)
    backing: BackgroundControls = field(default_factory=BackgroundControls)
    light: LightControls = field(default_factory=LightControls)

    @classmethod
    def of(cls, values: tuple[object, ...]) -> "Controls":
        """Take values as Gradio hands them over, in the order of `CONTROL_NAMES`."""
        return cls().with_values(**dict(zip(CONTROL_NAMES, values, strict=True)))

    def with_values(self, **values: Any) -> "Controls":  # noqa: ANN401 - each control has its own
        """Return the controls with some of them set, each by its own name."""
        unknown = values.keys() - set(CONTROL_NAMES)
        assert not unknown, f"there is no control {unknown}"
        own = {name: values[name] for name in ("photo", "edits") if name in values}
        groups = {
            group: replace(
                getattr(self, group),
                **{part.name: values[part.name] for part in fields(kind) if part.name in values},
            )
            for group, kind in _GROUPS.items()
        }
        return replace(self, **own, **groups)

    def values(self) -> tuple[object, ...]:
        """Return all values in the order of `CONTROL_NAMES`."""
        named: Mapping[str, object] = {"photo": self.photo, "edits": self.edits}
        for group in _GROUPS:
            named = {**named, **vars(getattr(self, group))}
        return tuple(named[name] for name in CONTROL_NAMES)

    def order(self) -> Order:
        """Return what the visitor asks for.

        Raises:
            ValueError: there is no photo, or a value is out of range.
        """
        if self.photo is None:
            raise ValueError("a photo must be given, got none: upload, paste or take one")
        subject, own_mask, backing, light = self.subject, self.own_mask, self.backing, self.light
        recipe = Recipe(
            segmenter=subject.segmenter,
            category=subject.category,
            threshold=subject.threshold,
            own_mask=own_mask.mask is not None,
            mask_kind=own_mask.mask_kind,
            label=None if own_mask.mask is None else own_mask.label,
            shift_px=whole("shift_px", subject.shift_px),
            edits=read_edits(self.edits),
            quality=subject.quality,
            keep_largest=subject.keep_largest,
            ignore_transparency=subject.ignore_transparency,
            background=backing.chosen(),
            shadow=light.cast_shadow(),
            light_wrap=light.light_wrap,
            light_wrap_percent=light.light_wrap_percent,
        )
        if backing.foreground != "quality":
            recipe = replace(recipe, foreground=backing.foreground)
        return Order(
            File.at(uploaded(self.photo)),
            recipe,
            mask=None if own_mask.mask is None else File.at(uploaded(own_mask.mask)),
            backdrop=None if backing.backdrop is None else File.at(uploaded(backing.backdrop)),
        )


_GROUPS = {
    "subject": SubjectControls,
    "own_mask": MaskControls,
    "backing": BackgroundControls,
    "light": LightControls,
}
CONTROL_NAMES: tuple[str, ...] = (
    "photo",
    "edits",
    *(part.name for kind in _GROUPS.values() for part in fields(kind)),
)
"""All controls, in the order in which handlers get their values."""

PER_PHOTO = ("mask", "mask_kind", "category", "shift_px")
"""The controls that belong to one photo, and start anew with the next."""
