"""What happens when a visitor does something. Plain typed functions: no layout, no browser."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import gradio as gr
import numpy as np

from demo.backend.orders import File, Order
from demo.backend.publishing import (
    Product,
    encoded_for_page,
    for_page,
    product,
    publish,
    zipped,
)
from demo.backend.robustness import (
    PAPER_GROWTH_PERCENT,
    Trial,
    as_csv,
    bounds,
    disagreement,
    heat,
    read_sizes,
    trials,
)
from demo.backend.studio import Seen, Studio, View, overlay, tinted
from demo.backend.visits import capitalised, report_refusals, report_waiting, sentence
from demo.controls import CONTROL_NAMES, PER_PHOTO, Controls
from demo.examples import EXAMPLES
from demo.web.curve import draw_curve
from demo.web.editor import Canvas, on_canvas
from demo.web.gallery import chosen
from demo.web.keeper import about_photo, brought
from demo.web.uploads import label_choice, uploaded
from demo.web.viewer import Pair, side_by_side
from mgm_core.arrays import Floats
from mgm_core.choices import DEFAULT_WEIGHTS
from mgm_core.corrections.editing import region_places
from mgm_core.cutout import NoSubjectError
from mgm_core.images import encode_png
from mgm_core.recipe import Quality
from mgm_core.runtime.admission import BusyError

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
_AWAITED_GREY = 0.5  # what stands in the place of a result that is being made
# Gradio finds a progress bar by this default, and gives every request its own.
_PROGRESS = gr.Progress()

Comparison: TypeAlias = tuple[str, str]
Experiment: TypeAlias = tuple[str, dict[str, Any], str | None, list[list[object]], str | None]


class LastResult(NamedTuple):
    """A result that Stop goes back to."""

    photo: str | None
    pictures: Comparison
    note: str
    pair: Pair


class Shown(NamedTuple):
    """What `Handlers.show` sets on the page.

    Args:
        pictures: of the slider: the photo, and what is looked at.
        note: a line about the guidance.
        canvas: what the canvas shows.
        pair: what the close-up shows.
        last: what Stop goes back to.
        downloads: whether there is anything to download.
    """

    pictures: Comparison | None = None
    note: str = ""
    canvas: Canvas | None = None
    pair: Pair | None = None
    last: LastResult | None = None
    downloads: gr.Row | dict[str, Any] = gr.skip()


class Handlers:
    """The page's handlers.

    Args:
        studio: does the work.
        quality: what photos are cut out with unless the visitor chooses.
        weights: the matting network's; the examples' prepared results are shown with the default
            ones alone.
    """

    def __init__(
        self, studio: Studio, quality: Quality = "best", weights: str = DEFAULT_WEIGHTS
    ) -> None:
        self._studio, self._quality = studio, quality
        self._prepared_results_fit = weights == DEFAULT_WEIGHTS
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

    def bring(self, event: gr.EventData) -> tuple[object, ...]:
        """Take a photo that the visitor's browser brings, and the settings that it kept with it.

        Returns:
            The photo's digest, and the values of all controls, in the order of `CONTROL_NAMES`; the
            label comes with its choices, as Gradio refuses what is not among them.
        """
        with report_refusals():
            files, values = brought(event, CONTROL_NAMES)
            controls = Controls().with_values(**{"quality": self._quality} | values | files)
            try:
                order = controls.order()
            except (TypeError, AttributeError) as error:
                raise ValueError(
                    f"what was kept must be a page's settings, got another ({error}): upload the "
                    "photo"
                ) from error
            named = dict(zip(CONTROL_NAMES, controls.values(), strict=True))
            named["label"] = self.labels(controls.own_mask.mask, controls.own_mask.label)
            return order.photo.digest, *named.values()

    def start_photo(self, photo: str | None, brought_digest: str | None) -> tuple[object, ...]:
        """Make room for another photo: what was set for the one before means nothing for it.

        Args:
            photo: its path.
            brought_digest: of the photo that was there, or that `bring` has just set with all that
                belongs to it.

        Returns:
            Updates of result, controls and hero; what the browser is to know; the photo's
            digest; no steps; no edits; the controls of `PER_PHOTO`; whether its transparency is
            ignored.
        """
        digest = None if photo is None else File.at(uploaded(photo)).digest
        example = digest in self._examples
        same = digest is not None and digest == brought_digest
        brings = example or same
        start = dict(zip(CONTROL_NAMES, Controls().values(), strict=True))
        own = [gr.skip() if brings else start[name] for name in PER_PHOTO]
        megapixels = 0.0 if photo is None else self._studio.megapixels(photo)
        shown = photo is not None and megapixels <= self._studio.max_megapixels
        return (
            gr.Column(visible=shown),
            gr.Column(visible=shown),
            gr.Column(visible=not shown),
            about_photo(
                photo,
                own=photo is not None and not example,
                megapixels=megapixels,
                most_megapixels=self._studio.max_megapixels,
            ),
            # As the browser may tell of one photo twice, also when its settings have changed.
            digest,
            [],
            gr.skip() if brings and not example else [],
            *own,
            gr.skip() if same else False,
        )

    def labels(self, mask: str | None, label: int | None = None) -> gr.Dropdown:
        """Offer the labels of a class map as mask.

        Args:
            mask: its path.
            label: what stays the subject where the map has it; else that is the largest.
        """
        try:
            shares = {} if mask is None else self._studio.labels(File.at(uploaded(mask)))
        except ValueError:  # said where the mask is shown
            shares = {}
        return label_choice(shares, label)

    def transparency(self, photo: str | None) -> gr.Checkbox:
        """Offer to ignore the photo's own transparency, where it has some."""
        try:
            there = (
                photo is not None and self._studio.photo(File.at(uploaded(photo))).alpha is not None
            )
        except ValueError:  # said where the photo is shown
            there = False
        return gr.Checkbox(visible=there)

    def _example_result(self, order: Order, view: View) -> str | None:
        """Return the picture of an example's result, where that is what is asked for."""
        example = self._examples.get(order.photo.digest)
        if example is None or view != "cut-out" or not self._prepared_results_fit:
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
            What the page shows. Where a matte has to be waited for, the guidance comes first, then
            the fast result, then the one that was asked for. Where no subject is found, the canvas
            is there to click on.
        """
        with report_refusals():
            try:
                yield from self._show(view, editing, progress, Controls.of(values))
            except (ValueError, BusyError) as error:
                # The message passes; the reason stays.
                reason = html.escape(sentence(str(error)), quote=False)
                stays = gr.skip()
                yield Shown(stays, reason, stays, stays, stays, stays)
                raise

    def _show(
        self, view: View, editing: bool, progress: gr.Progress, controls: Controls
    ) -> Iterator[Shown]:
        nothing = Shown(downloads=gr.Row(visible=False))
        if controls.photo is None:
            yield nothing
            return
        hint = ""
        if controls.backing.background == "picture" and controls.backing.backdrop is None:
            controls = controls.with_values(background="transparent")
            hint = ". Add the picture that goes behind"
        order = controls.order()
        if self._studio.megapixels(str(order.photo.path)) > self._studio.max_megapixels:
            # The visitor is offered to reduce it.
            yield nothing
            return
        seen = None if editing else self._studio.seen(order, view)
        if seen is not None:
            pictures = publish(*seen.before), publish(*seen.after)
            note, pair = seen.note + hint, side_by_side(*pictures)
            last = LastResult(controls.photo, pictures, note, pair)
            yield Shown(pictures, note, None, pair, last, gr.Row(visible=True))
            return
        report_waiting(progress, 0.4)
        if view != "guidance" and (editing or self._example_result(order, view) is None):
            self._studio.reserve(order)
        progress(0.05, "Reading the photo")
        photo = encoded_for_page(self._studio.picture(order.photo))
        before = publish(*photo)
        note = ""
        canvas: Canvas | None = None

        def on_the_way(after: str) -> Shown:
            pair = side_by_side(before, after)
            return Shown((before, after), note, canvas, pair, gr.skip(), gr.Row(visible=True))

        def result(after: str) -> Shown:
            pair = side_by_side(before, after)
            last = LastResult(controls.photo, (before, after), note, pair)
            return on_the_way(after)._replace(last=last)

        def final_result() -> Shown:
            after = encoded_for_page(self._studio.view(order, view))
            if not editing:
                self._studio.remember(order, view, Seen(photo, after, note.removesuffix(hint)))
            return result(publish(*after))

        ready = None if editing else self._example_result(order, view)
        if ready is not None:
            note = f"An example: {self._examples[order.photo.digest].title.lower()}{hint}"
            yield result(ready)
            return
        if order.mask is None and not self._studio.is_found(order):
            yield on_the_way(self._example_result(order, "cut-out") or before)
        progress(0.2, "Finding the subject")
        try:
            guided = self._studio.guidance(order)
        except NoSubjectError as error:
            note = html.escape(sentence(str(error)), quote=False)
            note += ' Or click on what you want: "Click or paint".'
            empty = np.zeros(self._studio.image(order.photo).shape[:2], np.float32)
            canvas = _canvas(before, empty, controls, order) if editing else None
            yield on_the_way(before)._replace(last=None, downloads=gr.Row(visible=False))
            return
        note = capitalised(guided.reason)
        for remark in self._studio.photo(order.photo).notes:
            note += f". {html.escape(remark, quote=False)}"
        transparent = self._studio.photo(order.photo).alpha is not None
        if transparent and not order.recipe.ignore_transparency:
            note += ". What is transparent in the photo stays so"
        note += hint
        if editing:
            canvas = _canvas(before, guided.guidance, controls, order)
        if view == "guidance":
            yield final_result()
            return
        if not self._studio.has_matte(order):
            yield on_the_way(for_page(self._studio.view(order, "guidance")))
            if order.recipe.refine == "full":
                progress(0.3, "Cutting out")
                quick = replace(order, recipe=order.recipe.with_quality("fast"))
                yield on_the_way(for_page(self._studio.view(quick, view)))
        progress(0.5, "Refining hair" if order.recipe.refine == "full" else "Cutting out")
        self._studio.matte(order)
        progress(0.8, "Finding the subject's own colours")
        yield final_result()

    @staticmethod
    def stopped(
        last: LastResult | None, photo: str | None
    ) -> tuple[Comparison | None, str, Pair | None]:
        """Go back to the last result of this photo, if there is one: what was on its way is none.

        Args:
            last: as `show` gave it.
            photo: the photo's path.
        """
        if last is not None and last.photo == photo:
            return last.pictures, last.note, last.pair
        return gr.skip(), "Stopped before there was a result. Change a setting to go on", gr.skip()

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

    @staticmethod
    def places(sizes: str, truth: str | None, photo: str | None) -> tuple[str, list[object], None]:
        """Draw the places of the experiment's curve, and clear what is left of the one before.

        Args:
            sizes: kernel diameters in px, "10, 20, 30".
            truth: path of a true alpha, or None.
            photo: path of the photo.

        Returns:
            The empty curve, no pictures and no file.
        """
        with report_refusals():
            wanted = read_sizes(sizes)
            if photo is None:
                raise ValueError("a photo must be given, got none: choose one under Cut out first")
            return _curve(wanted, [], truth), [], None

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
            All guidances at once, then what is known after each trial, the archive after the last.
        """
        with report_refusals():
            order = Controls.of(values).order()
            wanted = read_sizes(sizes)
            report_waiting(progress, 0)
            self._studio.reserve(order)
            image = self._studio.picture(order.photo)
            true_alpha = None if truth is None else File.at(uploaded(truth))
            progress((0, len(wanted)), "Eroding and dilating the mask", unit="masks")
            guidances = [
                for_page(
                    overlay(image, self._studio.guidance(replace(order, perturb_px=size)).guidance)
                )
                for size in wanted
            ]
            awaited = for_page(np.full(image.shape[:2], _AWAITED_GREY, np.float32))
            captions = [signed(size) for size in wanted]
            alphas: list[str] = []
            encoded: list[bytes] = []
            extremes: tuple[Floats, ...] = ()
            done: list[Trial] = []

            def known(warm: str | None, archive: str | None = None) -> Experiment:
                results = [*alphas, *[awaited] * (len(wanted) - len(alphas))]
                pictures = [
                    (path, text)
                    for row in (guidances, results)
                    for path, text in zip(row, captions, strict=True)
                ]
                return (
                    _curve(wanted, done, truth),
                    # Each result is below its guidance.
                    gr.update(value=pictures, columns=len(wanted)),
                    warm,
                    _rows(done),
                    archive,
                )

            yield known(None)
            progress((0, len(wanted)), "Cutting out", unit="masks")
            for trial in trials(self._studio, order, wanted, true_alpha):
                done.append(trial.figures_alone())
                alphas.append(for_page(trial.alpha))
                encoded.append(encode_png(trial.alpha))
                extremes = bounds([*extremes, trial.alpha])
                progress((len(done), len(wanted)), "Cutting out", unit="masks")
                warm = for_page(heat(image, disagreement(extremes)))
                complete = len(done) == len(wanted)
                yield known(warm, _archive(done, guidances, encoded, warm) if complete else None)

    def download(self, wanted: Product, *values: object) -> str:
        """Return the path of a file to download.

        Args:
            wanted: which file.
            values: the controls, as in `Controls`.
        """
        with report_refusals():
            return product(self._studio, Controls.of(values).order(), wanted)


