"""Freed memory goes back to the system, and a shortage of it is known as one."""

import platform
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgm_core.runtime.memory import give_back, is_out_of_memory, keep_freed, share_arenas
from mgm_core.runtime.reporting import reason_of

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


def test_opencvs_shortage_is_known_by_its_words():
    with pytest.raises(cv2.error) as shortage:
        cv2.resize(np.zeros((1, 1), np.float32), (2**30, 2**30))
    assert is_out_of_memory(shortage.value)
    assert reason_of(shortage.value).startswith("memory must be enough for the photo")
    with pytest.raises(cv2.error) as fault:
        cv2.resize(np.zeros((1, 1), np.float32), (0, 0))
    assert not is_out_of_memory(fault.value)
    assert reason_of(fault.value) is None
    assert not is_out_of_memory(ValueError("insufficient memory.png must exist"))
