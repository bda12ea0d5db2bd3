"""From an order to its result, stage by stage; what did not change is not computed again.

    photo -> probability -> guidance -> matte -> foreground -> background -> result

Every stage asks the one before it and keeps its own result in `Memory`.
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.editing import apply_edits
from demo.memory import Memory
from demo.models import Models
from demo.recipe import File, Order, guidance_kind
from mgm_core.compositing import (
    blurred_background,
    checkerboard,
    composite,
    fit_background,
    solid_background,
)
from mgm_core.foreground import estimate_foreground
from mgm_core.guidance import detect_kind, shift_boundary, to_guidance
from mgm_core.images import read_image, read_mask

if TYPE_CHECKING:
    from mgm_core.inference import Matte

Floats = NDArray[np.float32]
View = Literal["cut-out", "alpha", "guidance", "foreground", "os8", "os4", "os1", "g4", "g1"]

# What the guidance's overlay is tinted with: far from skin, hair and foliage.
_TINT = np.array([0.36, 0.30, 0.95], np.float32)
_TINT_SHARE = 0.55


@dataclass(frozen=True)
class Guidance:
    """Guidance and how it came about.

    Args:
        plane: (H, W) float32 in [0, 1].
        known: a trimap whose known regions alpha must keep, or None.
        note: a sentence for the visitor.
    """

    plane: Floats
    known: Floats | None
    note: str


class Studio:
    """Turns orders into pictures.

    Args:
        models: the networks.
        memory: where results are kept.
        max_megapixels: largest photo that is accepted.
    """

    def __init__(self, models: Models, memory: Memory, max_megapixels: float) -> None:
        self.models = models
        self._memory = memory
        self._max_megapixels = max_megapixels

    def image(self, file: File) -> Floats:
        """Return a file's colours, (H, W, 3)."""
        return self._memory.get(
            ("image", file.digest),
            lambda: read_image(file.path, max_megapixels=self._max_megapixels),
        )

    def mask(self, file: File) -> Floats:
        """Return a mask file's values, (H, W)."""
        return self._memory.get(
            ("mask", file.digest),
            lambda: read_mask(file.path, max_megapixels=self._max_megapixels),
        )

    def fitting_mask(self, order: Order, file: File) -> Floats:
        """Return a mask file's values, held to the photo's size, (H, W)."""
        mask = self.mask(file)
        height, width = self.image(order.photo).shape[:2]
        if mask.shape != (height, width):
            raise ValueError(
                f"the mask must have the photo's size {width}x{height}, got "
                f"{mask.shape[1]}x{mask.shape[0]}: export it at the photo's size"
            )
        return mask

    def probability(self, photo: File, segmenter: str, category: str) -> Floats:
        """Return the probability of a category at every pixel of a photo, (H, W)."""
        return self._memory.get(
            ("probability", photo.digest, segmenter, category),
            lambda: self.models.segmenter(segmenter).probability(self.image(photo), category),
        )

    def guidance(self, order: Order) -> Guidance:
        """Return the guidance that an order asks for.

        Raises:
            ValueError: there is no subject in it, or the mask does not fit the photo.
        """
        recipe = order.recipe
        if order.mask is None:
            probability = self.probability(order.photo, recipe.segmenter, recipe.category)
            plane = (probability >= np.float32(recipe.threshold)).astype(np.float32)
            if not plane.any():
                raise ValueError(
                    f"the photo must show a {recipe.category}, got none at a threshold of "
                    f"{recipe.threshold:g}: lower the threshold, choose another subject, or "
                    "bring a mask"
                )
            known, note = None, f"{recipe.category} found on {plane.mean():.0%} of the photo"
        else:
            mask = self.fitting_mask(order, order.mask)
            detection = detect_kind(mask)
            kind = guidance_kind(recipe.mask_kind, detection.kind)
            if detection.constant:
                raise ValueError(f"the mask must mark the subject, got {detection.reason}")
            plane = to_guidance(mask, kind)
            known = plane if kind == "trimap" else None
            note = f"Your mask has {detection.reason}"
            if kind != detection.kind:
                note += f", read as {kind.replace('_', ' ')}"
        plane = shift_boundary(plane, recipe.grow_px)
        if recipe.edits:
            # A hand's correction also corrects what a trimap took for known.
            plane, known = apply_edits(plane, recipe.edits), None
        if order.perturb_px is not None:
            plane, known = shift_boundary(plane, order.perturb_px), None
        return Guidance(plane, known, note)

    def matte(self, order: Order) -> "Matte":
        """Return the matte: alpha, its levels and their self-guidance."""
        guidance = self.guidance(order)
        return self._memory.get(
            self._matte_key(order.photo, guidance),
            lambda: self.models.matter().matte(
                self.image(order.photo), guidance.plane, known=guidance.known
            ),
        )

    def has_matte(self, order: Order) -> bool:
        """Tell whether the matte is there already."""
        return self._matte_key(order.photo, self.guidance(order)) in self._memory

    def foreground(self, order: Order) -> Floats:
        """Return the subject's own colours, (H, W, 3)."""
        method = order.recipe.foreground
        alpha = self.matte(order).alpha
        return self._memory.get(
            ("foreground", self._matte_key(order.photo, self.guidance(order)), method),
            lambda: estimate_foreground(self.image(order.photo), alpha, method),
        )

    def background(self, order: Order) -> Floats:
        """Return what the subject is put over, (H, W, 3).

        Raises:
            ValueError: a picture is wanted and none was given.
        """
        wanted = order.recipe.background
        image = self.image(order.photo)
        height, width = image.shape[:2]
        match wanted.kind:
            case "transparent":
                # Tiles that look alike on the page whatever the photo's size.
                return checkerboard(height, width, tile_px=max(4, max(height, width) // 56))
            case "colour":
                return solid_background(wanted.colour, height, width)
            case "picture":
                if order.backdrop is None:
                    raise ValueError(
                        "the background must be a picture, got none: upload one under "
                        '"New background", or choose another kind'
                    )
                return fit_background(self.image(order.backdrop), height, width, wanted.fit)
            case "blur":
                sigma_px = wanted.blur_percent / 100 * max(height, width)
                alpha, foreground = self.matte(order).alpha, self.foreground(order)
                return self._memory.get(
                    ("blur", self._matte_key(order.photo, self.guidance(order)), sigma_px),
                    lambda: blurred_background(image, alpha, foreground, sigma_px),
                )

    def result(self, order: Order) -> Floats:
        """Return the subject over its new background (Eq. 1), (H, W, 3)."""
        return composite(self.foreground(order), self.matte(order).alpha, self.background(order))

    def view(self, order: Order, view: View) -> Floats:
        """Return what is to be looked at: (H, W, 3) colours or an (H, W) plane."""
        match view:
            case "cut-out":
                return self.result(order)
            case "guidance":
                return overlay(self.image(order.photo), self.guidance(order).plane)
            case "foreground":
                return self.foreground(order)
        matte = self.matte(order)
        planes = {
            "alpha": matte.alpha,
            "os8": matte.os8,
            "os4": matte.os4,
            "os1": matte.os1,
            "g4": matte.self_guidance_os4,
            "g1": matte.self_guidance_os1,
        }
        return planes[view]

    def _matte_key(self, photo: File, guidance: Guidance) -> Hashable:
        content = hashlib.blake2b(guidance.plane.tobytes(), digest_size=16)
        if guidance.known is not None:
            content.update(guidance.known.tobytes())
        return "matte", photo.digest, content.hexdigest()


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
