"""What the machine has: device, number format and threads for computing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

# Imported on use: it takes seconds, and the command line's help must not wait for them.
if TYPE_CHECKING:
    import torch

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

CPUINFO = Path("/proc/cpuinfo")
"""What Linux tells of the CPUs."""


def resolve_device(name: str) -> "torch.device":
    """Return the device of this name; "auto" is CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: The device is unknown or not on this machine.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"device must be auto, cpu, cuda, cuda:N or mps, got {name!r}: choose one of them"
        ) from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise ValueError(f"device must be on this machine, got {name!r}, which is not: use cpu")
    return device


def cpu_has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Tell whether the CPU has instructions for bf16; emulated, it is several times slower."""
    return bool({"avx512_bf16", "amx_bf16"} & _described(cpuinfo, "flags"))


def cpu_multiplies_bfloat16_faster(cpuinfo: Path = CPUINFO) -> bool:
    """Tell whether the CPU multiplies in bf16 faster than in float32.

    Not every CPU with instructions for bf16 does. Intel's without AMX, which virtual machines may
    hide, convolve in bf16 at 0.6 times the speed of float32. Intel's with AMX, and AMD's, convolve
    at twice that speed or more.
    """
    flags = _described(cpuinfo, "flags")
    amd = "AuthenticAMD" in _described(cpuinfo, "vendor_id")
    return "amx_bf16" in flags or (amd and "avx512_bf16" in flags)


def _described(cpuinfo: Path, key: str) -> set[str]:
    """Return the words that describe the first CPU under a key, none where nothing does."""
    if not cpuinfo.exists():  # not Linux: no reliable sign, and float32 is always right
        return set()
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return set(line.partition(":")[2].split())
    return set()


def best_dtype(
    device: "torch.device", name: DtypeName = "auto", *, memory_bound: bool = False
) -> "torch.dtype":
    """Return the number format to compute in.

    Args:
        device: Where it is computed.
        name: "auto" is bf16 where that is faster.
        memory_bound: Whether the network waits for memory rather than for products, as depthwise
            convolutions do. bf16 is then faster because it is half the size.
    """
    import torch

    if name == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            faster = cpu_has_bfloat16 if memory_bound else cpu_multiplies_bfloat16_faster
            fast = device.type == "cpu" and faster()
        return torch.bfloat16 if fast else torch.float32
    dtypes = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if name not in dtypes:
        raise ValueError(
            f"dtype must be auto, {', '.join(dtypes)}, got {name!r}: choose one of them"
        )
    return dtypes[name]


def turn(
    device: "torch.device", lock: AbstractContextManager[object]
) -> AbstractContextManager[object]:
    """Return what a thread enters to compute on a device.

    Threads take turns by the lock where one of them keeps a GPU or all cores busy. Where each was
    given one core (`threads_each`), none waits.
    """
    import torch

    own_core = device.type == "cpu" and torch.get_num_threads() == 1
    return nullcontext() if own_core else lock


@contextmanager
def threads_each(count: int) -> Iterator[None]:
    """Have what computes in this block, and in threads that start in it, take so many threads."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
