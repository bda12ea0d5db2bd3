import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mgm_core.__main__ import main
from mgm_core.choices import ENGINES
from mgm_core.engines import sessions
from mgm_core.engines.graphs import matting_graph
from mgm_core.engines.sessions import EngineError, check_engine, graph_path, session
from mgm_core.images import read_alpha, write_image
from mgm_core.models import Models
from mgm_core.networks.checkpoint import load_prn

OTHERS = [name for name in ENGINES if name != "torch"]
FILES = {"Alpha": "matting", "Fusion": "fusion_mask"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory, written_onnx):
    folder = tmp_path_factory.mktemp("cache")

    def write_onnx(network, path):
        shutil.copy2(written_onnx(FILES[type(network.module).__name__]), path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder))
        patched.setattr(sessions, "write_onnx", write_onnx)
        yield folder / "mgm"


@pytest.fixture(scope="module")
def scene(pictures):
    """A portrait of 240 px with a rough mask."""
    image = np.ascontiguousarray(pictures["astronaut"][:480:2, 40:520:2])
    mask = np.zeros(image.shape[:2], np.float32)
    mask[30:, 40:180] = 1
    return image, mask


@pytest.fixture(scope="module")
def by_torch(scene):
    return Models(dtype="float32", device="cpu").matter().matte(*scene, refine="full").alpha


@pytest.mark.parametrize("engine", OTHERS)
def test_an_engines_alpha_is_torchs(cache, scene, by_torch, engine):
    """The difference is that PyTorch decodes fine levels in windows (`sparse.py`): its bound."""
    matter = Models(dtype="float32", engine=engine).matter()
    difference = np.abs(matter.matte(*scene, refine="full").alpha - by_torch)
    assert difference.mean() < 1 / 255
    assert np.quantile(difference, 0.999) < 12 / 255
    assert matter.device.type == "cpu"


@pytest.mark.parametrize("engine", OTHERS)
def test_threads_compute_beside_one_another(cache, engine):
    network = matting_graph(load_prn("prn_mobilenet_v2"))
    assert graph_path(network) == graph_path(network)
    run = session(engine, network, "float32")
    generator = np.random.default_rng(0)
    planes = [
        (generator.random((1, 3, 64, 96), np.float32), generator.random((1, 1, 64, 96), np.float32))
        for _ in range(6)
    ]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda given: run(*given), planes))
    for given, found in zip(planes, together, strict=True):
        np.testing.assert_array_equal(found, run(*given))
        assert found.shape == (1, 1, 64, 96)


def test_a_graph_is_written_once_for_the_same_weights(cache, monkeypatch):
    path = graph_path(matting_graph(load_prn("prn_mobilenet_v2")))
    monkeypatch.setattr(sessions, "write_onnx", None)
    assert graph_path(matting_graph(load_prn("prn_mobilenet_v2"))) == path
    other = load_prn("prn_mobilenet_v2")
    next(other.parameters()).data.add_(1e-3)
    with pytest.raises(TypeError, match="not callable"):
        graph_path(matting_graph(other))


def test_the_command_takes_an_engine(cache, scene, tmp_path, capsys):
    image, mask = scene
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "m.png", mask)
    target = tmp_path / "out.png"
    command = [str(tmp_path / "a.png"), "-o", str(target), "--mask", str(tmp_path / "m.png")]
    alphas = []
    for engine in ("torch", "onnxruntime"):
        given = ["--engine", engine, "--quality", "fast", "--dtype", "float32"]
        assert main([*command, *given]) == 0
        alphas.append(read_alpha(target))
    assert np.abs(alphas[1] - alphas[0]).mean() < 2 / 255
    assert main([*command, "--engine", "onnxruntime", "--device", "cuda"]) == 2
    assert "device must be cpu for engine onnxruntime, got cuda: leave" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("engine", "dtype", "message"),
    [
        ("tensorrt", "auto", "engine must be one of torch, onnxruntime, openvino, got 'tensorrt'"),
        ("onnxruntime", "bfloat16", "dtype must be auto or float32 for engine onnxruntime, got"),
        ("openvino", "float16", "dtype must be auto or float32 or bfloat16 for engine openvino"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, dtype, message):
    with pytest.raises(EngineError, match=message):
        check_engine(engine, "auto", dtype)
