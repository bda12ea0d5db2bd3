"""From an order to its result, stage by stage; what did not change is not computed again.

The stages are those of `mgm_core.cutout`. Each asks the one before it and keeps its own result in
`Memory`.
"""

import hashlib
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import cv2
import numpy as np

from demo.backend.memory import Memory
from demo.backend.models import Models
from demo.backend.orders import File, Order
from mgm_core.arrays import Floats
from mgm_core.compositing import checkerboard, composite
from mgm_core.corrections.editing import CLICKS
from mgm_core.cutout import (
    Guided,
    NoSubjectError,
    apply_corrections,
    check_subject,
    erase_foreground,
    guidance_from_mask,
    guidance_from_probability,
    guidance_to_click_on,
    make_background,
    opaque,
    predict_matte,
    render,
    resolve_category,
)
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.images import (
    LARGEST_MEGAPIXELS,
    ImageError,
    Photo,
    SubjectMask,
    read_header,
    read_labels,
    read_photo,
    read_subject_mask,
)
from mgm_core.recipe import AUTO, Recipe
from mgm_core.runtime.admission import await_turn, briefly, current_visit, reserve, within

if TYPE_CHECKING:
    from mgm_core.matting.matter import Matte

T = TypeVar("T")
View = Literal["cut-out", "alpha", "guidance", "foreground", "os8", "os4", "os1", "g4", "g1"]

# What the guidance's overlay is tinted with: far from skin, hair and foliage.
_TINT = np.array([0.36, 0.30, 0.95], np.float32)
_TINT_SHARE = 0.55
LARGE_PIXELS = 4_000_000
"""What has more waits in a lane of its own, so that small photos need not wait for it."""


class Seen(NamedTuple):
    """What the page shows of a finished view, encoded.

    Args:
        before: the photo's content and name.
        after: the view's.
        note: the line about the guidance.
    """

    before: tuple[bytes, str]
    after: tuple[bytes, str]
    note: str


