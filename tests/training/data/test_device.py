"""Examples made on the computing device: every step against the twin that makes them one by one."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_data import config_text

from training.__main__ import main
from training.config import ConfigError, load
from training.data import augmentation, composites, guidance_noise, shapes
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import Composites
from training.data.device import augmentation as device_augmentation
from training.data.device import composites as device_composites
from training.data.device.cache import DeviceCache
from training.data.device.composites import DeviceComposites, affine_maps
from training.data.device.foregrounds import DeviceForegrounds
from training.data.device.images import DeviceImages, Views, pyramid_px
from training.data.grown_hair import GrownHair
from training.data.sources import is_held_out
from training.loop import Trainer
from training.tasks.prn import PRNTask
from training.tasks.segmenter import SegmenterTask
from training.tools.pack import pack

CPU = torch.device("cpu")
SHAPES = '[[data.sources]]\nkind = "shapes"\npath = "backgrounds"\nshare = 3.0\n'


@pytest.fixture(autouse=True)
def _shapes_are_small(monkeypatch):
    """A ninth of the pixels: those of 480 px take seconds each, most of them for hair."""
    monkeypatch.setattr(shapes, "SIDE_PX", 160)


def _config(tmp_path, data, corrections=(), extra="", task="prn", steps=20):
    path = tmp_path / "config.toml"
    text = config_text(data, tmp_path / "run", steps, task)
    path.write_text(text.replace("[guidance]", f"{extra}[guidance]"))
    few = ["data.on_device=true", "data.made_up=4", "data.made_up_first=2", "data.max_side_px=480"]
    return load(path, [*few, *corrections])


def _pictures():
    generator = np.random.default_rng(0)
    sizes = ((70, 91), (33, 64), (120, 50), (1, 1))
    noise = [generator.integers(0, 256, (*size, 4), dtype=np.uint8) for size in sizes]
    return [np.asarray(cv2.GaussianBlur(n, (0, 0), 2)).reshape(n.shape) for n in noise]


def _device_images():
    pictures = _pictures()
    images = DeviceImages(sum(pyramid_px(*p.shape[:2]) for p in pictures), len(pictures), CPU)
    for slot, picture in enumerate(pictures):
        images.put(slot, picture)
    return images, pictures


def _map(scale, angle, centre):
    """The map from a crop of 64 px to the picture, and the one back, as OpenCV takes it."""
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c, -s], [s, c]])
    forth = np.hstack([linear, (32 - linear @ centre)[:, None]])
    back = np.linalg.inv(linear)
    return np.hstack([back, (centre - back @ [32, 32])[:, None]]), forth


@pytest.mark.parametrize("scale", [1.0, 1.7])
@pytest.mark.parametrize("sharpness", [0, 1])
def test_crops_are_those_of_opencv(scale, sharpness):
    images, pictures = _device_images()
    maps, forth = _map(scale, 0.4, np.array([45.0, 30.0]))
    found = images.sampled(Views(np.array([0]), maps[None], np.array([float(sharpness)])), 64)
    interpolation = cv2.INTER_CUBIC if sharpness else cv2.INTER_LINEAR
    expected = cv2.warpAffine(
        pictures[0], forth, (64, 64), None, interpolation, cv2.BORDER_REFLECT_101
    )
    difference = abs(found[0].numpy().transpose(1, 2, 0) * 255 - expected)
    assert difference.max() < (0.51 if sharpness else 2.5)  # OpenCV's linear weights have 5 bits


@pytest.mark.parametrize("scale", [0.5, 0.3])
def test_reduced_crops_average_areas(scale):
    images, pictures = _device_images()
    picture = cv2.GaussianBlur(pictures[0], (0, 0), 4)
    images.put(0, picture)
    maps, forth = _map(scale, 0.4, np.array([45.0, 30.0]))
    found = images.sampled(Views(np.array([0]), maps[None], np.array([1.0])), 64)
    large = forth * 4
    large[:, 2] += 1.5  # the middle of four pixels
    expected = cv2.warpAffine(picture, large, (256, 256), None, cv2.INTER_LINEAR,
                              cv2.BORDER_REFLECT_101)  # fmt: skip
    expected = cv2.resize(expected, (64, 64), None, 0, 0, cv2.INTER_AREA).astype(float)
    difference = abs(found[0].numpy().transpose(1, 2, 0) * 255 - expected)
    assert difference.mean() < 0.25 * expected.std((0, 1)).mean()


def test_a_slot_takes_a_new_picture_and_tells_where_it_does_not_fit():
    images, pictures = _device_images()
    small = pictures[1][:20]
    images.put(0, small)
    identity = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    found = images.sampled(Views(np.array([0]), identity, np.array([0.0])), 16)
    expected = small[:16, :16].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"a picture must fit its place .* lower data.max_side_px"):
        images.put(1, pictures[0])


def test_the_kernel_for_gpus_samples_as_its_twin_does(tmp_path):
    pytest.importorskip("triton")
    script = tmp_path / "script.py"
    script.write_text("""
