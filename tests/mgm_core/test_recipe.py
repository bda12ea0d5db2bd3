import json
import math
from pathlib import Path

import pytest

from mgm_core.choices import ANIMAL, CATEGORIES, SEGMENTERS
from mgm_core.recipe import (
    AUTO,
    PRESETS,
    VERSION,
    Background,
    Edit,
    Recipe,
    Shadow,
    read_colour,
    read_edits,
)
from mgm_core.runtime.renamed import RECIPE_KEYS

FULL = Recipe(
    segmenter="deeplabv3_resnet50",
    category="cat",
    threshold=0.1 + 0.2,  # a number that no short decimal is
    segmenter_side_px=513,
    own_mask=True,
    mask_kind="trimap",
    shift_px=-7,
    edits=(
        Edit("add", 40, ((1.125, 2.5), (3, -4))),
        Edit("pick", points=((5, 6),)),
        Edit("damage", points=((0, 0), (9, 8), (20, 20))),
    ),
    drawn_on=(640, 480),
    quality="fast",
    refine="full",
    keep_largest=True,
    foreground="raw",
    background=Background("gradient", "#102030", "#ffffff", 45, "contain", 0.25, 1, 2.5, 3),
    shadow=Shadow(0.5, -1, 2.5, 0),
    light_wrap=0.75,
    light_wrap_percent=2,
)


STORED = Path(__file__).parents[1] / "data" / "stored"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("recipe_2026-11-23.json", {"foreground": "multilevel"}),
        ("recipe_2026-11-26.json", {"foreground": "network", "refine": "full"}),
        ("recipe_2026-11-28.json", {"foreground": "network", "refine": "full"}),
    ],
)
def test_recipes_that_earlier_versions_stored_are_read(name, changes):
    assert Recipe.from_json((STORED / name).read_bytes()) == Recipe(
        category="dog",
        threshold=0.4,
        own_mask=True,
        mask_kind="trimap",
        shift_px=-3,
        edits=(
            Edit("add", 40, ((1.5, 2.5), (3, 4))),
            Edit("damage", points=((0, 0), (9, 8), (20, 20))),
        ),
        keep_largest=True,
        background=Background("gradient", "#102030", "#ffffff", 45),
        shadow=Shadow(0.5, -1, 2.5, 0),
        light_wrap=0.25,
        **changes,
    )


@pytest.mark.parametrize("recipe", [Recipe(), FULL])
def test_what_is_written_is_read_again(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json().encode()) == recipe


def test_every_setting_has_a_line_of_its_own():
    lines = FULL.to_json().splitlines()
    assert lines[1] == f'  "version": {VERSION},'
    assert len(lines) == 2 + len(json.loads(FULL.to_json()))


def test_what_is_left_out_keeps_its_default():
    assert Recipe.from_json('{"version": 1, "background": {"kind": "blur"}}') == Recipe(
        background=Background("blur")
    )


def test_a_quality_stands_for_what_finds_alpha_and_colours_unless_they_are_given():
    for quality, (refine, foreground) in PRESETS.items():
        assert Recipe(quality=quality) == Recipe(
            quality=quality, refine=refine, foreground=foreground
        )
        read = Recipe.from_json(f'{{"version": 1, "quality": "{quality}", "foreground": "raw"}}')
        assert read == Recipe(quality=quality, refine=refine, foreground="raw")
    assert Recipe() == Recipe(quality="best")
    assert PRESETS["fast"] == ("half", "multilevel")
    assert json.loads(Recipe(quality="fast").to_json())["refine"] == "half"
    assert Recipe(quality="fast", foreground="raw").methods == (
        "fast: alpha refined at half the size, raw colours"
    )


def test_another_quality_leaves_what_was_chosen():
    assert Recipe().with_quality("fast") == Recipe(quality="fast")
    assert Recipe(quality="fast").with_quality("best") == Recipe()
    chosen = Recipe(foreground="raw", keep_largest=True)
    assert chosen.with_quality("fast") == Recipe(
        quality="fast", refine="half", foreground="raw", keep_largest=True
    )
    assert Recipe(refine="off").with_quality("best").refine == "off"


