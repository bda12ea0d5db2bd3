"""The image as the page shows it: the pixels that the rest of the project reads.

Browsers turn some formats by EXIF and others not, know fewer colour profiles and formats, and show
what is transparent: what is labelled would lie elsewhere than it was drawn.
"""

from pathlib import Path

from benchmark_data_tools.annotation.storage.dataset import FOLDER, MAX_MEGAPIXELS
from benchmark_data_tools.annotation.storage.errors import UnknownError
from benchmark_data_tools.annotation.storage.masks import write_atomically
from benchmark_data_tools.annotation.storage.tables import Image
from mgm_core.images import encode_png, read_header, read_image

__all__ = ["shown_file"]

_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "BMP")


def shown_file(folder: Path, image: Image) -> Path:
    """Return a file that browsers show as `read_image` reads the image.

    Args:
        folder: The dataset's folder.
        image: The image.

    Returns:
        The image's own file where it is plain, else a PNG that is made once and kept.

    Raises:
        UnknownError: The image is gone.
        ImageError: It cannot be read any more.
    """
    own = folder / image.file
    # By the image's hash, so that a changed image is shown anew.
    shown = folder / FOLDER / "cache" / f"{image.sha256[:32]}-shown.png"
    if shown.is_file():
        return shown
    if not own.is_file():
        raise UnknownError(f"{image.file} must be in the dataset, got no such file: put it back")
    header = read_header(own, max_megapixels=MAX_MEGAPIXELS)
    if header.plain and header.format in _SHOWN_BY_BROWSERS:
        return own
    write_atomically(shown, encode_png(read_image(own, max_megapixels=MAX_MEGAPIXELS)))
    return shown
