"""Example photographs with results that are there at once; `python -m demo.examples` makes them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mgm_core.recipe import MaskKind, Recipe

__all__ = ["EXAMPLES", "HERO", "PICTURES", "Example", "manifest"]

PICTURES = Path(__file__).parent / "pictures"
_MANIFEST = PICTURES / "manifest.json"


@dataclass(frozen=True)
class Example:
    """A photograph to try.

    Args:
        title: Says what is to be seen.
        photo: The file's name among `PICTURES`.
        category: What is cut out.
        mask: The name of a mask that comes with it; None for the segmenter's.
        mask_kind: How it is read.
    """

    title: str
    photo: str
    category: str = "person"
    mask: str | None = None
    mask_kind: MaskKind = "detect"

    @property
    def photo_path(self) -> Path:
        """Where the photograph lies."""
        return PICTURES / self.photo

    @property
    def mask_path(self) -> Path | None:
        """Where the mask lies, if there is one."""
        return None if self.mask is None else PICTURES / self.mask

    @property
    def result_path(self) -> Path:
        """Where the cut-out over tiles lies, as the page shows it."""
        return PICTURES / f"{self.photo_path.stem}-result.jpg"

    @property
    def thumbnail_path(self) -> Path:
        """Where the button's picture lies."""
        return PICTURES / f"{self.photo_path.stem}-thumbnail.webp"

    @property
    def recipe(self) -> Recipe:
        """The settings that the result was made with."""
        return Recipe(
            category=self.category, own_mask=self.mask is not None, mask_kind=self.mask_kind
        )


EXAMPLES = (
    Example("Flying hair", "flying-hair.jpg"),
    Example("Curls", "curls.jpg"),
    Example("Dreadlocks", "dreadlocks.jpg"),
    Example("Fur hat", "fur-hat.jpg"),
    Example("Glasses", "glasses.jpg"),
    Example("Cat", "chelsea.png", category="cat"),
    Example("Your own rough mask", "scribble.jpg", mask="scribble-mask.png"),
    Example("A trimap", "trimap.jpg", mask="trimap-mask.png", mask_kind="trimap"),
)
HERO = Example("Hair in the wind", "scribble.jpg")


@cache
def manifest() -> dict[str, Any]:
    """Return what `python -m demo.examples` wrote down: hashes, and the hero's measured change."""
    read: dict[str, Any] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return read
