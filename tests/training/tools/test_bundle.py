import json
import re

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mgm_core import weights as bundled_weights
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.foreground.learned import NetworkEstimator
from mgm_core.networks.checkpoint import load_foreground, load_prn, read_safetensors
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN
from mgm_core.weights import CheckpointError
from training import __main__ as command
from training.config import ConfigError
from training.tools import bundle as bundling
from training.tools.bundle import bundle, split, to_half_precision, to_int8

PRN_METADATA = {"encoder": "mobilenet_v2", "fusion": "progressive"}
LARGE = "encoder.features.10.conv.0.0.weight"


@pytest.fixture
def prn_file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "run" / "weights.safetensors"
    path.parent.mkdir()
    save_file(PRN("mobilenet_v2").state_dict(), path, PRN_METADATA)
    return path


def test_8_bits_of_a_case_done_by_hand(tmp_path):
    weight = torch.zeros(2, 2048)
    weight[0, :3] = torch.tensor([12.7, -6.37, 0.04])
    others = {"a.bias": torch.tensor([0.5, 2.0]), "b.weight": weight[:1]}
    stored = to_int8({"a.weight": weight, **others})
    assert stored["a.weight"][:, :3].tolist() == [[127, -64, 0], [0, 0, 0]]
    assert stored["a.weight.int8_scales"].tolist() == [[pytest.approx(0.1)], [1.0]]
    assert [stored[key].dtype for key in others] == 2 * [torch.float16]
    save_file(stored, tmp_path / "a.safetensors")
    state, _ = read_safetensors(tmp_path / "a.safetensors")
    assert state.keys() == {"a.weight", *others}
    expected = torch.tensor([[12.7, -6.4, 0], [0, 0, 0]])
    torch.testing.assert_close(state["a.weight"][:, :3], expected)


def test_parts_hold_as_much_as_they_may():
    state = {
        name: torch.zeros(size, dtype=torch.int8)
        for name, size in zip("abcd", (3, 2, 9, 1), strict=True)
    }
    assert [list(part) for part in split(state, 5)] == [["a", "b"], ["c"], ["d"]]
    assert [list(part) for part in split(state, 15)] == [["a", "b", "c", "d"]]


def test_large_weights_are_spread_over_files(prn_file, tmp_path, monkeypatch):
    monkeypatch.setattr(bundling, "LARGEST_FILE", 2_000_000)
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    bundle(prn_file, "prn_large", tmp_path)
    files = [tmp_path / f"prn_large{part}.safetensors" for part in ("", ".2", ".3")]
    assert {file.name for file in files} == set(bundled_weights.bundled()["prn_large"].hashes)
    assert all(file.stat().st_size < 2_100_000 for file in files)
    original, loaded = load_prn(prn_file).state_dict(), load_prn("prn_large").state_dict()
    for key, value in loaded.items():
        torch.testing.assert_close(value, original[key], atol=1e-3, rtol=1e-3)
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="must have SHA-256"):
        load_prn("prn_large")
    files[1].unlink()
    with pytest.raises(CheckpointError, match=r"must exist, got .*prn_large\.2\.safetensors"):
        load_prn(files[0])
    monkeypatch.undo()
    bundle(prn_file, "prn_large", tmp_path)
    assert [file.exists() for file in files] == [True, False, False]


def test_a_full_disk_leaves_the_old_weights(prn_file, tmp_path, monkeypatch):
    monkeypatch.setattr(bundling, "LARGEST_FILE", 2_000_000)
    bundle(prn_file, "prn_large", tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    written = []

    def full(part, path, metadata):
        written.append(path)
        if len(written) == 2:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(part, path, metadata)

    monkeypatch.setattr(bundling, "save_file", full)
    with pytest.raises(OSError, match=r"must fit onto its disk, got I/O error: No space left"):
        bundle(prn_file, "prn_large", tmp_path, int8=True)
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_scales_belong_to_the_output_channels():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 16, 3, 3, generator=generator)
    stored = to_int8({"plain": weight, "turned": weight}, frozenset({"turned"}))
    assert stored["plain.int8_scales"].shape == (32, 1, 1, 1)
    assert stored["turned.int8_scales"].shape == (1, 16, 1, 1)
    for name in ("plain", "turned"):
        scales = stored[f"{name}.int8_scales"]
        error = (stored[name] * scales - weight).abs()
        assert (error <= 0.5001 * scales).all()
        assert stored[name].abs().amax() == 127


def test_a_bundled_network_in_8_bits_is_nearly_the_same(prn_file, tmp_path):
    original = load_prn(prn_file)
    path = bundle(prn_file, "prn_small", tmp_path, int8=True)
    stored = load_file(path)
    assert stored[LARGE].dtype == torch.int8
    assert stored["encoder.features.0.0.weight"].dtype == torch.float16
    loaded = load_prn(path)
    own = original.state_dict()
    for key, value in loaded.state_dict().items():
        if value.ndim == 4:
            largest = own[key].abs().amax(dim=(1, 2, 3), keepdim=True)
            assert ((value - own[key]).abs() <= 0.51 * largest / 127 + 1e-7).all(), key
    image, guidance = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        for a, b in zip(original(image, guidance), loaded(image, guidance), strict=True):
            assert (a - b).abs().max() < 0.05
            assert (a - b).abs().max() > 0


