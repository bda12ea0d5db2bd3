"""Compile what the refinement and the colours compute with, ahead of the first photograph.

    python -m mgm_core.engines.compile

Numba compiles on first use, some 20 s of one core, and keeps what it made beside the sources (or in
NUMBA_CACHE_DIR) for processors like this one. `make demo` and the Dockerfile run this once.
"""

import sys

import numpy as np

from mgm_core.arrays import Colours, Plane

__all__ = ["compile_kernels", "specimen"]

_SIDE_PX = 64


def specimen() -> tuple[Colours, Plane]:
    """Return the smallest of tasks: a picture and an alpha with a soft edge, sides of 64 px.

    Returns:
        (H, W, 3) and (H, W), float32 in [0, 1].
    """
    across = np.linspace(-1, 2, _SIDE_PX, dtype=np.float32).clip(0, 1)
    alpha = np.tile(across, (_SIDE_PX, 1))
    rows, columns = np.indices(alpha.shape)
    pattern = (rows * 37 + columns * 101) % 64 / np.float32(64)
    colours = np.stack([alpha, pattern, pattern.T], axis=2)
    return colours.astype(np.float32), alpha


def compile_kernels() -> None:
    """Compile them, or load what was compiled before."""
    # Imported on use, as they start a compiler.
    from mgm_core.foreground.multilevel import estimate_multilevel
    from mgm_core.matting.refine import CandidateAlphas, unknown_region

    image, alpha = specimen()
    estimate_multilevel(image, alpha)
    CandidateAlphas(image, alpha, unknown_region(alpha))([alpha])


def main() -> int:
    """Run the command; return 0."""
    compile_kernels()
    return 0


if __name__ == "__main__":
    sys.exit(main())
