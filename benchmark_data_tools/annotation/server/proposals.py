"""Proposals, so that nobody paints from nothing: detail is where the network's alpha is fractional.

Source: section 5 of the paper (detail masks of hair and other soft parts) and section 3.1 (alpha).
"""

from pathlib import Path
from threading import Lock
from typing import Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.masks import Mask, write_atomically
from benchmark_data_tools.annotation.storage.tables import Image
from mgm_core.arrays import Plane
from mgm_core.guidance import dilate, erode, from_binary_mask
from mgm_core.images import encode_png, read_image, read_mask
from mgm_core.matting.matter import Matter
from mgm_core.segmentation import Segmenter

Layer = Literal["alpha", "network_alpha", "guidance", "band", "edges"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
# Outside these an alpha counts as decided: networks are seldom sure to the last level.
_FRACTIONAL = (0.05, 0.95)
_LARGEST_KERNEL_PX = 400


class Proposer(Protocol):
    """Makes guidance and alpha of a photograph."""

    def guidance(self, image: NDArray[np.float32]) -> Plane:
        """Return where the subject roughly is, (H, W) float32."""

    def alpha(self, image: NDArray[np.float32], guidance: Plane) -> Plane:
        """Return the alpha, (H, W) float32."""


class NetworkProposer:
    """The bundled segmenter and the PRN, loaded at the first use.

    Args:
        weights: The PRN's bundled name or path; None for the default.
        category: What to label.
    """

    def __init__(self, weights: str | None = None, category: str = "person") -> None:
        self._weights, self._category = weights, category
        self._matter: Matter | None = None
        self._segmenter: Segmenter | None = None

    def guidance(self, image: NDArray[np.float32]) -> Plane:
        """Return the segmenter's mask, (H, W) float32: 0 or 1."""
        if self._segmenter is None:
            self._segmenter = Segmenter.load()
        return from_binary_mask(self._segmenter.probability(image, self._category), 0.5)

    def alpha(self, image: NDArray[np.float32], guidance: Plane) -> Plane:
        """Return the PRN's alpha, (H, W) float32."""
        if self._matter is None:
            self._matter = Matter.load(self._weights) if self._weights else Matter.load()
        return self._matter.matte(image, guidance).alpha


class Layers:
    """What can be looked at behind a mask; computed once and kept in `annotation/cache/`.

    Args:
        folder: The dataset's folder.
        proposer: Makes guidance and alpha.
    """

    def __init__(self, folder: Path, proposer: Proposer) -> None:
        self._folder, self._proposer = folder, proposer
        # One at a time: a network takes all of the machine.
        self._turn = Lock()

    def png(self, image: Image, layer: Layer) -> bytes:
        """Return a layer as a grey PNG of the image's size.

        Args:
            image: The image.
            layer: "alpha" is the dataset's own matte, and the network's where there is none.

        Raises:
            ValueError: There is no such layer.
        """
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer}: choose one")
        if layer == "alpha" and image.alpha_file is None:
            layer = "network_alpha"
        path = self._path(image, layer)
        with self._turn:
            if not path.is_file():
                write_atomically(path, encode_png(self._compute(image, layer)))
        return path.read_bytes()

    def proposal(
        self, image: Image, *, opening_px: int, kernel_px: int, source: Layer = "alpha"
    ) -> Mask:
        """Return the proposed detail of an image, (H, W) uint8.

        Args:
            image: The image.
            opening_px: Diameter of the ellipse that the band is opened with, 0 to 400.
            kernel_px: Diameter of the ellipse that it is then dilated with, 0 to 400.
            source: "alpha" or "network_alpha".

        Raises:
            ValueError: A diameter is out of range, or the source is none.
        """
        if source not in ("alpha", "network_alpha"):
            raise ValueError(f"source must be alpha or network_alpha, got {source}: choose one")
        return detail_of(read_mask(self.png(image, source)), opening_px, kernel_px)

    def _path(self, image: Image, layer: Layer) -> Path:
        # By the image's hash, so that a changed image has new layers.
        return self._folder / FOLDER / "cache" / f"{image.sha256[:32]}-{layer}.png"

    def _compute(self, image: Image, layer: Layer) -> Plane:
        if layer == "alpha":
            return read_mask(self._folder / str(image.alpha_file), max_megapixels=89)
        if layer == "band":
            alpha = "alpha" if image.alpha_file else "network_alpha"
            return fractional_band(self._cached(image, alpha))  # type: ignore[arg-type]  # both are
        picture = read_image(self._folder / image.file, max_megapixels=89)
        if layer == "edges":
            return edges(picture)
        if layer == "guidance":
            return self._proposer.guidance(picture)
        return self._proposer.alpha(picture, self._cached(image, "guidance"))

    def _cached(self, image: Image, layer: Layer) -> Plane:
        path = self._path(image, layer)
        if not path.is_file():
            write_atomically(path, encode_png(self._compute(image, layer)))
        return read_mask(path, max_megapixels=89)


def fractional_band(alpha: Plane) -> Plane:
    """Return 1 where alpha is neither 0 nor 1, (H, W) float32."""
    low, high = _FRACTIONAL
    return ((alpha > low) & (alpha < high)).astype(np.float32)


def detail_of(alpha: Plane, opening_px: int, kernel_px: int) -> Mask:
    """Turn alpha into a detail mask: its fractional band, opened, then dilated.

    The opening leaves out the thin band along sharp outlines and keeps the wide one of hair.

    Args:
        alpha: (H, W) float32 in [0, 1].
        opening_px: Diameter of the opening's ellipse; 0 leaves the band.
        kernel_px: Diameter of the dilation's ellipse; 0 leaves what is opened.

    Returns:
        (H, W) uint8, 0 or 255.

    Raises:
        ValueError: A diameter is out of range.
    """
    for name, diameter in (("opening_px", opening_px), ("kernel_px", kernel_px)):
        if not 0 <= diameter <= _LARGEST_KERNEL_PX:
            raise ValueError(
                f"{name} must lie between 0 and {_LARGEST_KERNEL_PX}, got {diameter}: "
                "give a diameter in pixels"
            )
    opened = dilate(erode(fractional_band(alpha), opening_px), opening_px)
    return (dilate(opened, kernel_px) > 0).astype(np.uint8) * np.uint8(255)


def edges(image: NDArray[np.float32]) -> Plane:
    """Return the strength of an image's edges, (H, W) float32 in [0, 1]."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    strength = cv2.magnitude(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)
    )
    return np.minimum(strength, 1).astype(np.float32)
