"""Proposals, so that nobody paints from nothing: detail is where the network's alpha is fractional.

Source: section 5 of the paper (detail masks of hair and other soft parts) and section 3.1 (alpha).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
from collections import defaultdict
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark_data_tools.annotation.storage.dataset import FOLDER, MAX_MEGAPIXELS
from benchmark_data_tools.annotation.storage.errors import UnknownError
from benchmark_data_tools.annotation.storage.masks import Mask, write_atomically
from benchmark_data_tools.annotation.storage.tables import Image
from mgm_core.arrays import Plane
from mgm_core.guidance import dilate, erode, from_binary_mask
from mgm_core.images import encode_png, read_image, read_mask
from mgm_core.weights import bundled, sha256_of

if TYPE_CHECKING:
    from mgm_core.matting.matter import Matter
    from mgm_core.segmentation import Segmenter

Layer = Literal["alpha", "network_alpha", "guidance", "band", "edges"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
# Outside these an alpha counts as decided: networks are seldom sure to the last level.
_FRACTIONAL = (0.05, 0.95)
_LARGEST_KERNEL_PX = 400
OPENING_PX, KERNEL_PX = 5, 15
"""What a proposal begins with."""


class Proposer(Protocol):
    """Makes guidance and alpha of a photograph."""

    @property
    def key(self) -> str:
        """A text that differs wherever what it makes differs."""

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
        # All bundled weights, since the segmenter's decide the guidance too.
        made_by: list[object] = [[one.hashes for one in bundled().values()], weights, category]
        if weights and Path(weights).is_file():
            made_by.append(sha256_of(Path(weights)))
        self.key = repr(made_by)
        self._matter: Matter | None = None
        self._segmenter: Segmenter | None = None

    def guidance(self, image: NDArray[np.float32]) -> Plane:
        """Return the segmenter's mask, (H, W) float32: 0 or 1."""
        if self._segmenter is None:
            from mgm_core.segmentation import Segmenter  # with Torch, which commands do not need

            self._segmenter = Segmenter.load()
        return from_binary_mask(self._segmenter.probability(image, self._category), 0.5)

    def alpha(self, image: NDArray[np.float32], guidance: Plane) -> Plane:
        """Return the PRN's alpha, (H, W) float32."""
        if self._matter is None:
            from mgm_core.matting.matter import Matter  # with Torch, which commands do not need

            self._matter = Matter.load(self._weights) if self._weights else Matter.load()
        return self._matter.matte(image, guidance).alpha


class Layers:
    """What can be looked at behind a mask; computed once and kept in `annotation/cache/`.

    Args:
        folder: The dataset's folder.
        proposer: Makes guidance and alpha.
        worker: Computes them in a process of its own, so that the server answers meanwhile; it is
            started at the first use. None computes within the caller.
    """

    def __init__(self, folder: Path, proposer: Proposer, worker: Worker | None = None) -> None:
        self._folder, self._proposer, self._worker = folder, proposer, worker
        self._locks: defaultdict[int, Lock] = defaultdict(Lock)  # one an image
        self._choosing = Lock()

    def png(self, image: Image, layer: Layer) -> bytes:
        """Return a layer as a grey PNG of the image's size.

        Args:
            image: The image.
            layer: "alpha" is the dataset's own matte, and the network's where there is none.

        Raises:
            ValueError: There is no such layer.
            UnknownError: The dataset's matte is gone.
        """
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer}: choose one")
        if layer == "alpha" and image.alpha_file is None:
            layer = "network_alpha"
        path = layer_path(self._folder, image.alpha_file, image.sha256, layer, self._proposer)
        if not path.is_file():
            with self._choosing:
                lock = self._locks[image.id]
            with lock:
                if not path.is_file():
                    self._compute(image, layer)
        return path.read_bytes()

    def _compute(self, image: Image, layer: Layer) -> None:
        job = (self._folder, image.file, image.alpha_file, image.sha256, layer)
        if self._worker is None:
            compute_layer(*job, self._proposer)
        else:
            self._worker.run(*job, self._proposer)

    def proposal(
        self,
        image: Image,
        *,
        opening_px: int,
        kernel_px: int,
        source: Layer = "alpha",
        kind: str = "mask",
    ) -> Mask:
        """Return what a label's mask may begin from, (H, W) uint8.

        Args:
            image: The image.
            kind: The label's: detail of a "mask", a "trimap" whose unknown region is that detail,
                or the matte itself of an "alpha".
            opening_px: Diameter of the ellipse that the band is opened with, 0 to 400.
            kernel_px: Diameter of the ellipse that it is then dilated with, 0 to 400.
            source: "alpha" or "network_alpha".

        Raises:
            ValueError: A diameter is out of range, or the source is none.
        """
        if source not in ("alpha", "network_alpha"):
            raise ValueError(f"source must be alpha or network_alpha, got {source}: choose one")
        alpha = read_mask(self.png(image, source), max_megapixels=MAX_MEGAPIXELS)
        if kind == "alpha":
            return np.rint(alpha * 255).astype(np.uint8)
        detail = detail_of(alpha, opening_px, kernel_px)
        if kind == "mask":
            return detail
        known = np.where(alpha >= 0.5, np.uint8(255), np.uint8(0))
        return np.where(detail > 0, np.uint8(128), known)


