"""Run the networks on a GPU that a Space lends for single calls ("ZeroGPU").

There, what needs the GPU must be a function that `spaces.GPU` decorated before the page was
served; it runs in a forked process with what it is given and returns sent across. Elsewhere there
is no module `spaces`, and functions stay as they are.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

# Seconds that a call may hold the GPU; a photo takes one, a queue of photos waits less for it.
_DURATION_S = 60


def lends_a_gpu() -> bool:
    """Tell whether this is such a Space."""
    return importlib.util.find_spec("spaces") is not None


def on_gpu(function: Function) -> Function:
    """Return a function that runs on the lent GPU, or the function itself where there is none."""
    if not lends_a_gpu():
        return function
    spaces = importlib.import_module("spaces")
    decorated: Function = spaces.GPU(duration=_DURATION_S)(function)
    return decorated
