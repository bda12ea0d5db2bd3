import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from demo_pictures import HEIGHT, WIDTH, photo_pixels, results_left, subject_mask
from PIL import Image, ImageCms

from demo.backend.memory import Memory
from demo.backend.models import Models
from demo.backend.studio import Studio
from demo.backend.visits import sentence
from demo.controls import CONTROL_NAMES, Controls
from demo.examples import EXAMPLES
from demo.handlers import Handlers
from mgm_core.images import encode_png, read_alpha, read_image, read_mask, write_image
from mgm_core.recipe import Edit, Recipe

DEFAULTS = Controls().with_values(category="person", foreground="raw", colour="#3366cc")


@pytest.fixture
def handlers(studio):
    return Handlers(studio)


def shown(handlers, view, controls, editing=False):
    return [step[:4] for step in handlers.show(view, editing, gr.Progress(), *controls.values())]


def test_first_the_guidance_is_shown_then_the_fast_result_and_then_the_best(handlers, photo):
    steps = shown(handlers, "cut-out", DEFAULTS.with_values(photo=photo))
    assert len(steps) == 4
    assert steps[0][0] == (steps[1][0][0],) * 2  # the photo itself, while the subject is sought
    _, ((before, guidance), note, _, _), _, ((same, cut_out), _, canvas, pair) = steps
    assert len(shown(handlers, "cut-out", DEFAULTS.with_values(photo=photo, quality="fast"))) == 1
    assert canvas is None
    assert before == same
    assert (pair["before"]["path"], pair["after"]["path"]) == (same, cut_out)
    assert note == "Person found on 22% of the photo"
    assert np.abs(read_image(before) - photo_pixels()).max() < 0.02
    assert read_image(guidance)[25, 28, 2] > 0.5  # the subject has hardly any blue of its own
    assert read_image(cut_out)[2, 2] == pytest.approx(1, abs=0.02)  # a white tile
    assert read_image(cut_out)[25, 28] == pytest.approx(photo_pixels()[25, 28], abs=0.02)