import numpy as np, torch
from training.data.device import sampling_kernel as pool_kernel
from training.data.device.images import sampled
g = np.random.default_rng(1)
pixels = torch.from_numpy(g.integers(-2**31, 2**31, 9000).astype(np.int32))
sizes = np.array([[70, 91], [33, 64], [1, 1]])
starts = torch.tensor([0, 6370, 8482])
maps = g.normal(0, 1, (3, 6)) * [1, 1, 40, 1, 1, 40]
rows = torch.from_numpy(np.hstack([maps, sizes, [[0.0], [1], [1]]]).astype(np.float32))
twin = sampled(pixels, starts, rows, 19)
torch.testing.assert_close(pool_kernel.sampled(pixels, starts, rows, 19), twin)
assert twin.std() > 0.1
""")
    root = Path(__file__).parents[3]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_affine_maps_centre_scale_and_turn_like_their_twin():
    generator = np.random.default_rng(0)
    centres, scales = np.full((400, 2), [50.0, 80.0]), np.exp(generator.uniform(-1, 1, 400))
    maps = affine_maps(centres, scales, 64, generator)
    where = maps @ np.array([32.0, 32.0, 1.0])
    assert abs(where - centres).max() < 1.5 * 0.15 * 64 / scales.min()
    determinants = np.linalg.det(maps[:, :, :2])
    np.testing.assert_allclose(abs(determinants), scales**-2.0)
    assert 150 < (determinants < 0).sum() < 250  # flipped
    turned = np.rad2deg(np.arctan2(maps[:, 0, 1], maps[:, 1, 1]))
    assert 6 < turned.std() < 16


def _colours(count, seed=0, side=48):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, side // 4, side // 4, generator=generator)
    return torch.nn.functional.interpolate(noise, (side, side), mode="bicubic").clamp(0, 1)


def test_each_picture_is_blurred_by_its_own_sigma():
    colours, sigmas = _colours(3), np.array([0.7, 2.0, 5.0])
    found = device_augmentation.blur(colours, sigmas)
    for i, sigma in enumerate(sigmas):
        plane = colours[i].numpy().transpose(1, 2, 0)
        expected = cv2.GaussianBlur(plane, (31, 31), sigma, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(found[i].numpy().transpose(1, 2, 0), expected, atol=2e-3)


def test_jitter_is_gamma_contrast_and_a_matrix():
    colours = _colours(2)
    matrices = np.stack([np.eye(3), np.diag([1.1, 0.9, 1.0])])
    gammas, contrasts = np.array([1.0, 1.3]), np.array([1.0, 0.8])
    found = device_augmentation.jitter(colours, gammas, matrices, contrasts)
    torch.testing.assert_close(found[0], colours[0].clamp_min(1e-6))
    changed = colours[1].numpy() ** 1.3
    changed = changed.mean() + 0.8 * (changed - changed.mean())
    expected = changed * np.array([1.1, 0.9, 1.0])[:, None, None]
    np.testing.assert_allclose(found[1], expected.clip(0, 1), atol=1e-5)


def test_foregrounds_merge_as_their_twin():
    colours, alpha = _colours(4), _colours(4, seed=1)[:, :1]
    alpha[:, :, :8] = 0
    front, behind = (colours[:2], alpha[:2]), (colours[2:], alpha[2:])
    found = device_augmentation.merge_foregrounds(front, behind)
    for i in range(2):
        layers = [(c[i].permute(1, 2, 0).numpy(), a[i, 0].numpy()) for c, a in (front, behind)]
        colour, merged = augmentation.merge_foregrounds(*layers)
        np.testing.assert_allclose(found[0][i].permute(1, 2, 0), colour, atol=1e-4)
        np.testing.assert_allclose(found[1][i, 0], merged, atol=1e-6)


def test_backgrounds_move_towards_the_subject_at_a_place_by_their_share():
    background = torch.full((3, 3, 48, 48), 0.5)
    foreground = torch.full((3, 3, 48, 48), 0.2)
    foreground[:, :, 24:] = 0.7  # rows below
    alpha = torch.zeros(3, 1, 48, 48)
    alpha[:2, :, 6:42, 6:42] = 1
    places = np.array([[0.1, 0.5], [0.9, 0.5], [0.5, 0.5]])
    found = device_augmentation.match_background(
        background, foreground, alpha, np.array([0.5, 1.0, 1.0]), places
    )
    assert found[0].sub(0.35).abs().max() < 0.02
    assert found[1].sub(0.7).abs().max() < 0.02
    torch.testing.assert_close(found[2], background[2])  # nobody there
    untouched = device_augmentation.match_background(
        background, foreground, alpha, np.zeros(3), places
    )
    torch.testing.assert_close(untouched, background)


@pytest.mark.parametrize("quality", [35, 60, 95])
def test_jpeg_loses_what_a_real_one_loses(quality):
    colours = _colours(1, side=64) * 0.8 + torch.rand(1, 3, 64, 64) * 0.1
    pixels = (colours[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1] / 255.0
    found = device_augmentation.padded_jpeg(colours, np.array([quality]))
    difference = abs(found[0].permute(1, 2, 0).numpy() - expected).mean()
    lost = abs(colours[0].permute(1, 2, 0).numpy() - expected).mean()
    assert difference < 0.25 * lost


def test_jpeg_takes_any_size():
    colours = _colours(2, side=64)[..., :50, :37]
    found = device_augmentation.padded_jpeg(colours, np.array([90, 40]))
    assert found.shape == colours.shape
    error = (found - colours).abs().mean((1, 2, 3))
    assert 0 < error[0] < error[1] < 0.1


def test_jpegs_blocks_may_lie_anywhere():
    colours = _colours(1, side=64)
    qualities = np.array([10])
    found = device_augmentation.padded_jpeg(colours, qualities, (3, 5))
    assert found.shape == colours.shape
    padded = torch.nn.functional.pad(colours, (5, 0, 3, 0), mode="replicate")
    expected = device_augmentation.padded_jpeg(padded, qualities)[..., 3:, 5:]
    assert torch.equal(found, expected)
    assert not torch.equal(found, device_augmentation.padded_jpeg(colours, qualities))


def test_cut_mask_copies_its_patches():
    mask = (torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    patches = np.array([[5, 7, 2, 3, 11, 9], [0, 4, 1, 1, 2, 2]])
    found = device_augmentation.cut_mask(mask, patches)
    expected = mask.clone()
    expected[0, 0, 2:7, 3:10] = mask[0, 0, 11:16, 9:16]
    assert torch.equal(found, expected)


class _Fixed:
    """A generator whose draws are given."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def _next(self, *_, **__):
        return self.draws.pop(0)

    integers = uniform = random = _next

    def choice(self, *_, **__):
        return [self._next()]


