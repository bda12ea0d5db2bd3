"""The page: its layout, and which handler answers to what."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

import mgm_core.images  # noqa: F401 - teaches Pillow, through which Gradio looks at uploads, HEIC
from demo.environment import Environment
from demo.handlers import Controls, Handlers
from demo.publishing import Product
from demo.recipe import GROW_LIMIT_PX
from demo.studio import Studio

EXAMPLES = Path(__file__).parent / "examples"

# The segmenter's 21 categories but for the background. They are written down here, and held to
# the network's by a test, as importing them means importing PyTorch before the page is up.
CATEGORIES = (
    "person", "cat", "dog", "horse", "bird", "cow", "sheep", "potted plant", "chair", "sofa",
    "dining table", "tv monitor", "bottle", "bicycle", "motorbike", "car", "bus", "train", "boat",
    "aeroplane",
)  # fmt: skip
SEGMENTERS = [
    ("Portrait (bundled)", "portrait"),
    ("DeepLabV3 ResNet-50 (download, 160 MB)", "deeplabv3_resnet50"),
    ("DeepLabV3 ResNet-101 (download, 233 MB)", "deeplabv3_resnet101"),
    ("DeepLabV3 MobileNetV3 (download, 42 MB)", "deeplabv3_mobilenet_v3_large"),
]
VIEWS = [
    ("Cut-out", "cut-out"),
    ("Alpha", "alpha"),
    ("Guidance", "guidance"),
    ("Foreground", "foreground"),
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
    ("Picture", "picture"),
    ("Blur", "blur"),
]
FITS = [("Fill", "cover"), ("Show all", "contain"), ("Stretch", "stretch")]
FOREGROUNDS = [
    ("Estimated (multilevel)", "multilevel"),
    ("Estimated (closed form, slow)", "closed_form"),
    ("Photo's own, to see the fringe", "raw"),
]
CUTOUT: Product = "cutout"
DOWNLOADS: list[tuple[str, Product]] = [
    ("Alpha", "alpha"),
    ("Alpha, 16 bit", "alpha16"),
    ("Foreground", "foreground"),
    ("On background", "composite"),
    ("All (ZIP)", "all"),
]
# The file is fetched from where the handler put it, so that nothing is encoded before it is asked
# for; a visible DownloadButton would have to hold its file beforehand.
_SAVE = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


class Upload(gr.Image):
    """An image input that hands over the file as it was sent: `mgm_core.images` reads it."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the uploaded file's path."""
        return None if payload is None else payload.path


def build(studio: Studio, environment: Environment) -> gr.Blocks:
    """Lay out the page and wire it.

    Args:
        studio: does the work behind it.
        environment: limits.

    Returns:
        The page, not launched.
    """
    handlers = Handlers(studio)
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
            _cut_out(handlers, environment)
    return page


