"""Results: pictures in rows, and two of one size side by side, which zoom and move together."""

from pathlib import Path
from typing import TypeAlias

import gradio as gr
from gradio.data_classes import FileData

Pair: TypeAlias = dict[str, object]

_TEMPLATE = (
    '<div class="tools" role="toolbar" aria-label="Zoom">'
    '<button type="button" data-do="out" title="Key -" aria-label="Smaller">&minus;</button>'
    '<button type="button" data-do="in" title="Key +" aria-label="Larger">+</button>'
    '<button type="button" data-do="fit" title="Key 0">Fit</button>'
    '<button type="button" data-do="whole" title="Key 1, or double click">1:1</button>'
    "<output></output></div>"
    '<div class="panes" tabindex="0" role="application" aria-label="Two pictures side by '
    "side: plus and minus zoom, 0 fits, 1 shows pixel by pixel, arrows move both, as do wheel and "
    'pointer">'
)
_PANE = '<figure><img alt="{0}" draggable="false"><figcaption>{0}</figcaption></figure>'

_STYLE = """
.tools { display: flex; gap: 6px; align-items: center; margin-bottom: 8px; }
.tools button { min-width: 36px; padding: 6px 12px; border-radius: var(--radius-md);
  font-size: 0.85rem; font-weight: 500; background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); border: 1px solid transparent; cursor: pointer; }
.tools output { font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.panes { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; height: min(640px, 70vh); }
@media (max-width: 640px) { .panes { grid-template-columns: 1fr; height: 80vh; } }
.panes figure { position: relative; overflow: hidden; margin: 0; border-radius: var(--radius-md);
  border: 1px solid var(--border-color-primary); cursor: grab; touch-action: none; }
.panes figure:active { cursor: grabbing; }
.panes img { position: absolute; left: 0; top: 0; max-width: none; transform-origin: 0 0;
  user-select: none; }
.panes figcaption { position: absolute; left: 8px; bottom: 8px; padding: 2px 8px;
  border-radius: var(--radius-md); font-size: 0.8rem; color: white; background: rgb(0 0 0 / 0.6);
  pointer-events: none; }
"""

# One state for both: `zoom` in screen pixels a picture pixel, `centre` as a share of the picture.
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def picture_rows(label: str, *, columns: int, elem_id: str, downloads: bool = True) -> gr.Gallery:
    """Return a gallery of results, as tall as its pictures; screen readers alone tell its label."""
    return gr.Gallery(
        label=label,
        show_label=False,
        columns=columns,
        object_fit="contain",
        height="auto",
        interactive=False,
        buttons=["fullscreen", "download"] if downloads else ["fullscreen"],
        elem_id=elem_id,
    )


def closeup(elem_id: str, captions: tuple[str, str] = ("Photo", "Result")) -> gr.HTML:
    """Return the viewer; its value is what `side_by_side` makes."""
    panes = "".join(_PANE.format(caption) for caption in captions)
    return gr.HTML(
        html_template=f"{_TEMPLATE}{panes}</div>",
        css_template=_STYLE,
        js_on_load=_SCRIPT,
        elem_id=elem_id,
    )


def side_by_side(before: str, after: str) -> Pair:
    """Return what the viewer shows, as JSON whose files Gradio serves."""
    return {
        "before": FileData(path=before, orig_name="photo").model_dump(),
        "after": FileData(path=after, orig_name="result").model_dump(),
    }
