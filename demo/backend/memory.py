"""Keep what was computed for as long as it is useful: a cache bounded in bytes and in time.

Results are found by what they were made of, file contents and settings, and never by who asked.
So a visitor can only meet results of files that he holds himself, and a closed page leaves nothing
behind for longer than `keep_s`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import TypeVar, cast

import numpy as np

T = TypeVar("T")


_MISSING = object()


class Memory:
    """Results by key, the least recently used leaving first.

    Safe for threads. Two that want the same missing result both compute it: requests of the kind
    are rare, and waiting for each other would make cancelling hard.

    Args:
        max_bytes: what all kept results may hold together.
        keep_s: how long a result stays after its last use, in seconds.
        clock: returns the time in seconds.
    """

    def __init__(
        self, max_bytes: int, keep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._clock = clock
        self._results: OrderedDict[Hashable, tuple[object, int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether a result is there, and so need not be made."""
        with self._lock:
            self._forget_old()
            return key in self._results

    @property
    def held_bytes(self) -> int:
        """What the kept results hold together."""
        with self._lock:
            return self._sum_of_bytes()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of this key, made now if it is not there.

        Args:
            key: all that the result depends on.
            make: computes the result.
        """
        found = self.find(key, _MISSING)
        if found is not _MISSING:
            return cast("T", found)  # a key has results of one type
        made = make()
        self.put(key, made)
        return made

    def find(self, key: Hashable, default: object = None) -> object:
        """Return the result of this key, or the default if it is not there."""
        with self._lock:
            self._forget_old()
            if key not in self._results:
                return default
            result, size, _ = self._results.pop(key)
            self._results[key] = (result, size, self._clock())
            return result

    def put(self, key: Hashable, result: object) -> None:
        """Keep a result in place of what was there."""
        with self._lock:
            self._results.pop(key, None)
            self._results[key] = (result, size_in_bytes(result), self._clock())
            while self._sum_of_bytes() > self._max_bytes:
                self._results.popitem(last=False)

    def forget_old(self) -> None:
        """Drop what was not used for `keep_s`."""
        with self._lock:
            self._forget_old()

    def _sum_of_bytes(self) -> int:
        return sum(size for _, size, _ in self._results.values())

    def _forget_old(self) -> None:
        oldest = self._clock() - self._keep_s
        while self._results and next(iter(self._results.values()))[2] < oldest:
            self._results.popitem(last=False)


def size_in_bytes(result: object) -> int:
    """Return what the arrays of a result hold; what is not an array counts 100 bytes."""
    if isinstance(result, np.ndarray):
        return result.nbytes
    if is_dataclass(result) and not isinstance(result, type):
        return sum(size_in_bytes(getattr(result, f.name)) for f in fields(result))
    if isinstance(result, tuple | list):
        return sum(map(size_in_bytes, result))
    return len(result) if isinstance(result, bytes) else 100
