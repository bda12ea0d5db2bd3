import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from mgm_core.export import exportables, main
from mgm_core.matting.matter import Matter
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.refinement import dilated

SIDES = {
    "segmenter": (65, 97),
    "matting": (64, 160),
    "foreground": (160, 64),
    "fusion": (48, 80),
    "fusion_mask": (48, 80),
}


@pytest.fixture(scope="module")
def networks():
    return exportables()


@pytest.mark.parametrize("name", SIDES)
def test_onnx_equals_torch_at_another_size_than_it_was_written_with(networks, name, written_onnx):
    network, path = networks[name], written_onnx(name)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(network.channels)
    assert [o.name for o in session.get_outputs()] == [network.output]
    height, width = SIDES[name]
    generator = np.random.default_rng(0)
    arrays = [
        generator.random((1, channels, height, width), np.float32)
        for channels in network.channels.values()
    ]
    (found,) = session.run(None, dict(zip(network.channels, arrays, strict=True)))
    with torch.inference_mode():
        expected = network.module(*map(torch.from_numpy, arrays)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3
    assert np.ptp(expected) > 0.2  # not all the same, whatever the input


def test_the_exported_alpha_is_the_products(networks):
    generator = np.random.default_rng(1)
    image = generator.random((90, 110, 3), np.float32)
    guidance = np.zeros((90, 110), np.float32)
    guidance[30:70, 40:90] = 1
    matter = Matter(load_prn("prn_mobilenet_v2"), device="cpu", dtype="float32", least_side_px=0)
    pads = ((0, 6), (0, 18))  # as docs/onnx.md tells
    x = np.pad(image, (*pads, (0, 0)), mode="edge").transpose(2, 0, 1)[None]
    g = np.pad(guidance, pads, mode="edge")[None, None]
    with torch.inference_mode():
        alpha = networks["matting"].module(torch.from_numpy(x), torch.from_numpy(g)).numpy()
    assert np.abs(alpha[0, 0, :90, :110] - matter.matte(image, guidance).alpha).max() < 1e-4


def test_its_dilation_is_opencvs(networks):
    from mgm_core.engines.graphs import _dilated

    mask = torch.zeros(1, 1, 40, 50, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[0, 0, 20, 30] = True
    module = networks["matting"].module
    for name, kernel_px in (("kernel_os4", 15), ("kernel_os1", 7)):
        found = _dilated(mask, module.get_buffer(name))
        assert torch.equal(found, dilated(mask, [kernel_px]))


def test_what_cannot_be_written_is_told(tmp_path, capsys):
    assert main(["--onnx", str(tmp_path), "--weights", str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors" in capsys.readouterr().err
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from mgm_core.export import main; sys.exit(main(['--onnx', sys.argv[1]]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "pip install 'mgm[onnx]'" in run.stderr