def test_stop_goes_back_to_the_last_result_of_the_same_photo(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    steps = list(handlers.show("cut-out", False, gr.Progress(), *controls.values()))
    assert [step.last for step in steps[:-1]] == [gr.skip()] * 3
    last = steps[-1]
    assert handlers.stopped(last.last, photo) == (last.pictures, last.note, last.pair)
    for other in ((last.last, "another.png"), (None, photo)):
        assert handlers.stopped(*other)[0] == gr.skip()
        assert handlers.stopped(*other)[1].startswith("Stopped before there was a result")


def test_what_is_there_already_is_shown_at_once(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    shown(handlers, "cut-out", controls)
    (((_, alpha), _, _, _),) = shown(handlers, "alpha", controls)
    assert read_mask(alpha).shape == (HEIGHT, WIDTH)
    assert read_mask(alpha)[25, 28] == 1


def test_an_examples_result_is_there_without_any_network(handlers, matter, monkeypatch):
    monkeypatch.setattr(matter, "matte", None)  # fails where it is called
    for number, example in enumerate(EXAMPLES):
        event = SimpleNamespace(example=number)
        photo, mask, mask_kind, category, shift_px = handlers.example(event)
        controls = DEFAULTS.with_values(
            photo=photo, mask=mask, mask_kind=mask_kind, category=category, shift_px=shift_px,
            foreground="quality",
        )  # fmt: skip
        ((_, result), note, _, _), *others = shown(handlers, "cut-out", controls)
        assert others == []
        assert note.lower().endswith(example.title.lower())
        assert Path(result).read_bytes() == example.result_path.read_bytes()
    # Another view has to be computed; meanwhile the picture stays.
    photo, *_ = handlers.example(SimpleNamespace(example=0))
    controls = DEFAULTS.with_values(photo=photo, foreground="quality")
    ((_, meanwhile), *_), *_ = shown(handlers, "guidance", controls)
    assert Path(meanwhile).read_bytes() == EXAMPLES[0].result_path.read_bytes()
    for sent in (-1, len(EXAMPLES), "0", None, True):
        with pytest.raises(gr.Error, match="Example must be a number"):
            handlers.example(SimpleNamespace(example=sent))


def test_an_examples_result_is_of_the_weights_that_it_was_made_with(studio):
    example = EXAMPLES[0].result_path.read_bytes()
    for weights, ready in (("prn_mobilenet_v2", True), ("prn_resnet34", False)):
        handlers = Handlers(studio, weights=weights)
        photo, *_ = handlers.example(SimpleNamespace(example=0))
        controls = DEFAULTS.with_values(photo=photo, foreground="quality")
        first = next(handlers.show("cut-out", False, gr.Progress(), *controls.values()))
        assert (Path(first.pictures[1]).read_bytes() == example) == ready
        assert (first.note == "An example: flying hair") == ready
        # It is an example all the same: the browser need not keep it.
        assert not handlers.start_photo(photo, None)[3]["own"]


def test_a_view_that_was_shown_is_there_at_once_until_something_changes(
    handlers, photo, monkeypatch
):
    controls = DEFAULTS.with_values(photo=photo)
    *_, first = shown(handlers, "cut-out", controls)
    *_, masked = shown(handlers, "guidance", controls)
    made = []
    view = handlers._studio.view
    monkeypatch.setattr(handlers._studio, "view", lambda *a: made.append(a) or view(*a))
    assert shown(handlers, "cut-out", controls) == [first]
    assert shown(handlers, "guidance", controls) == [masked]
    assert made == []
    hinted = controls.with_values(background="picture")
    ((_, note, _, _),) = shown(handlers, "cut-out", hinted)
    assert note == f"{first[1]}. Add the picture that goes behind"
    *_, green = shown(handlers, "cut-out", controls.with_values(background="colour"))
    assert green[0] != first[0]
    assert len(made) == 1


def test_another_photo_starts_anew_and_an_example_keeps_what_belongs_to_it(handlers, photo):
    result, controls, hero, about, *rest = handlers.start_photo(photo, None)
    assert (result.visible, controls.visible, hero.visible) == (True, True, False)
    assert (about["own"], about["name"], about["most"]) == (True, Path(photo).name, 1.0)
    digest, *rest = rest
    assert rest == [[], [], None, "detect", "auto", 0, False]
    assert (
        list(handlers.start_photo(photo, digest)[6:]) == [gr.skip()] * 6
    )  # the browser may repeat it
    example, *_ = handlers.example(SimpleNamespace(example=6))
    assert list(handlers.start_photo(example, None)[6:]) == [[], *[gr.skip()] * 4, False]
    assert not handlers.start_photo(example, None)[3]["own"]
    assert handlers.start_photo(None, None)[2].visible


def test_what_the_browser_kept_is_taken_back_with_its_settings(handlers, photo, mask):
    edits = [{"tool": "pick", "points": [[20, 20]]}]
    values = {"shift_px": 3, "background": "colour", "edits": edits}
    sent = SimpleNamespace(files={"photo": photo, "mask": mask}, values=values)
    digest, *controls = handlers.bring(sent)
    named = dict(zip(CONTROL_NAMES, controls, strict=True))
    assert named == named | values | {"photo": photo, "mask": mask, "category": "auto"}
    # The photo is set, and so what belongs to it stays.
    assert list(handlers.start_photo(photo, digest)[4:]) == [digest, [], *[gr.skip()] * 6]
    for wrong in (
        {"files": {}, "values": {}},
        {"files": {"photo": photo}, "values": {"unheard": 1}},
        {"files": {"photo": photo}, "values": {"shift_px": "far"}},
        {"files": {"photo": __file__}, "values": {}},
    ):
        with pytest.raises(gr.Error):
            handlers.bring(SimpleNamespace(**wrong))


def test_what_is_brought_without_settings_has_the_operators_quality(studio, photo):
    for values, quality in (({}, "fast"), ({"quality": "best"}, "best")):
        sent = SimpleNamespace(files={"photo": photo}, values=values)
        _, *controls = Handlers(studio, "fast").bring(sent)
        assert controls[CONTROL_NAMES.index("quality")] == quality


def test_a_label_and_ignored_transparency_that_the_browser_kept_stay(handlers, tmp_path):
    clear = np.dstack([photo_pixels(), subject_mask()])
    (tmp_path / "clear.png").write_bytes(encode_png(clear))
    labels = np.where(subject_mask() > 0, 15, 0).astype(np.uint8)
    labels[:4, :4] = 7
    Image.fromarray(labels).save(tmp_path / "labels.png")
    photo, mask = str(tmp_path / "clear.png"), str(tmp_path / "labels.png")
    sent = SimpleNamespace(
        files={"photo": photo, "mask": mask}, values={"ignore_transparency": True, "label": 7}
    )
    digest, *controls = handlers.bring(sent)
    named = dict(zip(CONTROL_NAMES, controls, strict=True))
    assert named["ignore_transparency"] is True
    assert named["label"].value == 7
    assert [label for _, label in named["label"].choices] == [7, 15]
    # Neither the photo's arrival nor the mask's changes them.
    assert handlers.start_photo(photo, digest)[-1] == gr.skip()
    assert "value" not in handlers.transparency(photo)._constructor_args[0]
    assert handlers.labels(mask, 7).value == 7
    # A label that another mask does not have is none of it.
    assert handlers.labels(mask, 9).value == 15


def test_a_photo_that_is_too_large_is_not_shown_but_told_of(handlers, tmp_path):
    large = tmp_path / "large.png"
    write_image(large, np.zeros((1200, 1000, 3), np.float32))
    result, _, hero, about, *_ = handlers.start_photo(str(large), None)
    assert (result.visible, hero.visible) == (False, True)
    assert (about["megapixels"], about["most"]) == (1.2, 1.0)
    assert shown(handlers, "cut-out", DEFAULTS.with_values(photo=str(large))) == [
        (None, "", None, None)
    ]


def test_without_a_photo_nothing_is_shown(handlers):
    assert shown(handlers, "cut-out", DEFAULTS) == [(None, "", None, None)]


def test_a_refusal_is_told_in_sentences(handlers, photo, tmp_path):
    with pytest.raises(gr.Error) as refused:
        handlers.download("alpha", *DEFAULTS.with_values(photo=photo, category="cat").values())
    assert refused.value.message.startswith("The photo must show a cat, got none")
    assert refused.value.message.endswith(
        ". Lower the threshold, choose another subject, or bring a mask."
    )


def test_where_nothing_is_found_the_reason_stays_and_a_click_helps(handlers, photo):
    nothing = DEFAULTS.with_values(photo=photo, category="cat")
    *_, step = handlers.show("cut-out", True, gr.Progress(), *nothing.values())
    assert step.pictures[0] == step.pictures[1]
    assert step.note.startswith("The photo must show a cat, got none")
    assert step.note.endswith('Or click on what you want: "Click or paint".')
    assert (step.canvas["chips"], step.last, step.downloads.visible) == ([], None, False)
    click = [{"tool": "click_add", "points": [[28, 25]]}]
    *_, step = handlers.show(
        "cut-out", True, gr.Progress(), *nothing.with_values(edits=click).values()
    )
    assert (step.note, step.downloads.visible) == ("Cut out as clicked", True)
    (chip,) = step.canvas["chips"]
    assert subject_mask()[int(chip["y"]), int(chip["x"])] == 1


def test_the_only_region_that_is_left_out_keeps_its_number_to_be_brought_back_by(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    *_, first = handlers.show("cut-out", True, gr.Progress(), *controls.values())
    (chip,) = first.canvas["chips"]
    pick = [{"tool": "pick", "points": [[chip["x"], chip["y"]]]}]
    *_, without = handlers.show(
        "cut-out", True, gr.Progress(), *controls.with_values(edits=pick).values()
    )
    assert without.canvas["chips"] == [{**chip, "kept": False}]
    assert without.canvas["edits"] == pick
    assert without.note.startswith("The corrections must leave something to cut out")
    assert (without.last, without.downloads.visible) == (None, False)


def test_a_boundary_that_was_moved_over_the_whole_subject_is_told(handlers, photo):
    eroded = DEFAULTS.with_values(photo=photo, shift_px=-30)
    *_, step = handlers.show("cut-out", False, gr.Progress(), *eroded.values())
    assert step.note.startswith("The moved boundary must leave something to cut out")
    assert (step.pictures[0] == step.pictures[1], step.downloads.visible) == (True, False)
    with pytest.raises(gr.Error, match=r"moved boundary must leave .*\. Move it less\."):
        handlers.download("cutout", *eroded.values())


def test_a_file_that_is_no_image_is_refused_without_its_folder(handlers, tmp_path):
    broken = tmp_path / "<b>cv.png"
    broken.write_bytes(b"%PDF-1.7 nothing to see")
    with pytest.raises(gr.Error) as refused:
        shown(handlers, "cut-out", DEFAULTS.with_values(photo=str(broken)))
    assert "&lt;b&gt;cv.png must be an image file" in refused.value.message
    assert str(tmp_path) not in refused.value.message


def test_faults_of_ours_are_not_dressed_up_as_the_visitors(handlers, photo, matter, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the network is broken")

    monkeypatch.setattr(matter, "matte", fail)
    with pytest.raises(RuntimeError, match="the network is broken"):
        shown(handlers, "cut-out", DEFAULTS.with_values(photo=photo))


def downloaded(handlers, wanted, controls):
    return Path(handlers.download(wanted, *controls.values()))


def test_the_cut_out_is_a_transparent_png_of_full_size(handlers, photo, studio):
    controls = DEFAULTS.with_values(photo=photo)
    path = downloaded(handlers, "cutout", controls)
    assert path.name == "portrait-cutout.png"
    alpha = studio.matte(controls.order()).alpha
    assert np.abs(read_alpha(path) - alpha).max() <= 0.51 / 255
    visible = alpha > 0.01
    assert np.abs(read_image(path) - photo_pixels())[visible].max() <= 0.51 / 255


def test_until_a_picture_is_given_the_page_shows_none_and_asks_for_it(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo, background="picture")
    *_, ((_, cut_out), note, _, _) = shown(handlers, "cut-out", controls)
    assert note == "Person found on 22% of the photo. Add the picture that goes behind"
    assert read_image(cut_out)[2, 2] == pytest.approx(1, abs=0.02)  # a white tile
    with pytest.raises(gr.Error, match=r"background must be a picture, got none\. Give one"):
        handlers.download("composite", *controls.values())


def test_colours_are_tagged_and_alpha_has_the_bits_that_it_says(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo, background="colour")
    for name, mode in (("cutout", "RGBA"), ("foreground", "RGB"), ("composite", "RGB")):
        with Image.open(downloaded(handlers, name, controls)) as picture:
            assert (picture.mode, picture.size) == (mode, (WIDTH, HEIGHT))
            assert picture.info["srgb"] == 0
    for name, mode in (("alpha", "L"), ("alpha16", "I;16"), ("guidance", "L")):
        with Image.open(downloaded(handlers, name, controls)) as picture:
            assert (picture.mode, picture.size) == (mode, (WIDTH, HEIGHT))


def test_an_srgb_profile_changes_nothing_and_one_that_does_not_fit_is_told(handlers, tmp_path):
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.rint(photo_pixels() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "tagged.png", icc_profile=srgb)
    controls = DEFAULTS.with_values(photo=str(tmp_path / "tagged.png"))
    foreground = read_image(downloaded(handlers, "foreground", controls))
    assert np.abs(foreground - photo_pixels()).max() <= 0.51 / 255
    Image.fromarray(pixels).save(tmp_path / "foreign.png", icc_profile=other)
    controls = controls.with_values(photo=str(tmp_path / "foreign.png"))
    foreground = read_image(downloaded(handlers, "foreground", controls))
    assert np.abs(foreground - photo_pixels()).max() <= 0.51 / 255
    assert "foreign.png has a broken colour profile" in shown(handlers, "cut-out", controls)[-1][1]


def test_what_is_transparent_stays_so_on_the_page_and_in_its_files(handlers, tmp_path):
    own_alpha = np.ones((HEIGHT, WIDTH), np.float32)
    own_alpha[:, : WIDTH // 2] = 0
    (tmp_path / "erased.png").write_bytes(encode_png(np.dstack([photo_pixels(), own_alpha])))
    controls = DEFAULTS.with_values(photo=str(tmp_path / "erased.png"))
    assert (read_alpha(downloaded(handlers, "cutout", controls)) <= own_alpha).all()
    assert not read_image(downloaded(handlers, "foreground", controls))[:, : WIDTH // 2].any()
    ((before, _), note, *_) = shown(handlers, "cut-out", controls)[-1]
    tiles = read_image(before)[:, : WIDTH // 2]
    assert tiles.min() > 0.7  # white and light grey: nothing of the photo
    assert note.endswith(". What is transparent in the photo stays so")
    ignoring = controls.with_values(ignore_transparency=True)
    assert read_alpha(downloaded(handlers, "cutout", ignoring))[26, 20] == 1
    assert "stays so" not in shown(handlers, "cut-out", ignoring)[-1][1]


def test_transparency_can_be_ignored_where_there_is_some(handlers, photo, tmp_path):
    clear = np.dstack([photo_pixels(), subject_mask()])
    (tmp_path / "clear.png").write_bytes(encode_png(clear))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for path, there in (("clear.png", True), (photo, False), ("broken.png", False)):
        switch = handlers.transparency(str(tmp_path / path))
        assert (switch.visible, switch.value) == (there, False)


def test_a_map_of_labels_is_read_and_said_so(handlers, photo, tmp_path):
    labels = np.where(subject_mask() > 0, 15, 0).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    controls = DEFAULTS.with_values(photo=photo, mask=str(tmp_path / "labels.png"))
    assert "the mask has label 15 of 0, 15" in shown(handlers, "cut-out", controls)[-1][1].lower()
    labels[:4, :4] = 7
    Image.fromarray(labels).save(tmp_path / "labels.png")
    with pytest.raises(gr.Error, match="got a map of the labels 0, 7, 15"):
        shown(handlers, "cut-out", controls)
    choice = handlers.labels(str(tmp_path / "labels.png"))
    assert (choice.visible, choice.value) == (True, 15)
    assert choice.choices == [("7 (0.5% of the picture)", 7), ("15 (21.9% of the picture)", 15)]
    note = shown(handlers, "guidance", controls.with_values(label=7))[-1][1]
    assert "the mask has label 7 of 0, 7, 15" in note.lower()
    guidance = read_mask(downloaded(handlers, "guidance", controls.with_values(label=7)))
    assert guidance.sum() == 16
    # Without a mask a label means nothing.
    recipe = controls.with_values(mask=None, label=7).order().recipe
    assert recipe.label is None


def test_where_there_is_one_label_or_none_there_is_nothing_to_choose(handlers, mask, tmp_path):
    one = np.where(subject_mask() > 0, 15, 0).astype(np.uint8)
    Image.fromarray(one).save(tmp_path / "one.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for path in (tmp_path / "one.png", mask, tmp_path / "broken.png"):
        choice = handlers.labels(str(path))
        assert (choice.visible, choice.value) == (False, None)


def test_settings_say_what_they_were_made_with(handlers, photo, mask):
    stroke = {"tool": "add", "size_px": 4, "points": [[50.0, 6.0]]}
    controls = DEFAULTS.with_values(
        photo=photo, mask=mask, edits=[stroke], x_percent=25, shadow=0.5
    )
    path = downloaded(handlers, "settings", controls)
    assert path.name == "portrait-settings.json"
    recipe = Recipe.from_json(path.read_bytes())
    assert recipe.own_mask
    assert recipe.drawn_on == (WIDTH, HEIGHT)
    assert (recipe.background.x, recipe.shadow.strength) == (0.25, 0.5)
    assert recipe.edits == (Edit("add", 4, ((50.0, 6.0),)),)


def test_downloads_hold_what_they_are_called_after(handlers, photo, studio):
    controls = DEFAULTS.with_values(photo=photo, background="colour")
    order = controls.order()
    alpha = studio.matte(order).alpha
    assert np.abs(read_mask(downloaded(handlers, "alpha", controls)) - alpha).max() <= 0.51 / 255
    fine = read_mask(downloaded(handlers, "alpha16", controls))
    assert np.abs(fine - alpha).max() <= 0.51 / 65535
    composite = read_image(downloaded(handlers, "composite", controls))
    assert np.abs(composite - studio.result(order)).max() <= 0.51 / 255
    foreground = read_image(downloaded(handlers, "foreground", controls))
    assert np.abs(foreground - photo_pixels()).max() <= 0.51 / 255


def test_the_zip_holds_every_download(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    path = downloaded(handlers, "all", controls)
    assert path.name == "portrait-all.zip"
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == [
            "portrait-alpha-16bit.png",
            "portrait-alpha.png",
            "portrait-composite.png",
            "portrait-cutout.png",
            "portrait-foreground.png",
            "portrait-guidance.png",
            "portrait-settings.json",
        ]
        assert Recipe.from_json(archive.read("portrait-settings.json")) == controls.order().recipe
        single = downloaded(handlers, "cutout", controls).read_bytes()
        assert archive.read("portrait-cutout.png") == single
        assert read_mask(BytesIO(archive.read("portrait-alpha.png"))).shape == (HEIGHT, WIDTH)


def test_a_download_that_there_is_none_of_is_refused(handlers, photo):
    with pytest.raises(gr.Error, match=r"Download must be one of cutout, .*, got 'psd'"):
        handlers.download("psd", *DEFAULTS.with_values(photo=photo).values())


def test_an_own_mask_is_used(handlers, photo, mask, segmenter, matter):
    shown(handlers, "cut-out", DEFAULTS.with_values(photo=photo, mask=mask))
    assert segmenter.seen == []
    assert np.array_equal(matter.seen[0][0], subject_mask())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x must be y, got z: do this", "X must be y, got z. Do this."),
        ("no advice", "No advice."),
        ("a: b: c.", "A. B: c."),
    ],
)
def test_messages_become_sentences(message, expected):
    assert sentence(message) == expected


def test_the_canvas_shows_the_guidance_and_every_correction(handlers, photo):
    edits = [{"tool": "add", "size_px": 4, "points": [[50.0, 6.0]]}]
    *_, (_, _, canvas, _) = shown(
        handlers, "cut-out", DEFAULTS.with_values(photo=photo, edits=edits), editing=True
    )
    assert (canvas["width"], canvas["height"]) == (WIDTH, HEIGHT)
    assert canvas["edits"] == edits
    expected = subject_mask()
    expected[4:8, 48:52] = 1
    corners = [(4, 48), (4, 51), (7, 48), (7, 51)]  # a disc leaves the square's corners out
    for y, x in corners:
        expected[y, x] = 0
    assert np.array_equal(read_alpha(canvas["mask"]["path"]), expected)


def test_corrections_reach_the_network(handlers, photo, matter, segmenter):
    controls = DEFAULTS.with_values(photo=photo)
    shown(handlers, "cut-out", controls)
    shown(
        handlers,
        "cut-out",
        controls.with_values(edits=[{"tool": "damage", "points": [[0, 0], [30, 24], [20, 20]]}]),
    )
    assert len(segmenter.seen) == 1
    assert not np.array_equal(matter.seen[0][0], matter.seen[-1][0])


def test_corrections_that_make_no_sense_are_refused(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo, edits=[{"tool": "explode"}])
    with pytest.raises(
        gr.Error, match=r"Edits\[0\].tool must be one of add, .*, click_remove, got 'explode'"
    ):
        shown(handlers, "cut-out", controls)


def test_the_steps_are_those_of_figure_2(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    assert handlers.steps(False, *controls.values()) == []
    assert handlers.steps(True, *DEFAULTS.values()) == []
    steps = handlers.steps(True, *controls.values())
    assert [caption for _, caption in steps][1:4] == [
        "Stride 8",
        "Stride 4 takes over here",
        "Stride 4",
    ]
    values = [read_image(path)[0, 0, 0] for path, _ in steps[1:6]]
    assert values == pytest.approx([0.1, 0.4, 0.2, 0.5, 0.3], abs=0.01)


def test_the_experiment_reports_after_every_guidance(handlers, photo):
    controls = DEFAULTS.with_values(photo=photo)
    reports = list(handlers.experiment("4, 8", None, gr.Progress(), *controls.values()))
    assert len(reports) == 6
    assert [archive is None for *_, archive in reports] == [True] * 5 + [False]
    drawn, _, warm, rows, archive = reports[-1]
    assert [row[0] for row in rows] == [
        "eroded 8 px",
        "eroded 4 px",
        "as it is",
        "dilated 4 px",
        "dilated 8 px",
    ]
    assert rows[2][1] == 0
    assert rows[2][3:] == [0, 0]
    # All places and all masks are there from the first report on; results take their places.
    assert [report[0].count('class="done"') for report in reports] == [0, 1, 2, 3, 4, 5]
    assert {report[0].count("<circle") for report in reports} == {5}
    assert [(len(r[1]["value"]), r[1]["columns"]) for r in reports] == [(10, 5)] * 6
    assert len({path for path, _ in reports[0][1]["value"][5:]}) == 1
    assert f"+8 px {rows[4][1]:.1f} %" in drawn
    assert read_image(warm).shape == (HEIGHT, WIDTH, 3)
    with zipfile.ZipFile(archive) as files:
        assert "alpha+8px.png" in files.namelist()
        assert files.read("robustness.csv").count(b"\n") == 6


def test_the_experiment_keeps_no_result_at_full_size(segmenter, matter, photo, monkeypatch):
    left = results_left(monkeypatch, "demo.handlers.trials")
    forgetful = Memory(max_bytes=1, keep_s=600)
    studio = Studio(Models(lambda: matter, lambda _: segmenter), forgetful, max_megapixels=1.0)
    controls = DEFAULTS.with_values(photo=photo)
    list(Handlers(studio).experiment("2, 4, 6", None, gr.Progress(), *controls.values()))
    assert len(left) > 5
    assert max(left) <= 2


def test_the_places_of_the_curve_are_drawn_before_anything_is_computed(handlers, photo):
    drawn, strip, file = handlers.places("4, 8", None, photo)
    assert drawn.count('class="place"') == 5
    assert (strip, file) == ([], None)
    with pytest.raises(gr.Error, match="Choose one under Cut out first"):
        handlers.places("4, 8", None, None)
    with pytest.raises(gr.Error, match="Sizes must be whole numbers"):
        handlers.places("four", None, photo)


@pytest.mark.parametrize("field", ["photo", "mask", "backdrop"])
def test_files_that_were_not_uploaded_are_refused(handlers, photo, field):
    controls = DEFAULTS.with_values(photo=photo).with_values(**{field: __file__})
    with pytest.raises(gr.Error, match="must be a file that was uploaded, got the name of another"):
        shown(handlers, "cut-out", controls)


def test_a_file_that_is_gone_is_said_to_be(handlers, photo):
    Path(photo).unlink()
    with pytest.raises(gr.Error, match=r"still be on the server, .* Upload it again\."):
        shown(handlers, "cut-out", DEFAULTS.with_values(photo=photo))
