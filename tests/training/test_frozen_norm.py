import pytest
import torch
import torch.nn.functional as F

from training.frozen_norm import DilatedDepthwise


@pytest.mark.parametrize("dilation", [2, 4])
def test_a_dilated_depthwise_convolution_has_the_gradients_of_pytorchs_own(dilation):
    torch.manual_seed(0)
    made = torch.randn(2, 5, 9, 7), torch.randn(5, 1, 3, 3), torch.randn(5)
    ours = [x.clone().requires_grad_() for x in made]
    theirs = [x.clone().requires_grad_() for x in made]
    found = DilatedDepthwise.apply(*ours, dilation)
    true = F.conv2d(*theirs, 1, dilation, dilation, 5)
    torch.testing.assert_close(found, true)
    weights = torch.randn_like(true)
    (found * weights).sum().backward()
    (true * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_its_gradients_in_bf16_with_channels_last_are_near_those_in_float32():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 8, 9, 9), torch.randn(8, 1, 3, 3), torch.zeros(8)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        tensors = [t.clone().requires_grad_() for t in (x, weight, bias)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            last = tensors[0].to(memory_format=torch.channels_last)
            found = DilatedDepthwise.apply(last, tensors[1], tensors[2], 2)
        assert found.dtype == dtype
        found.float().square().sum().backward()
        gradients.append([t.grad for t in tensors])
    for exact, near in zip(*gradients, strict=True):
        assert (exact - near).abs().max() < 0.03 * exact.abs().max()
