"""Run the networks on a GPU that a Space lends for single calls ("ZeroGPU").

There, what needs the GPU must be a function that `spaces.GPU` decorated before the page was
served; it runs in a forked process with what it is given and returns sent across. Ordinary Spaces
have the package `spaces` too, so the variable that ZeroGPU itself sets decides, as in that package.
Networks alone run over there: a visitor's seconds are not for what the CPU computes.

Source: `spaces/config.py` and `spaces/zero/decorator.py` of spaces 0.51.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# A visitor's seconds of GPU are few, and a shorter call waits less for its turn. The first term
# covers moving the networks onto the GPU, the second the computation itself, generously.
_FIXED_S = 10
_S_PER_MEGAPIXEL = 2
_LONGEST_S = 120


def lends_a_gpu(variables: Mapping[str, str] = os.environ) -> bool:
    """Return whether this is a Space on ZeroGPU."""
    return variables.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def duration_s(*arguments: object, **options: object) -> int:
    """Return the seconds of GPU to ask for: more for a larger photo (the first array given).

    Args:
        *arguments: What the decorated function is called with.
        **options: Likewise.
    """
    arrays = [a for a in (*arguments, *options.values()) if isinstance(a, np.ndarray)]
    megapixels = arrays[0].shape[0] * arrays[0].shape[1] / 1e6 if arrays else 0.0
    return min(_LONGEST_S, round(_FIXED_S + _S_PER_MEGAPIXEL * megapixels))


def on_gpu(function: Function) -> Function:
    """Return a function that runs on the lent GPU, or the function itself where there is none."""
    if not lends_a_gpu():
        return function
    spaces = importlib.import_module("spaces")
    decorated: Function = spaces.GPU(duration=duration_s)(function)
    return decorated
