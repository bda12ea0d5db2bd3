"""The matting network's training step: deep supervision under self-guidance (Eq. 5).

Source: section 3.1 of the paper, "Training scheme", and section 4, "Training stage".
"""

from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import load_file
from torch import Tensor, nn

from mgm_core.encoder import MobileNetV2Encoder
from mgm_core.network import PRN
from mgm_core.refinement import fuse, self_guidance_mask
from training.composites import Composites, Example
from training.config import Config, ConfigError
from training.frozen_norm import freeze_batch_norm, plain_state
from training.losses import Terms, level_terms, weighted_sum

Guide = Literal["truth", "coin", "self"]


def guide_of(fraction: float, true_until: float, self_from: float) -> Guide:
    """Return what guides the finer levels at this fraction of the run (the curriculum)."""
    if fraction < true_until:
        return "truth"
    return "coin" if fraction < self_from else "self"


class PRNTask:
    """Network, data and loss of one PRN training.

    Args:
        config: The run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.module: nn.Module = self._network()

    def _network(self) -> PRN:
        config = self.config.network
        if config.variant != "prn":
            raise ConfigError(f"network.variant must be 'prn' for now, got {config.variant!r}")
        network = PRN(config.encoder)
        if config.start:
            network.load_state_dict(load_file(config.start))
        elif config.encoder_start:
            encoder = network.encoder
            if not isinstance(encoder, MobileNetV2Encoder):
                raise ConfigError(
                    "network.encoder_start must be empty unless network.encoder is "
                    f"'mobilenet_v2', got {config.encoder_start!r}: remove it"
                )
            encoder.load_image_weights(load_file(config.encoder_start))
        if config.frozen_norm:
            freeze_batch_norm(network.encoder)
        return network

    def dataset(self) -> Composites:
        """Open the training data."""
        return Composites(self.config)

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the encoder's and the other parameters with their learning-rate factors."""
        assert isinstance(self.module, PRN)
        encoder = list(self.module.encoder.parameters())
        ids = {id(p) for p in encoder}
        rest = [p for p in self.module.parameters() if id(p) not in ids]
        return [
            {"params": encoder, "factor": self.config.optimiser.encoder_rate_factor},
            {"params": rest, "factor": 1.0},
        ]

    def losses(self, module: nn.Module, batch: Example, step: int) -> Terms:
        """Return the loss and its terms for one batch.

        Args:
            module: The network, possibly wrapped for several devices.
            batch: Examples as `Composites` gives them, stacked.
            step: Step of the run; decides the curriculum and all that is drawn.
        """
        config = self.config
        fraction = step / config.run.steps
        generator = np.random.default_rng([config.run.seed, step, 1])
        optimiser = config.optimiser
        guide = guide_of(fraction, optimiser.true_guidance_until, optimiser.self_guidance_from)
        levels = module(batch["image"], batch["guidance"])
        truth, supervised = batch["alpha"], batch["supervised"]
        by_truth = guide == "truth" or (guide == "coin" and generator.random() < 0.5)
        kernels = _kernels_px(config.guidance.kernels_px, len(truth), generator)
        # Losses are summed in float32: bf16 cannot count a crop's pixels.
        os8, os4, os1 = (level.float() for level in levels)
        g_os4 = self_guidance_mask(truth if by_truth else os8, kernels[0])
        refined = fuse(os8, os4, g_os4)
        g_os1 = self_guidance_mask(truth if by_truth else refined, kernels[1])
        foreground = batch["foreground"] if config.loss.composition else None
        background = batch["background"] if config.loss.composition else None
        terms = [
            level_terms(level, truth, g * supervised, foreground, background)
            for level, g in (
                (os8, torch.ones_like(truth)),
                (os4, g_os4.to(truth.dtype)),
                (os1, g_os1.to(truth.dtype)),
            )
        ]
        return weighted_sum(terms, config.loss.level_weights)

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        assert isinstance(self.module, PRN)
        return plain_state(self.module, state)


def _kernels_px(
    largest: tuple[int, int], count: int, generator: Generator
) -> tuple[list[int], list[int]]:
    """Draw K1 and K2 for each example of a batch, from 1 to the largest."""
    k1, k2 = (generator.integers(1, top + 1, count).tolist() for top in largest)
    return k1, k2
