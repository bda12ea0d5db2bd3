"""Everything that a configuration draws from, in the memory of the computing device.

Files are read once. Sources that make their cut-outs up (`shapes`, `hair`) go on making new ones in
the loading processes, which take the place of the oldest.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from training.config import Config, ConfigError
from training.data.composites import data_root, open_backgrounds, open_source
from training.data.device.images import DeviceImages, pyramid_px
from training.data.shapes import SIDE_PX
from training.data.sources import Cutout, Source, cutout_name
from training.distributed import use_one_thread

__all__ = ["DeviceCache"]

log = logging.getLogger(__name__)

MADE_UP = ("shapes", "hair")
_CENTRES = 256  # places to centre crops on that are kept of a cut-out
_TOUCHING_SHARE = 0.05  # a side is touched by the subject where this share of it is
_OPAQUE = 127


class _Numbered(Dataset[Cutout | None]):
    """Cut-outs of several sources in turn, made up without end; None where one is unreadable."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources

    def __getitem__(self, number: int) -> Cutout | None:
        index, which = divmod(number, len(self.sources))
        try:
            return self.sources[which][index]
        except (OSError, ValueError) as error:
            log.warning("left out %s: %s", cutout_name(self.sources[which], index), error)
            return None


def _single(items: list[Cutout | None]) -> Cutout | None:
    return items[0]


class DeviceCache:
    """Cut-outs and photographs on a device.

    Args:
        config: What is drawn, from where.
        device: Where it is kept.
        step: Step that the run begins with; what would have been made up by then is there.
    """

    def __init__(self, config: Config, device: torch.device, step: int = 0) -> None:
        data, root = config.data, data_root(config)
        self._workers = config.run.workers
        opened = open_backgrounds(config)
        with ThreadPoolExecutor() as threads:
            photographs = list(threads.map(opened.__getitem__, range(len(opened))))
        sources = [open_source(s, root, data.max_side_px) for s in config.data.sources]
        made_up = [s for s, c in zip(sources, data.sources, strict=True) if c.kind in MADE_UP]
        files = {
            i: [c for c in self._make([s], range(len(s))) if c is not None]
            for i, (s, c) in enumerate(zip(sources, data.sources, strict=True))
            if c.kind not in MADE_UP
        }
        for i, cutouts in files.items():
            if len(cutouts) < len(sources[i]):
                lost = len(sources[i]) - len(cutouts)
                log.warning("left out %d of %s, which cannot be read", lost, data.sources[i].path)
            if not cutouts:
                raise ConfigError(
                    f"{data.sources[i].path} must hold a readable picture, got none: correct the "
                    "path, or take the source out of the config"
                )
        side = max(data.max_side_px, SIDE_PX)  # shapes are never reduced
        room = pyramid_px(side, side)
        capacity = sum(pyramid_px(*p.shape[:2]) for p in photographs)
        capacity += sum(pyramid_px(*c.rgba.shape[:2]) for cs in files.values() for c in cs)
        capacity += len(made_up) * data.made_up * room
        count = len(photographs) + sum(map(len, files.values())) + len(made_up) * data.made_up
        self.images = DeviceImages(capacity, count, device)
        self.centres = np.zeros((count, _CENTRES, 2), np.int32)
        self.exact = np.ones(count, bool)
        self.taught = np.zeros(count, bool)
        self.touched = np.zeros((count, 4), bool)  # top, bottom, left, right
        self.photographs = np.arange(len(photographs))
        for slot, picture in enumerate(photographs):
            opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
            self.images.put(slot, np.concatenate([picture, opaque], axis=2))
        self._slots: list[NDArray[np.int64]] = []
        self._made_up: list[NDArray[np.int64]] = []
        first = len(photographs)
        del photographs  # they and the cut-outs are gigabytes, which the device holds by now
        for i in range(len(sources)):
            cutouts = files.pop(i, [])
            self._slots.append(np.arange(first, first + (len(cutouts) or data.made_up)))
            if not cutouts:
                self._made_up.append(self._slots[i])
            for slot, cutout in zip(self._slots[i], cutouts, strict=False):
                self._put(int(slot), cutout)
            first += len(self._slots[i])
        del cutouts
        self._room = room
        self._each_step = len(made_up) * data.made_up_each_step
        self._feed: Iterator[Cutout | None] = iter(())
        if made_up:
            self._begin(config, made_up, step)

    def _make(self, sources: list[Source], numbers: range) -> Iterator[Cutout | None]:
        """Return cut-outs of these numbers, in order, from the loading processes."""
        return iter(
            DataLoader(
                _Numbered(sources),
                sampler=numbers,
                num_workers=self._workers,
                collate_fn=_single,
                worker_init_fn=use_one_thread,
                prefetch_factor=4 if self._workers else None,
            )
        )

    def _begin(self, config: Config, made_up: list[Source], step: int) -> None:
        data = config.data
        ready = len(made_up) * data.made_up_first + step * self._each_step
        oldest = max(0, ready - len(made_up) * data.made_up)
        together = data.batches_at_once
        steps = -(-config.run.steps // together) * together
        end = ready + (steps - step) * self._each_step
        self._next = oldest
        self._feed = self._make(made_up, range(oldest, end))
        for _ in tqdm(range(oldest, ready), desc="made up", unit="cut-out", mininterval=5):
            self._take()
        if not self._each_step:
            self._feed = iter(())  # ends the loading processes, which share and keep memory

    def _take(self) -> None:
        """Put the next made-up cut-out, or nothing where it failed, in the place of the oldest."""
        index, which = divmod(self._next, len(self._made_up))
        self._next += 1
        cutout = next(self._feed)
        slots = self._made_up[which]
        slot = int(slots[index % len(slots)])
        if cutout is None:
            self.images.sizes[slot] = 0  # as in a run that begins here
        else:
            self._put(slot, cutout, self._room)

    def _put(self, slot: int, cutout: Cutout, reserve_px: int = 0) -> None:
        self.images.put(slot, cutout.rgba, reserve_px)
        chosen = np.linspace(0, len(cutout.centres) - 1, _CENTRES).astype(np.int64)
        self.centres[slot] = cutout.centres[chosen]
        self.exact[slot] = cutout.exact
        self.taught[slot] = cutout.taught
        subject = cutout.rgba[..., 3] > _OPAQUE
        sides = (subject[0], subject[-1], subject[:, 0], subject[:, -1])
        self.touched[slot] = [side.mean() >= _TOUCHING_SHARE for side in sides]

    def renew(self) -> None:
        """Take a step's made-up cut-outs."""
        for _ in range(self._each_step):
            self._take()

    def drawn(self, sources: NDArray[np.int64], generator: Generator) -> NDArray[np.int64]:
        """Return a slot of each of these sources."""
        filled = [slots[self.images.sizes[slots, 0] > 0] for slots in self._slots]
        return np.array([generator.choice(filled[s]) for s in sources], np.int64)
