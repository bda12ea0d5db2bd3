"""Where foregrounds come from: small classes behind one interface.

A source gives cut-outs: a foreground colour at every pixel and the true alpha. They are kept as
bytes, four channels together, so that a thousand of them fit into memory and two cores train
instead of decoding files.
"""

import csv
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mgm_core.arrays import Bytes, Floats
from mgm_core.images import LARGEST_MEGAPIXELS, levels_of, read_matte

LeaveOut = Callable[[str], bool]
Pixels: TypeAlias = Bytes | Floats
log = logging.getLogger(__name__)

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
# Of pictures that are not read here, those that Pillow knows among them.
_OTHER_SUFFIXES = {*Image.registered_extensions(), ".exr", ".hdr"} - PICTURE_SUFFIXES
UNKNOWN_SAMPLES = 4096


def nothing(name: str) -> bool:
    """Leave no picture out."""
    del name
    return False


@dataclass(frozen=True)
class Cutout:
    """A foreground with its alpha.

    Args:
        rgba: (H, W, 4) uint8, straight colours, defined where alpha is 0 too.
        centres: (M, 2) int32 x and y of pixels to centre crops on: the unknown region's, or the
            subject's where alpha is binary.
        exact: Whether alpha and colours are true everywhere.
        taught: Whether alpha that is not exact comes from a teacher and is trusted everywhere;
            otherwise only pixels far from the outline are.
    """

    rgba: Bytes
    centres: NDArray[np.int32]
    exact: bool = True
    taught: bool = False


class Source(Protocol):
    """A numbered set of cut-outs."""

    def __len__(self) -> int:
        """Return how many cut-outs there are."""

    def __getitem__(self, index: int) -> Cutout:
        """Return cut-out `index`."""

    @property
    def names(self) -> list[str]:
        """The names of the pictures that it reads, in order."""


def pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted by name; those of other kinds are logged.

    Raises:
        ValueError: The folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise ValueError(
            f"folder must be a directory, got {str(folder)!r}: correct the path in the config"
        )
    files = sorted(folder.iterdir())
    found = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    others = [p.name for p in files if p.suffix.lower() in _OTHER_SUFFIXES]
    if others:
        log.warning(
            "left out %d pictures of %s, such as %s: save them as PNG to train on them, too",
            len(others),
            folder,
            others[0],
        )
    if not found:
        raise ValueError(f"folder must hold pictures, got none in {str(folder)!r}")
    return found


def pictures_left(folders: list[Path], leave_out: LeaveOut) -> list[Path]:
    """Return the pictures of folders, each sorted by name, but for those left out.

    Raises:
        ValueError: Folders are given, and no picture is left.
    """
    found = [p for folder in folders for p in pictures(folder) if not leave_out(p.stem)]
    if folders and not found:
        raise ValueError(
            "folder must hold pictures that are not left out, got none in "
            f"{', '.join(map(repr, map(str, folders)))}: correct the path, or the grade, list or "
            "percent that chooses in it"
        )
    return found


def is_held_out(name: str, percent: int) -> bool:
    """Tell whether a picture is kept for evaluation; its name alone decides, on any machine."""
    return zlib.crc32(name.encode()) % 100 < percent


def graded(folder: Path) -> dict[str, str]:
    """Return the grade of each picture (by its name without suffix) from the folder's table.

    Raises:
        ValueError: The folder has no SOURCES.tsv with columns `file` and `grade`.
    """
    table = folder / "SOURCES.tsv"
    if not table.is_file():
        raise ValueError(f"folder must hold SOURCES.tsv to choose by grade, got {str(folder)!r}")
    with table.open(encoding="utf-8", newline="") as file:
        return {
            Path(row["file"]).stem: row["grade"] for row in csv.DictReader(file, delimiter="\t")
        }


