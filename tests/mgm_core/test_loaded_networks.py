import threading

import pytest

from mgm_core.choices import SEGMENTERS
from mgm_core.models import Models
from mgm_core.runtime.lazy import Lazy


def test_a_lazy_value_is_made_once_whoever_asks():
    begun, made = threading.Barrier(4), []

    def make():
        made.append(object())
        return made[-1]

    lazy = Lazy(make)
    found = []

    def ask():
        begun.wait()
        found.append(lazy())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 4


def test_a_lazy_value_that_failed_is_tried_again():
    answers = [OSError("no network"), 7]

    def make():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lazy = Lazy(make)
    with pytest.raises(OSError, match="no network"):
        lazy()
    assert lazy() == lazy() == 7


def test_each_network_is_loaded_once_and_on_the_same_device():
    models = Models(device="cpu", dtype="float32", coarse_side_px=512, least_side_px=0)
    matter = models.matter()
    assert models.matter() is matter
    assert (matter.device.type, matter.dtype_name) == ("cpu", "float32")
    assert (matter.coarse_side_px, matter.least_side_px) == (512, 0)
    segmenter = models.segmenter()
    assert models.segmenter(SEGMENTERS[0]) is segmenter
    assert segmenter.device.type == "cpu"
    with pytest.raises(ValueError, match="segmenter must be one of portrait"):
        models.segmenter("sam")


def test_the_refiner_is_shared_and_loaded_when_it_is_first_needed(monkeypatch):
    from mgm_core.matting.refine import Refiner

    loaded = []
    load = Refiner.load
    monkeypatch.setattr(
        Refiner,
        "load",
        lambda weights, **given: loaded.append((weights, given)) or load(weights, **given),
    )
    matter = Models(device="cpu", dtype="float32").matter()
    assert loaded == []
    assert matter._refiner("fusion") is matter._refiner("fusion")
    assert loaded == [("fusion", {"device": "cpu", "dtype": "float32"})]
