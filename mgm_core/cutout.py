"""From a photograph to a cut-out, stage by stage; all that shows or writes cut-outs calls these.

    photo -> probability -> guidance -> corrections -> matte -> foreground -> background -> result

Source: section 5 of the paper for the order and the threshold; Eq. 1 for what a cut-out is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np

from mgm_core.arrays import Booleans, Floats, Levels
from mgm_core.choices import (
    ANIMAL,
    ANIMALS,
    CATEGORIES,
    WORKING_MEGAPIXELS,
    Refinement,
    classes_of,
    with_article,
)
from mgm_core.compositing import (
    blurred_background,
    cast_shadow,
    composite,
    fit_background,
    gradient_background,
    rgba,
    rgba_over_shadow,
    soft_shadow,
    solid_background,
    wrap_light,
)
from mgm_core.corrections.editing import apply_edits
from mgm_core.foreground.estimate import ForegroundEstimator, estimate_foreground
from mgm_core.guidance import (
    detect_kind,
    from_probability,
    shift_boundary,
    solid_inside,
    to_guidance,
)
from mgm_core.images import Photo, levels_of
from mgm_core.matting.parts import (
    within_reach,
    without_gaps,
    without_stray_parts,
    without_unguided_parts,
)
from mgm_core.recipe import AUTO, MaskKind, Recipe, read_colour
from mgm_core.runtime.workers import each_strip

# The networks are handed in; without their modules, which import PyTorch, a page is up sooner.
if TYPE_CHECKING:
    from mgm_core.matting.matter import Matte

__all__ = [
    "Cutout",
    "Guided",
    "MattingNetwork",
    "NoSubjectError",
    "SegmentingNetwork",
    "apply_corrections",
    "check_subject",
    "cut_out",
    "erase_foreground",
    "guidance_from_mask",
    "guidance_from_probability",
    "guidance_from_segmenter",
    "guidance_of_frame",
    "guidance_to_click_on",
    "largest_category",
    "make_background",
    "opaque",
    "predict_matte",
    "render",
    "require_picture",
    "resolve_category",
    "shadow_of",
]

T = TypeVar("T")

_AS_THE_PAPER = Recipe()
_NOTHING = np.empty((0, 0), np.float32)
_SMALLEST_SUBJECT = 0.001  # of the photo's area
# Chosen on training photographs (docs/experiments).
_CERTAIN_PROBABILITY = 0.98
_BODIES = ("person", ANIMAL, *ANIMALS)


class SegmentingNetwork(Protocol):
    """Finds a category in a photograph: a `Segmenter`, or what stands for one elsewhere."""

    def probability(
        self, image: Floats, category: str = ..., *, long_side_px: int | None = ...
    ) -> Floats:
        """Return the category's probability at every pixel, (H, W) float32 in [0, 1]."""
        ...

    def probabilities(self, image: Floats, *, long_side_px: int | None = ...) -> Floats:
        """Return the probability of each category, (21, h, w), at a size of its own."""
        ...


class MattingNetwork(Protocol):
    """Finds alpha: a `Matter`, or what stands for one elsewhere."""

    def matte(
        self,
        image: Floats,
        guidance: Floats,
        *,
        known: Floats | None = ...,
        refine: Refinement = ...,
        levels: bool = ...,
    ) -> "Matte":
        """Return the matte of one image; see `Matter.matte`."""
        ...


class NoSubjectError(ValueError):
    """The guidance is empty: nothing in the picture is to be cut out."""


@dataclass(frozen=True)
class Guided:
    """Guidance and where it came from.

    Args:
        guidance: (H, W) float32 in [0, 1].
        reason: One sentence for the user.
        known: The trimap whose known regions alpha must keep, or None.
        body: The guidance before corrections, where it is a person's or an animal's and so has no
            gaps deep inside; else None.
        certain: (H, W) bool, where a person or an animal is as good as certain, so that alpha that
            surrounds it has no gap there; None where nothing tells.
    """

    guidance: Floats = field(repr=False)
    reason: str
    known: Floats | None = field(default=None, repr=False)
    body: Floats | None = field(default=None, repr=False)
    certain: Booleans | None = field(default=None, repr=False)

    @property
    def solid(self) -> Floats | None:
        """The least alpha, (H, W) float32 in [0, 1], or None; see `guidance.solid_inside`.

        It stays where the boundary moves, and goes where a hand removes the subject.
        """
        if self.body is None:
            return None
        inside = solid_inside(self.body)
        return np.minimum(inside, self.guidance, out=inside)

    def shifted(self, signed_kernel_px: int) -> "Guided":
        """Return it with the boundary moved outwards, or inwards below 0."""
        if signed_kernel_px == 0:
            return self
        return replace(self, guidance=shift_boundary(self.guidance, signed_kernel_px))


