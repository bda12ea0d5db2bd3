"""The networks, loaded when first needed, or ahead of that in the background.

PyTorch is imported with the first network: the page is up before. Where a GPU is lent for single
calls (`zerogpu.py`), the networks live in the process that has it, and stand-ins here ask them.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from demo.backend.zerogpu import lends_a_gpu, on_gpu
from mgm_core.arrays import Floats
from mgm_core.choices import (
    BUNDLED,
    DEFAULT_WEIGHTS,
    WORKING_MEGAPIXELS,
    Refinement,
)
from mgm_core.cutout import MattingNetwork, SegmentingNetwork
from mgm_core.engines.compile import compile_kernels, specimen
from mgm_core.foreground.estimate import ForegroundMethod, estimate_foreground
from mgm_core.models import Models as CoreModels
from mgm_core.recipe import Recipe
from mgm_core.runtime.lazy import Lazy, LazyByName
from mgm_core.weights import verify_bundled

if TYPE_CHECKING:
    from mgm_core.foreground.learned import NetworkEstimator
    from mgm_core.matting.matter import Matte


_logger = logging.getLogger(__name__)


class Models:
    """One matting network and the segmenters in use.

    Args:
        load_matter: loads the matting network.
        load_segmenter: loads a segmenter by name.
        networks: the owner of what refines alpha and finds colours; None takes the bundled ones, on
            the CPU. So does a Space that lends a GPU: these compute in this process.
    """

    def __init__(
        self,
        load_matter: Callable[[], MattingNetwork],
        load_segmenter: Callable[[str], SegmentingNetwork],
        networks: CoreModels | None = None,
    ) -> None:
        self._own_matter = Lazy(load_matter)
        self._own_segmenter = LazyByName(load_segmenter)
        self._lent = lends_a_gpu()
        self._computed = on_gpu(self._compute)
        if networks is None or self._lent:
            networks = CoreModels(device="cpu")
        self._networks = networks
        self.loaded = False
        """Whether `warm_up` has loaded and used every network."""

    @classmethod
    def bundled(cls, weights: str = DEFAULT_WEIGHTS, device: str = "auto") -> "Models":
        """Return models of the installed weights.

        Args:
            weights: a bundled name or the path of other matting weights.
            device: where the networks compute.
        """
        networks = CoreModels(weights, device=device)

        def load_matter() -> MattingNetwork:
            verify_bundled()  # also those that no visitor has asked for yet
            return networks.matter()

        models = cls(load_matter, networks.segmenter, networks)
        if models._lent:
            models.load_for_lent_gpu()
        return models

    def load_for_lent_gpu(self) -> None:
        """Load the networks before the page is served; the process that has the GPU gets them."""
        self._own_matter()
        self._own_segmenter(BUNDLED)

    def matter(self) -> MattingNetwork:
        """Return the matting network, loading it if need be."""
        if self._lent:
            return _OnLentGpu(self._computed, None, self._networks)
        return self._own_matter()

    def segmenter(self, name: str) -> SegmentingNetwork:
        """Return the segmenter of this name, loading it if need be."""
        if self._lent:
            return _OnLentGpu(self._computed, name, self._networks)
        return self._own_segmenter(name)

    def foreground_network(self) -> "NetworkEstimator":
        """Return the network that finds foreground colours, loading it if need be."""
        return self._networks.foreground_network()

    def _compute(self, segmenter: str | None, task: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the task takes and returns
        """Run a network's method; in a Space that lends a GPU this runs in another process."""
        network = self._own_matter() if segmenter is None else self._own_segmenter(segmenter)
        return getattr(network, task)(*args, **options)

    def warm_up(
        self, segmenter: str, on_broken: Callable[[str], None] | None = None
    ) -> threading.Thread:
        """Load networks in the background and use each once, as first uses are slow.

        Args:
            segmenter: name of the segmenter to load.
            on_broken: called with the reason, if weights cannot be used.

        Returns:
            The thread that does it. What else goes wrong there is logged, and met again by the
            first visitor, who sees the error.
        """
        thread = threading.Thread(target=self._warm_up, args=(segmenter, on_broken), daemon=True)
        thread.start()
        return thread

    def _warm_up(self, segmenter: str, on_broken: Callable[[str], None] | None) -> None:
        image, alpha = specimen()
        try:
            if self._lent:  # what is loaded here is not on the GPU, and no one waits for it yet
                compile_kernels()
                self._warm_up_colours(image, alpha, Recipe().foreground)
                self.loaded = True
                return
            self.segmenter(segmenter).probability(image)
            matter = self.matter()
            # First what a page shows first.
            matter.matte(image, alpha, refine="half")
            self._warm_up_colours(image, alpha, "multilevel")
            compile_kernels()
            matter.matte(image, alpha, refine="full")
            self._warm_up_colours(image, alpha, Recipe().foreground)
            self.loaded = True
        except Exception as error:  # whatever it is, the first visitor meets it again and sees it
            if on_broken is not None and isinstance(error, ValueError):
                on_broken(str(error))
                return
            _logger.exception("the networks could not be made ready ahead of the first visitor")

    def _warm_up_colours(self, image: Floats, alpha: Floats, method: ForegroundMethod) -> None:
        estimate_foreground(image, alpha, method, network=self.foreground_network)


class _OnLentGpu:
    """A network of the process that has the GPU, as far as the demo uses one.

    Args:
        computed: `Models._compute`, run over there.
        segmenter: name of a segmenter; None for the matting network.
        networks: the owner of what computes in this process.
    """

    def __init__(
        self, computed: Callable[..., Any], segmenter: str | None, networks: CoreModels
    ) -> None:
        self._computed = computed
        self._segmenter = segmenter
        self._networks = networks

    def probability(self, *args: Any, **options: Any) -> Floats:  # noqa: ANN401 - as over there
        """See `Segmenter.probability`."""
        found: Floats = self._computed(self._segmenter, "probability", *args, **options)
        return found

    def probabilities(self, *args: Any, **options: Any) -> Floats:  # noqa: ANN401 - as over there
        """See `Segmenter.probabilities`."""
        found: Floats = self._computed(self._segmenter, "probabilities", *args, **options)
        return found

    def matte(
        self,
        image: Floats,
        guidance: Floats,
        *,
        known: Floats | None = None,
        refine: Refinement = "off",
        levels: bool = False,
    ) -> "Matte":
        """See `Matter.matte`; what refines computes here, as most of it is no network."""
        from mgm_core.matting.enlarge import working_size
        from mgm_core.matting.refine import fusion_weights, refine_at_half, refine_views

        options = {"known": known, "levels": levels}
        # What is reduced on the way is refined in the middle of it.
        reduced = working_size(guidance.shape, WORKING_MEGAPIXELS) != guidance.shape
        if reduced or refine == "off":
            whole: Matte = self._computed(
                self._segmenter, "matte", image, guidance, refine=refine, **options
            )
            return whole

        matte: Matte
        refiner = self._networks.refiner(fusion_weights(known))
        if refine == "half":
            matte = self._computed(self._segmenter, "matte", image, guidance, **options)
            alpha = refine_at_half(refiner, image, guidance, matte.alpha, known)
            return replace(matte, alpha=alpha)
        matte, magnified = self._computed(self._segmenter, "views", image, guidance, **options)
        alpha = refine_views(refiner, image, guidance, matte.alpha, magnified, known)
        return replace(matte, alpha=alpha)
