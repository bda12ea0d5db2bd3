"""Weights: bundled ones, files of ours, and the authors' public checkpoints.

Nothing is unpickled freely: safetensors, or `torch.load(weights_only=True)`. Every key and shape
is checked, and a bundled file whose SHA-256 differs from the manifest's is refused.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.fusion_net import FusionNetwork
from mgm_core.networks.prn import PRN, EncoderName, Fusion
from mgm_core.weights import CheckpointError, bundled_path

FOREGROUND_WEIGHTS = "foreground_mobilenet_v2"
# By guidance: a trimap's, which tells what is known, and a mask's.
FUSION_WEIGHTS, MASK_FUSION_WEIGHTS = "fusion", "fusion_mask"
# A tensor stored in 8 bits has its scales, which broadcast to it, under its name and this.
INT8_SCALES = ".int8_scales"
# Metadata of the first file of weights that are spread over several.
PARTS = "parts"
# Of tensors to their file's bytes; tensors that share their values are counted once each.
_MOST_TIMES_ITS_FILE = 4
State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def part_path(path: Path, number: int) -> Path:
    """Return the file of a part, from 1 on: `a.safetensors`, `a.2.safetensors`, ..."""
    return path if number == 1 else path.with_suffix(f".{number}.safetensors")


def weights_files(path: Path) -> list[Path]:
    """Return a weights file and its further parts, which lie beside it."""
    files = [path]
    while (further := part_path(path, len(files) + 1)).exists():
        files.append(further)
    return files


def read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    """Return a file's tensors, half precision and 8 bits widened to float32, and its metadata.

    Tensors of further parts, which lie beside the first, are read as well.

    Raises:
        CheckpointError: A file is missing, not in the safetensors format, or its 8-bit tensors
            and their scales do not fit together.
    """
    state, metadata = _read_part(path)
    parts = metadata.get(PARTS, "1")
    if not (parts.isascii() and parts.isdigit()):
        raise CheckpointError(
            f"weights must name the number of their parts, got {parts!r} in {path}: the file was "
            "changed; fetch or bundle it again"
        )
    for number in range(2, int(parts) + 1):
        state |= _read_part(part_path(path, number))[0]
    return _widen(state, path), metadata


def _read_part(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            return state, file.metadata() or {}
    except FileNotFoundError:
        raise CheckpointError(f"weights must exist, got {path}: correct the path") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights must be a safetensors file, got {path}: {error}; fetch it again"
        ) from error


def _widen(state: State, path: Path) -> State:
    half = (torch.float16, torch.bfloat16)
    scales = {k: v.float() for k, v in state.items() if k.endswith(INT8_SCALES)}
    coded = {k: v for k, v in state.items() if v.dtype == torch.int8}
    alone = sorted(coded.keys() ^ {k.removesuffix(INT8_SCALES) for k in scales})
    if alone:
        raise CheckpointError(
            f"weights must hold 8-bit tensors and their scales together, got one of the two for "
            f"{alone[0]} in {path}: the file was changed; fetch or bundle it again"
        )
    wide = {
        k: v.float() if v.dtype in half else v
        for k, v in state.items()
        if k not in coded and k not in scales
    }
    for key, value in coded.items():
        scale = scales[key + INT8_SCALES]
        fits = scale.ndim == value.ndim and all(
            given in (1, side) for given, side in zip(scale.shape, value.shape, strict=True)
        )
        if not (fits and torch.isfinite(scale).all() and (scale > 0).all()):
            raise CheckpointError(
                f"weights must hold one scale above 0 for each channel of {key}, got others in "
                f"{path}: the file was changed; fetch or bundle it again"
            )
        wide[key] = value.float() * scale
    return wide


def read_official(path: Path) -> State:
    """Return the weights of one of the authors' checkpoints, spectral norm folded.

    Raises:
        CheckpointError: The file is not such a checkpoint.
    """
    try:
        size = path.stat().st_size
        _refuse_compressed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"weights must exist, got {path}: correct the path") from None
    except CheckpointError:
        raise
    except Exception as error:  # an unpickler that reads what is no pickle may raise anything
        # Not its message, which advises to read the file unsafely.
        reason = type(error).__name__
        raise CheckpointError(
            f"weights must be a checkpoint that holds tensors alone, got {path}, which "
            f"cannot be read safely ({reason}): fetch it again from its authors"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise CheckpointError(
            f"weights must hold a state dict of tensors, got {path} without: give a checkpoint "
            "such as MGMatting-DIM-100k.pth"
        )
    held = sum(value.nbytes for value in content.values())
    if held > _MOST_TIMES_ITS_FILE * size:
        raise CheckpointError(
            f"weights must hold as much as their file, got tensors of {held} bytes in {path} of "
            f"{size}: fetch it again from its authors"
        )
    return fold_spectral_norm({k.removeprefix("module."): v for k, v in content.items()})


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive that grows as it is read; PyTorch compresses nothing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise CheckpointError(
                f"weights must be as PyTorch saves them, got the compressed archive {path}: fetch "
                "it again from its authors"
            )


def fold_spectral_norm(state: Mapping[str, Tensor]) -> State:
    """Divide every spectrally normalised weight by its norm sigma = u . (W v).

    Args:
        state: Keys `*.module.weight_bar`, `_u`, `_v` among others.

    Returns:
        The state with one key `*.weight` for each such three.
    """
    folded: State = {}
    for key, value in state.items():
        if key.endswith((".module.weight_u", ".module.weight_v")):
            continue
        if not key.endswith(".module.weight_bar"):
            folded[key] = value
            continue
        stem = key.removesuffix("weight_bar")
        missing = [part for part in ("weight_u", "weight_v") if stem + part not in state]
        if missing:
            raise CheckpointError(
                f"weights must hold {stem}{missing[0]} beside {key}, got none: the file is cut "
                "short; fetch it again"
            )
        u, v = state[stem + "weight_u"].float(), state[stem + "weight_v"].float()
        weight = value.float()
        if weight.ndim < 2 or u.shape != weight.shape[:1] or v.shape != weight[0].flatten().shape:
            raise CheckpointError(
                f"weights must hold {stem}weight_u and _v that fit {key}, got "
                f"{tuple(u.shape)} and {tuple(v.shape)} for {tuple(weight.shape)}: fetch them again"
            )
        sigma = torch.dot(u, weight.reshape(len(weight), -1) @ v)
        folded[stem.removesuffix("module.") + "weight"] = weight / sigma
    return folded


def load_checked(network: nn.Module, state: State, origin: str) -> None:
    """Load a state whose keys and shapes must be the network's, `num_batches_tracked` aside.

    Raises:
        CheckpointError: A key is missing, unexpected, of another shape or type, or its values are
            not finite; all kinds are named.
    """
    own = network.state_dict()
    counters = {k for k in own if k.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - state.keys() - counters)
    unexpected = sorted(state.keys() - own.keys())
    reshaped = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own.keys() & state.keys()
        if own[k].shape != state[k].shape
    ]
    others = [
        f"{k} {str(state[k].dtype).removeprefix('torch.')}"
        for k in own.keys() & state.keys()
        if own[k].is_floating_point() != state[k].is_floating_point()
    ]
    endless = [
        k
        for k in own.keys() & state.keys()
        if state[k].is_floating_point() and not torch.isfinite(state[k]).all()
    ]
    problems = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", sorted(reshaped)),
            ("of another type", sorted(others)),
            ("not finite", sorted(endless)),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"weights must hold this network's keys, got {'; '.join(problems)} in {origin}: "
            "give weights of the right network"
        )
    network.load_state_dict({k: state.get(k, own[k]) for k in own})


def load_prn(weights: str | Path) -> PRN:
    """Return the matting network with weights loaded, in evaluation mode.

    Args:
        weights: A bundled name, a safetensors file of ours, or one of the authors' `.pth` files.

    Raises:
        CheckpointError: The weights cannot be used.
    """
    path = weights_path(weights)
    if path.suffix == ".safetensors":
        state, metadata = read_safetensors(path)
        encoder = metadata.get("encoder", _encoder_of(state))
        fusion = metadata.get("fusion", "progressive")
    else:
        state, encoder, fusion = read_official(path), "resnet34", "progressive"
    if encoder not in ("resnet34", "mobilenet_v2"):
        raise CheckpointError(
            f"weights must be of a resnet34 or mobilenet_v2 network, got {encoder!r} in {path}: "
            "give weights of a matting network"
        )
    if fusion not in get_args(Fusion):
        raise CheckpointError(
            f"weights must name a fusion of {', '.join(get_args(Fusion))}, got {fusion!r} in "
            f"{path}: the file was changed; fetch or bundle it again"
        )
    network = PRN(cast("EncoderName", encoder), cast("Fusion", fusion))
    load_checked(network, state, str(path))
    return network.eval()


def load_foreground(weights: str | Path = FOREGROUND_WEIGHTS) -> ForegroundNetwork:
    """Return the foreground colour network with weights loaded, in evaluation mode.

    Args:
        weights: A bundled name, or a safetensors file of ours.

    Raises:
        CheckpointError: The weights cannot be used.
    """
    return _load(ForegroundNetwork(), weights_path(weights))


def load_fusion(weights: str | Path = FUSION_WEIGHTS) -> FusionNetwork:
    """Return the fusion network with weights loaded, in evaluation mode.

    Args:
        weights: A bundled name, or a safetensors file of ours.

    Raises:
        CheckpointError: The weights cannot be used.
    """
    return _load(FusionNetwork(), weights_path(weights))


def _load(network: Network, path: Path) -> Network:
    load_checked(network, read_safetensors(path)[0], str(path))
    return network.eval()


def weights_path(weights: str | Path) -> Path:
    """Return the file of weights: a bundled name's, or the path itself."""
    path = Path(weights)
    return bundled_path(weights) if isinstance(weights, str) and not path.suffix else path


def _encoder_of(state: State) -> str:
    return "mobilenet_v2" if "encoder.features.0.0.weight" in state else "resnet34"
