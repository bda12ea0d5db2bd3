import urllib.error

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import segmentation as torchvision_segmentation

from mgm_core.choices import CATEGORIES, PERMISSIVE, SEGMENTERS, SegmenterError, classes_of
from mgm_core.matting.enlarge import guided_filter
from mgm_core.networks.segmenter_net import (
    PERSON,
    PersonNetwork,
    PortraitNetworks,
    class_odds,
    corner_aligned_logits,
    portrait_deeplab,
)
from mgm_core.segmentation import Segmenter, enlarged, without_bystanders


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(4)
    networks = PortraitNetworks(PersonNetwork(), portrait_deeplab())
    return Segmenter("portrait", networks, device="cpu", dtype="float32")


def _image(height, width):
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def test_the_portrait_deeplab_is_the_module_that_its_weights_are_for():
    network = portrait_deeplab().eval()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.1e6, rel=0.05)
    logits = corner_aligned_logits(network, torch.zeros(1, 3, 129, 65))
    assert logits.shape == (1, 21, 129, 65)
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, 129, 65))["out"]
    assert features.shape == (1, 320, 17, 9)  # output stride 8


def test_the_decoder_begins_with_enlarging_and_then_corrects_each_pixel_at_stride_2():
    torch.manual_seed(1)
    network = PersonNetwork().eval()
    x = torch.rand(1, 3, 65, 97) * 2 - 1
    with torch.inference_mode():
        odds = network(x)
        assert odds.shape == (1, 1, 33, 49)
        coarse = class_odds(network.classifier(network.backbone(x)["out"]))
        enlarged_odds = F.interpolate(coarse, (33, 49), mode="bilinear", align_corners=True)
        torch.testing.assert_close(odds, enlarged_odds, atol=1e-4, rtol=1e-4)
        network.edges.correction.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
        correction = network(x) - odds
    blocks = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(17, 25)[:-1, :-1]
    torch.testing.assert_close(correction[0, 0], blocks, atol=1e-4, rtol=1e-4)


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


def test_enlarging_keeps_corners_where_they_are():
    plane = np.array([[0.0, 1.0]], np.float32)
    assert enlarged(plane, (1, 5), corner_aligned=True).tolist() == [[0, 0.25, 0.5, 0.75, 1]]


def test_bad_settings_are_named(segmenter):
    with pytest.raises(ValueError, match=r"category must be one of animal, .* got 'unicorn'"):
        classes_of("unicorn")
    with pytest.raises(ValueError, match="long_side_px must lie between 65 and 2049, got 20"):
        segmenter.probability(_image(40, 40), long_side_px=20)
    with pytest.raises(ValueError, match=r"segmenter must be one of portrait, .* got 'sam'"):
        Segmenter.load("sam")


@pytest.mark.parametrize("name", [n for n in SEGMENTERS if "deeplab" in n])
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


def test_the_permissive_segmenter_finds_the_same_person_by_weights_of_its_own(pictures):
    research, permissive = (Segmenter.load(n, device="cpu") for n in ("portrait", PERMISSIVE))
    found = [s.probability(pictures["astronaut"]) for s in (research, permissive)]
    assert not np.array_equal(*found)
    a, b = (p > 0.5 for p in found)
    assert (a & b).sum() > 0.75 * (a | b).sum()  # with or without her helmet
    cat = permissive.probability(pictures["chelsea"], "cat")
    assert (cat[100:250, 150:300] > 0.5).mean() > 0.9  # the other categories are `portrait`'s


def test_the_bundled_segmenter_finds_the_person_and_the_cat(pictures):
    segmenter = Segmenter.load(device="cpu", dtype="float32")
    astronaut = segmenter.probability(pictures["astronaut"])
    assert (astronaut[200:500, 150:250] > 0.5).mean() > 0.98  # collar and suit
    assert (astronaut[:150, 420:] > 0.5).mean() < 0.02  # the shuttle behind her
    cat = segmenter.probability(pictures["chelsea"], "cat")
    assert (cat[100:250, 150:300] > 0.5).mean() > 0.98
    assert (segmenter.probability(pictures["chelsea"], "person") > 0.5).mean() < 0.02


class _SeesFromAbove(torch.nn.Module):
    """Stands for a network: finds people in so much of the image from above, and notes sizes."""

    def __init__(self, share):
        super().__init__()
        self.share, self.sizes = share, []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        height, width = x.shape[2:]
        area = torch.arange(height)[:, None] < self.share * height
        return torch.where(area, 9.0, -9.0).expand(1, 1, height, width)


