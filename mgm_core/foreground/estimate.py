"""Estimate the subject's own colours, so that the old background leaves no fringe.

For a given alpha, Eq. 1 still leaves foreground and background open. Source: sec. 3.2, for the
network too; the classical estimate is that of Germer et al., "Fast Multi-Level Foreground
Estimation", ICPR 2020.
"""

import logging
import sys
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, cast, get_args

import numpy as np

from mgm_core.arrays import Floats, check_image, check_mask
from mgm_core.choices import WORKING_MEGAPIXELS
from mgm_core.matting.enlarge import enlarge_colours, reduced, working_size
from mgm_core.runtime.renamed import FOREGROUNDS

__all__ = ["ForegroundEstimator", "ForegroundMethod", "current_method", "estimate_foreground"]

ForegroundMethod: TypeAlias = Literal["multilevel", "network", "raw"]

_AT_WORKING_SIZE = ("multilevel", "network")

_logger = logging.getLogger(__name__)


def current_method(name: str) -> ForegroundMethod:
    """Return the method that replaces one of the version before, and say so; others as they are."""
    if new := FOREGROUNDS.get(name):
        _logger.warning(
            "foreground %s is no more: %s takes its place, and the next version refuses it",
            name,
            new,
        )
    # Whoever takes it holds it to the methods that there are.
    return cast(ForegroundMethod, new or name)


class ForegroundEstimator(Protocol):
    """Anything that estimates foreground colours, such as a network."""

    def __call__(self, image: Floats, alpha: Floats) -> Floats:
        """Estimate (H, W, 3) foreground colours in [0, 1] from an image and its alpha (H, W)."""
        ...


def estimate_foreground(
    image: Floats,
    alpha: Floats,
    method: ForegroundMethod | ForegroundEstimator = "multilevel",
    *,
    network: Callable[[], ForegroundEstimator] | None = None,
    working_megapixels: float | None = WORKING_MEGAPIXELS,
    overwrite: bool = False,
) -> Floats:
    """Estimate foreground colours; where alpha is 1 they are the image's, exactly.

    Args:
        image: (H, W, 3) float in [0, 1], sRGB.
        alpha: (H, W) float in [0, 1].
        method: "multilevel" is fast, and takes some 40 bytes of memory a pixel; "network" asks a
            network, and is the best by alpha that was predicted; "raw" takes the image's colours,
            fringe and all. Or an estimator of one's own.
        network: Returns the network of that method, such as `Models.foreground_network`, which
            loads it once. None loads the bundled one for this call.
        working_megapixels: The colours of an image of more are estimated at this size and
            enlarged; None sets no limit. An estimator of one's own sees the whole image.
        overwrite: Whether the colours may take the image's memory, whose values are gone then.

    Returns:
        (H, W, 3) float32 in [0, 1]. Where alpha is 0 the colours mean nothing.

    Raises:
        ValueError: an array is out of range, their sizes differ, or there is no such method.
        CheckpointError: A network has no weights.
    """
    check_image("image", image)
    check_mask("alpha", alpha, image.shape[:2])
    if callable(method):
        estimate = method
    elif method == "network":
        estimate = (network or _bundled)()
    elif method in _METHODS:
        estimate = _METHODS[method]
    else:
        methods = ", ".join(get_args(ForegroundMethod))
        raise ValueError(f"method must be one of {methods}, got {method!r}: choose one of them")
    size = working_size(alpha.shape, working_megapixels if method in _AT_WORKING_SIZE else None)
    if size == alpha.shape:
        found = estimate(image, alpha)
    else:
        small = reduced(image, size)
        small_foreground = estimate(small, reduced(alpha, size))
        into = image if overwrite else np.empty_like(image)
        enlarge_colours(image, small, small_foreground, alpha, into)
        return into
    # In place: at 50 megapixels each copy takes 0.6 GB.
    foreground = np.array(found, np.float32, copy=np.may_share_memory(found, image) or None)
    np.clip(foreground, 0, 1, out=foreground)
    np.copyto(foreground, image, where=alpha[..., None] == 1)
    return foreground


def _bundled() -> ForegroundEstimator:
    # Imported on use: PyTorch takes seconds, and the page must not wait for them.
    from mgm_core.foreground.learned import NetworkEstimator

    return NetworkEstimator.load()


def _raw(image: Floats, alpha: Floats) -> Floats:
    return image


def _multilevel(image: Floats, alpha: Floats) -> Floats:
    _announce_first_use()
    from mgm_core.foreground.multilevel import estimate_multilevel

    return estimate_multilevel(image, alpha)


_METHODS: dict[ForegroundMethod, ForegroundEstimator] = {
    "multilevel": _multilevel,
    "raw": _raw,
}


def _announce_first_use() -> None:
    # Imported on use, as a compiler is started: seconds that no one else should wait.
    if "numba" not in sys.modules:
        _logger.info("loading Numba: its first call may compile for some seconds")