def test_trimaps_are_those_of_their_twin():
    alpha = np.zeros((64, 64), np.float32)
    cv2.circle(alpha, (30, 34), 17, 1.0, -1)
    alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 2), np.float32)
    expected = guidance_noise.noisy_trimap(alpha, _Fixed((7, 12)))
    plane = torch.from_numpy(alpha)[None, None]
    found = device_augmentation.trimaps(plane, np.array([7]), np.array([12]))
    assert np.array_equal(found[0, 0], expected)
    assert set(np.unique(expected)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("kernels", [[], [("erode", 3)], [("dilate", 2), ("erode", 3)]])
def test_coarse_mattes_are_those_of_their_twin(kernels):
    alpha = np.zeros((64, 64), np.float32)
    cv2.circle(alpha, (30, 34), 17, 1.0, -1)
    order = [(), (("erode", 3),), (), (("dilate", 2), ("erode", 3))].index(tuple(kernels))
    operation = {1: 0, 3: 3}.get(order)
    draws = [8.0, 0.7] if operation is None else [8.0, 0.3, operation, *(k for _, k in kernels)]
    expected = guidance_noise.noisy_matte(alpha, _Fixed(*draws, 1.5, 0.1))
    plane = torch.from_numpy(alpha)[None, None]
    found = device_augmentation.coarse_matte(plane, 8.0, kernels, 1.5, 0.1)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5)


