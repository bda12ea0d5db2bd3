"""Functions compiled by Numba, kept for the next process where the disk takes them."""

import functools
import logging
from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., object])
log = logging.getLogger(__name__)


def compiled(*, fastmath: bool = False) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function, which then runs without Python's lock.

    What was compiled is kept beside the source, or in the user's cache folder. Where neither can be
    written, every process compiles anew, and a warning says so.

    Args:
        fastmath: Sums may be computed in another order.
    """

    def decorate(function: Function) -> Function:
        compiler = njit(cache=True, nogil=True, fastmath=fastmath)
        try:
            return cast("Function", compiler(function))
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
        _warn()
        compiler = njit(nogil=True, fastmath=fastmath)
        return cast("Function", compiler(function))

    return decorate


@functools.cache
def _warn() -> None:
    log.warning(
        "compiled functions cannot be kept, so that every start compiles them for some 20 s: set "
        "NUMBA_CACHE_DIR to a folder that can be written"
    )
