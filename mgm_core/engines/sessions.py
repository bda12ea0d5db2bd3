"""Sessions of other engines than PyTorch, with the call of a network (`networks/tiling.py`).

    run = session("onnxruntime", matting_graph(load_prn()), "float32")

An engine is given a network as ONNX, which is written once and kept in the user's cache. It
computes on the CPU, by as many threads as PyTorch would take.
"""

import hashlib
import os
import threading
from importlib.util import find_spec
from pathlib import Path

import torch

from mgm_core import __version__
from mgm_core.arrays import Floats
from mgm_core.choices import ENGINES
from mgm_core.engines.graphs import OPSET, Exportable, write_onnx
from mgm_core.networks.hardware import DtypeName, best_dtype
from mgm_core.networks.tiling import Run
from mgm_core.runtime.lazy import LazyByName

__all__ = ["EngineError", "check_engine", "graph_path", "session"]


class EngineError(ValueError):
    """An engine that cannot be used here; the message says what to do."""


def check_engine(engine: str, device: str, dtype: str) -> None:
    """Raise unless an engine is installed and computes on this device in this number format.

    Raises:
        EngineError: It is not or does not.
    """
    if engine not in ENGINES:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}: choose one")
    if engine == "torch":
        return
    extra = "onnx" if engine == "onnxruntime" else engine
    for package in (engine, "onnx", "onnxscript"):
        if find_spec(package) is None:
            raise EngineError(
                f"engine {engine} must have the package {package}, which is not installed: pip "
                f"install 'mgm[{extra}]'"
            )
    if device not in ("auto", "cpu"):
        raise EngineError(
            f"device must be cpu for engine {engine}, got {device}: leave it out, or take torch"
        )
    if dtype not in _DTYPES[engine]:
        raise EngineError(
            f"dtype must be {' or '.join(_DTYPES[engine])} for engine {engine}, got {dtype}: take "
            "another engine"
        )


_DTYPES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("auto", "float32"),
    "openvino": ("auto", "float32", "bfloat16"),
}


def session(engine: str, network: Exportable, dtype: DtypeName) -> Run:
    """Return what computes a network by another engine; threads compute beside one another.

    Args:
        engine: "onnxruntime" or "openvino", which `check_engine` found to be there.
        network: As a graph.
        dtype: What it computes in; "auto" is float32 for ONNX Runtime, and bf16 for OpenVINO where
            the CPU has it.
    """
    path = graph_path(network)
    load = _onnxruntime if engine == "onnxruntime" else _openvino
    by_threads = LazyByName(lambda count: load(path, network, int(count), dtype))

    def run(*planes: Floats) -> Floats:
        found: Floats = by_threads(str(torch.get_num_threads()))(*planes)
        return found

    return run


def graph_path(network: Exportable) -> Path:
    """Return the file of a network as ONNX, written if it is not in the cache.

    Raises:
        OSError: The cache cannot be written.
    """
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {OPSET}".encode())
    for name, tensor in network.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mgm"
    path = cache / f"{type(network.module).__name__.lower()}-{digest.hexdigest()[:16]}.onnx"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        write_onnx(network, path)
    return path


def _onnxruntime(path: Path, network: Exportable, threads: int, dtype: DtypeName) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(*planes: Floats) -> Floats:
        found: Floats = loaded.run(None, dict(zip(network.channels, planes, strict=True)))[0]
        return found

    return run


def _openvino(path: Path, network: Exportable, threads: int, dtype: DtypeName) -> Run:
    import openvino

    in_bf16 = best_dtype(torch.device("cpu"), dtype) == torch.bfloat16
    loaded = openvino.Core().compile_model(
        path,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    own = threading.local()

    def run(*planes: Floats) -> Floats:
        request = getattr(own, "request", None)
        if request is None:
            request = own.request = loaded.create_infer_request()
        given = dict(zip(network.channels, planes, strict=True))
        found: Floats = request.infer(given)[0].copy()  # the next call writes over it
        return found

    return run