EVERYTHING = [
    "run.batch=8",
    "data.merge_probability=0.5",
    "data.repaint_probability=0.3",
    "data.distractor_probability=0.5",
    "data.camera=true",
]


def test_batches_are_examples_as_the_loading_processes_make_them(tmp_path, data):
    config = _config(tmp_path, data, EVERYTHING, SHAPES)
    examples = DeviceComposites(config, CPU)
    batches = [examples.batch(step) for step in range(6)]
    for batch in batches:
        for name in ("image", "foreground", "background", "alpha", "guidance", "supervised"):
            channels = 3 if name in ("image", "foreground", "background") else 1
            assert batch[name].shape == (8, channels, 64, 64)
            assert batch[name].dtype == torch.float32
            assert batch[name].min() >= 0
            assert batch[name].max() <= 1
    guidance = torch.cat([b["guidance"] for b in batches]).flatten(1)
    soft = ((guidance - 0.5).abs() < 0.45).float().mean(1)
    assert 0.3 < (soft == 0).float().mean() < 0.8  # masks; the others are trimaps and mattes
    rough = torch.cat([b["supervised"] for b in batches]).flatten(1).min(1).values == 0
    assert 0.02 < rough.float().mean() < 0.4


def test_composites_obey_the_equation(tmp_path, data):
    config = _config(tmp_path, data, [*EVERYTHING, "data.camera=false"], SHAPES)
    batch = DeviceComposites(config, CPU).batch(0)
    alpha = batch["alpha"]
    composited = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    torch.testing.assert_close(batch["image"], composited)
    rough = batch["supervised"].flatten(1).min(1).values == 0
    assert set(alpha[rough].unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(batch["foreground"][rough], batch["image"][rough])


def test_a_teachers_alpha_is_trusted_everywhere(tmp_path, data):
    (data / "taught/images").mkdir(parents=True)
    for path in (data / "cutouts").iterdir():
        cv2.imwrite(str(data / "taught/images" / path.name), cv2.imread(str(path)))
    shutil.copytree(data / "cutouts", data / "taught/cutouts")
    sources = '[[data.sources]]\nkind = "photo_cutout"\npath = "taught"\nshare = 8.0\n'
    batch = DeviceComposites(_config(tmp_path, data, EVERYTHING, sources), CPU).batch(0)
    as_it_is = (batch["foreground"] == batch["background"]).flatten(1).all(1)
    taught = as_it_is & (batch["supervised"] == 1).flatten(1).all(1)
    assert taught.sum() >= 2
    alpha = batch["alpha"][taught]
    assert ((alpha > 0.1) & (alpha < 0.9)).any()


def test_distractors_are_in_no_alpha(tmp_path, data):
    base = ["run.batch=8", "data.merge_probability=0", "data.backdrop_probability=1"]
    with_them, without = (
        DeviceComposites(_config(tmp_path, data, [*base, chance]), CPU).batch(0)
        for chance in ("data.distractor_probability=1.0", "data.distractor_probability=0.0")
    )
    assert torch.equal(with_them["alpha"], without["alpha"])
    rough = without["supervised"].flatten(1).min(1).values == 0

    def roughness(x):
        return (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))[~rough]

    # A backdrop is smooth; a cut-out of noise in it is not. Some examples are dark.
    smooth, rough_ones = roughness(without["background"]), roughness(with_them["background"])
    assert smooth.max() < 0.02
    assert (rough_ones > 3 * smooth).float().mean() > 0.5


@pytest.fixture(params=["device", "loading"])
def examples(request, tmp_path, data, monkeypatch):
    """Make 16 examples, with some chances changed, on the device or in a loading process."""

    def make(corrections=(), **chances):
        for module in (augmentation, composites, device_composites, guidance_noise):
            monkeypatch.setattr(module, "AUGMENTATION", replace(AUGMENTATION, **chances))
        config = _config(tmp_path, data, ["run.batch=16", "data.camera=true", *corrections])
        if request.param == "device":
            return DeviceComposites(config, CPU).batch(0)
        loaded = Composites(config)
        singles = [loaded[number] for number in range(16)]
        return {name: torch.stack([one[name] for one in singles]) for name in singles[0]}

    return make


