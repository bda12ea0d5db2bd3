"""Files that visitors send."""

from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

import mgm_core.images  # noqa: F401 - teaches Pillow, through which Gradio looks at uploads, HEIC


class Upload(gr.Image):
    """An image input that hands over the file as it was sent: `mgm_core.images` reads it."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the uploaded file's path.

        Raises:
            gr.Error: the path is not one of an upload. Gradio checks this only for payloads that
                say of themselves that they are files.
        """
        if payload is None:
            return None
        path = Path(payload.path or "").resolve()
        if not path.is_relative_to(Path(get_upload_folder()).resolve()):
            raise gr.Error(
                "The file must be uploaded first. Send it, and then its path.",
                print_exception=False,
            )
        return str(path)
