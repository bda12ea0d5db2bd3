"""A pool of one thread is the caller's own; strips cover a picture."""

import threading

import numpy as np
import pytest

from mgm_core.runtime.workers import each_strip, executor


def test_one_thread_is_the_callers_own():
    with executor(1) as pool:
        assert list(pool.map(lambda _: threading.get_ident(), range(2))) == (
            2 * [threading.get_ident()]
        )
        failed = pool.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            failed.result()
    with executor(2) as pool:
        assert pool.submit(threading.get_ident).result() != threading.get_ident()


def test_each_strip_is_worked_on_once():
    rows = np.zeros(150, np.int32)

    def count(strip):
        rows[strip] += 1

    each_strip(len(rows), count, rows=64)
    assert (rows == 1).all()
