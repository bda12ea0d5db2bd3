"""The networks as graphs that other engines compute: arrays in [0, 1] in, one array in [0, 1] out.

Normalisation, the refinement (Eqs. 2 and 3) and clamping are part of the graphs; sizes are free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.choices import DEFAULT_WEIGHTS
from mgm_core.networks.checkpoint import (
    FOREGROUND_WEIGHTS,
    FUSION_WEIGHTS,
    MASK_FUSION_WEIGHTS,
    load_foreground,
    load_fusion,
    load_prn,
)
from mgm_core.networks.fusion_net import CANDIDATES, FusionNetwork
from mgm_core.networks.inference import fold_batch_norm
from mgm_core.networks.prn import PRN
from mgm_core.networks.refinement import TEST_KERNELS_PX, ellipse, fuse, uncertain
from mgm_core.runtime.partial import written_whole
from mgm_core.segmentation import bundled_network

__all__ = [
    "OPSET",
    "Alpha",
    "Exportable",
    "Foreground",
    "Fusion",
    "Probabilities",
    "exportables",
    "fusion_graph",
    "matting_graph",
    "write_onnx",
]

OPSET = 18


class Alpha(nn.Module):
    """The matting network with its refinement, whose dilations are convolutions here.

    Args:
        network: In evaluation mode, with the paper's progressive refinement.
    """

    def __init__(self, network: PRN) -> None:
        super().__init__()
        if network.fusion != "progressive":
            raise ValueError(
                f"network must refine progressively, got fusion {network.fusion!r}: export the "
                "network that the paper proposes"
            )
        self.network = network
        for name, kernel_px in zip(("kernel_os4", "kernel_os1"), TEST_KERNELS_PX, strict=True):
            # OpenCV's elliptic kernels of odd diameters are symmetric: convolution is correlation.
            kernel = torch.from_numpy(ellipse(kernel_px)).float()[None, None]
            self.register_buffer(name, kernel, persistent=False)

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) of image (N, 3, H, W) and guidance (N, 1, H, W)."""
        os8, os4, os1 = self.network(image, guidance)
        alpha = fuse(os8, os4, _dilated(uncertain(os8), self.get_buffer("kernel_os4")))
        alpha = fuse(alpha, os1, _dilated(uncertain(alpha), self.get_buffer("kernel_os1")))
        return alpha.clamp(0.0, 1.0)


class _Wrapped(nn.Module):
    """A network, in evaluation mode, with what comes before and after it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Probabilities(_Wrapped):
    """The bundled segmenter, image in [-1, 1] to 21 categories' logits, with its normalisation."""

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities (N, 21, H, W) of image (N, 3, H, W)."""
        logits: Tensor = self.network(2 * image - 1)
        return logits.softmax(dim=1)


class Foreground(_Wrapped):
    """The foreground colour network with its clamping."""

    def forward(self, image: Tensor, alpha: Tensor) -> Tensor:
        """Return foreground (N, 3, H, W) of image (N, 3, H, W) and alpha (N, 1, H, W)."""
        foreground: Tensor = self.network(image, alpha)
        return foreground.clamp(0.0, 1.0)


class Fusion(_Wrapped):
    """The fusion network with its clamping."""

    def forward(self, image: Tensor, guidance: Tensor, candidates: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) of image, guidance and candidates (N, C, H, W)."""
        alpha: Tensor = self.network(image, guidance, candidates)
        return alpha.clamp(0.0, 1.0)


def _dilated(mask: Tensor, kernel: Tensor) -> Tensor:
    """Dilate (N, 1, H, W) bool by a kernel (1, 1, K, K) of odd K: where anything is hit."""
    return F.conv2d(mask.to(kernel.dtype), kernel, padding=kernel.shape[-1] // 2) > 0.5


@dataclass(frozen=True)
class Exportable:
    """A network ready to be written.

    Args:
        module: Arrays in, one array out, in evaluation mode.
        channels: Of each input, by its name, in order.
        output: The output's name.
        sides: An example's height and width, allowed by the network.
    """

    module: nn.Module
    channels: Mapping[str, int]
    output: str
    sides: tuple[int, int] = (96, 128)

    def example(self) -> tuple[Tensor, ...]:
        """Return an input of grey values that differ, so that a wrong graph shows."""
        height, width = self.sides
        return tuple(
            torch.linspace(0, 1, c * height * width).reshape(1, c, height, width).square()
            for c in self.channels.values()
        )


def exportables(weights: str | Path = DEFAULT_WEIGHTS) -> dict[str, Exportable]:
    """Return the networks by the names of their files.

    Args:
        weights: The matting network's, by bundled name or path.

    Raises:
        CheckpointError: Weights cannot be used.
    """
    foreground = load_foreground(FOREGROUND_WEIGHTS).eval()
    fold_batch_norm(foreground)
    return {
        "segmenter": Exportable(
            Probabilities(bundled_network().eval()), {"image": 3}, "probabilities", (97, 129)
        ),
        "matting": matting_graph(load_prn(weights)),
        FUSION_WEIGHTS: fusion_graph(load_fusion(FUSION_WEIGHTS)),
        MASK_FUSION_WEIGHTS: fusion_graph(load_fusion(MASK_FUSION_WEIGHTS)),
        "foreground": Exportable(Foreground(foreground), {"image": 3, "alpha": 1}, "foreground"),
    }


def matting_graph(network: PRN) -> Exportable:
    """Return the matting network as a graph; its batch norms are folded."""
    fold_batch_norm(network.eval())
    return Exportable(Alpha(network), {"image": 3, "guidance": 1}, "alpha")


def fusion_graph(network: FusionNetwork) -> Exportable:
    """Return the fusion network as a graph; its batch norms are folded."""
    fold_batch_norm(network.eval())
    channels = {"image": 3, "guidance": 1, "candidates": CANDIDATES}
    return Exportable(Fusion(network), channels, "alpha")


def write_onnx(network: Exportable, path: Path) -> None:
    """Write one network, with free sizes.

    Args:
        network: What to write.
        path: The file, whose folder exists; it is replaced once the new one is complete.

    Raises:
        ModuleNotFoundError: The packages that write ONNX are not installed.
    """
    try:
        import onnx  # noqa: F401 - PyTorch writes through these, and its own message is longer
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the package {error.name} must be installed to write ONNX: pip install 'mgm[onnx]'"
        ) from error
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.inference_mode():
        program = torch.onnx.export(
            network.module.eval(),
            network.example(),
            input_names=list(network.channels),
            output_names=[network.output],
            opset_version=OPSET,
            dynamic_shapes=tuple(sides for _ in network.channels),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    with written_whole(path) as part:
        program.save(part)
