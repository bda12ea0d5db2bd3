import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from demo_pictures import FakeMatter, FakeSegmenter, photo_pixels, subject_mask

from demo.backend.models import CoreModels, Models
from demo.backend.orders import File, Order
from demo.backend.studio import Studio
from demo.backend.zerogpu import duration_s, lends_a_gpu, on_gpu
from mgm_core.recipe import Recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def spaces(monkeypatch):
    """A stand-in for the Hub's module: what is called goes to another process and back."""
    module = ModuleType("spaces")
    module.decorated, module.calls = [], []
    module.__spec__ = type("Spec", (), {"loader": None})()

    def gpu(*, duration):
        def decorate(function):
            module.decorated.append((function.__name__, duration))

            def run(*args, **options):
                module.calls.append(args[:2])
                sent = pickle.loads(pickle.dumps((args, options)))
                return pickle.loads(pickle.dumps(function(*sent[0], **sent[1])))

            return run

        return decorate

    module.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(CoreModels, "refiner", lambda self, weights: keep_the_first_view)
    return module


def keep_the_first_view(image, guidance, views, unknown):
    return views[0] + 0 * unknown


def test_elsewhere_functions_stay_as_they_are(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not lends_a_gpu()
    assert on_gpu(len) is len


def test_an_ordinary_space_has_the_package_but_lends_no_gpu(spaces, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU")
    models = Models(FakeMatter, lambda name: FakeSegmenter())
    assert spaces.decorated == []
    assert isinstance(models.matter(), FakeMatter)


@pytest.mark.parametrize(
    ("value", "lent"), [("true", True), ("1", True), ("T", True), ("false", False), ("", False)]
)
def test_the_variable_of_zerogpu_decides(value, lent):
    assert lends_a_gpu({"SPACES_ZERO_GPU": value}) is lent


def test_larger_photos_ask_for_more_seconds():
    small, large = (np.zeros((side, side, 3), np.float32) for side in (1000, 4000))
    assert duration_s("portrait", "probability", small) == 12
    assert duration_s(None, "matte", large, known=None) == 42
    assert duration_s(None, "matte") == 10
    assert duration_s(None, "matte", np.broadcast_to(np.float32(0), (9000, 9000, 3))) == 120


def test_the_networks_run_where_the_gpu_is(spaces):
    loaded = []
    models = Models(
        lambda: loaded.append("matter") or FakeMatter(),
        lambda name: loaded.append(name) or FakeSegmenter(),
    )
    # The Hub looks for decorated functions when the page is served: before any network is needed.
    assert spaces.decorated == [("_compute", duration_s)]
    assert loaded == []
    matter, segmenter = models.matter(), models.segmenter("portrait")
    assert loaded == []
    probability = segmenter.probability(photo_pixels(), "person")
    matte = matter.matte(photo_pixels(), subject_mask(), known=None)
    assert spaces.calls == [("portrait", "probability"), (None, "matte")]
    assert loaded == ["portrait", "matter"]
    assert np.array_equal(probability, FakeSegmenter().probability(photo_pixels()))
    assert np.array_equal(matte.alpha, FakeMatter().matte(photo_pixels(), subject_mask()).alpha)


def test_foreground_colours_are_found_without_the_gpu(spaces, memory, photo):
    models = Models(FakeMatter, lambda name: FakeSegmenter())
    studio = Studio(models, memory, max_megapixels=1.0)
    colours = studio.foreground(Order(File.at(photo), Recipe(foreground="network")))
    assert colours.shape == photo_pixels().shape
    assert [task for _, task in spaces.calls] == ["probability", "views"]
    assert models.foreground_network().device.type == "cpu"


def test_warming_up_does_not_ask_for_the_gpu(spaces):
    Models(FakeMatter, FakeSegmenter).warm_up("portrait").join()
    assert spaces.calls == []


def test_what_the_network_refuses_is_told(spaces):
    def load(name):
        raise ValueError(f"segmenter must be one of portrait, got {name!r}: choose one")

    models = Models(FakeMatter, load)
    with pytest.raises(ValueError, match="segmenter must be one of portrait, got 'other'"):
        models.segmenter("other").probability(photo_pixels())


def test_what_is_no_network_computes_here(spaces, monkeypatch):
    refined = []

    def refine(image, guidance, views, unknown):
        refined.append(len(spaces.calls))
        return 1 - views[0]

    def refine_once(image, guidance, views, unknown, rounds):
        return refine(image, guidance, views, unknown)

    models = Models(FakeMatter, lambda name: FakeSegmenter())
    monkeypatch.setattr(models._networks, "refiner", lambda weights: refine)
    matter = models.matter()
    plain = matter.matte(photo_pixels(), subject_mask(), levels=True)
    assert spaces.calls == [(None, "matte")]
    found = matter.matte(photo_pixels(), subject_mask(), refine="full", levels=True)
    assert spaces.calls[1:] == [(None, "views")]
    assert refined == [2]
    assert np.array_equal(found.alpha, 1 - plain.alpha)
    assert np.array_equal(found.os4, plain.os4)
    monkeypatch.setattr(models._networks, "refiner", lambda weights: refine_once)
    matter.matte(photo_pixels(), subject_mask(), refine="half")
    assert spaces.calls[2:] == [(None, "matte")]
    assert refined == [2, 3]


IN_A_SPACE = """
import json, sys
from demo.backend.models import Models
models = Models.bundled()
import spaces, torch
from spaces.config import Config
decorated = []
if Config.zero_gpu:
    from spaces.zero import decorator
    decorated = sorted({f.__name__ for f in decorator.decorated_cache})
    places = [n.network for n in (models._own_matter(), models._own_segmenter("portrait"))]
    device = sorted({str(p.device) for network in places for p in network.parameters()})
else:
    device = [str(models._own_matter().device)]
print(json.dumps([Config.zero_gpu, decorated, device]))
"""


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({"SPACES_ZERO_GPU": ""}, [False, [], ["cpu"]]),
        (
            {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9"},
            [True, ["_compute"], ["cuda:0"]],
        ),
    ],
)
def test_with_the_package_of_spaces_itself(variables, seen):
    """It stands in for CUDA until a GPU is lent: networks are on it before the page is served."""
    pytest.importorskip("spaces")
    if seen == [False, [], ["cpu"]] and torch.cuda.is_available():
        seen = [False, [], ["cuda"]]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SPACE],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == seen
