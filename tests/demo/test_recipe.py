import pytest

from demo.recipe import Background, File, Recipe, guidance_kind, read_colour


@pytest.mark.parametrize(
    "text", ["#3366cc", "#3366CCFF", "rgb(51, 102, 204)", "rgba(51.2, 102.0, 203.9, 0.5)"]
)
def test_colours_of_a_picker_are_read(text):
    assert read_colour(text) == (0x33 / 255, 0x66 / 255, 0xCC / 255)


@pytest.mark.parametrize("text", ["", "red", "#12345", "rgb(1, 2)", "rgb(300, 0, 0)", "#3366cc;x"])
def test_what_is_no_colour_is_refused(text):
    with pytest.raises(ValueError, match=r"colour must look like #1a2b3c, got .*: pick it anew"):
        read_colour(text)


def test_files_are_known_by_their_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (File.at(str(tmp_path / name)) for name in "abc")
    assert a.digest == b.digest != c.digest


def test_the_visitor_overrules_the_detection():
    assert guidance_kind("detect", "trimap") == "trimap"
    assert guidance_kind("trimap_fg", "trimap") == "trimap_fg"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grow_px": 31}, "grow_px must lie between -30 and 30, got 31: move it into this range"),
        ({"threshold": float("nan")}, "threshold must lie between 0.01 and 0.99, got nan"),
        ({"mask_kind": "x"}, "mask_kind must be one of detect, binary_mask, .*, got 'x': choose"),
        ({"foreground": "x"}, "foreground must be one of multilevel, closed_form, raw, got 'x'"),
    ],
)
def test_a_recipe_outside_its_ranges_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "x"}, "background must be one of transparent, colour, picture, blur, got 'x'"),
        ({"fit": "x"}, "fit must be one of cover, contain, stretch, got 'x': choose one"),
        ({"blur_percent": 11}, "blur_percent must lie between 0.05 and 10, got 11"),
    ],
)
def test_a_background_outside_its_ranges_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Background(**settings)
