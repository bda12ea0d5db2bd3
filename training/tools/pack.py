"""Pack the pictures and lists that a config reads into one folder of limited size.

    python -m training pack DIR --limit-mb 60 --config CONFIG.toml data.root=DATA

The folder has the layout that the config reads, so that `data.root=DIR` is all that changes on the
other machine. Alpha stays lossless; colours are coded the more strongly, and pictures reduced the
further, the less space there is. A table of licences (`data.licences`) is written anew: each packed
picture has the licence of its original.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from training.config import Config, ConfigError, SourceConfig
from training.data.composites import names_left_out
from training.data.licences import require_permissive, write_packed_table
from training.data.sources import is_held_out, open_reduced, pictures
from training.validation import Validation

# Long side of foregrounds, of backgrounds, and WebP quality: tried in this order until all fits.
_SETTINGS = (
    (1000, 900, 90),
    (800, 800, 85),
    (720, 640, 80),
    (640, 512, 75),
    (512, 448, 70),
    (448, 384, 65),
)


@dataclass(frozen=True)
class Packed:
    """What was packed: number of files, bytes, and the settings that made them fit."""

    files: int
    size: int
    foreground_side_px: int
    background_side_px: int
    quality: int


@dataclass(frozen=True)
class _Item:
    source: Path
    target: str
    mode: str  # RGB, RGBA or L


def pack(config: Config, folder: Path, limit_mb: float) -> Packed:
    """Write what a config reads into a folder of at most `limit_mb` MB (10^6 bytes).

    Raises:
        ConfigError: The folder exists and is not empty, a path does not lie in `data.root`, a
            picture is not free by `data.licences`, or nothing fits at the lowest quality.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"the folder must be empty or new, got {folder}: name another")
    _require_inside(config)
    require_permissive(config)
    items = list(_items(config))
    originals = {item.target: item.source for item in items if item.mode != "copy"}
    limit = round(limit_mb * 1e6)
    for foreground_side, background_side, quality in _SETTINGS:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            size = 0
            for item in tqdm(items, unit="file", desc=f"{foreground_side} px, quality {quality}"):
                backdrop = Path(item.target).parent in map(Path, config.data.backgrounds)
                side = background_side if backdrop else foreground_side
                size += _write(item, Path(temporary), side, quality)
                if size > limit:
                    break
            else:
                size += write_packed_table(config, Path(temporary), originals)
                if size > limit:
                    continue
                if folder.exists():
                    folder.rmdir()
                shutil.copytree(temporary, folder)
                return Packed(len(items), size, foreground_side, background_side, quality)
    raise ConfigError(
        f"--limit-mb must leave room for {len(items)} files, got {limit_mb:g}: "
        "raise it, or take sources out of the config"
    )


def _require_inside(config: Config) -> None:
    """Refuse paths that would be written outside the packed folder, over the originals."""
    data = config.data
    lists = [source.leave_out for source in data.sources]
    folders = [*(source.path for source in data.sources), *data.backgrounds, config.run.validation]
    for path in map(Path, (*folders, *lists, data.licences)):
        if path.is_absolute() or ".." in path.parts:
            raise ConfigError(
                f"paths must lie in data.root to be packed, got {str(path)!r}: link it into "
                f"{data.root!r}, and name it by its place there"
            )


def _items(config: Config) -> Iterator[_Item]:
    """Return what the config reads; of files that become one, the first."""
    seen: set[str] = set()
    for item in _all_items(config, Path(config.data.root)):
        if item.target not in seen:
            seen.add(item.target)
            yield item


def _all_items(config: Config, root: Path) -> Iterator[_Item]:
    for source in config.data.sources:
        yield from _items_of(source, root)
        if (root / source.path / "SOURCES.tsv").is_file():
            yield _copied(root, f"{source.path}/SOURCES.tsv")
        if source.leave_out:
            yield _copied(root, source.leave_out)
    for path in config.data.backgrounds:
        for picture in pictures(root / path):
            if not is_held_out(picture.stem, config.data.backgrounds_keep_out_percent):
                yield _Item(picture, _target(path, picture), "RGB")
    if folder := config.run.validation:
        for image, alpha in Validation(root / folder).pairs:
            yield _Item(image, _target(f"{folder}/image", image), "RGB")
            yield _Item(alpha, _target(f"{folder}/alpha", alpha), "L")


def _copied(root: Path, name: str) -> _Item:
    return _Item(root / name, Path(name).as_posix(), "copy")


def _target(folder: str, picture: Path) -> str:
    return Path(folder, f"{picture.stem}.webp").as_posix()


def _items_of(source: SourceConfig, root: Path) -> Iterator[_Item]:
    leave_out = names_left_out(source, root)
    parts = {
        "rgba": (("", "RGBA"),),
        "fg_alpha": (("fg", "RGB"), ("alpha", "L")),
        "photo_mask": (("images", "RGB"), ("masks", "L")),
        "photo_cutout": (("images", "RGB"), ("cutouts", "RGBA")),
        "hair": (("images", "RGB"), ("masks", "L")),
        "shapes": (("", "RGB"),),
        "hair_mask": (("image", "RGB"), ("hair", "L")),
        "photograph": (("", "RGB"),),
    }[source.kind]
    for part, mode in parts:
        for picture in pictures(root / source.path / part):
            # Every Nth is counted off over all.
            if source.keep_out_every or not leave_out(picture.stem):
                yield _Item(picture, _target(f"{source.path}/{part}", picture), mode)


def _write(item: _Item, folder: Path, side: int, quality: int) -> int:
    target = folder / item.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if item.mode == "copy":
        shutil.copyfile(item.source, target)
        return target.stat().st_size
    picture = open_reduced(item.source, item.mode, side)
    lossless = item.mode == "L"
    picture.save(
        target, "WEBP", quality=quality, alpha_quality=100, lossless=lossless, method=4, exact=False
    )
    return target.stat().st_size
