import csv
import doctest
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from benchmark_data_tools import metrics
from benchmark_data_tools.metrics import (
    alpha_errors,
    connectivity_difference,
    connectivity_error,
    foreground_errors,
    gradient_difference,
    gradient_error,
    mse,
    percentiles,
    sad,
)
from benchmark_data_tools.regions import unknown, whole
from mgm_core.images import read_mask

GOLDEN = Path(__file__).parents[1] / "data" / "metrics"
GOLDEN_ROWS = list(csv.DictReader((GOLDEN / "octave.csv").read_text("utf-8").splitlines()))


def some_mattes(seed=0, shape=(40, 50), sigma=3.0):
    generator = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(generator.normal(size=shape), (0, 0), sigma)
    truth = np.clip(noise / noise.std() + 0.5, 0, 1)
    prediction = np.clip(truth + 0.15 * generator.normal(size=shape), 0, 1)
    return prediction.astype(np.float32), truth.astype(np.float32)


@pytest.mark.parametrize("row", GOLDEN_ROWS, ids=lambda row: f"{row['case']}-{row['region']}")
def test_errors_are_those_of_the_official_code(row):
    prediction, truth, trimap = (
        read_mask(GOLDEN / f"{row['case']}_{part}.png") for part in ("pred", "alpha", "trimap")
    )
    region = unknown(trimap) if row["region"] == "unknown" else whole(truth)
    found = alpha_errors(prediction, truth, {"region": region})["region"]
    assert found.sad == pytest.approx(float(row["sad"]), rel=1e-4)
    assert found.mse == pytest.approx(float(row["mse"]), rel=1e-4)
    assert found.grad == pytest.approx(float(row["grad"]), rel=1e-4)
    assert found.conn == pytest.approx(float(row["conn"]), rel=1e-3)


def test_the_golden_table_is_complete():
    assert len(GOLDEN_ROWS) == 12


def test_the_docstrings_examples_run():
    assert doctest.testmod(metrics).failed == 0


def test_sad_and_mse_of_a_case_done_by_hand():
    prediction = np.array([[0.5, 1.0], [0.0, 0.25]], np.float32)
    truth = np.array([[1.0, 1.0], [0.0, 0.0]], np.float32)
    left = np.array([[True, False], [True, False]])
    assert sad(prediction, truth) == pytest.approx(0.75 / 1000)
    assert mse(prediction, truth) == pytest.approx((0.25 + 0.0625) / 4)
    assert sad(prediction, truth, left) == pytest.approx(0.5 / 1000)
    assert mse(prediction, truth, left) == pytest.approx(0.125)


def test_connectivity_of_a_case_done_by_hand():
    # The opaque island on the right is cut off from the larger one on the left at every
    # threshold, so it is connected up to 0 and counts as 0 connected: an error of 1 where the
    # prediction lacks it altogether, as there the prediction is fully connected to nothing.
    truth = np.array([[1, 1, 1, 0, 1]], np.float32)
    prediction = np.array([[1, 1, 1, 0, 0]], np.float32)
    assert connectivity_difference(prediction, truth).tolist() == [[0, 0, 0, 0, 1]]
    assert connectivity_error(prediction, truth) == pytest.approx(1 / 1000)


def test_connectivity_forgives_what_exceeds_the_connected_level_by_little():
    truth = np.array([[1.0, 1.0, 0.7]], np.float32)
    prediction = np.array([[1.0, 1.0, 0.74]], np.float32)
    assert connectivity_error(prediction, truth) == 0
    prediction[0, 2] = 0.9  # connected up to 0.7, 0.2 above
    assert connectivity_error(prediction, truth) == pytest.approx(0.2 / 1000, rel=1e-5)


def test_connectivity_where_no_pixel_reaches_a_threshold_in_both_mattes():
    nothing, everything = np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32)
    assert connectivity_error(nothing, everything) == pytest.approx(12 / 1000)