def test_the_paper_s_network_fits_into_30_megabytes_and_its_transposed_convolutions_are_known(
    tmp_path,
):
    weights = tmp_path / "weights.safetensors"
    save_file(
        PRN("resnet34").state_dict(), weights, {"encoder": "resnet34", "fusion": "progressive"}
    )
    path = bundle(weights, "prn_resnet34", tmp_path, int8=True)
    files = sorted(tmp_path.glob("prn_resnet34.*safetensors"))
    sizes = [file.stat().st_size for file in files]
    assert len(files) == 2
    assert max(sizes) < 25e6
    assert 29e6 < sum(sizes) < 30e6
    assert sum(sizes) < 0.26 * weights.stat().st_size
    assert path in files
    stored = load_file(files[0]) | load_file(files[1])
    assert stored["decoder.layer1.0.conv1.weight.int8_scales"].shape == (1, 512, 1, 1)
    assert stored["encoder.layer1.0.conv1.weight.int8_scales"].shape == (64, 1, 1, 1)
    assert load_prn(path).encoder_name == "resnet34"


def test_the_manifest_and_the_metadata_say_what_it_is(prn_file, tmp_path):
    half = bundle(prn_file, "half", tmp_path)
    coded = bundle(half, "coded", tmp_path, int8=True)
    again = bundle(coded, "again", tmp_path)
    found = [read_safetensors(path)[1] for path in (half, coded, again)]
    assert [metadata["precision"] for metadata in found] == ["float16", "int8", "float16"]
    assert all(metadata.items() >= PRN_METADATA.items() for metadata in found)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert list(manifest) == ["again", "coded", "half"]
    assert manifest["coded"]["architecture"] == "mobilenet_v2/progressive"
    assert manifest["coded"]["sha256"] == bundled_weights.sha256_of(coded)
    assert coded.stat().st_size < 0.58 * half.stat().st_size
    assert coded.stat().st_mode & 0o777 == 0o644


def changed(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path, PRN_METADATA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop(f"{LARGE}.int8_scales"),
            f"scales together, got one of the two for {LARGE}",
        ),
        (lambda s: s.pop(LARGE), f"scales together, got one of the two for {LARGE}"),
        (
            lambda s: s.update({f"{LARGE}.int8_scales": s[f"{LARGE}.int8_scales"] * float("nan")}),
            f"one scale above 0 for each channel of {LARGE}, got others",
        ),
        (
            lambda s: s.update({f"{LARGE}.int8_scales": -s[f"{LARGE}.int8_scales"]}),
            f"one scale above 0 for each channel of {LARGE}, got others",
        ),
        (
            lambda s: s.update({f"{LARGE}.int8_scales": s[f"{LARGE}.int8_scales"][:5]}),
            f"one scale above 0 for each channel of {LARGE}, got others",
        ),
    ],
)
def test_a_changed_file_is_refused(prn_file, tmp_path, change, message):
    path = bundle(prn_file, "prn_small", tmp_path, int8=True)
    changed(path, change)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_prn(path)


def test_a_changed_bundled_file_is_refused_by_its_hash(prn_file, tmp_path, monkeypatch):
    path = bundle(prn_file, "prn_small", tmp_path, int8=True)
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    load_prn("prn_small")
    changed(path, lambda s: s[LARGE].add_(1))
    with pytest.raises(CheckpointError, match="'prn_small' must have SHA-256"):
        load_prn("prn_small")


def test_values_that_cannot_be_stored_are_refused():
    with pytest.raises(ConfigError, match="must fit into half precision, got 1e"):
        to_half_precision({"a": torch.tensor([1e6])})
    with pytest.raises(ConfigError, match="weights must be finite, got others in a"):
        to_int8({"a": torch.full((64, 64), float("nan"))})


def test_the_foreground_network_is_bundled_and_answers_to_its_name(tmp_path, monkeypatch, capsys):
    torch.manual_seed(1)
    network = ForegroundNetwork()
    torch.nn.init.normal_(network.head.weight, 0, 0.05)
    weights = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), weights, {"encoder": "mobilenet_v2", "network": "foreground"})
    monkeypatch.setattr(command, "bundle", lambda *given, **how: bundle(*given, tmp_path, **how))
    assert command.main(["bundle", str(weights), "foreground_mobilenet_v2", "--int8"]) == 0
    assert "foreground_mobilenet_v2.safetensors: " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["foreground_mobilenet_v2"]["architecture"] == "foreground/mobilenet_v2"
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    image = np.random.default_rng(0).random((40, 33, 3), dtype=np.float32)
    alpha = np.full((40, 33), 0.5, np.float32)
    by_name = estimate_foreground(image, alpha, "network")
    assert np.abs(by_name - image).mean() > 0.01
    by_path = NetworkEstimator.load(weights, device="cpu", dtype="float32")
    assert np.abs(by_name - by_path(image, alpha)).mean() < 0.01
    with pytest.raises(CheckpointError, match="must hold this network's keys, got"):
        load_prn("foreground_mobilenet_v2")


def test_weights_of_another_network_are_no_foreground_network(prn_file):
    with pytest.raises(CheckpointError, match="must hold this network's keys, got"):
        load_foreground(prn_file)
    with pytest.raises(CheckpointError, match=r"weights must exist, got nowhere\.safetensors"):
        load_foreground("nowhere.safetensors")
