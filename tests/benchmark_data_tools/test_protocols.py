import doctest

import numpy as np
import pytest

from benchmark_data_tools import protocols
from benchmark_data_tools.data.samples import Pictures
from benchmark_data_tools.protocols import (
    Settings,
    case,
    perturb,
    probability_from_folder,
    shrink,
    trimap_variant,
    variants,
)
from mgm_core.guidance import dilate, erode
from mgm_core.images import write_image

SIZE = (60, 80)


def no_segmentation(name, image):
    raise AssertionError("this table needs no segmentation")


def pictures(**parts):
    alpha = np.zeros(SIZE, np.float32)
    alpha[20:40, 20:60] = 1
    alpha[20, 20:60] = 0.6
    return Pictures(np.full((*SIZE, 3), 0.5, np.float32), alpha, **parts)


def trimap():
    found = np.zeros(SIZE, np.float32)
    found[10:50, 10:70] = 128 / 255
    found[25:35, 30:50] = 1
    return found


def asked(table, variant, made=None, settings=None, **more):
    probability = more.pop("probability", no_segmentation)
    made = made or pictures(trimap=trimap())
    settings = settings or Settings()
    return case(table, variant, "a", made, settings, probability=probability, **more)


def test_the_docstrings_examples_run():
    assert doctest.testmod(protocols).failed == 0


def test_table_1_guides_by_the_trimap_or_its_foreground():
    by_trimap, by_foreground = asked("1", "trimap"), asked("1", "trimap_fg")
    assert np.unique(by_trimap.guidance).tolist() == [0, 0.5, 1]
    assert np.unique(by_foreground.guidance).tolist() == [0, 1]
    assert by_foreground.guidance.sum() == 200
    assert by_trimap.enforce
    assert by_trimap.regions["unknown"].sum() == 40 * 60 - 200


def test_table_4_does_not_enforce_the_trimap():
    assert not asked("4", "trimap").enforce


def test_table_2_asks_rivals_with_a_trimap_and_the_refiner_with_their_matte():
    made = pictures()
    rival = asked("2", "matte", made)
    # Alpha is fractional in row 20 only, columns 20 to 59; an ellipse of diameter 20 widens that.
    rows, columns = np.nonzero(rival.trimap == 0.5)
    assert (rows.min(), rows.max()) in {(10, 29), (11, 30)}
    assert (columns.min(), columns.max()) in {(10, 68), (11, 69)}
    matte = np.full(SIZE, 0.25, np.float32)
    assert np.array_equal(asked("2", "matte", made, rival_matte=matte).guidance, matte)


def test_table_5_makes_mask_and_trimap_from_the_probability():
    probability = np.zeros(SIZE, np.float32)
    probability[:, 30:] = 0.5
    probability[:, 60:] = 0.96
    marks = np.zeros(SIZE, np.float32)
    marks[0, 0], marks[0, 1] = 3 / 255, 1
    found = asked(
        "5",
        "segmentation",
        pictures(detail_map=marks),
        probability=lambda name, image: probability,
    )
    assert found.guidance[0].tolist() == [0] * 30 + [1] * 50
    assert found.trimap[0, [0, 45, 79]].tolist() == [0, 0.5, 1]
    assert found.regions["details"].sum() == 2
    assert found.regions["details_above_0.1"].sum() == 1


def test_the_robustness_mask_is_the_alpha_at_one_half_eroded_and_dilated():
    made = pictures()
    mask = (made.alpha >= 0.5).astype(np.float32)
    for variant, expected in (
        ("unchanged", mask),
        ("erode_10", erode(mask, 10)),
        ("dilate_10", dilate(mask, 10)),
    ):
        assert np.array_equal(asked("robustness", variant, made).guidance, expected)


def test_the_robustness_mask_may_come_from_the_segmentation():
    probability = np.full(SIZE, 0.7, np.float32)
    found = asked(
        "robustness",
        "unchanged",
        pictures(),
        Settings(mask="segmentation"),
        probability=lambda name, image: probability,
    )
    assert found.guidance.all()


def test_variants_go_from_the_most_eroded_to_the_most_dilated():
    settings = Settings(kernels_px=(20, 0, 10))
    assert variants("robustness", settings) == [
        "erode_20", "erode_10", "unchanged", "dilate_10", "dilate_20",
    ]  # fmt: skip
    assert trimap_variant("robustness", settings) is None
    assert trimap_variant("1", settings) == "trimap"


def test_erosion_is_the_dilation_of_the_background():
    mask = (pictures().alpha >= 0.5).astype(np.float32)
    assert np.array_equal(perturb(mask, "erode_7"), 1 - perturb(1 - mask, "dilate_7"))


def test_negative_kernels_are_refused():
    with pytest.raises(ValueError, match="kernels_px must be 0 or more, got -5"):
        Settings(kernels_px=(10, -5))


def test_pictures_are_averaged_to_the_low_resolution_and_never_enlarged():
    smaller = shrink(pictures(), 40)
    assert smaller.image.shape == (30, 40, 3)
    assert smaller.alpha.mean() == pytest.approx(pictures().alpha.mean(), rel=1e-5)
    assert shrink(pictures(), 720).alpha.shape == SIZE


def test_there_is_no_low_resolution_with_trimaps():
    with pytest.raises(ValueError, match=r"long_side_px must be left out where .* got 40"):
        shrink(pictures(trimap=trimap()), 40)


def test_probabilities_are_read_by_name(tmp_path):
    write_image(tmp_path / "a.png", np.ones((4, 5), np.float32))
    probability = probability_from_folder(tmp_path)
    assert probability("a", np.zeros((4, 5, 3), np.float32)).all()
    with pytest.raises(ValueError, match="a probability map of every image, got none of b"):
        probability("b", np.zeros((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"a\.png must have the image's size 6x4, got 5x4"):
        probability("a", np.zeros((4, 6, 3), np.float32))
