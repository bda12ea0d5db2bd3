"""What every training task has: a network, its examples, its step, and what is exported."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from mgm_core.networks.checkpoint import load_checked, read_safetensors
from mgm_core.networks.encoder import MobileNetV2Encoder
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN
from training.config import Config, ConfigError, NetworkConfig
from training.data.composites import Example
from training.frozen_norm import plain_state
from training.losses import Terms

__all__ = ["DeviceExamples", "Task", "encoder_and_rest", "load_start"]


class DeviceExamples(Protocol):
    """Training data that is made on the computing device, a batch at once."""

    def batch(self, step: int) -> Example:
        """Return the batch of a step."""


class Task(ABC):
    """What is trained.

    Args:
        config: The run.
    """

    module: nn.Module

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def dataset(self) -> Dataset[Example]:
        """Open the training data, made in the loading processes."""

    def on_device(self, device: torch.device, step: int) -> DeviceExamples:
        """Open the training data, made on the device, for a run that begins with this step.

        Raises:
            ConfigError: The task's data are made in the loading processes alone.
        """
        raise ConfigError(
            f"data.on_device must be false for this task, got true for {device} from step {step}: "
            "its examples are made in the loading processes"
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the encoder's and the other parameters with a learning-rate `factor` each."""
        encoder = self.module.get_submodule("encoder")
        return encoder_and_rest(self.module, encoder, self.config.optimiser.encoder_rate_factor)

    @abstractmethod
    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the term `loss`, to be minimised, and others to be logged.

        Args:
            module: The network, possibly wrapped for several devices.
            batch: Stacked examples.
            step: Number of the step; everything that is drawn depends on it.
            fraction: How much of the run is over, which decides a curriculum.
        """

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        return plain_state(self.module, state)

    def metadata(self) -> dict[str, str]:
        """Return what `mgm_core` must know to load the weights."""
        return {}

    @abstractmethod
    def panel(self, batch: Example) -> list[Tensor]:
        """Return columns of a picture panel, (N, 1 or 3, H, W) in [0, 1], without gradient."""

    def validate(self, state: dict[str, Tensor]) -> float | None:
        """Return the error of exported weights on `run.validation`; None if there is no such."""
        del state
        return None


def encoder_and_rest(
    module: nn.Module, encoder: nn.Module, encoder_factor: float
) -> list[dict[str, Any]]:
    """Return parameter groups of a network whose pretrained encoder learns at its own rate."""
    own = {id(p) for p in encoder.parameters()}
    rest = [p for p in module.parameters() if id(p) not in own]
    return [
        {"params": list(encoder.parameters()), "factor": encoder_factor},
        {"params": rest, "factor": 1.0},
    ]


def load_start(network: PRN | ForegroundNetwork, config: NetworkConfig) -> None:
    """Load the weights that a network starts from, or those of its encoder.

    Raises:
        CheckpointError: `network.start` cannot be used.
        ConfigError: There is no encoder that `network.encoder_start` could be for.
    """
    if config.start:
        load_checked(network, read_safetensors(Path(config.start))[0], config.start)
    elif config.encoder_start:
        if not isinstance(network.encoder, MobileNetV2Encoder):
            raise ConfigError(
                "network.encoder_start must be empty unless network.encoder is "
                f"'mobilenet_v2', got {config.encoder_start!r}: remove it"
            )
        network.encoder.load_image_weights(load_file(config.encoder_start))
