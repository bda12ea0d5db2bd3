"""Augmentation of whole batches on the device: the twins of `data/augmentation.py`.

Every function is pure: tensors and what was drawn for each example in, tensors out. Planes and
colours are float32 (N, C, H, W) in [0, 1] on one device; drawn numbers are (N, ...) NumPy arrays.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mgm_core.networks.refinement import dilated
from training.data.augmentation import JPEG_BLOCK_PX
from training.data.augmentation_config import AUGMENTATION

Drawn = NDArray[Any]

_MACROBLOCK = 16  # four blocks of a JPEG's luma that share their colours
# The tables of the JPEG standard's Annex K.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * JPEG_BLOCK_PX,) * 4,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_HALF = 0.5


def on(device: torch.device, drawn: Drawn, dims: int = 4) -> Tensor:
    """Return drawn numbers on the device, (N, ...), with ones behind up to `dims` dimensions."""
    tensor = torch.from_numpy(np.ascontiguousarray(drawn, np.float32)).to(device)
    return tensor.reshape(*tensor.shape, *(1,) * (dims - tensor.dim()))


def blur(x: Tensor, sigmas: Drawn) -> Tensor:
    """Blur each picture by its own Gaussian, reflected at the sides.

    Args:
        x: (N, C, H, W), sides longer than three sigmas.
        sigmas: (N,) in px, above 0.
    """
    n, channels, height, width = x.shape
    reach = int(np.ceil(3 * float(sigmas.max())))
    places = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (places / on(x.device, sigmas, 2)).square())
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None, None]
    groups = n * channels
    planes = F.pad(x.float(), (reach, reach, reach, reach), mode="reflect").flatten(0, 1)[None]
    planes = F.conv2d(planes, kernels, groups=groups)
    planes = F.conv2d(planes, kernels.transpose(2, 3), groups=groups)
    return planes.reshape(n, channels, height, width)


def jitter(colours: Tensor, gammas: Drawn, matrices: Drawn, contrasts: Drawn) -> Tensor:
    """Change gamma, then contrast around the mean, then colours by a matrix.

    Args:
        colours: (N, 3, H, W).
        gammas: (N,) exponents.
        matrices: (N, 3, 3), gains and saturation.
        contrasts: (N,) factors.
    """
    device = colours.device
    changed = colours.clamp_min(1e-6).pow(on(device, gammas))
    mean = changed.mean((1, 2, 3), keepdim=True)
    changed = mean + on(device, contrasts) * (changed - mean)
    mixed = torch.bmm(on(device, matrices, 3), changed.flatten(2)).reshape(colours.shape)
    return mixed.clamp_(0, 1)


def merge_foregrounds(
    front: tuple[Tensor, Tensor], behind: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Put foregrounds before others: alpha = 1 - (1 - a1)(1 - a2); colours as Eq. 1 asks for.

    Args:
        front: Colours (N, 3, H, W) and alpha (N, 1, H, W).
        behind: Likewise.
    """
    (colour1, alpha1), (colour2, alpha2) = front, behind
    alpha = 1 - (1 - alpha1) * (1 - alpha2)
    seen = alpha > 1e-3
    share = torch.where(seen, alpha1 / alpha.clamp_min(1e-3), 1.0).clamp_max(1)
    return colour1 * share + colour2 * (1 - share), alpha


def match_background(
    background: Tensor, foreground: Tensor, alpha: Tensor, shares: Drawn, places: Drawn
) -> Tensor:
    """Move backgrounds' colours by these shares towards the subjects' at one place each.

    Args:
        background: (N, 3, S, S).
        foreground: (N, 3, S, S).
        alpha: (N, 1, S, S).
        shares: (N,), 0 for not at all.
        places: (N, 2), rows and columns as shares of S.
    """
    device, side = alpha.device, alpha.shape[-1]
    axis = torch.linspace(0, 1, side, device=device)
    off = (axis - on(device, places, 3)) / AUGMENTATION.matched_window
    column, row = (-0.5 * off.square()).exp().unbind(1)
    window = column[:, None, :, None] * row[:, None, None, :] + AUGMENTATION.matched_elsewhere
    weight = alpha * window
    total = weight.sum((2, 3), keepdim=True)
    here = (foreground * weight).sum((2, 3), keepdim=True) / total.clamp_min(1e-6)
    behind = (background * window).mean((2, 3), keepdim=True) / window.mean((2, 3), keepdim=True)
    seen = total >= AUGMENTATION.matched_elsewhere
    return (background + on(device, shares) * (here - behind) * seen).clamp_(0, 1)


@lru_cache(maxsize=4)
def _cosines(device: torch.device) -> Tensor:
    place, wave = np.arange(JPEG_BLOCK_PX), np.arange(JPEG_BLOCK_PX)[:, None]
    rows = np.cos((2 * place + 1) * wave * np.pi / (2 * JPEG_BLOCK_PX)) / 2
    rows[0] /= np.sqrt(2)
    return torch.from_numpy(rows.astype(np.float32)).to(device)