@dataclass(frozen=True)
class Cutout:
    """A cut-out and what it was made from.

    Args:
        image: The photograph, (H, W, 3) float32 in [0, 1].
        guided: The guidance that was used.
        matte: What the network gave.
        foreground: Colours without the background's, (H, W, 3) float32 in [0, 1].
        recipe: What is put behind the subject.
        own_alpha: The photograph's own transparency, (H, W) float32 in [0, 1], or None.
    """

    image: Floats = field(repr=False)
    guided: Guided
    matte: "Matte" = field(repr=False)
    foreground: Floats = field(repr=False)
    recipe: Recipe = _AS_THE_PAPER
    own_alpha: Floats | None = field(default=None, repr=False)

    @property
    def alpha(self) -> Floats:
        """The final alpha, (H, W) float32 in [0, 1]."""
        return self.matte.alpha

    def rgba(self) -> Floats:
        """Return the transparent picture with straight colours and its shadow, (H, W, 4)."""
        return render(self.foreground, self.alpha, None, self.recipe)

    def result(self, picture: Floats | None = None) -> Floats:
        """Return the picture that the recipe asks for.

        Args:
            picture: For a background of that kind, (h, w, 3) float32 in [0, 1].

        Returns:
            (H, W, 4), as `rgba`, where the background is transparent; else (H, W, 3).

        Raises:
            ValueError: A picture is wanted and none was given.
        """
        behind = make_background(
            self.image, self.alpha, self.foreground, self.recipe, picture, self.own_alpha
        )
        return render(self.foreground, self.alpha, behind, self.recipe)

    def levels(self, picture: Floats | None = None, bits: Literal[8, 16] = 8) -> Levels:
        """Return the result in 8 or 16 bits; a transparent one takes no more memory than that.

        Args:
            picture: As for `result`.
            bits: 8 or 16 bits a channel.
        """
        if self.recipe.background.kind != "transparent" or self.recipe.shadow.strength:
            return levels_of(self.result(picture), bits)
        levels = np.empty((*self.alpha.shape, 4), np.uint8 if bits == 8 else np.uint16)

        def fill(strip: slice) -> None:
            levels[strip] = levels_of(rgba(self.foreground[strip], self.alpha[strip]), bits)

        each_strip(len(levels), fill)
        return levels

    def layers(self, picture: Floats | None = None) -> list[tuple[str, Floats]]:
        """Return the result's layers by name from the bottom up, each of the photograph's size.

        Args:
            picture: As for `result`.

        Returns:
            The background, (H, W, 3), and the shadow, (H, W, 4), where there are any, and the
            subject, (H, W, 4).
        """
        behind = make_background(
            self.image, self.alpha, self.foreground, self.recipe, picture, self.own_alpha
        )
        shadow = shadow_of(self.alpha, self.recipe)
        found = [] if behind is None else [("Background", behind)]
        if shadow is not None:
            found.append(("Shadow", rgba(np.zeros_like(self.image), shadow)))
        return [*found, ("Subject", rgba(self.foreground, self.alpha))]


def guidance_from_segmenter(
    image: Floats, segmenter: SegmentingNetwork, recipe: Recipe = _AS_THE_PAPER
) -> Guided:
    """Threshold the segmenter's probability of the category (section 5).

    Raises:
        NoSubjectError: Nothing of the category was found.
        ValueError: A setting is out of range.
    """
    try:
        recipe = resolve_category(image, segmenter, recipe)
        probability = segmenter.probability(
            image, recipe.category, long_side_px=recipe.segmenter_side_px
        )
        return guidance_from_probability(probability, recipe)
    except NoSubjectError as error:
        return guidance_to_click_on(image, recipe, error)


def guidance_to_click_on(image: Floats, recipe: Recipe, error: NoSubjectError) -> Guided:
    """Return empty guidance, where the segmenter found nothing and clicks say what to cut out.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        recipe: Its corrections.
        error: What the segmenter's guidance raised.

    Raises:
        NoSubjectError: That error, where no click adds anything.
    """
    if not any(edit.tool == "click_add" for edit in recipe.edits):
        raise error
    return Guided(np.zeros(image.shape[:2], np.float32), "cut out as clicked")


