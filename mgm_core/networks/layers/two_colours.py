"""Where each pixel lies between the colours of the subject and of the background around it.

A coarse alpha tells which places are surely subject and which surely background. Their mean
colours, near and further off, span a line at each place; where a pixel's colour lies on it is the
simplest matting there is, and tells strands from what is behind them much more finely than features
at stride 4 can. The network learns where to believe it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["COARSE_PLANES", "FINE_PLANES", "line_ends", "places_on_lines"]

COARSE_PLANES = 4  # at stride 4: place on the line, distance from it, contrast, certainty
FINE_PLANES = 10  # at stride 2: the first two of each of four pixels, contrast, certainty

_CELL_PX = 8
_SURE = 0.1  # alpha is surely 0 or 1 up to this far from it, the less the further
_WINDOW = 5  # cells; of cells four times as large for what is further off
_FAR_CELLS = 4
_FAR_SHARE = 0.03
_LEAST_WEIGHT = 1e-3
_LEAST_CONTRAST = 0.02  # squared, in standard deviations of colours
_LIMITS = (-0.5, 1.5)
_FURTHEST = 3.0


@torch.no_grad()
def line_ends(inputs: Tensor, alpha: Tensor) -> Tensor:
    """Return the lines between the colours around each place; no gradient flows through them.

    Args:
        inputs: (N, 4, H, W), normalised colours first; H and W multiples of 32.
        alpha: (N, 1, H/8, W/8) coarse alpha in [0, 1].

    Returns:
        (N, 7, H/8, W/8) float32: the background's mean colour, the way to the subject's, and how
        certain both are.
    """
    return _ends(F.avg_pool2d(inputs[:, :3].float(), _CELL_PX), alpha.float())


@torch.no_grad()
def places_on_lines(inputs: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the colours around say of each pixel; no gradient flows through it.

    Args:
        inputs: (N, 4, H, W), normalised colours first; H and W multiples of 8.
        ends: (N, 7, H/8, W/8), as `line_ends` returns them.

    Returns:
        Planes at stride 4, (N, COARSE_PLANES, H/4, W/4), and at stride 2, (N, FINE_PLANES, H/2,
        W/2), whose pixels come in the order of `pixel_unshuffle`; float32.
    """
    image = inputs[:, :3].float()
    coarse = _placed([F.avg_pool2d(image, 4)[:, c : c + 1] for c in range(3)], ends, 2)
    pixels = F.pixel_unshuffle(image, 2)
    fine = _placed([pixels[:, 4 * c : 4 * c + 4] for c in range(3)], ends, 4)
    return coarse, fine


def _ends(cells: Tensor, alpha: Tensor) -> Tensor:
    """Return the background's mean colour, the way to the subject's, and how certain both are.

    Args:
        cells: (N, 3, h, w) colours.
        alpha: (N, 1, h, w).

    Returns:
        (N, 7, h, w): three, three and one planes.
    """
    subject = (1 - (1 - alpha) / _SURE).clamp_min(0)
    background = (1 - alpha / _SURE).clamp_min(0)
    weighted = torch.cat([cells * subject, cells * background, subject, background], dim=1)
    reach = _WINDOW // 2
    near = F.avg_pool2d(weighted, _WINDOW, 1, reach)
    far = F.avg_pool2d(F.avg_pool2d(weighted, _FAR_CELLS), _WINDOW, 1, reach)
    far = F.interpolate(far, scale_factor=float(_FAR_CELLS), mode="bilinear", align_corners=False)
    sums = near + _FAR_SHARE * far
    weights = sums[:, 6:]
    certain = weights / (weights + _LEAST_WEIGHT)
    foreground = sums[:, :3] / (weights[:, :1] + _LEAST_WEIGHT)
    behind = sums[:, 3:6] / (weights[:, 1:] + _LEAST_WEIGHT)
    return torch.cat([behind, foreground - behind, certain[:, :1] * certain[:, 1:]], dim=1)


def _placed(colours: list[Tensor], ends: Tensor, scale: int) -> Tensor:
    """Return where pixels lie on their lines.

    Args:
        colours: Red, green and blue, each (N, K, h, w): K pixels at each place.
        ends: As `_ends` gives them, `scale` times smaller.
        scale: How much they are to be enlarged.

    Returns:
        (N, 2 K + 2, h, w).
    """
    ends = F.interpolate(ends, scale_factor=float(scale), mode="bilinear", align_corners=False)
    length = ends[:, 3:6].square().sum(1, keepdim=True)
    along = torch.zeros_like(colours[0])
    squared = torch.zeros_like(colours[0])
    for c, plane in enumerate(colours):
        offset = plane - ends[:, c : c + 1]
        along += offset * ends[:, 3 + c : 4 + c]
        squared += offset.square()
    place = (along / (length + _LEAST_CONTRAST)).clamp(*_LIMITS)
    apart = (squared - 2 * place * along + place.square() * length).clamp_min(0).add(1e-6).sqrt()
    contrast = (length + 1e-6).sqrt().clamp_max(_FURTHEST)
    return torch.cat([place, apart.clamp_max(_FURTHEST), contrast, ends[:, 6:]], dim=1)
