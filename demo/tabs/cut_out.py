"""The tab "Cut out": photo, result and settings, and which handler answers to what."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr
from gradio.events import Dependency

from demo.backend.publishing import Product
from demo.backend.visits import Visits
from demo.controls import CONTROL_NAMES, PER_PHOTO
from demo.environment import Environment
from demo.handlers import Handlers
from demo.play.card import COPY, COPY_BEGUN
from demo.play.handlers import PlayHandlers
from demo.tabs.settings import lay_out_settings
from demo.web.editor import corrections, drawn, guidance_editor
from demo.web.events import AT_ONCE, PRIVATE, UNSEEN, in_any_case
from demo.web.gallery import example_buttons, hero
from demo.web.keeper import keep_settings, keeper
from demo.web.uploads import SAVE, arrival, upload
from demo.web.viewer import closeup, picture_rows

__all__ = ["cut_out_tab"]

VIEWS = [
    ("Cut-out", "cut-out"),
    ("Alpha", "alpha"),
    ("Mask", "guidance"),
    ("Colours", "foreground"),
]
RESULT: Product = "composite"
DOWNLOADS: list[tuple[str, Product]] = [
    ("Transparent", "cutout"),
    ("Alpha", "alpha"),
    ("Alpha, 16 bit", "alpha16"),
    ("Foreground", "foreground"),
    ("Guidance", "guidance"),
    ("Settings (JSON)", "settings"),
    ("All (ZIP)", "all"),
]
# How much of the photo is seen beside its cut-out; of what is no result for itself, nothing.
_BEFORE_PERCENT = 10
# Has screen readers say what the line beside the progress tells; Gradio's Markdown has no such
# option.
_READ_ALOUD = """
element.closest("#status").querySelector("#note").setAttribute("aria-live", "polite");
"""
# Empties the result, the close-up, the canvas and the line below; the canvas forgets its strokes.
_FORGET_SHOWN = """() => {
  window.dispatchEvent(new CustomEvent("mgm:photo"));
  return [null, null, null, ""];
}"""


class _Pictures(NamedTuple):
    """What shows the result, and the columns that show and hide it."""

    view: gr.Radio
    editing: gr.Checkbox
    closely: gr.Checkbox
    editor: Any
    editor_block: gr.Column
    slider: gr.ImageSlider
    slider_block: gr.Column
    pair: Any
    pair_block: gr.Column


class _Status(NamedTuple):
    """The line below the result."""

    note: gr.Markdown
    progress_bar: gr.HTML
    stop: gr.Button


class _Downloads(NamedTuple):
    """The row of buttons, each with what it gives where that is a file."""

    block: gr.Row
    copy: gr.Button
    card: gr.Button
    products: list[tuple[gr.Button, Product]]


class _Steps(NamedTuple):
    """How the result came about."""

    block: gr.Accordion
    gallery: gr.Gallery


def cut_out_tab(
    handlers: Handlers, playing: PlayHandlers, environment: Environment, visits: Visits
) -> tuple[list[Any], gr.Textbox]:
    """Lay out the tab and wire it.

    Returns:
        The controls in the order of `CONTROL_NAMES`, and what changes where another photo is there.
    """
    keeping = keeper("keeper")
    with gr.Row(elem_id="stage"):
        with gr.Column(elem_id="photo-block"):
            photo = upload(
                label="Photo",
                sources=["upload", "clipboard", "webcam"],
                height=420,
                elem_id="photo",
                placeholder="# Choose or take a photo\nor drop or paste it here, up to "
                f"{environment.max_megapixels:g} megapixels",
                alt_text="Your photo",
            )
            examples = example_buttons()
        with gr.Column(elem_id="hero-block") as hero_block:
            hero()
        with gr.Column(elem_id="result-block", visible=False) as result_block:
            pictures = _lay_out_pictures()
            status = _lay_out_status()
            downloads = _lay_out_downloads()
            steps = _lay_out_steps()
        with gr.Column(elem_id="controls-block", visible=False) as settings_block:
            settings = lay_out_settings(environment.quality)
    parts = {"photo": photo, "edits": corrections("edits"), **settings}
    controls = [parts[name] for name in CONTROL_NAMES]
    per_photo = [parts[name] for name in PER_PHOTO]

    arrived, mask_arrived, backdrop_arrived = (
        arrival(parts[name]) for name in ("photo", "mask", "backdrop")
    )
    # What was made for another photo means nothing for this one.
    brought_digest = gr.State()
    blocks = [result_block, settings_block, hero_block]
    ignoring = parts["ignore_transparency"]
    new = [*blocks, keeping, brought_digest, steps.gallery, parts["edits"], *per_photo, ignoring]
    start_photo, example, bring = (
        visits.of(handler) for handler in (handlers.start_photo, handlers.example, handlers.bring)
    )
    transparency, labels = (
        visits.of(handler, queued=False) for handler in (handlers.transparency, handlers.labels)
    )
    emptied = [pictures.slider, pictures.pair, pictures.editor, status.note]
    arrived.change(None, None, emptied, js=_FORGET_SHOWN, queue=False, **PRIVATE)
    started = arrived.change(start_photo, [photo, brought_digest], new, **UNSEEN)
    # Refused, the photo goes, as all that stands beside it is of the one before.
    started.failure(
        lambda photo: (gr.skip() if photo is None else None, *handlers.start_photo(None, None)),
        photo,
        [photo, *new],
        **AT_ONCE,
    )
    outdated, _ = in_any_case(started, visits.outdate)
    # Meanwhile the photo before may have been shown once more.
    outdated.then(None, None, emptied, js=_FORGET_SHOWN, queue=False, **PRIVATE)
    arrived.change(transparency, photo, ignoring, **AT_ONCE)
    mask, label = parts["mask"], parts["label"]
    labelled = mask_arrived.change(labels, [mask, label], label, **AT_ONCE)
    examples.select(example, None, [photo, *per_photo], trigger_mode="multiple", **UNSEEN)
    keeping.bring(bring, None, [brought_digest, *controls], **UNSEEN)
    _wire_pictures(pictures)
    # Waited for, not listened to: a new photo empties them too, and is a wish of its own.
    edited = pictures.editor.edit(
        None, None, parts["edits"], js=drawn("editor"), trigger_mode="multiple", **AT_ONCE
    )
    changed = _wire_changes(parts, pictures, backdrop_arrived, visits)
    # One wish ends the one before; without a queue it does so while that is being computed.
    wishes = [
        changed,
        *in_any_case(labelled, visits.outdate),
        outdated,
        edited.success(visits.outdate, **AT_ONCE),
    ]
    showing = _wire_result(handlers, visits, wishes, parts, pictures, status, downloads)
    _wire_steps(handlers, visits, showing, controls, steps)
    _wire_downloads(handlers, playing, visits, controls, downloads)
    return controls, arrived


def _lay_out_pictures() -> _Pictures:
    with gr.Row(elem_id="view-row"):
        view = gr.Radio(VIEWS, value="cut-out", label="Show", elem_id="view", container=False)
        editing = gr.Checkbox(label="Click or paint", elem_id="editing", container=False)
        closely = gr.Checkbox(label="Zoom", elem_id="closely", container=False)
    with gr.Row(elem_id="pictures"):
        with gr.Column(visible=False, min_width=320) as editor_block:
            editor = guidance_editor("editor")
        with gr.Column(min_width=320) as slider_block:
            slider = gr.ImageSlider(
                label="Photo and result",
                show_label=False,
                interactive=False,
                type="filepath",
                max_height=760,
                slider_position=_BEFORE_PERCENT,
                buttons=["fullscreen"],
                elem_id="result",
            )
        with gr.Column(visible=False, min_width=320) as pair_block:
            pair = closeup("closeup")
    return _Pictures(
        view, editing, closely, editor, editor_block, slider, slider_block, pair, pair_block
    )


def _lay_out_status() -> _Status:
    with gr.Row(elem_id="status"):
        note = gr.Markdown(elem_id="note")
        # Here, so that the picture stays in sight while the next one is made.
        progress_bar = gr.HTML(
            elem_id="progress", elem_classes="thin-progress", js_on_load=_READ_ALOUD
        )
        stop = gr.Button("Stop", size="sm", elem_id="stop", scale=0, min_width=64)
    return _Status(note, progress_bar, stop)


def _lay_out_downloads() -> _Downloads:
    with gr.Row(elem_id="downloads") as block:
        save = gr.Button("Download PNG", variant="primary", elem_id="download-composite")
        copy = gr.Button("Copy", size="sm", elem_id="copy")
        card = gr.Button("Share card", size="sm", elem_id="card")
        others = [
            (gr.Button(label, size="sm", elem_id=f"download-{product}"), product)
            for label, product in DOWNLOADS
        ]
    return _Downloads(block, copy, card, [(save, RESULT), *others])


def _lay_out_steps() -> _Steps:
    with gr.Accordion(
        "How it came about (the paper's Figure 2)", open=False, elem_id="steps"
    ) as block:
        gallery = picture_rows("From guidance to cut-out", columns=4, elem_id="steps-gallery")
    return _Steps(block, gallery)


def _wire_pictures(pictures: _Pictures) -> None:
    """Show and hide what the boxes above the result name."""
    view, editing, closely = pictures[:3]
    editing.change(lambda on: gr.Column(visible=on), editing, pictures.editor_block, **AT_ONCE)
    gr.on(
        [view.change, editing.change],
        lambda view, on: gr.ImageSlider(
            slider_position=_BEFORE_PERCENT if view == "cut-out" and not on else 0
        ),
        [view, editing],
        pictures.slider,
        **AT_ONCE,
    )
    closely.change(
        lambda on: (gr.Column(visible=on), gr.Column(visible=not on)),
        closely,
        [pictures.pair_block, pictures.slider_block],
        **AT_ONCE,
    )


def _wire_changes(
    parts: dict[str, Any], pictures: _Pictures, backdrop_arrived: gr.Textbox, visits: Visits
) -> Dependency:
    """Return what happens where the visitor changes a setting: what is shown is outdated."""
    # A file sets what goes with it: only what the visitor does to these is a change.
    with_file = [parts["label"], parts["ignore_transparency"]]
    elsewhere = [parts[name] for name in ("photo", "mask", "backdrop", "edits")]
    seen = [parts[name] for name in CONTROL_NAMES]
    seen = [part for part in seen if part not in (*elsewhere, *with_file)]
    listened = [*pictures[:3], backdrop_arrived, *seen]
    changed: Dependency = gr.on(
        [*(part.change for part in listened), *(part.input for part in with_file)],
        visits.outdate,
        trigger_mode="always_last",
        **AT_ONCE,
    )
    return changed


def _wire_result(
    handlers: Handlers,
    visits: Visits,
    wishes: Sequence[Dependency],
    parts: dict[str, Any],
    pictures: _Pictures,
    status: _Status,
    downloads: _Downloads,
) -> list[Dependency]:
    """Have each wish shown, until the next one or the button ends it; return what shows."""
    last = gr.State()
    controls = [parts[name] for name in CONTROL_NAMES]
    shown = [pictures.slider, status.note, pictures.editor, pictures.pair, last, downloads.block]
    showing = [
        wish.then(
            visits.of(handlers.show, passing=True),
            [pictures.view, pictures.editing, *controls],
            shown,
            trigger_mode="multiple",
            show_progress_on=status.progress_bar,
            **PRIVATE,
        )
        for wish in wishes
    ]
    # The keeper has the corrections by the canvas itself.
    by_name = {name: parts[name] for name in CONTROL_NAMES if name != "edits"}
    for done in showing:
        done.success(None, [*by_name.values()], None, js=keep_settings([*by_name]), **PRIVATE)
    # Gradio forgets what was to come, and the token ends what is being computed.
    status.stop.click(visits.stop("cut out"), None, None, cancels=showing, **AT_ONCE).then(
        handlers.stopped,
        [last, parts["photo"]],
        [pictures.slider, status.note, pictures.pair],
        **AT_ONCE,
    )
    return showing


def _wire_steps(
    handlers: Handlers,
    visits: Visits,
    showing: Sequence[Dependency],
    controls: Sequence[Any],
    steps: _Steps,
) -> None:
    """Have the steps computed while they are unfolded."""
    explained = gr.State(False)
    opened = steps.block.expand(lambda: True, None, explained, **AT_ONCE)
    steps.block.collapse(lambda: False, None, explained, **AT_ONCE)
    for finished in (*showing, opened):
        finished.success(
            visits.of(handlers.steps, passing=True),
            [explained, *controls],
            steps.gallery,
            show_progress_on=steps.gallery,
            **PRIVATE,
        )


def _wire_downloads(
    handlers: Handlers,
    playing: PlayHandlers,
    visits: Visits,
    controls: Sequence[Any],
    downloads: _Downloads,
) -> None:
    file = gr.File(label="Download", elem_classes="offstage")
    buttons: list[tuple[gr.Button, Callable[..., Any]]] = [
        (downloads.card, playing.card),
        *(
            (button, functools.partial(handlers.download, product))
            for button, product in downloads.products
        ),
    ]
    for button, make in buttons:
        made = button.click(visits.of(make), controls, file, show_progress_on=button, **PRIVATE)
        made.success(None, file, None, js=SAVE, **PRIVATE)
    copy = downloads.copy
    copy.click(None, None, None, js=COPY_BEGUN, **PRIVATE)
    copied = copy.click(
        visits.of(functools.partial(handlers.download, RESULT)),
        controls,
        file,
        show_progress_on=copy,
        **PRIVATE,
    )
    copied.success(None, file, None, js=COPY, **PRIVATE)
    copied.failure(None, None, None, js=COPY, **PRIVATE)
