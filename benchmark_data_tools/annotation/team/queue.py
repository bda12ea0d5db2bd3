"""The queue: which entries a person sees, filtered and searched."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select

from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import STATES, Conflict, Entry, Image
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
        assignee: A person; "" for nobody, None for all.
        conflict: Whether to show entries with an open conflict alone.
    """

    state: str | None = None
    search: str = ""
    flagged: bool = False
    mine: bool = False
    label: str | None = None
    assignee: str | None = None
    conflict: bool = False


class QueueRow(NamedTuple):
    """An entry in the queue, as the page shows it."""

    id: int
    name: str
    state: str
    assignee: str | None
    flagged: bool
    blind_pass: int
    label: str
    conflict: bool


def listing(store: Store, user: User, wanted: Filter) -> list[QueueRow]:
    """Return the queue's entries in order of name."""
    if wanted.state is not None and wanted.state not in STATES:
        raise StoreError(
            f"state must be one of {', '.join(STATES)}, got {wanted.state!r}: choose one"
        )
    now = store.clock()
    owner = rules.owner(now)
    conflict = (
        select(Conflict.id)
        .where(Conflict.entry_id == Entry.id, Conflict.resolved_by.is_(None))
        .exists()
    )
    query = visible(select(Entry), user, now)
    if wanted.state is not None:
        query = query.where(Entry.state == wanted.state)
    if wanted.flagged:
        query = query.where(Entry.flagged)
    if wanted.label is not None:
        query = query.where(Entry.label == wanted.label)
    if wanted.mine:
        query = query.where(owner.is_(None) | (owner == user.name))
    if wanted.assignee is not None:
        query = query.where(func.coalesce(owner, "") == wanted.assignee)
    if wanted.conflict:
        query = query.where(conflict)
    # Columns, not entities: a queue may have tens of thousands of rows.
    rows = (
        query.join(Image, Image.id == Entry.image_id)
        .with_only_columns(
            Entry.id,
            Image.name,
            Entry.state,
            owner,
            Entry.flagged,
            Entry.blind_pass,
            Entry.label,
            conflict,
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
        return [QueueRow._make(row) for row in session.execute(rows)]
