import gc
from dataclasses import replace

import numpy as np
import pytest

from mgm_core.__main__ import UsageError, command, main, parser, recipe_of
from mgm_core.images import read_alpha, read_image, write_image
from mgm_core.recipe import Background, Edit, Recipe, Shadow
from mgm_core.runtime.renamed import old_name


@pytest.fixture
def photos(tmp_path, pictures):
    """A folder with two portraits, one in a folder below, and a broken file."""
    folder = tmp_path / "photos"
    small = np.ascontiguousarray(pictures["astronaut"][:320:2, 60:380:2])
    write_image(_in(folder / "a.jpg"), small)
    write_image(_in(folder / "below" / "b.png"), small[:, ::-1].copy())
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    return folder


def _in(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_astronaut_becomes_a_cutout_with_soft_edges_and_no_background_tint(
    tmp_path, pictures, capsys
):
    photo = tmp_path / "astronaut.png"
    write_image(photo, pictures["astronaut"])
    target = tmp_path / "cutout.png"
    assert main([str(photo), "-o", str(target), "--save-alpha", "--save-foreground"]) == 0
    said = capsys.readouterr().out
    assert "(guidance: person found on " in said
    assert said.endswith(f"; {Recipe().methods})\n")
    alpha, colours = read_alpha(target), read_image(target)
    soft = (alpha > 0.05) & (alpha < 0.95)
    assert 0.005 < soft.mean() < 0.2  # hair is not a hard edge
    assert alpha[200:430, 150:250].mean() > 0.99  # below, where the helmet begins is uncertain
    assert alpha[:150, 430:].mean() < 0.02
    # Behind the hair on the left is a flag and a bright wall: the hair must stay dark.
    hair = soft & (np.arange(512)[:, None] < 160) & (np.arange(512)[None] < 300)
    image = pictures["astronaut"]
    assert hair.sum() > 100
    assert colours[hair].mean() < image[hair].mean() - 0.05
    sixteen = read_image(tmp_path / "cutout_alpha.png")[..., 0]
    np.testing.assert_allclose(sixteen, alpha, atol=0.5 / 255 + 0.5 / 65535 + 1e-6)
    assert (tmp_path / "cutout_foreground.png").is_file()


def test_garbage_is_collected_again_once_the_networks_are_loaded(photos, tmp_path, monkeypatch):
    collecting = []
    monkeypatch.setattr(
        "mgm_core.batch.photograph._write_result", lambda *_: collecting.append(gc.isenabled())
    )
    target = tmp_path / "a.png"
    arguments = ["mgm", str(photos / "a.jpg"), "-o", str(target), "--quality", "fast"]
    monkeypatch.setattr("sys.argv", arguments)
    try:
        with pytest.raises(SystemExit) as ended:
            command()
    finally:
        gc.enable()
        gc.unfreeze()
    assert (ended.value.code, collecting) == (0, [True])


def test_one_bad_file_does_not_stop_the_rest(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(photos), "-o", str(out), "--recursive"]) == 1
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.png")} == {"a.png", "below/b.png"}
    streams = capsys.readouterr()
    assert f"2 cut out, 0 skipped, 1 failed ({Recipe().methods})" in streams.out
    assert "broken.jpg" in streams.err
    before = (out / "a.png").stat().st_mtime_ns
    (photos / "broken.jpg").unlink()
    assert main([str(photos), "-o", str(out), "--recursive", "--skip-existing"]) == 0
    assert "0 cut out, 2 skipped, 0 failed" in capsys.readouterr().out
    assert (out / "a.png").stat().st_mtime_ns == before


