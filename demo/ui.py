"""The page: its layout, and which handler answers to what."""

import functools
from typing import Any, get_args

import gradio as gr

from demo.about import about
from demo.api import Api, add_endpoints
from demo.backend.orders import GROW_LIMIT_PX
from demo.backend.publishing import Product
from demo.backend.studio import Studio
from demo.backend.visits import Visits
from demo.controls import CONTROL_NAMES, PER_PHOTO
from demo.environment import Environment
from demo.handlers import Handlers, empty_curve
from demo.play.card import COPY, COPY_BEGUN
from demo.play.handlers import PlayHandlers
from demo.play.tab import play_tab
from demo.tabs.annotation import annotation_tab
from demo.tabs.batch import batch_tab
from demo.tabs.video import video_tab
from demo.web.curve import curve
from demo.web.editor import guidance_editor
from demo.web.gallery import example_buttons, hero
from demo.web.keeper import keep_settings, keeper
from demo.web.uploads import SAVE, arrival, upload
from demo.web.viewer import closeup
from mgm_core import __version__
from mgm_core.foreground.estimate import ForegroundMethod
from mgm_core.recipe import AUTO, BackgroundKind, Quality

# All animals, and the segmenter's 21 categories but for the background. A test holds them to the
# core's, whose order does not suit a page.
CATEGORIES = (
    "person", "animal", "cat", "dog", "horse", "bird", "cow", "sheep", "potted plant", "chair",
    "sofa", "dining table", "tv monitor", "bottle", "bicycle", "motorbike", "car", "bus", "train",
    "boat", "aeroplane",
)  # fmt: skip
SEGMENTERS = [
    ("Portrait (bundled)", "portrait"),
    ("Portrait, free for any use (bundled)", "portrait_permissive"),
    ("DeepLabV3 ResNet-50 (download, 160 MB)", "deeplabv3_resnet50"),
    ("DeepLabV3 ResNet-101 (download, 233 MB)", "deeplabv3_resnet101"),
    ("DeepLabV3 MobileNetV3 (download, 42 MB)", "deeplabv3_mobilenet_v3_large"),
]
VIEWS = [
    ("Cut-out", "cut-out"),
    ("Alpha", "alpha"),
    ("Mask", "guidance"),
    ("Colours", "foreground"),
]
MASK_KINDS = [
    ("Detect", "detect"),
    ("Binary mask", "binary_mask"),
    ("Soft mask or matte", "soft_mask"),
    ("Trimap", "trimap"),
    ("Trimap, sure foreground only", "trimap_fg"),
]
BACKGROUNDS = [
    ("None", "transparent"),
    ("Colour", "colour"),
    ("Gradient", "gradient"),
    ("Picture", "picture"),
    ("Blur", "blur"),
]
SWATCHES: list[tuple[str, tuple[BackgroundKind, str, str]]] = [
    ("White", ("colour", "#ffffff", "#d8e8d0")),
    ("Black", ("colour", "#000000", "#d8e8d0")),
    ("Green", ("colour", "#00b140", "#d8e8d0")),
    ("Sky", ("gradient", "#7db9e8", "#f4fbff")),
    ("Dusk", ("gradient", "#3a1c71", "#ffaf7b")),
    ("Studio", ("gradient", "#f2f2f2", "#8a8f98")),
    ("Blurred", ("blur", "#ffffff", "#d8e8d0")),
]
FITS = [("Fill", "cover"), ("Show all", "contain"), ("Stretch", "stretch")]
FOREGROUND_LABELS: dict[ForegroundMethod, str] = {
    "multilevel": "Estimated (multilevel, fast)",
    "network": "Estimated by a network (best)",
    "raw": "Photo's own, to see the fringe",
}
FOREGROUNDS = [
    ("As the quality says", "quality"),
    *((FOREGROUND_LABELS.get(name, name), name) for name in get_args(ForegroundMethod)),
]
QUALITIES = [("Fast", "fast"), ("Best", "best")]
RESULT: Product = "composite"
# How much of the photo is seen beside its cut-out; of what is no result for itself, nothing.
_BEFORE_PERCENT = 10
DOWNLOADS: list[tuple[str, Product]] = [
    ("Transparent", "cutout"),
    ("Alpha", "alpha"),
    ("Alpha, 16 bit", "alpha16"),
    ("Foreground", "foreground"),
    ("Guidance", "guidance"),
    ("Settings (JSON)", "settings"),
    ("All (ZIP)", "all"),
]


