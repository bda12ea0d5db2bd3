import numpy as np
import pytest

from mgm_core.choices import CATEGORIES
from mgm_core.compositing import (
    blurred_background,
    cast_shadow,
    composite,
    fit_background,
    gradient_background,
    rgba,
    rgba_over_shadow,
    soft_shadow,
    wrap_light,
)
from mgm_core.corrections.editing import apply_edits
from mgm_core.cutout import (
    Guided,
    NoSubjectError,
    apply_corrections,
    cut_out,
    guidance_from_mask,
    guidance_from_probability,
    guidance_from_segmenter,
    guidance_of_frame,
    largest_category,
    make_background,
    predict_matte,
    render,
)
from mgm_core.guidance import dilate, solid_inside
from mgm_core.matting.matter import Matte
from mgm_core.recipe import Background, Edit, Recipe, Shadow

HEIGHT, WIDTH = 20, 30


class TakesGuidance:
    """Returns the guidance as alpha."""

    def matte(self, image, guidance, *, known=None, refine="off"):
        self.refine = refine
        return Matte(*[guidance] * 6)


@pytest.fixture
def mask():
    """A large part and a small one."""
    plane = np.zeros((HEIGHT, WIDTH), np.float32)
    plane[5:15, 4:16] = 1
    plane[8:11, 22:25] = 1
    return plane


@pytest.fixture
def scene(mask):
    """Photo, alpha and foreground of a scene."""
    generator = np.random.default_rng(5)
    image, foreground = generator.random((2, HEIGHT, WIDTH, 3)).astype(np.float32)
    return image, mask * np.float32(0.75), foreground


@pytest.mark.parametrize(
    ("shares", "category"),
    [
        ({"person": 2, "dog": 90}, "person"),
        ({"dog": 20, "car": 30}, "car"),
        ({"dog": 20, "cat": 20, "car": 30}, "animal"),
        ({"bird": 1}, "animal"),
        ({"sofa": 1}, "sofa"),
    ],
)
def test_people_come_first_then_animals_together_or_the_largest_thing(shares, category):
    probabilities, taken = np.zeros((21, 100), np.float32), 0
    for name, share in shares.items():
        probabilities[CATEGORIES.index(name), taken : taken + share] = 0.8
        taken += share
    assert largest_category(probabilities.reshape(21, 10, 10), 0.5) == category


def test_an_animal_is_one_that_looks_like_several():
    probabilities = np.zeros((21, 4, 4), np.float32)
    for name in ("cat", "dog", "sheep"):
        probabilities[CATEGORIES.index(name)] = 0.3
    assert largest_category(probabilities, 0.5) == "animal"
    with pytest.raises(NoSubjectError, match=r"got none at a threshold of 0\.95"):
        largest_category(probabilities, 0.95)


def test_the_probability_is_thresholded_at_and_above():
    probability = np.float32([[0.1, 0.3, 0.7]])
    guided = guidance_from_probability(probability, Recipe(threshold=0.3))
    assert guided.guidance.tolist() == [[0, 1, 1]]
    assert guided.reason == "person found on 67% of the photo"
    with pytest.raises(NoSubjectError, match=r"got none at a threshold of 0.9 \(highest .* 0.70\)"):
        guidance_from_probability(probability, Recipe(threshold=0.9))


def test_only_a_trimaps_regions_are_known(mask):
    trimap = mask.copy()
    trimap[5:15, 4:12] = 0.5
    detected = guidance_from_mask(trimap)
    assert detected.known is not None
    assert detected.reason.endswith(": a trimap")
    read = guidance_from_mask(trimap, "binary_mask")
    assert read.known is None
    assert read.reason.endswith(": a trimap, read as binary mask")


@pytest.mark.parametrize("value", [0, 1, 0.4])
def test_a_mask_that_marks_nothing_is_refused(mask, value):
    with pytest.raises(NoSubjectError, match="the mask must mark the subject, got all values"):
        guidance_from_mask(np.full_like(mask, value))
    faint = mask * np.float32(0.3)
    with pytest.raises(NoSubjectError, match="got none when it is read as trimap fg: read it as"):
        guidance_from_mask(faint, "trimap_fg")


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.7])
def test_a_mask_painted_at_part_strength_guides_as_a_whole_one(mask, strength):
    read = guidance_from_mask(mask * np.float32(strength))
    np.testing.assert_array_equal(read.guidance, mask)
    assert read.known is None


def test_corrections_come_after_the_shift_and_make_known_regions_free(mask):
    trimap = guidance_from_mask(mask, "trimap")
    grown = apply_corrections(trimap, Recipe(shift_px=4))
    np.testing.assert_array_equal(grown.guidance, dilate(mask, 4))
    assert grown.known is trimap.known
    edit = Edit("remove", 6, ((10.0, 10.0),))
    edited = apply_corrections(trimap, Recipe(shift_px=4, edits=(edit,)))
    np.testing.assert_array_equal(edited.guidance, apply_edits(dilate(mask, 4), [edit]))
    assert edited.known is None


