"""Further training of the bundled portrait segmenter's network for people.

Masks of people say what is a person and nothing of the other twenty classes, which a network of
their own keeps. So only the odds of person are trained; on photographs without labels, and on
cut-outs of animals, they are held to those of the teacher, by default the starting network.
"""

from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models.segmentation.deeplabv3 import DeepLabV3

from mgm_core.arrays import Colours, Plane
from mgm_core.networks.checkpoint import load_checked
from mgm_core.segmentation import (
    PERSON,
    PERSON_PX,
    corner_aligned_logits,
    half_width_deeplab,
    person_odds,
    person_px,
)
from training.config import Config, ConfigError
from training.data import augmentation
from training.data.composites import Example, open_source
from training.data.sources import Backgrounds, Cutout, Remembered
from training.frozen_norm import freeze_batch_norm, plain_state
from training.losses import Terms

# A cut-out counts as a person where the teacher sees one in most of it.
_PERSON_SHARE = 0.6
# The first blocks see edges and textures, which pretraining learned from far more pictures. Their
# strides are the finest: leaving them as they are also saves time.
_FROZEN_BLOCKS = 4
# The largest person of an example, as a multiple of `PERSON_PX`.
_LARGEST = 1.3
# The largest picture's long side, as a multiple of the crop's.
_CLOSEST = 3.0


