"""What the visitor's own browser does with a photo: keeps it for a day, and reduces a large one.

The server forgets; so the browser keeps the last photo with its settings, in IndexedDB, and offers
to go on. A photo of more megapixels than the server takes is offered to be reduced there, too.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.data_classes import FileData

from demo.web.uploads import uploaded

__all__ = ["Brought", "about_photo", "brought", "keep_settings", "keeper"]

_TEMPLATE = (
    '<div class="offer" role="status" hidden><span></span><button type="button" data-do="accept">'
    '</button><button type="button" data-do="decline"></button></div>'
)
_STYLE = """
.offer { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; padding: 8px 12px;
  border: 1px solid var(--primary-500); border-radius: var(--radius-md); font-size: 0.9rem; }
.offer[hidden] { display: none; }
.offer button { padding: 5px 12px; border-radius: var(--radius-md); cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color); }
.offer button[data-do="accept"] { background: var(--primary-600); color: white; }
"""
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


class Brought(NamedTuple):
    """What the browser brings back.

    Args:
        files: paths of what it has just uploaded, by the control that it is for.
        values: of the other controls.
    """

    files: dict[str, str]
    values: dict[str, Any]


def keeper(elem_id: str) -> gr.HTML:
    """Return the bar that offers; its value is what `about_photo` makes.

    Its event `bring` carries what `brought` reads.
    """
    return gr.HTML(
        html_template=_TEMPLATE, css_template=_STYLE, js_on_load=_SCRIPT, elem_id=elem_id
    )


def about_photo(
    photo: str | None, *, own: bool, megapixels: float, most_megapixels: float
) -> dict[str, object]:
    """Return what the browser is to know of the photo.

    Args:
        photo: its path.
        own: whether it is the visitor's, and worth being kept.
        megapixels: of the photo, 0 where that is not known.
        most_megapixels: that the server takes.
    """
    return {
        "photo": None if photo is None else FileData(path=photo).model_dump(),
        "name": None if photo is None else Path(photo).name,
        "own": own,
        "megapixels": megapixels,
        "most": most_megapixels,
    }


def keep_settings(names: Sequence[str]) -> str:
    """Return the script of an event, whose inputs have these names: the browser keeps them."""
    return f"(...values) => window.mgmKeep?.({json.dumps(list(names))}, values)"


def brought(event: gr.EventData, names: Sequence[str]) -> Brought:
    """Read what the browser brings back.

    Raises:
        ValueError: It is anything else.
    """
    files, values = event.files, event.values
    well_formed = (
        isinstance(files, dict)
        and isinstance(values, dict)
        and "photo" in files
        and all(isinstance(path, str) for path in files.values())
        and {*files, *values} <= set(names)
    )
    if not well_formed:
        raise ValueError("what was kept must be of this version, got another: upload the photo")
    return Brought({name: uploaded(path) for name, path in files.items()}, values)
