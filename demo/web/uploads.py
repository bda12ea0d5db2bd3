"""Files that visitors send.

Nothing here subclasses a Gradio component: Gradio writes a stub file beside the source of every
such class.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

import mgm_core.images  # noqa: F401 - teaches Pillow, through which Gradio looks at uploads, HEIC


def upload(label: str, **options: Any) -> gr.Image:  # noqa: ANN401 - what gr.Image takes
    """Return an image input that hands over the file as it was sent: `mgm_core.images` reads it.

    Args:
        label: what is wanted.
        options: further ones of `gr.Image`.
    """
    return gr.Image(label=label, type="filepath", image_mode=None, buttons=[], **options)


def uploaded(path: str) -> str:
    """Hold a path to be that of an upload.

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