def test_settings_without_a_version_are_of_this_one():
    assert Recipe.from_json('{"shift_px": 4}') == Recipe(shift_px=4)


def test_a_refinement_that_was_on_or_off_is_read():
    assert Recipe.from_json('{"refine": true}') == Recipe()
    assert Recipe.from_json('{"refine": true, "quality": "fast"}').refine == "full"
    assert Recipe.from_json('{"refine": false}').refine == "off"
    # It was what fast stood for, and nobody's choice.
    assert Recipe.from_json('{"refine": false, "quality": "fast"}') == Recipe(quality="fast")


def test_keys_of_an_earlier_version_are_read_and_said_to_be_old(caplog):
    (old,) = RECIPE_KEYS
    settings = f'{{"version": 1, "{old}": false, "foreground": "raw"}}'
    assert Recipe.from_json(settings) == Recipe(refine="off", foreground="raw")
    assert f"{old} is now called refine; the next version drops it" in caplog.text
    assert Recipe.from_json('{"version": 1, "foreground": "fused"}').foreground == "network"
    assert "foreground fused is no more: network takes its place" in caplog.text
    with pytest.raises(ValueError, match=f"must be one of the keys .*, got '{old}'"):
        Recipe.from_json(f'{{"version": 1, "{old}": true, "refine": true}}')


