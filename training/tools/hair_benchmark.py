r"""Make a benchmark of grown hair: exact alpha and colours, of pictures that are held out.

    python -m training.tools.hair_benchmark --images portraits/images --masks portraits/masks \
        --backgrounds backgrounds --out grown_hair_benchmark
    python -m benchmark_data_tools run 1 --data grown_hair_benchmark --method ...

Portraits and backgrounds are those whose names `training.data.sources.is_held_out` keeps for
evaluation.
One seed makes one benchmark, to the byte: about 2 s of one core an image. It has the layout of
Composition-1k, and fits tables 1, 3, 4 and robustness. SOURCES.tsv says what each image was made
of, manifest.sha256 is what `benchmark_data_tools check 3 --manifest` compares with.

Alpha and F are rounded to 8 bits before the image is composited (Eq. 1), so that they are exact.
"""

import argparse
import csv
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from mgm_core.arrays import limit_side
from mgm_core.compositing import composite, fit_background
from mgm_core.guidance import trimap_from_alpha
from mgm_core.images import read_image, read_mask, write_image
from mgm_core.weights import sha256_of
from training.data.sources import is_held_out, pictures
from training.hair.grow import HairCutout, HairSettings, grow_hair, pairs
from training.hair.subject import Reals

__all__ = ["make"]

TRIMAP_KERNEL_PX = 20
LONG_SIDE_PX = 800

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Origin:
    """What an image was made of."""

    name: str
    portrait: str
    background: str


def make(
    images: Path,
    masks: Path,
    backgrounds: Path,
    out: Path,
    *,
    count: int = 200,
    seed: int = 0,
    keep_out_percent: int = 8,
) -> None:
    """Write the benchmark.

    Args:
        images: Folder of portraits.
        masks: Folder of their masks, same names.
        backgrounds: Folder of photographs without people.
        out: Folder to write to, empty or new.
        count: How many images; portraits and backgrounds come round again where they are fewer.
        seed: Of all that is drawn.
        keep_out_percent: How many percent of the pictures are held out, as in the training's
            configuration.

    Raises:
        ValueError: If there are no pictures that are held out, or `out` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"out must be an empty folder, got {out}: choose another")
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}: 200 are enough to compare with")
    portraits = [
        pair for pair in pairs(images, masks) if is_held_out(pair[0].stem, keep_out_percent)
    ]
    behind = [path for path in pictures(backgrounds) if is_held_out(path.stem, keep_out_percent)]
    for what, found in (("images", portraits), ("backgrounds", behind)):
        if not found:
            raise ValueError(
                f"{what} must hold pictures that are held out of training, got none at "
                f"{keep_out_percent} percent: add pictures, or raise keep_out_percent"
            )
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(behind))
    origins = []
    with tqdm(total=count, unit="image") as progress:
        grown = _grow([portraits[i] for i in generator.permutation(len(portraits))], seed)
        for number in range(count):
            portrait, cutout = next(grown)
            background = behind[order[number % len(behind)]]
            origin = _Origin(f"{number:04d}", portrait.name, background.name)
            _write(out, origin.name, cutout, read_image(background))
            origins.append(origin)
            progress.update()
    _write_lists(out, origins)


def _grow(portraits: list[tuple[Path, Path]], seed: int) -> Iterator[tuple[Path, HairCutout]]:
    """Grow hair on each portrait in turn, without end; those that it refuses are left out."""
    waiting = list(portraits)
    attempt = 0
    while waiting:
        image_path, mask_path = pair = waiting.pop(0)
        generator = np.random.default_rng([seed, attempt])
        attempt += 1
        try:
            cutout = _cutout(image_path, mask_path, generator)
        except ValueError as error:
            log.warning("left out %s: %s", image_path.name, error)
            continue
        waiting.append(pair)
        yield image_path, cutout
    raise ValueError(
        f"images must hold portraits that hair can grow on, got {len(portraits)} without one: "
        "see the warnings"
    )


def _cutout(image_path: Path, mask_path: Path, generator: Generator) -> HairCutout:
    image, mask = (
        limit_side(picture, LONG_SIDE_PX)
        for picture in (read_image(image_path), read_mask(mask_path))
    )
    found = grow_hair(image, mask, generator, HairSettings(no_hair_chance=0.0))
    return HairCutout(_round(found.foreground), _round(found.alpha))


def _round(picture: Reals) -> Reals:
    return (np.rint(picture * 255) / 255).astype(np.float32)


def _write(out: Path, name: str, cutout: HairCutout, background: Reals) -> None:
    height, width = cutout.alpha.shape
    trimap = trimap_from_alpha(cutout.alpha, TRIMAP_KERNEL_PX)
    made = {
        "image": composite(
            cutout.foreground, cutout.alpha, fit_background(background, height, width)
        ),
        "alpha": cutout.alpha,
        "trimap1": np.where(trimap == 0.5, np.float32(128 / 255), trimap),
        "foreground": cutout.foreground,
    }
    for part, picture in made.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        write_image(out / part / f"{name}.png", picture)


def _write_lists(out: Path, origins: list[_Origin]) -> None:
    files = sorted(out.glob("*/*.png"))
    lines = [f"{sha256_of(path)}  {path.relative_to(out).as_posix()}\n" for path in files]
    (out / "manifest.sha256").write_text("".join(lines), "utf-8")
    with (out / "SOURCES.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["name", "portrait", "background"])
        writer.writerows([o.name, o.portrait, o.background] for o in origins)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.tools.hair_benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of portraits")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks, same names")
    parser.add_argument("--backgrounds", type=Path, required=True, help="photographs to put behind")
    parser.add_argument("--out", type=Path, required=True, help="empty or new folder")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-out-percent", type=int, default=8)
    options = parser.parse_args(arguments)
    try:
        make(
            options.images,
            options.masks,
            options.backgrounds,
            options.out,
            count=options.count,
            seed=options.seed,
            keep_out_percent=options.keep_out_percent,
        )
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
