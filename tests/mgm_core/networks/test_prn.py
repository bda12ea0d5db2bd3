import cv2
import numpy as np
import pytest
import torch
from official import GOLDEN, official_state

from mgm_core.matting.matter import Matter
from mgm_core.networks.checkpoint import fold_spectral_norm, load_checked
from mgm_core.networks.decoder import SideOutputs
from mgm_core.networks.prn import PRN, refine
from mgm_core.networks.refinement import (
    _dilated_on_device,
    dilated,
    fuse,
    self_guidance_mask,
    uncertain,
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "official_outputs.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def official_matter():
    network = PRN("resnet34")
    load_checked(network, fold_spectral_norm(official_state()), "the golden rule")
    return Matter(network, device="cpu", dtype="float32")


def test_every_output_agrees_with_the_authors_network(official_matter, golden):
    image = cv2.imread(str(GOLDEN / "image.png"))[..., ::-1].astype(np.float32) / 255
    mask = cv2.imread(str(GOLDEN / "mask.png"), cv2.IMREAD_GRAYSCALE)
    guidance = (mask >= 128).astype(np.float32)
    matte = official_matter.matte(np.ascontiguousarray(image), guidance, levels=True)
    frame = np.s_[32 : 32 + mask.shape[0], 32 : 32 + mask.shape[1]]
    for name in ("os8", "os4", "os1"):
        expected = golden[f"alpha_{name}"].squeeze()[frame]
        np.testing.assert_allclose(getattr(matte, name), expected, atol=1e-4)
    np.testing.assert_allclose(matte.alpha, golden["fused"], atol=1e-4)


def test_refinement_agrees_with_the_authors_exactly(golden):
    levels = SideOutputs(
        *(
            torch.from_numpy(golden[f"fusion_in_{name}"]).reshape(1, 1, 100, 160)
            for name in ("os8", "os4", "os1")
        )
    )
    refined = refine(levels)
    assert np.array_equal(refined.alpha.squeeze().numpy(), golden["fusion_out"].squeeze())
    for name in ("os4", "os1"):
        mask = getattr(refined, f"self_guidance_{name}").squeeze().numpy()
        assert np.array_equal(mask, golden[f"fusion_g{name[2]}"].squeeze() > 0.5)
        assert 0 < mask.mean() < 1  # the case says something


@pytest.mark.parametrize("encoder", ["resnet34", "mobilenet_v2"])
def test_side_outputs_have_the_inputs_size_and_range_and_every_weight_a_gradient(encoder):
    torch.manual_seed(0)
    network = PRN(encoder).train()
    levels = network(torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96))
    for level in levels:
        assert level.shape == (2, 1, 64, 96)
        assert 0 <= level.min() <= level.max() <= 1
    sum(level.square().mean() for level in levels).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("encoder", ["resnet34", "mobilenet_v2"])
def test_a_batch_of_two_equals_single_twice(encoder):
    torch.manual_seed(1)
    network = PRN(encoder).eval()
    image, guidance = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        both = network(image, guidance)
        each = [network(image[i : i + 1], guidance[i : i + 1]) for i in range(2)]
    for level, *singles in zip(both, *each, strict=True):
        torch.testing.assert_close(level, torch.cat(singles), atol=1e-5, rtol=1e-4)


def test_unknown_encoder():
    with pytest.raises(ValueError, match="encoder must be 'resnet34' or 'mobilenet_v2', got 'vgg'"):
        PRN("vgg")


def test_uncertain_is_what_eight_bits_do_not_store_as_0_or_255():
    alpha = torch.tensor([0.0, 0.9 / 255, 1.0 / 255, 0.5, 1 - 1.0 / 255, 1 - 0.9 / 255, 1.0])
    assert uncertain(alpha).tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("kernel_px", [1, 2, 7, 14, 29])
def test_dilation_agrees_with_its_slow_twin_on_every_device_path(kernel_px):
    generator = torch.Generator().manual_seed(kernel_px)
    mask = torch.rand(1, 1, 20, 26, generator=generator) > 0.99
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    anchor = kernel_px // 2
    expected = np.zeros((20, 26), bool)
    for sy, sx in np.argwhere(mask[0, 0].numpy()):
        for dy, dx in np.argwhere(kernel):
            y, x = sy - dy + anchor, sx - dx + anchor
            if 0 <= y < 20 and 0 <= x < 26:
                expected[y, x] = True
    assert np.array_equal(dilated(mask, [kernel_px])[0, 0].numpy(), expected)
    assert np.array_equal(_dilated_on_device(mask, [kernel_px])[0, 0].numpy(), expected)


def test_each_mask_of_a_batch_has_its_own_kernel():
    mask = torch.zeros(2, 1, 9, 9, dtype=torch.bool)
    mask[:, :, 4, 4] = True
    assert dilated(mask, [1, 5]).sum((1, 2, 3)).tolist() == [1, 17]
    with pytest.raises(ValueError, match="one diameter for each of 2 masks, got 1"):
        dilated(mask, [3])


def test_confident_regions_are_kept_and_uncertain_ones_replaced():
    coarser = torch.tensor([[[[0.0, 0.0, 0.5, 1.0, 1.0]]]])
    finer = torch.full_like(coarser, 0.25)
    g = self_guidance_mask(coarser, [3])
    assert g.tolist() == [[[[False, True, True, True, False]]]]
    assert fuse(coarser, finer, g).tolist() == [[[[0.0, 0.25, 0.25, 0.25, 1.0]]]]
