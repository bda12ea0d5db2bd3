"""The tab "Annotate": the labelling page, which the same server answers for beside Gradio."""

import gradio as gr

PATH = "annotate"

# Lazily loaded: who never opens the tab loads nothing of it.
_FRAME = f"""<iframe src="{PATH}/" title="Annotation" loading="lazy"
  style="width: 100%; height: max(560px, calc(100vh - 190px)); border: 0; border-radius: 8px">
</iframe>
<p style="text-align: right; margin: 4px 0"><a href="{PATH}/" target="_blank">Open in a window
of its own</a></p>"""


def annotation_tab() -> None:
    """Lay the labelling page out within the demo's."""
    gr.HTML(_FRAME, elem_id="annotation")
