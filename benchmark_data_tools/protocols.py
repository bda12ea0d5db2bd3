"""What each table gives to a method, and over which regions it judges the answer.

| table | guidance | rivals' trimap | regions |
|---|---|---|---|
| 1 | the trimap, or its confident foreground | the trimap | unknown (paper), whole, band |
| 2 | another method's matte | from the true alpha, dilated by 20 | unknown (paper), whole |
| 3 | the trimap | the trimap | alpha * F: unknown (paper), whole; F: alpha > 0 |
| 4 | the trimap, known pixels not enforced | the trimap | whole, unknown |
| 5 | segmentation at probability 0.5 | from the probability, dilated by 20 | whole, details |
| robustness | true mask or segmentation, eroded and dilated | | whole, band, unknown if known |

Source: the paper's sections 4 and 5.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmark_data_tools.data.layouts import file_of, files_by_name
from benchmark_data_tools.data.samples import Pictures, read_grey
from benchmark_data_tools.regions import (
    TRIMAP_KERNEL_PX,
    boundary_band,
    details,
    unknown,
    whole,
)
from mgm_core.arrays import Booleans, Floats, limit_side
from mgm_core.guidance import (
    from_binary_mask,
    from_soft_mask,
    from_trimap,
    from_trimap_fg,
    shift_boundary,
    trimap_from_alpha,
    trimap_from_probability,
)
from mgm_core.weights import sha256_of

BAND_PX = 20
MASK_THRESHOLD = 0.5
DETAIL_THRESHOLD = 0.1

Probability = Callable[[str, Floats], Floats]


@dataclass(frozen=True)
class Settings:
    """Choices that a run makes beyond the paper's.

    Args:
        kernels_px: Diameters that the robustness run erodes and dilates by.
        mask: Where the robustness run's mask comes from.
        long_side_px: Shrink the pictures to this long side before everything else; None keeps
            them. The paper's low-resolution protocol is 720.
        probability: Folder of segmentation probabilities; None asks the built-in segmenter.
    """

    kernels_px: tuple[int, ...] = (10, 20, 30)
    mask: Literal["truth", "segmentation"] = "truth"
    long_side_px: int | None = None
    probability: str | None = None

    def __post_init__(self) -> None:
        smallest = min(self.kernels_px, default=0)
        if smallest < 0:
            raise ValueError(
                f"kernels_px must be 0 or more, got {smallest}: each is tried both ways anyway"
            )
        if self.long_side_px is not None and self.long_side_px < 32:
            raise ValueError(
                f"long_side_px must be 32 or more, got {self.long_side_px}: the paper's is 720"
            )


@dataclass(frozen=True)
class Case:
    """One question to a method, and how to judge its answer.

    Args:
        pictures: The sample's pictures.
        guidance: (H, W) float32 in [0, 1].
        trimap: What trimap-based methods get, (H, W) float32.
        enforce: Whether the trimap's known pixels replace a guided method's answer there.
        regions: Name -> pixels that count.
    """

    pictures: Pictures
    guidance: Floats
    trimap: Floats | None
    enforce: bool
    regions: dict[str, Booleans]


def variants(table: str, settings: Settings) -> list[str]:
    """The guidances that a table tries, by name.

    >>> variants("robustness", Settings(kernels_px=(10,)))
    ['erode_10', 'unchanged', 'dilate_10']

    Args:
        table: Key of LAYOUTS.
        settings: The run's choices.

    Returns:
        Names, in the table's order.
    """
    if table == "robustness":
        kernels = sorted(set(settings.kernels_px) - {0})
        return [
            *(f"erode_{k}" for k in reversed(kernels)),
            "unchanged",
            *(f"dilate_{k}" for k in kernels),
        ]
    return {
        "1": ["trimap", "trimap_fg"],
        "2": ["matte"],
        "3": ["trimap"],
        "4": ["trimap"],
        "5": ["segmentation"],
    }[table]


def uses_segmentation(table: str, settings: Settings) -> bool:
    """Whether a table's guidance is made of segmentations."""
    return table == "5" or (table == "robustness" and settings.mask == "segmentation")


def trimap_variant(table: str, settings: Settings) -> str | None:
    """The one variant that methods run in which take a trimap; None where there is none."""
    return None if table == "robustness" else variants(table, settings)[0]


