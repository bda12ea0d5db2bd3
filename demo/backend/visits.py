"""Handlers as visits: each runs with its visitor's share and ends when he leaves or presses Stop.

`mgm_core.runtime.admission` decides; here Gradio's requests become its visitors.
"""

import asyncio
import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext

from mgm_core.runtime.admission import Admission, BusyError, Ended, Visit, Visitor, current_visit
from mgm_core.runtime.cancellation import Cancelled
from mgm_core.runtime.reporting import reason_of, refused_by_disk

Handler = TypeVar("Handler", bound=Callable[..., Any])

LANES = {"photo": 1, "large": 1, "batch": 1, "clip": 1}
"""What may be computed at once. A large photo does not keep small ones waiting, nor do many, nor a
clip."""

DISK_FULL = "The server's disk must take what you send and get, and did not. Try again later."

_logger = logging.getLogger("mgm.visits")


class Visits:
    """Makes visits of the page's and the endpoints' requests."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        admission.on_end = log

    def of(
        self,
        handler: Handler,
        *,
        passing: bool = False,
        queued: bool = True,
        task: str = "cut out",
    ) -> Handler:
        """Return a handler that is a visit from its first step to its last.

        A handler that was cancelled changes nothing on the page: whoever stopped it sees
        the button, whoever wants something else by now sees that, and whoever left sees nothing.

        Args:
            handler: What Gradio is to call.
            passing: Whether `outdate` ends it.
            queued: Whether Gradio queues it. Of what it does not queue, nobody can tell whether the
                visitor still waits: such a handler must be short, and counts for his address alone.
            task: What `stop` ends it with.
        """

        def comes() -> AbstractContextManager[Visit]:
            who = visitor() if queued else replace(visitor(), page=None)
            return self.admission.visit(who, passing=passing, task=task)

        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def steps(*args: object, **options: object) -> Iterator[object]:
                with report_refusals(), comes() as visit:
                    # Gradio runs each step in another context: a visit is active within each.
                    inner = handler(*args, **options)
                    try:
                        while True:
                            with visit.active():
                                step = next(inner, _DONE)
                            # The next wish may have come while this step was made.
                            if step is _DONE or (passing and visit.token.cancelled):
                                return
                            yield step
                    except Cancelled:
                        # Its successor answers; an error would be shown in its place.
                        if not passing:
                            raise
                    finally:
                        inner.close()

            return steps  # type: ignore[return-value] # it has the handler's own signature

        @functools.wraps(handler)
        def once(*args: object, **options: object) -> object:
            with report_refusals(), comes() as visit, visit.active():
                return handler(*args, **options)

        return once  # type: ignore[return-value]

    def stop(self, *tasks: str) -> Callable[[gr.Request], None]:
        """Return a handler that ends what the visitor's page has under way of these tasks."""

        def end(request: gr.Request) -> None:
            self.admission.cancel(str(request.session_hash), tasks=tasks)

        return end

    async def outdate(self, request: gr.Request) -> None:
        """End what the visitor's page looks at no more, before it asks for what it wants now.

        It takes a moment in which further changes, as of a slider that is being drawn, become one.
        """
        self.admission.cancel(str(request.session_hash), only_passing=True)
        await asyncio.sleep(_MOMENT_S)


_DONE = object()
_MOMENT_S = 0.08


def report_waiting(progress: Callable[..., object], share: float) -> None:
    """Show a visitor who waits for his turn how many come before."""
    visit = current_visit()
    if visit is not None:

        def tell(before: int) -> None:
            progress(share, f"Waiting: {before} before you")

        visit.on_wait = tell


def visitor() -> Visitor:
    """Return who sent the request that this thread answers."""
    request = LocalContext.request.get()
    client = None if request is None else request.client
    page = None if request is None else request.session_hash
    return Visitor("" if client is None else str(client.host), page)


@contextmanager
def report_refusals() -> Iterator[None]:
    """Let refusals reach the visitor, as they say what to do.

    They are `ValueError`s, `BusyError`, and a shortage of memory or disk. Any other error is a
    fault of ours: Gradio logs it, and tells the visitor no details.
    """
    try:
        yield
    except gr.Error:  # a ValueError, too
        raise
    except (ValueError, BusyError) as error:
        # The page takes the message for HTML, and file names are in it.
        raise gr.Error(
            html.escape(sentence(str(error)), quote=False),
            title="That did not work" if isinstance(error, ValueError) else "Busy",
            print_exception=False,
        ) from error
    except Exception as error:  # each library has its own for a lack of memory; others are raised
        if (shortage := shortage_of(error)) is None:
            raise
        _logger.exception("memory or disk was short")
        title = "No room" if isinstance(error, OSError) else "Too large"
        raise gr.Error(shortage, title=title, print_exception=False) from error
    except Cancelled as error:
        raise gr.Error("Stopped.", visible=False, print_exception=False) from error


def shortage_of(error: Exception) -> str | None:
    """Return the visitor's message where memory or disk was short; None for any other error."""
    if isinstance(error, OSError):
        return DISK_FULL if refused_by_disk(error) else None
    if isinstance(error, ValueError) or reason_of(error) is None:
        return None
    return "The server's memory must be enough for this, and was not. Take a smaller picture."


def sentence(message: str) -> str:
    """Write a message as a sentence: "x must be y, got z: do" -> "X must be y, got z. Do."."""
    head, colon, advice = message.partition(": ")
    text = capitalised(head) + (f". {capitalised(advice)}" if colon else "")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def log(ended: Ended) -> None:
    """Write down that a visit ended, if it had or awaited a turn."""
    if ended.lane is not None:
        _logger.info(
            "%s %s: waited %.2f s, served in %.2f s",
            ended.lane,
            ended.outcome,
            ended.waited_s,
            ended.served_s,
        )
