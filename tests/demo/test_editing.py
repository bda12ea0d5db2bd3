import math
from itertools import pairwise

import numpy as np
import pytest
from demo_pictures import subject_mask

from demo.editing import MAX_EDITS, MAX_POINTS, Edit, apply_edits, cut_mask, read_edits, regions


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


def test_edits_are_applied_in_their_order():
    point = ((20.5, 20.5),)
    guidance = subject_mask()
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


def test_cut_mask_copies_a_patch():
    plane = np.arange(40 * 60, dtype=np.float32).reshape(40, 60) / 2400
    for seed in range(20):
        damaged = cut_mask(plane, np.random.default_rng(seed))
        ys, xs = np.nonzero(damaged != plane)
        if not ys.size:
            continue  # the patch fell on itself
        inside = damaged[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert 10 <= inside.shape[0] <= 20
        assert 15 <= inside.shape[1] <= 30
        first = round(float(inside[0, 0]) * 2400)
        y, x = divmod(first, 60)
        assert np.array_equal(inside, plane[y : y + inside.shape[0], x : x + inside.shape[1]])


def test_damage_is_the_same_every_time_and_another_with_another_seed():
    guidance = two_people()
    damaged = [apply_edits(guidance, [Edit("damage", seed=seed)]) for seed in (1, 1, 2)]
    assert np.array_equal(damaged[0], damaged[1])
    assert not np.array_equal(damaged[0], damaged[2])


def test_what_the_browser_sends_is_read():
    sent = [
        {"tool": "add", "size_px": 40, "points": [[1, 2.5], [3, 4]]},
        {"tool": "damage", "seed": 7},
    ]
    assert read_edits(sent) == (
        Edit("add", 40, ((1.0, 2.5), (3.0, 4.0))),
        Edit("damage", seed=7),
    )


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "corrections must be a list of at most 400, got NoneType: undo some"),
        ([{"tool": "damage"}] * (MAX_EDITS + 1), "list of at most 400, got 401: undo some"),
        (["add"], "one of the tools add, remove, pick, damage, got 'add'"),
        ([{"tool": "erase"}], "must have one of the tools"),
        ([{"tool": "add", "points": [[0, 0]] * (MAX_POINTS + 1)}], "at most 4000 points"),
        ([{"tool": "add", "points": [[0]]}], r"a point must be x and y, got '\[0\]': draw it"),
        ([{"tool": "add", "points": ["xy"]}], "a point must be x and y, got 'xy'"),
        ([{"tool": "add", "points": [[0, float("nan")]]}], "between -100000 and 100000, got 'nan'"),
        ([{"tool": "add", "size_px": 0}], "numbers must lie between 1 and 2000, got '0'"),
        ([{"tool": "add", "size_px": True}], "numbers must lie between 1 and 2000, got 'True'"),
    ],
)
def test_what_no_browser_sends_is_refused(sent, message):
    with pytest.raises(ValueError, match=message):
        read_edits(sent)
