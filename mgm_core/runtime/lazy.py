"""Make something when it is first needed, once, however many threads ask for it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Lazy", "LazyByName"]

Loaded = TypeVar("Loaded")


class Lazy(Generic[Loaded]):
    """A value that is made when it is first asked for, and once, whoever asks.

    Args:
        make: Makes it. What it raises reaches the caller, and the next one tries again.
    """

    def __init__(self, make: Callable[[], Loaded]) -> None:
        self._make = make
        self._loaded: list[Loaded] = []
        self._turn = threading.Lock()

    def __call__(self) -> Loaded:
        """Return the value."""
        with self._turn:
            if not self._loaded:
                self._loaded.append(self._make())
            return self._loaded[0]


class LazyByName(Generic[Loaded]):
    """Values of which each is made when it is first asked for, and once.

    Making one holds up only those who ask for the same.

    Args:
        make: Makes the value of a name.
    """

    def __init__(self, make: Callable[[str], Loaded]) -> None:
        self._make = make
        self._loaded: dict[str, Lazy[Loaded]] = {}
        self._turn = threading.Lock()

    def __call__(self, name: str) -> Loaded:
        """Return the value of a name."""
        with self._turn:
            found = self._loaded.setdefault(name, Lazy(lambda: self._make(name)))
        return found()
