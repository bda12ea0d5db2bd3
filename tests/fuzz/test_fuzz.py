"""Some hundred broken inputs for each reader; `scripts/fuzz` takes as long as is asked."""

import pytest
from targets import fuzz, targets

INPUTS = {
    "image": 400,
    "mask": 400,
    "recipe": 600,
    "rle": 600,
    "import": 400,
    "config": 150,
    "clip": 60,
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", INPUTS)
def test_broken_input_is_read_or_refused_in_words(known, name):
    counts, findings = fuzz(known[name], seed=1, count=INPUTS[name])
    assert findings == [], findings[0][0]
    assert counts["refused"] > 20  # else it would not be broken


def test_what_a_reader_should_not_raise_is_found(known):
    def read(data):
        if len(data) < 20:
            raise IndexError("out of range")

    counts, findings = fuzz(type(known["rle"])(known["rle"].seeds, read), seed=1, count=100)
    assert counts["found"] == len(findings) > 0
    assert "IndexError: out of range" in findings[0][0]


def test_inputs_are_those_of_their_seed(known):
    runs = [fuzz(known["recipe"], seed=seed, count=50)[0] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
