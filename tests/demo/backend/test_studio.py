from dataclasses import fields, replace

import numpy as np
import pytest
from demo_pictures import SUBJECT, FakeMatter, FakeSegmenter, photo_pixels, subject_mask

import demo.backend.studio as backend
from demo.backend.models import Models
from demo.backend.orders import File, Order
from demo.backend.studio import Seen, Studio, overlay
from mgm_core.compositing import blurred_background, checkerboard, composite
from mgm_core.corrections.editing import apply_edits
from mgm_core.cutout import Guided
from mgm_core.guidance import dilate, erode
from mgm_core.images import write_image
from mgm_core.recipe import Background, Edit, Recipe, Shadow
from mgm_core.runtime.admission import Admission, Visitor
from mgm_core.runtime.cancellation import checkpoint


@pytest.fixture
def order(photo):
    return Order(File.at(photo), Recipe(foreground="raw"))


def file_of(tmp_path, array, name="other.png"):
    write_image(tmp_path / name, array)
    return File.at(str(tmp_path / name))


def test_guidance_is_where_the_probability_reaches_the_threshold(studio, order):
    # The subject's red is 1.0 and the scene's 0.2, of which the stand-in takes nine tenths.
    assert np.array_equal(studio.guidance(order).guidance, subject_mask())
    low = replace(order, recipe=replace(order.recipe, threshold=0.15))
    assert studio.guidance(low).guidance.all()


@pytest.mark.parametrize("shift_px", [-7, 0, 12])
def test_the_slider_dilates_and_erodes(studio, order, shift_px):
    grown = studio.guidance(
        replace(order, recipe=replace(order.recipe, shift_px=shift_px))
    ).guidance
    dilated, eroded = (
        dilate(subject_mask(), max(0, shift_px)),
        erode(subject_mask(), -min(0, shift_px)),
    )
    expected = dilated if shift_px > 0 else eroded
    assert np.array_equal(grown, expected)


def test_where_there_is_no_subject_the_visitor_is_told(studio, order):
    cat = replace(order, recipe=replace(order.recipe, category="cat"))
    with pytest.raises(ValueError, match=r"photo must show a cat, got none .* or bring a mask"):
        studio.guidance(cat)


def test_an_own_mask_replaces_the_segmenter(studio, segmenter, order, tmp_path):
    mask = np.roll(subject_mask(), 5, axis=1)
    guidance = studio.guidance(replace(order, mask=file_of(tmp_path, mask)))
    assert np.array_equal(guidance.guidance, mask)
    assert guidance.reason == "the mask has two values 0, 255: a binary mask"
    assert segmenter.seen == []


def test_the_kind_of_a_mask_can_be_overruled(studio, matter, order, tmp_path):
    trimap = subject_mask()
    trimap[12:40, 30:50] = 0.5
    ordered = replace(order, mask=file_of(tmp_path, trimap))
    detected = studio.guidance(ordered)
    assert set(np.unique(detected.guidance)) == {0, 0.5, 1}
    assert np.array_equal(detected.known, detected.guidance)
    overruled = studio.guidance(
        replace(ordered, recipe=replace(order.recipe, mask_kind="trimap_fg"))
    )
    assert np.array_equal(overruled.guidance, (trimap == 1).astype(np.float32))
    assert overruled.known is None
    assert overruled.reason.endswith(": a trimap, read as trimap fg")


def test_a_trimaps_known_regions_hold(studio, matter, order, tmp_path):
    trimap = subject_mask()
    trimap[12:40, 30:50] = 0.5
    alpha = studio.matte(replace(order, mask=file_of(tmp_path, trimap))).alpha
    known = trimap != 0.5
    assert np.array_equal(alpha[known], np.rint(trimap[known]))
    assert ((alpha > 0) & (alpha < 1)).any()


def test_a_mask_of_another_size_is_refused(studio, order, tmp_path):
    small = file_of(tmp_path, subject_mask()[:, :60])
    with pytest.raises(ValueError, match="the photo's size 64x48, got 60x48: export it at"):
        studio.guidance(replace(order, mask=small))


