"""The rule that the golden vectors' weights follow, so that no weights need to be stored."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[2] / "data" / "network"


def official_state() -> dict[str, torch.Tensor]:
    """Return a state dict under the authors' keys, spectral norm's u and v converged."""
    keys = json.loads((GOLDEN / "keys.json").read_text(encoding="utf-8"))
    state = {key: _tensor(key, shape) for key, shape in keys.items()}
    for key in keys:
        if key.endswith("weight_bar"):
            stem = key.removesuffix("weight_bar")
            weight = state[key].reshape(len(state[key]), -1)
            u = state[stem + "weight_u"]
            for _ in range(20):  # as the golden vectors were made
                v = weight.T @ u
                v /= np.linalg.norm(v)
                u = weight @ v
                u /= np.linalg.norm(u)
            state[stem + "weight_u"], state[stem + "weight_v"] = u, v
    return {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}


def _tensor(key: str, shape: list[int]) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    n = generator.standard_normal(shape).astype(np.float32)
    match key.rpartition(".")[2]:
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case "weight_u" | "weight_v":
            return n / np.linalg.norm(n)
        case "running_mean" | "bias":
            return 0.1 * n
        case "running_var":
            return 0.5 + 0.2 * n**2
    if len(shape) >= 2:
        return n / np.float32(np.sqrt(np.prod(shape[1:])))
    return 0.6 + 0.1 * n
