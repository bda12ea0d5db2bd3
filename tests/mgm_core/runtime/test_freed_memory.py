"""Freed memory goes back to the system."""

import platform
from pathlib import Path

import numpy as np

from mgm_core.runtime.memory import give_back, share_arenas


def test_arenas_are_shared_where_malloc_is_glibcs():
    glibc = platform.libc_ver()[0] == "glibc"
    assert share_arenas() == glibc


def test_free_memory_goes_back_to_the_system():
    if platform.libc_ver()[0] != "glibc":
        assert not give_back()
        return

    def held_pages():
        return int(Path("/proc/self/statm").read_text().split()[1])

    pieces = [np.ones(100_000, np.uint8) for _ in range(1000)]
    last = pieces.pop()
    pieces.clear()
    before = held_pages()
    assert give_back()
    assert (before - held_pages()) * 4096 > 50_000_000
    assert last.all()
