"""The settings of the tab "Cut out": its controls but for the photo and what is painted on it."""

import functools
from typing import Any, get_args

import gradio as gr

from demo.backend.orders import GROW_LIMIT_PX
from demo.web.events import AT_ONCE
from demo.web.uploads import upload
from mgm_core.foreground.estimate import ForegroundMethod
from mgm_core.recipe import AUTO, BackgroundKind, Quality

__all__ = ["CATEGORIES", "SEGMENTERS", "lay_out_settings"]

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


def lay_out_settings(quality: Quality) -> dict[str, Any]:
    """Lay out the controls, and wire what shows and hides them.

    Args:
        quality: what is chosen at first.

    Returns:
        The components by their names in `CONTROL_NAMES`.
    """
    return {**_subject(quality), **_own_mask(), **_background(), **_shadow_and_light()}


def _subject(quality: Quality) -> dict[str, Any]:
    parts: dict[str, Any] = {}
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
    return parts


def _own_mask() -> dict[str, Any]:
    parts: dict[str, Any] = {}
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
    return parts


def _background() -> dict[str, Any]:
    parts: dict[str, Any] = {}
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
    for swatch, settings in swatches:
        swatch.click(
            functools.partial(tuple, settings),
            None,
            [background, colour, colour_to],
            **AT_ONCE,
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
        **AT_ONCE,
    )
    return parts


def _shadow_and_light() -> dict[str, Any]:
    parts: dict[str, Any] = {}
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
    return parts
