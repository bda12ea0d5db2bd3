"""Pictures of any size in the memory of one device, from which a whole batch's crops are sampled.

A large GPU trains faster than sixteen cores can cut, turn and blur crops. So the pictures lie on
the device, packed behind one another as one number a pixel, each with its halvings, and a batch of
crops is gathered at once by an affine map for each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mgm_core.arrays import Bytes

__all__ = ["DeviceImages", "Views"]

LEVELS = 4  # a picture and its halvings down to an eighth
_CUBIC = -0.75  # the slope of OpenCV's cubic interpolation
_TAPS = 4


@dataclass(frozen=True)
class Views:
    """What a batch of crops shows: one picture and one map each.

    Args:
        slots: (N,) int64 numbers of pictures on the device.
        maps: (N, 2, 3) float64, from a crop's x and y to the picture's, both in px, pixels' middles
            being whole numbers.
        sharpness: (N,) 0 interpolates linearly, 1 cubically.
    """

    slots: NDArray[np.int64]
    maps: NDArray[np.float64]
    sharpness: NDArray[np.float64]


def pyramid_px(height: int, width: int) -> int:
    """Return how many pixels a picture and its halvings have."""
    return sum(h * w for h, w in _sizes(height, width))


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(LEVELS)]


class DeviceImages:
    """Pictures on a device.

    Args:
        capacity_px: How many pixels can be held, halvings included.
        count: How many pictures can be held.
        device: Where they are held.
    """

    def __init__(self, capacity_px: int, count: int, device: torch.device) -> None:
        self.device = device
        self._pixels = torch.zeros(capacity_px, dtype=torch.int32, device=device)
        self._starts = np.zeros((count, LEVELS), np.int64)
        self.sizes = np.zeros((count, 2), np.int64)  # height and width; 0: nothing there yet
        self._reserved = np.zeros(count, np.int64)
        self._used = 0

    def put(self, slot: int, rgba: Bytes | Tensor, reserve_px: int = 0) -> None:
        """Hold a picture in a slot, in the place of the one that was there.

        Args:
            slot: The slot's number.
            rgba: (H, W, 4) uint8.
            reserve_px: Room that the slot is given for larger pictures to come, halvings included.

        Raises:
            ValueError: The picture has no room in the slot, or the device none for the slot.
        """
        height, width = rgba.shape[:2]
        needed = pyramid_px(height, width)
        if not self._reserved[slot]:
            self._reserved[slot] = max(needed, reserve_px)
            self._starts[slot, 0] = self._used
            self._used += int(self._reserved[slot])
        if needed > self._reserved[slot] or self._used > len(self._pixels):
            raise ValueError(
                f"a picture must fit its place of {self._reserved[slot]} px on a device of "
                f"{len(self._pixels)}, got {height} x {width} px: lower data.max_side_px"
            )
        plane = torch.as_tensor(rgba).to(self.device).movedim(-1, 0).float()[None]
        start = int(self._starts[slot, 0])
        for level, (h, w) in enumerate(_sizes(height, width)):
            if level:
                plane = F.avg_pool2d(plane, 2, ceil_mode=True, count_include_pad=False)
            self._starts[slot, level] = start
            self._pixels[start : start + h * w] = _packed(plane[0]).flatten()
            start += h * w
        self.sizes[slot] = height, width

    def sampled(self, views: Views, crop_px: int) -> Tensor:
        """Return square crops of pictures, reflected past their sides.

        Where a map reduces, the halving nearest to its scale is sampled.

        Args:
            views: Which pictures, and what of them.
            crop_px: Side of the crops.

        Returns:
            (N, 4, S, S) float32 in [0, 1].
        """
        maps = views.maps
        determinants = maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]
        levels = np.log2(np.sqrt(np.abs(determinants))).round().clip(0, LEVELS - 1).astype(int)
        shrink = 2.0**levels
        reduced = maps / shrink[:, None, None]
        reduced[:, :, 2] += 0.5 / shrink[:, None] - 0.5  # middles of pixels at the halving
        sizes = np.ceil(self.sizes[views.slots] / shrink[:, None])
        starts = self._starts[views.slots, levels]
        numbers = np.concatenate(
            [reduced.reshape(-1, 6), sizes, views.sharpness[:, None]], axis=1, dtype=np.float32
        )
        rows = torch.from_numpy(numbers).to(self.device)
        first = torch.from_numpy(starts).to(self.device)
        return sampler(self.device)(self._pixels, first, rows, crop_px)


def sampler(device: torch.device) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """Return what samples on a device: one kernel on GPUs that Triton knows, else `sampled`."""
    if device.type != "cuda":
        return sampled
    # Here, as Triton is not to be had for every system.
    from training.data.device import sampling_kernel

    return sampling_kernel.sampled


def sampled(pixels: Tensor, starts: Tensor, rows: Tensor, crop_px: int) -> Tensor:
    """Return square crops; arguments and result are those of `sampling_kernel.sampled`."""
    row, start = rows[:, :, None, None], starts[:, None, None]
    axis = torch.arange(crop_px, device=rows.device, dtype=torch.float32)
    x = row[:, 0] * axis[None] + row[:, 1] * axis[:, None] + row[:, 2]
    y = row[:, 3] * axis[None] + row[:, 4] * axis[:, None] + row[:, 5]
    columns, across = _taps(x, row[:, 7], row[:, 8])
    lines, down = _taps(y, row[:, 6], row[:, 8])
    width = row[:, 7].long()
    total = torch.zeros(len(rows), 4, crop_px, crop_px, device=rows.device)
    for i in range(_TAPS):
        line = start + lines[i] * width
        for j in range(_TAPS):
            total += (down[i] * across[j])[:, None] * _unpacked(pixels[line + columns[j]])
    return total.div_(255).clamp_(0, 1)


def _taps(at: Tensor, size: Tensor, sharpness: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the four pixels around each place on an axis, and their weights."""
    first = at.floor()
    t = at - first
    places, weights = [], []
    for offset in range(-1, _TAPS - 1):
        weight = _cubic(t - offset) * sharpness + (1 - (t - offset).abs()).clamp_min(0) * (
            1 - sharpness
        )
        places.append(_reflected(first + offset, size))
        weights.append(weight)
    return places, weights


def _cubic(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x - 4
    return torch.where(x <= 1, near, torch.where(x < 2, _CUBIC * far, 0.0))


def _reflected(place: Tensor, size: Tensor) -> Tensor:
    """Return places on an axis, those past its ends reflected without repeating the end."""
    last = (size - 1).clamp_min(1)
    folded = last - (place.remainder(2 * last) - last).abs()
    return folded.clamp_max(size - 1).long()


def _packed(rgba: Tensor) -> Tensor:
    """(4, H, W) in 0..255 to (H, W) int32, a byte a channel."""
    channels = rgba.round().to(torch.int32)
    return channels[0] | channels[1] << 8 | channels[2] << 16 | channels[3] << 24


def _unpacked(pixels: Tensor) -> Tensor:
    """(N, S, S) int32 to (N, 4, S, S) float32 in 0..255."""
    return torch.stack([pixels >> shift & 255 for shift in (0, 8, 16, 24)], dim=1).float()
