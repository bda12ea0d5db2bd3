import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.losses import composition, l1, laplacian, level_terms, squared, weighted_sum


def _case(channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, channels, 48, 64)
    return (torch.rand(shape, generator=generator) for _ in range(3))


def _slow_pyramid(image, levels):
    """Laplacian pyramid of one plane by explicit loops over the 5x5 kernel."""
    row = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(row, row)
    bands = []
    for _ in range(levels):
        padded = np.pad(image, 2, mode="reflect")
        height, width = image.shape
        coarse = np.array(
            [
                [(padded[y : y + 5, x : x + 5] * kernel).sum() for x in range(0, width, 2)]
                for y in range(0, height, 2)
            ]
        )
        enlarged = F.interpolate(
            torch.from_numpy(coarse)[None, None], image.shape, mode="bilinear", align_corners=False
        )[0, 0].numpy()
        bands.append(image - enlarged)
        image = coarse
    return bands


def test_l1_of_a_case_by_hand():
    difference = torch.tensor([[[[0.0, -0.5], [1.0, 0.0]]]])
    assert l1(difference, torch.tensor(4.0)).item() == pytest.approx(1.5 / 4)
    assert l1(difference, torch.tensor(2.0)).item() == pytest.approx(1.5 / 2)


def test_squared_of_a_case_by_hand():
    difference = torch.tensor([[[[0.0, -0.5], [1.0, 0.0]]]])
    assert squared(difference, torch.tensor(4.0)).item() == pytest.approx(1.25 / 4)
    assert squared(difference, torch.tensor(2.0)).item() == pytest.approx(1.25 / 2)


def test_the_squared_term_is_weighted_and_left_out_unless_asked_for():
    alpha, truth, g = _case()
    assert "squared" not in level_terms(alpha, truth, g, None, None)
    found = level_terms(alpha, truth, g, None, None, 4.0)["squared"]
    expected = 4 * ((alpha - truth) * g).square().sum() / g.sum()
    torch.testing.assert_close(found, expected)


def test_l1_asks_for_the_median_and_squared_for_the_mean():
    truths = torch.tensor([0.2, 1.0, 1.0])
    candidates = torch.linspace(0, 1, 101)
    area = torch.tensor(3.0)

    def best(loss):
        losses = [loss((c - truths).view(3, 1, 1, 1), area).item() for c in candidates]
        return candidates[int(np.argmin(losses))].item()

    assert best(l1) == pytest.approx(1.0)
    assert best(squared) == pytest.approx(0.73, abs=0.006)


def test_composition_is_the_error_of_the_composite():
    alpha, truth, g = _case()
    foreground, background, _ = _case(channels=3, seed=1)
    predicted = alpha * foreground + (1 - alpha) * background
    true = truth * foreground + (1 - truth) * background
    expected = (g * (predicted - true)).abs().sum() / (3 * g.sum())
    found = composition((alpha - truth) * g, foreground, background, g.sum())
    torch.testing.assert_close(found, expected)


def test_laplacian_agrees_with_two_slow_pyramids():
    alpha, truth, g = _case()
    difference = (alpha - truth) * g
    expected = 0.0
    for n in range(2):
        ours = _slow_pyramid((alpha * g)[n, 0].double().numpy(), 3)
        theirs = _slow_pyramid((truth * g)[n, 0].double().numpy(), 3)
        expected += sum(2**i * np.abs(a - b).sum() for i, (a, b) in enumerate(zip(ours, theirs)))  # noqa: B905 - of one length by construction
    found = laplacian(difference, g.sum(), levels=3).item()
    assert found == pytest.approx(expected / g.sum().item(), rel=1e-4)


def test_only_the_self_guidance_counts():
    alpha, truth, _ = _case()
    g = torch.zeros(2, 1, 48, 64)
    g[..., :24, :] = 1
    spoiled = alpha.clone()
    spoiled[..., 24:, :] = 0.77
    for name, value in level_terms(alpha, truth, g, None, None).items():
        torch.testing.assert_close(value, level_terms(spoiled, truth, g, None, None)[name])


def test_an_empty_self_guidance_gives_zero_and_no_nan():
    alpha, truth, _ = _case()
    alpha.requires_grad_()
    terms = level_terms(alpha, truth, torch.zeros_like(truth), None, None)
    sum(terms.values()).backward()
    assert all(value.item() == 0 for value in terms.values())
    assert torch.isfinite(alpha.grad).all()


def test_levels_are_weighted_by_proportion_and_named():
    one = {"l1": torch.tensor(1.0)}
    two = {"l1": torch.tensor(2.0), "laplacian": torch.tensor(4.0)}
    named = weighted_sum([one, two, one], (1, 2, 3))
    assert named["loss"].item() == pytest.approx((1 * 1 + 2 * 6 + 3 * 1) / 6)
    assert named["os4/laplacian"].item() == 4
    assert set(named) == {"loss", "os8/l1", "os4/l1", "os4/laplacian", "os1/l1"}
    assert named["loss"].item() == pytest.approx(
        weighted_sum([one, two, one], (10, 20, 30))["loss"].item()
    )
