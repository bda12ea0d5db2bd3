"""Progressive refinement: each level replaces what the coarser one left uncertain (Eqs. 2, 3).

Source: section 3.1 of the paper. "Uncertain" is read as the authors' code does, as everything
that would not be stored as exactly 0 or 255 in eight bits, and the self-guidance is dilated by an
elliptic kernel whose diameter the paper calls K.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

TEST_KERNELS_PX = (15, 7)  # K1 after stride 8, K2 after stride 4, at test time
_MARGIN = 1.0 / 255.0
_FAST_SIDE = 64
_HALF_A_HIT = 0.5  # counts are whole numbers but for rounding


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
    return _dilated_on_device(mask, kernels_px)


def _dilated_on_device(mask: Tensor, kernels_px: Sequence[int]) -> Tensor:
    """Dilate as OpenCV does by counting hits under each kernel, without leaving the device.

    Counts are products of Fourier transforms, for all masks and kernels at once.
    """
    frames = _frames(max(kernels_px), mask.device)
    kernels = frames[torch.tensor(kernels_px)][:, None]
    side = kernels.shape[-1]
    reach = side // 2
    height, width = mask.shape[2:]
    # Sides of a large prime factor would be transformed slowly.
    size = [-(-(length + side - 1) // _FAST_SIDE) * _FAST_SIDE for length in (height, width)]
    planes = mask.to(torch.float32)
    hits = torch.fft.irfft2(torch.fft.rfft2(planes, size) * torch.fft.rfft2(kernels, size), size)
    found: Tensor = hits[..., reach : reach + height, reach : reach + width] > _HALF_A_HIT
    return found


@lru_cache(maxsize=64)
def _frames(largest_px: int, device: torch.device) -> Tensor:
    """Return the ellipses of all diameters up to a largest, ready for a convolution.

    Returns:
        (largest + 1, S, S) float32; number k has its anchor, OpenCV's, in the middle, and is turned
        round. Number 0 is empty.
    """
    reach = largest_px // 2
    frames = np.zeros((largest_px + 1, 2 * reach + 1, 2 * reach + 1), np.float32)
    for k in range(1, largest_px + 1):
        first = reach - k // 2
        frames[k, first : first + k, first : first + k] = ellipse(k)
    return torch.from_numpy(frames).flip(1, 2).to(device)


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
