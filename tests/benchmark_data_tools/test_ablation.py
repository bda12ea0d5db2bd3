import numpy as np
import pytest

from benchmark_data_tools import ablation
from benchmark_data_tools.__main__ import main
from benchmark_data_tools.ablation import PRODUCT, VARIANTS, Variant, ablate, markdown, samples_of
from benchmark_data_tools.data.samples import Pictures, load
from mgm_core.guidance import from_binary_mask, from_trimap
from mgm_core.matting.refine import CandidateAlphas, fusion_weights, mean_view, unknown_region
from mgm_core.models import Models


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu")


@pytest.fixture(scope="module")
def pictures(mini_benchmark):
    whole = load(samples_of(mini_benchmark / "3", 1)[0])
    soft = (whole.alpha > 0) & (whole.alpha < 1)
    top, left = np.argwhere(soft)[np.count_nonzero(soft) // 2] - 48
    part = np.s_[max(0, top) : max(0, top) + 96, max(0, left) : max(0, left) + 96]
    planes = {name: None if plane is None else plane[part] for name, plane in vars(whole).items()}
    return Pictures(**planes)


def _found(pictures, guidance, models, variants):
    """Return each variant's alpha, as `ablate` computes it."""
    matter = models.matter()
    known = from_trimap(pictures.trimap) if guidance == "trimap" else None
    guide = known if known is not None else from_binary_mask(pictures.alpha, 0.5)
    views = matter.matte(pictures.image, guide).alpha, matter.magnified_view(pictures.image, guide)
    views = [ablation._enforce(view, known) for view in views]
    network = models.refiner(fusion_weights(known)).network
    return [
        ablation._alpha(pictures.image, guide, known, views, matter, network, variant)
        for variant in variants
    ], matter.matte(pictures.image, guide, known=known, refine="full").alpha


@pytest.mark.parametrize("guidance", ["trimap", "mask"])
def test_the_unchanged_variant_is_what_the_product_does(pictures, guidance, models):
    (alpha,), product = _found(pictures, guidance, models, [PRODUCT])
    assert np.array_equal(alpha, product)


def test_the_candidates_are_the_products(pictures, models):
    view = models.matter().matte(pictures.image, from_trimap(pictures.trimap)).alpha
    views = [view, view[:, ::-1].copy()]
    given = pictures.image, mean_view(views), unknown_region(view)
    for other in (views, [view, view]):
        found = PRODUCT.candidates(*given)(other)
        assert np.array_equal(found, CandidateAlphas(*given)(other))


def test_every_variant_changes_alpha(pictures, models):
    changed = [v for v in VARIANTS if Variant(PRODUCT.name, **_settings(v)) != PRODUCT]
    alphas, product = _found(pictures, "mask", models, changed)
    same = [v.name for v, alpha in zip(changed, alphas, strict=True) if (alpha == product).all()]
    assert same == []


def _settings(variant):
    return {name: value for name, value in vars(variant).items() if name != "name"}


def test_errors_and_foregrounds_are_rows(mini_benchmark, models):
    samples = samples_of(mini_benchmark / "3", 1)
    alone = Variant("the matting network alone", refines=False)
    done = []
    rows = ablate(samples, done.append, variants=[alone, Variant("the same")], models=models)
    assert done == [samples[0].name]
    foregrounds = [f"foreground: {method}" for method in ("multilevel", "network", "raw")]
    names = [PRODUCT.name, alone.name, *foregrounds]  # what changes nothing is no row
    assert [(row.name, row.guidance) for row in rows] == [
        (name, guidance) for guidance in ("trimap", "mask") for name in names
    ]
    product, network = rows[:2]
    assert product.change == 1
    assert network.change == pytest.approx(network.mse / product.mse, rel=1e-4)
    assert product.seconds > 0
    assert f"| {alone.name} | trimap | 1 | {1e3 * network.mse:.3f} |" in markdown(rows)


def test_images_are_chosen_evenly(mini_benchmark):
    everything = samples_of(mini_benchmark / "1", None)
    assert samples_of(mini_benchmark / "1", 10**6) == everything
    assert samples_of(mini_benchmark / "1", 2) == [everything[0], everything[-1]]
    with pytest.raises(ValueError, match="count must be 1 or more, got 0: leave it out"):
        samples_of(mini_benchmark / "1", 0)


def test_the_command_prints_the_table(mini_benchmark, monkeypatch, capsys):
    monkeypatch.setattr(ablation.ablate, "__kwdefaults__", dict(ablate.__kwdefaults__, variants=()))
    assert main(["ablate", "--data", str(mini_benchmark / "1"), "--count", "1"]) == 0
    assert "| as bundled | trimap | 1 |" in capsys.readouterr().out
    assert main(["ablate", "--data", str(mini_benchmark / "1"), "--count", "0"]) == 1
