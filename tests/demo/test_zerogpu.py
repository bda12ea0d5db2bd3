import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from demo_pictures import FakeMatter, FakeSegmenter, photo_pixels, subject_mask

from demo.models import Models
from demo.recipe import File, Order
from demo.studio import Studio
from demo.zerogpu import lends_a_gpu, on_gpu
from mgm_core.recipe import Recipe


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
    return module


def test_elsewhere_functions_stay_as_they_are():
    assert not lends_a_gpu()
    assert on_gpu(len) is len


def test_the_networks_run_where_the_gpu_is(spaces):
    loaded = []
    models = Models(
        lambda: loaded.append("matter") or FakeMatter(),
        lambda name: loaded.append(name) or FakeSegmenter(),
    )
    # The Hub looks for decorated functions when the page is served: before any network is needed.
    assert spaces.decorated == [("_compute", 60)]
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
    assert [task for _, task in spaces.calls] == ["probability", "matte"]
    assert (models.matter().device, models.matter().dtype_name) == ("cpu", "auto")


def test_warming_up_does_not_ask_for_the_gpu(spaces):
    Models(FakeMatter, FakeSegmenter).warm_up("portrait").join()
    assert spaces.calls == []


def test_what_the_network_refuses_is_told(spaces):
    def load(name):
        raise ValueError(f"segmenter must be one of portrait, got {name!r}: choose one")

    models = Models(FakeMatter, load)
    with pytest.raises(ValueError, match="segmenter must be one of portrait, got 'other'"):
        models.segmenter("other").probability(photo_pixels())
