"""The tab "Several photos": each is cut out with the same settings, and all go into one ZIP."""

import html
import logging
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import gradio as gr

from demo.backend.orders import GROW_LIMIT_PX, File, Order, picked_colour, whole
from demo.backend.publishing import Product, encoded, for_page, new_file
from demo.backend.studio import Studio
from demo.backend.visits import (
    Visits,
    report_refusals,
    report_waiting,
    sentence,
    shortage_of,
)
from demo.environment import Environment
from demo.web.events import AT_ONCE, PRIVATE, in_any_case, running_buttons
from demo.web.uploads import uploaded
from demo.web.viewer import picture_rows
from mgm_core.arrays import limit_side
from mgm_core.files.outputs import normalised
from mgm_core.foreground.estimate import ForegroundMethod
from mgm_core.recipe import Background, BackgroundKind, Recipe
from mgm_core.runtime.admission import await_turn
from mgm_core.runtime.cancellation import Cancelled, checkpoint

Shown = tuple[list[tuple[str, str]], object, str]

FILES: list[tuple[str, Product]] = [
    ("Cut-out", "cutout"),
    ("Alpha", "alpha"),
    ("Alpha, 16 bit", "alpha16"),
    ("Foreground", "foreground"),
    ("On background", "composite"),
]
_PREVIEW_SIDE_PX = 640
_PROGRESS = gr.Progress()
_TASK = "batch"

_logger = logging.getLogger(__name__)


class BatchHandlers:
    """What the tab does. Plain typed functions: no layout, no browser."""

    def __init__(self, studio: Studio, environment: Environment) -> None:
        self._studio = studio
        self._environment = environment

    def cut_out(
        self,
        photos: Sequence[str] | None,
        category: str,
        grow_px: float,
        threshold: float,
        foreground: ForegroundMethod,
        background: BackgroundKind,
        colour: str,
        wanted: Sequence[Product],
        settings: str | None,
        progress: gr.Progress = _PROGRESS,
    ) -> Iterator[Shown]:
        """Cut the subject out of each photo; one that fails is reported, and the others go on.

        Args:
            photos: paths of the uploads.
            category: what to look for.
            grow_px: how far to dilate (above 0) or erode the guidance.
            threshold: probability from which a pixel is subject.
            foreground: how the subject's own colours are found.
            background: nothing, a colour, or the photo's own, blurred.
            colour: of a background of that kind.
            wanted: the files that each photo adds to the archive.
            settings: path of a recipe as JSON, which takes the place of all but the files.
            progress: tells how far it is.

        Yields:
            After each photo: pictures with captions, the archive once it is complete, and what
            could not be cut out.
        """
        with report_refusals():
            paths = self._checked(photos, wanted)
            if settings is None:
                recipe = Recipe(
                    category=category,
                    shift_px=whole("grow_px", grow_px),
                    threshold=threshold,
                    quality=self._environment.quality,
                    foreground=foreground,
                    background=Background(background, picked_colour(colour)),
                )
            else:
                recipe = read_settings(settings)
            report_waiting(progress, 0)
            await_turn("batch")
            archive = new_file("cutouts.zip")
            part = archive.with_name("cutouts.part")
            shown: list[tuple[str, str]] = []
            failures: list[str] = []
            progress((0, len(paths)), "Cutting out", unit="photos")
            try:
                with zipfile.ZipFile(part, "x", zipfile.ZIP_STORED) as out:
                    for path, stem in zip(paths, distinct_stems(paths), strict=True):
                        try:
                            checkpoint()
                            shown.append(self._one(path, stem, recipe, wanted, out))
                        except Cancelled:
                            break
                        except ValueError as error:
                            failures.append(f"{Path(path).name}: {sentence(str(error))}")
                        except Exception as error:  # whatever it is, the rest is done
                            _logger.exception("a photo of a batch")
                            reason = shortage_of(error) or "This program failed at it: report that."
                            failures.append(f"{Path(path).name}: {reason}")
                        done = len(shown) + len(failures)
                        progress((done, len(paths)), "Cutting out", unit="photos")
                        yield shown, gr.skip(), summary(len(shown), failures, len(paths))
                    if failures:
                        out.writestr("failed.txt", "\n".join(failures) + "\n")
                part.replace(archive)
            finally:
                part.unlink(missing_ok=True)
            take_away: object = gr.skip()
            if shown:
                take_away = gr.DownloadButton(value=str(archive), interactive=True)
            yield shown, take_away, summary(len(shown), failures, len(paths), finished=True)

    def _checked(self, photos: Sequence[str] | None, wanted: Sequence[Product]) -> list[str]:
        most = self._environment.batch_photos
        # Beside photos of a Mac lie hidden files of the same names, which are none.
        photos = [path for path in photos or () if not Path(path).name.startswith(".")]
        if not photos:
            raise ValueError("photos must be given, got none: drop some")
        if len(photos) > most:
            raise ValueError(
                f"photos must be at most {most}, got {len(photos)}: take them in parts, or use "
                "the command line"
            )
        choices = [name for _, name in FILES]
        if not wanted or any(name not in choices for name in wanted):
            raise ValueError(
                f"files must be some of {', '.join(choices)}, got {list(wanted)}: choose at least "
                "one"
            )
        return [uploaded(path) for path in photos]

    def _one(
        self,
        path: str,
        stem: str,
        recipe: Recipe,
        wanted: Sequence[Product],
        out: zipfile.ZipFile,
    ) -> tuple[str, str]:
        order = Order(File.at(path), recipe)
        # All of a photo's pictures are made before its first file is written: a photo that fails
        # leaves none behind.
        files = {f"{stem}-{name}.png": encoded(self._studio, order, name) for name in wanted}
        note = self._studio.guidance(order).reason
        shown = for_page(limit_side(self._studio.view(order, "cut-out"), _PREVIEW_SIDE_PX))
        for name, data in files.items():
            out.writestr(name, data)
        return shown, f"{Path(path).name}: {note}"


