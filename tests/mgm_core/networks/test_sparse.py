import numpy as np
import pytest
import torch

from mgm_core.matting.matter import Matter
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.prn import PRN
from mgm_core.networks.sparse import decode_windows, decoded_share, windows


def test_windows_hold_all_that_is_needed_and_have_one_size_within_the_picture():
    generator = np.random.default_rng(0)
    for _ in range(20):
        needed = generator.random((256, 320)) < 0.0001
        needed[0, 0] = needed[-1, -1] = True
        found = windows(needed, 32, 8)
        covered = np.zeros_like(needed)
        for inner, outer in found:
            covered[inner] = True
            for i, o, length in zip(inner, outer, needed.shape, strict=True):
                assert 0 <= o.start <= i.start < i.stop <= o.stop <= length
                assert o.stop - o.start == 48
                assert o.start % 8 == 0
                # The halo ends only where the picture does.
                assert i.start - o.start >= 8 or o.start == 0
                assert o.stop - i.stop >= 8 or o.stop == length
        assert covered[needed].all()
        assert decoded_share(found, needed.shape) == len(found) * 48**2 / needed.size


def test_the_whole_is_decoded_where_windows_cost_as_much():
    assert windows(np.ones((256, 256), np.bool_)) is None
    assert windows(np.ones((32, 512), np.bool_)) is None
    assert windows(np.zeros((256, 256), np.bool_)) == []


def test_windows_are_decoded_where_they_are():
    needed = np.zeros((160, 160), np.bool_)
    needed[100, 30] = True
    found = windows(needed, 32, 16)
    pixels = torch.arange(160.0 * 160).reshape(1, 1, 160, 160)
    whole, plane = pixels + 1, torch.zeros(1, 1, 160, 160)
    coarse = pixels[..., ::8, ::8]
    seen = []

    def decode(x, x8):
        seen.append((x.shape, x8.shape))
        return (x + 1,)

    decode_windows(decode, [(pixels, 1), (coarse, 8)], found, [plane])
    assert seen == [((1, 1, 64, 64), (1, 1, 8, 8))]
    inner = found[0].inner
    assert (plane[0, 0][inner] == whole[0, 0][inner]).all()
    assert plane.count_nonzero() == 32 * 32


@pytest.mark.parametrize(
    ("weights", "around"), [("prn_mobilenet_v2", "replicate"), ("prn_resnet34", "constant")]
)
def test_sparse_alpha_is_the_dense_one_but_for_what_lies_far_beyond_the_halo(
    weights, around, pictures
):
    network = load_prn(weights).eval()
    head = torch.from_numpy(np.ascontiguousarray(pictures["astronaut"][:256, 100:356]))
    # Beside what each network is certain of.
    image = torch.nn.functional.pad(head.permute(2, 0, 1)[None] - 0.5, (0, 512, 0, 128), around)
    image += 0.5
    guidance = torch.zeros(1, 1, 384, 768)
    guidance[..., 60:256, 40:200] = 1
    with torch.inference_mode():
        dense = network.refined(network(image, guidance)).alpha
        sparse, skipped = network.sparse_alpha(image, guidance)
    assert 0.1 < skipped < 1
    difference = (sparse - dense).abs()
    assert difference.mean() < 1 / 255
    assert difference.quantile(0.999) < 12 / 255
    assert not sparse.equal(dense)

    wanted = torch.zeros(1, 1, 384, 768, dtype=torch.bool)
    wanted[..., 60:90, 90:150] = True
    with torch.inference_mode():
        part, less = network.sparse_alpha(image, guidance, wanted)
    assert less > skipped
    assert (part - dense)[wanted].abs().mean() < 1 / 255
    assert not part[~wanted].equal(sparse[~wanted])


def test_a_batch_is_decoded_as_its_images_are():
    torch.manual_seed(0)
    network = PRN("mobilenet_v2").eval()
    image, guidance = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96).round()
    with torch.inference_mode():
        both, _ = network.sparse_alpha(image, guidance)
        for n in range(2):
            alone, _ = network.sparse_alpha(image[n : n + 1], guidance[n : n + 1])
            torch.testing.assert_close(both[n : n + 1], alone, atol=1e-5, rtol=0)


def test_other_fusions_are_decoded_everywhere():
    torch.manual_seed(0)
    network = PRN("mobilenet_v2", "last")
    matter = Matter(network, device="cpu", dtype="float32")
    image = np.full((64, 64, 3), 0.5, np.float32)
    guidance = np.zeros((64, 64), np.float32)
    matte = matter.matte(image, guidance, levels=True)
    assert np.array_equal(matte.alpha, matte.os1)
    assert np.array_equal(matter.matte(image, guidance).alpha, matte.os1)
