"""Comments pinned to a place of an image."""

from dataclasses import dataclass

from sqlalchemy import select

from benchmark_data_tools.annotation.storage.errors import StoreError, UnknownError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Pin
from benchmark_data_tools.annotation.team.passes import entry_for

LONGEST_TEXT = 2000


@dataclass(frozen=True)
class PinnedComment:
    """A comment at a place, in pixels from the image's upper left corner.

    Args:
        id: Its number in the database.
        x: Column.
        y: Row.
        author: Who wrote it.
        at: Seconds since 1970.
        text: What it says.
    """

    id: int
    x: float
    y: float
    author: str
    at: float
    text: str


def listing(store: Store, entry_id: int) -> list[PinnedComment]:
    """Return the comments of an entry that nobody has settled, oldest first."""
    query = select(Pin).where(Pin.entry_id == entry_id, Pin.settled_by.is_(None)).order_by(Pin.id)
    with store.reading() as session:
        return [
            PinnedComment(pin.id, pin.x, pin.y, pin.author, pin.at, pin.text)
            for pin in session.scalars(query)
        ]


def add(store: Store, entry_id: int, user: User, x: float, y: float, text: str) -> None:
    """Pin a comment to a place.

    Raises:
        StoreError: It says nothing or too much, or the place lies outside the image.
    """
    entry_for(store, entry_id, user)
    image, text = store.image(entry_id), text.strip()
    if not 0 < len(text) <= LONGEST_TEXT:
        raise StoreError(
            f"comment must have 1 to {LONGEST_TEXT} characters, got {len(text)}: shorten it"
        )
    if not (0 <= x < image.width and 0 <= y < image.height):
        raise StoreError(
            f"place must lie within the image of {image.width}x{image.height}, got "
            f"({x:g}, {y:g}): click on the image"
        )
    with store.changing() as session:
        store.entry(entry_id, session)
        session.add(Pin(entry_id=entry_id, x=x, y=y, author=user.name, at=store.clock(), text=text))


def settle(store: Store, pin_id: int, user: User) -> None:
    """Take a comment off the image; it stays in the database with who settled it."""
    with store.changing() as session:
        pin = session.get(Pin, pin_id)
        if pin is None or pin.settled_by is not None:
            raise UnknownError(f"comment must be an open one, got {pin_id}: open the image anew")
        entry_for(store, pin.entry_id, user)
        pin.settled_by = user.name