def resolve_category(image: Floats, segmenter: SegmentingNetwork, recipe: Recipe) -> Recipe:
    """Return the recipe with the category that `AUTO` stands for in this image.

    Raises:
        NoSubjectError: None of the 20 categories was found.
    """
    if recipe.category != AUTO:
        return recipe
    probabilities = segmenter.probabilities(image, long_side_px=recipe.segmenter_side_px)
    return replace(recipe, category=largest_category(probabilities, recipe.threshold))


def largest_category(probabilities: Floats, threshold: float) -> str:
    """Return the category to cut out of a photo: a person if there is one, else the largest.

    All animals count as one: what looks like a cat here and like a dog there is one animal.

    Args:
        probabilities: (21, h, w) float32 in [0, 1], in the order of `CATEGORIES`.
        threshold: Probability from which a pixel counts.

    Raises:
        NoSubjectError: Nothing covers as much as a thousandth of the photo.
    """
    found = (probabilities[1:] >= threshold).mean(axis=(1, 2))
    if found[CATEGORIES.index("person") - 1] >= _SMALLEST_SUBJECT:
        return "person"
    animals = (probabilities[[*classes_of(ANIMAL)]].sum(axis=0) >= threshold).mean()
    if animals >= max(_SMALLEST_SUBJECT, found.max()):
        return ANIMAL
    if found.max() < _SMALLEST_SUBJECT:
        raise NoSubjectError(
            "the photo must show a person, an animal or a thing that the segmenter knows, got "
            f"none at a threshold of {threshold:g}: lower the threshold, or bring a mask"
        )
    return CATEGORIES[1 + int(found.argmax())]


def guidance_from_probability(probability: Floats, recipe: Recipe = _AS_THE_PAPER) -> Guided:
    """Threshold the probability of the category (section 5), doubtful specks left out.

    Args:
        probability: (H, W) float32 in [0, 1].
        recipe: Its category and threshold.

    Raises:
        NoSubjectError: No pixel reaches the threshold.
    """
    guidance = from_probability(probability, recipe.threshold)
    if not guidance.any():
        raise NoSubjectError(
            f"the photo must show {with_article(recipe.category)}, got none at a threshold of "
            f"{recipe.threshold:g} (highest probability {probability.max():.2f}): lower the "
            "threshold, choose another subject, or bring a mask"
        )
    reason = f"{recipe.category} found on {guidance.mean():.0%} of the photo"
    return _of_category(guidance, reason, probability, recipe.category)


def guidance_of_frame(probability: Floats, recipe: Recipe) -> Guided:
    """Threshold the probability in one frame of a clip, where the category need not be found."""
    guidance = from_probability(probability, recipe.threshold)
    return _of_category(guidance, recipe.category, probability, recipe.category)


def _of_category(guidance: Floats, reason: str, probability: Floats, category: str) -> Guided:
    """Return guidance that knows that people and animals are solid; things may have gaps."""
    if category in _BODIES:
        certain = probability >= _CERTAIN_PROBABILITY
        return Guided(guidance, reason, body=guidance, certain=certain)
    return Guided(guidance, reason)


def guidance_from_mask(
    mask: Floats, kind: MaskKind = "detect", category: str = "person", *, note: str = ""
) -> Guided:
    """Read a mask that the user brings.

    Args:
        mask: (H, W) float32 in [0, 1].
        kind: What the mask is.
        category: What it shows; deep inside a person's or an animal's binary mask there are no
            holes.
        note: What its reader said of the file, in place of what its values say.

    Raises:
        NoSubjectError: The mask has one value everywhere, or marks nothing when it is read so.
    """
    detection = detect_kind(mask)
    if detection.constant:
        raise NoSubjectError(f"the mask must mark the subject, got {detection.reason}")
    reason = f"the mask has {note or detection.reason}"
    if kind == "detect":
        kind = detection.kind
    elif kind != detection.kind:
        reason += f", read as {kind.replace('_', ' ')}"
    if kind == "binary_mask":
        mask = np.minimum(mask / np.float32(detection.strength), 1)
    guidance = to_guidance(mask, kind)
    if not guidance.any():
        raise NoSubjectError(
            f"the mask must mark the subject, got none when it is read as "
            f"{kind.replace('_', ' ')}: read it as another kind"
        )
    return Guided(
        guidance,
        reason,
        known=guidance if kind == "trimap" else None,
        body=guidance if kind == "binary_mask" and category in (*_BODIES, AUTO) else None,
    )