def test_some_photographs_have_no_colours(examples):
    make = examples(grey_probability=1.0)
    exact = make["supervised"].flatten(1).min(1).values == 1
    for name, which in (("image", slice(None)), ("foreground", exact), ("background", exact)):
        channels = make[name][which]
        torch.testing.assert_close(channels[:, 1:], channels[:, :1].expand(-1, 2, -1, -1))
    assert examples(grey_probability=0.0)["image"].std(1).mean() > 0.02


def test_some_photographs_are_dark(examples):
    clean = ["data.camera=false"]
    make = examples(clean, dark_probability=1.0)
    exact = make["supervised"].flatten(1).min(1).values == 1
    assert make["image"][exact].max() <= AUGMENTATION.dark_factors[1]
    assert examples(clean, dark_probability=0.0)["image"].max() > 0.9


def test_some_photographs_are_magnified_since_with_all_that_is_known_of_them(examples):
    def detail(planes):
        return (planes[..., 1:] - planes[..., :-1]).abs().mean()

    factors = (2.0,)
    chances = {"magnifications": factors, "grey_probability": 0.0, "dark_probability": 0.0}
    never = examples(magnified_probability=0.0, **chances)
    always = examples(magnified_probability=1.0, **chances)
    for name in ("image", "foreground", "background"):
        assert detail(always[name]) < 0.8 * detail(never[name])
    assert set(always["supervised"].unique().tolist()) <= {0.0, 1.0}
    exact = always["supervised"].flatten(1).min(1).values == 1
    blended = always["alpha"] * always["foreground"] + (1 - always["alpha"]) * always["background"]
    off = (blended - always["image"])[exact].abs().mean()
    assert off < 0.08  # noise, contrast and what is lost where the planes are magnified one by one


def test_some_backdrops_are_bright(examples):
    plain = ["data.camera=false", "data.backdrop_probability=1.0"]
    same = {"dark_probability": 0.0, "grey_probability": 0.0}
    means = []
    for chance in (0.0, 1.0):
        make = examples(plain, bright_probability=chance, **same)
        exact = make["supervised"].flatten(1).min(1).values == 1
        means.append(float(make["background"][exact].mean()))
    assert means[1] > means[0] + 0.1


def test_some_masks_have_their_gaps_filled(examples):
    masks = ["guidance.trimap=0.0", "guidance.matte=0.0", "guidance.cut_mask_probability=0.0"]
    make = examples(masks, filled_probability=1.0, magnified_probability=0.0)
    assert set(make["guidance"].unique().tolist()) == {0.0, 1.0}
    assert (make["guidance"][make["alpha"] == 1] == 1).all()  # closing loses nothing
    assert (examples(masks, filled_probability=0.0)["guidance"][make["alpha"] == 1] == 0).any()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (0, cv2.erode),
        (1, cv2.dilate),
        (2, lambda mask, kernel: cv2.dilate(cv2.erode(mask, kernel), kernel)),
        (3, lambda mask, kernel: cv2.erode(cv2.dilate(mask, kernel), kernel)),
    ],
)
def test_masks_are_changed_by_the_operations_that_have_a_share(examples, operation, expected):
    shares = [0, 0, 0, 0]
    shares[operation] = 2
    masks = ["guidance.trimap=0.0", "guidance.matte=0.0", "guidance.cut_mask_probability=0.0"]
    masks += [f"guidance.mask_operations={shares}", "guidance.mask_kernels_px=[9, 9]"]
    make = examples(masks, filled_probability=0.0, magnified_probability=0.0)
    rough = make["supervised"].flatten(1).min(1).values == 0  # binary, whatever the threshold
    assert rough.sum() >= 2
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    for alpha, guidance in zip(make["alpha"][rough], make["guidance"][rough], strict=True):
        np.testing.assert_array_equal(guidance[0], expected(alpha[0].numpy(), kernel))


def test_a_run_that_begins_later_sees_the_same_batches(tmp_path, data):
    config = _config(tmp_path, data, extra=SHAPES)
    from_the_start = DeviceComposites(config, CPU)
    batches = [from_the_start.batch(step) for step in range(7)]
    later = DeviceComposites(config, CPU, step=6).batch(6)  # within four that are made together
    for name, value in later.items():
        assert torch.equal(value, batches[6][name])
    assert not torch.equal(batches[5]["image"], batches[6]["image"])