def test_the_largest_component_is_the_first_down_the_columns_where_sizes_are_equal():
    # In row order the upper right pair comes first, in column order the lower left one. Connected
    # up to 0.6, the latter's excess of 0.1 is forgiven; unconnected it would count.
    truth = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0.7, 0.7, 0, 0]], np.float32)
    prediction = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0.6, 0.6, 0, 0]], np.float32)
    assert connectivity_error(prediction, truth) == 0
    assert slow_connectivity(prediction.astype(float), truth.astype(float)) == 0


def slow_components(mask):
    """Pixel by pixel flood fill, in column order."""
    seen = np.zeros(mask.shape, bool)
    components = []
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if not mask[y, x] or seen[y, x]:
                continue
            seen[y, x] = True
            component, queue = [], [(y, x)]
            while queue:
                v, u = queue.pop()
                component.append((v, u))
                for a, b in ((v - 1, u), (v + 1, u), (v, u - 1), (v, u + 1)):
                    inside = 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]
                    if inside and mask[a, b] and not seen[a, b]:
                        seen[a, b] = True
                        queue.append((a, b))
            components.append(component)
    return components


def slow_connectivity(prediction, truth):
    level = np.full(truth.shape, -1.0)
    for step in range(1, 11):
        common = (prediction >= step / 10 - 1e-6) & (truth >= step / 10 - 1e-6)
        components = slow_components(common)
        largest = max(components, key=len) if components else []
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if level[y, x] == -1 and (y, x) not in largest:
                    level[y, x] = (step - 1) / 10
    level[level == -1] = 1
    total = 0.0
    for p, t, low in zip(prediction.flat, truth.flat, level.flat, strict=True):
        phi_p = 1 - (p - low) * (p - low >= 0.15)
        phi_t = 1 - (t - low) * (t - low >= 0.15)
        total += abs(phi_p - phi_t)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_connectivity_equals_a_pixel_by_pixel_twin(seed):
    prediction, truth = some_mattes(seed, shape=(14, 17), sigma=1.5)
    expected = slow_connectivity(prediction.astype(float), truth.astype(float))
    assert connectivity_error(prediction, truth) * 1000 == pytest.approx(expected, rel=1e-5)


def test_gradient_equals_a_twin_with_the_official_two_dimensional_kernel():
    prediction, truth = some_mattes()
    prediction = 0.7 * prediction + np.float32(0.2)  # stretched to [0, 1] by either
    sigma, half = 1.4, 4  # exp(-4.3^2 / 2 / 1.4^2) is where the Gaussian falls below 0.01
    x = np.arange(-half, half + 1.0)
    gaussian = np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    across = np.outer(gaussian, -x * gaussian / sigma**2)
    across /= np.sqrt((across**2).sum())

    def amplitude(alpha):
        alpha = alpha.astype(float)
        stretched = (alpha - alpha.min()) / (alpha.max() - alpha.min())
        gx = ndimage.convolve(stretched, across, mode="nearest")
        gy = ndimage.convolve(stretched, across.T, mode="nearest")
        return np.hypot(gx, gy)

    expected = (amplitude(prediction) - amplitude(truth)) ** 2
    np.testing.assert_allclose(gradient_difference(prediction, truth), expected, atol=1e-5)


def test_gradient_of_constant_mattes_is_zero():
    flat = np.full((20, 20), 0.3, np.float32)
    assert gradient_error(flat, np.zeros_like(flat)) == pytest.approx(0, abs=1e-9)


