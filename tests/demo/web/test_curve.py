import re

from demo.web.curve import draw_curve

PAPER = {-30: 2.0, 0: 0.0, 30: 5.0}


def places(drawn):
    """The circles: px, height on the page, whether done."""
    found = re.findall(r'class="(done|place)" data-px="(-?\d+)" cx="[\d.]+" cy="([\d.]+)"', drawn)
    return [(int(px), float(y), kind == "done") for kind, px, y in found]


def levels(drawn):
    return [float(text) for text in re.findall(r'class="at-end">([-\d.]+)<', drawn)]


def test_the_axes_stand_while_the_places_fill():
    sizes = (-20, 0, 20)
    empty = draw_curve(sizes, {}, PAPER, of_error=False)
    some = draw_curve(sizes, {-20: 1.0, 0: 0.0}, PAPER, of_error=False)
    assert levels(empty) == levels(some) == [0, 1.5, 3, 4.5, 6]
    assert [done for *_, done in places(empty)] == [False] * 3
    assert [done for *_, done in places(some)] == [True, True, False]
    (_, one, _), (_, ground, _), (_, awaited, _) = places(some)
    assert one < ground == awaited
    assert "-20 px 1.0 %, +0 px 0.0 %" in some
    assert "of the subject" in some
    assert "of the subject" not in draw_curve(sizes, {}, PAPER, of_error=True)


def test_the_axes_grow_where_they_must():
    drawn = draw_curve((-20, 0, 20), {-20: 37.0, 0: 0.0, 20: -1.5}, PAPER, of_error=True)
    assert (levels(drawn)[0], levels(drawn)[-1]) == (-2, 50)
    (_, high, _), (_, ground, _), (_, below, _) = places(drawn)
    assert high < ground < below
