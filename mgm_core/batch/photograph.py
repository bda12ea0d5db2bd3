"""One photograph of many: read, cut out, encoded and written."""

import sys
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal, TypeAlias

from mgm_core.arrays import Floats
from mgm_core.cutout import Cutout, cut_out, guidance_from_mask, guidance_from_segmenter
from mgm_core.files.formats import Format, encode
from mgm_core.files.outputs import PIPE, Job
from mgm_core.files.urls import UrlJob, exists, opened, write
from mgm_core.images import encode_png, read_photo, read_subject_mask
from mgm_core.models import Models
from mgm_core.recipe import Recipe

__all__ = ["SKIPPED", "CutOut", "Done", "Order", "Outcome"]


@dataclass(frozen=True)
class Order:
    """What is done with every photograph.

    Args:
        recipe: How it is cut out.
        form: The results' format.
        picture: The background picture, (h, w, 3) float32 in [0, 1], or None.
        max_megapixels: Larger photographs are refused.
        keep_metadata: Results keep the photographs' EXIF.
    """

    recipe: Recipe
    form: Format
    picture: Floats | None = field(default=None, repr=False)
    max_megapixels: float = 50.0
    keep_metadata: bool = False


@dataclass(frozen=True)
class Done:
    """A photograph that is cut out.

    Args:
        guidance: Where its guidance came from.
        width: In px.
        height: In px.
        notes: Sentences on what was not taken as the file says.
        seconds: How long it was read, cut out, and written.
        cpu_s: What its thread computed meanwhile.
    """

    guidance: str
    width: int
    height: int
    notes: tuple[str, ...]
    seconds: dict[str, float]
    cpu_s: float


SKIPPED: Literal["skipped"] = "skipped"
Outcome: TypeAlias = Done | Exception | Literal["skipped"]
"""What became of a photograph; its result may have been there already."""


@dataclass(frozen=True)
class CutOut:
    """Cuts out one photograph after another; can be sent to other processes.

    Args:
        models: The networks; another process loads its own.
        order: What is done.
        skip_existing: Results that are there are left as they are; what is missing beside them is
            written.
    """

    models: Models
    order: Order
    skip_existing: bool = False

    def __call__(self, job: Job | UrlJob) -> Done | Literal["skipped"]:
        """Cut out one photograph and write what was asked for, the result itself last.

        Raises:
            Exception: Whatever went wrong; no result is there then.
        """
        finished = self.skip_existing and job.target != PIPE and exists(job.target)
        missing = [side for side in job.sides if not finished or not exists(job.sides[side])]
        if finished and not missing:
            return SKIPPED
        began, cpu_began = time.perf_counter(), time.thread_time()
        models, order = self.models, self.order
        recipe, most = order.recipe, order.max_megapixels
        given = BytesIO(sys.stdin.buffer.read()) if job.source == PIPE else opened(job.source)
        photo = read_photo(given, max_megapixels=most)
        exif, notes = (photo.exif if order.keep_metadata else b""), photo.notes
        if order.keep_metadata and photo.exif_fault:
            notes += (f"its EXIF cannot be written again ({photo.exif_fault}) and is left out.",)
        height, width = photo.image.shape[:2]
        order.form.check_fits(height, width, exif)
        read = time.perf_counter()
        if job.mask is not None:
            found = read_subject_mask(opened(job.mask), label=recipe.label, max_megapixels=most)
            guided = guidance_from_mask(
                found.mask, recipe.mask_kind, recipe.category, note=found.note
            )
        else:
            segmenter = models.segmenter(recipe.segmenter)
            guided = guidance_from_segmenter(photo.image, segmenter, recipe)
        cutout = cut_out(
            photo.image,
            guided,
            models.matter(),
            recipe,
            photo.alpha,
            foreground_network=models.foreground_network,
            working_megapixels=models.working_megapixels,
            overwrite=True,
        )
        cut = time.perf_counter()
        for side in missing:
            write(job.sides[side], _encoded_side(cutout, side))
        # The result itself last: --skip-existing takes its presence for completeness.
        if not finished:
            _write_result(cutout, photo.dpi, exif, job, order)
        seconds = {"read": read - began, "cut_out": cut - read, "write": time.perf_counter() - cut}
        cpu_s = time.thread_time() - cpu_began
        return Done(guided.reason, width, height, notes, seconds, cpu_s)


def _encoded_side(cutout: Cutout, side: str) -> bytes:
    if side == "alpha":
        return encode_png(cutout.alpha, bits=16)
    assert side == "foreground"
    return encode_png(cutout.foreground)


def _write_result(
    cutout: Cutout, dpi: tuple[float, float] | None, exif: bytes, job: Job | UrlJob, order: Order
) -> None:
    form = order.form
    data = encode(
        form,
        cutout.levels(order.picture, form.bits),
        dpi=dpi,
        exif=exif,
        layers=cutout.layers(order.picture) if form.layers else (),
    )
    if job.target == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write(job.target, data)
