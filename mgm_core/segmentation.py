"""Segmenters: a photograph to the probability of a category, which becomes guidance.

All are torchvision's DeepLabV3. `portrait` is bundled and small, on MobileNetV2: one network for
people, trained further, and one for the other categories, as it was, so that neither costs the
other anything. `portrait_permissive` likewise, its network for people trained on nothing but what
is free for any use. The others are torchvision's own weights, which are downloaded once. The paper
thresholds the probability at 0.5 (section 5).
"""

import functools
import math
import threading
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgm_core.arrays import Booleans, Colours, Floats, Plane, resized
from mgm_core.choices import (
    BUNDLED,
    PERMISSIVE,
    SEGMENTERS,
    SegmenterError,
    classes_of,
)
from mgm_core.matting.enlarge import guided_filter
from mgm_core.networks.checkpoint import load_checked, read_safetensors
from mgm_core.networks.hardware import DtypeName, best_dtype, resolve_device, turn
from mgm_core.networks.inference import prepare_for_inference
from mgm_core.networks.segmenter_net import (
    PERSON,
    PersonNetwork,
    PortraitNetworks,
    class_odds,
    portrait_deeplab,
)
from mgm_core.runtime.torchvision_models import segmentation
from mgm_core.weights import bundled_path

THRESHOLD = 0.5
BUNDLED_CLASSES = "portrait_classes"

# A subject smaller than this, as the square root of its area in px, gets a second view, magnified
# up to so many times: legs and arms of small people are a few px wide at first.
_CLOSE_PX = 280
_MAX_MAGNIFICATION = 1.5
# A part of people is left out where it is smaller than this share of the largest part and no bridge
# of at least so much probability joins them: passers-by and cones, as seen in training photographs.
_BYSTANDER_SHARE = 0.2
_BRIDGE = 0.25
# Outlines are moved to the image's edges, at the size that the network is fed with. Chosen on
# training photographs (docs/experiments).
_OUTLINE_RADIUS_PX, _OUTLINE_EPSILON = 8, 1e-3
# A view that is hardly larger than the first adds nothing.
_MIN_MAGNIFICATION = 1.1


