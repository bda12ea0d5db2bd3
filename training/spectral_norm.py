"""Spectral normalisation of the ResNet34 network while it is trained.

Every convolution of its encoder and decoder is normalised, those of the heads and of ASPP are
not, as in the released network. In the product's weights it is folded
(`mgm_core.networks.checkpoint`).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_POWER_ITERATIONS = 20
_ORIGINAL = ".parametrizations.weight.original"
_VECTORS = (".parametrizations.weight.0._u", ".parametrizations.weight.0._v")


def add_spectral_norm(network: nn.Module) -> None:
    """Normalise the convolutions of `network.encoder` and `network.decoder`, heads left out."""
    for part in ("encoder", "decoder"):
        for name, module in network.get_submodule(part).named_modules():
            convolution = isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
            if convolution and not name.startswith("refine_"):
                # dim 0 for transposed convolutions too, as the released network has it.
                spectral_norm(module, dim=0)


def without_spectral_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state whose normalised weights are divided by their largest singular value.

    The value is found anew by power iteration: the vectors of an averaged state are not those of
    its averaged weight.
    """
    plain = {k: v for k, v in state.items() if not k.endswith((_ORIGINAL, *_VECTORS))}
    for key, weight in state.items():
        if not key.endswith(_ORIGINAL):
            continue
        name = key.removesuffix(_ORIGINAL)
        matrix = weight.float().reshape(len(weight), -1)
        u = state[name + _VECTORS[0]].float()
        for _ in range(_POWER_ITERATIONS):
            v = nn.functional.normalize(matrix.T @ u, dim=0)
            u = nn.functional.normalize(matrix @ v, dim=0)
        plain[f"{name}.weight"] = weight / torch.dot(u, matrix @ v)
    return plain