def test_a_run_that_begins_after_a_failed_cutout_sees_the_same_batches(tmp_path, data, monkeypatch):
    usual = shapes.RandomShapes.__getitem__

    def failing(self, index):
        if index == 6:
            raise ValueError("no shape")
        return usual(self, index)

    monkeypatch.setattr(shapes.RandomShapes, "__getitem__", failing)
    config = _config(tmp_path, data, ["data.batches_at_once=1"], SHAPES.replace("3.0", "1e6"))
    from_the_start = DeviceComposites(config, CPU)
    batches = [from_the_start.batch(step) for step in range(7)]
    later = DeviceComposites(config, CPU, step=6).batch(6)
    for name, value in later.items():
        assert torch.equal(value, batches[6][name])


def test_a_run_may_end_within_batches_that_are_made_together(tmp_path, data):
    examples = DeviceComposites(_config(tmp_path, data, extra=SHAPES, steps=6), CPU)
    assert [len(examples.batch(step)["image"]) for step in range(6)] == 6 * [2]


def test_shapes_have_room_where_pictures_are_reduced_further(tmp_path, data):
    cache = DeviceCache(_config(tmp_path, data, ["data.max_side_px=100"], SHAPES), CPU)
    assert cache.images.sizes[cache._made_up[0]].max() == 160


def test_made_up_cutouts_take_the_place_of_the_oldest(tmp_path, data):
    config = _config(tmp_path, data, extra=SHAPES)
    cache = DeviceCache(config, CPU)
    slots = cache._made_up[0]
    assert (cache.images.sizes[slots, 0] > 0).sum() == 2
    assert set(cache.drawn(np.full(50, 2), np.random.default_rng(0))) == set(slots[:2])
    first = cache.centres[slots[0]].copy()
    for _ in range(2):
        cache.renew()
    assert (cache.images.sizes[slots, 0] > 0).all()
    assert np.array_equal(cache.centres[slots[0]], first)
    cache.renew()
    assert not np.array_equal(cache.centres[slots[0]], first)


def test_files_that_cannot_be_read_are_left_out_of_the_stock(tmp_path, data, caplog):
    root = tmp_path / "data"
    (root / "cutouts").mkdir(parents=True)
    for folder in ("backgrounds", "photos"):
        (root / folder).symlink_to(data / folder)
    (root / "cutouts/broken.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="cutouts must hold a readable picture, got none"):
        DeviceCache(_config(tmp_path, root), CPU)
    (root / "cutouts/0.png").write_bytes((data / "cutouts/0.png").read_bytes())
    cache = DeviceCache(_config(tmp_path, root), CPU)
    assert len(cache.drawn(np.zeros(3, int), np.random.default_rng(0))) == 3
    assert "broken.png" in caplog.text


def test_random_alpha_blending_on_the_device(tmp_path, data):
    corrections = ["run.batch=8", "data.own_colours_probability=0.5"]
    config = _config(tmp_path, data, corrections, SHAPES, task="foreground")
    batch = DeviceForegrounds(config, CPU).batch(0)
    alpha = batch["alpha"]
    composited = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    torch.testing.assert_close(batch["image"], composited)
    assert (batch["supervised"][alpha > 0] == 1).all()
    own = batch["supervised"].flatten(1).min(1).values == 0
    assert 1 <= own.sum() <= 7
    never = replace(config, data=replace(config.data, random_alpha_blending=False))
    batch = DeviceForegrounds(never, CPU).batch(0)
    assert torch.equal(batch["supervised"] == 1, batch["alpha"] > 0)


def test_a_network_trains_on_them_and_a_run_goes_on(tmp_path, data):
    config = _config(tmp_path, data, steps=4, extra=SHAPES)
    torch.manual_seed(0)
    Trainer(config, PRNTask(config), resume=False).run()
    whole = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    longer = _config(tmp_path, data, ["run.folder=" + str(tmp_path / "b")], SHAPES, steps=4)
    torch.manual_seed(0)
    trainer = Trainer(longer, PRNTask(longer), resume=False)
    trainer.module.train()
    batches = trainer.batches()
    for _ in range(2):
        trainer.train_step(next(batches))
    trainer.save()
    again = Trainer(longer, PRNTask(longer), resume=True)
    assert again.step == 2
    again.run()
    rest = torch.load(tmp_path / "b/checkpoint.pt", weights_only=True)
    for key, value in whole["module"].items():
        torch.testing.assert_close(rest["module"][key], value)


def test_a_run_ends_by_the_clock_and_its_schedule_with_it(tmp_path, data):
    config = _config(tmp_path, data, ["run.minutes=0.05"], steps=100000)
    trainer = Trainer(config, PRNTask(config), resume=False)
    rates = []
    step = trainer.train_step

    def noted(batch):
        terms = step(batch)
        rates.append((trainer.fraction, terms["learning_rate"]))
        return terms

    trainer.train_step = noted
    trainer.run()
    assert 1 <= trainer.fraction < 3
    assert 1 < trainer.step < 100000
    assert (tmp_path / "run/weights.safetensors").exists()
    late = [rate for fraction, rate in rates if fraction > 0.9]
    assert not late or max(late) < 0.1 * config.optimiser.learning_rate


def test_a_profile_tells_how_long_examples_take_on_the_device(tmp_path, data, capsys):
    config = _config(tmp_path, data)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("[data]", "[data]\non_device = true"))
    assert main([str(path), "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ms an example, on the device" in lines[1]
    assert config.data.on_device


def test_the_segmenter_refuses_to_be_fed_on_the_device():
    with pytest.raises(ConfigError, match=r"data\.on_device must be false for the segmenter"):
        SegmenterTask.on_device(None, CPU, 0)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    generator = np.random.default_rng(0)
    for name in ("0", "1"):
        colours = cv2.GaussianBlur(generator.integers(0, 255, (200, 160, 3), np.uint8), (0, 0), 3)
        mask = np.zeros((200, 160), np.uint8)
        cv2.ellipse(mask, (80, 80), (40, 55), 0, 0, 360, 255, -1)
        cv2.rectangle(mask, (20, 130), (140, 199), 255, -1)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), colours)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    return folder


