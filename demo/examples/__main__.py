"""Make the examples' results and the hero with the bundled weights: `python -m demo.examples`.

    pictures/NAME-result.jpg       the cut-out over tiles, as the page shows it
    pictures/NAME-thumbnail.webp   what the page's button shows
    pictures/hero.webp             mask and cut-out while the mask shrinks and grows
    pictures/hero-still.webp       the same without motion
    pictures/manifest.json         hashes of weights and recipes, and by how much the hero moves

Every frame of the hero is computed from its own mask. About a minute on two cores.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from demo.backend.studio import over_tiles, overlay
from demo.examples import EXAMPLES, HERO, PICTURES, Example
from demo.play.loop import FRAME_MS, KERNELS_PX, there_and_back
from mgm_core.arrays import Bytes, Floats
from mgm_core.cutout import Cutout, Guided, cut_out, guidance_from_mask, guidance_from_segmenter
from mgm_core.images import encode_jpeg, encode_png, read_image, read_mask
from mgm_core.models import Models
from mgm_core.weights import bundled

_HERO_SIDE_PX = 340
_THUMBNAIL_PX = 144
# The scribble: lines from corner to corner in px of its photo, and their width.
_SCRIBBLE = (
    ((530, 190), (470, 400), (560, 620), (620, 800), (480, 980)),
    ((430, 260), (350, 480), (300, 760), (300, 980)),
    ((590, 240), (660, 480), (720, 980)),
)
_SCRIBBLE_PX = 230
_KNOWN = 0.05  # alpha nearer to 0 or 1 counts as known in the trimap
_TRIMAP_PX = 51  # diameter of the kernel by which the trimap's known regions shrink


def digest() -> dict[str, str]:
    """Return what the results depend on: the bundled weights' and the recipes' hashes."""
    weights = {name: entry.sha256 for name, entry in sorted(bundled().items())}
    recipes = "".join(f"{e.photo}{e.recipe.to_json()}" for e in EXAMPLES)
    return {**weights, "recipes": hashlib.sha256(recipes.encode()).hexdigest()}


def guided_of(example: Example, image: Floats, models: Models) -> Guided:
    """Return an example's guidance."""
    if example.mask_path is None:
        segmenter = models.segmenter()
        return guidance_from_segmenter(image, segmenter, example.recipe)
    return guidance_from_mask(read_mask(example.mask_path), example.mask_kind, example.category)


def computed(example: Example, models: Models) -> Cutout:
    """Return an example's cut-out."""
    image = read_image(example.photo_path)
    guided = guided_of(example, image, models)
    return cut_out(
        image,
        guided,
        models.matter(),
        example.recipe,
        foreground_network=models.foreground_network,
    )


def main() -> int:
    """Make everything; return 0."""
    models = Models()
    _write_masks(models)
    for example in EXAMPLES:
        made = computed(example, models)
        shown = over_tiles(made.foreground, made.alpha, made.recipe)
        example.result_path.write_bytes(encode_jpeg(shown))
        _write_webp(example.thumbnail_path, [_levels(made.image, _THUMBNAIL_PX)], quality=75)
        sys.stdout.write(f"{example.title}: {example.result_path.name}\n")
    change = _write_hero(models)
    manifest = {"hashes": digest(), "hero": change}
    (PICTURES / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    size = sum(path.stat().st_size for path in PICTURES.iterdir())
    sys.stdout.write(f"{json.dumps(change)}\n{PICTURES}: {size / 1e6:.1f} MB\n")
    return 0


def _write_masks(models: Models) -> None:
    scribble = next(e for e in EXAMPLES if e.mask == "scribble-mask.png")
    mask = np.zeros(read_image(scribble.photo_path).shape[:2], np.float32)
    for line in _SCRIBBLE:
        cv2.polylines(mask, [np.array(line, np.int32)], False, 1.0, _SCRIBBLE_PX)
    (PICTURES / "scribble-mask.png").write_bytes(encode_png(mask))
    trimap = next(e for e in EXAMPLES if e.mask_kind == "trimap")
    alpha = computed(replace(trimap, mask=None, mask_kind="detect"), models).alpha
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_TRIMAP_PX, _TRIMAP_PX))
    foreground = cv2.erode((alpha >= 1 - _KNOWN).astype(np.uint8), kernel)
    background = cv2.erode((alpha <= _KNOWN).astype(np.uint8), kernel)
    known = np.where(foreground, 1.0, np.where(background, 0.0, 128 / 255)).astype(np.float32)
    (PICTURES / "trimap-mask.png").write_bytes(encode_png(known))


def _write_hero(models: Models) -> dict[str, object]:
    """Write the hero's two pictures; return by how much its mask and its result move."""
    image = read_image(HERO.photo_path)
    guided = guided_of(HERO, image, models)
    frames, masks, alphas = [], [], []
    for kernel_px in KERNELS_PX:
        moved = guided.shifted(kernel_px)
        made = cut_out(
            image,
            moved,
            models.matter(),
            HERO.recipe,
            foreground_network=models.foreground_network,
        )
        masks.append(moved.guidance)
        alphas.append(made.alpha)
        shown = over_tiles(made.foreground, made.alpha, made.recipe)
        pair = overlay(image, moved.guidance), shown
        frames.append(np.hstack([_levels(picture, _HERO_SIDE_PX) for picture in pair]))
    still = KERNELS_PX.index(0)
    _write_webp(PICTURES / "hero-still.webp", [frames[still]], quality=80)
    _write_webp(PICTURES / "hero.webp", there_and_back(frames), quality=62)

    def moves(planes: Sequence[Floats]) -> list[float]:
        return [round(float(np.abs(p - planes[still]).sum()) / 1000, 2) for p in planes]

    return {
        "kernels_px": KERNELS_PX,
        "mask_sad_thousands": moves(masks),
        "alpha_sad_thousands": moves(alphas),
        "subject_thousands": round(float(alphas[still].sum()) / 1000, 1),
    }


def _levels(picture: Floats, side_px: int) -> Bytes:
    """Return a square picture of bytes, cropped in the middle and reduced."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    small = cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(255 * small.clip(0, 1)), np.uint8)


def _write_webp(path: Path, frames: Sequence[Bytes], quality: int) -> None:
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(
        path, save_all=True, append_images=others, duration=FRAME_MS, loop=0, quality=quality,
        method=6,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
