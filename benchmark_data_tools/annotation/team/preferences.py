"""Settings and keys of one's own, and the owner's guideline."""

import json
from pathlib import PurePosixPath
from typing import Any

from markdown_it import MarkdownIt

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.errors import StoreError, UnknownError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Preference

LARGEST_CHARACTERS = 20_000
GUIDELINE = "guideline.md"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def read(store: Store, user: User) -> dict[str, Any]:
    """Return a person's settings; empty before the first."""
    with store.reading() as session:
        found = session.get(Preference, user.name)
    return {} if found is None else dict(json.loads(found.value))


def write(store: Store, user: User, value: dict[str, Any]) -> None:
    """Keep a person's settings."""
    text = json.dumps(value)
    if len(text) > LARGEST_CHARACTERS:
        raise StoreError(
            f"settings must have at most {LARGEST_CHARACTERS} characters, got {len(text)}: "
            "reset the keys"
        )
    with store.changing() as session:
        session.merge(Preference(person=user.name, value=text))


def guideline_html(store: Store) -> str:
    """Return the owner's `annotation/guideline.md` as HTML; empty where there is none.

    HTML in it is shown as text; its pictures lie beside it and are served by name.
    """
    path = store.folder / FOLDER / GUIDELINE
    if not path.is_file():
        return ""
    # "js-default" takes no HTML and no addresses but the web's.
    return str(MarkdownIt("js-default").render(path.read_text("utf-8")))


def guideline_picture(store: Store, name: str) -> bytes:
    """Return a picture that lies beside the guideline; UnknownError where there is none."""
    path = store.folder / FOLDER / "guideline" / PurePosixPath(name).name
    if PurePosixPath(name).name != name or path.suffix.lower() not in _PICTURES:
        raise UnknownError(f"picture must be one beside the guideline, got {name}: check its name")
    if not path.is_file():
        raise UnknownError(
            f"picture must lie in {FOLDER}/guideline/, got no {name} there: copy it there"
        )
    return path.read_bytes()
