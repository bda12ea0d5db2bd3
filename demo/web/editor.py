"""The canvas on which a visitor corrects the guidance, and what it sends."""

from pathlib import Path
from typing import TypeAlias

import gradio as gr
from gradio.data_classes import FileData

Canvas: TypeAlias = dict[str, object]

_TOOLS = (
    ("add", "Add", "B"),
    ("remove", "Remove", "E"),
    ("pick", "Keep / drop region", "V"),
)

_TEMPLATE = (
    '<div class="tools" role="toolbar" aria-label="Correct the guidance">'
    + "".join(
        f'<button type="button" data-tool="{tool}" aria-pressed="false" title="Key {key}">'
        f"{label}</button>"
        for tool, label, key in _TOOLS
    )
    + '<label>Size <input type="range" min="1" max="300" value="40" aria-label="Brush size">'
    "<output>40 px</output></label>"
    '<button type="button" data-do="damage" title="Key D">Damage the mask</button>'
    '<button type="button" data-do="undo" title="Ctrl+Z">Undo</button>'
    '<button type="button" data-do="clear">Clear</button>'
    '<button type="button" data-do="zoom" title="Key Z">Zoom 1:1</button></div>'
    '<div class="frame" tabindex="0" role="application" aria-label="Photo with its guidance: '
    "paint on it. B adds, E removes, V keeps or drops a region, square brackets change the size, "
    'Ctrl+Z undoes"><div class="sheet"><img alt=""><canvas></canvas><span></span></div></div>'
)

_STYLE = """
.tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-bottom: 8px; }
.tools button { padding: 6px 12px; border-radius: var(--radius-md); font-size: 0.85rem;
  font-weight: 500; background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); border: 1px solid transparent; cursor: pointer; }
.tools button[aria-pressed="true"] { background: var(--primary-600); color: white; }
.tools label { display: inline-flex; gap: 6px; align-items: center; font-size: 0.85rem; }
.tools input { width: 110px; accent-color: var(--primary-600); }
.tools output { min-width: 3.6em; font-variant-numeric: tabular-nums; }
.frame { overflow: auto; max-height: 760px; border-radius: var(--radius-md);
  border: 1px solid var(--border-color-primary); }
.sheet { position: relative; overflow: hidden; }
.sheet img, .sheet canvas { display: block; width: 100%; user-select: none; }
.sheet canvas { position: absolute; inset: 0; height: 100%; opacity: 0.55; cursor: crosshair; }
.sheet span { position: absolute; border: 1.5px solid white; border-radius: 50%;
  box-shadow: 0 0 0 1px black; pointer-events: none; transform: translate(-50%, -50%);
  display: none; }
"""

# The list of corrections lives in `edits`. Whatever the server sends is drawn as it is; a stroke is
# drawn here at once, and sent when the pointer is lifted.
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def guidance_editor(elem_id: str) -> gr.HTML:
    """Return the canvas: a photo with its guidance to paint on.

    Its value is what `on_canvas` makes, its event `edit` brings the list of corrections.

    Args:
        elem_id: its id in the page.
    """
    return gr.HTML(
        html_template=_TEMPLATE, css_template=_STYLE, js_on_load=_SCRIPT, elem_id=elem_id
    )


def on_canvas(photo: str, mask: str, width: int, height: int, edits: object) -> Canvas:
    """Return what the canvas shows, as JSON whose files Gradio serves.

    Args:
        photo: path of the photo.
        mask: path of the tinted guidance.
        width: of the photo, in px.
        height: of the photo, in px.
        edits: the corrections up to now, as the browser sent them.
    """
    return {
        "photo": FileData(path=photo, orig_name="photo").model_dump(),
        "mask": FileData(path=mask, orig_name="mask").model_dump(),
        "width": width,
        "height": height,
        "edits": edits,
    }
