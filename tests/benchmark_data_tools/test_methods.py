import doctest
import json
import re

import numpy as np
import pytest

from benchmark_data_tools import methods
from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import load
from benchmark_data_tools.methods import (
    MethodSpec,
    alpha_method,
    check_folder,
    identity,
    parse,
    parse_refiner,
    predict_foreground,
)
from benchmark_data_tools.protocols import Settings, case
from mgm_core import weights as bundled_weights
from mgm_core.guidance import from_trimap
from mgm_core.images import write_image


def question(mini_benchmark, table="1", variant="trimap"):
    sample = find_samples(table, mini_benchmark / table)[0]
    return case(table, variant, sample.name, load(sample), Settings(), probability=None)


def test_names_are_read():
    assert parse("closed_form", "1") == MethodSpec("closed_form")
    assert parse("closed_form", "3") == MethodSpec("closed_form", "closed_form")
    assert parse("knn", "3") == MethodSpec("knn", "multilevel")
    assert parse("truth+closed_form", "3") == MethodSpec("truth", "closed_form")
    assert doctest.testmod(methods).failed == 0


def test_paths_are_read_whole(tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    assert parse(f"folder:{folder}", "1").folder == folder
    assert parse(f"folder:{folder}+multilevel", "3") == MethodSpec(f"folder:{folder}", "multilevel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("closed-form", "method must be one of"),
        ("folder:/nowhere", "method must name what exists, got folder:/nowhere: check the path"),
        ("weights:", "method must name what exists, got weights:: check the path"),
        ("portrait", "method must be one of prn_"),
        ("refined:knn", "method must name a matting network after refined: or half:, one of prn_"),
        ("refined:weights:/nowhere", "method must name what exists, got weights:/nowhere: check"),
        ("truth+network", "must not name a foreground method outside table 3, got truth+network"),
        ("knn+multilevel", "must not name a foreground method outside table 3, got knn+multil"),
    ],
)
def test_wrong_names_are_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text, "1")


def test_the_foreground_network_is_a_method_of_table_3(tmp_path):
    assert parse("truth+network", "3") == MethodSpec("truth", "network")
    path = tmp_path / "a+b.safetensors"
    path.touch()
    assert parse(f"knn+network:{path}", "3") == MethodSpec("knn", f"network:{path}")
    with pytest.raises(ValueError, match="must name what exists, got network:/nowhere: check"):
        parse("knn+network:/nowhere", "3")
    with pytest.raises(ValueError, match="must name what exists, got network:: check"):
        parse("knn+network:", "3")


def test_slugs_are_folder_names_and_tell_methods_apart():
    slugs = {MethodSpec(alpha).slug for alpha in ("folder:a/b", "folder:a-b", "folder:a:b")}
    assert len(slugs) == 3
    assert all(re.fullmatch(r"[\w-]+", slug) for slug in slugs)


def test_trimap_methods_run_where_there_is_a_trimap_only(tmp_path):
    rival = MethodSpec("knn")
    assert rival.variants(["trimap", "trimap_fg"], "trimap") == ["trimap"]
    assert MethodSpec("guidance").variants(["trimap", "trimap_fg"], "trimap") == [
        "trimap",
        "trimap_fg",
    ]
    with pytest.raises(ValueError, match="must take a mask in this table, got knn, which takes"):
        rival.variants(["unchanged"], None)


def test_folders_answer_the_variants_that_they_have(tmp_path):
    spec = MethodSpec(f"folder:{tmp_path}")
    assert spec.variants(["trimap", "trimap_fg"], "trimap") == ["trimap"]
    with pytest.raises(ValueError, match=r"must hold a folder a variant \(erode_10, unchanged\)"):
        spec.variants(["erode_10", "unchanged"], None)
    (tmp_path / "unchanged").mkdir()
    assert spec.variants(["erode_10", "unchanged"], None) == ["unchanged"]


def test_a_missing_prediction_is_refused(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 4), np.float32))
    spec = MethodSpec(f"folder:{tmp_path}")
    check_folder(spec, ["trimap"], ["a"])
    message = "must hold a prediction of every image, got none of b: add it; a mean over fewer"
    with pytest.raises(ValueError, match=message):
        check_folder(spec, ["trimap"], ["a", "b"])


def test_a_folder_of_colours_is_checked_too(tmp_path):
    for folder in ("alpha", "foreground"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "a.png", np.zeros((4, 4), np.float32))
    write_image(tmp_path / "alpha" / "b.png", np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"foreground must hold a prediction of .* got none of b"):
        check_folder(MethodSpec(f"folder:{tmp_path}", "multilevel"), ["trimap"], ["a", "b"])


