"""A pool of one thread is the caller's own."""

import threading

import pytest

from mgm_core.runtime.workers import executor


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