def read_settings(path: str) -> Recipe:
    """Read a recipe that was made for one photo and is to be used for many.

    Raises:
        ValueError: it is none, holds what fits that one photo alone, or needs a picture.
    """
    recipe = Recipe.from_json(Path(uploaded(path)).read_bytes())
    if recipe.edits or recipe.own_mask:
        raise ValueError(
            "settings for several photos must be without corrections by hand and a mask, got some "
            "that were made for one photo: undo the corrections there, and download them anew"
        )
    if recipe.background.kind == "picture":
        raise ValueError(
            "settings for several photos must be without a picture as background, which is not "
            "among them, got some with one: choose another background there, and download them "
            "anew"
        )
    return recipe


def distinct_stems(paths: Sequence[str]) -> list[str]:
    """Return a name for each file: its own without the ending, numbered where two are alike.

    They are alike where any system takes them for one: whatever their case and Unicode's form.

    >>> distinct_stems(["a/cat.jpg", "b/cat.png", "dog.png", "cat-2.png"])
    ['cat', 'cat-3', 'dog', 'cat-2']
    """
    own = [Path(path).stem for path in paths]
    keys = [_key(stem) for stem in own]
    taken = set(keys)
    stems = []
    for position, stem in enumerate(own):
        number = 2
        name = stem
        while keys[position] in keys[:position] and (name == stem or _key(name) in taken):
            name, number = f"{stem}-{number}", number + 1
        taken.add(_key(name))
        stems.append(name)
    return stems


def _key(stem: str) -> str:
    return normalised(stem).casefold()


