"""How the page's events are wired; none of them is an endpoint for programs."""

from typing import Any

from gradio.events import Dependency

__all__ = ["AT_ONCE", "PRIVATE", "UNSEEN", "in_any_case"]

PRIVATE: dict[str, Any] = {"api_visibility": "private"}

UNSEEN: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
"""Of what is short: it shows no progress."""

AT_ONCE: dict[str, Any] = {"queue": False, **UNSEEN}
"""Of what takes no time: it waits for no other event, and Gradio does not tell why it failed."""


def in_any_case(
    done: Dependency,
    *args: Any,  # noqa: ANN401 - what Gradio's listeners take
    **options: Any,  # noqa: ANN401
) -> list[Dependency]:
    """Have something follow an event, also one that failed: after that, Gradio skips its `then`."""
    return [follow(*args, **options) for follow in (done.success, done.failure)]
