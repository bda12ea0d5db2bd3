"""Stop long work early: who started it holds a token, and the work asks it again and again.

    token = Cancellation(seconds=120)
    with cancellable(token):
        matter.matte(image, guidance)     # raises Cancelled soon after token.cancel()

Everything that takes long calls `checkpoint()` often: before each tile, each layer of a network and
each iteration of a solver. It asks the tokens of the blocks that it runs in, so that no function
between has to hand a token on. A block belongs to its thread: a thread started within it must be
given a copy of the context (`contextvars.copy_context().run`), as `anyio.to_thread` does, and a
generator must not yield out of one.

Cancel scopes as those of Trio and AnyIO, for code that is not asynchronous.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Cancellation",
    "Cancelled",
    "TimeLimitReached",
    "add_checkpoints",
    "cancellable",
    "checkpoint",
]


class Cancelled(BaseException):
    """Work ended early because nobody wants its result; no error, and so no `Exception`."""


class TimeLimitReached(Cancelled):
    """Work ended early because it took longer than it may."""


class Cancellation:
    """Tells work to end. Safe for threads.

    Args:
        seconds: How long the work may take from now on; None for as long as it takes.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = None if seconds is None else clock() + seconds
        self._cancelled = Event()

    def cancel(self) -> None:
        """Have the work end at its next checkpoint."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work is to end, for either reason."""
        return self._cancelled.is_set() or self.late

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self._until is not None and self._clock() >= self._until

    def check(self) -> None:
        """Return while the work may go on.

        Raises:
            Cancelled: It was cancelled.
            TimeLimitReached: Its time is up.
        """
        if self._cancelled.is_set():
            raise Cancelled("the work was cancelled")
        if self.late:
            raise TimeLimitReached(f"the work took longer than {self._seconds:g} s")


_active: ContextVar[tuple[Cancellation, ...]] = ContextVar("cancellations", default=())


@contextmanager
def cancellable(by: Cancellation) -> Iterator[Cancellation]:
    """Let a token end what runs in this block, beside the tokens of the blocks around it."""
    before = _active.set((*_active.get(), by))
    try:
        yield by
    finally:
        _active.reset(before)


def checkpoint(*_: object) -> None:
    """End the work here if a token says so; takes and ignores what a solver's callback is given.

    Raises:
        Cancelled: It does.
    """
    for token in _active.get():
        token.check()


def add_checkpoints(network: "nn.Module") -> None:
    """Have a network come to a checkpoint before each of its layers."""
    for module in network.modules():
        if not any(module.children()) and checkpoint not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(checkpoint)
