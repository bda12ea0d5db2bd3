"""`Matter`: image and guidance in, alpha out, at any size, on any device.

Images are padded as the paper's authors do, and results have their size. What does not fit into
memory at once is cut into overlapping tiles; small images are magnified for the light network; see
`Matter` for both.

Source: section 3.1 of the paper; padding as in the authors' released inference.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mgm_core.arrays import Booleans, Colours, Floats, Plane, check_image, check_mask, resized
from mgm_core.choices import COARSE_SIDE_PX, DEFAULT_WEIGHTS, WORKING_MEGAPIXELS, Refinement
from mgm_core.matting.enlarge import enlarge_alpha, reduced, working_size
from mgm_core.matting.refine import (
    Refiner,
    enforced,
    fusion_weights,
    refine_at_half,
    refine_views,
)
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.decoder import SideOutputs
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device
from mgm_core.networks.inference import prepare_for_inference
from mgm_core.networks.prn import PRN, STRIDE, EncoderName, Refined
from mgm_core.networks.refinement import TEST_KERNELS_PX, self_guidance_mask
from mgm_core.networks.tiling import Run, TiledRunner, on_torch
from mgm_core.runtime.lazy import LazyByName

MARGIN_PX = 32
FINE_TILE_PX, FINE_OVERLAP_PX, FINE_CONTEXT_PX = 768, 96, 64
SMALLEST_PX = 16
# Long side up to which images are magnified; the paper's network takes them as they are. See
# docs/experiments for what it gives. More than the largest magnification also enlarges what is
# wrong with a mask beyond what the network was trained for.
LEAST_SIDES_PX: dict[EncoderName, int] = {"resnet34": 0, "mobilenet_v2": 800}
MAX_MAGNIFICATION = 1.5
# How much larger the second view is, while both views together have no more pixels than this, which
# bounds what they cost; an image that it would hardly magnify does without.
MAGNIFIED_SCALE, MIN_MAGNIFIED_SCALE = 2.0, 1.05
VIEWS_PX = 2_600_000


@dataclass(frozen=True)
class Matte:
    """Alpha and how it came about; every plane is (H, W) float32 in [0, 1].

    Args:
        alpha: The refined alpha, by the matting Laplacian too where that was asked for.
        os8: Raw alpha at stride 8, enlarged.
        os4: Raw alpha at stride 4, enlarged.
        os1: Raw alpha at stride 1.
        self_guidance_os4: 1 where stride 4 replaced stride 8.
        self_guidance_os1: 1 where stride 1 replaced what was there.

    All but alpha are there if they were asked for.
    """

    alpha: Plane
    os8: Plane | None = None
    os4: Plane | None = None
    os1: Plane | None = None
    self_guidance_os4: Plane | None = None
    self_guidance_os1: Plane | None = None


class Matter:
    """The matting network made ready for use.

    An image of more than `tile_px`² pixels is cut into tiles whose overlap of `overlap_px` is
    cross-faded (`TiledRunner`). Tiles see the guidance of their own part alone.

    With `coarse_side_px`, an image whose long side is more than twice that is first matted at that
    size. Eqs. 2 and 3 then go on beyond the network: the coarse alpha guides a pass at full size,
    which replaces what the coarse pass left uncertain. On photographs of many megapixels a rough
    mask is further off than the network was trained for, and their hair is wider; at full size
    only the tiles that hold something uncertain are computed. The paper has no such pass, and
    benchmarks leave it out.

    With `working_megapixels`, an image of more pixels is matted at this size, and its matte
    enlarged along the image's edges (`enlarge.py`), so that a photograph of many megapixels costs
    little more than one of a few. The paper has nothing of it, and benchmarks leave it out.

    The light network finds more where a strand is several pixels wide: with `least_side_px` an
    image whose long side is shorter is magnified to it, at most by half, and its matte reduced.

    With `refine` alpha goes on to one more level, which the paper has not: where the network left
    it uncertain, or a trimap does, the matting Laplacian and the network's view of the magnified,
    mirrored image find it anew (`refine.py`).

    One object may serve several threads; they take turns, unless each has one core (`turn`).

    Args:
        network: Network in evaluation mode.
        device: Where it computes; "auto" takes the fastest there is.
        dtype: What it computes in; "auto" is bf16 where the hardware has it.
        tile_px: Side of a tile, a multiple of 32.
        overlap_px: How far neighbouring tiles overlap, less than half a tile.
        coarse_side_px: Long side of the first pass over large images; None for a single pass.
        least_side_px: Long side to which smaller images are magnified; 0 leaves them as they are,
            None takes what suits the network's encoder (`LEAST_SIDES_PX`).
        working_megapixels: At how many an image of more is matted; None sets no limit.
        refiner: Returns what refines by the name of its weights, and is asked when that is
            needed; None loads the bundled ones.
        run: Computes alpha in the network's place, such as another engine's session of it; levels
            are the network's own.
    """

    def __init__(
        self,
        network: PRN,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        tile_px: int = 2048,
        overlap_px: int = 256,
        coarse_side_px: int | None = None,
        least_side_px: int | None = None,
        working_megapixels: float | None = None,
        refiner: Callable[[str], Refiner] | None = None,
        run: Run | None = None,
    ) -> None:
        if coarse_side_px is not None and coarse_side_px < 256:
            raise ValueError(
                f"coarse_side_px must be at least 256 or None, got {coarse_side_px}: "
                f"{COARSE_SIDE_PX} suits photographs of people"
            )
        if least_side_px is None:
            least_side_px = LEAST_SIDES_PX[network.encoder_name]
        if least_side_px < 0:
            raise ValueError(
                f"least_side_px must be 0 or more, got {least_side_px}: 0 magnifies nothing"
            )
        if working_megapixels is not None and working_megapixels < 0.25:
            raise ValueError(
                f"working_megapixels must be at least 0.25 or None, got {working_megapixels:g}: "
                f"{WORKING_MEGAPIXELS:g} suits photographs"
            )
        self.coarse_side_px, self.least_side_px = coarse_side_px, least_side_px
        self.working_megapixels = working_megapixels
        self.device = resolve_device(device)
        light = network.encoder_name == "mobilenet_v2"  # of depthwise convolutions
        self.dtype = best_dtype(self.device, dtype, memory_bound=light)
        self.dtype_name = dtype
        self.network = prepare_for_inference(network, self.device)
        # The paper's network sees a mirrored margin beyond the picture, as the authors' code has
        # it. The light one errs less without (docs/experiments), and takes a tenth less time.
        runner = functools.partial(
            TiledRunner,
            stride=STRIDE,
            padding="edge" if light else "reflect",
            margin_px=MARGIN_PX,
            pads_margin=not light,
        )
        alpha = run or on_torch(self._alpha_of, self.device, self.dtype)
        levels = on_torch(self._levels_of, self.device, self.dtype)
        self._alpha = runner(alpha, tile_px=tile_px, overlap_px=overlap_px)
        self._levels = runner(levels, tile_px=tile_px, overlap_px=overlap_px)
        # Small tiles leave out more of what the coarse pass was certain of.
        self._fine_alpha = runner(
            alpha,
            tile_px=min(tile_px, FINE_TILE_PX),
            overlap_px=min(overlap_px, FINE_OVERLAP_PX),
            context_px=FINE_CONTEXT_PX,
            gives_wanted=run is None,
        )
        self._refiner = refiner or LazyByName(
            lambda weights: Refiner.load(weights, device=str(self.device), dtype=dtype)
        )

    @classmethod
    def load(
        cls,
        weights: str | Path = DEFAULT_WEIGHTS,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        coarse_side_px: int | None = None,
        least_side_px: int | None = None,
        working_megapixels: float | None = None,
        refiner: Callable[[str], Refiner] | None = None,
        run: Run | None = None,
    ) -> "Matter":
        """Load weights by bundled name or path; the other arguments are the constructor's.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return cls(
            load_prn(weights),
            device=device,
            dtype=dtype,
            coarse_side_px=coarse_side_px,
            least_side_px=least_side_px,
            working_megapixels=working_megapixels,
            refiner=refiner,
            run=run,
        )

    def matte(
        self,
        image: Colours,
        guidance: Plane,
        *,
        known: Plane | None = None,
        refine: Refinement = "off",
        levels: bool = False,
    ) -> Matte:
        """Return the matte of one image.

        Args:
            image: (H, W, 3) float32 in [0, 1], sides of 16 px or more.
            guidance: (H, W) float32 in [0, 1].
            known: (H, W) float32; where it is 0 or 1, alpha takes its value (a trimap's known
                regions), elsewhere it is left. None enforces nothing.
            refine: Whether alpha is refined where it is uncertain (`refine.py`), and how.
            levels: Whether the raw levels and their self-guidance are returned too.

        Raises:
            CheckpointError: Refinement was asked for, and its weights cannot be used.
            ValueError: An array has a wrong shape, type or range.
        """
        mattes = self.matte_batch([image], [guidance], known=[known], refine=refine, levels=levels)
        return mattes[0]

    def matte_batch(
        self,
        images: Sequence[Colours],
        guidances: Sequence[Plane],
        *,
        known: Sequence[Plane | None] | None = None,
        refine: Refinement = "off",
        levels: bool = False,
    ) -> list[Matte]:
        """Return the mattes of several images of one size in one pass.

        Args:
            images: N images, (H, W, 3) float32 in [0, 1].
            guidances: N guidances, (H, W) float32 in [0, 1].
            known: N planes or Nones, as for `matte`.
            refine: As for `matte`.
            levels: As for `matte`.

        Raises:
            CheckpointError: Refinement was asked for, and its weights cannot be used.
            ValueError: An array has a wrong shape, type or range, or sizes differ.
        """
        if len(images) != len(guidances) or not images:
            raise ValueError(
                f"images and guidances must be as many, and some, got {len(images)} and "
                f"{len(guidances)}: give one guidance an image"
            )
        for image, guidance in zip(images, guidances, strict=True):
            check_pair(image, guidance)
        if len({image.shape for image in images}) > 1:
            raise ValueError(
                f"images must have one size in a batch, got {[i.shape for i in images]}: "
                "matte images of other sizes one by one"
            )
        planes_known = known or [None] * len(images)
        for guidance, plane in zip(guidances, planes_known, strict=True):
            if plane is not None:
                check_mask("known", plane, guidance.shape)
        size = working_size(guidances[0].shape, self.working_megapixels)
        if size != guidances[0].shape:
            return [
                self._at_size(size, image, guidance, plane, refine=refine, levels=levels)
                for image, guidance, plane in zip(images, guidances, planes_known, strict=True)
            ]
        planes = self._look(images, guidances, levels=levels)
        for n, plane in enumerate(planes_known):
            if plane is not None:
                planes[0, n] = enforced(planes[0, n], plane)
            if refine == "half":
                refiner = self._refiner(fusion_weights(plane))
                planes[0, n] = refine_at_half(refiner, images[n], guidances[n], planes[0, n], plane)
            elif refine == "full":
                planes[0, n] = self._refine(images[n], guidances[n], planes[0, n], plane)
        return [Matte(*planes[:, n]) for n in range(len(images))]

    def _at_size(
        self,
        size: tuple[int, int],
        image: Colours,
        guidance: Plane,
        known: Plane | None,
        *,
        refine: Refinement,
        levels: bool,
    ) -> Matte:
        """Matte one image at a smaller size, and enlarge what is found."""
        small = reduced(image, size)
        matte = self.matte(
            small,
            reduced(guidance, size),
            known=None if known is None else reduced(known, size),
            refine=refine,
            levels=levels,
        )
        alpha = enlarge_alpha(image, small, matte.alpha)
        if known is not None:
            alpha = enforced(alpha, known)
        raw = matte.os8, matte.os4, matte.os1
        masks = matte.self_guidance_os4, matte.self_guidance_os1
        planes = [None if p is None else resized(p, guidance.shape) for p in (*raw, *masks)]
        planes[3:] = [None if p is None else (p >= 0.5).astype(np.float32) for p in planes[3:]]
        return Matte(alpha, *planes)

    def magnified_view(
        self, image: Colours, guidance: Plane, scale: float | None = None
    ) -> Plane | None:
        """Return alpha of the mirrored and magnified image, for `Refiner`.

        Args:
            image: (H, W, 3) float32 in [0, 1], sides of 16 px or more.
            guidance: (H, W) float32 in [0, 1].
            scale: How much larger it is seen; None takes twice, or less where that would be too
                many pixels.

        Returns:
            (H, W) float32 in [0, 1], not mirrored and of the image's size; None where the image is
            so large that it could hardly be magnified.
        """
        height, width = guidance.shape
        if scale is None:
            left = max(0.0, VIEWS_PX / (height * width) - 1)
            scale = min(MAGNIFIED_SCALE, left**0.5)
            if scale < MIN_MAGNIFIED_SCALE:
                return None
        size = round(height * scale), round(width * scale)
        seen = [resized(plane[:, ::-1], size) for plane in (image, guidance)]
        alpha: Plane = self._look(seen[:1], seen[1:])[0, 0, :, ::-1]
        return resized(alpha, (height, width))

    def views(
        self, image: Colours, guidance: Plane, *, known: Plane | None = None, levels: bool = False
    ) -> tuple[Matte, Plane | None]:
        """Return what refinement starts from: the matte, and alpha of the magnified view.

        All that the network computes is in it; `refine_views` needs it no more. The arguments are
        those of `matte`.
        """
        matte = self.matte(image, guidance, known=known, levels=levels)
        return matte, self.magnified_view(image, guidance)

    def _refine(self, image: Colours, guidance: Plane, alpha: Plane, known: Plane | None) -> Plane:
        magnified = self.magnified_view(image, guidance)
        refiner = self._refiner(fusion_weights(known))
        return refine_views(refiner, image, guidance, alpha, magnified, known)

    def _look(
        self, images: Sequence[Colours], guidances: Sequence[Plane], *, levels: bool = False
    ) -> Floats:
        """Matte images of one size, magnified where they are small.

        Returns:
            (P, N, H, W): alpha alone, or all planes of a `Matte`.
        """
        height, width = guidances[0].shape
        magnified = self._magnified_size(height, width)
        if magnified == (height, width):
            return self._planes_of(images, guidances, levels=levels)
        planes = self._planes_of(
            [resized(image, magnified) for image in images],
            [resized(guidance, magnified) for guidance in guidances],
            levels=levels,
        )
        smaller = [[resized(plane, (height, width)) for plane in each] for each in planes]
        planes = np.asarray(smaller, np.float32)
        planes[4:] = planes[4:] >= 0.5
        return planes

    def _magnified_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width at which the network sees an image."""
        scale = min(max(1.0, self.least_side_px / max(height, width)), MAX_MAGNIFICATION)
        return round(height * scale), round(width * scale)

    def _planes_of(
        self, images: Sequence[Colours], guidances: Sequence[Plane], *, levels: bool
    ) -> Floats:
        """Matte images of one size in one pass or, large ones, in two: (P, N, H, W)."""
        if self.coarse_side_px is not None and max(guidances[0].shape) > 2 * self.coarse_side_px:
            each = [
                self._coarse_to_fine(i, g, levels=levels)
                for i, g in zip(images, guidances, strict=True)
            ]
            return np.concatenate(each, axis=1)
        return self._run(images, guidances, levels=levels)

    def _run(
        self,
        images: Sequence[Colours],
        guidances: Sequence[Plane],
        *,
        levels: bool = False,
        wanted: Booleans | None = None,
        into: Floats | None = None,
    ) -> Floats:
        """Run the network over images of one size, in tiles if need be: (P, N, H, W)."""
        runner = self._levels if levels else self._alpha if wanted is None else self._fine_alpha
        # One picture is not copied.
        image, guidance = (
            each[0][None] if len(each) == 1 else np.stack(each) for each in (images, guidances)
        )
        given = image.transpose(0, 3, 1, 2), guidance[:, None]
        into = None if into is None else into.transpose(1, 0, 2, 3)
        planes = runner(*given, wanted=wanted, into=into).transpose(1, 0, 2, 3)
        planes[4:] = planes[4:] > 0  # self-guidance of any tile
        return planes

    def _alpha_of(self, image: Tensor, guidance: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return alpha, (N, 1, H, W), where it is wanted."""
        network = self.network
        # GPUs are quick with whole pictures, and slow when they are asked where to compute.
        if image.device.type == "cpu" and isinstance(network, PRN) and network.fuses_progressively:
            return network.sparse_alpha(image, guidance, wanted)[0]
        return self._refined(image, guidance).alpha

    def _levels_of(self, image: Tensor, guidance: Tensor) -> Tensor:
        """Return all planes of a `Matte`, (N, 6, H, W)."""
        refined = self._refined(image, guidance)
        masks = refined.self_guidance_os4, refined.self_guidance_os1
        return torch.cat([refined.alpha, *refined.levels, *(mask.float() for mask in masks)], 1)

    def _refined(self, image: Tensor, guidance: Tensor) -> Refined:
        levels = self.network(image, guidance)
        return self.network.refined(SideOutputs(*(level.float() for level in levels)))

    def _coarse_to_fine(self, image: Colours, guidance: Plane, *, levels: bool) -> Floats:
        """Matte a small copy, then refine at full size what that left uncertain: (P, 1, H, W)."""
        assert self.coarse_side_px is not None
        height, width = guidance.shape
        scale = self.coarse_side_px / max(height, width)
        small = (
            max(SMALLEST_PX, round(height * scale)),
            max(SMALLEST_PX, round(width * scale)),
        )
        coarse = self._run([resized(image, small)], [resized(guidance, small)])[0, 0]
        alpha = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
        mask = self_guidance_mask(torch.from_numpy(coarse)[None, None], TEST_KERNELS_PX[:1])
        unknown = cv2.resize(
            mask[0, 0].numpy().view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        ).astype(np.bool_)
        planes = np.zeros((6 if levels else 1, 1, height, width), np.float32)
        planes[:4] = alpha
        if unknown.any():
            self._run([image], [alpha], levels=levels, wanted=unknown, into=planes)
        return planes


def check_pair(image: Colours, guidance: Plane) -> None:
    """Raise unless image and guidance fit together and the network can take them."""
    check_image("image", image)
    if min(image.shape[:2]) < SMALLEST_PX:
        raise ValueError(
            f"image must have sides of {SMALLEST_PX} px or more, got "
            f"{image.shape[1]}x{image.shape[0]}: give a larger image"
        )
    check_mask("guidance", guidance, image.shape[:2])
