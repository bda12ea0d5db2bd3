import hashlib

import numpy as np
import pytest

from benchmark_data_tools.data import mini
from benchmark_data_tools.data.layouts import LAYOUTS, find_samples
from benchmark_data_tools.data.samples import load, problems


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
    }


@pytest.mark.parametrize("table", LAYOUTS)
def test_every_table_s_layout_is_made_without_a_problem(mini_benchmark, table):
    assert list(problems(table, mini_benchmark / table)) == []


def test_there_are_a_few_dozen_composites(mini_benchmark):
    counts = [len(find_samples(table, mini_benchmark / table)) for table in LAYOUTS]
    assert 24 <= sum(counts) <= 48


def test_images_are_composites_of_the_true_alpha_and_colours(mini_benchmark):
    for sample in find_samples("3", mini_benchmark / "3"):
        made = load(sample)
        opaque = made.alpha == 1
        assert opaque.any()
        assert (made.alpha == 0).any()
        assert ((made.alpha > 0) & (made.alpha < 1)).mean() > 0.02
        # Rounding to 8 bits is the image's only error.
        np.testing.assert_allclose(made.image[opaque], made.foreground[opaque], atol=0.51 / 255)
        background = made.image - made.alpha[..., None] * made.foreground
        largest = 1 - made.alpha[..., None] + 0.51 / 255
        assert (background > -0.51 / 255).all()
        assert (background <= largest).all()


def test_one_seed_makes_one_benchmark(tmp_path, mini_benchmark):
    mini.make(tmp_path / "same")
    assert digests(tmp_path / "same") == digests(mini_benchmark)
    mini.make(tmp_path / "other", seed=1)
    assert digests(tmp_path / "other") != digests(mini_benchmark)


def test_a_used_folder_is_refused(mini_benchmark):
    with pytest.raises(ValueError, match="out must be an empty folder, got"):
        mini.make(mini_benchmark)