def summary(done: int, failures: Sequence[str], count: int, *, finished: bool = False) -> str:
    """Return how far a run is and what failed, as Markdown.

    Args:
        done: how many were cut out.
        failures: a sentence for each of the others, names first.
        count: how many there are.
        finished: nothing more will come.
    """
    left = count - done - len(failures)
    text = f"{done} of {count} cut out"
    if failures:
        text += f", {len(failures)} failed"
    if finished and left:
        text += f", {left} left out as you stopped"
    # A list in HTML, as file names may hold what Markdown takes for marks.
    rows = "".join(f"<li>{html.escape(failure)}</li>" for failure in failures)
    return f"<p>{text}</p><ul>{rows}</ul>" if rows else f"<p>{text}</p>"


def batch_tab(
    studio: Studio, environment: Environment, categories: tuple[str, ...], visits: Visits
) -> None:
    """Lay out the tab and wire it."""
    handlers = BatchHandlers(studio, environment)
    gr.Markdown(
        f"Up to {environment.batch_photos} photos at once, all with the same settings. One that "
        "cannot be cut out is named with its reason, and the others go on."
    )
    with gr.Row(elem_classes="side-by-side"):
        with gr.Column(min_width=280, scale=1):
            photos = gr.File(
                label="Photos",
                file_count="multiple",
                file_types=["image", ".heic", ".heif", ".avif"],
                height=220,
                elem_id="photos",
            )
            category = gr.Dropdown(
                [(name.capitalize(), name) for name in categories],
                value="person",
                label="Cut out a",
                elem_id="batch-category",
            )
            background = gr.Radio(
                [("None", "transparent"), ("Colour", "colour"), ("Blur", "blur")],
                value="transparent",
                label="Background",
                elem_id="batch-background",
            )
            colour = gr.ColorPicker("#2f6f4f", label="Background colour", visible=False)
            wanted = gr.CheckboxGroup(
                FILES, value=["cutout"], label="Files in the ZIP", elem_id="batch-files"
            )
            with gr.Accordion("More", open=False):
                grow = gr.Slider(
                    -GROW_LIMIT_PX, GROW_LIMIT_PX, 0, step=1, label="Shrink or grow guidance (px)"
                )
                threshold = gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Subject from probability")
                foreground = gr.Dropdown(
                    list(get_args(ForegroundMethod)),
                    value=Recipe(quality=environment.quality).foreground,
                    label="Subject's colours at soft edges",
                )
                settings = gr.File(
                    label="Or settings (JSON) from Cut out, in place of those above",
                    file_types=[".json"],
                    height=120,
                    elem_id="batch-settings",
                )
            with gr.Row():
                run = gr.Button("Cut out", variant="primary", elem_id="batch-run", min_width=100)
                stop = gr.Button("Stop", elem_id="batch-stop", min_width=80, visible=False)
        with gr.Column(min_width=280, scale=2):
            note = gr.HTML("<p>The results will be here.</p>", padding=False, elem_id="batch-note")
            gallery = picture_rows("Results", columns=3, elem_id="batch-gallery", downloads=False)
            file = gr.DownloadButton(
                "Download all (ZIP)",
                variant="primary",
                interactive=False,
                elem_id="batch-download",
            )
    background.change(
        lambda kind: (
            gr.ColorPicker(visible=kind == "colour"),
            gr.CheckboxGroup(value=["cutout"] if kind == "transparent" else ["composite"]),
        ),
        background,
        [colour, wanted],
        **AT_ONCE,
    )
    begun = run.click(
        lambda: (
            [],
            gr.DownloadButton(value=None, interactive=False),
            "",
            *running_buttons(running=True),
        ),
        None,
        [gallery, file, note, run, stop],
        **AT_ONCE,
    )
    running = begun.then(
        visits.of(handlers.cut_out, task=_TASK),
        [photos, category, grow, threshold, foreground, background, colour, wanted, settings],
        [gallery, file, note],
        **PRIVATE,
        show_progress_on=gallery,
    )
    in_any_case(running, lambda: running_buttons(running=False), None, [run, stop])
    stop.click(visits.stop(_TASK), None, None, **AT_ONCE)
