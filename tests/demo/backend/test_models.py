import logging
import threading

import pytest

from demo.backend.models import Models


def test_nothing_is_loaded_before_it_is_needed_and_then_once(segmenter, matter):
    loaded = []
    models = Models(
        lambda: loaded.append("matter") or matter, lambda name: loaded.append(name) or segmenter
    )
    assert loaded == []
    assert models.matter() is models.matter() is matter
    assert models.segmenter("a") is models.segmenter("a") is segmenter
    models.segmenter("b")
    assert loaded == ["matter", "a", "b"]


def test_visitors_who_come_at_once_wait_for_the_same_network(matter):
    loaded = []
    both_wait = threading.Event()

    def load():
        both_wait.wait(5)
        loaded.append(1)
        return matter

    models = Models(load, lambda name: None)
    threads = [threading.Thread(target=models.matter) for _ in range(2)]
    for thread in threads:
        thread.start()
    both_wait.set()
    for thread in threads:
        thread.join()
    assert loaded == [1]


def test_warming_up_loads_and_uses_both(segmenter, matter):
    models = Models(lambda: matter, lambda name: segmenter)
    models.warm_up("portrait").join()
    assert segmenter.seen == ["person"]
    assert matter.refined == ["half", "full"]  # what a page shows first comes first


def test_a_failure_to_warm_up_is_logged_and_shown_to_the_first_visitor(segmenter, caplog):
    def load():
        raise ValueError("weights must exist, got none: fetch them")

    models = Models(load, lambda name: segmenter)
    with caplog.at_level(logging.ERROR):
        models.warm_up("portrait").join()
    assert "could not be made ready" in caplog.text
    with pytest.raises(ValueError, match="weights must exist"):
        models.matter()
