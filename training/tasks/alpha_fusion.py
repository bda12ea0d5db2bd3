"""Training of the network that weighs colour lines against the matting network's alpha.

Examples are those of the matting network. The frozen matting network looks at each four times, as
in use (`mgm_core/matting/matter.py`), colour lines are solved for where it is undecided
(`mgm_core/matting/laplacian.py`), colours are sampled for it (`mgm_core/matting/sampling.py`), and
what is learned is which of the alphas to believe at each pixel.
The matting network has learned from the same pictures and errs less on them than on new ones; so
some are matted turned. A run that starts from weights also learns to decide in later rounds, after
those by the weights that it starts from. Making an example takes several times as long as learning
from mgm_core.arrays import Floats
from it, so that a run keeps its examples, and shows them again flipped and turned.

Source: ours; the paper has nothing of the kind. Losses are those of section 3.1, but for
composition.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from mgm_core.arrays import Colours, Floats, Plane
from mgm_core.matting.laplacian import undecided
from mgm_core.matting.matter import Matter
from mgm_core.matting.refine import ROUNDS, ColourLineRefiner, all_looks
from mgm_core.networks.alpha_fusion_net import CANDIDATES, LOOKS, ColourLineNetwork
from mgm_core.networks.checkpoint import sha256_of
from training.config import Config, ConfigError
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import Composites, Example
from training.data.example_cache import KeptExamples
from training.data.guidance_noise import UNKNOWN, is_trimap
from training.losses import Terms
from training.tasks.fusion import WeighingTask, started

# Photographs without colours have no colour lines, only lines of brightness.
_GREY_PROBABILITY = 0.05
_TURNED_PROBABILITY = 0.6
# Noise and JPEG hide colour lines; most photographs have less of them than what `camera` draws.
_CLEAN_PROBABILITY = 0.5
# Of one look, all but the closest, and all: large photographs get fewer.
_LOOK_SHARES = (0.1, 0.15, 0.75)
_ROUND_SHARES = (0.3, 0.4, 0.3)  # of the first, second and third round
# Planes of an example.
_PARTS = {"image": 3, "guidance": 1, "candidates": CANDIDATES, "alpha": 1, "supervised": 1}


class ColourLineExamples(Composites):
    """Examples with the matting network's alpha and colour lines', numbered without end.

    There are `data.kept_examples` different ones. They are kept in 8 bits in the run's folder, in a
    file that all loading processes share, and are pure functions of the configuration, so that
    whoever needs one that is not there yet makes it.

    Args:
        config: What is drawn, from where, how often; `network.matting` is what mattes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._matter: Matter | None = None
        self._refiner: ColourLineRefiner | None = None
        start = config.network.start
        earlier = sha256_of(Path(start)) if start else None
        data = AUGMENTATION, config.data, config.guidance, config.run.seed
        settings = *data, config.network.matting, earlier
        self._kept = KeptExamples(config, _PARTS, repr(settings))

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image` (3, S, S), `guidance` (1, S, S), `candidates` (C, S, S), `alpha` (1, S, S),
            float32 in [0, 1], and `supervised` (1, S, S), 1 where there is something to decide and
            alpha is exact, else 0.
        """
        return self._kept.shown(index, self._made)

    def _photographed(self, image: Colours, generator: Generator) -> Colours:
        """Leave some composites clean."""
        if generator.random() < _CLEAN_PROBABILITY:
            return image
        return super()._photographed(image, generator)

    def _made(self, number: int) -> Floats:
        """Make an example: its planes, (P, S, S) in [0, 1]."""
        example = super().__getitem__(number)
        image = example["image"]
        generator = np.random.default_rng([self.config.run.seed, number, 5])
        if generator.random() < _GREY_PROBABILITY:
            image = image.mean(0, keepdim=True).expand(3, -1, -1).contiguous()
        guidance = example["guidance"][0].numpy()
        pixels = np.ascontiguousarray(image.numpy().transpose(1, 2, 0)).clip(0, 1)
        turns = int(generator.integers(1, 4)) if generator.random() < _TURNED_PROBABILITY else 0
        looks = self._looks(np.rot90(pixels, turns), np.rot90(guidance, turns))
        first, closer, closest, mirrored = np.rot90(looks, -turns, axes=(1, 2))
        taken = [first], [first, closer, mirrored], [first, closer, closest, mirrored]
        looks = all_looks(taken[generator.choice(len(taken), p=_LOOK_SHARES)])
        where = undecided(looks.mean(0))
        if is_trimap(guidance):
            where = guidance == UNKNOWN
            looks = np.where(where, looks, guidance)
        if self._refiner is None:
            self._refiner = ColourLineRefiner(
                started(ColourLineNetwork(), self.config), device="cpu"
            )
        round_ = 1
        if self.config.network.start:
            round_ += int(generator.choice(ROUNDS, p=_ROUND_SHARES))
        candidates = self._refiner.candidates(pixels, guidance, looks, where, round_)
        supervised = example["supervised"].numpy() * where
        return np.concatenate(
            [image.numpy(), guidance[None], candidates, example["alpha"], supervised]
        )

    def _looks(self, pixels: Floats, guidance: Plane) -> Floats:
        """Look at one example with the frozen network; each loading process loads it itself."""
        if self._matter is None:
            self._matter = Matter.load(self.config.network.matting, device="cpu", least_side_px=0)
        pixels, guidance = np.ascontiguousarray(pixels), np.ascontiguousarray(guidance)
        others = self._matter.other_looks(pixels, guidance)
        if len(others) < LOOKS - 1:
            raise ConfigError(
                f"data.crop_px must be small enough for closer looks, got {len(guidance)}: "
                "320 is usual"
            )
        return np.stack([self._matter.matte(pixels, guidance).alpha, *others])


class ColourLineTask(WeighingTask):
    """Network, data and loss of one training.

    Args:
        config: The run.
    """

    def __init__(self, config: Config) -> None:
        if config.data.on_device:
            raise ConfigError(
                "data.on_device must be false for the task 'colour_lines', got true: colour lines "
                "are solved for by the loading processes"
            )
        super().__init__(config, started(ColourLineNetwork(), config))

    def dataset(self) -> ColourLineExamples:
        """Open the training data."""
        return ColourLineExamples(self.config)

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the loss and its terms for one batch, and those of the matting network's looks."""
        del step, fraction
        mean = batch["candidates"][:, :LOOKS].mean(1, keepdim=True)
        alpha = module(batch["image"], batch["guidance"], batch["candidates"])
        return self.terms(batch, alpha, mean, batch["alpha"])

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
        return {"encoder": "plain", "network": "colour_lines"}
