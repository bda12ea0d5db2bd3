"""The tab "Video": a short clip in, the subject out of every frame."""

import html
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import gradio as gr

from demo.backend.models import Models
from demo.backend.orders import picked_colour
from demo.backend.publishing import for_page, new_file, publish
from demo.backend.studio import page_tiles
from demo.backend.visits import Visits, report_refusals, report_waiting
from demo.environment import Environment
from demo.web.events import AT_ONCE, PRIVATE, in_any_case, running_buttons
from demo.web.uploads import SAVE, arrival, label_choice, upload, uploaded
from mgm_core.arrays import Floats
from mgm_core.compositing import composite
from mgm_core.cutout import opaque, require_picture
from mgm_core.images import encode_png, read_labels, read_photo, read_subject_mask
from mgm_core.recipe import Background, BackgroundKind, Recipe
from mgm_core.runtime.admission import await_turn, briefly, current_visit

if TYPE_CHECKING:
    from mgm_core.video.files import ClipLimits

Save = Literal["mp4", "webm", "zip"]
Shown = tuple[object, object, object, str]

_TRANSPARENT_KINDS = [("WebM with transparency", "webm"), ("PNG pictures (ZIP)", "zip")]
_OPAQUE_KINDS = [("MP4", "mp4"), ("WebM", "webm"), ("PNG pictures (ZIP)", "zip")]
_SIZES = [("As it is", 0), ("1920 px", 1920), ("1280 px", 1280), ("960 px", 960), ("640 px", 640)]
# How often the page is shown the latest frame: more would cost more than it tells.
_SHOW_EVERY_S = 1.0
_PROGRESS = gr.Progress()
_TASK = "clip"
_NO_RESULT = "The result will be here."


class VideoHandlers:
    """What the tab does. Plain typed functions: no layout, no browser."""

    def __init__(self, models: Models, environment: Environment) -> None:
        self._models = models
        self._environment = environment

    def cut_out(
        self,
        clip: str | None,
        category: str,
        threshold: float,
        long_side_px: int,
        background: BackgroundKind,
        colour: str,
        picture: str | None,
        blur_percent: float,
        save: Save,
        first_mask: str | None = None,
        label: int | None = None,
        ignore_transparency: bool = False,
        progress: gr.Progress = _PROGRESS,
    ) -> Iterator[Shown]:
        """Cut the subject out of a clip, frame by frame.

        Args:
            clip: path of the upload.
            category: what to look for.
            threshold: probability from which a pixel is subject.
            long_side_px: larger frames are shrunk to it; 0 keeps them.
            background: nothing, a colour, a picture, or the clip's own, blurred.
            colour: of a background of that kind.
            picture: path of the background picture.
            blur_percent: the blur's standard deviation in percent of the frame's longer side.
            save: what kind of file to write.
            first_mask: path of a mask of the subject in the first frame, which is then followed.
            label: which label of a class map as first mask is the subject.
            ignore_transparency: take the clip for opaque.
            progress: tells how far it is.

        Yields:
            The latest frame, the finished clip to look at, the file to take away, and a sentence.
            The clip takes the frame's place in the end.
        """
        with report_refusals():
            if clip is None:
                raise ValueError("a clip must be given, got none: upload one")
            recipe = Recipe(
                quality="fast",
                refine="off",
                category=category,
                threshold=threshold,
                own_mask=first_mask is not None,
                label=None if first_mask is None else label,
                ignore_transparency=ignore_transparency,
                background=Background(background, picked_colour(colour), blur_percent=blur_percent),
            )
            if background == "picture":
                require_picture(picture)
            report_waiting(progress, 0)
            await_turn("clip")
            # Here, as it imports PyTorch, which would keep the page from coming up.
            from mgm_core.video.__main__ import matte_clip
            from mgm_core.video.files import Clip

            mask = None
            if first_mask is not None:
                mask = read_subject_mask(
                    uploaded(first_mask),
                    label=label,
                    max_megapixels=self._environment.max_megapixels,
                )
            target = new_file(f"{Path(clip).stem}-cutout.{save}")
            behind = None
            if background == "picture" and picture is not None:
                most = self._environment.max_megapixels
                behind = opaque(read_photo(uploaded(picture), max_megapixels=most), recipe)
            progress(0, "Opening the clip")
            with Clip(uploaded(clip), self._limits(), long_side_px=long_side_px or None) as source:
                frames = matte_clip(
                    source,
                    target,
                    self._models.segmenter(recipe.segmenter),
                    self._models.matter(),
                    recipe,
                    picture=behind,
                    first_mask=mask,
                    foreground_network=self._models.foreground_network,
                )
                expected = source.frames_expected
                begun = shown = time.monotonic()
                for frame in frames:
                    progress((frame.number, expected), "Cutting out", unit="frames")
                    now = time.monotonic()
                    if frame.number == 1 or now - shown >= _SHOW_EVERY_S:
                        shown = now
                        yield (
                            for_page(on_page(frame.pixels)),
                            gr.skip(),
                            gr.skip(),
                            _so_far(frame.number, expected, now - begun),
                        )
                note = f"{source.frames_read} frames. {source.note}".strip()
                visit = current_visit()
                if visit is not None and visit.token.cancelled:
                    note = f"Stopped: the file has the first {frame.number} frames."
            plays = save != "zip"
            yield (
                gr.Image(visible=not plays),
                gr.Video(str(target), visible=True) if plays else gr.skip(),
                gr.DownloadButton(value=str(target), interactive=True),
                html.escape(note, quote=False),
            )

    def labels(self, mask: str | None) -> gr.Dropdown:
        """Offer the labels of a class map as first mask."""
        with report_refusals(), briefly():
            most = self._environment.max_megapixels
            shares = {} if mask is None else read_labels(uploaded(mask), max_megapixels=most)
        return label_choice(shares)

    def first_frame(self, clip: str | None, long_side_px: int) -> str:
        """Return the path of the clip's first frame, to draw a mask over."""
        with report_refusals():
            if clip is None:
                raise ValueError("a clip must be given, got none: upload one")
            from mgm_core.video.files import Clip

            with (
                briefly(),
                Clip(uploaded(clip), self._limits(), long_side_px=long_side_px or None) as source,
            ):
                frame = next(source.read())
            return publish(encode_png(frame.image), f"{Path(clip).stem}-first-frame.png")

    def _limits(self) -> "ClipLimits":
        """Return what the server takes of a clip."""
        from mgm_core.video.files import ClipLimits

        return ClipLimits(
            self._environment.clip_seconds,
            self._environment.clip_frames,
            self._environment.clip_megapixels,
        )


