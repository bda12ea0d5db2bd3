"""Further training of the bundled segmenter, for people above all.

A mask of people says what is a person and nothing of the other twenty classes. What no label says
is held to a teacher, by default the starting network: where something is no person, to its classes
without person; where nothing is known, to all of them. The teacher sees each crop before its light
was changed, so that what it finds by day is learned for stage and night as well.
"""

from typing import NoReturn

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabV3

from mgm_core.choices import CATEGORIES
from mgm_core.networks.checkpoint import load_checked
from mgm_core.segmentation import PERSON, class_odds, portrait_deeplab
from training.config import Config, ConfigError
from training.data.composites import Example
from training.data.segmenter.examples import SegmenterExamples
from training.frozen_norm import freeze_batch_norm, plain_state
from training.loop import encoder_and_rest
from training.losses import Terms

# The teacher's odds of person are raised to this power: what it thinks likely is learned as true,
# and what it doubts as no person, so that its blurred outlines do not grow.
_SHARPENED = 2.0
_JACCARD_WEIGHT = 0.3


class SegmenterTask:
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
        self.config = config
        teacher = config.network.teacher or config.network.start
        self.teacher = _load(teacher).eval().requires_grad_(False)
        self.teacher.to(memory_format=torch.channels_last)
        network = _load(config.network.start)
        freeze_batch_norm(network)
        self.module: nn.Module = _Logits(network)

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
        """Return the parameters, the encoder's at a rate of their own."""
        assert isinstance(self.module, _Logits)
        encoder = _deeplab(self.module.network).backbone
        return encoder_and_rest(self.module, encoder, self.config.optimiser.encoder_rate_factor)

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the cross-entropy of the 21 classes, at stride 2, and the Jaccard loss of people.

        Where a whole picture is labelled, 1 minus its soft intersection over union of the subject
        counts as well: the outline of a small person weighs as much as that of a large one.
        """
        del step, fraction
        known, category = batch["known"][..., ::2, ::2], batch["category"][:, 0, 0, 0]
        size = list(known.shape[2:])
        with torch.no_grad():
            taught = _features(self.teacher.to(known.device), _normalise(batch["clean"]))
            subject = batch["subject"][..., ::2, ::2].float() / 255
            target = targets(_enlarge(taught.float(), size), subject, known, category)
        logits = _enlarge(module(_normalise(batch["image"])).float(), size)
        found = logits.log_softmax(1)
        entropy = -(target * found).sum(1).mean()
        whole = known.flatten(1).all(1)
        terms = {"cross_entropy": entropy, "loss": entropy}
        if whole.any():
            picked = category[whole, None, None, None].expand(-1, 1, *size)
            chance, true = found[whole].gather(1, picked).exp(), subject[whole]
            common = (chance * true).sum((1, 2, 3))
            union = (chance + true - chance * true).sum((1, 2, 3))
            jaccard = (1 - (common + 1) / (union + 1)).mean()
            terms["jaccard"] = jaccard
            terms["loss"] = entropy + _JACCARD_WEIGHT * jaccard
        return terms

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        plain = plain_state(self.module, state)
        return {k.removeprefix("network."): v for k, v in plain.items()}

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, subject, what is known and the probability of a person."""
        logits = self.module(_normalise(batch["image"])).float()
        odds = class_odds(_enlarge(logits, list(batch["image"].shape[2:])))
        image, subject = batch["image"].float() / 255, batch["subject"].float() / 255
        return [image, subject, batch["known"].float(), odds.sigmoid()]

    def validate(self, state: dict[str, Tensor]) -> None:
        """There is no validation for this task."""
        del state

    def metadata(self) -> dict[str, str]:
        """Return what the product must know to load the weights: nothing."""
        return {}


def targets(taught: Tensor, subject: Tensor, known: Tensor, category: Tensor) -> Tensor:
    """Return the distribution over the classes that is to be learned, (N, 21, h, w).

    Args:
        taught: The teacher's logits, (N, 21, h, w).
        subject: (N, 1, h, w) in [0, 1].
        known: (N, 1, h, w), where `subject` counts.
        category: (N,), the subject's class.
    """
    sharpened = taught.clone()
    odds = class_odds(taught)[:, 0]
    sharpened[:, PERSON] += (_SHARPENED - 1) * odds
    held = sharpened.softmax(1)
    classes = torch.arange(len(CATEGORIES), device=taught.device)
    is_subject = (classes == category[:, None])[..., None, None]
    others = taught.masked_fill(is_subject, -torch.inf).softmax(1)
    labelled = subject * is_subject + (1 - subject) * others
    return torch.where(known, labelled, held)


class _Logits(nn.Module):
    """The network up to its logits at stride 8, which the losses enlarge as far as they need."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return _features(self.network, x)


def _features(network: nn.Module, x: Tensor) -> Tensor:
    deeplab = _deeplab(network)
    logits: Tensor = deeplab.classifier(deeplab.backbone(x)["out"])
    return logits


def _deeplab(network: nn.Module) -> DeepLabV3:
    assert isinstance(network, DeepLabV3)
    return network


def _load(path: str) -> nn.Module:
    network = portrait_deeplab()
    load_checked(network, load_file(path), path)
    return network


def _normalise(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1


def _enlarge(logits: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)
