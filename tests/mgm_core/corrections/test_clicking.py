import numpy as np
import pytest

from mgm_core.corrections.clicking import Click, segment_clicks


def picture():
    """A red square and a blue disc on green, all with a little noise."""
    rows, columns = np.mgrid[:120, :160]
    image = np.zeros((120, 160, 3), np.float32)
    image[...] = (0.2, 0.6, 0.2)
    square = (abs(rows - 40) < 20) & (abs(columns - 40) < 20)
    disc = np.hypot(rows - 80, columns - 110) < 22
    image[square] = (0.8, 0.2, 0.2)
    image[disc] = (0.2, 0.2, 0.8)
    image += np.random.default_rng(0).normal(0, 0.01, image.shape).astype(np.float32)
    return np.clip(image, 0, 1), square, disc


def iou(mask, truth):
    return ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum()


def test_a_click_adds_what_it_touches_and_nothing_else():
    image, square, disc = picture()
    assert iou(segment_clicks(image, [Click(40, 40)]), square) > 0.95
    both = segment_clicks(image, [Click(40, 40), Click(110, 80)])
    assert iou(both, square | disc) > 0.95


def test_a_click_joins_what_was_found_and_one_takes_away():
    image, square, disc = picture()
    found = square.astype(np.float32)
    assert iou(segment_clicks(image, [Click(110, 80)], found), square | disc) > 0.95
    all_of_it = (square | disc).astype(np.float32)
    assert iou(segment_clicks(image, [Click(40, 40, adds=False)], all_of_it), disc) > 0.95


def test_a_missing_part_of_the_same_colour_joins():
    image, square, _ = picture()
    half = square & (np.arange(160) < 40)
    assert iou(segment_clicks(image, [Click(50, 40)], half.astype(np.float32)), square) > 0.95


def test_without_clicks_it_is_what_was_found_and_it_repeats():
    image, square, _ = picture()
    soft = np.where(square, 0.7, 0.3).astype(np.float32)
    assert (segment_clicks(image, [], soft) == square).all()
    assert not segment_clicks(image, []).any()
    clicks = [Click(110, 80), Click(40, 40, adds=False)]
    first = segment_clicks(image, clicks, soft)
    assert (segment_clicks(image, clicks, soft) == first).all()
    assert first.dtype == np.float32


def test_a_click_is_always_obeyed_at_its_own_pixel_at_any_size():
    noise = np.random.default_rng(1).random((30, 1000, 3)).astype(np.float32)
    mask = segment_clicks(noise, [Click(999, 29), Click(0, 0), Click(500, 15, adds=False)])
    assert mask[29, 999] == 1
    assert mask[0, 0] == 1
    assert mask[15, 500] == 0
    assert segment_clicks(noise[:1, :1], [Click(0, 0)]).tolist() == [[1]]


@pytest.mark.parametrize(
    ("click", "found", "message"),
    [
        (Click(160, 3), None, "click must lie within the image of 160x120, got"),
        (Click(-1, 3), None, "click must lie within"),
        (Click(3, 3), np.zeros((3, 3), np.float32), "probability must have the image's size"),
    ],
)
def test_bad_clicks_are_refused(click, found, message):
    with pytest.raises(ValueError, match=message):
        segment_clicks(picture()[0], [click], found)
