"""The foreground colour network's training, with Random Alpha Blending (section 3.2).

With RAB any photograph is the foreground, any other the background, and any alpha blends them, so
that the true foreground is known, unbiased, at every pixel. Without it, foregrounds are those of
the cut-outs and count only where alpha is above 0, which is what the paper compares with. Of these,
some come with the alpha that the matting network predicts: in use it is never the true one.

Source: section 3.2 of the paper; predicted alpha and the squared term are ours.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from mgm_core.arrays import Plane
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN
from training.config import Config, ConfigError
from training.data import augmentation
from training.data.composites import Composites, Example, channels_first
from training.data.device.foregrounds import DeviceForegrounds
from training.data.shapes import BLOB_PROBABILITY, random_alpha
from training.distributed import mean_over_processes
from training.frozen_norm import freeze_batch_norm
from training.losses import Terms, l1, laplacian, squared
from training.tasks.task import Task, load_start

# Share of the predicted alpha's error that is left at least: in use refinement takes some away.
_LEAST_ERROR_LEFT = 0.3


class ForegroundExamples(Composites):
    """Blended examples with known foreground colours, numbered without end.

    Args:
        config: What is drawn, from where, how often; `data.random_alpha_blending` decides between
            RAB and cut-outs.
    """

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image`, `foreground`, `background` (3, S, S), `alpha` (1, S, S), float32 in [0, 1],
            `supervised` (1, S, S), 1 where the foreground is known, `predicted_alpha` (1, 1, 1), 1
            where alpha is to be predicted, and `guidance` (1, S, S), from which that is done.
        """
        generator = np.random.default_rng([self.config.run.seed, index, 3])
        data = self.config.data
        colours, alpha = self._crop(self._exact_cutout(generator), generator)
        supervised = np.ones_like(alpha)
        own = not data.random_alpha_blending or (
            data.own_colours_probability > 0 and generator.random() < data.own_colours_probability
        )
        if own:
            foreground = augmentation.jitter(colours, generator)
            supervised = (alpha > 0).astype(np.float32)
        else:
            if generator.random() < BLOB_PROBABILITY:
                alpha = random_alpha(data.crop_px, generator)
            photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
            foreground = augmentation.cropped_background(photograph, data.crop_px, generator)
            foreground = augmentation.jitter(foreground, generator)
        background = augmentation.jitter(self._background(generator), generator)
        if generator.random() < 0.5:
            alpha = worn(alpha, generator)
        share = alpha[..., None]
        image = share * foreground + (1 - share) * background
        if data.camera:
            image = augmentation.camera(image, generator)
        predicted = own and generator.random() < data.predicted_alpha_probability
        guidance = self._guidance(alpha, generator) if predicted else alpha
        return {
            "image": channels_first(image),
            "foreground": channels_first(foreground),
            "background": channels_first(background),
            "alpha": torch.from_numpy(np.ascontiguousarray(alpha))[None],
            "supervised": torch.from_numpy(supervised)[None],
            "guidance": torch.from_numpy(guidance)[None],
            "predicted_alpha": torch.full((1, 1, 1), float(predicted)),
        }


def worn(alpha: Plane, generator: Generator) -> Plane:
    """Stretch alpha's soft part, as mattes of other contrast have it; still the true alpha."""
    gamma = np.float32(np.exp(generator.normal(0.0, 0.4)))
    return np.asarray(alpha**gamma, np.float32)


class ForegroundTask(Task):
    """Network, data and loss of one foreground training."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        network = ForegroundNetwork()
        load_start(network, config.network)
        if config.network.encoder != "mobilenet_v2":
            raise ConfigError(
                f"network.encoder must be 'mobilenet_v2' for the foreground network, got "
                f"{config.network.encoder!r}: it has no other"
            )
        if config.network.frozen_norm:
            freeze_batch_norm(network.encoder)
        self.module = network
        self.matting: PRN | None = None
        if config.data.predicted_alpha_probability > 0:
            self.matting = load_prn(config.network.matting).requires_grad_(False)
            self.matting.to(memory_format=torch.channels_last)

    def dataset(self) -> ForegroundExamples:
        """Open the training data."""
        return ForegroundExamples(self.config)

    def on_device(self, device: torch.device, step: int) -> DeviceForegrounds:
        """Open the training data, made on the device."""
        return DeviceForegrounds(self.config, device, step)

    def given_alpha(self, batch: Example) -> Tensor:
        """Return what the network sees: true alpha, or one between it and the matting network's."""
        alpha, predicted = batch["alpha"], batch["predicted_alpha"].flatten() > 0
        if self.matting is None or not predicted.any():
            return alpha
        network = self.matting.to(alpha.device)
        levels = network(batch["image"][predicted], batch["guidance"][predicted])
        given = alpha.clone()
        found = network.refined(levels).alpha.to(alpha.dtype)
        left = torch.empty_like(found[:, :, :1, :1]).uniform_(_LEAST_ERROR_LEFT, 1.0)
        given[predicted] = torch.lerp(given[predicted], found, left)
        return given

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the loss and its terms for one batch: l1, composition, Laplacian, squared."""
        del step, fraction
        foreground = module(batch["image"], self.given_alpha(batch)).float()
        supervised = batch["supervised"]
        area = mean_over_processes(supervised.sum()).clamp_min(1.0)
        difference = (foreground - batch["foreground"]) * supervised
        terms = {
            "l1": l1(difference, area),
            # alpha F + (1 - alpha) B with the true B: only alpha times the difference is left.
            "composition": l1(difference * batch["alpha"], area),
            "laplacian": laplacian(difference, area),
        }
        if weight := self.config.loss.squared:
            terms["squared"] = weight * squared(difference, area)
        named = {name: value.detach() for name, value in terms.items()}
        return {"loss": torch.stack(list(terms.values())).sum(), **named}

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, the alpha that the network sees, predicted and true foreground."""
        alpha = self.given_alpha(batch)
        predicted = self.module(batch["image"], alpha)
        return [batch["image"], alpha, predicted, batch["foreground"]]

    def metadata(self) -> dict[str, str]:
        """Return what `mgm_core` must know to load the weights."""
        return {"encoder": "mobilenet_v2", "network": "foreground"}
