"""Do one thing with many items on a Ray cluster, or on all cores of this machine.

    for item, made in work_on_ray(items, work, workers=64): ...

Workers are actors of Ray Data: each is sent the work once, and so loads weights once. A worker that
dies is replaced and its items are done again.
"""

import logging
import pickle
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from mgm_core.runtime.reporting import reason_of

__all__ = ["check_ray", "work_on_ray"]

Item = TypeVar("Item")
Made = TypeVar("Made")

_MOST_BLOCKS = 10_000  # more would burden who hands them out


def check_ray() -> None:
    """Raise unless Ray Data is installed.

    Raises:
        ValueError: It is not.
    """
    try:
        import ray.data  # noqa: F401 - only asked for
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ValueError(
            f"--runner ray must have the package {package}, which is not installed: pip install "
            "'mgm[cluster]'"
        ) from error


def work_on_ray(
    items: Sequence[Item],
    work: Callable[[Item], Made],
    workers: int | None = None,
    *,
    threads: int = 1,
    gpus: float = 0,
) -> Generator[tuple[Item, Made | Exception], None, None]:
    """Yield each item with what became of it, as they are ready.

    It connects to the cluster that RAY_ADDRESS names, or starts Ray on this machine.

    Args:
        items: What to do; items, the work and what it makes can be pickled.
        work: Does it; what it raises is what became of the item.
        workers: How many actors; None for as many as the cluster has cores, or GPUs, for.
        threads: By how many each computes; so many cores it takes.
        gpus: How many each takes.
    """
    import ray

    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if workers is None:
        have = ray.cluster_resources()
        per_worker = {"GPU": gpus} if gpus else {"CPU": threads}
        ((kind, each),) = per_worker.items()
        workers = max(1, int(have.get(kind, 0) / each))
    rows = ray.data.from_items(
        [{"item": pickle.dumps(item)} for item in items],
        override_num_blocks=min(len(items), _MOST_BLOCKS),
    ).map(
        _Actor,
        fn_constructor_args=(work, threads),
        concurrency=min(workers, len(items)),
        num_cpus=threads,
        num_gpus=gpus or None,
    )
    for row in rows.iter_rows():
        yield pickle.loads(row["item"]), pickle.loads(row["made"])


class _Actor:
    """What Ray keeps in a process of its own."""

    def __init__(self, work: Callable[[Any], Any], threads: int) -> None:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        self._work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do what is in a row."""
        try:
            made = self._work(pickle.loads(row["item"]))
        except Exception as error:  # reported in the table of failures; the other rows go on
            made = _that_travels(error)
        return {"item": row["item"], "made": pickle.dumps(made)}


def _that_travels(error: Exception) -> Exception:
    """Return an error that any process can unpickle and that tells as much."""
    reason = reason_of(error)
    if reason is not None:
        return ValueError(reason)
    trace = "".join(traceback.format_exception(error))
    return RuntimeError(f"{type(error).__name__}: {error}; in a worker:\n{trace}")
