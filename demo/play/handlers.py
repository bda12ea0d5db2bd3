"""What happens when a visitor plays. Plain typed functions: no layout, no browser."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import gradio as gr
import numpy as np

from demo.backend.orders import File, Order
from demo.backend.publishing import for_page, publish
from demo.backend.robustness import Trial, disagreement, heat, sad_thousands, trials
from demo.backend.studio import Studio, over_tiles, overlay, tinted
from demo.backend.visits import report_refusals, report_waiting
from demo.controls import Controls
from demo.play.card import share_card
from demo.play.comparison import fit_other
from demo.play.loop import (
    KERNELS_PX,
    encode_frame,
    encode_gif,
    encode_mp4,
    loop_frame,
    there_and_back,
)
from demo.play.loupe import under_loupe
from demo.web.editor import Canvas, on_canvas
from demo.web.uploads import uploaded
from demo.web.viewer import Pair, side_by_side
from mgm_core.arrays import Bytes, Floats
from mgm_core.corrections.editing import apply_edits
from mgm_core.images import encode_jpeg, encode_png
from mgm_core.recipe import Recipe, read_edits

_PROGRESS = gr.Progress()
Pictures: TypeAlias = list[tuple[str, str]]
Compared = Literal["cut-out", "alpha", "difference"]


class Score(NamedTuple):
    """How a terrible mask did, in thousands of pixels of absolute difference.

    Args:
        mask_sad: of the mask from the good mask's result.
        result_sad: of its result from the good mask's result.
    """

    mask_sad: float
    result_sad: float

    @property
    def mended_percent(self) -> float:
        """Which share of the mask's error the network took away; below 0 it added some."""
        return 100 * (1 - self.result_sad / self.mask_sad) if self.mask_sad else 0.0


