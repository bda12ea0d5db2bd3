"""How the page's events are wired; none of them is an endpoint for programs."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

__all__ = ["AT_ONCE", "PRIVATE", "UNSEEN", "in_any_case", "running_buttons"]

PRIVATE: dict[str, Any] = {"api_visibility": "private"}

UNSEEN: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
"""Of what is short: it shows no progress."""

AT_ONCE: dict[str, Any] = {"queue": False, **UNSEEN}
"""Of what takes no time: it waits for no other event, and Gradio does not tell why it failed."""


def in_any_case(
    done: Dependency,
    fn: Callable[..., object],
    inputs: Component | None = None,
    outputs: Sequence[Component] | None = None,
) -> list[Dependency]:
    """Have what takes no time follow an event, also one that failed: Gradio's `then` would not.

    Returns:
        What follows success, and what follows failure.
    """
    return [follow(fn, inputs, outputs, **AT_ONCE) for follow in (done.success, done.failure)]


def running_buttons(*, running: bool) -> list[gr.Button]:
    """Return how a button that begins something, and one that ends it, look from now on.

    While it runs the first is off: Gradio would forget a click.
    """
    return [gr.Button(interactive=not running), gr.Button(visible=running)]