def test_an_empty_mask_is_refused(studio, order, tmp_path):
    with pytest.raises(ValueError, match="mask must mark the subject, got all values 0"):
        studio.guidance(replace(order, mask=file_of(tmp_path, np.zeros((48, 64), np.float32))))


def test_only_what_changed_is_computed_again(studio, segmenter, matter, order):
    studio.result(order)
    studio.result(replace(order, recipe=replace(order.recipe, background=Background("colour"))))
    assert (len(segmenter.seen), len(matter.seen)) == (1, 1)
    studio.result(replace(order, recipe=replace(order.recipe, shift_px=4)))
    assert (len(segmenter.seen), len(matter.seen)) == (1, 2)
    studio.result(order)
    assert (len(segmenter.seen), len(matter.seen)) == (1, 2)


def test_another_photo_is_another_result(studio, matter, order, tmp_path):
    studio.result(order)
    other = replace(order, photo=file_of(tmp_path, 1 - photo_pixels()))
    assert not np.array_equal(studio.image(other.photo), studio.image(order.photo))
    studio.result(other)
    assert len(matter.seen) == 2


def test_alpha_without_refinement_is_another(studio, matter, order):
    studio.result(order)
    studio.result(replace(order, recipe=replace(order.recipe, refine="off")))
    studio.result(order)
    assert matter.refined == ["full", "off"]


def test_the_result_is_equation_1(studio, order):
    colour = (0.2, 0.4, 0.6)
    ordered = replace(
        order, recipe=replace(order.recipe, background=Background("colour", colour="#336699"))
    )
    alpha = studio.matte(ordered).alpha
    result = studio.result(ordered)
    for y, x in ((0, 0), (20, 30), (12, 16), (11, 17)):
        expected = alpha[y, x] * photo_pixels()[y, x] + (1 - alpha[y, x]) * np.float32(colour)
        assert result[y, x] == pytest.approx(expected, abs=1e-6)
    assert 0 < alpha[12, 16] < 1


def test_a_picture_is_put_behind_the_subject(studio, order, tmp_path):
    picture = np.zeros((24, 32, 3), np.float32)
    picture[:, 16:] = 1
    ordered = replace(
        order,
        backdrop=file_of(tmp_path, picture),
        recipe=replace(order.recipe, background=Background("picture")),
    )
    result = studio.result(ordered)
    assert result[2, 2] == pytest.approx(0)
    assert result[2, 60] == pytest.approx(1)
    assert np.array_equal(result[20, 30], photo_pixels()[20, 30])


@pytest.mark.parametrize("kind", ["transparent", "colour", "blur"])
def test_a_picture_that_is_not_asked_for_is_not_read(studio, order, tmp_path, kind):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    plain = replace(order, recipe=replace(order.recipe, background=Background(kind)))
    left = replace(plain, backdrop=File.at(str(tmp_path / "broken.png")))
    assert np.array_equal(studio.result(left), studio.result(plain))


def test_without_a_picture_the_visitor_is_told(studio, order):
    ordered = replace(order, recipe=replace(order.recipe, background=Background("picture")))
    with pytest.raises(ValueError, match="background must be a picture, got none: give one"):
        studio.result(ordered)


def test_the_subject_stays_sharp_before_its_blurred_background(studio, order):
    ordered = replace(
        order, recipe=replace(order.recipe, background=Background("blur", blur_percent=5))
    )
    result = studio.result(ordered)
    assert np.array_equal(result[20, 30], photo_pixels()[20, 30])
    # A plain scene stays what it is: hardly any of the subject, red 1.0, is smeared into it.
    assert result[20, 42] == pytest.approx(photo_pixels()[0, 0], abs=0.05)


def test_every_view_shows_what_it_says(studio, order):
    rgba = studio.result(order)
    assert np.array_equal(rgba, studio.cut_out(order))
    shown = studio.view(order, "cut-out")
    assert np.array_equal(shown[20, 30], rgba[20, 30, :3])
    assert shown[0, 0] == pytest.approx(1)  # a white tile
    assert shown[0, 4] == pytest.approx(0.8)
    assert np.array_equal(studio.view(order, "alpha"), studio.matte(order).alpha)
    assert np.array_equal(studio.view(order, "foreground"), photo_pixels())
    shown = [studio.view(order, view)[0, 0] for view in ("os8", "os4", "os1", "g4", "g1")]
    assert shown == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("stage", ["matte", "levels", "foreground"])