def on_page(pixels: Floats) -> Floats:
    """Return a finished frame as it is shown: over tiles where it is transparent, (H, W, 3)."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3]
    return composite(pixels[..., :3], alpha, page_tiles(alpha))


def _so_far(done: int, expected: int | None, seconds: float) -> str:
    if expected is None or done < 2:
        return f"Frame {done}"
    left_s = max(0, expected - done) * seconds / done
    left = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
    return f"Frame {done} of {expected}, about {left} to go"


def video_tab(
    models: Models, environment: Environment, categories: tuple[str, ...], visits: Visits
) -> None:
    """Lay out the tab and wire it."""
    handlers = VideoHandlers(models, environment)
    gr.Markdown(
        f"A short clip, up to {environment.clip_seconds:g} seconds and "
        f"{environment.clip_frames} frames. Every frame is cut out like a photo, and what was "
        "decided about one goes on into the next, so that outlines stay calm. The sound is kept."
    )
    with gr.Row(elem_classes="side-by-side"):
        with gr.Column(min_width=280):
            clip = gr.Video(
                label="Clip", sources=["upload"], height=300, elem_id="clip", buttons=[]
            )
            category = gr.Dropdown(
                [(name.capitalize(), name) for name in categories],
                value="person",
                label="Cut out a",
                elem_id="clip-category",
            )
            with gr.Accordion("Follow something else", open=False, elem_id="clip-follow"):
                gr.Markdown(
                    "A mask of the first frame, white where the subject is, names what is to be "
                    "followed, whatever it is."
                )
                frame = gr.Button("Download the first frame", size="sm", elem_id="clip-first-frame")
                first_mask = upload(
                    label="Mask of the first frame",
                    sources=["upload", "clipboard"],
                    height=180,
                    elem_id="clip-mask",
                    alt_text="Your mask of the first frame",
                )
                label = gr.Dropdown(
                    [], label="The subject's label", visible=False, elem_id="clip-label"
                )
            background = gr.Radio(
                [
                    ("None", "transparent"),
                    ("Colour", "colour"),
                    ("Picture", "picture"),
                    ("Blur", "blur"),
                ],
                value="transparent",
                label="Background",
                elem_id="clip-background",
            )
            colour = gr.ColorPicker("#00b140", label="Background colour", visible=False)
            picture = upload(
                label="Background picture",
                sources=["upload", "clipboard"],
                height=180,
                visible=False,
                elem_id="clip-picture",
                alt_text="Your background picture",
            )
            blur = gr.Slider(
                0.1, 5, 1, step=0.1, label="Blur (% of the longer side)", visible=False
            )
            save = gr.Radio(_TRANSPARENT_KINDS, value="webm", label="Save as", elem_id="clip-save")
            with gr.Accordion("More", open=False):
                size = gr.Dropdown(
                    _SIZES,
                    value=960,
                    label="Longer side",
                    info="Smaller is faster: time goes with the number of pixels",
                    elem_id="clip-size",
                )
                threshold = gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Subject from probability")
                ignore = gr.Checkbox(
                    label="Ignore the clip's own transparency",
                    info="Else what is transparent in it stays so",
                    elem_id="clip-ignore-transparency",
                )
            with gr.Row():
                run = gr.Button("Cut out", variant="primary", elem_id="clip-run", min_width=100)
                stop = gr.Button("Stop", elem_id="clip-stop", min_width=80, visible=False)
        with gr.Column(min_width=280):
            note = gr.Markdown(_NO_RESULT, elem_id="clip-note")
            latest = gr.Image(
                label="Latest frame",
                interactive=False,
                type="filepath",
                buttons=[],
                height=360,
                elem_id="clip-latest",
                alt_text="The latest finished frame",
            )
            result = gr.Video(
                label="Result",
                interactive=False,
                height=360,
                visible=False,
                elem_id="clip-result",
                buttons=[],
            )
            file = gr.DownloadButton(
                "Download", variant="primary", interactive=False, elem_id="clip-download"
            )
    background.change(
        lambda kind: (
            gr.ColorPicker(visible=kind == "colour"),
            gr.Image(visible=kind == "picture"),
            gr.Slider(visible=kind == "blur"),
            gr.Radio(_TRANSPARENT_KINDS, value="webm")
            if kind == "transparent"
            else gr.Radio(_OPAQUE_KINDS, value="mp4"),
        ),
        background,
        [colour, picture, blur, save],
        **AT_ONCE,
    )
    arrival(first_mask).change(
        visits.of(handlers.labels, queued=False), first_mask, label, **AT_ONCE
    )
    download = gr.File(label="Download", elem_classes="offstage")
    frame.click(
        visits.of(handlers.first_frame),
        [clip, size],
        download,
        show_progress_on=frame,
        **PRIVATE,
    ).success(None, download, None, js=SAVE, **PRIVATE)
    inputs = [clip, category, threshold, size, background, colour, picture, blur, save]
    inputs += [first_mask, label, ignore]
    shown = [latest, result, file, note]

    def start(note: str, *, running: bool) -> list[object]:
        return [
            gr.Image(None, visible=True),
            gr.Video(None, visible=False),
            gr.DownloadButton(value=None, interactive=False),
            note,
            *running_buttons(running=running),
        ]

    begun = run.click(lambda: start("", running=True), None, [*shown, run, stop], **AT_ONCE)
    running = begun.then(
        visits.of(handlers.cut_out, task=_TASK), inputs, shown, **PRIVATE, show_progress_on=latest
    )
    in_any_case(running, lambda: running_buttons(running=False), None, [run, stop])
    stop.click(visits.stop(_TASK), None, None, **AT_ONCE)
    # What was made of the clip before is none of this one's, nor is the mask of its first frame.
    arrival(clip).change(visits.stop(_TASK), None, None, cancels=[running], **AT_ONCE).then(
        lambda: [None, *start(_NO_RESULT, running=False)],
        None,
        [first_mask, *shown, run, stop],
        **AT_ONCE,
    )
