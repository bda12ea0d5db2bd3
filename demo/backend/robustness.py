"""How much the result depends on the guidance: the paper's experiment on a visitor's photo.

The guidance is eroded and dilated, and every result is compared with the one of the guidance as it
is, or with a true alpha. Source: section 5, "Robustness to Guidance", and Figure 6.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from demo.backend.orders import GROW_LIMIT_PX, File, Order
from demo.backend.studio import Studio
from mgm_core.arrays import Floats

PAPER_SAD = {-30: 27.4, -20: 27.2, -10: 27.1, 0: 26.8, 10: 27.0, 20: 27.4, 30: 28.1}
"""SAD by signed kernel diameter in px, as section 5 of the paper states it for its own network."""
PAPER_GROWTH_PERCENT = {size: 100 * (sad / PAPER_SAD[0] - 1) for size, sad in PAPER_SAD.items()}
"""By how much that is more than the SAD of the guidance as it is."""

MAX_RUNS = 13
_NO_PLANE = np.zeros((0, 0), np.float32)
_COLUMNS = ("sad_thousand", "mse_thousandth", "guidance_sad_thousand", "change_percent")


@dataclass(frozen=True)
class Trial:
    """One perturbed guidance and what came of it.

    Args:
        grow_px: signed diameter of the ellipse: the guidance was dilated (above 0) or eroded.
        guidance: (H, W) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].
        sad: sum of absolute differences of alpha from the reference, in thousands.
        mse: mean squared difference of alpha from the reference, in thousandths.
        guidance_sad: the guidance's own sum of absolute differences, in thousands.
        change_percent: by how much the result changes. With a true alpha, the growth of `sad` over
            that of the guidance as it is, as `PAPER_GROWTH_PERCENT`; without one, `sad` as a share
            of the subject's area.
    """

    grow_px: int
    guidance: Floats
    alpha: Floats
    sad: float
    mse: float
    guidance_sad: float
    change_percent: float

    def figures_alone(self) -> "Trial":
        """Return it with empty planes: those of all trials may be more than the memory holds."""
        return replace(self, guidance=_NO_PLANE, alpha=_NO_PLANE)


def read_sizes(text: object) -> tuple[int, ...]:
    """Read a list of kernel diameters, "10, 20, 30", into signed ones on both sides of 0.

    Args:
        text: whole numbers with commas, semicolons or blanks between them.

    Returns:
        Erosions, 0 and dilations, rising.

    Raises:
        ValueError: there is none, one is out of range, or there are too many.
    """
    words = text.replace(",", " ").replace(";", " ").split() if isinstance(text, str) else []
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"sizes must be whole numbers, got {text!r:.60}: write 10, 20, 30")
    sizes = {int(word) for word in words} - {0}
    if not sizes or max(sizes) > GROW_LIMIT_PX or 2 * len(sizes) + 1 > MAX_RUNS:
        raise ValueError(
            f"sizes must be 1 to {(MAX_RUNS - 1) // 2} numbers from 1 to {GROW_LIMIT_PX}, got "
            f"{text!r:.60}: write 10, 20, 30"
        )
    return tuple(sorted({0, *sizes, *(-size for size in sizes)}))


def trials(
    studio: Studio, order: Order, sizes: Sequence[int], truth: File | None = None
) -> Iterator[Trial]:
    """Cut the subject out with each of the perturbed guidances.

    Args:
        studio: does the work.
        order: the photo and its settings; how far they grow the guidance counts from there.
        sizes: signed kernel diameters in px.
        truth: a true alpha to compare with; else the result of the guidance as it is.

    Yields:
        A trial for every size, in their order.

    Raises:
        ValueError: the true alpha is not of the photo's size, or is the result itself.
    """
    # The label is that of the visitor's own mask.
    unlabelled = replace(order, recipe=replace(order.recipe, label=None))
    true_alpha = None if truth is None else studio.fitting_mask(unlabelled, truth).mask
    unperturbed = studio.matte(replace(order, perturb_px=0)).alpha
    if true_alpha is None:
        reference, base, whole = unperturbed, 0.0, float(unperturbed.sum(dtype=np.float64)) / 1000
    else:
        reference = true_alpha
        base = whole = sad_thousands(unperturbed, reference)
    if not whole:
        raise ValueError(
            "the guidance as it is must give a result that differs from the true alpha, got the "
            "same: leave the true alpha out"
            if truth is not None
            else "the guidance must give a result, got nothing: correct it first"
        )
    for size in sizes:
        perturbed = replace(order, perturb_px=size)
        guidance, alpha = studio.guidance(perturbed).guidance, studio.matte(perturbed).alpha
        sad = sad_thousands(alpha, reference)
        yield Trial(
            size,
            guidance,
            alpha,
            sad=sad,
            mse=float(np.square(alpha - reference).mean(dtype=np.float64)) * 1000,
            guidance_sad=sad_thousands(guidance, reference),
            change_percent=100 * (sad - base) / whole,
        )


def sad_thousands(plane: Floats, reference: Floats) -> float:
    """Return the sum of absolute differences of two planes, in thousands."""
    return float(np.abs(plane - reference).sum(dtype=np.float64)) / 1000


def bounds(alphas: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the least and the greatest alpha at every pixel, each (H, W)."""
    return reduce(np.minimum, alphas), reduce(np.maximum, alphas)


def disagreement(alphas: Sequence[Floats]) -> Floats:
    """Return how far the results differ at every pixel: greatest minus least alpha, (H, W)."""
    least, greatest = bounds(alphas)
    return greatest - least


def heat(image: Floats, difference: Floats) -> Floats:
    """Paint a difference over a darkened photo, from dark over red to yellow and white.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        difference: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    grey = 0.3 * image.mean(axis=2, keepdims=True)
    ramp = np.clip(difference[..., None] * 3 - np.array([0, 1, 2], np.float32), 0, 1)
    share = np.sqrt(difference)[..., None]
    painted: Floats = ((1 - share) * grey + share * ramp).astype(np.float32)
    return painted


def as_csv(done: Sequence[Trial]) -> str:
    """Return the figures as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["grow_px", *_COLUMNS])
    for trial in done:
        figures = (trial.sad, trial.mse, trial.guidance_sad, trial.change_percent)
        writer.writerow([trial.grow_px, *(f"{figure:.4f}" for figure in figures)])
    return out.getvalue()
