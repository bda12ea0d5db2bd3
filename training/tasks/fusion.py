"""Training of the fusion network, which chooses between candidate alphas pixel by pixel.

Examples are those of the matting network, which is frozen and sees each as it is and magnified,
as in use (`mgm_core/matting/matter.py`), the other candidates are found by these views
(`mgm_core/matting/refine.py`), and what is learned is which of them to believe at each pixel. The
matting network has learned from the same pictures and errs less on them than on new ones; so some
are matted turned. Making an example takes as long as learning from it several times, so that a run
keeps its examples, and shows them again flipped and turned.

Source: ours; the paper has nothing of the kind. Losses are those of section 3.1, but for
composition.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from mgm_core.arrays import Booleans, Colours, Floats, Plane
from mgm_core.matting.matter import MAGNIFIED_SCALE, Matter
from mgm_core.matting.refine import (
    CandidateAlphas,
    Refiner,
    fusion_weights,
    mean_view,
    unknown_region,
)
from mgm_core.networks.checkpoint import (
    FUSION_WEIGHTS,
    MASK_FUSION_WEIGHTS,
    load_checked,
    load_fusion,
    read_safetensors,
    weights_files,
    weights_path,
)
from mgm_core.networks.fusion_net import CANDIDATES, VIEWS, FusionNetwork
from mgm_core.weights import sha256_of
from training.config import Config, ConfigError
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import Composites, Example
from training.data.example_cache import ExampleCache
from training.data.guidance_noise import UNKNOWN, is_trimap
from training.losses import Terms, balance, level_terms
from training.tasks.task import Task

# Photographs without colours give the Laplacian brightness alone.
_GREY_PROBABILITY = 0.05
_TURNED_PROBABILITY = 0.6
# Noise and JPEG hide how colours mix; most photographs have less of them than what `camera` draws.
_CLEAN_PROBABILITY = 0.5
# Large photographs are seen less close, the largest once.
_ONE_VIEW_PROBABILITY = 0.1
_MIN_MAGNIFIED_SCALE = 1.3
# A second round starts from the alpha of the first.
_SECOND_ROUND_PROBABILITY = 0.4
# Planes of an example.
_PARTS = {"image": 3, "guidance": 1, "candidates": CANDIDATES, "alpha": 1, "supervised": 1}


class FusionExamples(Composites):
    """Examples with candidate alphas, numbered without end.

    There are `data.cached_examples` different ones. They are cached in 8 bits in the run's folder,
    in a file that all loading processes share. Each is a pure function of the configuration, the
    names of the pictures and the weights, so that whoever needs one that is not there yet makes it.

    Args:
        config: What is drawn, from where, how often; `network.matting` is what mattes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._matter: Matter | None = None
        self._first_rounds: dict[str, Refiner] = {}
        data = AUGMENTATION, config.data, config.guidance, config.run.seed
        # What is held out is no setting of a configuration, and weights may change under a name.
        names = [*(source.names for source in self.sources), self.backgrounds.names]
        networks = config.network.matting, FUSION_WEIGHTS, MASK_FUSION_WEIGHTS
        files = [file for name in networks for file in weights_files(weights_path(name))]
        weights = [sha256_of(file) for file in files]
        self._cache = ExampleCache(config, _PARTS, repr((*data, names, weights)))

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image` (3, S, S), `guidance` (1, S, S), `candidates` (C, S, S), `alpha` (1, S, S),
            float32 in [0, 1], and `supervised` (1, S, S), 1 where alpha is unknown and the true one
            is exact, else 0.
        """
        return self._cache.augmented(index, self._make)

    def _photographed(self, image: Colours, generator: Generator) -> Colours:
        """Leave some composites clean."""
        if generator.random() < _CLEAN_PROBABILITY:
            return image
        return super()._photographed(image, generator)

    def _make(self, number: int) -> Floats:
        """Make an example: its planes, (P, S, S) in [0, 1]."""
        example = super().__getitem__(number)
        image = example["image"]
        generator = np.random.default_rng([self.config.run.seed, number, 5])
        if generator.random() < _GREY_PROBABILITY:
            image = image.mean(0, keepdim=True).expand(3, -1, -1).contiguous()
        guidance = example["guidance"][0].numpy()
        pixels = np.ascontiguousarray(image.numpy().transpose(1, 2, 0)).clip(0, 1)
        turns = int(generator.integers(1, 4)) if generator.random() < _TURNED_PROBABILITY else 0
        views = self._views(np.rot90(pixels, turns), np.rot90(guidance, turns), generator)
        views = [np.ascontiguousarray(np.rot90(view, -turns)) for view in views]
        unknown = unknown_region(np.stack(views).mean(0))
        if is_trimap(guidance):
            unknown = guidance == UNKNOWN
            views = [np.where(unknown, view, guidance) for view in views]
        find = CandidateAlphas(pixels, mean_view(views), unknown)
        if generator.random() < _SECOND_ROUND_PROBABILITY:
            views = [self._refined_once(pixels, guidance, views, unknown)] * VIEWS
        candidates = find(views)
        supervised = example["supervised"].numpy() * unknown
        return np.concatenate(
            [image.numpy(), guidance[None], candidates, example["alpha"], supervised]
        )

    def _refined_once(
        self, pixels: Colours, guidance: Plane, views: Sequence[Plane], unknown: Booleans
    ) -> Plane:
        """Refine by the bundled network, as a first round does."""
        weights = fusion_weights(guidance if is_trimap(guidance) else None)
        if weights not in self._first_rounds:
            self._first_rounds[weights] = Refiner(load_fusion(weights), device="cpu", rounds=1)
        return self._first_rounds[weights](pixels, guidance, views, unknown)

    def _views(self, pixels: Colours, guidance: Plane, generator: Generator) -> list[Plane]:
        """Matte one example by the frozen network; each loading process loads it itself."""
        if self._matter is None:
            self._matter = Matter.load(self.config.network.matting, device="cpu", least_side_px=0)
        pixels, guidance = np.ascontiguousarray(pixels), np.ascontiguousarray(guidance)
        first = self._matter.matte(pixels, guidance).alpha
        scale = float(generator.uniform(_MIN_MAGNIFIED_SCALE, MAGNIFIED_SCALE))
        if generator.random() < _ONE_VIEW_PROBABILITY:
            return [first] * VIEWS
        magnified = self._matter.magnified_view(pixels, guidance, scale)
        assert magnified is not None, "a scale was given"
        return [first, magnified]


class FusionTask(Task):
    """Network, data and loss of one training.

    Each example's loss is divided by the error of the views' mean: images worth matting are like
    the easiest examples.

    Args:
        config: The run; `network.start` names weights to start from.

    Raises:
        CheckpointError: `network.start` cannot be used.
        ConfigError: Examples are to be made on a device.
    """

    def __init__(self, config: Config) -> None:
        if config.data.on_device:
            raise ConfigError(
                "data.on_device must be false for the task 'fusion', got true: candidate alphas "
                "are found by the loading processes"
            )
        super().__init__(config)
        self.module = FusionNetwork()
        if start := config.network.start:
            load_checked(self.module, read_safetensors(Path(start))[0], start)

    def dataset(self) -> FusionExamples:
        """Open the training data."""
        return FusionExamples(self.config)

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return all parameters, at one rate."""
        return [{"params": list(self.module.parameters()), "factor": 1.0}]

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the loss and its terms for one batch, and those of the views' mean."""
        del step, fraction
        mean = batch["candidates"][:, VIEWS : VIEWS + 1]
        truth, squared = batch["alpha"], self.config.loss.squared
        alpha = module(batch["image"], batch["guidance"], batch["candidates"])
        supervised = balance(batch["supervised"], (mean - truth).abs())
        terms = level_terms(alpha, truth, supervised, None, None, squared)
        before = level_terms(mean, truth, supervised, None, None, squared)
        return {
            "loss": torch.stack(list(terms.values())).sum(),
            **{name: value.detach() for name, value in terms.items()},
            **{f"{name}_before": value for name, value in before.items()},
        }

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, guidance, candidates, alpha and truth."""
        alpha = self.module(batch["image"], batch["guidance"], batch["candidates"])
        return [
            batch["image"],
            batch["guidance"],
            *torch.split(batch["candidates"], 1, dim=1),
            alpha,
            batch["alpha"],
        ]

    def metadata(self) -> dict[str, str]:
        """Return what the manifest says of the weights."""
        return {"encoder": "plain", "network": "fusion"}
