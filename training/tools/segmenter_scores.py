"""Scores of a portrait segmenter on what its training held out.

python -m training segmenter-scores CONFIG.toml --weights FILE data.root=DATA network.start=FILE
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from mgm_core.arrays import Colours, limit_side
from mgm_core.choices import BUNDLED
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.networks.checkpoint import load_checked, read_safetensors
from mgm_core.networks.segmenter_net import PERSON, PortraitNetworks, portrait_deeplab
from mgm_core.segmentation import THRESHOLD, Segmenter
from training.config import Config, SourceConfig
from training.data.segmenter.hard_portraits import hard_portraits
from training.data.sources import is_held_out, pairs_by_name, pictures
from training.tasks.segmenter import load_person_network

Mask = NDArray[np.bool_]
_WORST, _COLUMNS = 20, 5


@dataclass
class Scores:
    """What is measured, and the pictures that it is worst at.

    Args:
        config: The segmenter's training, which tells what was held out.
        weights: The weights for people to score; the other classes are the start's.
        limits: For a folder's path, how many of its pictures count, in the order of their names.
        values: For each test, each picture's score.
        tiles: For each test, pictures of what was found, by score.
    """

    config: Config
    weights: Path
    limits: dict[str, int]
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    tiles: dict[str, list[tuple[float, Colours]]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Measure one test after the other; yield a line for each."""
        start = Path(self.config.network.teacher or self.config.network.start)
        segmenter = load_segmenter(self.weights, start)
        root = Path(self.config.data.root)
        for source in self.config.data.sources:
            if source.kind == "photo_mask" and source.keep_out_percent:
                yield self._intersections(source.path, self._held_out(source, root), segmenter)
            if source.kind == "hair_mask" and source.keep_out_every:
                yield self._hair(source, root, segmenter)
            if source.keep_out == "cutouts":
                hard = hard_portraits(root / source.path, root / "bg_cc0" / "image")
                shown = ((name, image, alpha >= THRESHOLD) for name, image, alpha in hard)
                yield self._intersections("hard portraits", shown, segmenter)
        yield self._agreement(root / "backgrounds", segmenter)
        for path in [s.path for s in self.config.data.sources if s.kind == "photo_mask"]:
            yield _time(segmenter, root / path / "images")

    def write(self, path: Path) -> None:
        """Write every picture's score as JSON, and sheets of the worst as PNG beside it."""
        path.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
        for test, tiles in self.tiles.items():
            worst = [tile for _, tile in sorted(tiles, key=lambda t: t[0])[:_WORST]]
            worst += [np.full_like(worst[0], 0.5)] * (-len(worst) % _COLUMNS)
            rows = [np.hstack(worst[i : i + _COLUMNS]) for i in range(0, len(worst), _COLUMNS)]
            name = test.replace("/", "_").replace(" ", "_")
            write_image(path.with_name(f"{path.stem}_{name}.png"), np.vstack(rows))

    def _note(self, test: str, name: str, score: float, image: Colours, found: Mask) -> None:
        self.values.setdefault(test, {})[name] = round(score, 5)
        self.tiles.setdefault(test, []).append((score, _tile(image, found)))

    def _held_out(self, source: SourceConfig, root: Path) -> Iterator[tuple[str, Colours, Mask]]:
        held_out = pairs_by_name(
            root / source.path,
            "images",
            "masks",
            lambda name: not is_held_out(name, source.keep_out_percent),
        )
        for image, mask in held_out[: self.limits.get(source.path)]:
            yield image.stem, read_image(image), read_mask(mask) >= THRESHOLD

    def _intersections(
        self,
        test: str,
        shown: Iterator[tuple[str, Colours, Mask]],
        segmenter: Segmenter,
    ) -> str:
        values = []
        for name, image, true in tqdm(shown, desc=test):
            found = segmenter.probability(image) >= THRESHOLD
            values.append(float((found & true).sum() / max(1, (found | true).sum())))
            self._note(test, name, values[-1], image, found)
        return (
            f"{test}: {len(values)} held out, IoU mean {np.mean(values):.4f}, 5th percentile "
            f"{np.percentile(values, 5):.4f}, lowest {np.min(values):.4f}"
        )

    def _hair(self, source: SourceConfig, root: Path, segmenter: Segmenter) -> str:
        """Measure how much hair is found, and how much else far from it is called a person."""
        folder = root / source.path
        shares, outside = [], []
        for path in tqdm(pictures(folder / "image")[:: source.keep_out_every], desc=source.path):
            image = read_image(path)
            hair = read_mask(folder / "hair" / f"{path.stem}.png") >= THRESHOLD
            found = segmenter.probability(image) >= THRESHOLD
            side = max(3, round(0.06 * max(hair.shape)) | 1)
            near = cv2.dilate(hair.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
            shares.append(float(found[hair].mean()))
            outside.append(float((found & ~near).mean()))
            self.values.setdefault("area outside hair", {})[path.stem] = round(outside[-1], 5)
            self._note("hair", path.stem, shares[-1], image, found)
        low = np.mean(np.array(shares) < 0.9)
        return (
            f"{source.path}: {len(shares)} held out, hair found {np.mean(shares):.4f}, less than "
            f"0.9 of it in {low:.3f} of them; person far from hair {np.mean(outside):.4f} of the "
            "area"
        )

    def _agreement(self, folder: Path, segmenter: Segmenter) -> str:
        """Compare class maps with the start's where neither sees a person."""
        path = Path(self.config.network.teacher or self.config.network.start)
        start = load_segmenter(path, path)
        agreeing = counted = 0
        for path in tqdm(pictures(folder)[: self.limits.get(folder.name, 100)], desc=folder.name):
            image = limit_side(read_image(path), 513)
            before = start.probabilities(image).argmax(0)
            after = segmenter.probabilities(image).argmax(0)
            outside = before != PERSON
            agreeing += int((before == after)[outside].sum())
            counted += int(outside.sum())
        return (
            f"{folder.name}: class maps agree with the start's on {agreeing / counted:.4f} of "
            f"{counted} pixels outside persons"
        )


def load_segmenter(person: Path, classes: Path) -> Segmenter:
    """Return the bundled segmenter with these weights for people and for the other classes."""
    return Segmenter(BUNDLED, PortraitNetworks(load_person_network(str(person)), _deeplab(classes)))


def _deeplab(weights: Path) -> nn.Module:
    network = portrait_deeplab()
    load_checked(network, read_safetensors(weights)[0], str(weights))
    return network


def _time(segmenter: Segmenter, folder: Path) -> str:
    image = np.asarray(cv2.resize(read_image(pictures(folder)[0]), (866, 1154)), np.float32)
    segmenter.probability(image)
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        segmenter.probability(image)
        seconds.append(time.process_time() - begun)
    return f"the first of {folder}, at 1 megapixel: {min(seconds):.3f} s of the processor's time"


def _tile(image: Colours, found: Mask) -> Colours:
    """Return a small picture, magenta where nobody was found."""
    shown = np.where(found[..., None], image, 0.35 * image + np.array((0.65, 0, 0.65), np.float32))
    scale = 240 / max(image.shape[:2])
    small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((240, 240, 3), 0.5, np.float32)
    tile[: small.shape[0], : small.shape[1]] = small[:240, :240]
    return tile
