"""Training of the network that weighs closed-form colours against the foreground network's.

Cut-outs keep their own colours here: closed-form colours have nothing to say of one photograph
blended over another by Random Alpha Blending. Alpha is the true one, or, more rarely, what the
matting network makes of a trimap or mask. The foreground network has learned from the same
pictures and errs less on them than on new ones; so some are seen turned.

Source: ours; the paper has nothing of the kind.
"""

import numpy as np
from torch import Tensor, nn

from mgm_core.arrays import Floats
from mgm_core.foreground.fusion import FusedEstimator
from mgm_core.matting.matter import Matter
from mgm_core.networks.checkpoint import load_foreground
from mgm_core.networks.foreground_fusion_net import COLOUR_CANDIDATES, ForegroundWeigher
from training.config import Config, ConfigError
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import Example
from training.data.example_cache import KeptExamples
from training.data.guidance_noise import is_trimap
from training.losses import Terms
from training.tasks.foreground import ForegroundExamples
from training.tasks.fusion import WeighingTask, started

_TURNED_PROBABILITY = 0.25
_CLOSER_PROBABILITY = 0.75  # of two looks; large photographs get one
_ESTIMATED_PROBABILITY = 0.35  # of an alpha that the matting network has found
# Planes of an example.
_PARTS = {
    "image": 3, "alpha": 1, "candidates": 3 * COLOUR_CANDIDATES, "foreground": 3, "supervised": 1
}  # fmt: skip


class ForegroundWeigherExamples(ForegroundExamples):
    """Examples with candidates for the foreground's colours, numbered without end.

    They are kept (`example_cache.py`), and are pure functions of the configuration.

    Args:
        config: What is drawn, from where, how often; `network.foreground` is what estimates
            colours, `network.matting` what mattes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        settings = AUGMENTATION, config.data, config.guidance, config.run.seed, config.network
        self._kept = KeptExamples(config, _PARTS, repr(settings))
        self._networks: tuple[Matter, FusedEstimator] | None = None

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image` (3, S, S), `alpha` (1, S, S), `candidates` (3 K, S, S), `foreground` (3, S, S),
            float32 in [0, 1], and `supervised` (1, S, S), 1 where the foreground is known, else 0.
        """
        return self._kept.shown(index, self._made)

    def _made(self, number: int) -> Floats:
        """Make an example: its planes, (P, S, S) in [0, 1]."""
        example = super().__getitem__(number)
        generator = np.random.default_rng([self.config.run.seed, number, 8])
        matter, estimator = self._loaded()
        image = np.ascontiguousarray(example["image"].numpy().transpose(1, 2, 0)).clip(0, 1)
        alpha = example["alpha"][0].numpy()
        if generator.random() < _ESTIMATED_PROBABILITY:
            guidance = self._guidance(alpha, generator)
            known = guidance if is_trimap(guidance) else None
            alpha = matter.matte(image, guidance, known=known).alpha
        turns = int(generator.integers(1, 4)) if generator.random() < _TURNED_PROBABILITY else 0
        turned = (np.ascontiguousarray(np.rot90(array, turns)) for array in (image, alpha))
        closer = bool(generator.random() < _CLOSER_PROBABILITY)
        candidates = estimator.candidates(*turned, closer=closer)
        candidates = np.rot90(candidates, -turns, axes=(1, 2))
        return np.concatenate(
            [
                image.transpose(2, 0, 1),
                alpha[None],
                candidates.transpose(0, 3, 1, 2).reshape(-1, *alpha.shape),
                example["foreground"].numpy(),
                example["supervised"].numpy(),
            ]
        )

    def _loaded(self) -> tuple[Matter, FusedEstimator]:
        """Load the frozen networks; each loading process does."""
        if self._networks is None:
            network = self.config.network
            estimator = FusedEstimator(
                load_foreground(network.foreground), ForegroundWeigher(), device="cpu"
            )
            matter = Matter.load(network.matting, device="cpu", least_side_px=0)
            self._networks = matter, estimator
        return self._networks


class ForegroundWeigherTask(WeighingTask):
    """Network, data and loss of one training.

    Args:
        config: The run.
    """

    def __init__(self, config: Config) -> None:
        for name in ("on_device", "random_alpha_blending"):
            if getattr(config.data, name):
                raise ConfigError(
                    f"data.{name} must be false for the task 'foreground_weigher', got true: "
                    "closed-form colours are solved for by the loading processes, and of subjects"
                )
        super().__init__(config, started(ForegroundWeigher(), config))

    def dataset(self) -> ForegroundWeigherExamples:
        """Open the training data."""
        return ForegroundWeigherExamples(self.config)

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the loss and its terms for one batch, and those of the candidates' mean."""
        del step, fraction
        candidates = _candidates(batch)
        colours = module(batch["image"], batch["alpha"], candidates)
        return self.terms(batch, colours, candidates.mean(1), batch["foreground"])

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, alpha, candidates, predicted and true foreground."""
        candidates = _candidates(batch)
        predicted = self.module(batch["image"], batch["alpha"], candidates)
        return [
            batch["image"], batch["alpha"], *candidates.unbind(1), predicted, batch["foreground"]
        ]  # fmt: skip

    def metadata(self) -> dict[str, str]:
        """Return what the manifest says of the weights."""
        return {"encoder": "plain", "network": "foreground_weigher"}


def _candidates(batch: Example) -> Tensor:
    """Return the candidates, (N, K, 3, S, S)."""
    planes = batch["candidates"]
    return planes.reshape(len(planes), COLOUR_CANDIDATES, 3, *planes.shape[2:])