@pytest.mark.parametrize(
    ("share", "sizes"),
    [
        (0.5, [513]),  # 363 px: large enough
        (0.27, [513]),  # 267 px: a view 1.05 times as large is not worth it
        (0.2, [513, 625]),  # 513 * 280 / sqrt(103 * 513), next 8n + 1
        (0.0, [513, 769]),  # nobody found: one and a half times the size is the closest look
    ],
)
def test_small_people_are_looked_at_a_second_time_and_closer(share, sizes):
    network = _SeesFromAbove(share)
    networks = PortraitNetworks(network, torch.nn.Identity())
    segmenter = Segmenter("portrait", networks, device="cpu", dtype="float32")
    found = segmenter.probability(_image(100, 100))
    assert network.sizes == [(1, 3, side, side) for side in sizes]
    assert (found > 0.5).mean() == pytest.approx(share, abs=0.01)
    network.sizes.clear()
    segmenter.probability(_image(100, 100), long_side_px=129)
    assert network.sizes == [(1, 3, 129, 129)]


def test_people_much_smaller_than_the_largest_are_left_out_unless_joined_to_it():
    probability = np.full((40, 100), 0.1, np.float32)
    probability[:, :30] = 0.9  # 1200 px
    probability[10:20, 40:50] = 0.9  # 100 px, joined to them: the largest
    probability[14:16, 30:40] = 0.3
    probability[5:31, 60:70] = 0.8  # 260 px: a fifth
    probability[5:29, 80:90] = 0.8  # 240 px: less
    probability[4, 80:90] = 0.4  # its blurred outline
    found = without_bystanders(probability)
    probability[4:29, 80:90] = 0
    np.testing.assert_array_equal(found, probability)
    nobody = np.full((8, 8), 0.3, np.float32)
    np.testing.assert_array_equal(without_bystanders(nobody), nobody)


class _Bystander(torch.nn.Module):
    """Stands for a network: finds a category at the left and a little of it at the right."""

    def __init__(self, category):
        super().__init__()
        self.category = category

    def backbone(self, x):
        return {"out": x}

    def classifier(self, x):
        logits = torch.zeros(1, len(CATEGORIES), *x.shape[2:])
        logits[0, self.category] = -9.0
        logits[0, self.category, :, : x.shape[3] // 2] = 9.0
        logits[0, self.category, :60, -60:] = 9.0
        return logits

    def forward(self, x):
        return class_odds(self.classifier(x))


@pytest.mark.parametrize(("category", "stays"), [("person", False), ("bird", True)])
def test_bystanders_are_people_and_not_the_rest_of_a_flock(category, stays):
    networks = PortraitNetworks(*(_Bystander(classes_of(category)[0]) for _ in range(2)))
    segmenter = Segmenter("portrait", networks, device="cpu", dtype="float32")
    found = segmenter.probability(_image(100, 100), category)
    assert found[50, 5] > 0.9
    assert (found[5, 95] > 0.9) == stays


def test_people_come_from_one_network_and_the_other_categories_from_the_other(segmenter):
    image = _image(129, 97)
    networks = segmenter.network
    every = segmenter.probabilities(image, long_side_px=129)
    x = torch.from_numpy((image * 2 - 1).transpose(2, 0, 1))[None]
    with torch.inference_mode():
        person = networks.odds(x)[0, 0].sigmoid().numpy()
        classes = corner_aligned_logits(networks.classes, x)[0].softmax(0).numpy()
    np.testing.assert_allclose(every[PERSON], person, atol=1e-5)
    rest = [i for i in range(len(CATEGORIES)) if i != PERSON]
    shares = [p[rest] / p[rest].sum(0) for p in (every, classes)]
    np.testing.assert_allclose(*shares, atol=1e-5)


def test_a_probability_is_the_softmax_of_its_classes_along_the_images_edges(segmenter):
    image = _image(129, 97)
    every = segmenter.probabilities(image, long_side_px=129)
    for category in ("person", "dog", "background", "animal"):
        alone = segmenter.probability(image, category, long_side_px=129)
        softmax = every[[*classes_of(category)]].sum(axis=0)
        np.testing.assert_allclose(alone, guided_filter(image, softmax, 8, 1e-3), atol=1e-5)
