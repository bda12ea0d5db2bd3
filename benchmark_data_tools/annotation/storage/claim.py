"""Take a folder for a dataset: mark it and its database as belonging together, once."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmark_data_tools.annotation.storage.database import writing
from benchmark_data_tools.annotation.storage.dataset import FOLDER, Picture, Scan
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import write_atomically
from benchmark_data_tools.annotation.storage.tables import Image, Label, Setting

DETAIL = "detail"  # the label that every dataset has
MARKER = "dataset.json"  # says which database is the folder's


def image_row(picture: Picture) -> Image:
    """Return a picture's row."""
    return Image(
        name=picture.name,
        file=picture.file,
        alpha_file=picture.alpha_file,
        width=picture.width,
        height=picture.height,
        sha256=picture.sha256,
    )


def follow_renames(images: Mapping[str, Image], pictures: Sequence[Picture]) -> dict[str, str]:
    """Give images whose files were renamed their new names, so that their work goes with them.

    Args:
        images: Name -> row; the rows get the new names.
        pictures: What is in the folder.

    Returns:
        Old name -> new name.

    Raises:
        StoreError: A picture has come under the name of another.
    """
    names = {picture.name for picture in pictures}
    known = Counter(image.sha256 for image in images.values())
    here = Counter(picture.sha256 for picture in pictures)
    by_hash = {image.sha256: image for image in images.values()}
    renamed = {}
    for picture in pictures:
        own, other = images.get(picture.name), by_hash.get(picture.sha256)
        if other is None or (own is not None and own.sha256 == picture.sha256):
            continue
        if own is not None:
            raise StoreError(
                f"{picture.file} must be the picture that was taken in under this name, got the "
                f"one of {other.file}: give it the name back that it had, or a new one"
            )
        if other.name not in names and known[picture.sha256] == here[picture.sha256] == 1:
            renamed[other.name] = picture.name
            other.name = picture.name
    return renamed


def sqlite_url(folder: Path) -> str:
    """Return where a dataset keeps its own database."""
    return f"sqlite:///{(folder / FOLDER / 'store.db').absolute()}"


def refuse_maps_of_other_types(folder: Path, pattern: str, found: Scan) -> None:
    """Two files of one name, .jpg and .png, would leave open which one is the detail map."""
    for picture in found.pictures:
        path = folder / pattern.replace("{name}", picture.name)
        others = [o for o in path.parent.glob(f"{_escaped(path.stem)}.*") if o.suffix != ".png"]
        if others:
            raise StoreError(
                f"pattern must name files of its own, got {pattern} beside {others[0].name}: "
                "choose --pattern 'detailmap_png/{name}_cloud_trimap.png' and take the old maps "
                "in with the import command"
            )


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def claim(folder: Path, engine: Engine, pattern: str) -> None:
    """Mark folder and database as belonging together, once."""
    marker = folder / FOLDER / MARKER
    identity = token_hex(16)
    with Session(writing(engine)) as session, session.begin():
        if session.get(Setting, "dataset") is not None:
            raise StoreError(
                "database must be empty for a new dataset, got one in use: name another database, "
                f"or restore {marker}"
            )
        session.add_all(
            [
                Setting(name="dataset", value=identity),
                Setting(name="pattern", value=pattern),
                Label(name=DETAIL, kind="mask", pattern=pattern),
            ]
        )
    write_atomically(marker, json.dumps({"dataset": identity}).encode())


def is_claimed(folder: Path) -> bool:
    """Whether a folder was taken for a dataset."""
    return (folder / FOLDER / MARKER).is_file()


def check_claim(folder: Path, engine: Engine) -> None:
    """Raise StoreError unless the database is the folder's."""
    marker = json.loads((folder / FOLDER / MARKER).read_text("utf-8"))
    with Session(engine) as session:
        setting = session.get(Setting, "dataset")
    if setting is None or setting.value != marker["dataset"]:
        raise StoreError(
            f"database must belong to {folder}, got another dataset's or an empty "
            "one: correct --database"
        )
