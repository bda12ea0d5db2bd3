import os
import platform
import subprocess
import sys

import pytest
import torch
from learned import learned
from torch import nn

from mgm_core.networks import inference
from mgm_core.networks.inference import fold_batch_norm, prepare_for_inference
from mgm_core.networks.layers.blocks import Residual, UnshuffledConv2d, UpStage, conv_norm_relu
from mgm_core.networks.prn import PRN

CPU = torch.device("cpu")
EXACT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


@pytest.fixture(params=["in one pass", "one by one"], autouse=True)
def _with_and_without_onednn(request, monkeypatch):
    if request.param == "one by one":
        monkeypatch.setattr(inference, "_has_fused_convolution", lambda dtype: False)


def _kinds(network):
    return {type(layer) for layer in network.modules()}


@pytest.mark.parametrize(
    "activation", [nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.LeakyReLU(0.2)]
)
def test_a_convolution_and_its_activation_become_one(activation):
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2, groups=4, bias=False)
    network = learned(nn.Sequential(conv, nn.BatchNorm2d(8), activation, nn.Conv2d(8, 3, 1)))
    x = 20 * torch.randn(2, 8, 9, 12)
    with torch.inference_mode():
        before = network(x)
        prepare_for_inference(network, CPU)
        assert not _kinds(network) & {type(activation), nn.BatchNorm2d}
        torch.testing.assert_close(network(x), before, **EXACT)


def test_a_residual_is_added_before_its_activation():
    network = learned(nn.Sequential(Residual(6), Residual(6)))
    x = torch.rand(1, 6, 7, 5)
    given = x.clone()
    with torch.inference_mode():
        before = network(x)
        prepare_for_inference(network, CPU)
        assert Residual not in _kinds(network)
        torch.testing.assert_close(network(x), before, **EXACT)
    torch.testing.assert_close(x, given)


def test_blocks_of_pixels_are_taken_where_they_are():
    conv = UnshuffledConv2d(5, 6)
    network = learned(nn.Sequential(conv, nn.BatchNorm2d(6), nn.ReLU()))
    x = torch.randn(1, 5, 8, 10)
    with torch.inference_mode():
        before = network(x)
        prepare_for_inference(network, CPU)
        assert UnshuffledConv2d not in _kinds(network)
        torch.testing.assert_close(network(x), before, **EXACT)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
def test_an_up_convolution_computes_the_same_at_borders_too(size):
    stage = learned(UpStage(5, 4, 6, nn.Conv2d(6, 2, 1)))
    deep = torch.randn(1, 5, *size)
    skip = torch.randn(1, 4, *(2 * side for side in size))
    with torch.inference_mode():
        before = stage(deep, skip)
        for _ in range(2):  # one made ready already stays as it is
            prepare_for_inference(stage, CPU)
            assert nn.ConvTranspose2d in _kinds(stage)
            torch.testing.assert_close(stage(deep, skip), before, **EXACT)


def test_a_fused_network_rounds_where_autocast_would():
    network = learned(nn.Sequential(conv_norm_relu(4, 8), Residual(8), conv_norm_relu(8, 2)))
    x = torch.randn(1, 4, 9, 9)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = network(x)
        prepare_for_inference(network, CPU)
        found = network(x)
    assert found.dtype == before.dtype == torch.bfloat16
    torch.testing.assert_close(found, before, atol=0.05, rtol=0.05)
    with torch.inference_mode():
        assert network(x).dtype == torch.float32


@pytest.mark.parametrize("encoder", ["resnet34", "mobilenet_v2"])
def test_folding_batch_norm_changes_nothing_but_the_modules(encoder):
    network = learned(PRN(encoder), spread=0.1)
    inputs = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        before = network(*inputs)
        count = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        fold_batch_norm(network)
        after = network(*inputs)
    left = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert left < count / 3
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


_SIZES = """
import torch
from torch import nn
from mgm_core.networks.inference import prepare_for_inference

network = prepare_for_inference(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), torch.device("cpu"))
with torch.inference_mode():
    for turn in range(2):
        print("turn", turn, flush=True)
        for width in range(3, 1203):
            network(torch.zeros(1, 4, 3, width))
"""


@pytest.mark.skipif(platform.machine() not in inference._X86, reason="not oneDNN's own kernels")
def test_kernels_for_many_sizes_are_remembered():
    environment = {**os.environ, "ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "1"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
    command = [sys.executable, "-c", _SIZES]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    first, second = (turn.count("create:cache_miss") for turn in done.stdout.split("turn")[1:])
    assert first >= 1200
    assert second == 0