def build(studio: Studio, environment: Environment, visits: Visits) -> gr.Blocks:
    """Lay out the page and wire it.

    Args:
        studio: does the work behind it.
        environment: limits.
        visits: take turns.

    Returns:
        The page, not launched.
    """
    handlers, playing = Handlers(studio), PlayHandlers(studio)
    keep_s = environment.keep_minutes * 60
    page = gr.Blocks(
        title="Mask-guided matting",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(min(keep_s, 600), keep_s),
    )
    with page:
        gr.HTML(
            "<h1>Mask-guided matting</h1>"
            "<p>A rough mask says who. The network finds every hair.</p>",
            elem_id="title",
        )
        with gr.Tab("Cut out"):
            controls, arrived = _cut_out(handlers, playing, environment, visits)
        with gr.Tab("Robustness"):
            _robustness(handlers, controls, visits)
        with gr.Tab("Play"):
            play_tab(playing, controls, arrived, visits)
        with gr.Tab("Several photos"):
            batch_tab(studio, environment, CATEGORIES, visits)
        with gr.Tab("Video"):
            video_tab(studio.models, environment, CATEGORIES, visits)
        if environment.annotate:
            with gr.Tab("Annotate"):
                annotation_tab()
        with gr.Tab("About"):
            gr.Markdown(about(environment.keep_minutes), elem_id="about")
        gr.HTML(f"<p>mgm {__version__}</p>", elem_id="version", padding=False)
        add_endpoints(Api(studio, environment.max_megapixels), visits)
    return page


