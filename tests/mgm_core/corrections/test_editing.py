import math
from itertools import pairwise

import numpy as np
import pytest

from mgm_core.corrections.clicking import Click, segment_clicks
from mgm_core.corrections.editing import apply_edits, region_places, regions
from mgm_core.recipe import Edit
from mgm_core.runtime.cancellation import Cancellation, Cancelled, cancellable


def slow_line(points, size_px, shape):
    """Every pixel whose centre lies within half the size of the line."""
    drawn = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            centre = np.array([x + 0.5, y + 0.5])
            for start, end in pairwise([points[0], *points]):
                start, along = np.array(start), np.subtract(end, start)
                length = along @ along
                share = np.clip((centre - start) @ along / length, 0, 1) if length else 0
                distance = math.dist(centre, start + share * along)
                drawn[y, x] |= distance <= size_px / 2
    return drawn


@pytest.mark.parametrize("size_px", [3, 8, 15])
def test_a_stroke_covers_what_is_within_half_its_size(size_px):
    points = ((10.5, 8.25), (40, 20.5), (30.125, 40))
    guidance = np.zeros((48, 64), np.float32)
    drawn = apply_edits(guidance, [Edit("add", size_px, points)]) > 0
    assert np.array_equal(drawn, slow_line(points, size_px, guidance.shape))
    assert guidance.max() == 0


def test_a_click_of_one_pixel_is_one_pixel():
    guidance = np.zeros((9, 9), np.float32)
    drawn = apply_edits(guidance, [Edit("add", 1, ((3.4, 5.6),))])
    assert np.argwhere(drawn).tolist() == [[5, 3]]


@pytest.mark.parametrize("point", [(-30.0, 5.0), (4.0, -30.0), (80.0, 5.0), (4.0, 80.0)])
def test_strokes_may_leave_the_photo(point):
    guidance = np.zeros((9, 9), np.float32)
    drawn = apply_edits(guidance, [Edit("add", 5, ((4.5, 4.5), point))])
    assert np.array_equal(drawn > 0, slow_line(((4.5, 4.5), point), 5, (9, 9)))
    assert apply_edits(guidance, [Edit("add", 5, (point,))]).max() == 0


def test_a_long_line_is_drawn_by_pieces():
    points, drawn = ((3.5, 2.25), (400.25, 30.5)), np.zeros((36, 410), np.float32)
    drawn = apply_edits(drawn, [Edit("add", 5, points)]) > 0
    assert np.array_equal(drawn, slow_line(points, 5, drawn.shape))


@pytest.mark.parametrize(
    "edit", [Edit("add", 3, ((1.0, 1.0), (5.0, 5.0))), Edit("click_add", points=((4.0, 4.0),))]
)
def test_corrections_end_when_their_work_is_cancelled(edit):
    token = Cancellation()
    token.cancel()
    image = np.zeros((16, 16, 3), np.float32)
    with cancellable(token), pytest.raises(Cancelled):
        apply_edits(image[..., 0], [edit], image)


def test_edits_are_applied_in_their_order():
    point = ((20.5, 20.5),)
    guidance = np.zeros((48, 64), np.float32)
    guidance[12:40, 16:40] = 1
    removed = Edit("remove", 9, point)
    added = Edit("add", 5, point)
    assert apply_edits(guidance, [removed])[20, 20] == 0
    assert apply_edits(guidance, [removed, added])[20, 20] == 1
    assert apply_edits(guidance, [added, removed])[20, 20] == 0


def two_people():
    guidance = np.zeros((20, 30), np.float32)
    guidance[5:15, 2:10] = 1
    guidance[5:15, 20:28] = 1
    return guidance


def test_a_region_that_is_hit_is_dropped_and_hit_again_comes_back():
    guidance = two_people()
    hit = Edit("pick", points=((22.7, 9.2),))
    one = apply_edits(guidance, [hit])
    assert one[:, :15].sum() == 80
    assert one[:, 15:].sum() == 0
    assert np.array_equal(apply_edits(guidance, [hit, hit]), guidance)


