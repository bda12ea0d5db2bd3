"""Let a visitor end what runs for long and keep what is done."""

import threading


class Stops:
    """Which sessions want to stop. Safe for threads.

    Gradio's own cancelling drops a handler where it stands, with all that it made; a handler that
    asks here ends by itself, and hands over what it has.
    """

    def __init__(self) -> None:
        self._running: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def begin(self, session: str) -> threading.Event:
        """Return the event that is set once this session wants to stop what it begins now."""
        event = threading.Event()
        with self._lock:
            self._running[session] = event
        return event

    def stop(self, session: str) -> None:
        """Stop what the session runs, if it does."""
        with self._lock:
            event = self._running.get(session)
        if event is not None:
            event.set()

    def end(self, session: str, event: threading.Event) -> None:
        """Forget what the session began, unless it began anew since."""
        with self._lock:
            if self._running.get(session) is event:
                del self._running[session]
