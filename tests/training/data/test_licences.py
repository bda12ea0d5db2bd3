import csv
import shutil

import numpy as np
import pytest
from safetensors.torch import save_file
from training_data import config_text, write_training_data

from mgm_core.images import write_image
from mgm_core.networks.checkpoint import weights_files
from mgm_core.networks.segmenter_net import portrait_deeplab
from mgm_core.weights import bundled_path, sha256_of
from training.__main__ import main
from training.config import ConfigError, load
from training.data import licences
from training.data.held_out import CC0_PORTRAITS
from training.data.licences import Licence, licence_of, require_permissive
from training.tools import permissive_data as tool
from training.tools.pack import pack


@pytest.mark.parametrize(
    ("path", "permissive"),
    [
        ("portraits_cc0/image/001.jpg", True),
        ("portraits/images/001.jpg", False),
        ("bg_cc0/image/Word_book.jpg", True),
        ("bg_cc0/image/pop-_book.jpg", False),
        ("cutouts/hair/mh_short03_diffuse.webp", True),
        ("cutouts/hair/mh_curly.webp", False),
        ("mine/001.jpg", False),  # of unknown licence
    ],
)
def test_a_file_is_permissive_where_its_licence_is_known_and_frees_it(path, permissive):
    assert licence_of(path).permissive == permissive


def test_a_run_reads_nothing_that_its_table_does_not_free(tmp_path):
    write_training_data(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(config_text(tmp_path, tmp_path / "run", 2))
    require_permissive(load(path, []))  # names no table
    config = load(path, ["data.licences=table.tsv"])
    with pytest.raises(ConfigError, match=r"must be a table with the columns sha256 and licence"):
        require_permissive(config)
    files = [p for p in tmp_path.rglob("*.png") if "pairs" not in p.parts]  # which it reads
    _write_table(tmp_path / "table.tsv", dict.fromkeys(files, "CC0-1.0"))
    require_permissive(config)
    _write_table(
        tmp_path / "table.tsv",
        {p: "GPL-2.0" if p.parent.name == "masks" else "MIT" for p in files},
    )
    with pytest.raises(ConfigError, match=r"got GPL-2\.0 for .*masks.a\.png"):
        require_permissive(config)
    assert main([str(path), "data.licences=table.tsv"]) == 1
    _write_table(tmp_path / "table.tsv", dict.fromkeys(files, "MIT"))
    shutil.copytree(tmp_path / "backgrounds", tmp_path / "test/image")
    (tmp_path / "test/alpha").mkdir()
    write_image(tmp_path / "test/alpha/0.png", np.ones((9, 9), np.float32))
    with pytest.raises(ConfigError, match=r"got none for .*alpha.0\.png"):
        require_permissive(load(path, ["data.licences=table.tsv", "run.validation=test"]))
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    with pytest.raises(ConfigError, match=r"got none for .*start\.safetensors"):
        require_permissive(load(path, ["data.licences=table.tsv", f"network.start={start}"]))


def test_a_run_reads_no_weights_that_its_table_does_not_free(tmp_path):
    write_training_data(tmp_path)
    files = dict.fromkeys(tmp_path.rglob("*.png"), "CC0-1.0")
    weights = {name: bundled_path(name) for name in ("prn_mobilenet_v2", "fusion", "fusion_mask")}
    path = tmp_path / "config.toml"
    for task, correction, names in (
        ("foreground", "data.predicted_alpha_probability=0.5", ["prn_mobilenet_v2"]),
        ("fusion", "data.cached_examples=2", list(weights)),
    ):
        path.write_text(config_text(tmp_path, tmp_path / "run", 2, task))
        config = load(path, ["data.licences=table.tsv", correction])
        freed = files | {weights[name]: "MIT" for name in names}
        _write_table(tmp_path / "table.tsv", freed)
        require_permissive(config)
        for name in names:
            _write_table(
                tmp_path / "table.tsv", {p: v for p, v in freed.items() if p != weights[name]}
            )
            with pytest.raises(ConfigError, match=rf"got none for .*{name}\.safetensors"):
                require_permissive(config)
    config = load(path, ["data.licences=table.tsv", "network.matting=prn_resnet34"])
    spread = weights_files(bundled_path("prn_resnet34"))
    fusions = {weights[name]: "MIT" for name in ("fusion", "fusion_mask")}
    _write_table(tmp_path / "table.tsv", files | fusions | dict.fromkeys(spread, "MIT"))
    require_permissive(config)
    _write_table(tmp_path / "table.tsv", files | fusions | dict.fromkeys(spread[:1], "MIT"))
    with pytest.raises(ConfigError, match=r"got none for .*prn_resnet34\.2\.safetensors"):
        require_permissive(config)
    path.write_text(config_text(tmp_path, tmp_path / "run", 2, "foreground"))
    _write_table(tmp_path / "table.tsv", files)
    require_permissive(load(path, ["data.licences=table.tsv"]))  # predicts no alpha


def test_a_packed_folder_has_the_licences_of_its_originals(tmp_path):
    data, packed, path = tmp_path / "data", tmp_path / "packed", tmp_path / "config.toml"
    write_training_data(data)
    path.write_text(config_text(data, tmp_path / "run", 2))
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    table = ["data.licences=licences/table.tsv", f"network.start={start}"]
    config = load(path, [*table, "run.validation=test"])
    for old, new in (("images", "image"), ("masks", "alpha")):
        shutil.copytree(data / "photos" / old, data / "test" / new)
    (data / "licences").mkdir()
    files = [p for p in data.rglob("*.png") if "pairs" not in p.parts]
    freed = {p: "MIT" if p.parent.name == "cutouts" else "CC0-1.0" for p in files}
    _write_table(data / "licences/table.tsv", freed)
    with pytest.raises(ConfigError, match=r"got none for .*start\.safetensors"):
        pack(config, packed, limit_mb=1.0)
    _write_table(data / "licences/table.tsv", {**freed, start: "MIT"})
    size = pack(config, packed, limit_mb=1.0).size
    assert size == sum(p.stat().st_size for p in packed.rglob("*") if p.is_file())
    there = load(path, [*table, "run.validation=test", f"data.root={packed}"])
    require_permissive(there)
    with (packed / "licences/table.tsv").open(newline="") as file:
        rows = {row["sha256"]: row["licence"] for row in csv.DictReader(file, delimiter="\t")}
    assert rows[sha256_of(packed / "cutouts/0.webp")] == "MIT"
    assert rows[sha256_of(packed / "backgrounds/0.webp")] == "CC0-1.0"
    write_image(packed / "cutouts/new.webp", np.zeros((9, 9, 3), np.float32))
    with pytest.raises(ConfigError, match=r"got none for .*new\.webp"):
        require_permissive(there)


def test_a_linked_folder_is_read_and_so_is_its_licence(tmp_path):
    data = tmp_path / "data"
    write_training_data(data)
    for part in ("images", "masks"):
        (data / "photos" / part).rename(tmp_path / part)
        (data / "photos" / part).symlink_to(tmp_path / part)
    path = tmp_path / "config.toml"
    path.write_text(config_text(data, tmp_path / "run", 2))
    _write_table(data / "table.tsv", dict.fromkeys(data.rglob("*.png"), "MIT"))
    with pytest.raises(ConfigError, match=r"got none for .*images.a\.png"):
        require_permissive(load(path, ["data.licences=table.tsv"]))


def _write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("sha256", "licence"))
        writer.writerows((sha256_of(p), licence) for p, licence in rows.items())


