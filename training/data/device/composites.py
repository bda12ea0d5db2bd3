"""Examples of the matting network, made on the device: the twin of `data/composites.py`.

A batch is cropped from the device's cache, merged, coloured, composited and given its guidance
there, by the draws and with the chances of `Composites`. A batch is a pure function of the
configuration, the seed, the step and the device; with several processes each draws its own.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from mgm_core.networks.refinement import dilated
from training.config import Config
from training.data.augmentation import JPEG_BLOCK_PX, LUMA
from training.data.augmentation_config import AUGMENTATION
from training.data.composites import ROUGH_BAND_PX, Example, cumulative_shares
from training.data.device import augmentation
from training.data.device.augmentation import Drawn, on
from training.data.device.cache import DeviceCache
from training.data.device.images import Views
from training.data.guidance_noise import drawn_operations
from training.distributed import local_part, rank

__all__ = ["DeviceComposites", "affine_maps"]

Colours = Tensor
Indices = NDArray[np.int64]

_ROUNDING = 1e-3


def affine_maps(
    centres: Drawn, scales: Drawn, crop_px: int, generator: Generator
) -> NDArray[np.float64]:
    """Return maps from crops to pictures, randomly turned, sheared, stretched and flipped.

    Args:
        centres: (N, 2) x and y in the pictures that the crops are centred on, nearly.
        scales: (N,) crop px a picture px.
        crop_px: Side of the crops.
        generator: Draws everything.

    Returns:
        (N, 2, 3), as `Views` takes them.
    """
    n, config = len(scales), AUGMENTATION
    angle = np.deg2rad(generator.normal(0.0, config.rotation_degrees / 3, n))
    shear = np.tan(np.deg2rad(generator.uniform(-config.shear_degrees, config.shear_degrees, n)))
    stretch = np.exp(generator.normal(0.0, config.stretch_sigma, n))
    flip = np.where(generator.random(n) < config.flip_probability, -1.0, 1.0)
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    changed = np.stack([flip * stretch, shear, np.zeros(n), 1 / stretch], 1)
    linear = scales[:, None, None] * (rotation.reshape(n, 2, 2) @ changed.reshape(n, 2, 2))
    shift = generator.uniform(-config.off_centre, config.off_centre, (n, 2))
    target = crop_px / 2 + shift * crop_px
    back = np.linalg.inv(linear)
    return np.concatenate([back, centres[:, :, None] - back @ target[:, :, None]], axis=2)


def _without_colours(colours: Tensor) -> Tensor:
    """Return photographs as a film without colours shows them."""
    luma = torch.tensor(LUMA, device=colours.device)[:, None, None]
    return (colours * luma).sum(1, keepdim=True).expand(-1, 3, -1, -1)


@dataclass
class _Layer:
    """Foregrounds of a batch: colours (N, 3, S, S) and alpha (N, 1, S, S)."""

    colours: Tensor
    alpha: Tensor


class DeviceComposites:
    """Batches of examples of the matting network.

    Args:
        config: What is drawn, from where, how often.
        device: Where examples are made.
        step: Step that the run begins with.
    """

    def __init__(self, config: Config, device: torch.device, step: int = 0) -> None:
        self.config, self.device = config, device
        self.cumulative_shares = cumulative_shares(config)
        # Batches that are made together see the cache as it is before the first of them.
        self.cache = DeviceCache(config, device, step - step % config.data.batches_at_once)
        part = local_part(config.run.batch)
        self._batch = part.stop - part.start
        self.count = self._batch * config.data.batches_at_once
        self._number = -1
        self._several: Example = {}

    def batch(self, step: int) -> Example:
        """Return the batch of a step, as `Composites` gives examples, stacked."""
        number, place = divmod(step, self.config.data.batches_at_once)
        if number != self._number:
            self._number, self._several = number, self._make(number)
            for _ in range(self.config.data.batches_at_once):
                self.cache.renew()
        part = slice(place * self._batch, (place + 1) * self._batch)
        return {name: values[part] for name, values in self._several.items()}

    def _make(self, number: int) -> Example:
        """Return several batches in one."""
        generator = np.random.default_rng([self.config.run.seed, number, rank(), 4])
        noise = torch.Generator(self.device).manual_seed(int(generator.integers(2**62)))
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            return self._example(generator, noise)

    def _example(self, generator: Generator, noise: torch.Generator) -> Example:
        data = self.config.data
        slots = self._draw(self.count, generator)
        exact = self.cache.exact[slots]
        subject = self._crops(slots, generator)
        rough_colours, rough_alpha = subject.colours[~exact], subject.alpha[~exact]
        subject = self._subjects(slots, subject, generator)
        foreground = self._jittered(subject.colours, generator)
        background = self._jittered(self._backgrounds(self.count, generator), generator)
        self._add_distractors(background, generator)
        shares = generator.uniform(*AUGMENTATION.matched_shares, self.count)
        shares *= generator.random(self.count) < AUGMENTATION.matched_probability
        places = generator.random((self.count, 2))
        background = augmentation.match_background(
            background, foreground, subject.alpha, shares, places
        )
        grey = self._relit(foreground, background, generator)
        alpha = subject.alpha
        image = alpha * foreground + (1 - alpha) * background
        supervised = torch.ones_like(alpha)
        if not exact.all():
            rough = np.flatnonzero(~exact)
            image[rough] = self._jittered(rough_colours, generator, 0.5)
            foreground[rough] = background[rough] = image[rough]
            inside = rough_alpha > 0.5
            taught = on(self.device, self.cache.taught[slots[rough]], 4) > 0
            alpha[rough] = torch.where(taught, rough_alpha, inside.float())
            band = [ROUGH_BAND_PX] * len(rough)
            sure = dilated(inside, band) == augmentation.erode(inside, band)
            supervised[rough] = (sure | taught).float()
        example = {
            "image": image,
            "foreground": foreground,
            "background": background,
            "alpha": alpha,
            "supervised": supervised,
        }
        if data.camera:
            self._take(example, generator, noise)
        if len(grey):  # grain and JPEG are without colours, too
            example["image"][grey] = _without_colours(example["image"][grey])
        return {**example, "guidance": self._guidance(alpha, generator)}

    def _relit(self, foreground: Colours, background: Colours, generator: Generator) -> Indices:
        """Make some examples dark and take the colours out of some, in place; return these."""
        n = len(foreground)
        dark = np.flatnonzero(generator.random(n) < AUGMENTATION.dark_probability)
        low, high = np.log(AUGMENTATION.dark_factors)
        factors = np.exp(generator.uniform(low, high, len(dark)))
        grey = np.flatnonzero(generator.random(n) < AUGMENTATION.grey_probability)
        for colours in (foreground, background):
            if len(dark):
                colours[dark] *= on(self.device, factors)
            if len(grey):
                colours[grey] = _without_colours(colours[grey])
        return grey

    def _take(self, example: Example, generator: Generator, noise: torch.Generator) -> None:
        """Make composites look photographed, some at a smaller size first, in place."""
        n, side = len(example["image"]), self.config.data.crop_px
        chosen = np.flatnonzero(generator.random(n) < AUGMENTATION.magnified_probability)
        factor = float(generator.choice(AUGMENTATION.magnifications))
        small = {
            name: F.interpolate(plane[chosen], (round(side / factor),) * 2, mode="area")
            for name, plane in example.items()
            if len(chosen)
        }
        example["image"] = self._photographed(example["image"], generator, noise)
        if not len(chosen):
            return
        small["image"] = self._photographed(small["image"], generator, noise)
        for name, plane in small.items():
            large = F.interpolate(plane, (side, side), mode="bicubic").clamp_(0, 1)
            example[name][chosen] = large
        example["supervised"] = (example["supervised"] > 1 - _ROUNDING).float()

    def _draw(self, count: int, generator: Generator) -> Indices:
        sources = np.searchsorted(self.cumulative_shares, generator.random(count), side="right")
        last = len(self.cumulative_shares) - 1
        return self.cache.drawn(sources.clip(max=last), generator)

    def _draw_exact(self, count: int, generator: Generator) -> Indices:
        """Draw until all have exact alpha."""
        slots = self._draw(count, generator)
        while not (exact := self.cache.exact[slots]).all():
            slots[~exact] = self._draw(int((~exact).sum()), generator)
        return slots

    def _scales(self, count: int, generator: Generator) -> NDArray[np.float64]:
        low, high = np.log(self.config.data.scales)
        scales: NDArray[np.float64] = np.exp(generator.uniform(low, high, count))
        return scales

    def _centres(self, slots: Indices, generator: Generator) -> NDArray[np.float64]:
        centres = self.cache.centres
        return centres[slots, generator.integers(centres.shape[1], size=len(slots))].astype(float)

    def _crops(self, slots: Indices, generator: Generator) -> _Layer:
        """Return crops centred near unknown pixels, and of some the whole cut-out."""
        data, n = self.config.data, len(slots)
        sizes = self.cache.images.sizes[slots]
        scales, centres = self._scales(n, generator), self._centres(slots, generator)
        whole = generator.random(n) < data.whole_probability
        fitting = data.crop_px / sizes.max(1) * generator.uniform(*AUGMENTATION.whole_scales, n)
        scales = np.where(whole, fitting, scales)
        centres = np.where(whole[:, None], sizes[:, ::-1] / 2, centres)
        return self._view(slots, centres, scales, generator)

    def _view(self, slots: Indices, centres: Drawn, scales: Drawn, generator: Generator) -> _Layer:
        crop_px = self.config.data.crop_px
        maps = affine_maps(centres, scales, crop_px, generator)
        sharpness = (generator.random(len(slots)) < 2 / 3).astype(float)
        rgba = self.cache.images.sampled(Views(slots, maps, sharpness), crop_px)
        alpha = rgba[:, 3:] * self._inside(slots, maps)
        return _Layer(rgba[:, :3], alpha)

    def _inside(self, slots: Indices, maps: NDArray[np.float64]) -> Tensor:
        """Return 0 where a crop reaches past a side that the subject does not touch, else 1."""
        row = on(self.device, maps.reshape(-1, 6), 4)
        axis = torch.arange(self.config.data.crop_px, device=self.device, dtype=torch.float32)
        x = row[:, 0] * axis[None] + row[:, 1] * axis[:, None] + row[:, 2]
        y = row[:, 3] * axis[None] + row[:, 4] * axis[:, None] + row[:, 5]
        height, width = (on(self.device, side, 3) for side in self.cache.images.sizes[slots].T)
        held = self.cache.touched[slots] | ~self.cache.exact[slots, None]
        closed = on(self.device, ~held, 4)
        past = (
            (y < 0) * closed[:, 0]
            + (y > height - 1) * closed[:, 1]
            + (x < 0) * closed[:, 2]
            + (x > width - 1) * closed[:, 3]
        )
        return (past == 0)[:, None].float()

    def _subjects(self, slots: Indices, subject: _Layer, generator: Generator) -> _Layer:
        """Return the subjects, some in photographs' colours, some before others."""
        self._repaint(subject, generator)
        n = len(slots)
        others = self._draw(n, generator)
        both = self.cache.exact[slots] & self.cache.exact[others]
        two = np.flatnonzero((generator.random(n) < self.config.data.merge_probability) & both)
        if len(two):
            behind = self._crops(others[two], generator)
            self._repaint(behind, generator)
            subject.colours[two], subject.alpha[two] = augmentation.merge_foregrounds(
                (subject.colours[two], subject.alpha[two]), (behind.colours, behind.alpha)
            )
        return subject

    def _repaint(self, layer: _Layer, generator: Generator) -> None:
        n = len(layer.alpha)
        chosen = np.flatnonzero(generator.random(n) < self.config.data.repaint_probability)
        if len(chosen):
            layer.colours[chosen] = self._photographs(len(chosen), generator)

    def _photographs(self, count: int, generator: Generator) -> Colours:
        """Return random square parts of photographs, some out of focus."""
        crop_px, cache = self.config.data.crop_px, self.cache
        slots = generator.choice(cache.photographs, count)
        sizes = cache.images.sizes[slots]
        zooms = np.exp(generator.uniform(*AUGMENTATION.background_zooms, count))
        taken = (crop_px * zooms).clip(AUGMENTATION.least_background_px, sizes.min(1))
        corner = generator.random((count, 2)) * (sizes - taken[:, None])  # y and x
        zoom = taken / crop_px
        flipped = generator.random(count) < AUGMENTATION.flip_probability
        maps = np.zeros((count, 2, 3))
        maps[:, 0, 0] = np.where(flipped, -zoom, zoom)
        maps[:, 1, 1] = zoom
        left = corner[:, 1] + 0.5 * zoom - 0.5
        maps[:, 0, 2] = np.where(flipped, left + zoom * (crop_px - 1), left)
        maps[:, 1, 2] = corner[:, 0] + 0.5 * zoom - 0.5
        colours = cache.images.sampled(Views(slots, maps, np.zeros(count)), crop_px)[:, :3]
        blurry = np.flatnonzero(generator.random(count) < AUGMENTATION.defocus_probability)
        if len(blurry):
            low, high = np.log(AUGMENTATION.defocus_sigmas_px)
            sigmas = np.exp(generator.uniform(low, high, len(blurry)))
            colours[blurry] = augmentation.blur(colours[blurry], sigmas)
        return colours

    def _backgrounds(self, count: int, generator: Generator) -> Colours:
        background = self._photographs(count, generator)
        plain = np.flatnonzero(generator.random(count) < self.config.data.backdrop_probability)
        if len(plain):
            background[plain] = self._backdrops(len(plain), generator)
        return background

    def _backdrops(self, count: int, generator: Generator) -> Colours:
        """Return studio backdrops: one colour running into another, most of them grey."""
        ends = generator.uniform(0.0, 1.0, (2, count, 3))
        grey = generator.random(count) < AUGMENTATION.grey_backdrop_probability
        ends = np.where(grey[None, :, None], ends.mean(2, keepdims=True), ends)
        bright = generator.random(count) < AUGMENTATION.bright_probability
        ends = np.where(bright[None, :, None], 1 - AUGMENTATION.bright_range * ends, ends)
        angle = on(self.device, generator.uniform(0.0, 2 * np.pi, count))
        axis = torch.linspace(-0.5, 0.5, self.config.data.crop_px, device=self.device)
        place = 0.5 + angle.cos() * axis[None] + angle.sin() * axis[:, None]
        place = place.clamp(0, 1)
        start, end = (on(self.device, colour) for colour in ends)
        return start * (1 - place) + end * place

    def _add_distractors(self, background: Colours, generator: Generator) -> None:
        """Put another cut-out into some backgrounds, which no guidance will mark."""
        data, n = self.config.data, len(background)
        chosen = np.flatnonzero(generator.random(n) < data.distractor_probability)
        if not len(chosen):
            return
        slots = self._draw_exact(len(chosen), generator)
        scales, centres = self._scales(len(slots), generator), self._centres(slots, generator)
        shift = generator.uniform(-0.5, 0.5, (len(slots), 2)) * data.crop_px
        other = self._view(slots, centres + shift / scales[:, None], scales, generator)
        colours = self._jittered(other.colours, generator)
        behind = background[chosen]
        background[chosen] = behind + other.alpha * (colours - behind)

    def _jittered(self, colours: Colours, generator: Generator, strength: float = 1.0) -> Colours:
        s, n, config = strength, len(colours), AUGMENTATION
        gammas = np.exp(generator.normal(0.0, config.gamma_sigma * s, n))
        lost, gained = config.saturation
        saturation = generator.uniform(1 - lost * s, 1 + gained * s, n)[:, None, None]
        exposure = generator.normal(0.0, config.exposure_sigma * s, n)[:, None]
        gains = np.exp(generator.normal(0.0, config.channel_gain_sigma * s, (n, 3)) + exposure)
        contrasts = generator.uniform(1 - config.contrast * s, 1 + config.contrast * s, n)
        mixed = gains[:, :, None] * (saturation * np.eye(3) + (1 - saturation) / 3)
        return augmentation.jitter(colours, gammas, mixed, contrasts)

    def _photographed(
        self, image: Colours, generator: Generator, noise: torch.Generator
    ) -> Colours:
        """Make composites look photographed: contrast, blur, noise, JPEG (section 5)."""
        n, config = len(image), AUGMENTATION
        changed = generator.random(n) < config.camera_contrast_probability
        contrasts = np.where(changed, generator.uniform(*config.camera_contrasts, n), 1.0)
        mean = image.mean((1, 2, 3), keepdim=True)
        image = (mean + on(self.device, contrasts) * (image - mean)).clamp_(0, 1)
        blurry = np.flatnonzero(generator.random(n) < config.blur_probability)
        if len(blurry):
            sigmas = generator.uniform(*config.blur_sigmas_px, len(blurry))
            image[blurry] = augmentation.blur(image[blurry], sigmas)
        noisy = np.flatnonzero(generator.random(n) < config.noise_probability)
        if len(noisy):
            sigmas = generator.uniform(*config.noise_sigmas, len(noisy))
            usual = generator.random(len(noisy)) < config.usual_noise_probability
            sigmas = np.where(usual, sigmas, config.strong_noise_sigma)
            shape = (len(noisy), *image.shape[1:])
            grain = torch.randn(shape, generator=noise, device=self.device)
            grain *= on(self.device, sigmas)
            smooth = np.flatnonzero(generator.random(len(noisy)) < config.smooth_noise_probability)
            if len(smooth):
                soft = np.full(len(smooth), config.smooth_noise_sigma_px)
                grain[smooth] = augmentation.blur(grain[smooth], soft) * 2
            image[noisy] = (image[noisy] + grain).clamp_(0, 1)
        coded = np.flatnonzero(generator.random(n) < config.jpeg_probability)
        if len(coded):
            qualities = generator.integers(*config.jpeg_qualities, len(coded))
            top, left = (int(px) for px in generator.integers(0, JPEG_BLOCK_PX, 2))
            image[coded] = augmentation.padded_jpeg(image[coded], qualities, (top, left))
        return image

    def _guidance(self, alpha: Tensor, generator: Generator) -> Tensor:
        kinds, n = self.config.guidance, len(alpha)
        draw = generator.random(n) * (kinds.mask + kinds.trimap + kinds.matte)
        trimap = draw < kinds.trimap
        matte = ~trimap & (draw < kinds.trimap + kinds.matte)
        guidance = torch.empty_like(alpha)
        for chosen, make in (
            (np.flatnonzero(~trimap & ~matte), self._masks),
            (np.flatnonzero(trimap), self._trimaps),
            (np.flatnonzero(matte), self._mattes),
        ):
            if len(chosen):
                guidance[chosen] = make(alpha[chosen], generator)
        return guidance

    def _masks(self, alpha: Tensor, generator: Generator) -> Tensor:
        """Return the paper's perturbed binary guidance: binarise, erode/dilate, CutMask."""
        config, n = self.config.guidance, len(alpha)
        mask = augmentation.binarise(alpha, generator.uniform(*AUGMENTATION.thresholds, n))
        # 0 erodes, 1 dilates, 2 erodes and then dilates, 3 dilates and then erodes.
        order = drawn_operations(generator, config.mask_operations, n)
        low, high = config.mask_kernels_px
        kernels = generator.integers(low, high + 1, (2, n))
        filled = generator.random(n) < AUGMENTATION.filled_probability
        order = np.where(filled, 3, order)
        filling = generator.integers(*AUGMENTATION.filling_kernels_px, n) | 1
        kernels = np.where(filled, filling, kernels)
        erodes = np.stack([(order == 0) | (order == 2), order == 3])
        happens = np.stack([np.ones(n, bool), order >= 2])
        for eroding, happening, kernels_px in zip(erodes, happens, kernels, strict=True):
            inverted = on(self.device, eroding).bool()
            mask = dilated(mask ^ inverted, np.where(happening, kernels_px, 1).tolist()) ^ inverted
        side = alpha.shape[2]
        patch = generator.uniform(*AUGMENTATION.patch_fractions, (n, 2))
        patch = (patch * side).round().clip(1).astype(np.int64)
        patch[generator.random(n) >= config.cut_mask_probability] = 0
        places = [(generator.random((n, 2)) * (side - patch + 1)).astype(np.int64) for _ in "12"]
        return augmentation.cut_mask(mask.float(), np.concatenate([patch, *places], axis=1))

    def _trimaps(self, alpha: Tensor, generator: Generator) -> Tensor:
        inside, outside = generator.integers(*AUGMENTATION.trimap_kernels_px, (2, len(alpha)))
        return augmentation.trimaps(alpha, inside, outside)

    def _mattes(self, alpha: Tensor, generator: Generator) -> Tensor:
        return torch.cat([self._matte(one[None], generator) for one in alpha])

    def _matte(self, alpha: Tensor, generator: Generator) -> Tensor:
        factor = generator.uniform(*AUGMENTATION.matte_reductions)
        kernels = []
        if generator.random() < AUGMENTATION.matte_kernel_probability:
            low, high = AUGMENTATION.matte_kernels_px
            operations = (("erode",), ("dilate",), ("erode", "dilate"), ("dilate", "erode"))
            kernels = [
                (operation, int(generator.integers(low, high + 1)))
                for operation in operations[generator.integers(4)]
            ]
        gain = generator.uniform(*AUGMENTATION.matte_gains)
        shift = generator.uniform(*AUGMENTATION.matte_shifts)
        return augmentation.coarse_matte(alpha, factor, kernels, gain, shift)