def case(
    table: str,
    variant: str,
    name: str,
    pictures: Pictures,
    settings: Settings,
    *,
    probability: Probability,
    rival_matte: Floats | None = None,
) -> Case:
    """Put a table's question.

    Args:
        table: Key of LAYOUTS.
        variant: One of `variants`.
        name: The sample's name.
        pictures: The sample's pictures, at the size that the settings ask for.
        settings: The run's choices.
        probability: Segmentation of a named image.
        rival_matte: Table 2: the matte to be refined; None asks for the rival's own case.

    Returns:
        The case.

    Raises:
        ValueError: If a probability map is missing or of another size.
    """
    alpha = pictures.alpha
    regions = {"whole": whole(alpha)}
    if table in ("1", "3", "4"):
        assert pictures.trimap is not None, "the layout asks for a trimap"
        guidance = (from_trimap_fg if variant == "trimap_fg" else from_trimap)(pictures.trimap)
        regions["unknown"] = unknown(pictures.trimap)
        if table == "1":
            regions["band"] = boundary_band(alpha, BAND_PX)
        return Case(pictures, guidance, pictures.trimap, enforce=table != "4", regions=regions)
    if table == "2":
        trimap = trimap_from_alpha(alpha, TRIMAP_KERNEL_PX)
        regions["unknown"] = unknown(trimap)
        guidance = from_trimap(trimap) if rival_matte is None else from_soft_mask(rival_matte)
        return Case(pictures, guidance, trimap, enforce=False, regions=regions)
    if table == "5":
        assert pictures.detail_map is not None, "the layout asks for a detail map"
        segmentation = probability(name, pictures.image)
        regions["details"] = details(pictures.detail_map)
        regions[f"details_above_{DETAIL_THRESHOLD:g}"] = details(
            pictures.detail_map, DETAIL_THRESHOLD
        )
        return Case(
            pictures,
            from_binary_mask(segmentation, MASK_THRESHOLD),
            trimap_from_probability(segmentation, kernel_px=TRIMAP_KERNEL_PX),
            enforce=False,
            regions=regions,
        )
    mask = alpha if settings.mask == "truth" else probability(name, pictures.image)
    guidance = perturb(from_binary_mask(mask, MASK_THRESHOLD), variant)
    regions["band"] = boundary_band(alpha, BAND_PX)
    if pictures.trimap is not None:
        regions["unknown"] = unknown(pictures.trimap)
    return Case(pictures, guidance, None, enforce=False, regions=regions)


def perturb(guidance: Floats, variant: str) -> Floats:
    """Erode or dilate a guidance as a robustness variant says.

    Args:
        guidance: (H, W) float32 in [0, 1].
        variant: "unchanged", "erode_K" or "dilate_K" with K the ellipse's diameter in px.

    Returns:
        (H, W) float32.
    """
    return shift_boundary(guidance, signed_kernel_px(variant))


def signed_kernel_px(variant: str) -> int:
    """The diameter that a robustness variant erodes (below 0) or dilates (above 0) by.

    >>> signed_kernel_px("erode_20")
    -20

    Args:
        variant: "unchanged", "erode_K" or "dilate_K".

    Returns:
        Diameter in px.
    """
    if variant == "unchanged":
        return 0
    kind, kernel_px = variant.split("_")
    return -int(kernel_px) if kind == "erode" else int(kernel_px)


def shrink(pictures: Pictures, long_side_px: int) -> Pictures:
    """Pictures at a smaller size, area-averaged; smaller ones stay as they are.

    Args:
        pictures: The pictures; their trimap must be None, as averages are no trimap.
        long_side_px: Longest side of the result.

    Returns:
        Pictures of one new size.

    Raises:
        ValueError: If there is a trimap.
    """
    if pictures.trimap is not None:
        raise ValueError(
            "long_side_px must be left out where the benchmark has trimaps, "
            f"got {long_side_px}: only real-world portraits are defined at a lower resolution"
        )
    return replace(
        pictures,
        image=limit_side(pictures.image, long_side_px),
        alpha=limit_side(pictures.alpha, long_side_px),
        detail_map=(
            None if pictures.detail_map is None else limit_side(pictures.detail_map, long_side_px)
        ),
    )


def probability_from_folder(folder: Path) -> Probability:
    """Segmentations that were made beforehand.

    Args:
        folder: Grey pictures named as the images, white where the subject is certain.

    Returns:
        Function from an image's name and pixels to its probability, (H, W) float32.

    Raises:
        ValueError: If the folder is missing or empty.
    """
    files = files_by_name(folder)

    def probability(name: str, image: Floats) -> Floats:
        return read_grey(file_of(name, files, folder, "probability map"), image.shape[:2])

    return probability


def sha256_of_probabilities(folder: Path, names: Iterable[str]) -> str:
    """Fingerprint of segmentations that were made beforehand.

    Args:
        folder: Grey pictures named as the images.
        names: The images.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: If the folder or a map is missing.
    """
    files = files_by_name(folder)
    lines = [
        f"{name} {sha256_of(file_of(name, files, folder, 'probability map'))}\n" for name in names
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
