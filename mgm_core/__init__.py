"""Mask guided matting: cut hair and fur out of photographs.

    from mgm_core import cut_out

    cut_out("photo.jpg").save("cutout.png")

What is named here is the public interface. Each is imported when it is first used, so that
`import mgm_core` takes no time and needs no network.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgm_core.api import Result, cut_out
    from mgm_core.corrections.clicking import Click
    from mgm_core.cutout import NoSubjectError
    from mgm_core.images import ImageError, read_image, write_image
    from mgm_core.matting.matter import Matter
    from mgm_core.models import Models
    from mgm_core.recipe import Recipe
    from mgm_core.segmentation import Segmenter

__version__ = "0.1.0"

__all__ = [
    "Click",
    "ImageError",
    "Matter",
    "Models",
    "NoSubjectError",
    "Recipe",
    "Result",
    "Segmenter",
    "cut_out",
    "read_image",
    "write_image",
]

_MODULES = {
    "Click": "corrections.clicking",
    "ImageError": "images",
    "Matter": "matting.matter",
    "Models": "models",
    "NoSubjectError": "cutout",
    "Recipe": "recipe",
    "Result": "api",
    "Segmenter": "segmentation",
    "cut_out": "api",
    "read_image": "images",
    "write_image": "images",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
