"""torchvision comes without PyTorch's compiler, and finds it where it needs it."""

import subprocess
import sys

import pytest

BOXES = """
import sys, torch, torchvision
if {absent}:
    assert not {{"torch._dynamo", "torch._dynamo.utils", "sympy"}} & sys.modules.keys()
boxes = torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]])
print(torchvision.ops.roi_align(torch.ones(1, 1, 9, 9), boxes, 2).flatten().tolist())
from torchvision.ops import roi_align
print(roi_align.__globals__["is_compile_supported"]("cpu"))
import torch._dynamo
assert torch._dynamo.utils.is_compile_supported("cpu")
print(torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item())
"""

# As the package `spaces` lends a GPU: calls of torchvision's own operators ask the compiler.
WITH_A_MODE = """
from torch.overrides import TorchFunctionMode
class Mode(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), keywords=None):
        return function(*arguments, **(keywords or {}))
with Mode():
    import mgm_core.segmentation
"""


@pytest.mark.parametrize(
    ("first", "absent"),
    [
        ("import mgm_core.segmentation", True),
        ("import torch._dynamo, mgm_core.segmentation", False),
        (WITH_A_MODE, False),
    ],
)
def test_torchvision_and_the_compiler_work_as_ever(first, absent):
    code = f"{first}\n" + BOXES.format(absent=absent)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["[1.0,", "1.0,", "1.0,", "1.0]", "True", "1.0"]
