import csv
import itertools
import re

import numpy as np
import portraits
import pytest

from benchmark_data_tools.__main__ import main as benchmark
from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import load
from mgm_core.images import write_image
from training.data.sources import is_held_out
from training.tools import hair_benchmark
from training.tools.hair_benchmark import make

FOLDERS = ("images", "masks", "backgrounds")


def names(wanted, count):
    found = (f"p{i}" for i in itertools.count() if is_held_out(f"p{i}", 8) == wanted)
    return list(itertools.islice(found, count))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two portraits and two backgrounds that are held out, and one of each that is not."""
    root = tmp_path_factory.mktemp("portraits")
    for folder in FOLDERS:
        (root / folder).mkdir()
    image, mask = portraits.portrait()
    generator = np.random.default_rng(0)
    for name in names(True, 2) + names(False, 1):
        write_image(root / "images" / f"{name}.png", image)
        write_image(root / "masks" / f"{name}.png", mask)
        noise = generator.random((50, 60, 3), dtype=np.float32)
        write_image(root / "backgrounds" / f"{name}.png", noise)
    return root


def arguments(data, out, *more):
    given = itertools.chain.from_iterable((f"--{f}", str(data / f)) for f in FOLDERS)
    return [*given, "--out", str(out), *more]


@pytest.fixture(scope="module")
def hair_benchmark_folder(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "benchmark"
    assert hair_benchmark.main(arguments(data, out, "--count", "3", "--seed", "4")) == 0
    return out


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_one_seed_makes_one_benchmark_to_the_byte(data, hair_benchmark_folder, tmp_path):
    make(*(data / f for f in FOLDERS), tmp_path / "again", count=3, seed=4)
    assert files(tmp_path / "again") == files(hair_benchmark_folder)
    assert len(files(hair_benchmark_folder)) == 3 * 4 + 2
    make(*(data / f for f in FOLDERS), tmp_path / "other", count=1, seed=5)
    other = files(tmp_path / "other")
    assert all(content != files(hair_benchmark_folder)[path] for path, content in other.items())


@pytest.mark.parametrize("table", ["1", "3", "4", "robustness"])
def test_every_table_that_it_fits_reads_it(hair_benchmark_folder, table, capsys):
    assert benchmark(["check", table, "--data", str(hair_benchmark_folder)]) == 0
    assert "3 images" in capsys.readouterr().out


def test_its_manifest_is_compared(data, tmp_path, capsys):
    out = tmp_path / "one"
    make(*(data / f for f in FOLDERS), out, count=1, seed=4)
    command = ["check", "3", "--data", str(out), "--manifest", str(out / "manifest.sha256")]
    assert benchmark(command) == 0
    path = out / "image" / "0000.png"
    write_image(path, np.zeros((portraits.HEIGHT, portraits.WIDTH, 3), np.float32))
    assert benchmark(command) == 1
    assert "image/0000.png: its SHA-256 differs" in capsys.readouterr().out


def test_images_are_composites_of_the_true_alpha_and_colours(hair_benchmark_folder):
    for sample in find_samples("3", hair_benchmark_folder):
        pictures = load(sample)
        assert pictures.image.shape == (portraits.HEIGHT, portraits.WIDTH, 3)
        share = pictures.alpha[..., None]
        assert ((share > 0.02) & (share < 0.98)).sum() > 500  # there is hair
        left = pictures.image - share * pictures.foreground  # (1 - alpha) B
        assert left.min() > -0.51 / 255
        assert (left <= 1 - share + 0.51 / 255).all()
        opaque = pictures.alpha == 1
        np.testing.assert_allclose(pictures.image[opaque], pictures.foreground[opaque], atol=1e-6)
        # The old background was pure blue, the subject without any.
        assert pictures.foreground[pictures.alpha > 0][:, 2].max() < 0.05
        soft = (pictures.alpha > 0) & (pictures.alpha < 1)
        assert np.rint(pictures.trimap[soft] * 255).astype(int).tolist() == [128] * soft.sum()


def test_only_what_is_held_out_is_used(hair_benchmark_folder):
    with (hair_benchmark_folder / "SOURCES.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["name"] for row in rows] == ["0000", "0001", "0002"]
    held_out = {f"{name}.png" for name in names(True, 2)}
    for part in ("portrait", "background"):
        assert {row[part] for row in rows} == held_out


def test_a_portrait_that_hair_cannot_grow_on_is_left_out_and_named(data, tmp_path, caplog):
    root = tmp_path / "data"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        for path in (data / folder).iterdir():
            (root / folder / path.name).write_bytes(path.read_bytes())
    first, second = names(True, 2)
    empty = np.zeros((portraits.HEIGHT, portraits.WIDTH), np.float32)
    write_image(root / "masks" / f"{first}.png", empty)
    make(*(root / f for f in FOLDERS), tmp_path / "out", count=2, seed=0)
    assert f"left out {first}.png: mask must" in caplog.text
    with (tmp_path / "out" / "SOURCES.tsv").open() as file:
        assert {row["portrait"] for row in csv.DictReader(file, delimiter="\t")} == {
            f"{second}.png"
        }
    write_image(root / "masks" / f"{second}.png", empty)
    with pytest.raises(ValueError, match="that hair can grow on, got 2 without one: see the"):
        make(*(root / f for f in FOLDERS), tmp_path / "none", count=2, seed=0)


def test_wrong_wishes_are_refused(data, hair_benchmark_folder, tmp_path, capsys):
    message = re.escape(f"out must be an empty folder, got {hair_benchmark_folder}: choose another")
    with pytest.raises(ValueError, match=message):
        make(*(data / f for f in FOLDERS), hair_benchmark_folder)
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        make(*(data / f for f in FOLDERS), tmp_path / "a", count=0)
    with pytest.raises(SystemExit):
        hair_benchmark.main(arguments(data, tmp_path / "a", "--keep-out-percent", "0"))
    assert "error: images must hold pictures that are held out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        hair_benchmark.main(arguments(tmp_path / "typo", tmp_path / "a"))
    assert "error: " in capsys.readouterr().err