@pytest.mark.parametrize("point", [(15.0, 9.0), (-3.0, 2.0), (30.0, 20.0)])
def test_hitting_nothing_changes_nothing(point):
    guidance = two_people()
    assert np.array_equal(apply_edits(guidance, [Edit("pick", points=(point,))]), guidance)


def test_regions_are_counted():
    assert set(np.unique(regions(two_people()))) == {0, 1, 2}


def test_a_place_well_inside_each_region_is_told_of_the_largest_first():
    guidance = two_people()
    guidance[8:12, 10:12] = 1  # an arm of the first
    guidance[0, 0] = 0.9
    (x, y), (other_x, other_y), speck = region_places(guidance)
    assert (4 <= x <= 8, 8 <= y <= 11) == (True, True)
    assert (22 <= other_x <= 25, 8 <= other_y <= 11) == (True, True)
    assert speck == (0, 0)
    assert region_places(guidance, most=1) == [(x, y)]
    assert region_places(np.zeros((3, 4), np.float32)) == []


def test_clicks_in_a_row_are_those_of_segment_clicks_and_leave_the_rest_soft():
    image = np.full((60, 80, 3), 0.2, np.float32)
    image[10:30, 10:30] = (0.9, 0.2, 0.1)
    image[35:55, 50:70] = (0.1, 0.3, 0.9)
    soft = np.zeros((60, 80), np.float32)
    soft[12:28, 12:28] = 0.8
    click = Edit("click_add", points=((60, 45),))
    away = Edit("click_remove", points=((20, 20),))
    added = apply_edits(soft, [click], image)
    assert added[37:53, 52:68].min() == 1
    np.testing.assert_array_equal(added[:32, :40], soft[:32, :40])
    both = apply_edits(soft, [click, away], image)
    clicks = [Click(60, 45), Click(20, 20, adds=False)]
    np.testing.assert_array_equal(both >= 0.5, segment_clicks(image, clicks, soft) > 0)
    assert both[15:25, 15:25].max() < 0.5
    # A stroke between them makes them two pieces of work.
    stroke = Edit("add", 3, ((5.5, 50.5),))
    assert apply_edits(soft, [click, stroke, away], image)[50, 5] == 1
    with pytest.raises(ValueError, match="click must lie within the image of 80x60"):
        apply_edits(soft, [Edit("click_add", points=((80, 3),))], image)
    with pytest.raises(ValueError, match="clicks must come with a photo, got none"):
        apply_edits(soft, [click])


def slow_copy(plane, points):
    """Copy a patch pixel by pixel."""
    (x0, y0), (x1, y1), (to_x, to_y) = points
    copied = plane.copy()
    for y in range(y0, y1):
        for x in range(x0, x1):
            target = (to_y + y - y0, to_x + x - x0)
            inside = 0 <= target[0] < plane.shape[0] and 0 <= target[1] < plane.shape[1]
            if inside and 0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]:
                copied[target] = plane[y, x]
    return copied


@pytest.mark.parametrize(
    "points",
    [
        ((0, 0), (15, 10), (20, 25)),
        ((10, 10), (40, 30), (12, 13)),  # over itself
        ((-5, -3), (15, 10), (50, 35)),  # out of the frame at both ends
        ((50, 30), (80, 60), (-10, -4)),
        ((20, 20), (10, 30), (0, 0)),  # inside out
        ((100, 100), (120, 120), (0, 0)),
    ],
)
def test_damage_copies_a_patch(points):
    plane = np.arange(40 * 60, dtype=np.float32).reshape(40, 60) / 2400
    before = plane.copy()
    damaged = apply_edits(plane, [Edit("damage", points=points)])
    np.testing.assert_array_equal(damaged, slow_copy(plane, points))
    np.testing.assert_array_equal(plane, before)