def test_corrections_for_another_photo_are_refused(mask):
    edit = Edit("add", 6, ((10.0, 10.0),))
    guided = Guided(mask, "")
    apply_corrections(guided, Recipe(edits=(edit,), drawn_on=(WIDTH, HEIGHT)))
    apply_corrections(guided, Recipe(drawn_on=(HEIGHT, WIDTH)))  # no corrections
    with pytest.raises(ValueError, match="photo of this size, 30x20, got some for 20x30: take"):
        apply_corrections(guided, Recipe(edits=(edit,), drawn_on=(HEIGHT, WIDTH)))


def test_stray_parts_are_dropped_where_that_is_asked_for(scene, mask):
    image, _, _ = scene
    both = cut_out(image, Guided(mask, ""), TakesGuidance(), Recipe(foreground="raw"))
    largest = cut_out(
        image, Guided(mask, ""), TakesGuidance(), Recipe(foreground="raw", keep_largest=True)
    )
    np.testing.assert_array_equal(both.alpha, mask)
    assert largest.alpha[:, :18].sum() == 120
    assert largest.alpha[:, 18:].sum() == 0


def test_a_cut_out_is_what_its_recipe_says(scene, mask):
    image, _, _ = scene
    recipe = Recipe(foreground="raw", background=Background("colour", "#336699"))
    cutout = cut_out(image, Guided(mask, ""), TakesGuidance(), recipe)
    np.testing.assert_array_equal(cutout.rgba(), rgba(image, mask))
    expected = np.where(mask[..., None] == 1, image, np.float32([0.2, 0.4, 0.6]))
    np.testing.assert_allclose(cutout.result(), expected, atol=1e-6)
    clear = cut_out(image, Guided(mask, ""), TakesGuidance(), Recipe(foreground="raw"))
    np.testing.assert_array_equal(clear.result(), clear.rgba())


@pytest.mark.parametrize("bits", [8, 16])
def test_levels_are_the_rounded_result(scene, mask, bits):
    image, _, _ = scene
    recipe = Recipe(foreground="raw")
    cutout = cut_out(
        np.tile(image, (8, 1, 1)), Guided(np.tile(mask, (8, 1)), ""), TakesGuidance(), recipe
    )
    levels = cutout.levels(bits=bits)
    assert levels.dtype == f"uint{bits}"
    np.testing.assert_array_equal(levels, np.rint(cutout.rgba() * (2**bits - 1)))


def test_percent_are_those_of_the_longer_side(scene):
    image, alpha, foreground = scene
    made = make_background(image, alpha, foreground, Recipe(background=Background("blur")))
    np.testing.assert_array_equal(made, blurred_background(image, alpha, foreground, 0.3))


def test_backgrounds_are_those_of_the_recipe(scene):
    image, alpha, foreground = scene
    gradient = Background("gradient", "#ff0000", "#0000ff", 30)
    made = make_background(image, alpha, foreground, Recipe(background=gradient))
    np.testing.assert_array_equal(
        made, gradient_background((1, 0, 0), (0, 0, 1), 30, HEIGHT, WIDTH)
    )
    picture = image[:9, :7]
    wanted = Recipe(background=Background("picture", "#ff0000", fit="contain", x=0.2, y=1, scale=2))
    made = make_background(image, alpha, foreground, wanted, picture)
    np.testing.assert_array_equal(
        made,
        fit_background(picture, HEIGHT, WIDTH, "contain", x=0.2, y=1, scale=2, margin=(1, 0, 0)),
    )
    assert make_background(image, alpha, foreground, Recipe()) is None
    with pytest.raises(ValueError, match="the background must be a picture, got none: give one"):
        make_background(image, alpha, foreground, wanted)


def test_shadow_and_light_are_off_unless_asked_for(scene):
    image, alpha, foreground = scene
    np.testing.assert_array_equal(
        render(foreground, alpha, image, Recipe()), composite(foreground, alpha, image)
    )
    np.testing.assert_array_equal(
        render(foreground, alpha, None, Recipe()), rgba(foreground, alpha)
    )


def test_shadow_and_light_in_their_order(scene):
    image, alpha, foreground = scene
    recipe = Recipe(shadow=Shadow(0.5, 10, -10, 2), light_wrap=0.4, light_wrap_percent=5)
    shadow = soft_shadow(alpha, 3, -3, 0.6, 0.5)
    behind = cast_shadow(image, shadow)
    expected = wrap_light(composite(foreground, alpha, behind), alpha, behind, 1.5, 0.4)
    np.testing.assert_allclose(render(foreground, alpha, image, recipe), expected, atol=1e-6)
    np.testing.assert_allclose(
        render(foreground, alpha, None, recipe),
        rgba_over_shadow(foreground, alpha, shadow),
        atol=1e-6,
    )


def test_alpha_is_refined_unless_the_recipe_says_otherwise(mask):
    image, matter = np.zeros((HEIGHT, WIDTH, 3), np.float32), TakesGuidance()
    for recipe, followed in ((Recipe(), "full"), (Recipe(refine="off"), "off")):
        predict_matte(image, Guided(mask, ""), matter, recipe)
        assert matter.refine == followed


