"""Losses of the matting network, as named terms (Eqs. 4 and 5).

All terms depend on the difference of prediction and truth alone, which is formed and modulated by
the self-guidance once: the Laplacian pyramid is linear, so that one pyramid of the difference
serves where two were needed.

Source: section 3.1, "Training scheme".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.distributed import mean_over_processes

Terms = dict[str, Tensor]

PYRAMID_LEVELS = 5
LEVEL_NAMES = ("os8", "os4", "os1")
_LEAST_ERROR = 0.02  # mean absolute one of an example; smaller ones count no more
_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)


def l1(difference: Tensor, area: Tensor) -> Tensor:
    """Return the mean absolute difference over the modulated area.

    Args:
        difference: (prediction - truth) times g_l, (N, C, H, W).
        area: Number of pixels where g_l is one, scalar, at least 1.
    """
    return difference.abs().sum() / (area * difference.shape[1])


def squared(difference: Tensor, area: Tensor) -> Tensor:
    """Return the mean squared difference over the modulated area (our extension).

    Where image and guidance leave several alphas possible, an l1 loss asks for their median, which
    turns half-transparent hair solid. The squared one asks for their mean.

    Args:
        difference: (prediction - truth) times g_l, (N, C, H, W).
        area: Number of pixels where g_l is one, scalar, at least 1.
    """
    return difference.square().sum() / (area * difference.shape[1])


def composition(difference: Tensor, foreground: Tensor, background: Tensor, area: Tensor) -> Tensor:
    """Return the mean absolute error of the image that the predicted alpha composites (Eq. 1).

    Args:
        difference: (prediction - truth) times g_l, (N, 1, H, W).
        foreground: (N, 3, H, W) true colours.
        background: (N, 3, H, W) true colours.
        area: Number of pixels where g_l is one, scalar, at least 1.
    """
    # alpha F + (1 - alpha) B minus the same with the true alpha: (alpha - truth) (F - B).
    return (difference * (foreground - background)).abs().sum() / (area * 3)


def _smooth(x: Tensor, stride: int) -> Tensor:
    """Blur by the 5x5 binomial kernel, one axis after the other, keeping every `stride`-th."""
    channels = x.shape[1]
    kernel = x.new_tensor(_BINOMIAL) / sum(_BINOMIAL)
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    x = F.conv2d(x, kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5), None, (1, stride),
                 groups=channels)  # fmt: skip
    return F.conv2d(x, kernel.view(1, 1, 5, 1).expand(channels, 1, 5, 1), None, (stride, 1),
                    groups=channels)  # fmt: skip


def laplacian(difference: Tensor, area: Tensor, levels: int = PYRAMID_LEVELS) -> Tensor:
    """Return the l1 distance of the two Laplacian pyramids, level i weighted by 2^i.

    Args:
        difference: (prediction - truth) times g_l, (N, C, H, W), sides at least 3 * 2^(levels-1).
        area: Number of pixels where g_l is one, scalar, at least 1.
        levels: Number of pyramid levels.
    """
    total = difference.new_zeros(())
    current = difference
    for level in range(levels):
        coarse = _smooth(current, stride=2)
        enlarged = F.interpolate(coarse, current.shape[2:], mode="bilinear", align_corners=False)
        total = total + 2**level * (current - enlarged).abs().sum()
        current = coarse
    return total / (area * difference.shape[1])


def level_terms(
    prediction: Tensor,
    truth: Tensor,
    self_guidance: Tensor,
    foreground: Tensor | None,
    background: Tensor | None,
    squared_weight: float = 0.0,
) -> Terms:
    """Return the terms of Eq. 4 for one level, modulated by its self-guidance (Eq. 5).

    Args:
        prediction: Raw alpha of the level, (N, 1, H, W).
        truth: True alpha, (N, 1, H, W).
        self_guidance: g_l, (N, 1, H, W), bool or 0 to 1.
        foreground: True colours, or None to leave the composition loss out.
        background: Likewise.
        squared_weight: Weight of the squared difference; 0 leaves it out, as the paper does.
    """
    g = self_guidance.to(prediction.dtype)
    area = mean_over_processes(g.sum()).clamp_min(1.0)
    difference = (prediction - truth) * g
    terms = {"l1": l1(difference, area), "laplacian": laplacian(difference, area)}
    if foreground is not None and background is not None:
        terms["composition"] = composition(difference, foreground, background, area)
    if squared_weight > 0:
        terms["squared"] = squared_weight * squared(difference, area)
    return terms


def balance(supervised: Tensor, difference: Tensor) -> Tensor:
    """Weight examples by how little what is already there errs in them.

    The matting network's error differs fiftyfold between examples, most of all by how ambiguous
    they are. Without weights the few that nobody could solve would decide; with them it counts by
    what share an error becomes smaller. A squared difference that is multiplied by it counts by its
    square.

    Args:
        supervised: (N, 1, H, W), 1 where there is something to learn, else 0.
        difference: (N, 1, H, W), what the matting network, or a mean of candidates, errs by.

    Returns:
        (N, 1, H, W), the weight instead of 1; its mean, over all processes, is 1.
    """
    dimensions = (1, 2, 3)
    area = supervised.sum(dimensions, keepdim=True)
    error = (difference.abs() * supervised).sum(dimensions, keepdim=True) / area.clamp_min(1)
    weight = 1 / (error + _LEAST_ERROR)
    weighted = mean_over_processes((area * weight).sum()).clamp_min(1)
    return supervised * weight * (mean_over_processes(area.sum()) / weighted)


def weighted_sum(terms_of_levels: Sequence[Terms], level_weights: Sequence[float]) -> Terms:
    """Return every term as `level/term` and their weighted sum as `loss` (Eq. 5).

    Args:
        terms_of_levels: Terms of the levels at stride 8, 4 and 1, in this order.
        level_weights: w_0, w_1, w_2; only their proportion matters.
    """
    share = sum(level_weights)
    named: Terms = {}
    total: Tensor | None = None
    for name, terms, weight in zip(LEVEL_NAMES, terms_of_levels, level_weights, strict=True):
        for term, value in terms.items():
            named[f"{name}/{term}"] = value.detach()
            part = value * (weight / share)
            total = part if total is None else total + part
    assert total is not None
    return {"loss": total, **named}


def detach(terms: Terms) -> dict[str, float]:
    """Return the terms as plain numbers, means over all processes."""
    names = list(terms)
    values = torch.stack([terms[name].detach().float() for name in names])
    return dict(zip(names, mean_over_processes(values).tolist(), strict=True))
