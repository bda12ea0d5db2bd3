"""How the page's events are wired; none of them is an endpoint for programs."""

from typing import Any

__all__ = ["AT_ONCE", "PRIVATE"]

PRIVATE: dict[str, Any] = {"api_visibility": "private"}

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
"""Of what takes no time: it waits for no other event, and shows no progress."""
