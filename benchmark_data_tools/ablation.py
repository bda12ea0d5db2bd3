"""What each part of the refinement is worth: error and processor time with one part changed.

python -m benchmark_data_tools ablate --data DIR

Each image is matted with its trimap and with a right mask (true alpha thresholded at 0.5). A part
that is left out is replaced by the views' mean, as the fusion network takes all its candidates.
Errors are those of the metrics; foreground methods get the refined alpha, as in use.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmark_data_tools.data.layouts import Sample, find_samples
from benchmark_data_tools.data.samples import Pictures, load
from benchmark_data_tools.metrics import foreground_errors, mse, sad
from benchmark_data_tools.regions import unknown as unknown_of
from benchmark_data_tools.regions import whole
from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.engines.compile import compile_kernels
from mgm_core.foreground.estimate import ForegroundMethod, estimate_foreground
from mgm_core.guidance import from_binary_mask, from_trimap
from mgm_core.matting.laplacian import TOLERANCE, MattingLaplacian, smooth_compression_noise
from mgm_core.matting.matter import Matter
from mgm_core.matting.refine import (
    BAND_KERNEL_PX,
    ROUNDS,
    SAMPLED_PRIOR_WEIGHT,
    Refiner,
    fusion_weights,
    mean_view,
    refine_at_half,
    unknown_region,
)
from mgm_core.matting.sampling import sample_alpha
from mgm_core.models import Models
from mgm_core.networks.fusion_net import PRIOR_WEIGHTS, FusionNetwork

__all__ = ["VARIANTS", "Row", "Variant", "ablate", "markdown", "samples_of"]

Guidance = Literal["trimap", "mask"]


@dataclass(frozen=True)
class Variant:
    """The refinement with a part changed; by default it is the one of the product.

    Args:
        name: What is changed.
        refines: Whether there is any refinement.
        magnified: Whether the network also sees the magnified, mirrored image.
        rounds: How often alpha is refined; the views of a further round are the alpha found.
        band_px: What the uncertain pixels are dilated by, where a mask guides.
        tolerance: Of the solver.
        left_out: Prior weights whose solutions are left out.
        samples: Whether there are colour samples, and the solution by them.
        smooths: Whether compression noise is smoothed.
        fuses: Whether the fusion network weights the candidates, in place of their plain mean.
        at_half: Whether one view is refined once at half the size, as `--quality fast` does.
    """

    name: str
    refines: bool = True
    magnified: bool = True
    rounds: int = ROUNDS
    band_px: int = BAND_KERNEL_PX
    tolerance: float = TOLERANCE
    left_out: tuple[float, ...] = ()
    samples: bool = True
    smooths: bool = True
    fuses: bool = True
    at_half: bool = False

    def candidates(
        self, image: Colours, mean: Plane, unknown: Booleans
    ) -> Callable[[Sequence[Plane]], Floats]:
        """Return what finds candidates by views, as `CandidateAlphas` does."""
        smooth = smooth_compression_noise(image) if self.smooths else image
        samples = sample_alpha(smooth, mean, unknown) if self.samples else None
        laplacian = MattingLaplacian(smooth, mean, unknown, tolerance=self.tolerance)

        def find(views: Sequence[Plane]) -> Floats:
            mean = mean_view(views)
            chosen = [weight for weight in PRIOR_WEIGHTS if weight not in self.left_out]
            sampled = mean if samples is None else samples
            priors = [mean] * len(chosen) + [sampled] * self.samples
            weights = [*chosen, *[SAMPLED_PRIOR_WEIGHT] * self.samples]
            solved = list(laplacian.solve(priors, weights)) if priors else []
            last = solved.pop() if self.samples else mean
            found = dict(zip(chosen, solved, strict=True))
            solutions = [found.get(weight, mean) for weight in PRIOR_WEIGHTS]
            return np.stack([*views, mean, *solutions, sampled, last])

        return find


PRODUCT = Variant("as bundled")
VARIANTS: tuple[Variant, ...] = (
    PRODUCT,
    Variant("the matting network alone", refines=False),
    Variant("one view, one round, at half the size", magnified=False, rounds=1, at_half=True),
    Variant("one view", magnified=False),
    *(Variant(f"rounds: {n}", rounds=n) for n in (1, 2, 3)),
    *(Variant(f"without prior weight {weight:g}", left_out=(weight,)) for weight in PRIOR_WEIGHTS),
    Variant("without any solution", left_out=PRIOR_WEIGHTS, samples=False),
    Variant("without colour samples", samples=False),
    Variant("without the noise filter", smooths=False),
    Variant("plain mean of the candidates", fuses=False),
    *(Variant(f"tolerance {t:g}", tolerance=t) for t in (1e-2, 2e-3, 1e-3, 3e-4)),
    *(Variant(f"band of {px} px", band_px=px) for px in (3, 7, 15)),
)
"""What is tried; a variant that is what the product does anyway is run once."""


@dataclass(frozen=True)
class Row:
    """One variant with one guidance over all images.

    Args:
        name: The variant.
        guidance: "trimap" or "mask".
        images: How many.
        mse: Mean over images; of the unknown region with a trimap, else of the whole image.
        sad: The same.
        change: Geometric mean over images of the squared error, of that of the product, or, of
            foreground methods, of multilevel.
        seconds: Processor time an image, of what is refined or estimated.
    """

    name: str
    guidance: str
    images: int
    mse: float
    sad: float
    change: float
    seconds: float


def samples_of(data: Path, count: int | None) -> list[Sample]:
    """Return a benchmark's images with alpha and trimap, and foregrounds where there are some.

    Args:
        data: The benchmark's folder, laid out as for table 1 or 3.
        count: How many, evenly chosen; None takes all.

    Raises:
        ValueError: A folder or a partner is missing, or there are to be none.
    """
    if count is not None and count < 1:
        raise ValueError(f"count must be 1 or more, got {count}: leave it out to take all")
    table = "3" if any((data / name).is_dir() for name in ("fg", "foreground")) else "1"
    samples = find_samples(table, data)
    if count is None or count >= len(samples):
        return samples
    return [samples[i] for i in np.linspace(0, len(samples) - 1, count).round().astype(int)]


def ablate(
    samples: Sequence[Sample],
    say: Callable[[str], None] = lambda _: None,
    *,
    variants: Sequence[Variant] = VARIANTS,
    models: Models | None = None,
) -> list[Row]:
    """Measure all variants on all images.

    Args:
        samples: What `samples_of` found.
        say: Is called with each image's name when it is done.
        variants: What is tried; the product is always the first.
        models: The networks; None loads the bundled ones, on the CPU, which see images as large as
            they are.

    Returns:
        A row a variant and guidance, then the foreground methods where there are true colours.
    """
    variants = [PRODUCT, *(v for v in variants if replace(v, name=PRODUCT.name) != PRODUCT)]
    models = models or Models(device="cpu", coarse_side_px=None, working_megapixels=None)
    compile_kernels()  # before anything is timed
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for sample in samples:
        pictures = load(sample)
        for guidance in get_args(Guidance):
            for name, figures in _image(pictures, guidance, models, variants):
                found.setdefault((name, guidance), []).append(figures)
        say(sample.name)
    return [_row(name, guidance, figures, found) for (name, guidance), figures in found.items()]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        "| variant | guidance | images | MSE x 1e-3 | SAD / 1000 | error | processor s |",
        "| -- | -- | -- | -- | -- | -- | -- |",
    ]
    lines += [
        f"| {r.name} | {r.guidance} | {r.images} | {1e3 * r.mse:.3f} | {r.sad:.3f} "
        f"| {r.change - 1:+.1%} | {r.seconds:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def _image(
    pictures: Pictures,
    guidance: Guidance,
    models: Models,
    variants: Sequence[Variant],
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield each variant's squared error, absolute error and seconds on one image."""
    assert pictures.trimap is not None, "tables 1 and 3 have trimaps"
    if guidance == "trimap":
        known, region = from_trimap(pictures.trimap), unknown_of(pictures.trimap)
        guide: Plane = known
    else:
        known, region = None, whole(pictures.alpha)
        guide = from_binary_mask(pictures.alpha, 0.5)
    image, matter = pictures.image, models.matter()
    network = models.refiner(fusion_weights(known)).network
    first = _enforce(matter.matte(image, guide).alpha, known)
    started = time.process_time()
    magnified = matter.magnified_view(image, guide)
    views = [first] if magnified is None else [first, _enforce(magnified, known)]
    view_seconds = time.process_time() - started
    refined = first
    for variant in variants:
        started = time.process_time()
        alpha = _alpha(image, guide, known, views, matter, network, variant)
        seconds = time.process_time() - started
        seconds += view_seconds * (variant.refines and variant.magnified)
        if variant == PRODUCT:
            refined = alpha
        yield (
            variant.name,
            (mse(alpha, pictures.alpha, region), sad(alpha, pictures.alpha, region), seconds),
        )
    if pictures.foreground is not None:
        truth = pictures.alpha[..., None] * pictures.foreground
        models.foreground_network()  # loading is no part of its time
        for method in get_args(ForegroundMethod):
            started = time.process_time()
            colours = estimate_foreground(image, refined, method, network=models.foreground_network)
            seconds = time.process_time() - started
            errors = foreground_errors(refined[..., None] * colours, truth, region)
            yield f"{FOREGROUND}{method}", (errors.mse, errors.sad, seconds)


