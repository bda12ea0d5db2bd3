"""The canvas on which a visitor corrects the guidance, and what it sends."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import gradio as gr
from gradio.data_classes import FileData

Canvas: TypeAlias = dict[str, object]

_CLICKS = (("click_add", "Click to add", "C"), ("click_remove", "Click to remove", "X"))
_BRUSHES = (("add", "Paint", "B"), ("remove", "Erase", "E"))

_STYLE = """
.tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-bottom: 8px; }
.tools button { margin: 0; padding: 6px 12px; border-radius: var(--radius-md); font-size: 0.85rem;
  font-weight: 500; background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); border: 1px solid transparent; cursor: pointer; }
.tools button[aria-pressed="true"] { background: var(--primary-600); color: white; }
.tools label { display: inline-flex; gap: 6px; align-items: center; font-size: 0.85rem; }
.tools label[hidden] { display: none; }
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
.chips button { position: absolute; width: 28px; height: 28px; border-radius: 50%; padding: 0;
  transform: translate(-50%, -50%); font-size: 0.85rem; font-weight: 650; cursor: pointer;
  color: white; background: var(--primary-600); border: 2px solid white;
  box-shadow: 0 1px 4px rgb(0 0 0 / 0.5); }
.chips button[aria-pressed="false"] { color: black; background: white; border-style: dashed;
  border-color: var(--primary-600); }
.chips i { position: absolute; width: 18px; height: 18px; border-radius: 50%; border: 3px solid
  white; box-shadow: 0 0 0 2px var(--primary-600); transform: translate(-50%, -50%);
  pointer-events: none; animation: waits 0.8s ease-in-out infinite alternate; }
@keyframes waits { to { opacity: 0.25; } }
.hint { margin: 6px 0 0; font-size: 0.85rem; color: var(--body-text-color-subdued); }
"""

# The list of corrections lives in `edits`. Whatever the server sends is drawn as it is; a stroke is
# drawn here at once, and sent when the pointer is lifted.
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def _template(elem_id: str, tools: Sequence[tuple[str, str, str]]) -> str:
    buttons = "".join(
        f'<button type="button" data-tool="{tool}" aria-pressed="false" title="Key {key}">'
        f"{label}</button>"
        for tool, label, key in tools
    )
    clicks = "C and click adds what is there, X or Alt and click removes it, "
    regions = "; the numbers leave a region out, or bring it back"
    return (
        f'<div class="tools" role="toolbar" aria-label="Correct the mask">{buttons}'
        '<label>Size <input type="range" min="1" max="300" value="40" aria-label="Brush size">'
        "<output>40 px</output></label>"
        '<button type="button" data-do="damage" title="Key D">Damage the mask</button>'
        '<button type="button" data-do="undo" title="Ctrl+Z">Undo</button>'
        '<button type="button" data-do="clear">Clear</button>'
        '<button type="button" data-do="zoom" title="Key Z">Zoom 1:1</button></div>'
        f'<div class="frame" data-canvas="{elem_id}" tabindex="0" role="application" '
        'aria-label="Photo with its mask. '
        f"{clicks if len(tools) > len(_BRUSHES) else ''}B paints, E erases, square brackets change "
        f'the size, Ctrl+Z undoes{regions if len(tools) > len(_BRUSHES) else ""}">'
        '<div class="sheet"><img alt=""><canvas></canvas><span></span><div class="chips"></div>'
        '</div></div><p class="hint"></p>'
    )


def guidance_editor(elem_id: str, *, brushes_only: bool = False) -> gr.HTML:
    """Return the canvas: a photo with its guidance to paint on and, unless `brushes_only`, click.

    Its value is what `on_canvas` makes; at its event `edit`, `drawn` brings the corrections.
    """
    tools = _BRUSHES if brushes_only else (*_CLICKS, *_BRUSHES)
    return gr.HTML(
        html_template=_template(elem_id, tools),
        css_template=_STYLE,
        js_on_load=_SCRIPT,
        elem_id=elem_id,
    )


def drawn(elem_id: str) -> str:
    """Return the script of the event `edit`, which brings all corrections of a canvas."""
    return f"() => [window.mgmDrawn[{json.dumps(elem_id)}]]"


def corrections(elem_id: str) -> gr.JSON:
    """Return what holds the corrections, unseen: in the page, which sends them with each wish.

    A `gr.State` is the server's, which forgets the sessions that it has not seen for longest.
    """
    return gr.JSON([], visible="hidden", elem_id=elem_id)


def on_canvas(
    photo: str,
    mask: str,
    width: int,
    height: int,
    edits: object,
    chips: Sequence[tuple[float, float, bool]] = (),
) -> Canvas:
    """Return what the canvas shows, as JSON whose files Gradio serves.

    Args:
        photo: path of the photo.
        mask: path of the tinted guidance.
        width: of the photo, in px.
        height: of the photo, in px.
        edits: the corrections up to now, as the browser sent them.
        chips: a place (x, y) in px on each region, and whether it is in the mask.
    """
    return {
        "photo": FileData(path=photo, orig_name="photo").model_dump(),
        "mask": FileData(path=mask, orig_name="mask").model_dump(),
        "width": width,
        "height": height,
        "edits": edits,
        "chips": [{"x": x, "y": y, "kept": there} for x, y, there in chips],
    }
