"""The matting network's training step: deep supervision under self-guidance (Eq. 5).

Source: section 3.1 of the paper, "Training scheme", and section 4, "Training stage".
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from mgm_core.networks.decoder import SideOutputs
from mgm_core.networks.prn import PRN, STRIDE, Fusion
from mgm_core.networks.refinement import fuse, self_guidance_mask
from training.config import Config, ConfigError, Variant
from training.data.composites import Composites, Example
from training.data.device.composites import DeviceComposites
from training.distributed import local_part
from training.frozen_norm import freeze_batch_norm
from training.losses import Terms, level_terms, weighted_sum
from training.spectral_norm import add_spectral_norm, without_spectral_norm
from training.tasks.task import Task, load_start
from training.validation import Validation

Guide = Literal["truth", "coin", "self"]

# The rivals of Table 4: the baseline learns from its last output alone, deep supervision from all
# three, fusion convolutions from all three with the last made of them.
FUSIONS: dict[Variant, Fusion] = {
    "prn": "progressive",
    "baseline": "last",
    "deep_supervision": "last",
    "fusion_conv": "convolutions",
}


def guide_of(fraction: float, true_until: float, self_from: float) -> Guide:
    """Return what guides the finer levels at this fraction of the run (the curriculum)."""
    if fraction < true_until:
        return "truth"
    return "coin" if fraction < self_from else "self"


class PRNTask(Task):
    """Network, data and loss of one PRN training.

    Args:
        config: The run.

    Raises:
        ConfigError: Crops are of a size that the network does not take.
    """

    def __init__(self, config: Config) -> None:
        crop_px = config.data.crop_px
        if crop_px < STRIDE or crop_px % STRIDE:
            raise ConfigError(
                f"data.crop_px must be a multiple of {STRIDE} for the task 'prn', got {crop_px}: "
                "take 512"
            )
        super().__init__(config)
        self.module = self._network()
        self._validation: Validation | None = None
        if config.run.validation:
            self._validation = Validation(Path(config.data.root) / config.run.validation)

    def _network(self) -> PRN:
        config = self.config.network
        network = PRN(config.encoder, FUSIONS[config.variant])
        load_start(network, config)
        if config.encoder == "resnet34":
            add_spectral_norm(network)
        elif config.frozen_norm:
            freeze_batch_norm(network.encoder)
        return network

    def dataset(self) -> Composites:
        """Open the training data."""
        return Composites(self.config)

    def on_device(self, device: torch.device, step: int) -> DeviceComposites:
        """Open the training data, made on the device."""
        return DeviceComposites(self.config, device, step)

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the loss and its terms for one batch, as `Composites` gives its examples."""
        config = self.config
        generator = np.random.default_rng([config.run.seed, step, 1])
        optimiser = config.optimiser
        guide = guide_of(fraction, optimiser.true_guidance_until, optimiser.self_guidance_from)
        levels = module(batch["image"], batch["guidance"])
        truth, supervised = batch["alpha"], batch["supervised"]
        by_truth = guide == "truth" or (guide == "coin" and generator.random() < 0.5)
        part = local_part(config.run.batch)
        k1, k2 = _kernels_px(config.guidance.kernels_px, config.run.batch, generator)
        kernels = k1[part], k2[part]
        # Losses are summed in float32: bf16 cannot count a crop's pixels.
        os8, os4, os1 = (level.float() for level in levels)
        everywhere = torch.ones_like(truth)
        if config.network.variant == "prn":
            g_os4 = self_guidance_mask(truth if by_truth else os8, kernels[0])
            refined = fuse(os8, os4, g_os4)
            g_os1 = self_guidance_mask(truth if by_truth else refined, kernels[1])
            guides = (everywhere, g_os4.to(truth.dtype), g_os1.to(truth.dtype))
        else:
            guides = (everywhere, everywhere, everywhere)
        foreground = batch["foreground"] if config.loss.composition else None
        background = batch["background"] if config.loss.composition else None
        weights = config.loss.level_weights
        if config.network.variant == "baseline":
            weights = (0.0, 0.0, weights[-1])
        terms = [
            level_terms(level, truth, g * supervised, foreground, background, config.loss.squared)
            for level, g in zip((os8, os4, os1), guides, strict=True)
        ]
        return weighted_sum(terms, weights)

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, guidance, the three levels, alpha and truth."""
        assert isinstance(self.module, PRN)
        levels = SideOutputs(*self.module(batch["image"], batch["guidance"]))
        alpha = self.module.refined(levels).alpha
        return [batch["image"], batch["guidance"], *levels, alpha, batch["alpha"]]

    def validate(self, state: dict[str, Tensor]) -> float:
        """Return the mean squared error on `run.validation`."""
        assert self._validation is not None, "a run without run.validation has none"
        network = PRN(self.config.network.encoder, FUSIONS[self.config.network.variant])
        return self._validation.score(network, state)

    def metadata(self) -> dict[str, str]:
        """Return what `mgm_core` needs to build the network for the exported weights."""
        network = self.config.network
        return {"encoder": network.encoder, "fusion": FUSIONS[network.variant]}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        return without_spectral_norm(super().exported(state))


def _kernels_px(
    largest: tuple[int, int], count: int, generator: Generator
) -> tuple[list[int], list[int]]:
    """Draw K1 and K2 for each example of a batch, from 1 to the largest."""
    k1, k2 = (generator.integers(1, top + 1, count).tolist() for top in largest)
    return k1, k2
