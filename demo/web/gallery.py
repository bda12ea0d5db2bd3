"""What a visitor sees first: the hero, and the examples' buttons. Their files are the app's own."""

import html
from pathlib import Path
from typing import Any

import gradio as gr

from demo.examples import EXAMPLES, HERO, PICTURES, manifest

_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def served(path: Path) -> str:
    """Return the address of a file of `PICTURES`, relative to the page's."""
    return f"gradio_api/file={path.resolve()}"


def hero() -> gr.HTML:
    """Return the picture of a mask that shrinks and grows beside its cut-out, which stands still.

    Whoever asked for less motion sees it without.
    """
    moving, still = (served(PICTURES / name) for name in ("hero.webp", "hero-still.webp"))
    return gr.HTML(
        f'<figure><picture><source srcset="{still}" media="(prefers-reduced-motion: reduce)">'
        f'<img src="{moving}" width="680" height="340" alt="Left: a portrait whose rough mask '
        "shrinks and grows. Right: the cut-out, whose hair stays as it is."
        f'"></picture><figcaption>{html.escape(claim())}</figcaption></figure>',
        elem_id="hero",
    )


def claim() -> str:
    """Say by how much the hero's mask and its result move, as measured."""
    measured = manifest()["hero"]
    subject = measured["subject_thousands"]
    kernels = measured["kernels_px"]
    mask, result = (
        100 * max(measured[f"{plane}_sad_thousands"]) / subject for plane in ("mask", "alpha")
    )
    return (
        f"A rough mask says who; the network finds every hair. This mask moves by {min(kernels)} "
        f"to {max(kernels)} px: it changes by up to {mask:.1f} % of the subject, the cut-out by "
        f"up to {result:.1f} %. {HERO.title} by the bundled weights."
    )


def example_buttons() -> gr.HTML:
    """Return the buttons; a click is a `select` with the example's number as `event.example`."""
    buttons = "".join(
        f'<button type="button" data-example="{number}"><img src="{served(e.thumbnail_path)}" '
        f'width="72" height="72" alt=""><span>{html.escape(e.title)}</span></button>'
        for number, e in enumerate(EXAMPLES)
    )
    return gr.HTML(
        html_template=f'<div class="row" role="group" aria-label="Examples">{buttons}</div>',
        js_on_load=_SCRIPT,
        elem_id="examples",
    )


def chosen(event: gr.EventData) -> int:
    """Return the number of the example whose button was pressed.

    Raises:
        ValueError: There is no such example.
    """
    number: Any = event.example
    if type(number) is not int or not 0 <= number < len(EXAMPLES):
        raise ValueError(
            f"example must be a number below {len(EXAMPLES)}, got {number!r}: reload the page"
        )
    return number
