import itertools
import sys
import threading
from dataclasses import dataclass

import numpy as np

from demo.backend.memory import Memory, size_in_bytes


def of_bytes(count):
    return np.zeros(count, np.uint8)


def computes(memory, key, count=100):
    """Return whether the result had to be computed."""
    calls = []
    memory.get(key, lambda: calls.append(1) or of_bytes(count))
    return bool(calls)


def test_a_result_is_made_once():
    memory = Memory(1000, 60)
    assert computes(memory, "a")
    assert not computes(memory, "a")
    assert "a" in memory
    assert "b" not in memory


def test_the_least_recently_used_leaves_first():
    memory = Memory(300, 60)
    for key in "abc":
        computes(memory, key)
    computes(memory, "a")
    computes(memory, "d")
    assert [key in memory for key in "abcd"] == [True, False, True, True]
    assert memory.held_bytes == 300


def test_what_is_larger_than_all_room_is_returned_and_not_kept():
    memory = Memory(300, 60)
    assert memory.get("large", lambda: of_bytes(301)).size == 301
    assert "large" not in memory
    assert memory.held_bytes == 0


def test_what_was_not_used_for_long_is_forgotten():
    now = 0.0
    memory = Memory(1000, 60, clock=lambda: now)
    computes(memory, "old")
    computes(memory, "used")
    now = 50.0
    computes(memory, "used")
    now = 70.0
    memory.forget_old()
    assert "old" not in memory
    assert "used" in memory


def test_what_is_too_old_is_not_there_before_anybody_sweeps_it():
    now = 0.0
    memory = Memory(1000, 60, clock=lambda: now)
    computes(memory, "old")
    now = 60.0
    assert "old" in memory
    now = 61.0
    assert "old" not in memory
    assert computes(memory, "old")


def test_what_is_held_is_summed_while_others_put():
    memory = Memory(10**6, 60)
    ended = threading.Event()

    def put():
        for number in itertools.cycle(range(2000)):
            if ended.is_set():
                return
            memory.put(number, of_bytes(number % 7))

    thread = threading.Thread(target=put)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            assert memory.held_bytes <= 10**6
            assert -1 not in memory
    finally:
        sys.setswitchinterval(before)
        ended.set()
        thread.join()


def test_memory_stays_flat():
    memory = Memory(1000, 60)
    for number in range(100):
        computes(memory, number, 90)
        assert memory.held_bytes <= 1000


@dataclass
class Pair:
    plane: np.ndarray
    note: str


def test_sizes_are_those_of_the_arrays():
    assert size_in_bytes(of_bytes(7)) == 7
    assert size_in_bytes(Pair(of_bytes(7), "x")) == 107
    assert size_in_bytes((of_bytes(7), [of_bytes(3)])) == 10
    assert size_in_bytes(b"four") == 4
