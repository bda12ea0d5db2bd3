"""What glibc's malloc keeps of freed memory, how it gives it back, and what shows a shortage.

Source: mallopt(3) and malloc_trim(3). Other systems have other allocators, and nothing is done.
"""

import ctypes
import sys

__all__ = ["give_back", "is_out_of_memory", "keep_freed", "share_arenas"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_ARENAS = 2
_NEVER = 2**31 - 1
_AT_ONCE = 2**28


def share_arenas() -> bool:
    """Let glibc's malloc keep freed memory in few places, for all threads.

    By default every thread gets an arena of its own, each keeps what it once held, and a server
    grows with every thread that worked: by some 90 MiB over 100 requests in `demo.measure`.

    Returns:
        Whether it could be asked to; other systems have other allocators.
    """
    return _set_option(_M_ARENA_MAX, _ARENAS)


def keep_freed() -> bool:
    """Let glibc's malloc keep all freed memory, for programs that soon ask for as much again.

    By default large arrays go back to the system one by one, which clears each anew: a quarter of
    the time of a training's step on a CPU goes there, for the sake of 0.3 GB.

    Returns:
        Whether it could be asked to; other systems have other allocators.
    """
    options = (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _AT_ONCE)
    return all(_set_option(option, value) for option, value in options)


def _set_option(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(option, value) == 1


def give_back() -> bool:
    """Let glibc's malloc give memory that is free back to the system.

    It keeps what lies below the last piece in use, which after a busy hour is most of it.

    Returns:
        Whether there was any; other systems have other allocators.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    return trim is not None and trim(0) == 1


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory was short, the computer's or a GPU's.

    PyTorch raises a RuntimeError for both, and says it in many words; OpenCV raises an error of its
    own, which only its words tell here, as nothing of OpenCV is imported.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    >>> is_out_of_memory(Exception("(-4:Insufficient memory) Failed to allocate 64 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("sizes do not match"))
    False
    """
    said = str(error).lower()
    by_pytorch = isinstance(error, RuntimeError) and any(
        words in said for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
    by_opencv = "insufficient memory" in said and "failed to allocate" in said
    return isinstance(error, MemoryError) or by_pytorch or by_opencv
