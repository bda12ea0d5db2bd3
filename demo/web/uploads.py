"""Files that visitors send.

Nothing here subclasses a Gradio component: Gradio writes a stub file beside the source of every
such class.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder


def upload(label: str, **options: Any) -> gr.Image:  # noqa: ANN401 - what gr.Image takes
    """Return an image input that hands over the file as it was sent: `mgm_core.images` reads it.

    Args:
        label: what is wanted.
        options: further ones of `gr.Image`.
    """
    image = gr.Image(label=label, type="filepath", image_mode=None, buttons=[], **options)
    # Gradio would look into the file first, and says nothing where it cannot.
    image.preprocess = sent  # type: ignore[method-assign]
    return image


def sent(payload: ImageData | None) -> str | None:
    """Return the path of a file that was sent."""
    return None if payload is None else payload.path


def uploaded(path: str) -> str:
    """Raise unless a path is that of an upload.

    Gradio checks this only for payloads that say of themselves that they are files; one that does
    not may name any file of the server.

    Args:
        path: as a handler gets it.

    Raises:
        ValueError: the file lies elsewhere.
    """
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError(
            f"{Path(path).name} must be a file that was uploaded, got the name of another: "
            "upload it first"
        )
    return path
