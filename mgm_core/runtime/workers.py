"""Do one thing with many items, several at once, holding a few at a time."""

import contextvars
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import ParamSpec, TypeVar

from mgm_core.runtime.cancellation import Cancellation, cancellable

__all__ = ["each_strip", "executor", "work_on"]

Item = TypeVar("Item")
Made = TypeVar("Made")
P = ParamSpec("P")


def executor(threads: int) -> Executor:
    """Return a pool of so many threads. A pool of one computes in the caller's own thread.

    >>> with executor(1) as pool:
    ...     list(pool.map(abs, [-1, 2]))
    [1, 2]
    """
    return ThreadPoolExecutor(threads) if threads > 1 else _AtOnce()


def each_strip(height: int, work: Callable[[slice], None], rows: int = 64) -> None:
    """Do something with each strip of a picture's rows, by as many threads as PyTorch uses.

    Args:
        height: Of the picture, in pixels.
        work: Takes a strip, from its first row to behind its last.
        rows: How many a strip has, the last one fewer; few, so that a processor's cache holds it.
    """
    import torch  # on use, as it takes seconds to load

    strips = [slice(first, min(height, first + rows)) for first in range(0, height, rows)]
    with executor(min(torch.get_num_threads(), len(strips))) as pool:
        list(pool.map(work, strips))


class _AtOnce(Executor):
    """Computes in the thread that asks, as it asks."""

    def submit(self, fn: Callable[P, Made], /, *args: P.args, **kwargs: P.kwargs) -> Future[Made]:
        future: Future[Made] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # a pool raises it from the future's result(), not from here
            future.set_exception(error)
        return future


def work_on(
    items: Iterable[Item], work: Callable[[Item], Made], workers: int
) -> Generator[tuple[Item, Made | Exception], None, None]:
    """Yield each item with what became of it, as they are ready.

    An item is taken when a worker is free for it. Whoever stops asking for more, or is interrupted,
    ends what is under way at its next checkpoint (`cancellation.py`).

    >>> sorted(work_on([1, 2, 0], lambda n: n * n, workers=2))
    [(0, 0), (1, 1), (2, 4)]

    Args:
        items: What to do.
        work: Does it; what it raises is what became of the item.
        workers: How many threads; one works in the caller's own.
    """
    if workers == 1:
        for item in items:
            yield item, _result(work, item)
        return
    waiting = iter(items)
    token = Cancellation()
    under_way: dict[Future[Made | Exception], Item] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            while True:
                for item in islice(waiting, workers - len(under_way)):
                    run = contextvars.copy_context().run
                    under_way[pool.submit(run, _cancellable, token, work, item)] = item
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(future), future.result()
        finally:
            token.cancel()


def _cancellable(token: Cancellation, work: Callable[[Item], Made], item: Item) -> Made | Exception:
    with cancellable(token):
        return _result(work, item)


def _result(work: Callable[[Item], Made], item: Item) -> Made | Exception:
    try:
        return work(item)
    except Exception as error:  # the caller's to judge; the other items go on
        return error