def apply_corrections(guided: Guided, recipe: Recipe, image: Floats | None = None) -> Guided:
    """Dilate or erode guidance and apply the corrections by hand, as the recipe says.

    Args:
        guided: Not corrected yet.
        recipe: Says how.
        image: The photograph, (H, W, 3) float32 in [0, 1], which clicks need.

    Raises:
        NoSubjectError: The corrections by hand leave nothing. A moved boundary may: a clip has
            frames without a subject.
        ValueError: The corrections were made for a photograph of another size, or a click lies
            outside of it.
    """
    guided = guided.shifted(recipe.shift_px)
    if recipe.edits:
        height, width = guided.guidance.shape
        if recipe.drawn_on not in (None, (width, height)):
            assert recipe.drawn_on is not None
            raise ValueError(
                "the settings' corrections must be for a photo of this size, "
                f"{width}x{height}, got some for {recipe.drawn_on[0]}x{recipe.drawn_on[1]}: "
                'take their own photo, or leave out "edits"'
            )
        guidance = apply_edits(guided.guidance, recipe.edits, image)
        if not guidance.any():
            raise NoSubjectError(
                "the corrections must leave something to cut out, got an empty mask: undo the last"
            )
        # A hand's correction also corrects what a trimap took for known.
        return replace(guided, guidance=guidance, known=None)
    return guided


def check_subject(guided: Guided) -> None:
    """Raise unless the corrected guidance of a photograph marks something.

    Args:
        guided: Corrected (`apply_corrections`).

    Raises:
        NoSubjectError: The moved boundary left nothing.
    """
    if not guided.guidance.any():
        raise NoSubjectError(
            "the moved boundary must leave something to cut out, got an empty mask: move it less"
        )


def predict_matte(
    image: Floats,
    guided: Guided,
    matter: MattingNetwork,
    recipe: Recipe,
    own_alpha: Floats | None = None,
) -> "Matte":
    """Run the matting network and what refines its alpha; drop what is far from all guidance.

    In people and animals, alpha is solid deep inside, and gaps that certainly are subject are
    filled. What is transparent in the photo stays so, unless the recipe ignores it.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        guided: Corrected guidance of the image's size.
        matter: The matting network.
        recipe: Whether alpha is refined; whether all parts but the largest are dropped too.
        own_alpha: The photo's own transparency, (H, W) float32 in [0, 1], or None.

    Raises:
        ValueError: Sizes differ.
    """
    matte = matter.matte(image, guided.guidance, known=guided.known, refine=recipe.refine)
    alpha = within_reach(matte.alpha, guided.guidance)
    # Not held twice: at 50 megapixels it takes 0.2 GB.
    matte = replace(matte, alpha=_NOTHING)
    alpha = without_unguided_parts(alpha, guided.guidance)
    if (solid := guided.solid) is not None:
        alpha = np.maximum(alpha, solid, out=solid)
    if guided.certain is not None:
        alpha = without_gaps(alpha, guided.certain & (guided.guidance == 1))
    if own_alpha is not None and not recipe.ignore_transparency:
        alpha = np.minimum(alpha, own_alpha)
    return replace(matte, alpha=without_stray_parts(alpha) if recipe.keep_largest else alpha)


def make_background(
    image: Floats,
    alpha: Floats,
    foreground: Floats,
    recipe: Recipe,
    picture: Floats | None = None,
    own_alpha: Floats | None = None,
) -> Floats | None:
    """Make what the recipe puts behind the subject.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) float32 in [0, 1].
        recipe: Its background.
        picture: For a background of that kind, (h, w, 3) float32 in [0, 1].
        own_alpha: The photo's own transparency, (H, W) float32 in [0, 1], or None. What is
            transparent does not shine through a blur.

    Returns:
        (H, W, 3) float32 in [0, 1], or None where the background is transparent.

    Raises:
        ValueError: A picture is wanted and none was given.
    """
    wanted = recipe.background
    height, width = alpha.shape
    colour = read_colour(wanted.colour)
    match wanted.kind:
        case "transparent":
            return None
        case "colour":
            return solid_background(colour, height, width)
        case "gradient":
            end = read_colour(wanted.colour_to)
            return gradient_background(colour, end, wanted.angle_deg, height, width)
        case "blur":
            sigma_px = _px(wanted.blur_percent, alpha)
            seen = None if recipe.ignore_transparency else own_alpha
            return blurred_background(image, alpha, foreground, sigma_px, seen)
        case "picture":
            return fit_background(
                require_picture(picture),
                height,
                width,
                wanted.fit,
                x=wanted.x,
                y=wanted.y,
                scale=wanted.scale,
                margin=colour,
            )


