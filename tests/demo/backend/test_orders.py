import pytest

from demo.backend.orders import File, Order, picked_colour, read_colour
from mgm_core.recipe import Recipe


@pytest.mark.parametrize(
    "text", ["#3366cc", "#3366CCFF", "rgb(51, 102, 204)", "rgba(51.2, 102.0, 203.9, 0.5)"]
)
def test_colours_of_a_picker_are_read(text):
    assert picked_colour(text) == "#3366cc"
    assert read_colour(text) == (0x33 / 255, 0x66 / 255, 0xCC / 255)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("rgb(100%, 0%, 0%)", "#ff0000"),
        ("rgb(20%, 40%, 80%)", "#3366cc"),
        ("rgb(30% 50% 0.5%)", "#4d8001"),
        ("rgba(51, 102, 204, 50%)", "#3366cc"),
        ("rgb(51 102 204 / 50%)", "#3366cc"),
        ("rgb(51 102 204 / .5)", "#3366cc"),
        ("rgb(.6, 0, 255)", "#0100ff"),
    ],
)
def test_numbers_and_percentages_mean_what_they_mean_in_css(text, colour):
    assert picked_colour(text) == colour


@pytest.mark.parametrize(
    "text",
    [
        "",
        "red",
        "#12345",
        "rgb(1, 2)",
        "rgb(300, 0, 0)",
        "#3366cc;x",
        "rgb(., ., .)",
        "rgb(101%, 0%, 0%)",
        "rgb(1, 2, 3, 4, 5)",
        "rgb(1 2 3 %)",
        "rgb(" + "1" * 10**5 + ", 0, 0)",
    ],
)
def test_what_is_no_colour_is_refused(text):
    with pytest.raises(ValueError, match=r"colour must look like #1a2b3c, got .*: pick it anew"):
        read_colour(text)


def test_files_are_known_by_their_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (File.at(str(tmp_path / name)) for name in "abc")
    assert a.digest == b.digest != c.digest


@pytest.mark.parametrize("shift_px", [-31, 31])
def test_ellipses_that_take_long_are_refused(photo, shift_px):
    with pytest.raises(ValueError, match=rf"at most 30 px here, got {shift_px}: use the command"):
        Order(File.at(photo), Recipe(shift_px=shift_px))
