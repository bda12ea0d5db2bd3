"""What this package takes of torchvision, imported without PyTorch's compiler.

`torchvision.ops.roi_align` takes one function from `torch._dynamo.utils`, and with it SymPy and all
of the compiler: as long to import as the rest of PyTorch and torchvision, and 150 MB, for a detail
of object detection. That function is looked up when it is called instead.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["ASPP", "DeepLabV3", "IntermediateLayerGetter", "mobilenet_v2", "segmentation"]

_COMPILER = "torch._dynamo", "torch._dynamo.utils"


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported  # the real one, with the compiler

    return bool(is_compile_supported(device_type))


class _StandIn(ModuleType):
    """A module that gives way to the real one as soon as anything else is asked of it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        _give_way()
        return getattr(importlib.import_module(self.__name__), name)


def _give_way() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Let modules that stand in answer for the compiler, unless that was imported already."""
    importlib.import_module("torch")  # before anything stands in for a part of it
    if not sys.modules.keys() & {"torchvision", *_COMPILER}:
        package, utils = (_StandIn(name) for name in _COMPILER)
        package.__path__ = []
        vars(utils)["is_compile_supported"] = _is_compile_supported
        sys.modules.update(zip(_COMPILER, (package, utils), strict=True))
    try:
        yield
    finally:
        _give_way()


with _without_compiler():
    from torchvision.models import mobilenet_v2, segmentation
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3
