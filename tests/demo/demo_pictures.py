"""A photo with a person in it that needs no network, and networks that need no weights."""

import weakref
from dataclasses import dataclass, field

import cv2
import numpy as np

from demo.backend.robustness import trials
from mgm_core.matting.matter import Matte

HEIGHT, WIDTH = 48, 64
SUBJECT = np.s_[12:40, 16:40]


def photo_pixels():
    """A green scene with an orange subject in it."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.float32)
    pixels[:] = np.float32([51, 102, 51]) / 255
    pixels[SUBJECT] = np.float32([255, 153, 51]) / 255
    return pixels


def subject_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[SUBJECT] = 1
    return mask


@dataclass
class FakeSegmenter:
    """Takes red for the subject, whatever the category."""

    seen: list = field(default_factory=list)

    def probability(self, image, category="person", *, long_side_px=None):
        self.seen.append(category)
        if category == "cat":
            return np.zeros(image.shape[:2], np.float32)
        return image[..., 0] * np.float32(0.9)

    def probabilities(self, image, *, long_side_px=None):
        found = np.zeros((21, *image.shape[:2]), np.float32)
        found[15] = self.probability(image)
        return found


@dataclass
class FakeMatter:
    """Blurs the guidance; every level has a value of its own."""

    seen: list = field(default_factory=list)
    refined: list = field(default_factory=list)

    def matte(self, image, guidance, *, known=None, refine="off", levels=False):
        self.seen.append((guidance, known))
        self.refined.append(refine)
        alpha = np.clip(cv2.GaussianBlur(guidance, (5, 5), 0), 0, 1)
        if known is not None:
            alpha = np.where((known == 0) | (known == 1), known, alpha)
        if not levels:
            return Matte(alpha)
        return Matte(alpha, *(np.full_like(alpha, value) for value in (0.1, 0.2, 0.3, 0.4, 0.5)))

    def views(self, image, guidance, *, known=None, levels=False):
        return self.matte(image, guidance, known=known, levels=levels), None


def results_left(monkeypatch, place):
    """Note after each of the trials that a module calls how many alphas are still held."""
    alphas, left = [], []

    def watched(*args):
        for trial in trials(*args):
            alphas.append(weakref.ref(trial.alpha))
            yield trial
            left.append(sum(alpha() is not None for alpha in alphas))

    monkeypatch.setattr(place, watched)
    return left