class PlayHandlers:
    """What the tab and the buttons for sharing do.

    Args:
        studio: does the work.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def card(self, *values: object) -> str:
        """Return the path of a picture to share: photo, mask and result."""
        with report_refusals():
            order = Controls.of(values).order()
            self._studio.await_turn(order)
            panels = [
                ("Photo", self._studio.picture(order.photo)),
                ("Mask", self._studio.view(order, "guidance")),
                ("Result", self._studio.view(order, "cut-out")),
            ]
            name = f"{Path(order.photo.path).stem}-card.jpg"
            return publish(encode_jpeg(share_card(panels)), name)

    def blank(self, *values: object) -> tuple[Canvas | None, list[object]]:
        """Return the photo to scribble on, without a mask, and no strokes."""
        controls = Controls.of(values)
        try:
            return (None if controls.photo is None else self._sheet(controls, [])), []
        except ValueError:  # said where the photo is shown
            return None, []

    def scribbled(self, edits: object, *values: object) -> Canvas:
        """Show the mask that the strokes make."""
        with report_refusals():
            return self._sheet(Controls.of(values), edits)

    def _sheet(self, controls: Controls, edits: object) -> Canvas:
        order = controls.order()
        picture = self._studio.picture(order.photo)
        height, width = picture.shape[:2]
        mask = publish(encode_png(tinted(self._scribble(order, edits))), "mask.png")
        return on_canvas(for_page(picture), mask, width, height, edits)

    def _scribble(self, order: Order, edits: object) -> Floats:
        height, width = self._studio.image(order.photo).shape[:2]
        with self._studio.in_time():
            return apply_edits(np.zeros((height, width), np.float32), read_edits(edits))

    def play(
        self,
        edits: object,
        best: float | None,
        progress: gr.Progress = _PROGRESS,
        *values: object,
    ) -> tuple[Pictures, str, float]:
        """Cut out by a scribble, and say how near it came to the good mask's result.

        Args:
            edits: the strokes.
            best: the highest score of this page, or None.
            progress: tells how far it is.
            values: the controls, as in `Controls`.

        Returns:
            Pictures with captions, the score in words, and the highest score.
        """
        with report_refusals():
            good = fast(Controls.of(values).order())
            scribble = self._scribble(good, edits)
            if not scribble.any():
                raise ValueError(
                    "the mask must have some paint, got none: scribble over the subject"
                )
            report_waiting(progress, 0)
            self._studio.await_turn(good)
            progress(0.1, "Cutting out by the good mask")
            reference = self._studio.matte(good).alpha
            progress(0.5, "Cutting out by yours")
            terrible = self._by_mask(good, scribble)
            alpha = self._studio.matte(terrible).alpha
            score = Score(sad_thousands(scribble, reference), sad_thousands(alpha, reference))
            picture = self._studio.picture(good.photo)
            pictures = [
                (for_page(overlay(picture, scribble)), "Your mask"),
                (for_page(self._studio.view(terrible, "cut-out")), "Its cut-out"),
                (for_page(self._studio.view(good, "cut-out")), "By the good mask"),
            ]
            highest = max(score.mended_percent, -np.inf if best is None else best)
            return pictures, in_words(score, highest), highest

    def _by_mask(self, order: Order, mask: Floats) -> Order:
        recipe = replace(
            order.recipe, own_mask=True, mask_kind="binary_mask", label=None, shift_px=0, edits=()
        )
        path = publish(encode_png(mask), "scribble.png")
        return replace(order, recipe=recipe, mask=File.at(path))

    def loop(
        self, progress: gr.Progress = _PROGRESS, *values: object
    ) -> Iterator[tuple[object, object, object, str]]:
        """Shrink and grow the mask, cut out by each, and put it into a GIF and an MP4.

        Args:
            progress: tells how far it is.
            values: the controls, as in `Controls`.

        Yields:
            The latest frame, in the end the GIF; then both files, and what was measured.
        """
        with report_refusals():
            order = fast(Controls.of(values).order())
            report_waiting(progress, 0)
            self._studio.await_turn(order)
            picture = self._studio.picture(order.photo)
            still = replace(order, perturb_px=0)
            mask = self._studio.guidance(still).guidance
            area = float(self._studio.matte(still).alpha.sum())
            frames: list[Bytes] = []
            done: list[Trial] = []
            mask_sads: list[float] = []
            progress((0, len(KERNELS_PX)), "Cutting out", unit="masks")
            for trial in trials(self._studio, order, KERNELS_PX):
                shown = self._studio.view(replace(order, perturb_px=trial.grow_px), "cut-out")
                frames.append(loop_frame(overlay(picture, trial.guidance), shown))
                done.append(trial.figures_alone())
                mask_sads.append(sad_thousands(trial.guidance, mask))
                progress((len(frames), len(KERNELS_PX)), "Cutting out", unit="masks")
                yield publish(encode_frame(frames[-1]), "frame.jpg"), gr.skip(), gr.skip(), ""
            round_ = there_and_back(frames)
            stem = Path(order.photo.path).stem
            gif = publish(encode_gif(round_), f"{stem}-loop.gif")
            mp4 = publish(encode_mp4(round_), f"{stem}-loop.mp4")
            yield (
                gif,
                gr.DownloadButton(value=gif, interactive=True),
                gr.DownloadButton(value=mp4, interactive=True),
                measured(done, mask_sads, area),
            )

    def look(self, progress: gr.Progress = _PROGRESS, *values: object) -> dict[str, object]:
        """Return what the loupe shows: photo, levels, alpha and cut-out.

        Args:
            progress: tells how far it is.
            values: the controls, as in `Controls`.
        """
        with report_refusals():
            order = Controls.of(values).order()
            report_waiting(progress, 0)
            self._studio.await_turn(order)
            progress(0.2, "Cutting out")
            alpha = self._studio.matte(order).alpha
            progress(0.8, "Drawing the levels")
            levels = [self._studio.view(order, view) for view in ("os8", "os4", "os1")]
            cutout = self._studio.view(order, "cut-out")
            planes = [for_page(plane) for plane in (*levels, alpha)]
            photo = for_page(self._studio.picture(order.photo))
            return under_loupe(photo, planes, for_page(cutout), alpha)

    def compare(
        self,
        other: str | None,
        what: Compared,
        progress: gr.Progress = _PROGRESS,
        *values: object,
    ) -> tuple[gr.Column, tuple[str, str], Pair, str]:
        """Show another tool's result beside ours, at the same place.

        Args:
            other: path of a cut-out with transparency, or of a matte.
            what: what to look at.
            progress: tells how far it is.
            values: the controls, as in `Controls`.

        Returns:
            The result's column, which is seen from now on; ours and the other for the slider and
            for the close-up; and by how much they differ.
        """
        with report_refusals():
            order = Controls.of(values).order()
            if other is None:
                raise ValueError("another result must be given, got none: upload one")
            file = File.at(uploaded(other))
            photo = self._studio.photo(file)
            matte = self._studio.mask(file) if photo.alpha is None else None
            image = self._studio.image(order.photo)
            theirs = fit_other(photo, matte, *image.shape[:2])
            report_waiting(progress, 0)
            self._studio.await_turn(order)
            progress(0.2, "Cutting out")
            ours = self._studio.matte(order).alpha
            if what == "alpha":
                pictures = ours, theirs.alpha
            elif what == "difference":
                painted = heat(image, disagreement([ours, theirs.alpha]))
                pictures = self._studio.view(order, "cut-out"), painted
            else:
                colours = theirs.colours
                if colours is None:
                    colours = self._studio.colours_under(order.photo, file, theirs.alpha)
                plain = Recipe()
                pictures = (
                    over_tiles(self._studio.foreground(order), ours, plain),
                    over_tiles(colours, theirs.alpha, plain),
                )
            shown = for_page(pictures[0]), for_page(pictures[1])
            note = (
                f"They differ by {sad_thousands(ours, theirs.alpha):.2f} thousand pixels (SAD of "
                f"alpha), MSE {1000 * np.square(ours - theirs.alpha).mean():.2f} thousandths."
            )
            return gr.Column(visible=True), shown, side_by_side(*shown), note


def fast(order: Order) -> Order:
    """Return an order by the matting network alone: what is played with is made many times."""
    return replace(order, recipe=replace(order.recipe.with_quality("fast"), refine="off"))


def in_words(score: Score, highest: float) -> str:
    """Say how a terrible mask did."""
    mended = score.mended_percent
    verdict = f"**{mended:.0f} % mended.**" if mended >= 0 else f"**Made {-mended:.0f} % worse.**"
    return (
        f"{verdict} Your mask is wrong by {score.mask_sad:.1f}, its cut-out by "
        f"{score.result_sad:.1f} (SAD in thousands, against the good mask's result). "
        f"Best so far: {highest:.0f} %."
    )


def measured(done: Sequence[Trial], mask_sads: Sequence[float], area: float) -> str:
    """Say by how much masks and results of a loop differ from the ones in its middle.

    Args:
        done: its trials, against the result in the middle.
        mask_sads: of each mask from the one in the middle, in thousands.
        area: the subject's, in px.
    """
    subject = max(area, 1.0) / 1000
    return (
        f"The mask moves by {done[0].grow_px} to {done[-1].grow_px} px: it changes by up to "
        f"{100 * max(mask_sads) / subject:.1f} % of the subject, the cut-out by up to "
        f"{100 * max(trial.sad for trial in done) / subject:.1f} %."
    )
