"""One call from a photograph to a cut-out, as `from mgm_core import cut_out`.

Everything behind it is there for those who want the stages one by one: `mgm_core.cutout`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mgm_core.arrays import Floats, check_image, check_mask
from mgm_core.corrections.clicking import Click
from mgm_core.cutout import (
    Cutout,
    guidance_from_mask,
    guidance_from_segmenter,
    opaque,
)
from mgm_core.cutout import cut_out as cut_out_guided
from mgm_core.files.formats import encode, format_of
from mgm_core.images import (
    ImageError,
    Photo,
    SubjectMask,
    read_photo,
    read_subject_mask,
    write_whole,
)
from mgm_core.models import Models
from mgm_core.recipe import BACKGROUNDS, Background, Edit, Quality, Recipe, read_background

__all__ = ["Picture", "Result", "cut_out"]

Picture: TypeAlias = str | PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.generic]
"""A file's path or content, an open binary file, a Pillow image, or an array: (H, W) or (H, W, C)
of uint8, uint16, bool, or floats in [0, 1], RGB."""

_MAX_MEGAPIXELS = 178.0
_models: dict[tuple[str, str], Models] = {}


@dataclass(frozen=True)
class Result:
    """A cut-out.

    Args:
        cutout: How it came about: guidance, the network's levels, recipe.
        photo: The photograph as it was read.
        backdrop: The background picture, (h, w, 3) float32 in [0, 1], or None.
    """

    cutout: Cutout
    photo: Photo = field(repr=False)
    backdrop: Floats | None = field(default=None, repr=False)

    @property
    def alpha(self) -> Floats:
        """How much of each pixel is the subject, (H, W) float32 in [0, 1]."""
        return self.cutout.alpha

    @property
    def foreground(self) -> Floats:
        """The subject's own colours, (H, W, 3) float32 in [0, 1]; meaningless where alpha is 0."""
        return self.cutout.foreground

    @property
    def rgba(self) -> Floats:
        """The transparent picture with straight colours, (H, W, 4) float32 in [0, 1]."""
        return self.cutout.rgba()

    @property
    def picture(self) -> Floats:
        """The picture over the background that was asked for: (H, W, 3); as `rgba` if none was."""
        return self.cutout.result(self.backdrop)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `picture`; the path's ending chooses the format, such as .png, .webp or .tiff.

        Raises:
            ValueError: There is no such format, or it cannot hold transparency.
            OSError: The file cannot be written.
        """
        path = Path(path)
        form = format_of(path)
        layers = self.cutout.layers(self.backdrop) if form.layers else ()
        write_whole(path, encode(form, self.picture, dpi=self.photo.dpi, layers=layers))


def cut_out(
    photo: Picture,
    *,
    quality: Quality = "best",
    category: str = "person",
    mask: Picture | None = None,
    trimap: Picture | None = None,
    points: Sequence[Click | tuple[float, float]] = (),
    background: str | Picture | None = None,
    device: str = "auto",
    engine: str = "torch",
    max_megapixels: float = _MAX_MEGAPIXELS,
) -> Result:
    """Cut the subject out of a photograph.

    The networks are loaded with the first call and kept for the next ones.

    >>> from mgm_core import cut_out
    >>> import numpy as np
    >>> photo = np.full((64, 64, 3), 40, np.uint8)
    >>> photo[16:48, 16:48] = (200, 60, 60)
    >>> mask = np.zeros((64, 64), bool)
    >>> mask[18:46, 18:46] = True
    >>> result = cut_out(photo, mask=mask, quality="fast")
    >>> result.rgba.shape, bool(result.alpha[32, 32] > 0.9), bool(result.alpha[2, 2] < 0.1)
    ((64, 64, 4), True, True)

    Args:
        photo: The photograph.
        quality: "fast" refines alpha at half the size, "best" at full size, by further views.
        category: What to look for where no mask is given, one of `CATEGORIES`, "animal" for
            all animals, or "auto" for a person, else animals or the largest thing; with a mask,
            what it shows.
        mask: A binary or soft mask of the subject, whose kind is detected; excludes `trimap`.
        trimap: 0 is background, 0.5 unknown, 1 foreground; known pixels keep their values.
        points: Places (x, y) in px on what to add; a `Click` can also take away. They go on from
            the mask, or from what the segmenter finds.
        background: None for transparency, "#rrggbb", "gradient:#rrggbb,#rrggbb,ANGLE", "blur",
            "blur:PERCENT", or a picture.
        device: Where the networks compute: auto, cpu, cuda, cuda:N or mps.
        engine: What computes the matting and fusion networks: "torch", or on the CPU "onnxruntime"
            or "openvino".
        max_megapixels: Larger pictures are refused from their header; at most 178.

    Returns:
        The cut-out; `.save("cutout.png")` writes it.

    Raises:
        ImageError: A file cannot be read.
        NoSubjectError: Nothing is there to be cut out.
        ValueError: An argument is out of range, or sizes differ.
    """
    if mask is not None and trimap is not None:
        raise ValueError("mask and trimap must not both be given, got both: leave one out")
    given = mask if mask is not None else trimap
    if trimap is not None and points:
        raise ValueError(
            "points must not be given with a trimap, got both: mark the place in the trimap"
        )
    behind = Background()
    if background is not None:
        named = read_background(background) if isinstance(background, str) else None
        if isinstance(background, str) and named is None and not Path(background).is_file():
            raise ValueError(
                f"background must be {BACKGROUNDS}, or a picture, got {background!r:.60}: correct "
                "it, or the picture's path"
            )
        behind = named or Background(kind="picture")
    recipe = Recipe(
        quality=quality,
        category=category,
        own_mask=given is not None,
        mask_kind="detect" if trimap is None else "trimap",
        edits=tuple(
            Edit(
                "click_add" if click.adds else "click_remove",
                points=((float(click.x), float(click.y)),),
            )
            for click in (point if isinstance(point, Click) else Click(*point) for point in points)
        ),
        background=behind,
    )
    backdrop = None
    if background is not None and behind.kind == "picture":
        backdrop = opaque(_read(background, max_megapixels), recipe)
    seen = _read(photo, max_megapixels)
    models = _models.setdefault((device, engine), Models(device=device, engine=engine))
    if given is None:
        guided = guidance_from_segmenter(seen.image, models.segmenter(recipe.segmenter), recipe)
    else:
        found = _read_mask(given, max_megapixels)
        guided = guidance_from_mask(found.mask, recipe.mask_kind, recipe.category, note=found.note)
    made = cut_out_guided(
        seen.image,
        guided,
        models.matter(),
        recipe,
        seen.alpha,
        foreground_network=models.foreground_network,
        working_megapixels=models.working_megapixels,
    )
    return Result(made, seen, backdrop)


def _read(picture: Picture, max_megapixels: float) -> Photo:
    source = _source(picture, max_megapixels)
    if not isinstance(source, np.ndarray):
        return read_photo(source, max_megapixels=max_megapixels)
    if source.ndim == 2:
        source = np.repeat(source[..., None], 3, axis=2)
    photo = Photo(source[..., :3], source[..., 3] if source.shape[2] == 4 else None)
    check_image("photo", photo.image)
    if photo.alpha is not None:
        check_mask("photo's alpha", photo.alpha)
    return photo


def _read_mask(picture: Picture, max_megapixels: float) -> SubjectMask:
    source = _source(picture, max_megapixels)
    if not isinstance(source, np.ndarray):
        return read_subject_mask(source, max_megapixels=max_megapixels)
    check_mask("mask", source)
    return SubjectMask(source)


def _source(
    picture: Picture, max_megapixels: float
) -> str | PathLike[str] | bytes | BinaryIO | Floats:
    """Return a picture as the readers of files take it; an array of floats stays one.

    Arrays of whole numbers and Pillow images become a file, so that they are read as one is:
    an image's profile and orientation, a mask's labels.
    """
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
        if picture.mode != "F":
            return _file_of(picture)
        picture = np.array(picture)
    if not isinstance(picture, np.ndarray):
        return picture
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.size == 0:
        raise ValueError(f"an array must hold pixels, got shape {picture.shape}: give some")
    if picture.ndim != 2 and (picture.ndim != 3 or picture.shape[2] not in (3, 4)):
        raise ValueError(
            f"an array must have shape (H, W), (H, W, 3) or (H, W, 4), got {picture.shape}: give "
            "grey, RGB or RGBA"
        )
    megapixels = picture.shape[0] * picture.shape[1] / 1e6
    if megapixels > max_megapixels:
        raise ImageError(
            f"the image must have at most {max_megapixels:g} megapixels, got {megapixels:.1f}: "
            "shrink it first"
        )
    if picture.dtype.kind in "fb":
        return picture.astype(np.float32)
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"an array must be of uint8, uint16, bool or floats in [0, 1], got {picture.dtype}: "
            "convert it"
        )
    in_opencvs_order = (
        picture if picture.ndim == 2 else picture[..., [2, 1, 0, 3][: picture.shape[2]]]
    )
    written_whole, data = cv2.imencode(".png", np.ascontiguousarray(in_opencvs_order))
    assert written_whole
    return data.tobytes()


def _file_of(image: Image.Image) -> bytes:
    """Return a Pillow image as a file, with its profile where that is for its colours."""
    if image.mode.startswith("I") and image.mode != "I;16":
        raise ValueError(
            f"a Pillow image must have 8 or 16 bits (I;16) or floats in [0, 1] (F), got mode "
            f"{image.mode}: convert it"
        )
    profile = image.info.get("icc_profile")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode not in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA", "CMYK"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        profile = None  # it was for the colours before
    written = BytesIO()
    image.save(written, "TIFF" if image.mode == "CMYK" else "PNG", icc_profile=profile)
    return written.getvalue()
