import pytest
import torch

from mgm_core.matting.matter import Matter
from mgm_core.matting.refine import Refiner
from mgm_core.networks import hardware
from mgm_core.networks.fusion_net import FusionNetwork
from mgm_core.networks.hardware import (
    best_dtype,
    cpu_has_bfloat16,
    cpu_multiplies_bfloat16_faster,
    resolve_device,
)
from mgm_core.networks.prn import PRN


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(ValueError, match="must be on this machine, got 'cuda:7'"):
        resolve_device("cuda:7")


def test_devices_and_dtypes(tmp_path):
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device must be auto, cpu"):
        resolve_device("gpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="must be on this machine, got 'cuda'"):
            resolve_device("cuda")
    flags = tmp_path / "cpuinfo"
    flags.write_text("model name : x\nflags : avx2 avx512_bf16\n")
    assert cpu_has_bfloat16(flags)
    flags.write_text("flags : avx2 fma\n")
    assert not cpu_has_bfloat16(flags)
    assert not cpu_has_bfloat16(tmp_path / "none")


@pytest.mark.parametrize(
    ("vendor", "flags", "has", "faster"),
    [
        ("GenuineIntel", "avx512_bf16 amx_bf16", True, True),
        ("GenuineIntel", "avx512_bf16", True, False),
        ("AuthenticAMD", "avx512_bf16", True, True),
        ("AuthenticAMD", "avx2", False, False),
    ],
)
def test_bf16_is_for_products_where_these_are_faster(tmp_path, vendor, flags, has, faster):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nvendor_id : {vendor}\nflags : fma {flags}\n" * 2)
    assert cpu_has_bfloat16(cpuinfo) is has
    assert cpu_multiplies_bfloat16_faster(cpuinfo) is faster


def test_where_products_are_slower_in_bf16_only_the_light_network_takes_it(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(hardware, "cpu_multiplies_bfloat16_faster", lambda: False)
    assert Matter(PRN("mobilenet_v2"), device="cpu").dtype == torch.bfloat16
    assert Matter(PRN("resnet34"), device="cpu").dtype == torch.float32
    assert Refiner(FusionNetwork(), device="cpu").dtype == torch.float32


def test_a_dtype_that_is_named_is_taken():
    assert best_dtype(torch.device("cpu"), "bfloat16") == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be auto, float32"):
        best_dtype(torch.device("cpu"), "int8")
