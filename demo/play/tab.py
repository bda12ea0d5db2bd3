"""The tab "Play": a game, a loop, a loupe and a comparison, all of the photo in "Cut out"."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from demo.backend.visits import Visits
from demo.play.handlers import PlayHandlers
from demo.play.loupe import loupe
from demo.web.editor import corrections, drawn, guidance_editor
from demo.web.events import AT_ONCE, PRIVATE, in_any_case, running_buttons
from demo.web.uploads import upload
from demo.web.viewer import closeup, picture_rows

_NO_SCORE = "The score will be here."


def play_tab(
    handlers: PlayHandlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    """Lay out the tab and wire it.

    Args:
        handlers: what the tab does.
        controls: those of "Cut out", in the order of `CONTROL_NAMES`.
        arrived: changes where another photo is there.
        visits: take turns.
    """
    gr.Markdown('All of this is done with the photo and the settings of "Cut out".')
    with gr.Tab("A terrible mask"):
        _game(handlers, controls, arrived, visits)
    with gr.Tab("A loop"):
        _loop(handlers, controls, arrived, visits)
    with gr.Tab("A loupe"):
        _loupe(handlers, controls, arrived, visits)
    with gr.Tab("Compare"):
        _comparison(handlers, controls, arrived, visits)


def _game(
    handlers: PlayHandlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    gr.Markdown(
        "Scribble over most of the subject, as badly as you like, and leave the hair to the "
        "network. The score says how much of your mask's error it took away."
    )
    edits, best = corrections("scribble-edits"), gr.State(None)
    with gr.Row(elem_classes="side-by-side"):
        with gr.Column(min_width=320, scale=2):
            canvas = guidance_editor("scribble", brushes_only=True)
            with gr.Row():
                run, stop = _run_and_stop("Cut out by it", "scribble")
        with gr.Column(min_width=320, scale=3):
            score = gr.Markdown(_NO_SCORE, elem_id="scribble-score")
            pictures = picture_rows("Mask and results", columns=3, elem_id="scribble-pictures")
    # A new photo is a new sheet.
    blank, scribbled = (
        visits.of(handler, queued=False) for handler in (handlers.blank, handlers.scribbled)
    )
    arrived.change(blank, controls, [canvas, edits], **AT_ONCE)
    canvas.edit(
        None, None, edits, js=drawn("scribble"), trigger_mode="multiple", **AT_ONCE
    ).success(scribbled, [edits, *controls], canvas, trigger_mode="always_last", **AT_ONCE)
    _compute(
        [run.click],
        (run, stop),
        visits,
        (arrived, {pictures: [], score: _NO_SCORE}),
        fn=handlers.play,
        inputs=[edits, best, *controls],
        outputs=[pictures, score, best],
        show_progress_on=pictures,
    )


def _loop(
    handlers: PlayHandlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    gr.Markdown(
        "The mask shrinks and grows, and the cut-out beside it stands still. Each frame is "
        "computed from its own mask, by the matting network alone."
    )
    with gr.Row():
        run, stop = _run_and_stop("Make the loop", "loop")
        gif = gr.DownloadButton("Download GIF", interactive=False, elem_id="loop-gif")
        mp4 = gr.DownloadButton("Download MP4", interactive=False, elem_id="loop-mp4")
    measured = gr.Markdown(elem_id="loop-measured")
    shown = gr.Image(
        label="Mask and cut-out",
        type="filepath",
        interactive=False,
        buttons=["fullscreen"],
        elem_id="loop-shown",
        alt_text="Left: the photo with its mask, which shrinks and grows. Right: the cut-out",
    )
    nothing = gr.update(value=None, interactive=False)
    cleared: dict[Any, object] = {gif: nothing, mp4: nothing, measured: ""}
    run.click(lambda: [*cleared.values()], None, [*cleared], **AT_ONCE)
    _compute(
        [run.click],
        (run, stop),
        visits,
        (arrived, {shown: None, **cleared}),
        fn=handlers.loop,
        inputs=[*controls],
        outputs=[shown, gif, mp4, measured],
        show_progress_on=measured,
    )


def _loupe(
    handlers: PlayHandlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    gr.Markdown(
        "Alpha from coarse to fine, as in the paper's Figure 2: a level is computed where the one "
        "before is uncertain. The loupes show the pixels under the pointer at 200 %."
    )
    with gr.Row():
        run, stop = _run_and_stop("Look closely", "loupe")
    glass = loupe("loupe")
    _compute(
        [run.click],
        (run, stop),
        visits,
        (arrived, {glass: None}),
        fn=handlers.look,
        inputs=[*controls],
        outputs=glass,
        show_progress_on=run,
    )


def _comparison(
    handlers: PlayHandlers, controls: Sequence[Any], arrived: gr.Textbox, visits: Visits
) -> None:
    gr.Markdown(
        "What another tool made of the same photo: a cut-out with transparency, or a matte. Both "
        "are put over the same tiles, at the same place."
    )
    with gr.Row(elem_classes="side-by-side"):
        with gr.Column(min_width=280, scale=1):
            other = upload(
                label="The other result",
                sources=["upload", "clipboard"],
                height=180,
                elem_id="other",
                placeholder="A transparent PNG or a matte of this photo",
                alt_text="The other result",
            )
            with gr.Row():
                run, stop = _run_and_stop("Compare", "compare")
            note = gr.Markdown(elem_id="compare-note")
        with gr.Column(min_width=320, scale=3, visible=False) as result:
            what = gr.Radio(
                [
                    ("Cut-out", "cut-out"),
                    ("Alpha", "alpha"),
                    ("Where they differ", "difference"),
                ],
                value="cut-out",
                label="Show",
                elem_id="compare-what",
            )
            slider = gr.ImageSlider(
                label="This one | the other",
                interactive=False,
                type="filepath",
                max_height=640,
                slider_position=50,
                buttons=["fullscreen"],
                elem_id="compare-slider",
            )
            pair = closeup("compare-pair", captions=("This one", "The other"))
    _compute(
        [run.click, what.input],
        (run, stop),
        visits,
        (
            arrived,
            {other: None, result: gr.update(visible=False), slider: None, pair: None, note: ""},
        ),
        fn=handlers.compare,
        inputs=[other, what, *controls],
        outputs=[result, slider, pair, note],
        show_progress_on=note,
    )


def _run_and_stop(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """Return the button that begins a computation, and the one that ends it."""
    run = gr.Button(label, variant="primary", elem_id=f"{name}-run")
    stop = gr.Button("Stop", elem_id=f"{name}-stop", scale=0, min_width=80, visible=False)
    return run, stop


def _compute(
    events: Sequence[Any],
    buttons: tuple[gr.Button, gr.Button],
    visits: Visits,
    anew: tuple[gr.Textbox, Mapping[Any, object]],
    *,
    fn: Callable[..., Any],
    **computing: Any,  # noqa: ANN401 - what Gradio's listeners take
) -> None:
    """Compute on events; meanwhile the first button is off, and the second is seen and ends it.

    Args:
        events: begin it.
        buttons: what `_run_and_stop` returned.
        visits: take turns.
        anew: changes where another photo is there, and what the components then show: what was
            made of the photo before is none of this one's.
        fn: computes.
        computing: what else Gradio is to know of it.
    """
    run, stop = buttons
    task = str(run.elem_id)
    arrived, cleared = anew

    begun = gr.on(events, lambda: running_buttons(running=True), None, list(buttons), **AT_ONCE)
    computed = begun.then(fn=visits.of(fn, task=task), **PRIVATE, **computing)
    in_any_case(computed, lambda: running_buttons(running=False), None, list(buttons))
    # Not before the end is known may it begin anew: Gradio would end that as well.
    stop.click(visits.stop(task), None, None, cancels=[computed], **AT_ONCE).then(
        lambda: running_buttons(running=False), None, list(buttons), **AT_ONCE
    )
    arrived.change(visits.stop(task), None, None, cancels=[computed], **AT_ONCE).then(
        lambda: [*cleared.values(), *running_buttons(running=False)],
        None,
        [*cleared, *buttons],
        **AT_ONCE,
    )
