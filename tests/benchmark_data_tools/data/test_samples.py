import hashlib

import numpy as np
import pytest

from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import compare_manifest, count_note, load, manifest, problems
from mgm_core.images import write_image

SIZE = (6, 8)


def grey(*values):
    """A picture of SIZE whose first pixels have these values of 255, the rest 0."""
    levels = np.zeros(SIZE, np.float32)
    levels.flat[: len(values)] = values
    return levels / 255


@pytest.fixture
def benchmark(tmp_path):
    for folder in ("image", "alpha", "trimap"):
        (tmp_path / folder).mkdir()
    write_image(tmp_path / "image" / "a.png", np.zeros((*SIZE, 3), np.float32))
    write_image(tmp_path / "alpha" / "a.png", grey(255, 100))
    write_image(tmp_path / "trimap" / "a.png", grey(255, 128))
    return tmp_path


def test_a_good_benchmark_has_no_problems(benchmark):
    assert list(problems("1", benchmark)) == []
    pictures = load(find_samples("1", benchmark)[0])
    assert pictures.alpha[0, 1] == pytest.approx(100 / 255)
    assert pictures.foreground is None


@pytest.mark.parametrize(
    ("file", "picture", "problem"),
    [
        ("alpha/a.png", np.zeros((5, 8), np.float32), "must have the image's size 8x6, got 8x5"),
        ("alpha/a.png", grey(1, 1), "got a map of the labels 0, 1: choose the subject's"),
        (
            "alpha/a.png",
            np.dstack([grey(255), grey(0), grey(0)]),
            "must be a grey mask, got a colour image",
        ),
        ("trimap/a.png", grey(255, 128, 127), "must hold 0, 128 and 255 only, got [127] too"),
        ("trimap/a.png", grey(255), "must have unknown pixels (128), got none"),
    ],
)
def test_a_problem_is_named_with_its_image(benchmark, file, picture, problem):
    write_image(benchmark / file, picture)
    found = list(problems("1", benchmark))
    assert len(found) == 1
    assert found[0].startswith("a: a.png ")
    assert problem in found[0]


def test_a_damaged_file_is_a_problem(benchmark):
    path = benchmark / "alpha" / "a.png"
    path.write_bytes(path.read_bytes()[:40])
    assert "damaged" in next(problems("1", benchmark))


def test_missing_partners_are_a_problem(benchmark):
    (benchmark / "alpha" / "a.png").unlink()
    write_image(benchmark / "alpha" / "b.png", grey(255))
    assert "got none for 1: add alpha of a" in next(problems("1", benchmark))


def test_an_empty_detail_map_is_a_problem(benchmark):
    (benchmark / "detailmap").mkdir()
    write_image(benchmark / "detailmap" / "a_cloud_trimap.png", grey())
    assert "must mark details with values above 0, got none" in next(problems("5", benchmark))


def test_the_count_is_compared_with_the_published_one():
    assert count_note("5", 637) == "637 images, as many as Real-world portraits has."
    assert "has 1000: the figures will not be comparable" in count_note("1", 13)


def test_a_manifest_is_what_sha256sum_writes(benchmark):
    lines = manifest(find_samples("1", benchmark), benchmark).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["alpha/a.png", "image/a.png", "trimap/a.png"]
    digest = hashlib.sha256((benchmark / "alpha" / "a.png").read_bytes()).hexdigest()
    assert lines[0].startswith(digest)


def test_manifests_are_compared_file_by_file():
    before = "1  a\n2  b\n3  c\n"
    assert compare_manifest(before, before) == []
    assert compare_manifest("1  a\n9  b\n4  d\n", before) == [
        "b: its SHA-256 differs from the manifest's",
        "c: missing",
        "d: not in the manifest",
    ]