def _cut_out(
    handlers: Handlers, playing: PlayHandlers, environment: Environment, visits: Visits
) -> tuple[list[Any], gr.Textbox]:
    parts: dict[str, Any] = {}
    keeping = keeper("keeper")
    with gr.Row(elem_id="stage"):
        with gr.Column(elem_id="photo-block"):
            parts["photo"] = photo = upload(
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
            with gr.Row(elem_id="view-row"):
                view = gr.Radio(
                    VIEWS, value="cut-out", label="Show", elem_id="view", container=False
                )
                editing = gr.Checkbox(label="Click or paint", elem_id="editing", container=False)
                closely = gr.Checkbox(label="Zoom", elem_id="closely", container=False)
            with gr.Row(elem_id="pictures"):
                with gr.Column(visible=False, min_width=320) as editor_block:
                    editor = guidance_editor("editor")
                with gr.Column(min_width=320) as slider_block:
                    result = gr.ImageSlider(
                        label="Photo and result",
                        show_label=False,
                        interactive=False,
                        type="filepath",
                        max_height=760,
                        slider_position=_BEFORE_PERCENT,
                        buttons=["fullscreen"],
                        elem_id="result",
                    )
                with gr.Column(visible=False, min_width=320) as closeup_block:
                    pair = closeup("closeup")
            with gr.Row(elem_id="status"):
                note = gr.Markdown(elem_id="note")
                # Here, so that the picture stays in sight while the next one is made.
                progress_bar = gr.HTML(elem_id="progress", elem_classes="thin-progress")
                cancel = gr.Button("Stop", size="sm", elem_id="stop", scale=0, min_width=64)
            with gr.Row(elem_id="downloads") as downloads:
                save = gr.Button("Download PNG", variant="primary", elem_id="download-composite")
                copy = gr.Button("Copy", size="sm", elem_id="copy")
                card = gr.Button("Share card", size="sm", elem_id="card")
                others = [
                    (gr.Button(label, size="sm", elem_id=f"download-{wanted}"), wanted)
                    for label, wanted in DOWNLOADS
                ]
            with gr.Accordion(
                "How it came about (the paper's Figure 2)", open=False, elem_id="steps"
            ) as steps_block:
                steps = gr.Gallery(
                    label="From guidance to cut-out",
                    show_label=False,
                    columns=4,
                    object_fit="contain",
                    height="auto",
                    interactive=False,
                    buttons=["fullscreen", "download"],
                    elem_id="steps-gallery",
                )
        with gr.Column(elem_id="controls-block", visible=False) as controls_block:
            _controls(parts, environment.quality)
    file = gr.File(label="Download", elem_classes="offstage")
    parts["edits"] = edits = gr.State([])
    explained = gr.State(False)
    last = gr.State()
    controls = [parts[name] for name in CONTROL_NAMES]
    per_photo = [parts[name] for name in PER_PHOTO]
    at_once: dict[str, Any] = {
        "queue": False,
        "api_visibility": "private",
        "show_progress": "hidden",
    }
    private: dict[str, Any] = {"api_visibility": "private"}

    arrived, mask, backdrop = (arrival(parts[name]) for name in ("photo", "mask", "backdrop"))
    # What was made for another photo means nothing for this one.
    brought_digest = gr.State()
    started = arrived.change(
        handlers.start_photo,
        [photo, brought_digest],
        [
            result_block,
            controls_block,
            hero_block,
            keeping,
            brought_digest,
            steps,
            edits,
            *per_photo,
        ],
        **at_once,
    )
    arrived.change(handlers.transparency, photo, parts["ignore_transparency"], **at_once)
    labelled = mask.change(handlers.labels, parts["mask"], parts["label"], **at_once)
    examples.select(handlers.example, None, [photo, *per_photo], **at_once)
    keeping.bring(handlers.bring, None, [brought_digest, *controls], **at_once)
    editing.change(lambda on: gr.Column(visible=on), editing, editor_block, **at_once)
    gr.on(
        [view.change, editing.change],
        lambda view, on: gr.ImageSlider(
            slider_position=_BEFORE_PERCENT if view == "cut-out" and not on else 0
        ),
        [view, editing],
        result,
        **at_once,
    )
    closely.change(
        lambda on: (gr.Column(visible=on), gr.Column(visible=not on)),
        closely,
        [closeup_block, slider_block],
        **at_once,
    )
    # States are waited for, not listened to: what is not queued does not tell of their changes.
    edited = editor.edit(handlers.edited, None, edits, **at_once)
    opened = steps_block.expand(lambda: True, None, explained, **at_once)
    steps_block.collapse(lambda: False, None, explained, **at_once)
    # A file sets what goes with it: only what the visitor does to these is a change.
    with_file = [parts["label"], parts["ignore_transparency"]]
    elsewhere = [parts[name] for name in ("photo", "mask", "backdrop", "edits")]
    seen = [part for part in controls if part not in (*elsewhere, *with_file)]
    changed = gr.on(
        [
            *(part.change for part in (view, editing, closely, backdrop, *seen)),
            *(part.input for part in with_file),
        ],
        visits.outdate,
        trigger_mode="always_last",
        **at_once,
    )
    # One wish ends the one before; without a queue it does so while that is being computed.
    showing = [
        wish.then(
            visits.of(handlers.show, passing=True),
            [view, editing, *controls],
            [result, note, editor, pair, last, downloads],
            trigger_mode="multiple",
            show_progress_on=progress_bar,
            **private,
        )
        for wish in (
            changed,
            labelled.then(visits.outdate, **at_once),
            started.then(visits.outdate, **at_once),
            edited.success(visits.outdate, **at_once),
        )
    ]
    # Corrections are known to the browser already; a state has no value there.
    by_name = {name: parts[name] for name in CONTROL_NAMES if name != "edits"}
    for shown in showing:
        shown.success(
            None, [*by_name.values()], None, js=keep_settings([*by_name]), api_visibility="private"
        )
    for finished in (*showing, opened):
        finished.success(
            visits.of(handlers.steps, passing=True),
            [explained, *controls],
            steps,
            show_progress_on=steps,
            **private,
        )
    # Gradio forgets what was to come, and the token ends what is being computed.
    cancel.click(visits.stop, None, None, cancels=showing, **at_once).then(
        handlers.stopped, [last, photo], [result, note, pair], **at_once
    )
    for button, wanted in [(save, RESULT), *others]:
        button.click(
            visits.of(functools.partial(handlers.download, wanted)),
            controls,
            file,
            show_progress_on=button,
            **private,
        ).success(None, file, None, js=SAVE, api_visibility="private")
    card.click(visits.of(playing.card), controls, file, show_progress_on=card, **private).success(
        None, file, None, js=SAVE, api_visibility="private"
    )
    copy.click(None, None, None, js=COPY_BEGUN, **private)
    copied = copy.click(
        visits.of(functools.partial(handlers.download, RESULT)),
        controls,
        file,
        show_progress_on=copy,
        **private,
    )
    copied.success(None, file, None, js=COPY, **private)
    copied.failure(None, None, None, js=COPY, **private)
    return controls, arrived


def _robustness(handlers: Handlers, controls: list[Any], visits: Visits) -> None:
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
        ours = curve("curve", empty_curve())
        table = gr.Dataframe(
            headers=["Mask", "Change %", "Mask SAD", "Result SAD", "Result MSE"],
            label="Change of the result; SAD in thousands, MSE in thousandths",
            interactive=False,
            elem_id="figures",
        )
    gr.Markdown("Masks, and below them the results, as in the paper's Figure 6")
    strip = gr.Gallery(
        label="Masks, then results",
        show_label=False,
        columns=7,
        object_fit="contain",
        height="auto",
        interactive=False,
        buttons=["fullscreen", "download"],
        elem_id="strip",
    )
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
    at_once: dict[str, Any] = {
        "queue": False,
        "api_visibility": "private",
        "show_progress": "hidden",
    }

    def buttons(*, running: bool, file: str | None) -> list[gr.Button]:
        enabled = (not running, running, file is not None)
        return [gr.Button(interactive=on) for on in enabled]

    begun = run.click(
        handlers.places, [sizes, truth, controls[0]], [ours, strip, file], **at_once
    ).success(lambda: buttons(running=True, file=None), None, [run, stop, save], **at_once)
    running = begun.success(
        visits.of(handlers.experiment),
        [sizes, truth, *controls],
        [ours, strip, warm, table, file],
        api_visibility="private",
        show_progress_on=progress_bar,
    )
    running.then(lambda file: buttons(running=False, file=file), file, [run, stop, save], **at_once)
    stop.click(visits.stop, None, None, cancels=[running], **at_once).then(
        lambda: buttons(running=False, file=None), None, [run, stop, save], **at_once
    )
    save.click(None, file, None, js=SAVE, api_visibility="private")


def _controls(parts: dict[str, Any], quality: Quality) -> None:
    with gr.Accordion("Subject"):
        parts["category"] = gr.Dropdown(
            [("Auto: people first, then the largest", AUTO)]
            + [(name.capitalize(), name) for name in CATEGORIES],
            value=AUTO,
            label="Cut out a",
        )
        parts["shift_px"] = gr.Slider(
            -GROW_LIMIT_PX,
            GROW_LIMIT_PX,
            0,
            step=1,
            label="Shrink or grow the mask (px)",
            info="See how little the result moves",
            elem_id="grow",
        )
        parts["threshold"] = gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold", info="0.5 in the paper"
        )
        parts["segmenter"] = gr.Dropdown(SEGMENTERS, value="portrait", label="Segmenter")
        parts["quality"] = gr.Radio(
            QUALITIES,
            value=quality,
            label="Quality",
            info="Best refines hair and edges and takes longer",
            elem_id="quality",
        )
        parts["keep_largest"] = gr.Checkbox(
            label="Keep only the largest part", elem_id="keep-largest"
        )
        parts["ignore_transparency"] = gr.Checkbox(
            label="Ignore the photo's own transparency",
            info="Else what is transparent in it stays so",
            visible=False,
            elem_id="ignore-transparency",
        )
    with gr.Accordion("Your own mask", open=False):
        parts["mask"] = upload(
            label="Mask, trimap or another tool's matte",
            sources=["upload", "clipboard"],
            height=180,
            placeholder="White is subject; same size as the photo",
            elem_id="mask",
            alt_text="Your mask",
        )
        parts["mask_kind"] = gr.Dropdown(MASK_KINDS, value="detect", label="Read it as")
        parts["label"] = gr.Dropdown(
            [], label="The subject's label", visible=False, elem_id="label"
        )
    with gr.Accordion("New background"):
        parts["background"] = background = gr.Radio(
            BACKGROUNDS, value="transparent", label="Background", elem_id="background"
        )
        with gr.Row(elem_id="swatches"):
            swatches = [
                (gr.Button(name, size="sm", elem_id=f"swatch-{name.lower()}"), settings)
                for name, settings in SWATCHES
            ]
        parts["colour"] = colour = gr.ColorPicker("#2f6f4f", label="Colour", visible=False)
        parts["colour_to"] = colour_to = gr.ColorPicker(
            "#d8e8d0", label="Second colour", visible=False
        )
        parts["angle_deg"] = angle = gr.Slider(
            0,
            360,
            180,
            step=1,
            label="Direction (degrees)",
            info="0 is up, 90 right, 180 down",
            visible=False,
            elem_id="angle",
        )
        parts["backdrop"] = backdrop = upload(
            label="Picture",
            sources=["upload", "clipboard"],
            height=180,
            visible=False,
            elem_id="backdrop",
            alt_text="Your background picture",
        )
        parts["fit"] = fit = gr.Radio(FITS, value="cover", label="Fit", visible=False)
        with gr.Column(visible=False) as placing:
            parts["x_percent"] = gr.Slider(
                0, 100, 50, step=1, label="From left to right (%)", elem_id="picture-x"
            )
            parts["y_percent"] = gr.Slider(
                0, 100, 50, step=1, label="From top to bottom (%)", elem_id="picture-y"
            )
            parts["scale"] = gr.Slider(
                0.1, 5, 1, step=0.05, label="Size (of what fits)", elem_id="picture-scale"
            )
        parts["blur_percent"] = blur = gr.Slider(
            0.1,
            5,
            1,
            step=0.1,
            label="Blur (% of the longer side)",
            visible=False,
            elem_id="blur",
        )
        parts["foreground"] = gr.Dropdown(
            FOREGROUNDS,
            value="quality",
            label="Subject's colours at soft edges",
            elem_id="foreground",
        )
    with gr.Accordion("Shadow and light", open=False, elem_id="shadow-and-light"):
        parts["shadow"] = gr.Slider(
            0,
            1,
            0,
            step=0.05,
            label="Shadow",
            info="0 is none; without a background it is black below the subject",
            elem_id="shadow",
        )
        parts["shadow_x_percent"] = gr.Slider(
            -10, 10, 1, step=0.1, label="Falls to the right (%)", elem_id="shadow-x"
        )
        parts["shadow_y_percent"] = gr.Slider(
            -10, 10, 2, step=0.1, label="Falls down (%)", elem_id="shadow-y"
        )
        parts["shadow_blur_percent"] = gr.Slider(
            0, 5, 1.5, step=0.1, label="Softness (%)", elem_id="shadow-blur"
        )
        parts["light_wrap"] = gr.Slider(
            0,
            1,
            0,
            step=0.05,
            label="Light of the background on the edge",
            info="0 is none",
            elem_id="light-wrap",
        )
        parts["light_wrap_percent"] = gr.Slider(
            0.1, 5, 1.5, step=0.1, label="Reach of the light (%)", elem_id="light-wrap-reach"
        )
    for swatch, settings in swatches:
        swatch.click(
            functools.partial(tuple, settings),
            None,
            [background, colour, colour_to],
            queue=False,
            api_visibility="private",
            show_progress="hidden",
        )
    background.change(
        lambda kind: (
            gr.ColorPicker(visible=kind in ("colour", "gradient", "picture")),
            gr.ColorPicker(visible=kind == "gradient"),
            gr.Slider(visible=kind == "gradient"),
            gr.Image(visible=kind == "picture"),
            gr.Radio(visible=kind == "picture"),
            gr.Column(visible=kind == "picture"),
            gr.Slider(visible=kind == "blur"),
        ),
        background,
        [colour, colour_to, angle, backdrop, fit, placing, blur],
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )
