"""A loupe over photo, alpha and cut-out, and the levels of the paper's Figure 2 to move through."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
from gradio.data_classes import FileData

from mgm_core.arrays import Floats

LEVELS = ("Coarse", "Medium", "Fine", "Alpha")
_PANES = (("photo", "Photo"), ("level", "This level"), ("alpha", "Alpha"), ("cutout", "Cut-out"))

_TEMPLATE = (
    '<div class="scrub"><label>Level <input type="range" min="0" max="3" step="0.01" value="3" '
    'aria-label="Level, from coarse to fine"></label><output></output></div>'
    '<div class="parts"><div class="whole" tabindex="0" role="application" aria-label="Alpha at '
    'this level. The loupes show what is under the pointer; arrows move it">'
    + "".join(f'<img alt="" data-level="{n}" draggable="false">' for n in range(len(LEVELS)))
    + '<span></span></div><div class="loupes">'
    + "".join(
        f'<figure><div data-pane="{name}" role="img" aria-label="{label} at 200 %">'
        + '<img alt="" draggable="false">' * (len(LEVELS) if name == "level" else 1)
        + f"</div><figcaption>{label}</figcaption></figure>"
        for name, label in _PANES
    )
    + "</div></div>"
)

_STYLE = """
.scrub { display: flex; gap: 12px; align-items: center; margin-bottom: 8px; }
.scrub label { display: flex; flex: 1; gap: 10px; align-items: center; font-size: 0.9rem; }
.scrub input { flex: 1; max-width: 420px; accent-color: var(--primary-600); }
.scrub output { min-width: 12em; font-size: 0.9rem; }
.parts { display: flex; gap: 12px; align-items: start; }
.parts[hidden], .scrub[hidden] { display: none; }
.whole { flex: 1; min-width: 0; position: relative; overflow: hidden; cursor: crosshair;
  touch-action: none; border-radius: var(--radius-md);
  border: 1px solid var(--border-color-primary); }
.whole img { position: absolute; inset: 0; width: 100%; height: 100%; user-select: none; }
.whole span { position: absolute; border: 2px solid #f59e0b; transform: translate(-50%, -50%);
  box-shadow: 0 0 0 1px black; pointer-events: none; }
.loupes { display: grid; grid-template-columns: repeat(2, 220px); gap: 8px; }
.loupes figure { margin: 0; }
.loupes figure div { position: relative; overflow: hidden; width: 220px; height: 220px;
  border-radius: var(--radius-md); border: 1px solid var(--border-color-primary); }
.loupes img { position: absolute; left: 0; top: 0; max-width: none; transform-origin: 0 0;
  image-rendering: pixelated; user-select: none; }
.loupes figcaption { font-size: 0.85rem; text-align: center; }
@media (max-width: 860px) { .parts { flex-direction: column; align-items: stretch; }
  .loupes { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .loupes figure div { width: 100%; } }
"""

_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def loupe(elem_id: str) -> gr.HTML:
    """Return the loupe; its value is what `under_loupe` makes.

    Args:
        elem_id: its id in the page.
    """
    return gr.HTML(
        html_template=_TEMPLATE, css_template=_STYLE, js_on_load=_SCRIPT, elem_id=elem_id
    )


def under_loupe(photo: str, planes: Sequence[str], cutout: str, alpha: Floats) -> dict[str, object]:
    """Return what the loupe shows, as JSON whose files Gradio serves.

    Args:
        photo: path of the photo.
        planes: paths of alpha at each of `LEVELS`.
        cutout: path of the cut-out.
        alpha: (H, W) float32 in [0, 1]: the loupe begins where most of it is partial, in hair.
    """
    height, width = alpha.shape
    x, y = most_partial(alpha)
    return {
        "photo": FileData(path=photo, orig_name="photo").model_dump(),
        "levels": [
            FileData(path=path, orig_name=name).model_dump()
            for path, name in zip(planes, LEVELS, strict=True)
        ],
        "names": LEVELS,
        "cutout": FileData(path=cutout, orig_name="cutout").model_dump(),
        "width": width,
        "height": height,
        "x": x,
        "y": y,
    }


def most_partial(alpha: Floats) -> tuple[int, int]:
    """Return the pixel (x, y) around which most of an alpha is neither 0 nor 1."""
    side = max(3, max(alpha.shape) // 12)
    # Not at the border, where a loupe shows nothing beside.
    partial = cv2.blur(alpha * (1 - alpha), (side, side), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(partial.argmax()), partial.shape)
    return int(x), int(y)