class Studio:
    """Turns orders into pictures.

    Args:
        models: the networks.
        memory: where results are kept.
        max_megapixels: largest photo that is accepted.
        max_seconds: how long it may take to read a file, and to find the subject, the corrections,
            the matte, the colours and what is made of them, each; None for any time.
    """

    def __init__(
        self,
        models: Models,
        memory: Memory,
        max_megapixels: float,
        max_seconds: float | None = None,
    ) -> None:
        self.models = models
        self._memory = memory
        self.max_megapixels = max_megapixels
        self._max_seconds = max_seconds

    @staticmethod
    def megapixels(path: str) -> float:
        """Return a photo's size from its header; 0 where that cannot be read."""
        try:
            header = read_header(path, max_megapixels=LARGEST_MEGAPIXELS)
        except ImageError:
            return 0.0  # whoever reads the photo says why
        return header.width * header.height / 1e6

    def photo(self, file: File) -> Photo:
        """Return a file's colours, its transparency and what else it tells."""
        return self._briefly(
            ("image", file.digest),
            lambda: read_photo(file.path, max_megapixels=self.max_megapixels),
        )

    def image(self, file: File) -> Floats:
        """Return a file's colours, (H, W, 3), also where they are transparent."""
        return self.photo(file).image

    def picture(self, file: File) -> Floats:
        """Return a file as it is shown, (H, W, 3): over tiles where it is transparent."""
        photo = self.photo(file)
        if photo.alpha is None:
            return photo.image
        return composite(photo.image, photo.alpha, page_tiles(photo.alpha))

    def mask(self, file: File, label: int | None = None) -> SubjectMask:
        """Return a mask file's values, (H, W), of a map of labels the subject's."""
        return self._briefly(
            ("mask", file.digest, label),
            lambda: read_subject_mask(file.path, label=label, max_megapixels=self.max_megapixels),
        )

    def labels(self, file: File) -> dict[int, float]:
        """Return the labels of a class map and their shares of the picture; else nothing."""
        return self._briefly(
            ("labels", file.digest),
            lambda: read_labels(file.path, max_megapixels=self.max_megapixels),
        )

    def fitting_mask(self, order: Order, file: File) -> SubjectMask:
        """Return a mask file's values, held to the photo's size, (H, W)."""
        found = self.mask(file, order.recipe.label)
        mask = found.mask
        height, width = self.image(order.photo).shape[:2]
        if mask.shape != (height, width):
            raise ValueError(
                f"the mask must have the photo's size {width}x{height}, got "
                f"{mask.shape[1]}x{mask.shape[0]}: export it at the photo's size"
            )
        return found

    def probability(self, photo: File, recipe: Recipe) -> Floats:
        """Return the probability of the recipe's category at every pixel of a photo, (H, W)."""
        name, category, side_px = recipe.segmenter, recipe.category, recipe.segmenter_side_px
        image = self.image(photo)
        return self._briefly(
            _probability_key(photo, recipe),
            lambda: self.models.segmenter(name).probability(image, category, long_side_px=side_px),
        )

    def _with_category(self, photo: File, recipe: Recipe) -> Recipe:
        """Return the recipe with the category that `AUTO` stands for in this photo."""
        if recipe.category != AUTO:
            return recipe
        image = self.image(photo)
        return replace(
            recipe,
            category=self._briefly(
                _category_key(photo, recipe),
                lambda: (
                    resolve_category(
                        image, self.models.segmenter(recipe.segmenter), recipe
                    ).category
                ),
            ),
        )

    def guidance(self, order: Order) -> Guided:
        """Return the guidance that an order asks for, with all its corrections.

        Raises:
            ValueError: there is no subject in it, a mask is missing, or does not fit the photo.
        """
        recipe = order.recipe
        if order.mask is not None:
            found = self.fitting_mask(order, order.mask)
            guided = guidance_from_mask(
                found.mask, recipe.mask_kind, recipe.category, note=found.note
            )
        elif recipe.own_mask:
            raise ValueError(
                "a mask must come with these settings, got none: they were made with one; bring "
                'it, or set "own_mask" to false'
            )
        else:
            try:
                recipe = self._with_category(order.photo, recipe)
                guided = guidance_from_probability(self.probability(order.photo, recipe), recipe)
            except NoSubjectError as error:
                guided = guidance_to_click_on(self.image(order.photo), recipe, error)
        if any(edit.tool in CLICKS for edit in recipe.edits):
            # Of all corrections these take long.
            before, image = guided, self.image(order.photo)
            settings = recipe.shift_px, recipe.edits, recipe.drawn_on
            guided = self._briefly(
                ("corrected", order.photo.digest, _digest(*vars(before).values(), settings)),
                lambda: self._correct(before, recipe, image),
            )
        else:
            guided = self._correct(guided, recipe)
        check_subject(guided)
        if order.perturb_px is None:
            return guided
        return replace(guided.shifted(order.perturb_px), known=None)

    def _correct(self, guided: Guided, recipe: Recipe, image: Floats | None = None) -> Guided:
        with self.in_time():
            return apply_corrections(guided, recipe, image)

    def in_time(self) -> AbstractContextManager[None]:
        """Compute something of a photo in this block, which may not take longer than it may."""
        return within(self._max_seconds, "a photo")

    def matte(self, order: Order) -> "Matte":
        """Return the matte: alpha, its levels and their self-guidance."""
        guided, image = self.guidance(order), self.image(order.photo)
        return self._in_turn(
            _matte_key(order, guided),
            image,
            lambda: predict_matte(
                image,
                guided,
                self.models.matter(),
                order.recipe,
                self.photo(order.photo).alpha,
            ),
        )

    def levels(self, order: Order) -> "Matte":
        """Return the network's raw levels and their self-guidance, for who wants to look at them.

        Alpha is the network's own here, not refined.
        """
        guided, image = self.guidance(order), self.image(order.photo)
        return self._in_turn(
            ("levels", _matte_key(order, guided)),
            image,
            lambda: self.models.matter().matte(
                image, guided.guidance, known=guided.known, levels=True
            ),
        )

    def has_matte(self, order: Order) -> bool:
        """Tell whether the matte is there already."""
        return _matte_key(order, self.guidance(order)) in self._memory

    def reserve(self, order: Order) -> None:
        """Take a place among those who wait, unless all that is wanted is there already.

        Raises:
            BusyError: All places are taken.
            ValueError: A mask is missing, or does not fit the photo.
        """
        own_mask = order.mask is not None or order.recipe.own_mask
        try:
            if (own_mask or self.is_found(order)) and self.has_matte(order):
                return
        except NoSubjectError:
            return  # there is nothing to compute, and the guidance says why
        reserve()

    def await_turn(self, order: Order) -> None:
        """Wait for the visit's turn before the subject is looked for.

        Raises:
            BusyError: All places are taken.
            ValueError: As `reserve`.
        """
        self.reserve(order)
        visit = current_visit()
        if visit is not None and visit.has_place:
            await_turn(_lane(self.image(order.photo)))

    def is_found(self, order: Order) -> bool:
        """Return whether the segmenter has looked for the order's category in its photo."""
        recipe = order.recipe
        if recipe.category == AUTO:
            if _category_key(order.photo, recipe) not in self._memory:
                return False
            recipe = self._with_category(order.photo, recipe)
        return _probability_key(order.photo, recipe) in self._memory

    def _briefly(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept, or make it beside those who have their turn."""
        if key in self._memory:
            return self._memory.get(key, make)
        with briefly(), self.in_time():
            return self._memory.get(key, make)

    def _in_turn(self, key: Hashable, image: Floats, make: Callable[[], T]) -> T:
        """Return what is kept, or make it when it is the visit's turn, within the time limit."""
        if key not in self._memory:
            await_turn(_lane(image))
        with self.in_time():
            return self._memory.get(key, make)

    def foreground(self, order: Order) -> Floats:
        """Return the subject's own colours, (H, W, 3)."""
        alpha = self.matte(order).alpha
        photo = self.photo(order.photo)
        return self._in_turn(
            self._foreground_key(order),
            photo.image,
            lambda: erase_foreground(
                estimate_foreground(
                    photo.image,
                    alpha,
                    order.recipe.foreground,
                    network=self.models.foreground_network,
                ),
                photo.alpha,
                order.recipe,
            ),
        )

    def colours_under(self, photo: File, other: File, alpha: Floats) -> Floats:
        """Return a photo's own colours under another tool's alpha, (H, W, 3).

        Args:
            photo: the photo.
            other: the other tool's result.
            alpha: its alpha at the photo's size, (H, W) float32 in [0, 1].
        """
        image = self.image(photo)
        return self._in_turn(
            ("colours", photo.digest, other.digest),
            image,
            lambda: estimate_foreground(image, alpha, "multilevel"),
        )

    def background(self, order: Order) -> Floats | None:
        """Return what the subject is put over, (H, W, 3), or None where that is nothing.

        Raises:
            ValueError: a picture is wanted and none was given.
        """
        photo, alpha = self.photo(order.photo), self.matte(order).alpha
        foreground = self.foreground(order)
        picture = None
        wanted = order.recipe.background
        if wanted.kind == "picture" and order.backdrop is not None:
            picture = opaque(self.photo(order.backdrop), order.recipe)

        def make() -> Floats | None:
            return make_background(
                photo.image, alpha, foreground, order.recipe, picture, photo.alpha
            )

        if wanted.kind != "blur":
            return make()
        # Of all backgrounds this one takes long.
        key = ("background", self._foreground_key(order), wanted.blur_percent)
        return self._in_turn(key, photo.image, make)

    def cut_out(self, order: Order) -> Floats:
        """Return the subject over nothing, with its shadow if it has one, (H, W, 4)."""
        return render(self.foreground(order), self.matte(order).alpha, None, order.recipe)

    def result(self, order: Order) -> Floats:
        """Return what the order asks for: (H, W, 3), or (H, W, 4) if it has no background."""
        behind = self.background(order)
        return render(self.foreground(order), self.matte(order).alpha, behind, order.recipe)

    def seen(self, order: Order, view: View) -> Seen | None:
        """Return what was shown of a finished view, if that is still known."""
        seen = self._memory.find(_seen_key(order, view))
        assert seen is None or isinstance(seen, Seen), "the key is of these alone"
        return seen

    def remember(self, order: Order, view: View, seen: Seen) -> None:
        """Keep what is shown of a finished view, so that it is there again at once."""
        self._memory.put(_seen_key(order, view), seen)

    def view(self, order: Order, view: View) -> Floats:
        """Return what is to be looked at: (H, W, 3) colours or an (H, W) plane."""
        match view:
            case "cut-out":
                return self._result_to_look_at(order)
            case "guidance":
                return overlay(self.picture(order.photo), self.guidance(order).guidance)
            case "foreground":
                return self.foreground(order)
            case "alpha":
                return self.matte(order).alpha
        levels = self.levels(order)
        plane = {
            "os8": levels.os8,
            "os4": levels.os4,
            "os1": levels.os1,
            "g4": levels.self_guidance_os4,
            "g1": levels.self_guidance_os1,
        }[view]
        assert plane is not None, "levels were asked for"
        return plane

    def _result_to_look_at(self, order: Order) -> Floats:
        if order.recipe.background.kind != "transparent":
            return self.result(order)
        return over_tiles(self.foreground(order), self.matte(order).alpha, order.recipe)

    def _foreground_key(self, order: Order) -> Hashable:
        key = _matte_key(order, self.guidance(order))
        return "foreground", key, order.recipe.foreground


def over_tiles(foreground: Floats, alpha: Floats, recipe: Recipe) -> Floats:
    """Return a transparent result as it is looked at: over tiles, (H, W, 3) float32 in [0, 1].

    Args:
        foreground: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        recipe: its shadow; tiles shed no light.
    """
    return render(foreground, alpha, page_tiles(alpha), replace(recipe, light_wrap=0))


def page_tiles(alpha: Floats) -> Floats:
    """Return tiles for what is transparent, (H, W, 3), which look alike whatever its size."""
    height, width = alpha.shape
    return checkerboard(height, width, tile_px=max(4, max(height, width) // 56))


def lane(megapixels: float) -> str:
    """Return the lane in which pictures of a size wait for their turn."""
    return "large" if megapixels * 1e6 > LARGE_PIXELS else "photo"


def _lane(image: Floats) -> str:
    return lane(image.shape[0] * image.shape[1] / 1e6)


def _probability_key(photo: File, recipe: Recipe) -> Hashable:
    settings = recipe.segmenter, recipe.category, recipe.segmenter_side_px
    return "probability", photo.digest, *settings


def _category_key(photo: File, recipe: Recipe) -> Hashable:
    settings = recipe.segmenter, recipe.segmenter_side_px, recipe.threshold
    return "category", photo.digest, *settings


def _seen_key(order: Order, view: View) -> Hashable:
    files = (None if file is None else file.digest for file in (order.mask, order.backdrop))
    return "seen", view, order.photo.digest, *files, _digest(order.recipe), order.perturb_px


def _matte_key(order: Order, guided: Guided) -> Hashable:
    recipe = order.recipe
    settings = recipe.refine, recipe.keep_largest, recipe.ignore_transparency
    return "matte", order.photo.digest, _digest(*vars(guided).values()), settings


def _digest(*values: object) -> str:
    """Return what stands for values in a key, so that it is short however long they are."""
    content = hashlib.blake2b(digest_size=16)
    for value in values:
        content.update(repr(getattr(value, "shape", value)).encode())
        if isinstance(value, np.ndarray):
            content.update(value.tobytes())
    return content.hexdigest()


def overlay(image: Floats, plane: Floats) -> Floats:
    """Tint a photo where a mask is set, and draw the mask's outline.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        plane: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    share = (_TINT_SHARE * plane)[..., None]
    tinted = (1 - share) * image + share * _TINT
    inside = (plane >= 0.5).astype(np.uint8)
    width_px = 1 + max(plane.shape) // 600
    edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((width_px + 1,) * 2, np.uint8))
    tinted[edge > 0] = 1.0
    return tinted.astype(np.float32)


def tinted(plane: Floats) -> Floats:
    """Return a mask as a picture of the tint that is opaque where the mask is set, (H, W, 4)."""
    colour = np.broadcast_to(_TINT, (*plane.shape, 3))
    return np.dstack([colour, plane]).astype(np.float32)
