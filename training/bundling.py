"""Take trained weights into the product: half precision, hash, manifest.

python -m training bundle runs/prn_mobilenet_v2/weights.safetensors prn_mobilenet_v2
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from mgm_core.checkpoint import WEIGHTS_FOLDER, read_safetensors, sha256_of
from training.config import ConfigError


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state in half precision, as it is bundled.

    Raises:
        ConfigError: A value does not fit into half precision.
    """
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value.half()).all():
            raise ConfigError(
                f"weights must fit into half precision, got {value.abs().max():g} in {key}: "
                "bundle them in full precision"
            )
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def bundle(weights: Path, name: str, folder: Path = WEIGHTS_FOLDER) -> Path:
    """Write weights in half precision beside their hash, so that `name` loads them.

    The model card, `NAME.md`, is written by hand: it tells what the numbers were made of.
    """
    state, metadata = read_safetensors(weights)
    path = folder / f"{name}.safetensors"
    counters = {k for k in state if k.endswith("num_batches_tracked")}
    save_file(halved({k: v for k, v in state.items() if k not in counters}), path, metadata)
    manifest_path = folder / "manifest.json"
    manifest = json.loads(manifest_path.read_text("utf-8")) if manifest_path.exists() else {}
    architecture = "/".join(metadata[k] for k in ("network", "encoder", "fusion") if k in metadata)
    manifest[name] = {
        "file": path.name,
        "sha256": sha256_of(path),
        "architecture": architecture or "deeplabv3/mobilenet_v2_half",
    }
    text = json.dumps(dict(sorted(manifest.items())), indent=2)
    manifest_path.write_text(f"{text}\n", "utf-8")
    return path
