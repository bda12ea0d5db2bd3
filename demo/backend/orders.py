"""What a visitor asks for: files by their content, and the recipe that is applied to them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mgm_core.compositing import Colour
from mgm_core.recipe import Recipe
from mgm_core.recipe import read_colour as read_hex

GROW_LIMIT_PX = 30
"""Lower than the recipe's own limit: larger ellipses take minutes on large photos."""

# A number or a percentage, as CSS has them in colours.
_CHANNEL = r"(\d+(?:\.\d*)?|\.\d+)(%?)"


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
class Order:
    """A recipe and the files that it is applied to.

    Args:
        photo: the photograph.
        recipe: the settings.
        mask: the visitor's own mask, trimap or matte; None for a segmenter's.
        backdrop: picture for a background of that kind.
        perturb_px: what the robustness test does to the finished guidance, as `Recipe.shift_px`;
            nothing is then taken for known. None outside of the test.
    """

    photo: File
    recipe: Recipe
    mask: File | None = None
    backdrop: File | None = None
    perturb_px: int | None = None

    def __post_init__(self) -> None:
        if abs(self.recipe.shift_px) > GROW_LIMIT_PX:
            raise ValueError(
                f"the guidance must grow or shrink by at most {GROW_LIMIT_PX} px here, got "
                f"{self.recipe.shift_px}: use the command line"
            )


def number(name: str, value: object) -> float:
    """Return a number as it was sent.

    Args:
        name: of the setting.
        value: what was sent for it.

    Raises:
        ValueError: it is no finite number.
    """
    if not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ValueError(f"{name} must be a number, got {value!r:.60}: correct it")
    return value


def whole(name: str, value: object) -> int:
    """Return the whole number next to the `number` that was sent."""
    return round(number(name, value))


def picked_colour(text: object) -> str:
    """Read what a colour picker gives, "#rrggbb" or "rgb(r, g, b)", alpha being ignored.

    As in CSS, red, green and blue are numbers up to 255 or percentages of it, and alpha is a number
    or a percentage after a comma or a slash.

    Returns:
        "#rrggbb", as a recipe has it.

    Raises:
        ValueError: the text is no such colour.
    """
    given = text.strip() if isinstance(text, str) else ""
    if match := re.fullmatch(r"(#[0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?", given):
        return match[1].lower()
    if re.fullmatch(
        rf"rgba?\(\s*{_CHANNEL}[\s,]+{_CHANNEL}[\s,]+{_CHANNEL}([\s,/]+{_CHANNEL})?\s*\)",
        given,
    ):
        levels = [
            float(number) * 0xFF / 100 if percent else float(number)
            for number, percent in re.findall(_CHANNEL, given)[:3]
        ]
        if max(levels) < 0xFF + 0.5:
            return "#" + bytes(int(level + 0.5) for level in levels).hex()
    raise ValueError(f"colour must look like #1a2b3c, got {text!r:.60}: pick it anew")


def read_colour(text: object) -> Colour:
    """Read what a colour picker gives, as red, green and blue in [0, 1].

    Raises:
        ValueError: the text is no colour.
    """
    return read_hex(picked_colour(text))