@dataclass(frozen=True)
class _Kind:
    build: Callable[[], nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    long_side_px: int
    bundled: bool


def subject_px(subject: Booleans) -> float:
    """Return how large a subject is: the square root of its area in px, at least 1."""
    return max(1.0, math.sqrt(np.count_nonzero(subject)))


def bundled_network(name: str = BUNDLED) -> nn.Module:
    """Return a bundled segmenter's network: image in [-1, 1] to logits at its size."""
    return PortraitNetworks(
        _bundled(name, PersonNetwork()), _bundled(BUNDLED_CLASSES, portrait_deeplab())
    )


def _bundled(name: str, network: nn.Module) -> nn.Module:
    path = bundled_path(name)
    load_checked(network, read_safetensors(path)[0], str(path))
    return network


def _downloaded(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        weights = getattr(segmentation, _WEIGHTS[name]).COCO_WITH_VOC_LABELS_V1
        try:
            # progress prints a bar; check_hash compares the file with the name's hash.
            state = weights.get_state_dict(progress=True, check_hash=True)
        except (urllib.error.URLError, OSError) as error:
            raise SegmenterError(
                f"segmenter {name!r} must be downloaded once from {weights.url}, which failed "
                f"({error}): connect to the network, or choose the bundled {BUNDLED!r}"
            ) from error
        network: nn.Module = getattr(segmentation, name)(
            weights=None, weights_backbone=None, aux_loss=True
        )
        network.load_state_dict(state)
        return network

    return build


_WEIGHTS = {
    "deeplabv3_resnet50": "DeepLabV3_ResNet50_Weights",
    "deeplabv3_resnet101": "DeepLabV3_ResNet101_Weights",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3_MobileNet_V3_Large_Weights",
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KINDS = {
    **{
        name: _Kind(
            functools.partial(bundled_network, name),
            (0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5),
            513,
            bundled=True,
        )
        for name in (BUNDLED, PERMISSIVE)
    },
    **{
        name: _Kind(_downloaded(name), _IMAGENET_MEAN, _IMAGENET_STD, 520, bundled=False)
        for name in _WEIGHTS
    },
}
assert tuple(_KINDS) == SEGMENTERS


class Segmenter:
    """A segmenter made ready for use.

    One object may serve several threads; they take turns, unless each has one core (`turn`).

    Args:
        name: One of `SEGMENTERS`.
        network: The network; it is prepared for inference in place.
        device: Where it computes.
        dtype: What it computes in.
    """

    def __init__(
        self, name: str, network: nn.Module, *, device: str = "auto", dtype: DtypeName = "auto"
    ) -> None:
        self.name = name
        self._kind = _kind(name)
        self.device = resolve_device(device)
        self.dtype = best_dtype(self.device, dtype)
        self.network = prepare_for_inference(network, self.device)
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, name: str = BUNDLED, *, device: str = "auto", dtype: DtypeName = "auto"
    ) -> "Segmenter":
        """Load a segmenter by name, downloading its weights if they are not bundled.

        Raises:
            ValueError: The name, device or dtype is unknown.
            SegmenterError: The weights could not be downloaded.
        """
        return cls(name, _kind(name).build(), device=device, dtype=dtype)

    @property
    def default_long_side_px(self) -> int:
        """The long side that the network is fed with by default."""
        return self._kind.long_side_px

    def probabilities(self, image: Colours, *, long_side_px: int | None = None) -> Floats:
        """Return the probability of each of the 21 categories.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            long_side_px: Long side that the network is fed with; None for its default.

        Returns:
            (21, h, w) float32 at the size that the network was fed with.

        Raises:
            ValueError: `long_side_px` is out of range.
        """
        logits = self._computed(image, long_side_px, self._logits)
        return logits.softmax(0).cpu().numpy()

    def probability(
        self, image: Colours, category: str = "person", *, long_side_px: int | None = None
    ) -> Plane:
        """Return the probability of one category at every pixel of the image.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            category: One of `CATEGORIES`, or `ANIMAL`.
            long_side_px: Long side that the network is fed with; None for its default, where the
                bundled segmenters take a second, magnified view of small subjects.

        Returns:
            (H, W) float32 in [0, 1]. The outlines of the bundled segmenters follow the image's
            edges, and people who are much smaller than the largest are left out.

        Raises:
            ValueError: The category is unknown or `long_side_px` is out of range.
        """
        classes = classes_of(category)
        odds = self._odds(image, long_side_px, classes)
        if long_side_px is None and self._kind.bundled:
            subject = subject_px((odds > 0).cpu().numpy())
            times = min(_CLOSE_PX / subject, _MAX_MAGNIFICATION)
            if times > _MIN_MAGNIFICATION:
                magnified = self._odds(image, round(times * self.default_long_side_px), classes)
                odds = F.interpolate(
                    odds[None], magnified.shape[1:], mode="bilinear", align_corners=True
                )[0]
                odds = (odds + magnified) / 2
        small: Plane = odds[0].sigmoid().cpu().numpy()
        if isinstance(self.network, PortraitNetworks):
            seen = resized(image, small.shape)
            small = guided_filter(seen, small, _OUTLINE_RADIUS_PX, _OUTLINE_EPSILON)
            if classes == (PERSON,):
                small = without_bystanders(small)
        return enlarged(small, image.shape[:2], corner_aligned=self._kind.bundled)

    def _odds(self, image: Colours, long_side_px: int | None, classes: tuple[int, ...]) -> Tensor:
        """Return the log-odds of any of some classes, (1, h, w)."""
        if classes == (PERSON,) and isinstance(self.network, PortraitNetworks):
            return self._computed(image, long_side_px, self.network.odds)
        return class_odds(self._computed(image, long_side_px, self._logits)[None], classes)[0]

    def _logits(self, x: Tensor) -> Tensor:
        if isinstance(self.network, PortraitNetworks):
            return cast("Tensor", self.network(x))
        return cast("dict[str, Tensor]", self.network(x))["out"]

    def _computed(
        self, image: Colours, long_side_px: int | None, network: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return what a network makes of the image at the size it is fed with, (C, h, w)."""
        side = self._kind.long_side_px if long_side_px is None else long_side_px
        if not 65 <= side <= 2049:
            raise ValueError(
                f"long_side_px must lie between 65 and 2049, got {side}: "
                f"{self._kind.long_side_px} is what {self.name!r} was trained for"
            )
        scale = side / max(image.shape[:2])
        rows, columns = (max(65, round(length * scale)) for length in image.shape[:2])
        if self._kind.bundled:
            rows, columns = (max(1, round((n - 1) / 8)) * 8 + 1 for n in (rows, columns))
        mean, std = (np.array(of, np.float32) for of in (self._kind.mean, self._kind.std))
        normalised = (resized(image, (rows, columns)) - mean) / std
        x = torch.from_numpy(normalised.transpose(2, 0, 1))[None]
        with turn(self.device, self._lock), torch.inference_mode():
            x = x.to(self.device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                return network(x)[0].float()


def without_bystanders(probability: Plane) -> Plane:
    """Return the probability without parts that are much smaller than the largest and far from it.

    Small parts that something likely joins to the largest stay: a hand beyond a dark sleeve.

    Args:
        probability: (H, W) float32 in [0, 1].
    """
    joined = (probability >= _BRIDGE).astype(np.uint8)
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    areas = np.bincount(labels[probability >= THRESHOLD], minlength=count)
    left_out = areas < _BYSTANDER_SHARE * areas.max()
    left_out[0] = False
    return np.where(left_out[labels], np.float32(0), probability)


def enlarged(plane: Plane, size: tuple[int, ...], *, corner_aligned: bool) -> Plane:
    """Resize a plane bilinearly to (H, W)."""
    x = torch.from_numpy(plane)[None, None]
    full = F.interpolate(x, size[:2], mode="bilinear", align_corners=corner_aligned)
    return full[0, 0].clamp(0, 1).numpy()


def _kind(name: str) -> _Kind:
    if name not in _KINDS:
        raise ValueError(
            f"segmenter must be one of {', '.join(_KINDS)}, got {name!r}: choose one of them"
        )
    return _KINDS[name]
