"""What happens when a visitor does something. Plain typed functions: no layout, no browser."""

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import gradio as gr

from demo.publishing import Product, for_page, product
from demo.recipe import Background, BackgroundKind, File, MaskKind, Order, Recipe, read_colour
from demo.studio import Studio, View
from mgm_core.compositing import Fit
from mgm_core.foreground import ForegroundMethod

# Gradio finds a progress bar by this default, and gives every request its own.
_PROGRESS = gr.Progress()

Comparison: TypeAlias = tuple[str, str]
Shown: TypeAlias = tuple[Comparison | None, str]


class Controls(NamedTuple):
    """The values of the page's controls, in the order in which handlers get them."""

    photo: str | None
    mask: str | None
    segmenter: str
    category: str
    threshold: float
    mask_kind: MaskKind
    grow_px: float
    foreground: ForegroundMethod
    background: BackgroundKind
    colour: str
    backdrop: str | None
    fit: Fit
    blur_percent: float

    @classmethod
    def of(cls, values: Sequence[object]) -> "Controls":
        """Take values as Gradio hands them over; `order` checks what they are."""
        return cls(*values)  # type: ignore[arg-type] # Gradio has no types for them

    def order(self) -> Order:
        """Return what the visitor asks for.

        Raises:
            ValueError: there is no photo, or a value is out of range.
        """
        if self.photo is None:
            raise ValueError("a photo must be given, got none: upload, paste or take one")
        recipe = Recipe(
            segmenter=self.segmenter,
            category=self.category,
            threshold=self.threshold,
            mask_kind=self.mask_kind,
            grow_px=round(self.grow_px),
            foreground=self.foreground,
            background=Background(
                self.background, read_colour(self.colour), self.fit, self.blur_percent
            ),
        )
        return Order(
            File.at(self.photo),
            recipe,
            mask=None if self.mask is None else File.at(self.mask),
            backdrop=None if self.backdrop is None else File.at(self.backdrop),
        )


class Handlers:
    """The page's handlers.

    Args:
        studio: does the work.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def show(
        self, view: View = "cut-out", progress: gr.Progress = _PROGRESS, *values: object
    ) -> Iterator[Shown]:
        """Bring the picture up to date: the photo beside the view that was chosen.

        Args:
            view: what to look at.
            progress: tells the visitor what is being done.
            values: the controls, as in `Controls`.

        Yields:
            The two pictures' paths for the slider, and a line about the guidance: first with the
            guidance alone where a matte has to be waited for, then with what was asked for.
        """
        controls = Controls.of(values)
        if controls.photo is None:
            yield None, ""
            return
        with told_to_the_visitor():
            order = controls.order()
            progress(0.05, "Reading the photo")
            before = for_page(self._studio.image(order.photo))
            progress(0.2, "Finding the subject")
            note = self._studio.guidance(order).note
            if view != "guidance" and not self._studio.has_matte(order):
                yield (before, for_page(self._studio.view(order, "guidance"))), note
            progress(0.4, "Cutting out")
            self._studio.matte(order)
            progress(0.8, "Finding the subject's own colours")
            after = for_page(self._studio.view(order, view))
            yield (before, after), note

    def download(self, wanted: Product, *values: object) -> str:
        """Return the path of a file to download.

        Args:
            wanted: which file.
            values: the controls, as in `Controls`.
        """
        with told_to_the_visitor():
            return product(self._studio, Controls.of(values).order(), wanted)


@contextmanager
def told_to_the_visitor() -> Iterator[None]:
    """Let refusals reach the visitor, as they say what to do.

    They are `ValueError`s. Any other error is a fault of ours: Gradio logs it, and tells the
    visitor no details.
    """
    try:
        yield
    except ValueError as error:
        # The page takes the message for HTML, and file names are in it.
        raise gr.Error(
            html.escape(sentence(str(error)), quote=False),
            title="That did not work",
            print_exception=False,
        ) from error


def sentence(message: str) -> str:
    """Write a message as a sentence: "x must be y, got z: do" -> "X must be y, got z. Do."."""
    head, colon, advice = message.partition(": ")
    text = _capitalised(head) + (f". {_capitalised(advice)}" if colon else "")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
