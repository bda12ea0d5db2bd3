"""Blended examples with known foreground colours, made on the computing device (section 3.2).

The twin of `tasks.foreground.ForegroundExamples`.
"""

import numpy as np
import torch
from numpy.random import Generator

from training.data.composites import Example
from training.data.device.augmentation import on
from training.data.device.composites import DeviceComposites
from training.data.shapes import BLOB_PROBABILITY, random_alpha

__all__ = ["DeviceForegrounds"]


class DeviceForegrounds(DeviceComposites):
    """Batches of examples of the foreground network.

    Args:
        config: What is drawn, from where, how often.
        device: Where examples are made.
        step: Step that the run begins with.
    """

    def _example(self, generator: Generator, noise: torch.Generator) -> Example:
        data, n = self.config.data, self.count
        subject = self._crops(self._draw_exact(n, generator), generator)
        alpha = subject.alpha
        own = generator.random(n) < data.own_colours_probability
        if not data.random_alpha_blending:
            own[:] = True
        foreground = self._jittered(subject.colours, generator)
        supervised = torch.ones_like(alpha)
        supervised[own] = (alpha[own] > 0).float()
        painted = np.flatnonzero(~own)
        if len(painted):
            shaped = painted[generator.random(len(painted)) < BLOB_PROBABILITY]
            for i in shaped:
                blob = random_alpha(data.crop_px, generator)
                alpha[i, 0] = torch.from_numpy(blob).to(self.device)
            photographs = self._photographs(len(painted), generator)
            foreground[painted] = self._jittered(photographs, generator)
        background = self._jittered(self._backgrounds(n, generator), generator)
        # A soft part stretched by a power, as mattes of other contrast have it.
        powers = np.exp(generator.normal(0.0, 0.4, n))
        worn = on(self.device, np.where(generator.random(n) < 0.5, powers, 1.0))
        alpha = alpha.clamp(0, 1).pow(worn)
        image = alpha * foreground + (1 - alpha) * background
        if data.camera:
            image = self._photographed(image, generator, noise)
        guidance = alpha.clone()
        predicted = own & (generator.random(n) < data.predicted_alpha_probability)
        if predicted.any():
            chosen = np.flatnonzero(predicted)
            guidance[chosen] = self._guidance(alpha[chosen], generator)
        return {
            "image": image,
            "foreground": foreground,
            "background": background,
            "alpha": alpha,
            "supervised": supervised,
            "guidance": guidance,
            "predicted_alpha": on(self.device, predicted),
        }
