"""A picture to share: the photo, its mask and the result side by side; and the clipboard."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mgm_core.arrays import Bytes, Floats

__all__ = ["COPY", "COPY_BEGUN", "share_card"]

_PANEL_PX = (640, 800)  # at most, (width, height)
_MARGIN_PX, _GAP_PX, _CAPTION_PX = 24, 12, 46
_FONT_PX = 24
_PAPER, _INK = (255, 255, 255), (60, 60, 67)


def share_card(panels: Sequence[tuple[str, Floats]]) -> Floats:
    """Return pictures of one size side by side, each above its caption.

    Args:
        panels: captions, and (H, W, 3) float32 in [0, 1].

    Returns:
        (h, w, 3) float32 in [0, 1].
    """
    height, width = panels[0][1].shape[:2]
    scale = min(1.0, _PANEL_PX[0] / width, _PANEL_PX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    whole = (
        2 * _MARGIN_PX + len(panels) * size[0] + (len(panels) - 1) * _GAP_PX,
        _MARGIN_PX + size[1] + _CAPTION_PX,
    )
    card = Image.new("RGB", whole, _PAPER)
    draw = ImageDraw.Draw(card)
    font = ImageFont.load_default(_FONT_PX)
    for number, (caption, picture) in enumerate(panels):
        left = _MARGIN_PX + number * (size[0] + _GAP_PX)
        card.paste(Image.fromarray(reduced(picture, size)), (left, _MARGIN_PX))
        middle = left + size[0] / 2, _MARGIN_PX + size[1] + _CAPTION_PX / 2
        draw.text(middle, caption, fill=_INK, font=font, anchor="mm")
    return np.asarray(card, np.float32) / np.float32(255)


def reduced(picture: Floats, size: tuple[int, int]) -> Bytes:
    """Return a picture as bytes, reduced to (width, height)."""
    if picture.shape[1::-1] != size:
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(np.rint(255 * picture.clip(0, 1)), np.uint8)


# A browser lets a page write to the clipboard only in answer to a click, and the file comes later:
# the click begins the writing with a promise, and the file keeps it.
COPY_BEGUN, COPY = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("copy-begun.js", "copy.js")
)
