"""Files that visitors send, and take away.

Nothing here subclasses a Gradio component: Gradio writes a stub file beside the source of every
such class.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

from demo.web.events import PRIVATE

# The file is fetched from where the handler put it, so that nothing is encoded before it is asked
# for; a visible DownloadButton would have to hold its file beforehand.
SAVE = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""
_KEY = "(file) => file ? `${file.path} ${window.mgmExamples ?? 0}` : ''"


def upload(label: str, **options: Any) -> gr.Image:  # noqa: ANN401 - what gr.Image takes
    """Return an image input that hands over the file as it was sent: `mgm_core.images` reads it."""
    image = gr.Image(label=label, type="filepath", image_mode=None, buttons=[], **options)
    # Gradio would look into the file first, and says nothing where it cannot.
    image.preprocess = sent  # type: ignore[method-assign]
    return image


def arrival(picture: gr.Image | gr.Video) -> gr.Textbox:
    """Return a hidden text whose `change` says that a picture or clip is another file.

    An example that is chosen again counts as another file. The part's own `change` comes several
    times for one file, and without end for a file that replaces another.

    Args:
        picture: what visitors upload to.

    Source: https://github.com/gradio-app/gradio/issues/12346
    """
    text = gr.Textbox(label=picture.label, elem_classes="offstage")
    picture.change(None, picture, text, js=_KEY, queue=False, **PRIVATE)
    return text


def sent(payload: ImageData | None) -> str | None:
    """Return the path of a file that was sent."""
    return None if payload is None else payload.path


def uploaded(path: str) -> str:
    """Count an upload as used from now on; raise unless the path is that of one.

    Gradio checks this only for payloads that say of themselves that they are files; one that does
    not may name any file of the server.

    Raises:
        ValueError: the file lies elsewhere.
    """
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError(
            f"{Path(path).name} must be a file that was uploaded, got the name of another: "
            "upload it first"
        )
    with suppress(OSError):  # whoever reads the file says that it is gone
        os.utime(path)
    return path


def label_choice(shares: Mapping[int, float], chosen: int | None = None) -> gr.Dropdown:
    """Return the choice among a class map's labels; of one or none there is nothing to choose.

    Args:
        shares: each label's share of the picture.
        chosen: a label that stays chosen where it is among them; else it is the largest.
    """
    if len(shares) < 2:
        return gr.Dropdown(choices=[], value=None, visible=False)
    choices = [(f"{label} ({share:.1%} of the picture)", label) for label, share in shares.items()]
    value = chosen if chosen in shares else max(shares, key=lambda n: shares[n])
    return gr.Dropdown(choices=choices, value=value, visible=True)
