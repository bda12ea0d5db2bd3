"""Gather what may be trained on for weights that are free for any use, and refuse the rest.

    python -m training permissive-data DATA OUT --network deeplabv3_mobilenet_v2_voc.safetensors

Every file of DATA is looked up in `training/data/licences.py`. What is permissive is copied into
OUT; what is not is counted and named by its folder. Of the CC0 portraits, those kept for
development stay out; the others get masks of people: those corrected by hand
(`training/data/cc0_masks`, or --masks), else the network's (Apache-2.0) at several scales, and
cut-outs made from them. OUT/LICENCES.tsv names every
file with its hash, licence and origin; a configuration with `data.licences = "LICENCES.tsv"` trains
on nothing else.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mgm_core.arrays import Colours, Plane
from mgm_core.compositing import rgba
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.networks.checkpoint import weights_files
from mgm_core.segmentation import Segmenter
from mgm_core.weights import sha256_of
from training.config import ConfigError
from training.data.held_out import CC0_PORTRAITS
from training.data.licences import WEIGHTS, Licence, licence_of
from training.data.sources import PICTURE_SUFFIXES
from training.tools.segmenter_scores import load_segmenter

__all__ = ["MASKS_BY_HAND", "gather", "permissive_data", "several_scales"]

MASKS_BY_HAND = Path(__file__).parents[1] / "data" / "cc0_masks"
"""Of 31 CC0 portraits; begun by DeepLabV3 (Apache-2.0) and corrected in the annotation tool."""

LONG_SIDES_PX = (385, 513, 769)
# A portrait of which so much is doubtful needs a mask by hand.
DOUBTFUL, DOUBTFUL_SHARE = (0.2, 0.8), 0.04
_ERODED_PX, _BLUR_SIGMA_PX = 5, 1.5
_TABLE = "LICENCES.tsv"
# From the first folder of a permissive file to where the configurations look for it.
_FOLDERS = {"portraits_cc0": "portraits/images", "bg_cc0": "backgrounds", "cutouts": "hair"}

Row = tuple[str, str, str, str]


def several_scales(image: Colours, segmenter: Segmenter) -> Plane:
    """Return the probability of a person: the mean log-odds of several sizes, each mirrored too."""
    odds = np.zeros(image.shape[:2], np.float64)
    for side in LONG_SIDES_PX:
        for step in (1, -1):
            view = np.ascontiguousarray(image[:, ::step])
            chance = segmenter.probability(view, long_side_px=side)[:, ::step]
            odds += np.log((chance + 1e-6) / (1 - chance + 1e-6))
    return (1 / (1 + np.exp(-odds / (2 * len(LONG_SIDES_PX))))).astype(np.float32)


def gather(data: Path, out: Path) -> tuple[list[Row], Counter[Licence]]:
    """Copy what is permissive.

    Returns:
        The table's rows, and how many pictures each licence stands in the way of.
    """
    rows: list[Row] = []
    refused: Counter[Licence] = Counter()
    for path in _pictures(data):
        name = path.relative_to(data).as_posix()
        known = licence_of(name)
        if not known.permissive:
            refused[known] += 1
            continue
        if name.startswith("portraits_cc0/") and path.stem in CC0_PORTRAITS:
            continue
        target = out / _FOLDERS[Path(name).parts[0]] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        rows.append(_row(target, out, known.licence, known.origin))
    return rows, refused


def _pictures(data: Path) -> Iterator[Path]:
    """Yield the pictures of the data's folders, links to folders included, in order."""
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        yield from sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)


def _add_masks(out: Path, segmenter: Segmenter, by_hand: Path) -> Iterator[Row]:
    """Write a mask and a cut-out of each portrait; one that is doubtful is taken out again."""
    for path in tqdm(sorted((out / "portraits" / "images").iterdir()), desc="masks"):
        image = read_image(path)
        corrected = by_hand / f"{path.stem}.png"
        if corrected.is_file():
            mask, origin = read_mask(corrected), "mask by hand"
            if mask.shape != image.shape[:2]:
                raise ConfigError(
                    f"{corrected} must have the size of its portrait, {image.shape[:2]}, got "
                    f"{mask.shape}: name another folder with --masks"
                )
        else:
            chance = several_scales(image, segmenter)
            low, high = DOUBTFUL
            if np.mean((chance > low) & (chance < high)) > DOUBTFUL_SHARE:
                tqdm.write(f"{path.name}: doubtful, left out; give its mask by hand with --masks")
                path.unlink()
                continue
            mask, origin = chance, "mask by DeepLabV3 (Apache-2.0)"
        mask = (mask >= 0.5).astype(np.float32)
        inside = cv2.erode(mask, np.ones((_ERODED_PX, _ERODED_PX), np.uint8))
        alpha = np.asarray(cv2.GaussianBlur(inside, (0, 0), _BLUR_SIGMA_PX), np.float32)
        for target, picture in (
            (out / "portraits" / "masks" / f"{path.stem}.png", mask),
            (out / "people" / f"{path.stem}.png", rgba(image, alpha)),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, picture)
            yield _row(target, out, "CC0-1.0", f"cjdowner/interfaces, {origin}")


def _row(path: Path, out: Path, licence: str, origin: str) -> Row:
    return path.relative_to(out).as_posix(), sha256_of(path), licence, origin


def _weights(paths: list[Path]) -> Iterator[Row]:
    for file in (file for path in paths for file in weights_files(path)):
        known = WEIGHTS.get(digest := sha256_of(file))
        if known is None or not known.permissive:
            raise ConfigError(
                f"weights must be known and permissive, got {file}: see WEIGHTS in "
                "training/data/licences.py"
            )
        yield file.name, digest, known.licence, known.origin


def permissive_data(
    data: Path, out: Path, network: Path, weights: list[Path], by_hand: Path
) -> Iterator[str]:
    """Gather the data; yield a line for all that was taken or refused of one origin.

    Raises:
        ConfigError: Weights are not permissive, `out` holds something, or a mask by hand has not
            its portrait's size.
    """
    starts = list(_weights([network, *weights]))
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out must be an empty folder or none, got {out}: name another")
    out.mkdir(parents=True, exist_ok=True)
    rows, refused = gather(data, out)
    rows += _add_masks(out, load_segmenter(network, network), by_hand)
    rows = [row for row in rows if (out / row[0]).exists()] + starts
    with (out / _TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("file", "sha256", "licence", "origin"))
        writer.writerows(rows)
    taken = Counter((row[2], row[3]) for row in rows)
    for (licence, origin), count in sorted(taken.items()):
        yield f"taken\t{count}\t{licence}\t{origin}"
    for known, count in sorted(refused.items(), key=lambda item: item[0].pattern):
        yield f"refused\t{count}\t{known.licence}\t{known.pattern} ({known.origin})"