def test_identities_follow_content(tmp_path, untrained):
    write_image(tmp_path / "a.png", np.zeros((4, 4), np.float32))
    spec = MethodSpec(f"folder:{tmp_path}")
    before = identity(spec)
    assert identity(spec) == before
    write_image(tmp_path / "a.png", np.ones((4, 4), np.float32))
    assert identity(spec) != before
    assert len(identity(MethodSpec(untrained))["alpha_sha256"]) == 64
    assert identity(MethodSpec("knn", refiner=untrained)).keys() == {
        "method",
        "alpha_pymatting",
        "refiner_sha256",
    }


def test_identities_follow_every_file_of_bundled_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled_weights, "WEIGHTS_FOLDER", tmp_path)
    files = [tmp_path / name for name in ("two.safetensors", "two.2.safetensors")]
    found = []
    for content in (b"first", b"second"):
        files[0].write_bytes(b"the same")
        files[1].write_bytes(content)
        first, second = map(bundled_weights.sha256_of, files)
        entry = {"file": files[0].name, "sha256": first, "architecture": "resnet34/progressive"}
        entry["further"] = {files[1].name: second}
        (tmp_path / "manifest.json").write_text(json.dumps({"two": entry}))
        found.append(identity(MethodSpec("two")))
        assert found[-1]["alpha_sha256"] == f"{first} {second}"
    assert found[0] != found[1]


def test_refinement_betters_a_network_s_answer(mini_benchmark, untrained):
    asked = question(mini_benchmark)
    spec = parse(f"refined:{untrained}", "1")
    found = identity(spec)
    assert found["alpha_sha256"] == identity(MethodSpec(untrained))["alpha_sha256"]
    assert len(found["alpha_fusion_sha256"]) == 64
    assert parse("refined:prn_mobilenet_v2+multilevel", "3").alpha == "refined:prn_mobilenet_v2"
    assert parse(f"lines:{untrained}", "1") == spec  # as it was called before
    assert parse_refiner(f"lines:{untrained}") == f"refined:{untrained}"
    assert parse("truth+fused", "3") == parse("truth+network", "3")
    plain, refined = (alpha_method(name)(asked, "", "") for name in (untrained, spec.alpha))
    known = from_trimap(asked.trimap) != 0.5
    assert (plain == refined)[known].all()
    errors = [np.abs(a - asked.pictures.alpha)[~known].mean() for a in (plain, refined)]
    assert errors[1] < errors[0]


def test_guidance_and_truth_answer_with_themselves(mini_benchmark):
    asked = question(mini_benchmark)
    assert alpha_method("guidance")(asked, "", "") is asked.guidance
    assert alpha_method("truth")(asked, "", "") is asked.pictures.alpha


def test_known_pixels_of_the_network_s_answer_are_the_trimap_s(mini_benchmark, untrained):
    asked = question(mini_benchmark)
    alpha = alpha_method(untrained)(asked, "", "")
    assert (alpha[asked.trimap == 0] == 0).all()
    assert (alpha[asked.trimap == 1] == 1).all()
    free = question(mini_benchmark, "4")
    assert not (alpha_method(untrained)(free, "", "")[free.trimap == 0] == 0).all()


@pytest.mark.parametrize("name", ["closed_form", "learning_based"])
def test_classical_methods_better_a_trimap(mini_benchmark, name):
    asked = question(mini_benchmark)
    truth, unknown = asked.pictures.alpha, asked.regions["unknown"]
    alpha = alpha_method(name)(asked, "", "")
    assert alpha.dtype == np.float32
    error, start = (np.abs(a - truth)[unknown].mean() for a in (alpha, asked.guidance))
    assert error < 0.5 * start


def test_colours_of_the_network_are_its_own(mini_benchmark, untrained_foreground):
    asked = question(mini_benchmark, "3")
    truth = asked.pictures
    spec = parse(f"truth+network:{untrained_foreground}", "3")
    found = predict_foreground(spec, asked, "mini_0", "trimap", truth.alpha)
    np.testing.assert_array_equal(found[truth.alpha == 1], truth.image[truth.alpha == 1])
    assert np.abs(found - truth.image)[truth.alpha < 1].mean() > 0.01
    assert len(identity(spec)["foreground_sha256"]) == 64


def test_colours_are_estimated_or_read(mini_benchmark, tmp_path):
    asked = question(mini_benchmark, "3")
    truth = asked.pictures
    found = predict_foreground(
        MethodSpec("truth", "multilevel"), asked, "mini_0", "trimap", truth.alpha
    )
    assert np.abs(found - truth.foreground)[truth.alpha > 0.5].mean() < 0.02
    (tmp_path / "foreground").mkdir()
    write_image(tmp_path / "foreground" / "mini_0.png", truth.foreground)
    spec = MethodSpec(f"folder:{tmp_path}", "multilevel")
    read = predict_foreground(spec, asked, "mini_0", "trimap", truth.alpha)
    np.testing.assert_allclose(read, truth.foreground, atol=1e-6)
