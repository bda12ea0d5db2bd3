"""Names that a user can choose: categories, segmenters, weights, and the defaults.

Nothing here needs PyTorch: the command line and the page list these before it is loaded.
"""

from typing import Literal, TypeAlias

__all__ = [
    "ANIMAL",
    "ANIMALS",
    "BUNDLED",
    "CATEGORIES",
    "COARSE_SIDE_PX",
    "DEFAULT_WEIGHTS",
    "ENGINES",
    "PERMISSIVE",
    "SEGMENTERS",
    "WORKING_MEGAPIXELS",
    "Refinement",
    "SegmenterError",
    "classes_of",
    "with_article",
]

DEFAULT_WEIGHTS = "prn_mobilenet_v2"
COARSE_SIDE_PX = 1280
"""Long side of the first pass over large photographs."""
WORKING_MEGAPIXELS = 2.1
"""Larger photographs are matted at this size, and what was found is enlarged along their edges. It
holds frames of 1920x1080."""

Refinement: TypeAlias = Literal["off", "half", "full"]
"""Whether alpha is refined where it is uncertain; "half" does so once, at half the size."""

CATEGORIES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip
"""The 21 classes of PASCAL VOC, in the order of the networks' outputs."""

ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")
ANIMAL = "animal"
"""The category of all animals together: several at once, or one that looks like two of them."""

BUNDLED = "portrait"
"""The segmenter whose weights come with the package."""

PERMISSIVE = "portrait_permissive"
"""A segmenter that was trained on nothing but what is free for any use; bundled too."""

SEGMENTERS = (
    BUNDLED,
    PERMISSIVE,
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
)
"""Of the last three, torchvision's weights are downloaded once."""

ENGINES = ("torch", "onnxruntime", "openvino")
"""What can compute the matting and fusion networks; the first is the default."""


class SegmenterError(ValueError):
    """A segmenter cannot be had; the message says what to do, as that of any wrong choice."""


def classes_of(category: str) -> tuple[int, ...]:
    """Return which of the 21 classes make up a category: one, or all animals.

    Raises:
        ValueError: There is none of this name.
    """
    if category == ANIMAL:
        return tuple(CATEGORIES.index(animal) for animal in ANIMALS)
    if category not in CATEGORIES:
        names = ", ".join((ANIMAL, *CATEGORIES))
        raise ValueError(f"category must be one of {names}, got {category!r}: choose one")
    return (CATEGORIES.index(category),)


def with_article(category: str) -> str:
    """Return a category as a sentence names it.

    >>> with_article("dog"), with_article("animal")
    ('a dog', 'an animal')
    """
    return f"{'an' if category[0] in 'aeiou' else 'a'} {category}"
