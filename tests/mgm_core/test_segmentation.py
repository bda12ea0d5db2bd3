import urllib.error

import numpy as np
import pytest
import torch
from torchvision.models import segmentation as torchvision_segmentation

from mgm_core.segmentation import (
    CATEGORIES,
    PERSON,
    SEGMENTERS,
    PortraitNetworks,
    Segmenter,
    SegmenterError,
    category_index,
    corner_aligned_logits,
    enlarged,
    half_width_deeplab,
)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(4)
    networks = PortraitNetworks(half_width_deeplab(), half_width_deeplab())
    return Segmenter("portrait", networks, device="cpu", dtype="float32")


def _image(height, width):
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def test_the_half_width_deeplab_is_the_module_that_its_weights_are_for():
    network = half_width_deeplab().eval()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(0.7e6, rel=2)
    logits = corner_aligned_logits(network, torch.zeros(1, 3, 129, 65))
    assert logits.shape == (1, 21, 129, 65)
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, 129, 65))["out"]
    assert features.shape == (1, 160, 17, 9)  # output stride 8


@pytest.mark.parametrize("size", [(40, 60), (300, 200), (16, 500)])
def test_probability_has_the_images_size_and_all_categories_sum_to_one(segmenter, size):
    image = _image(*size)
    probability = segmenter.probability(image, "dog", long_side_px=129)
    assert probability.shape == size
    assert probability.dtype == np.float32
    every = segmenter.probabilities(image, long_side_px=129)
    assert every.shape[0] == len(CATEGORIES) == 21
    np.testing.assert_allclose(every.sum(0), 1, atol=1e-4)
    assert all(side % 8 == 1 for side in every.shape[1:])


def test_people_come_from_one_network_and_the_other_categories_from_the_other(segmenter):
    image = _image(129, 97)
    networks = segmenter.network
    every = segmenter.probabilities(image, long_side_px=129)
    alone = [
        Segmenter("portrait", PortraitNetworks(n, n), device="cpu", dtype="float32").probabilities(
            image, long_side_px=129
        )
        for n in (networks.person, networks.classes)
    ]
    np.testing.assert_allclose(every[PERSON], alone[0][PERSON], atol=1e-5)
    rest = [i for i in range(len(CATEGORIES)) if i != PERSON]
    shares = [p[rest] / p[rest].sum(0) for p in (every, alone[1])]
    np.testing.assert_allclose(*shares, atol=1e-5)
    # A softmax of one network's own logits is what the two make of it.
    x = torch.from_numpy((image * 2 - 1).transpose(2, 0, 1))[None]
    with torch.inference_mode():
        plain = corner_aligned_logits(networks.classes, x)[0].softmax(0).numpy()
    np.testing.assert_allclose(alone[1], plain, atol=1e-5)
    person = segmenter.probability(image, "person", long_side_px=129)
    np.testing.assert_allclose(person, every[PERSON], atol=1e-5)


def test_enlarging_keeps_corners_where_they_are():
    plane = np.array([[0.0, 1.0]], np.float32)
    assert enlarged(plane, (1, 5), corner_aligned=True).tolist() == [[0, 0.25, 0.5, 0.75, 1]]


def test_bad_settings_are_named(segmenter):
    with pytest.raises(ValueError, match=r"category must be one of background, .* got 'unicorn'"):
        category_index("unicorn")
    with pytest.raises(ValueError, match="long_side_px must lie between 65 and 2049, got 20"):
        segmenter.probability(_image(40, 40), long_side_px=20)
    with pytest.raises(ValueError, match=r"segmenter must be one of portrait, .* got 'sam'"):
        Segmenter.load("sam")


@pytest.mark.parametrize("name", [n for n in SEGMENTERS if n != "portrait"])
def test_without_network_the_bundled_one_is_named(name, monkeypatch, tmp_path):
    def refuse(*_args, **_options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(SegmenterError, match=rf"'{name}' must be downloaded .*'portrait'"):
        Segmenter.load(name)


def test_a_downloaded_segmenter_loads_from_torchvisions_cache(monkeypatch, tmp_path):
    """A small local stand-in takes the download's place; the rest is the real code."""
    weights = torchvision_segmentation.DeepLabV3_MobileNet_V3_Large_Weights
    torch.manual_seed(5)
    network = torchvision_segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, aux_loss=True
    )
    file = tmp_path / "hub" / "checkpoints" / weights.COCO_WITH_VOC_LABELS_V1.url.split("/")[-1]
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    segmenter = Segmenter.load("deeplabv3_mobilenet_v3_large", device="cpu", dtype="float32")
    probability = segmenter.probability(_image(50, 70), "cat", long_side_px=97)
    assert probability.shape == (50, 70)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(segmenter.network(image)["out"], network.eval()(image)["out"])


def test_the_bundled_segmenter_finds_the_person_and_the_cat(pictures):
    segmenter = Segmenter.load(device="cpu", dtype="float32")
    astronaut = segmenter.probability(pictures["astronaut"])
    assert (astronaut[200:500, 150:250] > 0.5).mean() > 0.98  # collar and suit
    assert (astronaut[:150, 420:] > 0.5).mean() < 0.02  # the shuttle behind her
    cat = segmenter.probability(pictures["chelsea"], "cat")
    assert (cat[100:250, 150:300] > 0.5).mean() > 0.98
    assert (segmenter.probability(pictures["chelsea"], "person") > 0.5).mean() < 0.02


class _Looks(PortraitNetworks):
    """Sees people in so much of the image from above, and keeps the sizes it was shown."""

    def __init__(self, share):
        super().__init__(torch.nn.Identity(), torch.nn.Identity())
        self.share, self.sizes = share, []

    def odds(self, x):
        self.sizes.append(tuple(x.shape))
        height, width = x.shape[2:]
        area = (torch.arange(height)[:, None] < self.share * height).expand(height, width)
        return torch.where(area, 4.0, -4.0)[None, None].repeat(len(x), 1, 1, 1)


@pytest.mark.parametrize(
    ("share", "sizes"),
    [
        (0.5, [385, 513]),  # large enough: a third closer
        (0.2, [385, 537]),  # 385 * 240 / sqrt(77 * 385), next 8n + 1
        (0.0, [385, 769]),  # nobody found: twice the size is the closest look
    ],
)
def test_people_are_looked_at_closer_the_smaller_they_are(share, sizes):
    networks = _Looks(share)
    found = Segmenter("portrait", networks, device="cpu", dtype="float32").probability(
        _image(100, 100)
    )
    assert networks.sizes == [(2, 3, side, side) for side in sizes]
    assert (found > 0.5).mean() == pytest.approx(share, abs=0.01)
    networks.sizes.clear()
    Segmenter("portrait", networks, device="cpu", dtype="float32").probability(
        _image(100, 100), long_side_px=129
    )
    assert networks.sizes == [(1, 3, 129, 129)]


def test_people_are_found_alike_in_the_mirrored_image(pictures):
    segmenter = Segmenter.load(device="cpu", dtype="float32")
    image = pictures["astronaut"]
    mirror = np.ascontiguousarray(image[:, ::-1])
    found, mirrored = segmenter.probability(image), segmenter.probability(mirror)
    np.testing.assert_allclose(mirrored[:, ::-1], found, atol=1e-3)
    single = [segmenter.probability(i, long_side_px=385) for i in (image, mirror)]
    assert np.abs(single[1][:, ::-1] - single[0]).max() > 0.1