FOREGROUND = "foreground: "


def _alpha(
    image: Colours,
    guide: Plane,
    known: Plane | None,
    views: Sequence[Plane],
    matter: Matter,
    network: FusionNetwork,
    variant: Variant,
) -> Plane:
    """Refine one image's alpha as a variant does (`Matter.matte` with `refine`)."""
    if not variant.refines:
        return views[0]
    if not variant.magnified:
        views = views[:1]
    if known is None:
        unknown = unknown_region(mean_view(views), variant.band_px)
    else:
        unknown = (known != 0) & (known != 1)
    if not variant.fuses:
        padded = [*views, *views[:1]][:2]
        find = variant.candidates(image, mean_view(padded), unknown)
        mean: Plane = find(padded).mean(0)
        return np.where(unknown, mean, views[0])
    refiner = Refiner(
        network,
        device=str(matter.device),
        dtype=matter.dtype_name,
        rounds=variant.rounds,
        candidates=variant.candidates,
    )
    if variant.at_half:
        return refine_at_half(refiner, image, guide, views[0], known)
    return refiner(image, guide, views, unknown)


def _enforce(alpha: Plane, known: Plane | None) -> Plane:
    return alpha if known is None else np.where((known != 0) & (known != 1), alpha, known)


def _row(
    name: str,
    guidance: str,
    figures: Sequence[tuple[float, float, float]],
    found: dict[tuple[str, str], list[tuple[float, float, float]]],
) -> Row:
    first = f"{FOREGROUND}multilevel" if name.startswith(FOREGROUND) else PRODUCT.name
    errors, product = np.array(figures), np.array(found[first, guidance])
    tiny = 1e-9  # an image without any error is none to divide by
    ratios = np.log((errors[:, 0] + tiny) / (product[:, 0] + tiny))
    means = errors.mean(0)
    return Row(
        name, guidance, len(figures), means[0], means[1], float(np.exp(ratios.mean())), means[2]
    )