def _code(plane: Tensor, table: Tensor) -> Tensor:
    """Round blocks' cosine coefficients: plane (N, C, H, W) around 0, table (N, 8, 8)."""
    n, channels, height, width = plane.shape
    cosines = _cosines(plane.device)
    blocks = plane.reshape(
        n, channels, height // JPEG_BLOCK_PX, JPEG_BLOCK_PX, width // JPEG_BLOCK_PX, JPEG_BLOCK_PX
    )
    blocks = blocks.transpose(3, 4)
    steps = table[:, None, None, None]
    coefficients = ((cosines @ blocks @ cosines.T) / steps).round() * steps
    return (cosines.T @ coefficients @ cosines).transpose(3, 4).reshape(plane.shape)


def jpeg(colours: Tensor, qualities: Drawn) -> Tensor:
    """Return pictures as JPEG of these qualities (1 to 100) gives them back, colours at half size.

    Args:
        colours: (N, 3, H, W), sides multiples of 16.
        qualities: (N,).
    """
    device = colours.device
    factors = np.where(qualities < 50, 5000 / qualities, 200 - 2 * qualities)
    tables = [
        on(device, np.floor((np.array(t) * factors[:, None, None] + 50) / 100).clip(1, 255), 3)
        for t in (_LUMA_TABLE, _CHROMA_TABLE)
    ]
    matrix = torch.tensor(_TO_YCC, device=device)
    pixels = (colours * 255).round()
    ycc = torch.einsum("ij,njhw->nihw", matrix, pixels)
    luma = _code(ycc[:, :1] - 128, tables[0]) + 128
    chroma = _code(F.avg_pool2d(ycc[:, 1:], 2), tables[1])
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    decoded = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], 1))
    return decoded.round().clamp_(0, 255) / 255


def padded_jpeg(colours: Tensor, qualities: Drawn, before: tuple[int, int] = (0, 0)) -> Tensor:
    """Return `jpeg` of pictures of any size, with so many rows and columns before them."""
    top, left = before
    height, width = colours.shape[2] + top, colours.shape[3] + left
    padding = (left, -width % _MACROBLOCK, top, -height % _MACROBLOCK)
    if not any(padding):
        return jpeg(colours, qualities)
    coded = jpeg(F.pad(colours, padding, mode="replicate"), qualities)
    return coded[..., top:height, left:width]


def erode(mask: Tensor, kernels_px: list[int]) -> Tensor:
    """Erode each mask of a batch by its own elliptic kernel: (N, 1, H, W) bool."""
    return ~dilated(~mask, kernels_px)


def binarise(alpha: Tensor, thresholds: Drawn) -> Tensor:
    """Threshold each alpha at its own level, bool."""
    return alpha >= on(alpha.device, thresholds)


def cut_mask(mask: Tensor, patches: Drawn) -> Tensor:
    """Overwrite one patch of each mask by another of its patches (CutMask).

    Args:
        mask: (N, 1, H, W).
        patches: (N, 6) height and width of the patch, y and x of its place, y and x of where it is
            taken from; a height of 0 leaves a mask as it is.
    """
    n, _, height, width = mask.shape
    h, w, y1, x1, y0, x0 = (
        torch.from_numpy(patches.astype(np.int64)).to(mask.device).T[:, :, None, None]
    )
    y = torch.arange(height, device=mask.device)[:, None]
    x = torch.arange(width, device=mask.device)[None]
    inside = (y >= y1) & (y < y1 + h) & (x >= x1) & (x < x1 + w)
    source = torch.where(inside, (y + y0 - y1) * width + x + x0 - x1, y * width + x)
    return mask.flatten(1).gather(1, source.reshape(n, -1)).reshape(mask.shape)


def trimaps(alpha: Tensor, inside_px: Drawn, outside_px: Drawn) -> Tensor:
    """Return trimaps of 0, 0.5 and 1 that are true to alpha, widened inwards and outwards."""
    foreground = erode(alpha >= 1 - 1 / 255, inside_px.tolist())
    possible = dilated(alpha > 1 / 255, outside_px.tolist())
    return _HALF * foreground + _HALF * possible


def coarse_matte(
    alpha: Tensor, factor: float, kernels: list[tuple[str, int]], gain: float, shift: float
) -> Tensor:
    """Return one soft matte of low quality.

    Args:
        alpha: (1, 1, H, W).
        factor: How many times coarser it is.
        kernels: "erode" or "dilate", each with a kernel's diameter in coarse px, 1 to 3.
        gain: Contrast around a half.
        shift: What is added.
    """
    size = [max(2, round(side / factor)) for side in alpha.shape[2:]]
    small = F.interpolate(alpha, size, mode="area")
    for operation, kernel_px in kernels:
        small = (
            _extreme(small, kernel_px) if operation == "dilate" else -_extreme(-small, kernel_px)
        )
    soft = F.interpolate(small, alpha.shape[2:], mode="bilinear", align_corners=False)
    return ((soft - _HALF) * gain + _HALF + shift).clamp_(0, 1)


def _extreme(plane: Tensor, kernel_px: int) -> Tensor:
    """The largest value under an elliptic kernel of 1 to 3 px, which up to 3 is a cross."""
    if kernel_px == 1:
        return plane
    reach = kernel_px // 2
    after = kernel_px - 1 - reach
    low = float("-inf")
    down = F.max_pool2d(F.pad(plane, (0, 0, reach, after), value=low), (kernel_px, 1), 1)
    across = F.max_pool2d(F.pad(plane, (reach, after, 0, 0), value=low), (1, kernel_px), 1)
    return torch.maximum(down, across)