class _LeftHalf:
    """Finds a person in the left half of a view, and doubts everything in a bright picture."""

    def probability(self, image, *, long_side_px):
        del long_side_px
        if image.mean() > 0.6:
            return np.full(image.shape[:2], 0.5, np.float32)
        return np.broadcast_to(image[..., 0] > 0.3, image.shape[:2]).astype(np.float32)


def test_permissive_data_is_gathered_with_masks_and_the_rest_refused(tmp_path, monkeypatch, capsys):
    data, out, network = tmp_path / "data", tmp_path / "out", tmp_path / "network.safetensors"
    dark = np.zeros((60, 50, 3), np.float32)
    dark[:, :25, 0] = 0.5
    held_out = min(CC0_PORTRAITS)
    for path, picture in (
        ("portraits_cc0/image/001.png", dark),
        ("portraits_cc0/image/002.png", np.ones_like(dark)),  # doubtful
        ("portraits_cc0/image/004.png", np.ones_like(dark)),  # doubtful, but with a mask by hand
        (f"portraits_cc0/image/{held_out}.png", dark),
        ("bg_cc0/image/Word_a.png", dark),
        ("portraits/images/a.png", dark),
        ("cutouts/hair/mh_curly.png", dark),
        ("cutouts/hair/mh_afro_diffuse.png", dark),
    ):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(data / path, picture)
    by_hand = tmp_path / "by_hand"
    by_hand.mkdir()
    write_image(by_hand / "004.png", dark[..., 0] * 2)
    save_file(portrait_deeplab().state_dict(), network)
    monkeypatch.setitem(licences.WEIGHTS, sha256_of(network), Licence("", "Apache-2.0", "a test"))
    monkeypatch.setattr(tool, "load_segmenter", lambda *_: _LeftHalf())
    command = ["permissive-data", str(data), str(out), "--network", str(network)]
    assert main([*command, "--masks", str(by_hand)]) == 0
    printed = capsys.readouterr().out
    assert "refused\t1\tacademic use only" in printed
    assert "refused\t1\tAGPL-derived" in printed
    with (out / "LICENCES.tsv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert set(rows) == {
        "portraits/images/001.png",
        "portraits/images/004.png",
        "portraits/masks/001.png",
        "portraits/masks/004.png",
        "people/001.png",
        "people/004.png",
        "backgrounds/Word_a.png",
        "hair/mh_afro_diffuse.png",
        "network.safetensors",
    }
    assert rows["portraits/masks/004.png"]["origin"].endswith("by hand")
    present = {p.relative_to(out).as_posix() for p in out.rglob("*.png")}
    assert present == {name for name in rows if name.endswith(".png")}
    mask = tool.read_mask(out / "portraits/masks/001.png")
    np.testing.assert_array_equal(mask, dark[..., 0] * 2)
    assert main(command) == 1  # the folder is not empty any more
    assert main([*command[:2], str(tmp_path / "sizes"), *command[3:]]) == 1
    assert "must have the size of its portrait" in capsys.readouterr().err
    further = network.with_suffix(".2.safetensors")
    further.write_bytes(b"others")
    assert main([*command[:2], str(tmp_path / "new"), *command[3:]]) == 1
    assert f"must be known and permissive, got {further}" in capsys.readouterr().err
    further.unlink()
    network.write_bytes(b"others")
    assert main([*command[:2], str(tmp_path / "new"), *command[3:]]) == 1
    assert "weights must be known and permissive" in capsys.readouterr().err


def test_masks_by_hand_are_of_portraits_that_may_be_trained_on():
    names = {path.stem for path in tool.MASKS_BY_HAND.glob("*.png")}
    assert len(names) == 31
    assert not names & CC0_PORTRAITS