def require_picture(picture: T | None) -> T:
    """Return what a background of the kind "picture" is made of.

    Args:
        picture: It, or where it lies.

    Raises:
        ValueError: None was given.
    """
    if picture is None:
        raise ValueError(
            "the background must be a picture, got none: give one, or choose another kind of "
            "background"
        )
    return picture


def erase_foreground(foreground: Floats, own_alpha: Floats | None, recipe: Recipe) -> Floats:
    """Return a foreground without the colours of what is transparent in the photo.

    Args:
        foreground: (H, W, 3) float32 in [0, 1].
        own_alpha: The photo's own transparency, (H, W) float32 in [0, 1], or None.
        recipe: Whether transparency is ignored.
    """
    if own_alpha is None or recipe.ignore_transparency:
        return foreground
    return foreground * (own_alpha > 0)[..., None]


def opaque(photo: Photo, recipe: Recipe = _AS_THE_PAPER) -> Floats:
    """Return a background picture without its transparency, (H, W, 3).

    What was made transparent does not come back: the background's colour, which is also that of
    the margins, shows there.
    """
    if photo.alpha is None:
        return photo.image
    height, width = photo.alpha.shape
    colour = solid_background(read_colour(recipe.background.colour), height, width)
    return composite(photo.image, photo.alpha, colour)


def render(foreground: Floats, alpha: Floats, behind: Floats | None, recipe: Recipe) -> Floats:
    """Put the subject, its shadow and the light at its edge over a background (Eq. 1).

    Args:
        foreground: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        behind: What `make_background` returned.
        recipe: Its shadow and light wrap.

    Returns:
        (H, W, 3) float32 in [0, 1]; where there is no background (H, W, 4), straight, the shadow
        being black below the subject, and without light wrap, as there is no light.
    """
    shadow = shadow_of(alpha, recipe)
    if behind is None:
        if shadow is None:
            return rgba(foreground, alpha)
        return rgba_over_shadow(foreground, alpha, shadow)
    if shadow is not None:
        behind = cast_shadow(behind, shadow)
    result = composite(foreground, alpha, behind)
    if recipe.light_wrap:
        sigma_px = _px(recipe.light_wrap_percent, alpha)
        result = wrap_light(result, alpha, behind, sigma_px, recipe.light_wrap)
    return result


def shadow_of(alpha: Floats, recipe: Recipe) -> Floats | None:
    """Return the opacity of the shadow that the recipe asks for, (H, W), or None."""
    if not recipe.shadow.strength:
        return None
    right_px, down_px, sigma_px = (
        _px(percent, alpha)
        for percent in (
            recipe.shadow.x_percent,
            recipe.shadow.y_percent,
            recipe.shadow.blur_percent,
        )
    )
    return soft_shadow(alpha, right_px, down_px, sigma_px, recipe.shadow.strength)


def cut_out(
    image: Floats,
    guided: Guided,
    matter: MattingNetwork,
    recipe: Recipe = _AS_THE_PAPER,
    own_alpha: Floats | None = None,
    *,
    foreground_network: Callable[[], ForegroundEstimator] | None = None,
    working_megapixels: float | None = WORKING_MEGAPIXELS,
    overwrite: bool = False,
) -> Cutout:
    """Return the subject that the guidance points to.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        guided: Guidance of the image's size, not corrected yet.
        matter: The matting network.
        recipe: What is done with it.
        own_alpha: The photo's own transparency, (H, W) float32 in [0, 1], or None.
        foreground_network: Returns it, where the recipe asks for it; see `estimate_foreground`.
        working_megapixels: Above which colours are estimated at a smaller size, likewise.
        overwrite: Whether the foreground may take the image's memory. A large photograph takes a
            third less then; a background that is the blurred photograph prevents it.

    Raises:
        NoSubjectError: The corrections leave nothing.
        ValueError: Sizes differ, or the corrections do not fit.
    """
    guided = apply_corrections(guided, recipe, image)
    check_subject(guided)
    matte = predict_matte(image, guided, matter, recipe, own_alpha)
    foreground = estimate_foreground(
        image,
        matte.alpha,
        recipe.foreground,
        network=foreground_network,
        working_megapixels=working_megapixels,
        overwrite=overwrite and recipe.background.kind != "blur",
    )
    foreground = erase_foreground(foreground, own_alpha, recipe)
    return Cutout(image, guided, matte, foreground, recipe, own_alpha)


def _px(percent: float, alpha: Floats) -> float:
    return percent / 100 * float(max(alpha.shape))