def test_masks_trimaps_and_backgrounds(photos, tmp_path, capsys):
    trimap = np.full((160, 160), 128 / 255, np.float32)
    trimap[:20], trimap[60:, 40:120] = 0, 1
    write_image(tmp_path / "trimap.png", trimap)
    target = tmp_path / "over.png"
    photo, guidance = str(photos / "a.jpg"), str(tmp_path / "trimap.png")
    assert main([photo, "-o", str(target), "--trimap", guidance, "--background", "#00ff00"]) == 0
    composite = read_image(target)
    assert composite.shape == (160, 160, 3)
    assert (composite[:20] == [0, 1, 0]).all()  # known background is enforced
    np.testing.assert_allclose(composite[60:, 40:120], read_image(photo)[60:, 40:120], atol=2 / 255)
    for background in ("blur:2", "gradient:#ff0000,#00ff00,90", photo):
        assert main([photo, "-o", str(target), "--mask", guidance, "--background", background]) == 0
    assert "a trimap" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg", "-o", "x.png"], "inputs must exist, got none.jpg"),
        (["PHOTOS", "-o", "x.png"], "--output must be a folder for several"),
        (["A", "-o", "A"], "no result may replace a file that is read"),
        (["A", "-o", "x.png", "--mask", "none.png"], "the mask must exist, got none.png"),
        (
            ["A", "-o", "x.png", "--threshold", "3"],
            "threshold must lie between 0.01 and 0.99, got 3.0",
        ),
        (["A", "-o", "x.png", "--background", "green"], "--background must be 'none', '#rrgg"),
        (["A", "-o", "x.png", "--weights", "prn_x"], "weights must be a file or one of"),
        (["A", "-o", "x.png", "--device", "tpu"], "device must be auto"),
        (
            ["A", "-o", "x.png", "--max-megapixels", "0"],
            "--max-megapixels must be above 0 and at most 178, got 0",
        ),
    ],
)
def test_a_wrong_command_line_says_what_to_do(photos, capsys, arguments, message):
    known = {"PHOTOS": str(photos), "A": str(photos / "a.jpg")}
    assert main([known.get(a, a) for a in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("empty", [0, 2, 4])
@pytest.mark.parametrize("guidance", ["--mask", "--trimap"])
def test_an_empty_name_stands_for_nothing(capsys, empty, guidance):
    command = ["a.jpg", "-o", "out/", guidance, "m.png"]
    command[empty] = ""
    with pytest.raises(SystemExit):
        parser().parse_args(command)
    assert "must be a name, got nothing: is a variable empty?" in capsys.readouterr().err


SAVED = Recipe(
    threshold=0.3,
    shift_px=4,
    edits=(Edit("add", 30, ((20.0, 20.0), (60.0, 30.0))),),
    drawn_on=(160, 160),
    foreground="raw",
    background=Background("gradient", "#ff0000", "#0000ff", 45),
    shadow=Shadow(0.5),
    light_wrap=0.5,
)


def recipe_from(tmp_path, *arguments, saved=SAVED):
    settings = tmp_path / "settings.json"
    settings.write_text(saved.to_json())
    options = parser().parse_args(["a", "-o", "b", "--settings", str(settings), *arguments])
    return recipe_of(options)


def test_settings_are_taken_as_they_are(tmp_path):
    assert recipe_from(tmp_path) == (SAVED, None)
    assert recipe_of(parser().parse_args(["a", "-o", "b"])) == (Recipe(), None)


def test_what_is_given_beside_settings_overrides_them(tmp_path, photos):
    picture = str(photos / "a.jpg")
    recipe, path = recipe_from(
        tmp_path,
        *("--threshold", "0.6", "--shift", "-3", "--category", "cat", "--segmenter-side", "321"),
        *("--foreground", "multilevel", "--keep-largest", "--kind", "soft_mask"),
        "--no-refine",
        *("--background", picture, "--fit", "contain", "--position", "0.25,1", "--scale", "1.5"),
        *("--shadow", "0.75,-1,3", "--light-wrap", "0.25,3"),
    )
    assert recipe == Recipe(
        category="cat",
        threshold=0.6,
        segmenter_side_px=321,
        mask_kind="soft_mask",
        shift_px=-3,
        edits=SAVED.edits,
        drawn_on=SAVED.drawn_on,
        refine="off",
        keep_largest=True,
        foreground="multilevel",
        background=Background(
            "picture", "#ff0000", "#0000ff", 45, fit="contain", x=0.25, y=1, scale=1.5
        ),
        shadow=Shadow(0.75, -1, 3),
        light_wrap=0.25,
        light_wrap_percent=3,
    )
    assert str(path) == picture


def test_a_quality_is_a_preset_over_which_an_explicit_option_wins(tmp_path):
    def recipe(*arguments):
        return recipe_of(parser().parse_args(["a", "-o", "b", *arguments]))[0]

    assert recipe("--quality", "fast") == Recipe(quality="fast")
    assert recipe("--quality", "best") == Recipe()
    assert recipe("--quality", "fast", "--refine").refine == "full"
    assert recipe("--quality", "fast", "--no-refine").refine == "off"
    assert recipe("--foreground", "raw", "--quality", "fast") == Recipe(
        quality="fast", foreground="raw"
    )
    # Settings that depart from their own quality were chosen.
    assert recipe_from(tmp_path, "--quality", "fast")[0] == replace(
        SAVED, quality="fast", refine="half"
    )


def test_an_option_by_its_old_name_is_taken_and_said_to_be_old(caplog):
    old = old_name("--refine").removeprefix("--")
    for given, refine in ((f"--{old}", "full"), (f"--no-{old}", "off")):
        options = parser().parse_args(["a", "-o", "b", "--quality", "fast", given])
        assert recipe_of(options)[0] == Recipe(quality="fast", refine=refine)
        new = given.replace(old, "refine")
        assert f"{given} is now called {new}; the next" in caplog.text


def test_a_foreground_method_that_is_no_more_is_replaced_for_a_version(tmp_path, caplog):
    assert recipe_from(tmp_path, "--foreground", "fused")[0].foreground == "network"
    assert "foreground fused is no more: network takes its place" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "background"),
    [
        (["--background", "none"], Background("transparent", "#ff0000", "#0000ff", 45)),
        (["--background", "#00FF00"], Background("colour", "#00FF00", "#0000ff", 45)),
        (
            ["--background", "gradient:#111111,#222222,-30"],
            Background("gradient", "#111111", "#222222", -30),
        ),
        (["--background", "blur"], Background("blur", "#ff0000", "#0000ff", 45)),
        (
            ["--background", "blur:2.5"],
            Background("blur", "#ff0000", "#0000ff", 45, blur_percent=2.5),
        ),
    ],
)
def test_backgrounds_are_read(tmp_path, arguments, background):
    recipe, _ = recipe_from(tmp_path, *arguments)
    assert recipe.background == background


