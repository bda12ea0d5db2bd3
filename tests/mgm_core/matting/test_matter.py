import threading

import cv2
import numpy as np
import pytest
import torch

from mgm_core.matting.matter import LEAST_SIDES_PX, MARGIN_PX, Matter
from mgm_core.networks.decoder import SideOutputs
from mgm_core.networks.prn import PRN, refine
from mgm_core.networks.tiling import tiles


@pytest.fixture(scope="module")
def matter():
    torch.manual_seed(3)
    return Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32")


def _pair(height, width, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.random((height, width, 3), dtype=np.float32)
    guidance = np.zeros((height, width), np.float32)
    guidance[height // 4 : height // 2, width // 4 :] = 1
    return image, guidance


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (33, 31), (64, 64), (100, 161)])
def test_any_size_comes_back_as_it_was(matter, size):
    matte = matter.matte(*_pair(*size), levels=True)
    for plane in vars(matte).values():
        assert plane.shape == size
        assert plane.dtype == np.float32
        assert 0 <= plane.min() <= plane.max() <= 1
    assert set(np.unique(matte.self_guidance_os4)) <= {0.0, 1.0}


def test_it_is_deterministic_and_a_batch_equals_single_images(matter):
    first, second = _pair(64, 96, 1), _pair(64, 96, 2)
    batch = matter.matte_batch([first[0], second[0]], [first[1], second[1]], levels=True)
    again = matter.matte(*first).alpha
    assert np.array_equal(again, matter.matte(*first).alpha)
    np.testing.assert_allclose(batch[0].os1, matter.matte(*first, levels=True).os1, atol=1e-5)
    np.testing.assert_allclose(batch[1].os1, matter.matte(*second, levels=True).os1, atol=1e-5)


def test_threads_do_not_disturb_one_another(matter):
    pairs = [_pair(64, 64, seed) for seed in range(4)]
    alone = [matter.matte(*pair).alpha for pair in pairs]
    found = [None] * 4

    def work(i):
        found[i] = matter.matte(*pairs[i]).alpha

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, found, strict=True):
        # Sums are in another order where threads have other shares of the cores.
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_known_regions_are_enforced_and_others_left(matter):
    image, guidance = _pair(64, 64)
    known = np.full((64, 64), 0.5, np.float32)
    known[:8], known[-8:] = 0, 1
    free = matter.matte(image, guidance).alpha
    bound = matter.matte(image, guidance, known=known).alpha
    assert (bound[:8] == 0).all()
    assert (bound[-8:] == 1).all()
    assert np.array_equal(bound[8:-8], free[8:-8])


class _Local(torch.nn.Module):
    """Alpha is the guidance, blurred a little by the levels: what tiles must not change."""

    encoder_name = "mobilenet_v2"

    def forward(self, image, guidance):
        value = guidance * 0.5 + image[:, :1] * 0.25
        return SideOutputs(value, value, value)

    def refined(self, levels):
        return refine(levels)


def test_tiles_join_without_seams():
    whole = Matter(_Local(), device="cpu", dtype="float32", tile_px=1024)
    tiled = Matter(_Local(), device="cpu", dtype="float32", tile_px=256, overlap_px=64)
    image, guidance = _pair(500, 430)
    expected, found = (each.matte(image, guidance, levels=True) for each in (whole, tiled))
    np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-6)
    assert np.array_equal(found.self_guidance_os4, expected.self_guidance_os4)


@pytest.mark.parametrize(
    ("image", "guidance", "message"),
    [
        (np.zeros((20, 20), np.float32), None, r"of shape \(H, W, 3\), got \(20, 20\)"),
        (np.zeros((15, 20, 3), np.float32), None, "sides of 16 px or more, got 20x15"),
        (np.zeros((20, 20, 3), np.uint8), None, "image must be float32 .* got uint8"),
        (np.full((20, 20, 3), 2, np.float32), None, "image must lie in .* got values from 2 to 2"),
        (np.full((20, 20, 3), np.nan, np.float32), None, "image must be finite, got NaN"),
        (None, np.zeros((20, 21), np.float32), "the image's size 20x20, got 21x20"),
        (None, np.zeros((20, 20, 1), np.float32), r"guidance must be of shape \(H, W\)"),
        (None, np.full((20, 20), -1, np.float32), "guidance must lie in"),
    ],
)  # fmt: skip
def test_bad_input_is_named(matter, image, guidance, message):
    image = np.zeros((20, 20, 3), np.float32) if image is None else image
    guidance = np.zeros((20, 20), np.float32) if guidance is None else guidance
    with pytest.raises(ValueError, match=message):
        matter.matte(image, guidance)


def test_bad_batches_and_settings(matter):
    image, guidance = _pair(32, 32)
    with pytest.raises(ValueError, match="as many, and some, got 1 and 2"):
        matter.matte_batch([image], [guidance, guidance])
    with pytest.raises(ValueError, match="one size in a batch"):
        matter.matte_batch([image, image[:20]], [guidance, guidance[:20]])
    with pytest.raises(ValueError, match="multiple of 32 and at least 128, got 100"):
        Matter(PRN("mobilenet_v2"), tile_px=100)
    with pytest.raises(ValueError, match="between 0 and half of tile_px, got 128"):
        Matter(PRN("mobilenet_v2"), tile_px=256, overlap_px=128)


