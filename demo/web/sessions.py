"""Sessions of visitors, without what only deep links need.

Gradio describes the whole page anew for every session, and each request of a program is one. That
holds up everybody's requests for tens of milliseconds and keeps half a megabyte. A deep link to
what a visitor sees is made of it; this page has none.
"""

from types import SimpleNamespace
from typing import Any

from gradio.blocks import Blocks
from gradio.state_holder import SessionState, StateHolder


class Session(SessionState):
    """A visitor's values of `gr.State` and changed components, and no description of the page."""

    def __init__(self, blocks: Blocks) -> None:
        # Gradio describes what is in `blocks`.
        without_page: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(without_page)

    def _update_config(self, key: int) -> None:
        """Describe nothing."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Describe nothing."""


class Sessions(StateHolder):
    """Gradio's own, of these sessions."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)
