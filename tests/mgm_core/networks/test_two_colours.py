import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mgm_core.networks.layers.two_colours import (
    COARSE_PLANES,
    FINE_PLANES,
    line_ends,
    places_on_lines,
)

SIDE = 128
RED, BLUE = torch.tensor([1.2, -0.4, -0.6]), torch.tensor([-0.5, -0.1, 1.5])


@pytest.fixture
def soft():
    """A red subject on the left of a blue ground, with stripes of every alpha between them."""
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., :48] = 1
    alpha[..., 48:64] = torch.rand(SIDE, 16, generator=torch.Generator().manual_seed(0))
    colours = alpha * RED[:, None, None] + (1 - alpha) * BLUE[:, None, None]
    return torch.cat([colours, torch.zeros_like(alpha)], dim=1), alpha


def _coarse(alpha):
    """What a network may know: sure where it is, a half in between."""
    cells = F.avg_pool2d(alpha, 8)
    return torch.where((cells == 0) | (cells == 1), cells, 0.5)


def two_colours(inputs, alpha):
    return places_on_lines(inputs, line_ends(inputs, alpha))


def test_between_two_colours_the_place_is_alpha(soft):
    inputs, alpha = soft
    coarse, fine = two_colours(inputs, _coarse(alpha))
    assert coarse.shape == (1, COARSE_PLANES, SIDE // 4, SIDE // 4)
    assert fine.shape == (1, FINE_PLANES, SIDE // 2, SIDE // 2)
    band = np.s_[..., 48:64]
    place = F.pixel_shuffle(fine[:, :4], 2)
    torch.testing.assert_close(place[band], alpha[band], atol=0.03, rtol=0)
    assert F.pixel_shuffle(fine[:, 4:8], 2)[band].max() < 0.06  # on the line
    expected = F.avg_pool2d(alpha, 4)[..., 12:16]
    torch.testing.assert_close(coarse[:, :1, :, 12:16], expected, atol=0.03, rtol=0)
    contrast = float((RED - BLUE).norm())
    torch.testing.assert_close(
        fine[:, 8, :, 24:32].mean().item(), contrast, atol=0.05 * contrast, rtol=0
    )
    assert fine[:, 9, :, 24:32].min() > 0.9


def test_a_third_colour_lies_apart_from_the_line(soft):
    inputs, alpha = soft
    inputs[:, :3, 60:68, 52:60] = torch.tensor([0.0, 2.0, 0.0])[:, None, None]
    fine = two_colours(inputs, _coarse(alpha))[1]
    apart = F.pixel_shuffle(fine[:, 4:8], 2)
    assert apart[..., 60:68, 52:60].min() > 1
    assert apart[..., 20:28, 52:60].max() < 0.1


def test_where_one_side_is_nowhere_nothing_is_certain(soft):
    inputs, _ = soft
    for value in (0.0, 1.0, 0.5):
        coarse, fine = two_colours(inputs, torch.full((1, 1, SIDE // 8, SIDE // 8), value))
        assert coarse[:, -1].max() == 0
        assert fine[:, -1].max() == 0
        assert torch.isfinite(fine).all()


def test_far_colours_count_where_none_are_near():
    alpha = torch.zeros(1, 1, 192, 192)
    alpha[..., :32] = 1
    coarse_alpha = torch.full((1, 1, 24, 24), 0.5)
    coarse_alpha[..., :4], coarse_alpha[..., 16:] = 1.0, 0.0
    colours = alpha * RED[:, None, None] + (1 - alpha) * BLUE[:, None, None]
    inputs = torch.cat([colours, torch.zeros_like(alpha)], dim=1)
    fine = two_colours(inputs, coarse_alpha)[1]
    assert fine[:, 9, :, 36:44].min() > 0.1  # 48 px from both
    assert fine[:, :4, :, 36:44].abs().max() < 0.25  # blue


def test_the_coarse_alpha_learns_nothing_from_it(soft):
    inputs, alpha = soft
    coarse_alpha = _coarse(alpha).requires_grad_()
    assert not any(planes.requires_grad for planes in two_colours(inputs, coarse_alpha))