def test_large_images_are_refined_only_where_the_coarse_pass_is_uncertain(monkeypatch):
    fine = Matter(
        _Local(), device="cpu", dtype="float32", tile_px=256, overlap_px=64, coarse_side_px=256
    )
    passes, run = [], fine._alpha._run
    for runner in (fine._alpha, fine._fine_alpha):
        monkeypatch.setattr(
            runner, "_run", lambda *given: passes.append(given[1].shape) or run(*given)
        )
    image = np.zeros((600, 1000, 3), np.float32)
    guidance = np.zeros((600, 1000), np.float32)
    guidance[:, :100] = 1  # _Local leaves what is guided to at 0.5: uncertain on the left alone
    matte = fine.matte(image, guidance)
    assert matte.alpha.shape == (600, 1000)
    # The small copy of 154x256 px in two tiles, with margins where they meet.
    assert passes[:2] == [(1, 1, 160, 192)] * 2
    rows, columns = tiles(600, 1000, 256, 64, MARGIN_PX)
    everywhere = len(rows) * len(columns)
    assert 0 < len(passes) - 2 < everywhere / 2
    assert (matte.alpha[:, 300:] == 0).all()
    # The coarse 0.5 guided the fine pass, which halves it again.
    np.testing.assert_allclose(matte.alpha[:, :80], 0.25, atol=1e-6)
    with pytest.raises(ValueError, match="coarse_side_px must be at least 256 or None, got 10"):
        Matter(_Local(), device="cpu", coarse_side_px=10)


def test_the_second_view_is_mirrored_and_magnified_and_left_out_at_large_images(monkeypatch):
    matter = Matter(_Local(), device="cpu", dtype="float32")
    seen = []
    look = matter._look
    monkeypatch.setattr(matter, "_look", lambda i, g: seen.append(g[0]) or look(i, g))
    image, guidance = _pair(500, 400)
    guidance[:, 350:] = 0
    magnified = matter.magnified_view(image, guidance)
    assert seen[0].shape == (1000, 800)
    assert (magnified.shape, magnified.dtype) == (guidance.shape, np.float32)
    smaller = cv2.resize(seen[0], (400, 500), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(smaller, guidance[:, ::-1], atol=0.5)
    # What is guided is where it was, though it was seen mirrored.
    inside = cv2.erode(guidance, np.ones((9, 9))) > 0
    beside = cv2.dilate(guidance, np.ones((9, 9))) == 0
    assert magnified[inside].min() > magnified[beside].max()
    matter.magnified_view(image, guidance, 1.3)
    assert seen[1].shape == (650, 520)
    monkeypatch.setattr("mgm_core.matting.matter.VIEWS_PX", 500 * 400 * (1 + 1.5**2))
    matter.magnified_view(image, guidance)
    assert seen[2].shape == (750, 600)
    monkeypatch.setattr("mgm_core.matting.matter.VIEWS_PX", 500 * 400 * (1 + 1.04**2))
    assert matter.magnified_view(image, guidance) is None
    assert len(seen) == 3


def test_small_images_are_magnified_for_the_light_network_alone(monkeypatch):
    light = Matter(_Local(), device="cpu", dtype="float32")
    seen, run = [], light._run
    monkeypatch.setattr(
        light, "_run", lambda i, g, **options: seen.append(g[0].shape) or run(i, g, **options)
    )
    image, guidance = np.full((400, 300, 3), 0.4, np.float32), _pair(400, 300)[1]
    matte = light.matte(image, guidance, levels=True)
    light.matte(*_pair(500, 640))
    light.matte(*_pair(900, 300))
    # By half at most; to a long side of 800; not at all.
    assert seen == [(600, 450), (625, 800), (900, 300)]
    asis = Matter(_Local(), device="cpu", dtype="float32", least_side_px=0).matte(image, guidance)
    assert matte.alpha.shape == guidance.shape
    np.testing.assert_allclose(matte.alpha[20::50, 20::50], asis.alpha[20::50, 20::50], atol=0.02)
    assert set(np.unique(matte.self_guidance_os4)) <= {0, 1}
    assert LEAST_SIDES_PX["resnet34"] == 0
    with pytest.raises(ValueError, match="least_side_px must be 0 or more, got -1"):
        Matter(_Local(), device="cpu", least_side_px=-1)


def test_above_the_working_size_the_cost_stays_and_what_is_found_is_enlarged():
    """Counted in pixels that the network and the refinement get."""
    pixels, refined = [], []

    def refiner(image, guidance, views, unknown):
        refined.append(np.count_nonzero(unknown))
        return views[0]

    found = {}
    for limit in (0.25, None):
        for scale in (1, 2, 4):
            network = _Local()
            network.register_forward_pre_hook(lambda _, args: pixels.append(args[1].numel()))
            matter = Matter(
                network,
                device="cpu",
                dtype="float32",
                working_megapixels=limit,
                refiner=lambda weights: refiner,
            )
            image, guidance = _pair(250 * scale, 300 * scale)
            pixels.clear()
            refined.clear()
            matte = matter.matte(image, guidance, refine="full", levels=True)
            found[limit, scale] = sum(pixels), sum(refined)
            assert all(plane.shape == guidance.shape for plane in vars(matte).values())
            assert set(np.unique(matte.self_guidance_os1)) <= {0, 1}
            known = matter.matte(image, guidance, known=guidance).alpha
            assert (known[guidance == 1] == 1).all()
    assert found[0.25, 2][0] <= 1.1 * found[0.25, 4][0] <= 1.2 * found[0.25, 2][0]
    assert found[0.25, 4][1] <= 1.2 * found[0.25, 2][1]
    assert found[None, 4][0] > 1.5 * found[0.25, 4][0]
    assert found[None, 4][1] > 4 * found[0.25, 4][1] > 0
    assert found[None, 1] == found[0.25, 1]
    with pytest.raises(
        ValueError, match=r"working_megapixels must be at least 0\.25 or None, got 0"
    ):
        Matter(_Local(), device="cpu", working_megapixels=0)
