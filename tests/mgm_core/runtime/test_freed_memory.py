"""Freed memory goes back to the system."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from mgm_core.runtime.memory import give_back, keep_freed, share_arenas

PAGES_OF_ONE_ARRAY_AFTER_ANOTHER = """
import resource, sys
from mgm_core.runtime.memory import keep_freed
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed()
np.ones(50_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(50_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


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


def test_freed_memory_is_kept_for_the_next_array():
    if platform.libc_ver()[0] != "glibc":
        assert not keep_freed()
        return
    pages = {
        way: int(
            subprocess.run(
                [sys.executable, "-c", PAGES_OF_ONE_ARRAY_AFTER_ANOTHER, way],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for way in ("keep", "give back")
    }
    assert pages["keep"] < 100 < pages["give back"]
