"""Share one machine's cores among photographs, so that all are busy.

Each worker does one photograph from its file to its result: while one reads or writes, others
compute. On a CPU every worker computes by one thread of its own, which costs nothing for
synchronisation; on a GPU workers take turns with the networks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgm_core.networks.hardware import threads_each

__all__ = ["sharing_cores"]

_GB_EACH = 2.0  # what a photograph of 12 megapixels takes, and some
_GPU_WORKERS = 4


@contextmanager
def sharing_cores(device: str, photographs: int, wanted: int | None) -> Iterator[int]:
    """Divide the cores that PyTorch takes among workers, in this block.

    Args:
        device: Where networks compute.
        photographs: How many there are.
        wanted: How many workers were asked for; None for as many as keep the machine busy.

    Yields:
        How many workers there are to be.
    """
    import torch

    cores = torch.get_num_threads()
    if wanted is not None:
        most = wanted
    elif device == "cpu":
        most = min(cores, _fitting(Path("/proc/meminfo")))
    else:
        most = min(cores, _GPU_WORKERS)
    workers = max(1, min(most, photographs))
    with threads_each(max(1, cores // workers)):
        yield workers


def _fitting(meminfo: Path) -> int:
    """Return how many photographs the free memory holds at once; many where none can tell."""
    if not meminfo.exists():
        return 1 << 10
    for line in meminfo.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(int(line.split()[1]) / 1e6 / _GB_EACH)
    return 1 << 10