def _cut_out(handlers: Handlers, environment: Environment) -> None:
    parts: dict[str, Any] = {}
    with gr.Row(elem_id="stage"):
        with gr.Column(elem_id="photo-block"):
            parts["photo"] = photo = Upload(
                label="Photo",
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard", "webcam"],
                buttons=[],
                height=420,
                elem_id="photo",
                placeholder="# Drop a photo of a person\nor click to choose one, up to "
                f"{environment.max_megapixels:g} megapixels",
                alt_text="Your photo",
            )
            gr.Examples(
                [[str(EXAMPLES / name)] for name in ("astronaut.png", "chelsea.png")],
                inputs=[photo],
                label="Or try one of these",
                elem_id="examples",
            )
        with gr.Column(elem_id="result-block", visible=False) as result_block:
            view = gr.Radio(
                VIEWS,
                value="cut-out",
                label="Show beside the photo",
                elem_id="view",
                container=False,
                show_label=False,
            )
            result = gr.ImageSlider(
                label="Photo and result",
                show_label=False,
                interactive=False,
                type="filepath",
                max_height=760,
                slider_position=50,
                buttons=["fullscreen"],
                elem_id="result",
            )
            note = gr.Markdown(elem_id="note")
            with gr.Row(elem_id="downloads"):
                save = gr.Button("Download PNG", variant="primary", elem_id="download-cutout")
                others = [
                    (gr.Button(label, size="sm", elem_id=f"download-{wanted}"), wanted)
                    for label, wanted in DOWNLOADS
                ]
            cancel = gr.Button("Stop", size="sm", visible="hidden", elem_id="stop")
            file = gr.File(visible="hidden")
        with gr.Column(elem_id="controls-block", visible=False) as controls_block:
            _controls(parts)
    controls = [parts[name] for name in Controls._fields]

    photo.change(
        lambda path: (gr.Column(visible=path is not None), gr.Column(visible=path is not None)),
        photo,
        [result_block, controls_block],
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )
    # What was made for another photo means nothing for this one.
    photo.change(lambda: None, None, parts["mask"], queue=False, api_visibility="private")
    showing = gr.on(
        [photo.change, view.change, *(part.change for part in controls if part is not photo)],
        handlers.show,
        [view, *controls],
        [result, note],
        api_visibility="private",
        concurrency_id="network",
        trigger_mode="always_last",
        show_progress_on=result,
    )
    cancel.click(None, cancels=[showing], api_visibility="private")
    for button, wanted in [(save, CUTOUT), *others]:
        button.click(
            functools.partial(handlers.download, wanted),
            controls,
            file,
            api_visibility="private",
            concurrency_id="network",
            show_progress_on=button,
        ).success(None, file, None, js=_SAVE, api_visibility="private")


def _controls(parts: dict[str, Any]) -> None:
    with gr.Accordion("Subject"):
        parts["category"] = gr.Dropdown(
            [(name.capitalize(), name) for name in CATEGORIES], value="person", label="Cut out a"
        )
        parts["grow_px"] = gr.Slider(
            -GROW_LIMIT_PX,
            GROW_LIMIT_PX,
            0,
            step=1,
            label="Shrink or grow the guidance (px)",
            info="The mask may be wrong by this much: the result should hardly change",
            elem_id="grow",
        )
        parts["threshold"] = gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold", info="0.5 in the paper"
        )
        parts["segmenter"] = gr.Dropdown(SEGMENTERS, value="portrait", label="Segmenter")
    with gr.Accordion("Your own mask", open=False):
        parts["mask"] = Upload(
            label="Mask, trimap or another tool's matte",
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            buttons=[],
            height=180,
            placeholder="White is subject; same size as the photo",
            elem_id="mask",
            alt_text="Your mask",
        )
        parts["mask_kind"] = gr.Dropdown(MASK_KINDS, value="detect", label="Read it as")
    with gr.Accordion("New background"):
        parts["background"] = background = gr.Radio(
            BACKGROUNDS, value="transparent", label="Background", elem_id="background"
        )
        parts["colour"] = colour = gr.ColorPicker("#2f6f4f", label="Colour", visible=False)
        parts["backdrop"] = backdrop = Upload(
            label="Picture",
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            buttons=[],
            height=180,
            visible=False,
            elem_id="backdrop",
            alt_text="Your background picture",
        )
        parts["fit"] = fit = gr.Radio(FITS, value="cover", label="Fit", visible=False)
        parts["blur_percent"] = blur = gr.Slider(
            0.1, 5, 1, step=0.1, label="Blur (% of the longer side)", visible=False
        )
        parts["foreground"] = gr.Dropdown(
            FOREGROUNDS, value="multilevel", label="Subject's colours at soft edges"
        )
    background.change(
        lambda kind: (
            gr.ColorPicker(visible=kind == "colour"),
            gr.Image(visible=kind == "picture"),
            gr.Radio(visible=kind == "picture"),
            gr.Slider(visible=kind == "blur"),
        ),
        background,
        [colour, backdrop, fit, blur],
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )
