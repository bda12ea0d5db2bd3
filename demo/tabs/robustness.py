"""The tab "Robustness": how far a result moves where its mask is eroded and dilated."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from demo.backend.visits import Visits
from demo.handlers import Handlers, empty_curve
from demo.web.events import AT_ONCE, PRIVATE, in_any_case
from demo.web.uploads import SAVE, upload
from demo.web.viewer import picture_rows

__all__ = ["robustness_tab"]

_TASK = "robustness"


def robustness_tab(
    handlers: Handlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    """Lay out the tab and wire it.

    Args:
        handlers: what the tab does.
        controls: those of "Cut out", in the order of `CONTROL_NAMES`.
        arrived: changes where another photo is there.
        visits: take turns.
    """
    gr.Markdown(
        "How wrong may the mask be? Here the mask of your photo is eroded and dilated, and each "
        "result is compared with the one of the mask as it is. With a true alpha the error is "
        "measured as in the paper, and the two curves are the same measure.",
        elem_id="experiment",
    )
    with gr.Row(elem_id="experiment-controls"):
        sizes = gr.Textbox("10, 20, 30", label="Kernel diameters (px)", elem_id="sizes")
        truth = upload(
            label="True alpha (optional)",
            sources=["upload"],
            height=110,
            elem_id="truth",
            placeholder="Drop it here",
            alt_text="True alpha",
        )
        with gr.Column(min_width=140):
            run = gr.Button("Run", variant="primary", elem_id="run")
            stop = gr.Button("Stop", elem_id="stop-run", interactive=False)
            save = gr.Button("Download (ZIP)", elem_id="download-robustness", interactive=False)
    progress_bar = gr.HTML(elem_id="experiment-progress", elem_classes="thin-progress")
    with gr.Row():
        ours = gr.HTML(empty_curve(), elem_id="curve")
        table = gr.Dataframe(
            headers=["Mask", "Change %", "Mask SAD", "Result SAD", "Result MSE"],
            label="Change of the result; SAD in thousands, MSE in thousandths",
            interactive=False,
            elem_id="figures",
        )
    gr.Markdown("Masks, and below them the results, as in the paper's Figure 6")
    strip = picture_rows("Masks, then results", columns=7, elem_id="strip")
    warm = gr.Image(
        label="Where the results disagree",
        type="filepath",
        interactive=False,
        height=420,
        buttons=["fullscreen", "download"],
        elem_id="heat",
        alt_text="The photo, darkened; bright where the results differ",
    )
    file = gr.File(label="Download", elem_classes="offstage")

    def buttons(*, running: bool, file: str | None) -> list[gr.Button]:
        enabled = (not running, running, file is not None)
        return [gr.Button(interactive=on) for on in enabled]

    begun = run.click(
        handlers.places, [sizes, truth, controls[0]], [ours, strip, file], **AT_ONCE
    ).success(lambda: buttons(running=True, file=None), None, [run, stop, save], **AT_ONCE)
    running = begun.success(
        visits.of(handlers.experiment, task=_TASK),
        [sizes, truth, *controls],
        [ours, strip, warm, table, file],
        **PRIVATE,
        show_progress_on=progress_bar,
    )
    in_any_case(
        running,
        lambda file: buttons(running=False, file=file),
        file,
        [run, stop, save],
    )
    stop.click(visits.stop(_TASK), None, None, cancels=[running], **AT_ONCE).then(
        lambda: buttons(running=False, file=None), None, [run, stop, save], **AT_ONCE
    )
    # What was measured on another photo says nothing of this one.
    arrived.change(visits.stop(_TASK), None, None, cancels=[running], **AT_ONCE).then(
        lambda: [None, empty_curve(), [], None, [], None, *buttons(running=False, file=None)],
        None,
        [truth, ours, strip, warm, table, file, run, stop, save],
        **AT_ONCE,
    )
    save.click(None, file, None, js=SAVE, **PRIVATE)