def test_numbers_come_in_the_type_of_the_setting():
    recipe = Recipe.from_json('{"version": 1, "shift_px": 4.0, "light_wrap": 1}')
    assert (type(recipe.shift_px), type(recipe.light_wrap)) == (int, float)
    assert hash(recipe) == hash(Recipe(shift_px=4, light_wrap=1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"settings must be JSON, got something else \(Expecting value"),
        ("{", "settings must be JSON, got something else"),
        (b"\xff\xd8\xff\xe0 a photograph", "settings must be JSON, got something else"),
        ("[" * 100_000, r"settings must be JSON, .*recursion.*: correct or download them anew"),
        (
            '{"version": 1, "edits": ' + "[" * 700 + "]" * 700 + "}",
            "settings must (not be nested so deeply|be text and numbers that JSON can hold)",
        ),
        (r'{"version": 1, "category": "\ud800"}', "settings must be text and numbers that JSON"),
        ("[1]", r"settings must be a JSON object, got \[1\]: download"),
        ('{"version": 2}', "settings must be of version 1, got 2: read them with the program that"),
        ('{"version": null}', "settings must be of version 1, got None"),
        ('{"version": true}', "settings must be of version 1, got True"),
        (
            '{"version": 1, "colour": 2}',
            r"colour must be one of the keys segmenter, .*, got 'co.*: did you mean",
        ),
        (
            '{"version": 1, "background": {"x": 0, "z": 0}}',
            r"background.z must be one of the keys ki.* mean background.[xy]\?",
        ),
        (
            '{"version": 1, "background": "blur"}',
            "background must be a table of named values, got 'blur'",
        ),
        ('{"version": 1, "threshold": NaN}', "threshold must lie between 0.01 and 0.99, got nan"),
        ('{"version": 1, "threshold": "0.5"}', "threshold must be a number, got '0.5': correct"),
        ('{"version": 1, "threshold": true}', "threshold must be a number, got True"),
        ('{"version": 1, "shift_px": 1.5}', "shift_px must be a whole number, got 1.5"),
        ('{"version": 1, "shift_px": 1e999}', "shift_px must be a whole number, got inf"),
        ('{"version": 1, "shift_px": 1' + 400 * "0" + "}", "shift_px must lie between -200 and"),
        ('{"version": 1, "quality": "good"}', "quality must be one of fast, best, got 'good'"),
        ('{"version": 1, "refine": "yes"}', "refine must be one of off, half, full, got 'yes'"),
        ('{"version": 1, "keep_largest": 1}', "keep_largest must be true or false, got 1"),
        ('{"version": 1, "category": null}', "category must be text, got None"),
        (
            '{"version": 1, "category": "persn"}',
            "category must be one of animal, .* got 'persn': ch",
        ),
        (
            '{"version": 1, "segmenter": "sam"}',
            "segmenter must be one of portrait, .*, got 'sam': c",
        ),
        ('{"version": 1, "mask_kind": ["trimap"]}', "mask_kind must be one of detect, binary_mask"),
        ('{"version": 1, "drawn_on": [640]}', r"drawn_on must hold more values, got \[640\]"),
        ('{"version": 1, "drawn_on": [640, 0]}', r"drawn_on\[1\] must lie between 1 and 100000"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(threshold=1.2), "threshold must lie between 0.01 and 0.99, got 1.2: move"),
        (lambda: Recipe(foreground="x"), "foreground must be one of multilevel, .*, got 'x': choo"),
        (
            lambda: Recipe(category="persn"),
            "category must be one of animal, .*, got 'persn': choose",
        ),
        (
            lambda: Recipe(segmenter="sam"),
            "segmenter must be one of portrait, .*, got 'sam': choose",
        ),
        (lambda: Background("x"), "background.kind must be one of transparent, colour, grad"),
        (
            lambda: Background(fit="x"),
            "background.fit must be one of cover, contain, stretch",
        ),
        (lambda: Background(colour="red"), "background.colour must look like #1a2b3c, got 'red'"),
        (lambda: Background(scale=math.inf), "background.scale must lie between 0.05 and 20"),
        (lambda: Shadow(1.5), "shadow.strength must lie between 0 and 1, got 1.5"),
    ],
)
def test_no_recipe_is_out_of_its_ranges_whoever_makes_it(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_name_that_can_be_chosen_makes_a_recipe():
    for category in (AUTO, ANIMAL, *CATEGORIES):
        assert Recipe(category=category).category == category
    for segmenter in SEGMENTERS:
        assert Recipe(segmenter=segmenter).segmenter == segmenter


def test_what_a_browser_sends_is_read():
    sent = [{"tool": "add", "size_px": 40, "points": [[1, 2.5], [3, 4]]}]
    assert read_edits(sent) == (Edit("add", 40, ((1.0, 2.5), (3.0, 4.0))),)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "edits must be a list, got None: correct it"),
        ([{"tool": "pick", "points": [[1, 1]]}] * 401, "edits must be at most 400, got 401: leave"),
        (["add"], r"edits\[0\] must be a table of named values, got 'add'"),
        ([{"points": [[1, 1]]}], r"edits\[0\].tool must be given, got nothing: add it"),
        (
            [{"tool": "erase"}],
            r"edits\[0\].tool must be one of add, remove, .*, click_remove, got 'erase",
        ),
        (
            [{"tool": "add", "points": [[0, 0]] * 4001}],
            r"edits\[0\].points must be at most 4000, got 4001",
        ),
        (
            [{"tool": "add", "points": [[0]]}],
            r"edits\[0\].points\[0\] must hold more values, got \[0\]",
        ),
        ([{"tool": "add", "points": ["xy"]}], r"edits\[0\].points\[0\] must be a list, got 'xy'"),
        ([{"tool": "add", "points": [[0, math.nan]]}], "between -100000 and 100000, got nan"),
        ([{"tool": "add", "points": []}], "an edit's points must be some for add, got 0: undo it"),
        ([{"tool": "pick", "points": [[0, 0]] * 2}], "points must be 1 for pick, got 2: undo it"),
        ([{"tool": "damage", "points": [[0, 0]]}], "points must be 3 for damage, got 1: undo it"),
        (
            [{"tool": "add", "size_px": 0, "points": [[0, 0]]}],
            "size_px must lie between 1 and 2000",
        ),
        (
            [{"tool": "add", "seed": 1}],
            r"edits\[0\].seed must be one of the keys tool, size_px, points, got",
        ),
    ],
)
def test_what_no_browser_sends_is_refused(sent, message):
    with pytest.raises(ValueError, match=message):
        read_edits(sent)


def test_colours_are_read():
    assert read_colour("#3366CC") == (0.2, 0.4, 0.8)
    with pytest.raises(ValueError, match="colour must look like #1a2b3c, got '#3366CC00': correct"):
        read_colour("#3366CC00")
