"""What training of the networks that weigh estimates has in common.

They learn from kept examples, made by loading processes alone, and count an example the more the
less what is there without them errs in it.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, nn

from mgm_core.networks.checkpoint import load_checked, read_safetensors
from training.config import Config
from training.data.composites import Example
from training.losses import Terms, balance, level_terms

__all__ = ["WeighingTask", "started"]

Network = TypeVar("Network", bound=nn.Module)


def started(network: Network, config: Config) -> Network:
    """Return a network as a run starts with it.

    Raises:
        CheckpointError: `network.start` cannot be used.
    """
    start = config.network.start
    if start:
        load_checked(network, read_safetensors(Path(start))[0], start)
    return network


class WeighingTask(ABC):
    """Network and loss of one training.

    Args:
        config: The run.
        network: What is trained, as the run starts with it.
    """

    def __init__(self, config: Config, network: nn.Module) -> None:
        self.config = config
        self.module: nn.Module = network

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """Return what the manifest says of the weights."""

    def on_device(self, device: torch.device, step: int) -> NoReturn:
        """Refuse: the constructor says why."""
        raise AssertionError(f"no examples are made on {device} in step {step}")

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return all parameters, at one rate."""
        return [{"params": list(self.module.parameters()), "factor": 1.0}]

    def terms(self, batch: Example, weighed: Tensor, mean: Tensor, truth: Tensor) -> Terms:
        """Return the loss and its terms, and those of what is there without the network.

        Args:
            batch: With `supervised`, (N, 1, S, S).
            weighed: What the network makes of it, (N, C, S, S).
            mean: What is there without it, likewise.
            truth: What it should be, likewise.
        """
        difference = (mean - truth).abs().mean(1, keepdim=True)
        supervised = balance(batch["supervised"], difference)
        squared = self.config.loss.squared
        terms = level_terms(weighed, truth, supervised, None, None, squared)
        before = level_terms(mean, truth, supervised, None, None, squared)
        return {
            "loss": torch.stack(list(terms.values())).sum(),
            **{name: value.detach() for name, value in terms.items()},
            **{f"{name}_before": value for name, value in before.items()},
        }

    def validate(self, state: dict[str, Tensor]) -> None:
        """There is no validation for these tasks."""
        del state

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        return state
