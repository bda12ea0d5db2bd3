"""Scores of a portrait segmenter on what its training kept out.

python -m training segmenter-scores CONFIG.toml --weights FILE data.root=DATA network.start=FILE
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from mgm_core.choices import BUNDLED
from mgm_core.images import read_image, read_mask
from mgm_core.networks.checkpoint import load_checked, read_safetensors
from mgm_core.segmentation import (
    PERSON,
    THRESHOLD,
    PortraitNetworks,
    Segmenter,
    half_width_deeplab,
)
from training.config import Config, ConfigError, SourceConfig
from training.data.sources import kept_out, pictures


def scores(config: Config, weights: Path, limits: dict[str, int]) -> Iterator[str]:
    """Yield lines: mean IoU on each source's kept-out photographs, agreement on backgrounds.

    Args:
        config: The segmenter's training; its sources' `keep_out_percent` tells what was kept out.
        weights: The weights for people to score; the other classes are the start's, which is what
            training held them to (`network.teacher`, or else `network.start`).
        limits: For a folder's path, how many of its pictures count, in the order of their names.
    """
    start_path = Path(config.network.teacher or config.network.start)
    segmenter = _segmenter(weights, start_path)
    root = Path(config.data.root)
    for source in config.data.sources:
        if source.kind == "photo_mask" and source.keep_out_percent:
            values = list(_intersections_over_unions(source, root, segmenter, limits))
            yield (
                f"{source.path}: {len(values)} kept out, IoU mean {np.mean(values):.4f}, "
                f"lowest {np.min(values):.4f}"
            )
    start = _segmenter(start_path, start_path)
    for path in config.data.backgrounds:
        agreeing, counted = _agreement(root / path, start, segmenter, limits.get(path, 100))
        yield (
            f"{path}: class maps agree with the start's on {agreeing / counted:.4f} of "
            f"{counted} pixels outside persons"
        )


def _segmenter(person: Path, classes: Path) -> Segmenter:
    return Segmenter(BUNDLED, PortraitNetworks(_deeplab(person), _deeplab(classes)))


def _deeplab(weights: Path) -> nn.Module:
    network = half_width_deeplab()
    load_checked(network, read_safetensors(weights)[0], str(weights))
    return network


def _intersections_over_unions(
    source: SourceConfig, root: Path, segmenter: Segmenter, limits: dict[str, int]
) -> Iterator[float]:
    masks = {p.stem: p for p in pictures(root / source.path / "masks")}
    chosen = [
        p
        for p in pictures(root / source.path / "images")
        if p.stem in masks and kept_out(p.stem, source.keep_out_percent)
    ][: limits.get(source.path)]
    if not chosen:
        raise ConfigError(f"{source.path} must keep pictures out, got none: see keep_out_percent")
    for path in tqdm(chosen, desc=source.path):
        found = segmenter.probability(read_image(path)) >= THRESHOLD
        true = read_mask(masks[path.stem]) >= THRESHOLD
        yield float((found & true).sum() / max(1, (found | true).sum()))


def _agreement(folder: Path, start: Segmenter, end: Segmenter, limit: int) -> tuple[int, int]:
    """Return on how many pixels outside persons two segmenters name one class, and of how many."""
    agreeing = counted = 0
    for path in tqdm(pictures(folder)[:limit], desc=folder.name):
        image = read_image(path)
        before = start.probabilities(image).argmax(0)
        after = end.probabilities(image).argmax(0)
        outside = before != PERSON
        agreeing += int((before == after)[outside].sum())
        counted += int(outside.sum())
    return agreeing, counted
