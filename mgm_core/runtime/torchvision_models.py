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


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Let a module that stands in answer for the compiler, unless that was imported already."""
    importlib.import_module("torch")  # before anything stands in for a part of it
    if sys.modules.keys() & {"torchvision", *_COMPILER}:
        yield
        return
    package, utils = (ModuleType(name) for name in _COMPILER)
    package.__path__ = []
    vars(utils)["is_compile_supported"] = _is_compile_supported
    sys.modules.update(zip(_COMPILER, (package, utils), strict=True))
    try:
        yield
    finally:
        for name in _COMPILER:
            del sys.modules[name]


with _without_compiler():
    from torchvision.models import mobilenet_v2, segmentation
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3
