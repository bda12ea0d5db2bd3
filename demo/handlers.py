"""What happens when a visitor does something. Plain typed functions: no layout, no browser."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from demo.backend.orders import File, Order
from demo.backend.publishing import Product, for_page, product, publish, zipped
from demo.backend.robustness import (
    PAPER_SAD,
    Trial,
    as_csv,
    disagreement,
    heat,
    read_sizes,
    trials,
)
from demo.backend.studio import Studio, View, overlay, tinted
from demo.backend.visits import capitalised, report_refusals, report_waiting
from demo.controls import CONTROL_NAMES, PER_PHOTO, Controls
from demo.examples import EXAMPLES
from demo.web.editor import Canvas, on_canvas
from demo.web.gallery import chosen
from demo.web.uploads import label_choice, uploaded
from demo.web.viewer import Pair, side_by_side
from mgm_core.arrays import Floats
from mgm_core.images import encode_png
from mgm_core.recipe import read_edits

STEPS: tuple[tuple[View, str], ...] = (
    ("guidance", "Guidance"),
    ("os8", "Stride 8"),
    ("g4", "Stride 4 takes over here"),
    ("os4", "Stride 4"),
    ("g1", "Stride 1 takes over here"),
    ("os1", "Stride 1"),
    ("alpha", "Alpha, refined"),
    ("cut-out", "Cut-out"),
)
# Gradio finds a progress bar by this default, and gives every request its own.
_PROGRESS = gr.Progress()

Comparison: TypeAlias = tuple[str, str]
Curve: TypeAlias = dict[str, object]
Experiment: TypeAlias = tuple[Curve, dict[str, Any], str, list[list[object]], str | None]
Shown: TypeAlias = tuple[Comparison | None, str, Canvas | None, Pair | None]


class Handlers:
    """The page's handlers.

    Args:
        studio: does the work.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._examples = {File.at(str(e.photo_path)).digest: e for e in EXAMPLES}

    def example(self, event: gr.EventData) -> tuple[object, ...]:
        """Bring an example: its photo and what belongs to it, in the order of `PER_PHOTO`."""
        with report_refusals():
            example = EXAMPLES[chosen(event)]
            photo, mask = (
                None if path is None else publish(path.read_bytes(), path.name)
                for path in (example.photo_path, example.mask_path)
            )
            return photo, mask, example.mask_kind, example.category, 0

    def start_photo(self, photo: str | None) -> tuple[object, ...]:
        """Make room for another photo: what was set for the one before means nothing for it.

        Returns:
            Updates of result, controls and hero; no edits, no steps; the controls of `PER_PHOTO`.
        """
        # An example has just brought its own.
        example = photo is not None and File.at(uploaded(photo)).digest in self._examples
        start = dict(zip(CONTROL_NAMES, Controls().values(), strict=True))
        own = [gr.skip() if example else start[name] for name in PER_PHOTO]
        there = photo is not None
        return (
            gr.Column(visible=there),
            gr.Column(visible=there),
            gr.Column(visible=not there),
            [],
            [],
            *own,
        )

    def labels(self, mask: str | None) -> gr.Dropdown:
        """Offer the labels of a class map as mask; the largest is the subject at first."""
        try:
            shares = {} if mask is None else self._studio.labels(File.at(uploaded(mask)))
        except ValueError:  # said where the mask is shown
            shares = {}
        return label_choice(shares)

    def transparency(self, photo: str | None) -> gr.Checkbox:
        """Offer to ignore the photo's own transparency, where it has some."""
        try:
            there = (
                photo is not None and self._studio.photo(File.at(uploaded(photo))).alpha is not None
            )
        except ValueError:  # said where the photo is shown
            there = False
        return gr.Checkbox(value=False, visible=there)

    def _example_result(self, order: Order, view: View) -> str | None:
        """Return the picture of an example's result, where that is what is asked for."""
        example = self._examples.get(order.photo.digest)
        if example is None or view != "cut-out":
            return None
        mask = None if example.mask_path is None else File.at(str(example.mask_path)).digest
        if order.mask is not None and order.mask.digest != mask:
            return None
        recipe = order.recipe
        if recipe.background.kind != "transparent" or recipe.shadow.strength:
            return None
        # What is not to be seen may be set to anything.
        plain = replace(
            recipe,
            background=example.recipe.background,
            shadow=example.recipe.shadow,
            light_wrap=example.recipe.light_wrap,
            light_wrap_percent=example.recipe.light_wrap_percent,
        )
        if plain != example.recipe:
            return None
        return publish(example.result_path.read_bytes(), "picture.jpg")

    def show(
        self,
        view: View = "cut-out",
        editing: bool = False,
        progress: gr.Progress = _PROGRESS,
        *values: object,
    ) -> Iterator[Shown]:
        """Bring the picture up to date: the photo beside the view that was chosen.

        Args:
            view: what to look at.
            editing: the canvas is open.
            progress: tells the visitor what is being done.
            values: the controls, as in `Controls`.

        Yields:
            The two pictures' paths for the slider, a line about the guidance, and what canvas and
            close-up show. Where a matte has to be waited for, the guidance comes first, then the
            fast result, then the one that was asked for.
        """
        controls = Controls.of(values)
        if controls.photo is None:
            yield None, "", None, None
            return
        hint = ""
        if controls.backing.background == "picture" and controls.backing.backdrop is None:
            controls = controls.with_values(background="transparent")
            hint = ". Add the picture that goes behind"
        with report_refusals():
            order = controls.order()
            report_waiting(progress, 0.4)
            if editing or self._example_result(order, view) is None:
                self._studio.reserve(order)
            progress(0.05, "Reading the photo")
            before = for_page(self._studio.picture(order.photo))
            ready = None if editing else self._example_result(order, view)
            if ready is not None:
                note = f"An example: {self._examples[order.photo.digest].title.lower()}{hint}"
                yield (before, ready), note, None, side_by_side(before, ready)
                return
            progress(0.2, "Finding the subject")
            guidance = self._studio.guidance(order)
            note = capitalised(guidance.reason) + hint
            for remark in self._studio.photo(order.photo).notes:
                note += f". {html.escape(remark, quote=False)}"
            transparent = self._studio.photo(order.photo).alpha is not None
            if transparent and not order.recipe.ignore_transparency:
                note += ". What is transparent in the photo stays so"
            canvas: Canvas | None = None
            if editing:
                height, width = guidance.guidance.shape
                mask = publish(encode_png(tinted(guidance.guidance)), "mask.png")
                canvas = on_canvas(before, mask, width, height, controls.edits)
            if view != "guidance" and not self._studio.has_matte(order):
                first = for_page(self._studio.view(order, "guidance"))
                yield (before, first), note, canvas, side_by_side(before, first)
                if order.recipe.refine:
                    progress(0.3, "Cutting out")
                    quick = replace(order, recipe=order.recipe.with_quality("fast"))
                    first = for_page(self._studio.view(quick, view))
                    yield (before, first), note, canvas, side_by_side(before, first)
            progress(0.5, "Refining hair" if order.recipe.refine else "Cutting out")
            self._studio.matte(order)
            progress(0.8, "Finding the subject's own colours")
            after = for_page(self._studio.view(order, view))
            yield (before, after), note, canvas, side_by_side(before, after)

    def steps(self, wanted: bool, *values: object) -> list[tuple[str, str]]:
        """Show what the network did, in the order of the paper's Figure 2.

        Args:
            wanted: whether anyone looks.
            values: the controls, as in `Controls`.

        Returns:
            Paths and captions; none where nobody looks, or there is no photo.
        """
        if not wanted or Controls.of(values).photo is None:
            return []
        with report_refusals():
            order = Controls.of(values).order()
            return [(for_page(self._studio.view(order, view)), text) for view, text in STEPS]

    def experiment(
        self,
        sizes: str,
        truth: str | None,
        progress: gr.Progress = _PROGRESS,
        *values: object,
    ) -> Iterator[Experiment]:
        """Perturb the guidance, and show what becomes of the result.

        Args:
            sizes: kernel diameters in px, "10, 20, 30".
            truth: path of a true alpha, or None.
            progress: tells how far it is.
            values: the controls, as in `Controls`.

        Yields:
            What is known after each trial, the archive after the last.
        """
        with report_refusals():
            order = Controls.of(values).order()
            wanted = read_sizes(sizes)
            report_waiting(progress, 0)
            self._studio.reserve(order)
            image = self._studio.picture(order.photo)
            true_alpha = None if truth is None else File.at(uploaded(truth))
            progress((0, len(wanted)), "Cutting out", unit="guidances")
            done: list[Trial] = []
            for trial in trials(self._studio, order, wanted, true_alpha):
                done.append(trial)
                progress((len(done), len(wanted)), "Cutting out", unit="guidances")
                yield self._experiment(image, done, complete=len(done) == len(wanted))

    def _experiment(self, image: Floats, done: Sequence[Trial], *, complete: bool) -> Experiment:
        guidances = [for_page(overlay(image, trial.guidance)) for trial in done]
        alphas = [for_page(trial.alpha) for trial in done]
        captions = [signed(trial.grow_px) for trial in done]
        warm = for_page(heat(image, disagreement([trial.alpha for trial in done])))
        rows = [
            [signed(t.grow_px), round(t.guidance_sad, 3), round(t.sad, 3), round(t.mse, 3)]
            for t in done
        ]
        archive = None
        if complete:
            files = {"robustness.csv": as_csv(done).encode(), "heat.jpg": Path(warm).read_bytes()}
            for trial, guidance in zip(done, guidances, strict=True):
                name = f"{trial.grow_px:+d}px"
                files[f"guidance{name}.jpg"] = Path(guidance).read_bytes()
                files[f"alpha{name}.png"] = encode_png(trial.alpha)
            archive = publish(zipped(files), "robustness.zip")
        pictures = [*zip(guidances, captions, strict=True), *zip(alphas, captions, strict=True)]
        return (
            curve(done),
            gr.update(value=pictures, columns=len(done)),  # each result below its guidance
            warm,
            rows,
            archive,
        )

    @staticmethod
    def edited(event: gr.EventData) -> object:
        """Take the corrections that the canvas sends."""
        with report_refusals():
            read_edits(event.edits)
        return event.edits

    def download(self, wanted: Product, *values: object) -> str:
        """Return the path of a file to download.

        Args:
            wanted: which file.
            values: the controls, as in `Controls`.
        """
        with report_refusals():
            return product(self._studio, Controls.of(values).order(), wanted)


def signed(size_px: int) -> str:
    """Say what was done to the guidance: "eroded 10 px", "as it is", "dilated 10 px"."""
    if size_px == 0:
        return "as it is"
    return f"{'dilated' if size_px > 0 else 'eroded'} {abs(size_px)} px"


def curve(done: Sequence[Trial]) -> Curve:
    """Return the trials' errors as two lines: the guidance's and the result's."""
    return _lines(
        [
            [trial.grow_px, error, line]
            for trial in done
            for error, line in ((trial.guidance_sad, "guidance"), (trial.sad, "result"))
        ]
    )


def paper_curve() -> Curve:
    """Return the paper's figures as a line."""
    return _lines([[size, error, "result"] for size, error in PAPER_SAD.items()])


def _lines(points: list[list[object]]) -> Curve:
    # What gr.LinePlot makes of a table; taken as it is, it spares the page one more library.
    return {
        "columns": ["px", "SAD (thousands)", "error of"],
        "data": points,
        "datatypes": {
            "px": "quantitative",
            "SAD (thousands)": "quantitative",
            "error of": "nominal",
        },
        "mark": "line",
    }
