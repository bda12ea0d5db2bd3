"""Further training of the bundled segmenter's network for people.

Where a label tells what is a person, that is learned. What no label says is held to a teacher, by
default the starting network, which sees each crop before its light was changed, so that what it
finds by day is learned for stage and night as well.
"""

from pathlib import Path
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.networks.checkpoint import load_checked, read_safetensors
from mgm_core.networks.segmenter_net import PERSON, PersonNetwork
from training.config import Config, ConfigError
from training.data.composites import Example
from training.data.segmenter.examples import SegmenterExamples
from training.distributed import mean_over_processes, world_size
from training.frozen_norm import freeze_batch_norm
from training.losses import Terms
from training.tasks.task import Task, encoder_and_rest

# The teacher's odds of person are raised to this power: what it thinks likely is learned as true,
# and what it doubts as no person, so that its blurred outlines do not grow.
_SHARPENED = 2.0
_JACCARD_WEIGHT = 0.5
# Within so many px of a labelled outline a pixel counts so many times.
_OUTLINE_PX, _OUTLINE_WEIGHT = 12, 4.0


class SegmenterTask(Task):
    """Network, data and loss of the segmenter's training.

    Args:
        config: The run; `network.start` names the weights that it starts from, `network.teacher`
            those that it is held to where nothing is labelled.
    """

    def __init__(self, config: Config) -> None:
        if not config.network.start:
            raise ConfigError(
                "network.start must name the segmenter's starting weights, got nothing: "
                "give network.start=FILE"
            )
        super().__init__(config)
        teacher = config.network.teacher or config.network.start
        self.teacher = load_person_network(teacher).eval().requires_grad_(False)
        self.teacher.to(memory_format=torch.channels_last)
        network = load_person_network(config.network.start)
        freeze_batch_norm(network)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # its noise is more than what is left to learn
        for block in list(network.backbone.values())[: config.network.frozen_blocks]:
            block.requires_grad_(False)
        self.module = network

    def dataset(self) -> SegmenterExamples:
        """Open the training data."""
        return SegmenterExamples(self.config)

    def on_device(self, device: torch.device, step: int) -> NoReturn:
        """Refuse: the segmenter's examples are made in the loading processes alone.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"data.on_device must be false for the segmenter, got true for {device} from step "
            f"{step}: its examples are made in the loading processes"
        )

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the parameters; all but the edge decoder's learn at the encoder's rate."""
        assert isinstance(self.module, PersonNetwork)
        pretrained = nn.ModuleList([self.module.backbone, self.module.classifier])
        return encoder_and_rest(self.module, pretrained, self.config.optimiser.encoder_rate_factor)

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the cross-entropy of person, at stride 2, and the Jaccard loss.

        Where a whole picture is labelled, outlines count more, and 1 minus the soft intersection
        over union counts as well: a small person weighs as much as a large one.
        """
        del step, fraction
        known, subject = batch["known"][..., ::2, ::2], batch["subject"][..., ::2, ::2]
        subject = subject.float() / 255
        person = batch["category"][:, 0, 0, 0] == PERSON
        labelled = known.flatten(1).all(1) & person
        target, weight = subject.clone(), torch.ones_like(subject)
        weight[labelled] += (_OUTLINE_WEIGHT - 1) * near_outline(subject[labelled])
        if not labelled.all():
            rest = ~labelled
            with torch.no_grad():
                taught = self.teacher.to(known.device)(_normalise(batch["clean"][rest])).float()
            target[rest] = targets(taught, subject[rest], known[rest], person[rest])
        odds = module(_normalise(batch["image"])).float()
        entropy = F.binary_cross_entropy_with_logits(odds, target, weight, reduction="sum")
        entropy = entropy / mean_over_processes(weight.sum())
        chance, true = odds[labelled].sigmoid(), subject[labelled]
        common = (chance * true).sum((1, 2, 3))
        union = (chance + true - chance * true).sum((1, 2, 3))
        # No process may lack a term, whatever its part of the batch shows.
        count = mean_over_processes(labelled.sum().float()).clamp_min(1 / world_size())
        jaccard = (1 - (common + 1) / (union + 1)).sum() / count
        return {
            "cross_entropy": entropy.detach(),
            "jaccard": jaccard.detach(),
            "loss": entropy + _JACCARD_WEIGHT * jaccard,
        }

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, subject, what is known and the probability of a person."""
        odds = self.module(_normalise(batch["image"])).float()
        image, subject = batch["image"].float() / 255, batch["subject"].float() / 255
        found = F.interpolate(odds, image.shape[2:], mode="bilinear", align_corners=True).sigmoid()
        return [image, subject, batch["known"].float(), found]


def targets(taught: Tensor, subject: Tensor, known: Tensor, person: Tensor) -> Tensor:
    """Return the probability of person that is to be learned, (N, 1, h, w).

    Args:
        taught: The teacher's log-odds of person, (N, 1, h, w).
        subject: (N, 1, h, w) in [0, 1].
        known: (N, 1, h, w), where `subject` counts.
        person: (N,), whether the subject is a person.
    """
    held = (_SHARPENED * taught).sigmoid()
    labelled = torch.where(person[:, None, None, None], subject, (1 - subject) * held)
    return torch.where(known, labelled, held)


def near_outline(subject: Tensor) -> Tensor:
    """Return where a subject's outline is near, (N, 1, h, w) at stride 2 in {0, 1}."""
    inside = (subject > 0.5).float()
    side = _OUTLINE_PX + 1  # at stride 2
    grown = F.max_pool2d(inside, side, 1, side // 2)
    shrunk = -F.max_pool2d(-inside, side, 1, side // 2)
    return grown - shrunk


def load_person_network(path: str) -> PersonNetwork:
    """Load weights of a `PersonNetwork`, or of its DeepLabV3 alone, whose edges are not learned."""
    network = PersonNetwork()
    state = read_safetensors(Path(path))[0]
    untrained = {k: v for k, v in network.state_dict().items() if k.startswith("edges.")}
    if not untrained.keys() & state.keys():
        state = {**untrained, **state}
    load_checked(network, state, path)
    return network


def _normalise(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1