def _canvas(photo: str, guidance: Floats, controls: Controls, order: Order) -> Canvas:
    height, width = guidance.shape
    mask = publish(encode_png(tinted(guidance)), "mask.png")
    chips = _chips(guidance, order)
    return on_canvas(photo, mask, width, height, controls.edits, chips)


def _chips(guidance: Floats, order: Order) -> list[tuple[float, float, bool]]:
    """Return a place on each region of the mask, and on each that was left out by its number."""
    present = [(x + 0.5, y + 0.5, True) for x, y in region_places(guidance)]
    height, width = guidance.shape
    dropped = dict.fromkeys(
        edit.points[0]
        for edit in order.recipe.edits
        if edit.tool == "pick"
        and 0 <= edit.points[0][0] < width
        and 0 <= edit.points[0][1] < height
        and guidance[int(edit.points[0][1]), int(edit.points[0][0])] < 0.5
    )
    return [*present, *((x, y, False) for x, y in dropped)]


def signed(size_px: int) -> str:
    """Say what was done to the guidance: "eroded 10 px", "as it is", "dilated 10 px"."""
    if size_px == 0:
        return "as it is"
    return f"{'dilated' if size_px > 0 else 'eroded'} {abs(size_px)} px"


def empty_curve() -> str:
    """Return the experiment's curve before there is any, with the paper's beside it."""
    return _curve(sorted(PAPER_GROWTH_PERCENT), [], None)


def _curve(sizes: Sequence[int], done: Sequence[Trial], truth: str | None) -> str:
    changes = {trial.grow_px: trial.change_percent for trial in done}
    return draw_curve(sizes, changes, PAPER_GROWTH_PERCENT, of_error=truth is not None)


def _rows(done: Sequence[Trial]) -> list[list[object]]:
    return [
        [
            signed(trial.grow_px),
            round(trial.change_percent, 2),
            round(trial.guidance_sad, 3),
            round(trial.sad, 3),
            round(trial.mse, 3),
        ]
        for trial in done
    ]


def _archive(
    done: Sequence[Trial], guidances: Sequence[str], alphas: Sequence[bytes], warm: str
) -> str:
    files = {"robustness.csv": as_csv(done).encode(), "heat.jpg": Path(warm).read_bytes()}
    for trial, guidance, alpha in zip(done, guidances, alphas, strict=True):
        name = f"{trial.grow_px:+d}px"
        files[f"guidance{name}.jpg"] = Path(guidance).read_bytes()
        files[f"alpha{name}.png"] = alpha
    return publish(zipped(files), "robustness.zip")