def test_grown_hair_is_a_source_of_endless_heads(portraits):
    source = GrownHair(portraits, leave_out=lambda name: name == "0")
    assert [image.stem for image, _ in source.pairs] == ["1"]
    first, again, other = source[5], source[5], source[len(source) + 5]
    assert np.array_equal(first.rgba, again.rgba)
    assert not np.array_equal(first.rgba, other.rgba)
    assert first.exact
    assert first.rgba.shape == (200, 160, 4)
    assert GrownHair(portraits, max_side_px=100)[5].rgba.shape == (100, 80, 4)


def test_grown_hair_tells_what_is_missing(portraits, tmp_path):
    with pytest.raises(ValueError, match=r"must be a directory, got .*masks"):
        GrownHair(tmp_path)
    with pytest.raises(ValueError, match="in images and masks that are not left out"):
        GrownHair(portraits, leave_out=lambda name: True)
    broken = tmp_path / "broken"
    for part in ("images", "masks"):
        (broken / part).mkdir(parents=True)
    (broken / "images/0.png").write_bytes((portraits / "images/0.png").read_bytes())
    cv2.imwrite(str(broken / "masks/0.png"), np.zeros((200, 160), np.uint8))
    with pytest.raises(ValueError, match=r"0\.png: mask must show a subject"):
        GrownHair(broken)[0]
    cv2.imwrite(str(broken / "masks/0.png"), np.full((20, 20), 255, np.uint8))
    with pytest.raises(ValueError, match=r"must have one size, got \(200, 160\) and \(20, 20\)"):
        GrownHair(broken)[0]


def test_portraits_are_packed_for_hair(tmp_path, data, portraits):
    root = tmp_path / "data"
    root.mkdir()
    (root / "backgrounds").symlink_to(data / "backgrounds")
    (root / "cutouts").symlink_to(data / "cutouts")
    (root / "photos").symlink_to(data / "photos")
    (root / "portraits").symlink_to(portraits)
    hair = '[[data.sources]]\nkind = "hair"\npath = "portraits"\nkeep_out_percent = 10\n'
    pack(_config(tmp_path, root, extra=hair), tmp_path / "packed", limit_mb=1.0)
    expected = ["0", "1"] if not is_held_out("0", 10) else ["1"]
    assert sorted(p.stem for p in (tmp_path / "packed/portraits/images").iterdir()) == expected