def test_a_perfect_prediction_has_no_error_and_errors_do_not_depend_on_orientation():
    prediction, truth = some_mattes()
    regions = {"whole": whole(truth)}
    perfect = alpha_errors(truth, truth, regions)["whole"]
    assert (perfect.sad, perfect.mse, perfect.grad, perfect.conn) == (0, 0, 0, 0)
    upright = alpha_errors(prediction, truth, regions)["whole"]
    flipped = alpha_errors(
        np.ascontiguousarray(prediction[::-1]), np.ascontiguousarray(truth[::-1]), regions
    )["whole"]
    assert upright.sad == pytest.approx(flipped.sad)
    assert upright.grad == pytest.approx(flipped.grad, rel=1e-5)
    assert upright.conn == pytest.approx(flipped.conn, rel=1e-5)


def test_regions_add_up_and_all_four_errors_at_once_are_those_one_by_one():
    prediction, truth = some_mattes()
    left = np.zeros(truth.shape, bool)
    left[:, :20] = True
    found = alpha_errors(prediction, truth, {"l": left, "r": ~left, "w": whole(truth)})
    assert found["l"].sad + found["r"].sad == pytest.approx(found["w"].sad)
    assert found["l"].conn + found["r"].conn == pytest.approx(found["w"].conn)
    assert found["l"].sad == pytest.approx(sad(prediction, truth, left))
    assert found["l"].mse == pytest.approx(mse(prediction, truth, left))
    assert found["l"].grad == pytest.approx(gradient_error(prediction, truth, left))
    assert found["l"].conn == pytest.approx(connectivity_error(prediction, truth, left))


def test_foreground_errors_of_a_case_done_by_hand():
    truth = np.zeros((1, 2, 3), np.float32)
    prediction = truth.copy()
    prediction[0, 0] = (0.5, 0.0, 1.0)
    found = foreground_errors(prediction, truth, np.array([[True, False]]))
    assert found.sad == pytest.approx(1.5 / 1000)
    assert found.mse == pytest.approx(1.25 / 3)


def test_percentiles_of_an_error():
    assert percentiles([float(v) for v in range(101)]) == {p: p for p in (50, 75, 90, 95, 99)}


def test_all_four_errors_of_a_three_megapixel_matte_take_less_than_one_and_a_half_seconds():
    prediction, truth = some_mattes(shape=(1500, 2000), sigma=6)
    regions = {"whole": whole(truth), "unknown": (truth > 0) & (truth < 1)}
    started = time.process_time()  # of all threads together: what one core would take
    alpha_errors(prediction, truth, regions)
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "prediction must be of shape (H, W), got (4, 5, 3)"),
        (np.zeros((4, 5), np.uint8), "prediction must be float32 in [0, 1], got uint8"),
        (np.full((4, 5), np.nan, np.float32), "prediction must be finite, got NaN"),
        (np.full((4, 5), 255, np.float32), "prediction must lie in [0, 1], got values from 255"),
        (
            np.zeros((5, 4), np.float32),
            "prediction must have the truth's shape (4, 5), got (5, 4): predict at the image's",
        ),
    ],
)
def test_what_is_no_matte_is_refused(prediction, message):
    truth = np.zeros((4, 5), np.float32)
    for error in (sad, mse, gradient_error, connectivity_error):
        with pytest.raises(ValueError, match=re.escape(message)):
            error(prediction, truth)


def test_empty_and_misshapen_regions_are_refused():
    truth = np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match="region must hold at least one pixel, got none"):
        mse(truth, truth, np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match="unknown must hold at least one pixel, got none"):
        alpha_errors(truth, truth, {"unknown": np.zeros((4, 5), bool)})
    with pytest.raises(ValueError, match=r"region must be a boolean mask of shape \(4, 5\), got"):
        sad(truth, truth, np.ones((4, 5), np.uint8))


def test_what_are_no_colours_is_refused():
    grey, colours = np.zeros((4, 5), np.float32), np.zeros((4, 5, 3), np.float32)
    with pytest.raises(ValueError, match=r"prediction must be of shape \(H, W, 3\)"):
        foreground_errors(grey, colours, np.ones((4, 5), bool))
    with pytest.raises(ValueError, match="values must hold at least one error, got none"):
        percentiles([])