def test_what_takes_long_is_made_in_turn_and_within_its_time(order, memory, stage):
    admission = Admission({"photo": 1})

    class WatchedMatter(FakeMatter):
        def matte(self, *args, **options):
            running.append(admission.running)
            checkpoint()
            return super().matte(*args, **options)

    running = []
    models = Models(WatchedMatter, lambda name: FakeSegmenter())
    hasty, patient = (
        Studio(models, memory, max_megapixels=1.0, max_seconds=seconds) for seconds in (0, 60)
    )
    visitor = Visitor("203.0.113.7")
    with admission.visit(visitor) as visit, visit.active():
        with pytest.raises(ValueError, match="a photo must take at most 0 s, took longer"):
            getattr(hasty, stage)(order)
        getattr(patient, stage)(order)
    assert set(running) == {1}
    with admission.visit(visitor) as visit, visit.active():
        getattr(patient, stage)(order)
        assert not visit.has_place  # what is there needs no turn


def test_a_blurred_background_and_anothers_colours_are_made_in_turn(
    studio, order, tmp_path, monkeypatch
):
    blurred = with_recipe(order, background=Background("blur", blur_percent=5))
    other = file_of(tmp_path, subject_mask())
    admission, running = Admission({"photo": 1}), []
    for name in ("make_background", "estimate_foreground"):
        made = getattr(backend, name)
        monkeypatch.setattr(
            backend,
            name,
            lambda *a, made=made, **o: running.append(admission.running) or made(*a, **o),
        )
    studio.foreground(order)  # all that comes before is there
    running.clear()
    for work in (
        lambda: studio.background(blurred),
        lambda: studio.colours_under(order.photo, other, subject_mask()),
    ):
        with admission.visit(Visitor("203.0.113.7")) as visit, visit.active():
            work()
    assert running == [1, 1]


@pytest.mark.parametrize(
    "edits",
    [
        (Edit("add", 4, tuple((float(x % 60), 6.0) for x in range(2000))),),
        tuple(Edit("click_add", 4, ((float(x), 25.0),)) for x in range(20, 30)),
    ],
)
def test_corrections_end_at_the_time_limit(order, memory, edits):
    models = Models(FakeMatter, lambda name: FakeSegmenter())
    hasty = Studio(models, memory, max_megapixels=1.0, max_seconds=0)
    with pytest.raises(ValueError, match="a photo must take at most 0 s, took longer"):
        hasty.guidance(with_recipe(order, edits=edits))


def test_reading_a_photo_ends_at_the_time_limit(order, memory):
    hasty = Studio(Models(FakeMatter, FakeSegmenter), memory, max_megapixels=1.0, max_seconds=0)
    with pytest.raises(ValueError, match="a photo must take at most 0 s, took longer"):
        hasty.image(order.photo)


def test_the_overlay_tints_the_subject_alone():
    shown = overlay(photo_pixels(), subject_mask())
    assert np.array_equal(shown[2, 2], photo_pixels()[2, 2])
    assert shown[25, 28] == pytest.approx(
        0.45 * photo_pixels()[SUBJECT][0, 0] + 0.55 * np.float32([0.36, 0.30, 0.95]), abs=1e-6
    )
    assert shown[12, 20] == pytest.approx(1)


def test_the_same_guidance_with_and_without_known_regions_is_not_the_same_matte(
    studio, order, tmp_path
):
    file = file_of(tmp_path, subject_mask())
    free, held = (
        studio.matte(replace(order, mask=file, recipe=replace(order.recipe, mask_kind=kind))).alpha
        for kind in ("binary_mask", "trimap")
    )
    assert 0 < free[12, 20] < 1
    assert np.array_equal(held, subject_mask())


