from dataclasses import replace

import numpy as np
import pytest
from demo_pictures import photo_pixels, subject_mask
from PIL import Image

from demo.backend.orders import File, Order
from demo.backend.robustness import (
    PAPER_GROWTH_PERCENT,
    PAPER_SAD,
    Trial,
    as_csv,
    disagreement,
    heat,
    read_sizes,
    trials,
)
from mgm_core.guidance import dilate, erode
from mgm_core.images import write_image
from mgm_core.matting.matter import Matte
from mgm_core.recipe import Recipe


@pytest.fixture
def order(photo):
    return Order(File.at(photo), Recipe(foreground="raw"))


def test_sizes_are_taken_on_both_sides():
    assert read_sizes("10, 20,30") == (-30, -20, -10, 0, 10, 20, 30)
    assert read_sizes("5;5 0") == (-5, 0, 5)


@pytest.mark.parametrize("text", ["", "ten", "10.5", "-10", "10/20", "10x20"])
def test_what_are_no_sizes_is_refused(text):
    with pytest.raises(ValueError, match=r"sizes must be whole numbers, got .*: write 10, 20, 30"):
        read_sizes(text)


@pytest.mark.parametrize("text", ["0", "31", "1 2 3 4 5 6 7"])
def test_sizes_out_of_range_are_refused(text):
    with pytest.raises(ValueError, match="sizes must be 1 to 6 numbers from 1 to 30, got"):
        read_sizes(text)


def test_errors_are_those_from_the_unperturbed_result(studio, order):
    shrunk, same, grown = trials(studio, order, [-9, 0, 12])
    assert np.array_equal(shrunk.guidance, erode(subject_mask(), 9))
    assert np.array_equal(grown.guidance, dilate(subject_mask(), 12))
    assert (same.sad, same.mse) == (0, 0)
    for trial in (shrunk, grown):
        difference = trial.alpha.astype(np.float64) - same.alpha
        assert trial.sad == pytest.approx(np.abs(difference).sum() / 1000)
        assert trial.mse == pytest.approx((difference**2).sum() / difference.size * 1000)
        share = 100 * np.abs(difference).sum() / same.alpha.sum(dtype=np.float64)
        assert trial.change_percent == pytest.approx(share)
    guidance_difference = np.abs(grown.guidance.astype(np.float64) - same.alpha)
    assert grown.guidance_sad == pytest.approx(guidance_difference.sum() / 1000)


def test_a_true_alpha_is_what_is_compared_with(studio, order, tmp_path):
    truth = dilate(subject_mask(), 12)
    write_image(tmp_path / "truth.png", truth)
    (same,) = trials(studio, order, [0], File.at(str(tmp_path / "truth.png")))
    assert same.sad == pytest.approx(np.abs(same.alpha - truth).sum() / 1000, rel=1e-5)
    assert same.sad > 0.1
    (grown,) = trials(studio, order, [12], File.at(str(tmp_path / "truth.png")))
    assert same.change_percent == 0
    assert grown.change_percent == pytest.approx(100 * (grown.sad / same.sad - 1), rel=1e-5)


def test_a_true_alpha_is_read_without_the_label_of_the_visitors_own_mask(studio, order, tmp_path):
    labels = np.where(subject_mask() > 0, 15, 0).astype(np.uint8)
    labels[:4, :4] = 7
    Image.fromarray(labels).save(tmp_path / "labels.png")
    write_image(tmp_path / "truth.png", dilate(subject_mask(), 12))
    labelled = replace(
        order,
        mask=File.at(str(tmp_path / "labels.png")),
        recipe=replace(order.recipe, own_mask=True, label=15),
    )
    truth = File.at(str(tmp_path / "truth.png"))
    (same,) = trials(studio, labelled, [0], truth)
    assert same.sad == pytest.approx(
        np.abs(same.alpha - dilate(subject_mask(), 12)).sum() / 1000, rel=1e-5
    )


def test_a_true_alpha_that_is_the_result_is_refused(studio, order, tmp_path):
    write_image(tmp_path / "truth.png", studio.matte(replace(order, perturb_px=0)).alpha)
    truth = File.at(str(tmp_path / "truth.png"))
    result = studio.mask(truth).mask
    studio.matte = lambda _order: Matte(result)
    with pytest.raises(ValueError, match="got the same: leave the true alpha out"):
        list(trials(studio, order, [0], truth))


def test_a_true_alpha_of_another_size_is_refused(studio, matter, order, tmp_path):
    write_image(tmp_path / "truth.png", subject_mask()[:10])
    with pytest.raises(ValueError, match="must have the photo's size 64x48, got 64x10"):
        list(trials(studio, order, [0], File.at(str(tmp_path / "truth.png"))))
    assert matter.seen == []  # refused before anything is cut out


def test_the_test_starts_from_what_the_visitor_set(studio, order):
    grown = replace(order, recipe=replace(order.recipe, shift_px=6))
    (trial,) = trials(studio, grown, [4])
    assert np.array_equal(trial.guidance, dilate(dilate(subject_mask(), 6), 4))


def test_results_disagree_by_their_greatest_difference():
    planes = [np.full((2, 2), value, np.float32) for value in (0.25, 0.75, 0.5)]
    planes[0][0, 0] = 1
    assert disagreement(planes).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert disagreement(planes[:1]).max() == 0


def test_the_heat_map_is_a_dark_photo_where_nothing_differs_and_white_where_all_does():
    difference = np.zeros((48, 64), np.float32)
    difference[0, 0] = 1
    painted = heat(photo_pixels(), difference)
    assert painted[0, 0] == pytest.approx([1, 1, 1])
    assert painted[5, 5] == pytest.approx(0.3 * photo_pixels()[5, 5].mean(), abs=1e-6)


def test_figures_are_written_as_csv():
    plane = np.zeros((1, 1), np.float32)
    text = as_csv([Trial(-10, plane, plane, sad=1.5, mse=0.25, guidance_sad=3, change_percent=2)])
    assert text == (
        "grow_px,sad_thousand,mse_thousandth,guidance_sad_thousand,change_percent\n"
        "-10,1.5000,0.2500,3.0000,2.0000\n"
    )


def test_the_papers_figures_rise_on_both_sides():
    sizes = sorted(PAPER_SAD)
    assert sizes == [-30, -20, -10, 0, 10, 20, 30]
    assert min(PAPER_SAD, key=PAPER_SAD.get) == 0
    # "from 26.8 to 27.1 ... 28.1"
    assert PAPER_GROWTH_PERCENT[-10] == pytest.approx(1.12, abs=0.01)
    assert PAPER_GROWTH_PERCENT[30] == pytest.approx(4.85, abs=0.01)
