"""Take trained weights into the product: half precision or 8 bits, hash, manifest.

python -m training bundle runs/prn_mobilenet_v2/weights.safetensors prn_mobilenet_v2
python -m training bundle runs/prn_resnet34/weights.safetensors prn_resnet34 --int8

`python -m benchmark_data_tools compare` then tells what that costs.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mgm_core.networks.checkpoint import (
    INT8_SCALES,
    PARTS,
    State,
    load_prn,
    part_path,
    read_safetensors,
)
from mgm_core.runtime.partial import written_whole
from mgm_core.weights import WEIGHTS_FOLDER, sha256_of
from training.config import ConfigError
from training.portable import checkpoint_written

_LARGEST_INT8 = 127
# Smaller weights, such as the first layer's and the heads', stay in half precision: they are one
# part in a hundred of the file and most of what rounding costs.
_SMALLEST_CODED = 4096
LARGEST_FILE = 24_000_000  # bytes; hosts of code warn of larger files or refuse them


def to_half_precision(state: State) -> State:
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


def to_int8(state: State, transposed: frozenset[str] = frozenset()) -> State:
    """Return a state whose convolutions and linear maps are int8, with a scale an output channel.

    Everything else, such as biases, batch norm and small weights, is in half precision.

    Args:
        state: Tensors by name.
        transposed: Weights of transposed convolutions, whose outputs are the second axis.

    Raises:
        ConfigError: A weight is not finite, or something else does not fit into half precision.
    """
    stored: State = {}
    others: State = {}
    for key, value in state.items():
        if value.ndim < 2 or value.numel() < _SMALLEST_CODED or not value.is_floating_point():
            others[key] = value
            continue
        if not torch.isfinite(value).all():
            raise ConfigError(f"weights must be finite, got others in {key}: train them anew")
        stored[key], stored[key + INT8_SCALES] = _quantise(value, 1 if key in transposed else 0)
    return stored | to_half_precision(others)


def _quantise(weight: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Return int8 values and the scales that they are to be multiplied with."""
    inputs = [axis for axis in range(weight.ndim) if axis != outputs]
    largest = weight.float().abs().amax(dim=inputs, keepdim=True)
    # A channel of nothing but zeros needs a scale, too; any will do.
    scales = torch.where(largest > 0, largest / _LARGEST_INT8, torch.ones_like(largest))
    return (weight / scales).round().to(torch.int8), scales


def split(state: State, largest: int) -> list[State]:
    """Spread tensors over files of at most so many bytes each, in their order."""
    parts: list[State] = [{}]
    size = 0
    for key, value in state.items():
        size += value.nbytes
        if size > largest and parts[-1]:
            parts.append({})
            size = value.nbytes
        parts[-1][key] = value
    return parts


def bundle(weights: Path, name: str, folder: Path = WEIGHTS_FOLDER, *, int8: bool = False) -> Path:
    """Write weights beside their hash, so that `name` loads them; they are widened when loaded.

    The model card, `NAME.md`, is written by hand: it tells what the numbers were made of.

    Args:
        weights: What a run has exported.
        name: Name to load them by.
        folder: Folder of the file and of the manifest.
        int8: Store 8 bits a weight instead of half precision.

    Returns:
        The file, of several the first.

    Raises:
        ConfigError: A value cannot be stored.
        CheckpointError: The weights cannot be read.
        OSError: The disk does not take them; the old ones stay.
    """
    state, metadata = read_safetensors(weights)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    # Only matting networks have a fusion, and only they have transposed convolutions.
    matting = "fusion" in metadata
    if int8:
        stored = to_int8(state, _transposed_weights(load_prn(weights)) if matting else frozenset())
    else:
        stored = to_half_precision(state)
    path = folder / f"{name}.safetensors"
    parts = split(stored, LARGEST_FILE)
    described = metadata | {"precision": "int8" if int8 else "float16", PARTS: str(len(parts))}
    files = [part_path(path, number + 1) for number in range(len(parts))]
    with ExitStack() as all_written:  # the old files stay until each new one is on the disk
        for file, part in zip(files, parts, strict=True):
            written = all_written.enter_context(checkpoint_written(file))
            save_file(part, written, described)
            written.chmod(0o644)  # safetensors leaves it to the owner alone; others run it, too
    for old in folder.glob(f"{name}.[0-9]*.safetensors"):
        if old not in files:
            old.unlink()  # of weights that had more parts
    manifest_path = folder / "manifest.json"
    manifest = json.loads(manifest_path.read_text("utf-8")) if manifest_path.exists() else {}
    architecture = "/".join(metadata[k] for k in ("network", "encoder", "fusion") if k in metadata)
    manifest[name] = {
        "file": path.name,
        "sha256": sha256_of(path),
        "architecture": architecture or "deeplabv3/mobilenet_v2",
    }
    if len(files) > 1:
        manifest[name]["further"] = {file.name: sha256_of(file) for file in files[1:]}
    text = json.dumps(dict(sorted(manifest.items())), indent=2)
    with written_whole(manifest_path) as written:
        written.write_text(f"{text}\n", "utf-8")
    return path


def _transposed_weights(network: nn.Module) -> frozenset[str]:
    return frozenset(
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    )