class Worker:
    """One process that computes layers, one after the other: a network takes all of the machine.

    A process that dies, for want of memory perhaps, fails its own layer alone.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._pid: Future[int] = Future()
        self._starting = Lock()

    def run(self, *job: Any) -> None:  # noqa: ANN401  # as `compute_layer` takes them
        """Call `compute_layer` in the process."""
        with self._starting:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, mp_context=get_context("spawn"), initializer=_give_way
                )
                self._pid = self._pool.submit(os.getpid)
            pool = self._pool
        try:
            pool.submit(_compute_in_process, *job).result()
        except BrokenProcessPool as error:
            with self._starting:
                if self._pool is pool:
                    self._pool = None
            raise ValueError(
                "layer must be computable, got a process that died: it may have had too little "
                "memory, try a smaller image"
            ) from error

    def close(self) -> None:
        """End the process, whatever it computes."""
        with self._starting:
            if self._pool is None:
                return
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._pid.done() and self._pid.exception() is None:
                with suppress(ProcessLookupError):
                    os.kill(self._pid.result(), signal.SIGTERM)
            self._pool = None


def _give_way() -> None:
    """Let the server's answers go first."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)


_proposers: dict[bytes, Proposer] = {}  # of the worker's process: networks are loaded once


def _compute_in_process(*job: Any) -> None:  # noqa: ANN401  # as `compute_layer` takes them
    *image_and_layer, proposer = job
    known = _proposers.setdefault(pickle.dumps(proposer), proposer)
    compute_layer(*image_and_layer, known)  # type: ignore[call-arg]  # as many as it takes


def layer_path(
    folder: Path, alpha_file: str | None, sha256: str, layer: Layer, proposer: Proposer
) -> Path:
    """Return where a layer is kept: by all that it is computed from, so that none is outdated.

    Raises:
        UnknownError: The matte is gone.
    """
    names = [sha256[:32]]
    if alpha_file and layer in ("alpha", "band"):
        matte = folder / alpha_file
        if not matte.is_file():
            raise UnknownError(
                f"{alpha_file} must be in the dataset, got no such file: put it back"
            )
        names.append(sha256_of(matte)[:16])
    elif layer != "edges":
        names.append(hashlib.sha256(proposer.key.encode()).hexdigest()[:16])
    return folder / FOLDER / "cache" / f"{'-'.join([*names, layer])}.png"


def compute_layer(
    folder: Path,
    file: str,
    alpha_file: str | None,
    sha256: str,
    layer: Layer,
    proposer: Proposer,
) -> None:
    """Compute a layer and what it is made of, and keep them.

    Args:
        folder: The dataset's folder.
        file: The image's path within it.
        alpha_file: Its matte's path within it, if any.
        sha256: The image's hash.
        layer: The layer.
        proposer: Makes guidance and alpha.
    """

    def other(name: Layer) -> Plane:
        path = layer_path(folder, alpha_file, sha256, name, proposer)
        if not path.is_file():
            compute_layer(folder, file, alpha_file, sha256, name, proposer)
        return read_mask(path, max_megapixels=MAX_MEGAPIXELS)

    if layer == "alpha":
        plane = read_mask(folder / str(alpha_file), max_megapixels=MAX_MEGAPIXELS)
    elif layer == "band":
        plane = fractional_band(other("alpha" if alpha_file else "network_alpha"))
    else:
        picture = read_image(folder / file, max_megapixels=MAX_MEGAPIXELS)
        if layer == "edges":
            plane = edges(picture)
        elif layer == "guidance":
            plane = proposer.guidance(picture)
        else:
            plane = proposer.alpha(picture, other("guidance"))
    write_atomically(layer_path(folder, alpha_file, sha256, layer, proposer), encode_png(plane))


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
