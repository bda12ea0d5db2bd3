import numpy as np
import pytest
from numba.core import caching

from mgm_core.runtime import compiled as module
from mgm_core.runtime.compiled import compiled


def total(values):
    found = 0.0
    for value in values:
        found += value
    return found


def test_what_is_compiled_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert compiled()(total)(np.array([1.0, 2.0])) == 3
    assert len(list(tmp_path.rglob("*.nbc"))) == 1


def test_where_nothing_can_be_kept_functions_are_compiled_all_the_same(monkeypatch, caplog):
    module._warn.cache_clear()
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    for _ in range(2):
        assert compiled(fastmath=True)(total)(np.array([1.0, 2.0])) == 3
    (warning,) = caplog.messages
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in warning


def test_other_errors_are_not_taken_for_it(monkeypatch):
    def broken(_):
        raise RuntimeError("another")

    monkeypatch.setattr(module, "njit", lambda **_: broken)
    with pytest.raises(RuntimeError, match="another"):
        compiled()(total)
