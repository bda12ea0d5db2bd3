"""The one owner of loaded networks: each is loaded when it is first needed, and once.

The command line, clips, and servers make one `Models` and hand it down. PyTorch is imported with
the first network, so that what needs none does not wait for it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mgm_core.choices import BUNDLED, COARSE_SIDE_PX, DEFAULT_WEIGHTS, WORKING_MEGAPIXELS
from mgm_core.runtime.lazy import Lazy, LazyByName

if TYPE_CHECKING:
    from mgm_core.foreground.learned import NetworkEstimator
    from mgm_core.matting.matter import Matter
    from mgm_core.matting.refine import Refiner
    from mgm_core.networks.hardware import DtypeName
    from mgm_core.segmentation import Segmenter

__all__ = ["Models"]


class Models:
    """The networks of one device and number format. Safe for threads.

    Args:
        weights: The matting network's, by bundled name or path.
        device: Where all networks compute; "auto" takes the fastest there is.
        dtype: What they compute in; "auto" is bf16 where the hardware has it.
        coarse_side_px: Long side of the first pass over large photographs; None for a single pass.
        least_side_px: Long side to which smaller photographs are magnified for the matting
            network; None takes what suits it.
        working_megapixels: At how many a photograph of more is matted and its colours estimated;
            None sets no limit.
        engine: What computes matting and fusion networks: "torch", "onnxruntime" or "openvino"
            (`engines/sessions.py`). Segmenters and foreground colours stay with PyTorch.
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        *,
        device: str = "auto",
        dtype: "DtypeName" = "auto",
        coarse_side_px: int | None = COARSE_SIDE_PX,
        least_side_px: int | None = None,
        working_megapixels: float | None = WORKING_MEGAPIXELS,
        engine: str = "torch",
    ) -> None:
        self._weights, self._device, self._dtype = weights, device, dtype
        self._coarse_side_px, self._least_side_px = coarse_side_px, least_side_px
        self.working_megapixels = working_megapixels
        self._engine = engine
        self._matter = Lazy(self._load_matter)
        self._refiners = LazyByName(self._load_refiner)
        self._foreground_network = Lazy(self._load_foreground_network)
        self._segmenters = LazyByName(self._load_segmenter)

    def __reduce__(self) -> tuple[Callable[[], "Models"], tuple[()]]:
        """Have another process load its own."""
        make = partial(
            Models,
            self._weights,
            device=self._device,
            dtype=self._dtype,
            coarse_side_px=self._coarse_side_px,
            least_side_px=self._least_side_px,
            working_megapixels=self.working_megapixels,
            engine=self._engine,
        )
        return make, ()

    def matter(self) -> "Matter":
        """Return the matting network, with what refines its alpha.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device, dtype or engine is unknown or not on this machine.
        """
        return self._matter()

    def refiner(self, weights: str) -> "Refiner":
        """Return what refines alpha; the matting network asks for it by itself.

        Args:
            weights: What `fusion_weights` returns.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device, dtype or engine is unknown or not on this machine.
        """
        return self._refiners(weights)

    def foreground_network(self) -> "NetworkEstimator":
        """Return the network that estimates foreground colours.

        Raises:
            CheckpointError: The weights cannot be used.
            ValueError: Device or dtype is unknown or not on this machine.
        """
        return self._foreground_network()

    def segmenter(self, name: str = BUNDLED) -> "Segmenter":
        """Return a segmenter, downloading its weights if they are not bundled.

        Raises:
            SegmenterError: The weights could not be downloaded.
            ValueError: Name, device or dtype is unknown, or not on this machine.
        """
        return self._segmenters(name)

    def _load_matter(self) -> "Matter":
        from mgm_core.matting.matter import Matter

        run, device = None, self._device
        if self._engine != "torch":
            from mgm_core.engines.graphs import matting_graph
            from mgm_core.engines.sessions import check_engine, session
            from mgm_core.networks.checkpoint import load_prn

            check_engine(self._engine, self._device, self._dtype)
            network = matting_graph(load_prn(self._weights))
            run, device = session(self._engine, network, self._dtype), "cpu"
        return Matter.load(
            self._weights,
            device=device,
            dtype=self._dtype,
            coarse_side_px=self._coarse_side_px,
            least_side_px=self._least_side_px,
            working_megapixels=self.working_megapixels,
            refiner=self._refiners,
            run=run,
        )

    def _load_refiner(self, weights: str) -> "Refiner":
        from mgm_core.matting.refine import Refiner

        if self._engine == "torch":
            return Refiner.load(weights, device=self._device, dtype=self._dtype)
        from mgm_core.engines.graphs import fusion_graph
        from mgm_core.engines.sessions import session
        from mgm_core.networks.checkpoint import load_fusion

        run = session(self._engine, fusion_graph(load_fusion(weights)), self._dtype)
        return Refiner.load(weights, device="cpu", dtype=self._dtype, run=run)

    def _load_foreground_network(self) -> "NetworkEstimator":
        from mgm_core.foreground.learned import NetworkEstimator

        return NetworkEstimator.load(device=self._device, dtype=self._dtype)

    def _load_segmenter(self, name: str) -> "Segmenter":
        from mgm_core.segmentation import Segmenter

        return Segmenter.load(name, device=self._device, dtype=self._dtype)