class _LosesAll:
    """Returns no subject at all."""

    def matte(self, image, guidance, *, known=None, refine="off"):
        return Matte(*[np.zeros_like(guidance)] * 6)


def test_what_lies_deep_inside_a_found_person_or_animal_is_no_hole():
    probability = np.ones((100, 100), np.float32)
    probability[:, :30] = 0
    image = np.zeros((100, 100, 3), np.float32)
    guided = guidance_from_probability(probability, Recipe())
    solid = solid_inside(guided.guidance)
    assert solid.max() == 1
    for found in (
        guided,
        guidance_of_frame(probability, Recipe()),
        guidance_from_mask(probability),
        guidance_from_probability(probability, Recipe(category="horse")),
        guidance_from_mask(probability, "binary_mask", "horse"),
    ):
        np.testing.assert_array_equal(
            predict_matte(image, found, _LosesAll(), Recipe()).alpha, solid
        )
    # Nothing is said of other things, nor where a mask tells more than inside and outside.
    for other in (
        guidance_from_probability(probability, Recipe(category="bicycle")),
        guidance_of_frame(probability, Recipe(category="bicycle")),
        guidance_from_mask(probability, "binary_mask", "bicycle"),
        guidance_from_mask(probability, "soft_mask"),
        guidance_from_mask(probability, "trimap"),
    ):
        assert predict_matte(image, other, _LosesAll(), Recipe()).alpha.max() == 0


class _HasGap:
    """Returns the guidance with a gap in it."""

    def matte(self, image, guidance, *, known=None, refine="off"):
        alpha = guidance.copy()
        alpha[20:24, 33:36] = 0.2
        return Matte(*[alpha] * 6)


@pytest.mark.parametrize(
    ("doubt", "category", "edits", "filled"),
    [
        (0.0, "person", (), True),
        (0.03, "person", (), False),
        (0.0, "dog", (), True),
        (0.03, "dog", (), False),
        (0.0, "bicycle", (), False),
        (0.0, "person", (Edit("remove", 3, ((34.0, 22.0),)),), False),
    ],
)
def test_a_gap_in_what_is_certainly_a_person_or_an_animal_is_filled(doubt, category, edits, filled):
    probability = np.zeros((100, 100), np.float32)
    probability[:, 30:40] = 1
    probability[22, 34] -= np.float32(doubt)
    recipe = Recipe(category=category, edits=edits)
    guided = apply_corrections(guidance_from_probability(probability, recipe), recipe)
    alpha = predict_matte(np.zeros((100, 100, 3), np.float32), guided, _HasGap(), recipe).alpha
    assert (alpha[20:24, 33:36] == 1).all() == filled
    assert (alpha[:, :30] == 0).all()


def test_what_is_solid_stays_when_the_boundary_moves_and_goes_where_a_hand_removes_it():
    probability = np.ones((100, 100), np.float32)
    probability[:, :30] = 0
    guided = guidance_from_probability(probability, Recipe())
    assert guided.solid is not None
    for moved in (apply_corrections(guided, Recipe(shift_px=15)), guided.shifted(-15)):
        assert not np.array_equal(moved.guidance, guided.guidance)
        np.testing.assert_array_equal(moved.solid, guided.solid)
    recipe = Recipe(edits=(Edit("remove", 20, ((80.0, 50.0),)),))
    edited = apply_corrections(guided, recipe)
    removed = edited.guidance < guided.guidance
    assert removed.sum() > 200
    assert (guided.solid[removed] == 1).all()
    assert (edited.solid[removed] == 0).all()
    np.testing.assert_array_equal(edited.solid[~removed], guided.solid[~removed])
    assert apply_corrections(guidance_from_mask(probability, "soft_mask"), recipe).solid is None


def test_a_click_cuts_out_what_no_segmenter_finds():
    class FindsNothing:
        def probability(self, image, category="person", *, long_side_px=None):
            return np.zeros(image.shape[:2], np.float32)

    image = np.full((40, 60, 3), 0.2, np.float32)
    image[10:30, 20:40] = (0.9, 0.5, 0.1)
    click = Edit("click_add", points=((30, 20),))
    with pytest.raises(NoSubjectError):
        guidance_from_segmenter(image, FindsNothing(), Recipe())
    away = Edit("click_remove", points=((30, 20),))
    with pytest.raises(NoSubjectError):
        guidance_from_segmenter(image, FindsNothing(), Recipe(edits=(away,)))
    recipe = Recipe(edits=(click,), refine="off", foreground="raw")
    guided = guidance_from_segmenter(image, FindsNothing(), recipe)
    made = cut_out(image, guided, TakesGuidance(), recipe)
    assert made.alpha[12:28, 22:38].min() == 1
    assert made.alpha[:8].max() == 0
    undone = Recipe(edits=(click, Edit("remove", 200, ((30, 20),))))
    with pytest.raises(NoSubjectError, match="corrections must leave something to cut out"):
        apply_corrections(guided, undone, image)