class SegmenterExamples(Dataset[Example]):
    """Photographs with person masks, composited people, and photographs without labels.

    Args:
        config: What is drawn, from where, how often.
        teacher: The network that tells people from animals among cut-outs.
    """

    def __init__(self, config: Config, teacher: nn.Module) -> None:
        root = Path(config.data.root)
        if not root.is_dir():
            raise ConfigError(
                f"data.root must be a folder, got {config.data.root!r}: give data.root=PATH"
            )
        if config.data.crop_px % 8 != 1:
            raise ConfigError(
                f"data.crop_px must be 8n + 1 for the segmenter, got {config.data.crop_px}: "
                "take 257"
            )
        self.config = config
        self.sources = [
            Remembered(open_source(s, root, config.data.max_side_px)) for s in config.data.sources
        ]
        shares = np.array([s.share for s in config.data.sources])
        self.cumulative_shares = np.cumsum(shares / shares.sum())
        self.backgrounds = Backgrounds([root / path for path in config.data.backgrounds])
        self.people = [self._people(s, teacher) for s in self.sources]
        self.others = [
            (source, index)
            for source, people in zip(self.sources, self.people, strict=True)
            for index in sorted(set(range(len(source))) - set(people))
        ]

    def _people(self, source: Remembered, teacher: nn.Module) -> list[int]:
        """Return the cut-outs of a source that show a person."""
        if not source[0].exact:
            return list(range(len(source)))
        found = []
        for index in range(len(source)):
            rgba = cv2.resize(source[index].rgba, (257, 257), interpolation=cv2.INTER_AREA)
            alpha = rgba[..., 3:].astype(np.float32) / 255
            image = (alpha * (rgba[..., :3] / 255) + (1 - alpha) * 0.5).astype(np.float32)
            with torch.inference_mode():
                logits = corner_aligned_logits(teacher, _normalised(_tensor(image))[None])
            person = (logits[0].argmax(0) == PERSON).numpy()
            subject = alpha[..., 0] > 0.5
            if person[subject].mean() > _PERSON_SHARE:
                found.append(index)
        return found

    def __getitem__(self, index: int) -> Example:
        """Return example `index`.

        Returns:
            `image` (3, S, S) in [0, 1], `person` (1, S, S) in [0, 1], and `labelled` (1, 1, 1), 0
            where nothing is known of the photograph.
        """
        config = self.config
        generator = np.random.default_rng([config.run.seed, index, 2])
        if generator.random() < config.data.backdrop_probability:
            image = self._unlabelled(generator)
            person = np.zeros(image.shape[:2], np.float32)
            labelled = 0.0
        else:
            image, person = self._labelled(generator)
            labelled = 1.0
        image = augmentation.jitter(image, generator, 0.6)
        image = augmentation.camera(image, generator)
        return {
            "image": _tensor(image),
            "person": torch.from_numpy(np.ascontiguousarray(person))[None],
            "labelled": torch.full((1, 1, 1), labelled),
        }

    def _unlabelled(self, generator: Generator) -> Colours:
        """Return a photograph, or an animal's cut-out over one, that only the teacher has named."""
        crop_px = self.config.data.crop_px
        photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
        background = augmentation.cropped_background(photograph, crop_px, generator)
        if not self.others or generator.random() < 0.5:
            return background
        source, index = self.others[int(generator.integers(len(self.others)))]
        colours, alpha = self._view(source[index], generator)
        share = alpha[..., None]
        return (share * colours + (1 - share) * background).astype(np.float32)

    def _labelled(self, generator: Generator) -> tuple[Colours, Plane]:
        data = self.config.data
        which = int(np.searchsorted(self.cumulative_shares, generator.random(), side="right"))
        which = min(which, len(self.sources) - 1)
        people = self.people[which]
        cutout = self.sources[which][people[int(generator.integers(len(people)))]]
        colours, alpha = self._view(cutout, generator)
        if not cutout.exact:
            return colours, alpha
        photograph = self.backgrounds[int(generator.integers(len(self.backgrounds)))]
        background = augmentation.cropped_background(photograph, data.crop_px, generator)
        colours = augmentation.jitter(colours, generator, 0.6)
        share = alpha[..., None]
        return (share * colours + (1 - share) * background).astype(np.float32), alpha

    def _view(self, cutout: Cutout, generator: Generator) -> tuple[Colours, Plane]:
        """Return part of a picture, as the segmenter is fed with at use, randomly turned.

        Most of the picture at the smallest scale; at the largest, a person as large as the second,
        closer view sees it.
        """
        data = self.config.data
        height, width = cutout.rgba.shape[:2]
        whole = data.crop_px / max(height, width)
        close = _LARGEST * PERSON_PX / person_px(cutout.rgba[..., 3] > 127)
        close = min(close, _CLOSEST * whole)
        smallest, largest = whole * data.scales[0], max(whole * data.scales[1], close)
        scale = np.exp(generator.uniform(np.log(smallest), np.log(largest)))
        if scale > whole * data.scales[1]:
            centre = cutout.centres[int(generator.integers(len(cutout.centres)))].astype(float)
        else:
            centre = np.array([width, height]) * generator.uniform(0.35, 0.65, 2)
        return augmentation.view(cutout, (float(centre[0]), float(centre[1])), float(scale),
                                 data.crop_px, generator)  # fmt: skip


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
        self.teacher = _started(teacher).eval().requires_grad_(False)
        network = _started(config.network.start)
        freeze_batch_norm(network)
        for name, parameter in network.named_parameters():
            block = name.removeprefix("backbone.").partition(".")[0]
            parameter.requires_grad_(not (block.isdigit() and int(block) < _FROZEN_BLOCKS))
        self.module: nn.Module = _Logits(network)

    def dataset(self) -> SegmenterExamples:
        """Open the training data."""
        return SegmenterExamples(self.config, self.teacher)

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
        """Return the parameters that are trained; none is new."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        return [{"params": trained, "factor": 1.0}]

    def losses(self, module: nn.Module, batch: Example, step: int, fraction: float) -> Terms:
        """Return the cross-entropy of person against the rest, at stride 2, for one batch."""
        del step, fraction
        x = _normalised(batch["image"])
        person, labelled = batch["person"], batch["labelled"]
        size = [(side - 1) // 2 + 1 for side in person.shape[2:]]
        odds = person_odds(_enlarged(module(x).float(), size))
        target = person[..., ::2, ::2].clone()
        unlabelled = labelled[:, 0, 0, 0] == 0
        if unlabelled.any():
            with torch.no_grad():
                taught = _features(self.teacher.to(x.device), x[unlabelled]).float()
                target[unlabelled] = person_odds(_enlarged(taught, size)).sigmoid()
        return {"loss": F.binary_cross_entropy_with_logits(odds, target)}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under the keys that `mgm_core` loads."""
        plain = plain_state(self.module, state)
        return {k.removeprefix("network."): v for k, v in plain.items()}

    def panel(self, batch: Example) -> list[Tensor]:
        """Return image, person mask and the probability of a person."""
        logits = self.module(_normalised(batch["image"])).float()
        odds = person_odds(_enlarged(logits, list(batch["person"].shape[2:])))
        return [batch["image"], batch["person"], odds.sigmoid()]

    def validate(self, state: dict[str, Tensor]) -> None:
        """There is no validation for this task."""
        del state

    def metadata(self) -> dict[str, str]:
        """Return what the product must know to load the weights: nothing."""
        return {}


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


def _started(path: str) -> nn.Module:
    network = half_width_deeplab()
    load_checked(network, load_file(path), path)
    return network


def _normalised(image: Tensor) -> Tensor:
    return image * 2 - 1


def _tensor(image: Colours) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))


def _enlarged(logits: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)
