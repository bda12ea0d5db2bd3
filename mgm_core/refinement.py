"""Progressive refinement: each level replaces what the coarser one left uncertain (Eqs. 2, 3).

Source: section 3.1 of the paper. "Uncertain" is read as the authors' code does, as everything
that would not be stored as exactly 0 or 255 in eight bits, and the self-guidance is dilated by an
elliptic kernel whose diameter the paper calls K.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TEST_KERNELS_PX = (15, 7)  # K1 after stride 8, K2 after stride 4, at test time
_MARGIN = 1.0 / 255.0


def uncertain(alpha: Tensor) -> Tensor:
    """Return where alpha is neither 0 nor 1 to eight bits (Eq. 2, before dilation), as bool."""
    return ~((alpha < _MARGIN) | (alpha > 1.0 - _MARGIN))


def ellipse(kernel_px: int) -> np.ndarray:
    """Return OpenCV's elliptic structuring element of this diameter, uint8 (K, K)."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))


def dilated(mask: Tensor, kernels_px: Sequence[int]) -> Tensor:
    """Dilate each mask of a batch by its own elliptic kernel.

    Args:
        mask: (N, 1, H, W) bool.
        kernels_px: N kernel diameters in px, each at least 1.

    Returns:
        (N, 1, H, W) bool on the mask's device.
    """
    if len(kernels_px) != len(mask):
        raise ValueError(
            f"kernels_px must hold one diameter for each of {len(mask)} masks, "
            f"got {len(kernels_px)}: repeat it for the batch"
        )
    if mask.device.type == "cpu":
        planes = mask[:, 0].numpy().view(np.uint8)
        out = [cv2.dilate(plane, ellipse(k)) for plane, k in zip(planes, kernels_px, strict=True)]
        return torch.from_numpy(np.stack(out)).view(torch.bool)[:, None]
    return torch.cat(
        [_dilated_on_device(m[None], k) for m, k in zip(mask, kernels_px, strict=True)]
    )


def _dilated_on_device(mask: Tensor, kernel_px: int) -> Tensor:
    """Dilate as OpenCV does by counting hits under the kernel, without leaving the device."""
    kernel = torch.from_numpy(ellipse(kernel_px)).to(mask.device, torch.float32)[None, None]
    before = kernel_px // 2  # OpenCV's anchor; the kernel reaches this far up and to the left
    after = kernel_px - 1 - before
    padded = F.pad(mask.to(torch.float32), (before, after, before, after))
    return F.conv2d(padded, kernel) > 0.5


def self_guidance_mask(alpha: Tensor, kernels_px: Sequence[int]) -> Tensor:
    """Return g_l, where the next level is to be taken (Eq. 2, slightly dilated).

    Args:
        alpha: Alpha of the coarser level, (N, 1, H, W) in [0, 1].
        kernels_px: N kernel diameters in px.

    Returns:
        (N, 1, H, W) bool; carries no gradient.
    """
    return dilated(uncertain(alpha.detach()), kernels_px)


def fuse(coarser: Tensor, finer: Tensor, self_guidance: Tensor) -> Tensor:
    """Take the finer alpha where the self-guidance says so, else keep the coarser (Eq. 3)."""
    return torch.where(self_guidance, finer, coarser)