def listed(path: Path, folder: Path) -> frozenset[str]:
    """Return the names in a text file, one a line, without pictures' suffixes.

    Those that no picture of the folder or of its subfolders bears are logged; a packed folder lacks
    what is left out.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    files = [Path(line) for line in lines if line]
    names = frozenset(f.stem if f.suffix.lower() in PICTURE_SUFFIXES else f.name for f in files)
    there = {p.stem for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES}
    if absent := sorted(names - there):
        log.warning(
            "%s names %d of %d pictures that are not in %s, such as %s: write one name a line",
            path,
            len(absent),
            len(names),
            folder,
            absent[0],
        )
    return names


def open_upright(path: Path, mode: str) -> Image.Image:
    """Return a picture as its EXIF turns it, in one of Pillow's modes of 8 bits a channel.

    Raises:
        ImageError: Floats do not lie in [0, 1], or the picture has integers of 32 bits.
    """
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow's own conversion to 8 bits cuts all values off at 255.
        upright = Image.fromarray(np.rint(np.asarray(upright) / 257).astype(np.uint8))
    elif upright.mode in ("I", "F"):  # 32 bits: it cuts these off as well
        matte = read_matte(path, max_megapixels=LARGEST_MEGAPIXELS)
        upright = Image.fromarray(levels_of(matte, 8))
    return upright.convert(mode)


def open_reduced(path: Path, mode: str, max_side_px: int) -> Image.Image:
    """Return what `open_upright` does, reduced to this long side where it is larger."""
    picture = open_upright(path, mode)
    scale = max_side_px / max(picture.size)
    if scale >= 1:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # Straight colours would bleed from transparent pixels: enlarge and shrink them premultiplied.
    if mode == "RGBA":
        return picture.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")
    return picture.resize(size, Image.Resampling.BOX)


def _read(path: Path, mode: str, max_side_px: int) -> Bytes:
    return np.asarray(open_reduced(path, mode, max_side_px))


def spread_colours(rgba: Bytes) -> Bytes:
    """Give every transparent pixel the colour of the nearest pixel that has one.

    Resizing and affine maps mix neighbouring colours, so that a foreground must be defined
    everywhere and not only where alpha is above 0.
    """
    blank = (rgba[..., 3] < 3).astype(np.uint8)
    if not blank.any() or blank.all():
        return rgba
    _, labels = cv2.distanceTransformWithLabels(
        blank, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    lookup = np.zeros((labels.max() + 1, 3), np.uint8)
    known = blank == 0
    lookup[labels[known]] = rgba[known][:, :3]
    out = rgba.copy()
    out[..., :3] = lookup[labels]
    return out


def as_cutout(rgba: Bytes) -> Cutout:
    """Prepare a cut-out: spread its colours and find the pixels that crops are centred on.

    Raises:
        ValueError: Alpha is empty.
    """
    return Cutout(spread_colours(rgba), _crop_centres(rgba[..., 3]))


def _crop_centres(alpha: Bytes) -> NDArray[np.int32]:
    """Return pixels to centre crops on, (M, 2) x and y."""
    if not alpha.any():
        raise ValueError("alpha must not be empty, got 0 everywhere: leave the file out")
    unknown = (alpha > 2) & (alpha < 253)
    if unknown.sum() < 64:
        unknown = alpha > 127
    y, x = np.nonzero(unknown)
    if len(y) > UNKNOWN_SAMPLES:
        chosen = np.linspace(0, len(y) - 1, UNKNOWN_SAMPLES).astype(np.int64)
        y, x = y[chosen], x[chosen]
    return np.stack([x, y], axis=1).astype(np.int32)


class _Pictures:
    """Pictures of folders.

    Args:
        folders: One, or several.
        max_side_px: Larger pictures are reduced to this long side.
        leave_out: Tells of a name (without suffix) whether it is not to be used.
    """

    def __init__(
        self, folders: Path | list[Path], max_side_px: int = 1000, leave_out: LeaveOut = nothing
    ) -> None:
        self.paths = pictures_left([folders] if isinstance(folders, Path) else folders, leave_out)
        self.max_side_px = max_side_px

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.paths)

    @property
    def names(self) -> list[str]:
        """The names of the pictures, in order."""
        return [path.name for path in self.paths]


class RGBACutouts(_Pictures):
    """Pictures with an alpha channel."""

    def __getitem__(self, index: int) -> Cutout:
        """Return picture `index` as a cut-out."""
        return as_cutout(_read(self.paths[index], "RGBA", self.max_side_px))


def pairs_by_name(
    folder: Path, first: str, second: str, leave_out: LeaveOut = nothing
) -> list[tuple[Path, Path]]:
    """Return the pictures of two folders that bear the same names, but for those left out.

    Raises:
        ValueError: There is no pair.
    """
    partners = {path.stem: path for path in pictures(folder / second)}
    pairs = [
        (path, partners[path.stem])
        for path in pictures(folder / first)
        if path.stem in partners and not leave_out(path.stem)
    ]
    if not pairs:
        raise ValueError(
            f"folder must hold pictures of the same names in {first} and {second} that are not "
            f"left out, got none in {str(folder)!r}: see the layout in docs/training.md"
        )
    return pairs


class PairedPictures:
    """Pictures of the same names in two folders, which `FOLDERS` names.

    Args:
        folder: Folder that holds both folders with pictures of the same names.
        max_side_px: Larger pictures are reduced to this long side.
        leave_out: Tells of a name (without suffix) whether it is not to be used.
    """

    FOLDERS: ClassVar[tuple[str, str]] = ("images", "masks")

    def __init__(
        self, folder: Path, max_side_px: int = 1000, leave_out: LeaveOut = nothing
    ) -> None:
        self.pairs = pairs_by_name(folder, *self.FOLDERS, leave_out)
        self.max_side_px = max_side_px

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """The names of the first of each pair, in order."""
        return [path.name for path, _ in self.pairs]

    def read_pair(self, index: int, modes: tuple[str, str], words: str) -> tuple[Bytes, Bytes]:
        """Return both pictures of pair `index`, in Pillow's modes.

        Raises:
            ValueError: Their sizes differ.
        """
        first, second = (
            _read(path, mode, self.max_side_px)
            for path, mode in zip(self.pairs[index], modes, strict=True)
        )
        check_one_size(first, second, words, self.pairs[index][0])
        return first, second


def check_one_size(first: Pixels, second: Pixels, words: str, path: Path) -> None:
    """Raise unless two pictures have one height and width."""
    if first.shape[:2] != second.shape[:2]:
        raise ValueError(
            f"{words} must have one size, got {first.shape[:2]} and {second.shape[:2]} for "
            f"{path.name!r}: correct or leave out the pair"
        )


class ForegroundAlphaFolders(PairedPictures):
    """The published layout of Composition-1k and Distinctions-646: `fg/` and `alpha/`."""

    FOLDERS = ("fg", "alpha")

    def __getitem__(self, index: int) -> Cutout:
        """Return pair `index` as a cut-out."""
        return as_cutout(np.dstack(self.read_pair(index, ("RGB", "L"), "foreground and alpha")))


def _with_mask(image: Bytes, mask: Bytes) -> Cutout:
    """Return a photograph as it is with a binary mask; crops are centred on the mask's outline."""
    y, x = np.nonzero(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    if not len(y):
        raise ValueError("mask must show an outline, got one value everywhere: leave it out")
    centres = np.stack([x, y], axis=1).astype(np.int32)
    return Cutout(np.dstack([image, mask * np.uint8(255)]), centres, exact=False)


class PhotographsWithMasks(PairedPictures):
    """Photographs with rough binary masks of their subjects: `images/` and `masks/`.

    They are shown as they are, since no true alpha is known at the outline.
    """

    def __getitem__(self, index: int) -> Cutout:
        """Return pair `index`; crops are centred on the subject's outline."""
        image, mask = self.read_pair(index, ("RGB", "L"), "image and mask")
        return _with_mask(image, (mask > 127).astype(np.uint8))


class PhotographsWithCutouts(PairedPictures):
    """Photographs and the cut-outs that a teacher made of them: `images/` and `cutouts/`.

    They are shown as they are, with the cut-outs' alpha.
    """

    FOLDERS = ("images", "cutouts")

    def __getitem__(self, index: int) -> Cutout:
        """Return pair `index`; crops are centred on pixels of which the teacher was unsure."""
        image, cutout = self.read_pair(index, ("RGB", "RGBA"), "image and cut-out")
        alpha = cutout[..., 3]
        return Cutout(np.dstack([image, alpha]), _crop_centres(alpha), exact=False, taught=True)


class PhotographsWithHair(PairedPictures):
    """Photographs with binary masks of hair: `image/` and `hair/`."""

    FOLDERS = ("image", "hair")

    def __getitem__(self, index: int) -> Cutout:
        """Return pair `index`, alpha 255 where hair is; masks may be of another size."""
        image = _read(self.pairs[index][0], "RGB", self.max_side_px)
        hair = _read(self.pairs[index][1], "L", self.max_side_px)
        hair = np.asarray(cv2.resize(hair, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))
        return _with_mask(image, (hair > 127).astype(np.uint8))


class Photographs(_Pictures):
    """Photographs of which nothing is known."""

    def __getitem__(self, index: int) -> Cutout:
        """Return photograph `index`, alpha 255 everywhere."""
        image = _read(self.paths[index], "RGB", self.max_side_px)
        height, width = image.shape[:2]
        places = np.mgrid[: height : max(1, height // 64), : width : max(1, width // 64)]
        centres = places[::-1].reshape(2, -1).T.astype(np.int32)
        whole = np.full((height, width), 255, np.uint8)
        return Cutout(np.dstack([image, whole]), centres, exact=False)


def cutout_name(source: Source, index: int) -> str:
    """Return what to call a cut-out: its file's name, or its number where it is made up."""
    names = source.names
    return names[index] if len(names) == len(source) else f"cut-out {index}"


class Remembered:
    """A source whose cut-outs stay in memory, and whose unreadable files are skipped and counted.

    Args:
        source: The source to read from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.failures: dict[int, str] = {}
        self._get = lru_cache(maxsize=2000)(self._read)

    def _read(self, index: int) -> Cutout | None:
        try:
            return self.source[index]
        except (OSError, ValueError, UnidentifiedImageError) as error:
            self.failures[index] = str(error)
            name = cutout_name(self.source, index)
            log.warning("left out %s (%d so far): %s", name, len(self.failures), error)
            return None

    def __len__(self) -> int:
        """Return the number of cut-outs, unreadable ones included."""
        return len(self.source)

    @property
    def names(self) -> list[str]:
        """The names of the pictures that the source reads, in order."""
        return self.source.names

    def __getitem__(self, index: int) -> Cutout:
        """Return cut-out `index`, or the next readable one after it.

        Raises:
            ValueError: No cut-out of the source can be read.
        """
        for offset in range(len(self)):
            cutout = self._get((index + offset) % len(self))
            if cutout is not None:
                return cutout
        raise ValueError(
            f"source must hold a readable cut-out, got {len(self)} that are not: "
            f"the first says {next(iter(self.failures.values()))}"
        )


class Backgrounds(_Pictures):
    """Photographs, kept in memory as bytes; the arguments are those of the other sources."""

    def __init__(
        self, folders: Path | list[Path], max_side_px: int = 900, leave_out: LeaveOut = nothing
    ) -> None:
        super().__init__(folders, max_side_px, leave_out)
        self._get = lru_cache(maxsize=4000)(self._read)

    def _read(self, index: int) -> Bytes:
        return _read(self.paths[index], "RGB", self.max_side_px)

    def __getitem__(self, index: int) -> Bytes:
        """Return photograph `index`, (H, W, 3) uint8."""
        return self._get(index)
