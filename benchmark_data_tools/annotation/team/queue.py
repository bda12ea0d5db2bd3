"""The queue: which entries a person sees, filtered and searched."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select

from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import STATES, Entry, Image
from benchmark_data_tools.annotation.team.leases import end_lapsed
from benchmark_data_tools.annotation.team.passes import visible


@dataclass(frozen=True)
class Filter:
    """Which entries of the queue to show.

    Args:
        state: A state; None for all.
        search: Part of the name, note or comment; case does not count.
        flagged: Whether to show flagged entries alone.
        mine: Whether to show the user's own entries and free ones alone.
        label: A label; None for all.
    """

    state: str | None = None
    search: str = ""
    flagged: bool = False
    mine: bool = False
    label: str | None = None


class QueueRow(NamedTuple):
    """An entry in the queue, as the page shows it."""

    id: int
    name: str
    state: str
    assignee: str | None
    flagged: bool
    blind_pass: int
    label: str


def listing(store: Store, user: User, wanted: Filter) -> list[QueueRow]:
    """Return the queue's entries in order of name."""
    if wanted.state is not None and wanted.state not in STATES:
        raise StoreError(
            f"state must be one of {', '.join(STATES)}, got {wanted.state!r}: choose one"
        )
    end_lapsed(store)
    query = visible(select(Entry), user)
    if wanted.state is not None:
        query = query.where(Entry.state == wanted.state)
    if wanted.flagged:
        query = query.where(Entry.flagged)
    if wanted.label is not None:
        query = query.where(Entry.label == wanted.label)
    if wanted.mine:
        query = query.where(Entry.assignee.is_(None) | (Entry.assignee == user.name))
    # Columns, not entities: a queue may have tens of thousands of rows.
    rows = (
        query.join(Image, Image.id == Entry.image_id)
        .with_only_columns(
            Entry.id,
            Image.name,
            Entry.state,
            Entry.assignee,
            Entry.flagged,
            Entry.blind_pass,
            Entry.label,
        )
        .order_by(Image.name, Entry.label, Entry.blind_pass)
    )
    if wanted.search:
        rows = rows.where(
            Image.name.icontains(wanted.search, autoescape=True)
            | Entry.note.icontains(wanted.search, autoescape=True)
            | Entry.comment.icontains(wanted.search, autoescape=True)
        )
    with store.reading() as session:
        return [QueueRow(*row) for row in session.execute(rows)]
