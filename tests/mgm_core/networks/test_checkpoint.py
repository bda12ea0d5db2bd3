import json
import pickle
import zipfile

import pytest
import torch
from official import official_state
from safetensors.torch import save_file

from mgm_core import weights as bundled_weights
from mgm_core.networks.checkpoint import (
    fold_spectral_norm,
    load_prn,
    read_safetensors,
)
from mgm_core.weights import CheckpointError


@pytest.fixture(scope="module")
def official_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "MGMatting-DIM-100k.pth"
    state = {f"module.{key}": value for key, value in official_state().items()}
    torch.save({"iter": 100_000, "loss": 0.1, "state_dict": state, "opt_state_dict": {}}, path)
    return path


class _Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def _tampered(official_file, tmp_path, change):
    content = torch.load(official_file, weights_only=True)
    change(content["state_dict"])
    path = tmp_path / "other.pth"
    torch.save(content, path)
    return path


def test_the_authors_checkpoint_loads(official_file):
    network = load_prn(official_file)
    assert network.encoder_name == "resnet34"
    assert not network.training


def test_spectral_norm_is_folded_by_the_largest_singular_value():
    weight = torch.diag(torch.tensor([3.0, 1.0]))[:, :, None, None]
    folded = fold_spectral_norm(
        {
            "a.module.weight_bar": weight,
            "a.module.weight_u": torch.tensor([1.0, 0.0]),
            "a.module.weight_v": torch.tensor([1.0, 0.0]),
            "a.bias": torch.zeros(2),
        }
    )
    assert folded.keys() == {"a.weight", "a.bias"}
    torch.testing.assert_close(folded["a.weight"], weight / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("module.aspp.conv2.weight"), r"1 missing \(aspp.conv2.weight\)"),
        (
            lambda s: s.update({"module.extra.weight": torch.zeros(1)}),
            r"1 unexpected \(extra.weight\)",
        ),
        (
            lambda s: s.update({"module.aspp.bn2.bias": torch.zeros(3)}),
            r"1 of another shape \(aspp.bn2.bias \(3,\) for \(512,\)\)",
        ),
        (
            lambda s: s.pop("module.encoder.conv1.module.weight_u"),
            "must hold encoder.conv1.module.weight_u beside",
        ),
        (
            lambda s: s.update({"module.encoder.conv1.module.weight_u": torch.ones(3)}),
            r"must hold encoder.conv1.module.weight_u and _v that fit .* got \(3,\)",
        ),
        (
            lambda s: s["module.encoder.conv1.module.weight_u"].zero_(),
            r"1 not finite \(encoder.conv1.weight\)",
        ),
        (lambda s: s["module.aspp.bn2.bias"].fill_(torch.nan), r"1 not finite \(aspp.bn2.bias\)"),
        (
            lambda s: s.update({"module.aspp.bn2.bias": torch.ones(512, dtype=torch.int64)}),
            r"1 of another type \(aspp.bn2.bias int64\)",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_why(official_file, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_prn(_tampered(official_file, tmp_path, change))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        load_prn(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"encoder": "vgg"}, "must be of a resnet34 or mobilenet_v2 network, got 'vgg'"),
        ({"encoder": "mobilenet_v2", "fusion": "x"}, "must name a fusion of progressive, .*'x'"),
        ({"parts": "x"}, "must name the number of their parts, got 'x'"),
    ],
)
def test_a_file_whose_metadata_mean_nothing(tmp_path, metadata, message):
    path = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=f"{message} in .*odd.safetensors"):
        load_prn(path)


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"weights must exist, got .*none"):
        load_prn(tmp_path / name)


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="must be a safetensors file"):
        load_prn(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a text\n",
        b"\x80\x02}q\x00.",
        b"PK\x03\x04",
        b"i\n",
        b"0",
        bytes(range(256)),
        b"(lp0\n.",
    ],
)
def test_what_is_no_checkpoint_says_so(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="weights must be a checkpoint that holds tensors"):
        load_prn(tmp_path / "a.pth")


def test_files_that_grow_as_they_are_read_are_refused(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    with pytest.raises(CheckpointError, match="as PyTorch saves them, got the compressed archive"):
        load_prn(tmp_path / "small.pth")
    torch.save({"a": torch.zeros(1).expand(10**8)}, tmp_path / "repeated.pth")
    with pytest.raises(CheckpointError, match="hold as much as their file, got tensors of 4000000"):
        load_prn(tmp_path / "repeated.pth")


def test_a_broken_manifest_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    for content in (None, "", "{", "[]", '{"a": 3}', '{"a": {"x": 1}}'):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"must have their manifest at .*: install the"):
            load_prn("prn_mobilenet_v2")


def test_a_file_without_a_state_dict(tmp_path):
    torch.save({"state_dict": {"a": 3}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="must hold a state dict of tensors"):
        load_prn(tmp_path / "a.pth")


def test_an_unknown_name_lists_the_bundled_ones():
    names = ", ".join(sorted(bundled_weights.bundled()))
    with pytest.raises(CheckpointError, match=f"a file or one of {names}, got 'prn_x'"):
        load_prn("prn_x")


def test_every_bundled_file_has_its_hash_and_a_card():
    for name, entry in bundled_weights.bundled().items():
        path = bundled_weights.bundled_path(name)
        assert path.with_suffix(".md").is_file(), f"{entry.file} has no model card"
    files = {p.name: p.stat().st_size for p in bundled_weights.WEIGHTS_FOLDER.glob("*.safetensors")}
    assert set(files) == {file for e in bundled_weights.bundled().values() for file in e.hashes}
    assert max(files.values()) <= 25_000_000
    assert sum(files.values()) <= 60_000_000


def test_a_tampered_bundled_file_is_refused(tmp_path, monkeypatch):
    name, entry = next(iter(bundled_weights.bundled().items()))
    whole = bundled_weights.bundled_path(name).read_bytes()
    (tmp_path / entry.file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    manifest = (bundled_weights.WEIGHTS_FOLDER / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(manifest)
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=f"must have SHA-256 {entry.sha256}, got"):
        load_prn(name)
    (tmp_path / entry.file).unlink()
    with pytest.raises(CheckpointError, match="which is missing: install the package again"):
        load_prn(name)


@pytest.mark.parametrize(
    ("name", "file"), [(e.name, f) for e in bundled_weights.bundled().values() for f in e.hashes]
)
def test_a_flipped_byte_in_any_bundled_file_is_found_before_work_begins(
    tmp_path, monkeypatch, name, file
):
    for path in bundled_weights.WEIGHTS_FOLDER.iterdir():
        if path.name != file:
            (tmp_path / path.name).symlink_to(path)
    broken = bytearray((bundled_weights.WEIGHTS_FOLDER / file).read_bytes())
    broken[len(broken) // 3] ^= 4
    (tmp_path / file).write_bytes(broken)
    bundled_weights.verify_bundled()
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=f"weights '{name}' must have SHA-256 "):
        bundled_weights.verify_bundled()


def test_the_manifest_is_sorted_and_complete():
    manifest = json.loads((bundled_weights.WEIGHTS_FOLDER / "manifest.json").read_text())
    assert list(manifest) == sorted(manifest)
    assert {"portrait", "prn_mobilenet_v2"} <= manifest.keys()


def test_half_precision_is_widened(tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({"a": torch.tensor([0.5], dtype=torch.float16), "n": torch.tensor(3)}, path,
              {"encoder": "x"})  # fmt: skip
    state, metadata = read_safetensors(path)
    assert state["a"].dtype == torch.float32
    assert state["n"].dtype == torch.int64
    assert metadata == {"encoder": "x"}