def test_settings_that_were_made_with_a_mask_want_one(tmp_path):
    saved = Recipe(own_mask=True)
    with pytest.raises(UsageError, match="--mask must be given with these settings, got none: th"):
        recipe_from(tmp_path, saved=saved)
    assert recipe_from(tmp_path, "--mask", "m.png", saved=saved)[0].own_mask
    assert recipe_from(tmp_path, "--trimap", "t.png", saved=saved)[0].mask_kind == "trimap"
    assert not recipe_from(tmp_path, "--segmenter", "portrait", saved=saved)[0].own_mask


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shadow", "dark"], "--shadow must be 1 or 3 or 4 numbers with commas between them"),
        (["--shadow", "0.5,1"], "--shadow must be 1 or 3 or 4 numbers .*, got '0.5,1': --help"),
        (["--shadow", "2"], "shadow.strength must lie between 0 and 1, got 2"),
        (["--light-wrap", "0.5,1,2"], "--light-wrap must be 1 or 2 numbers with commas"),
        (["--trimap", "t.png", "--kind", "trimap_fg"], "--kind must come with --mask, got --trim"),
        (["--trimap", "t.png", "--label", "1"], "--label must come with --mask, got --trimap"),
        (["--background", "blur:big"], "--background must be 'none', '#rrgg"),
        (["--background", "gradient:#ff0000,#00ff00"], "--background must be 'none', '#rrggbb'"),
        (["--scale", "2"], "--fit, --position and --scale must come with a picture, got gradient"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        recipe_from(tmp_path, *arguments)


def test_a_picture_of_the_settings_has_to_be_named(tmp_path):
    with pytest.raises(UsageError, match="--background must name a picture with these settings"):
        recipe_from(tmp_path, saved=Recipe(background=Background("picture")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--settings must be a file, got"),
        (b"\x89PNG", "settings must be JSON, got something else"),
        (b'{"version": 1, "shade": 1}', "shade must be one of the keys"),
        (b'{"version": 1, "category": "unicorn"}', "category must be one of animal, background"),
        (b'{"version": 1, "segmenter": "sam"}', "segmenter must be one of portrait"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_command(photos, tmp_path, capsys, content, message):
    settings = tmp_path / "settings.json"
    if content is not None:
        settings.write_bytes(content)
    command = [str(photos / "a.jpg"), "-o", str(tmp_path / "x.png"), "--settings", str(settings)]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_corrections_for_another_photo_fail_that_photo(photos, tmp_path, capsys):
    settings = tmp_path / "settings.json"
    settings.write_text(Recipe(edits=SAVED.edits, drawn_on=(640, 480)).to_json())
    command = [str(photos / "a.jpg"), "-o", str(tmp_path / "x.png"), "--settings", str(settings)]
    assert main(command) == 1
    assert "for a photo of this size, 160x160, got some for 640x480" in capsys.readouterr().err


def test_a_photograph_without_a_person(tmp_path, capsys):
    write_image(tmp_path / "grey.png", np.full((64, 64, 3), 0.5, np.float32))
    assert main([str(tmp_path / "grey.png"), "-o", str(tmp_path / "out.png")]) == 1
    assert "the photo must show a person" in capsys.readouterr().err