def with_recipe(order, **settings):
    return replace(order, recipe=replace(order.recipe, **settings))


def test_a_recipe_that_needs_a_mask_is_not_made_without_one(studio, order):
    with pytest.raises(ValueError, match="a mask must come with these settings, got none"):
        studio.guidance(with_recipe(order, own_mask=True))


def test_corrections_come_after_the_shift(studio, order):
    added = Edit("add", 4, ((50.0, 6.0),))
    guided = studio.guidance(with_recipe(order, shift_px=-9, edits=(added,)))
    expected = apply_edits(erode(subject_mask(), 9), [added])
    assert np.array_equal(guided.guidance, expected)


def test_a_shadow_falls_on_background_and_cut_out_alike(studio, order):
    shadow = Shadow(0.6, 10, 8, 0)
    white = with_recipe(order, background=Background("colour"), shadow=shadow)
    result, rgba = studio.result(white), studio.cut_out(white)
    assert result[38, 43] == pytest.approx(0.4)  # 6 px to the right of the subject, 5 below
    assert rgba[38, 43] == pytest.approx([0, 0, 0, 0.6])
    over_white = rgba[..., 3:] * rgba[..., :3] + 1 - rgba[..., 3:]
    np.testing.assert_allclose(over_white, result, atol=1e-6)


def test_the_tiles_on_the_page_shed_no_light(studio, order):
    shown = studio.view(with_recipe(order, light_wrap=1), "cut-out")
    alpha, tile_px = studio.matte(order).alpha, 4
    tiles = checkerboard(*alpha.shape, tile_px=tile_px)
    assert np.array_equal(shown, composite(studio.foreground(order), alpha, tiles))


def test_another_foreground_is_another_blur(studio, order):
    blur = Background("blur", blur_percent=5)
    photo = studio.image(order.photo)
    for method in ("raw", "multilevel"):
        ordered = with_recipe(order, background=blur, foreground=method)
        matte, foreground = studio.matte(ordered), studio.foreground(ordered)
        expected = blurred_background(photo, matte.alpha, foreground, 5 / 100 * 64)
        assert np.array_equal(studio.background(ordered), expected)


@pytest.mark.parametrize("name", [part.name for part in fields(Guided)])
def test_mattes_of_other_guidance_are_other_mattes(studio, matter, order, monkeypatch, name):
    planes = {"known": subject_mask(), "body": subject_mask(), "certain": subject_mask() == 1}
    guided = Guided(subject_mask(), "found", **planes)
    changed = "brought" if name == "reason" else np.roll(getattr(guided, name), 1, axis=1)
    for given in (guided, guided, replace(guided, **{name: changed})):
        monkeypatch.setattr(studio, "guidance", lambda _, given=given: given)
        studio.matte(order)
    assert len(matter.seen) == 2


def test_keys_stay_short_however_long_the_corrections_are(studio, memory, order):
    line = Edit("add", 4, tuple((float(x % 60), 6.0) for x in range(2000)))
    long = with_recipe(order, edits=(line, Edit("click_add", 1, ((20.0, 25.0),))))
    studio.guidance(long)
    studio.remember(long, "alpha", Seen((b"", "a"), (b"", "b"), ""))
    assert {key[0] for key in memory._results} > {"corrected", "seen"}
    assert max(len(repr(key)) for key in memory._results) < 300


@pytest.mark.parametrize(
    "settings",
    [{"shift_px": 3}, {"edits": (Edit("click_add", 1, ((21.0, 25.0),)),)}, {"drawn_on": (64, 48)}],
)
def test_other_corrections_are_made_anew(studio, memory, order, settings):
    clicked = with_recipe(order, edits=(Edit("click_add", 1, ((20.0, 25.0),)),))
    for each in (clicked, clicked, with_recipe(clicked, **settings)):
        studio.guidance(each)
    assert [key[0] for key in memory._results].count("corrected") == 2
    studio.remember(clicked, "alpha", Seen((b"", "a"), (b"", "b"), ""))
    assert studio.seen(with_recipe(clicked, **settings), "alpha") is None
