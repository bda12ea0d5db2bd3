"""The queue: who may see, take and finish which entry, and how far the work is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased

from benchmark_data_tools.annotation.storage.store import FINISHED, Store, StoreError
from benchmark_data_tools.annotation.storage.tables import (
    STATES,
    Conflict,
    Entry,
    Event,
    Image,
    Lease,
    Revision,
    State,
)
from benchmark_data_tools.annotation.team.users import User

LEASE_SECONDS = 90.0

# What follows on what. A save takes an entry into work by itself.
_NEXT: dict[str, tuple[State, ...]] = {
    "open": ("in_work", "skipped"),
    "in_work": ("done", "skipped", "open"),
    "done": ("in_review", "in_work"),
    "skipped": ("open", "in_work"),
    "in_review": ("accepted", "returned"),
    "accepted": ("in_review",),
    "returned": ("in_work", "skipped"),
}
_NEEDS_COMMENT = ("skipped", "returned")


class ForbiddenError(StoreError):
    """The user may not do this."""


class HeldError(StoreError):
    """Somebody else works on the entry."""


@dataclass(frozen=True)
class Filter:
    """Which entries of the queue to show.

    Args:
        state: A state; None for all.
        search: Part of the name, note or comment; case does not count.
        flagged: Whether to show flagged entries alone.
        mine: Whether to show the user's own entries and free ones alone.
    """

    state: str | None = None
    search: str = ""
    flagged: bool = False
    mine: bool = False


@dataclass(frozen=True)
class Progress:
    """How far the work is; of everyone, or of one person.

    Args:
        author: The person; None for everyone.
        counts: State -> entries.
        seconds: Active work.
        finished: Entries finished by hand, from which the rate is taken.
        corrected: Of these, entries that began from a proposal or an import.
        per_hour: Entries finished in an hour of active work; None before the first.
        hours_left: Active work left at this rate; None before the first.
    """

    author: str | None
    counts: dict[str, int]
    seconds: float
    finished: int
    corrected: int
    per_hour: float | None
    hours_left: float | None


def visible(query: Select[Entry], user: User) -> Select[Entry]:
    """Leave out what would spoil a blind second pass: a person sees one pass of an image."""
    if user.reviews:
        return query
    other = aliased(Entry)
    worked_on_other = (
        select(other.id)
        .where(
            other.image_id == Entry.image_id,
            other.id != Entry.id,
            other.assignee == user.name,
        )
        .exists()
    )
    not_anothers = (
        (Entry.blind_pass == 1) | Entry.assignee.is_(None) | (Entry.assignee == user.name)
    )
    # Where there is a second pass, the first is its author's alone.
    has_second = (
        select(other.id).where(other.image_id == Entry.image_id, other.blind_pass == 2).exists()
    )
    own_first = (
        (Entry.blind_pass == 2)
        | ~has_second
        | Entry.assignee.is_(None)
        | (Entry.assignee == user.name)
    )
    return query.where(~worked_on_other, not_anothers, own_first)


def entry_for(store: Store, entry_id: int, user: User) -> Entry:
    """Return an entry that the user may see.

    Raises:
        UnknownError: There is none.
        ForbiddenError: It is the other pass of an image that the user has worked on.
    """
    entry = store.entry(entry_id)
    with store.reading() as session:
        if session.scalar(visible(select(Entry).where(Entry.id == entry_id), user)) is None:
            raise ForbiddenError(
                f"entry must be one that {user.name} may see, got {entry_id}: it is labelled "
                "blind by somebody else"
            )
    return entry


class QueueRow(NamedTuple):
    """An entry in the queue, as the page shows it."""

    id: int
    name: str
    state: str
    assignee: str | None
    flagged: bool
    blind_pass: int


def listing(store: Store, user: User, wanted: Filter) -> list[QueueRow]:
    """Return the queue's entries in order of name."""
    if wanted.state is not None and wanted.state not in STATES:
        raise StoreError(
            f"state must be one of {', '.join(STATES)}, got {wanted.state!r}: choose one"
        )
    query = visible(select(Entry), user)
    if wanted.state is not None:
        query = query.where(Entry.state == wanted.state)
    if wanted.flagged:
        query = query.where(Entry.flagged)
    if wanted.mine:
        query = query.where(Entry.assignee.is_(None) | (Entry.assignee == user.name))
    # Columns, not entities: a queue may have tens of thousands of rows.
    rows = (
        query.join(Image, Image.id == Entry.image_id)
        .with_only_columns(
            Entry.id, Image.name, Entry.state, Entry.assignee, Entry.flagged, Entry.blind_pass
        )
        .order_by(Image.name, Entry.blind_pass)
    )
    if wanted.search:
        rows = rows.where(
            Image.name.icontains(wanted.search, autoescape=True)
            | Entry.note.icontains(wanted.search, autoescape=True)
            | Entry.comment.icontains(wanted.search, autoescape=True)
        )
    with store.reading() as session:
        return [QueueRow(*row) for row in session.execute(rows)]


def take(store: Store, entry_id: int, user: User, token: str, *, renew: bool = False) -> float:
    """Take or renew the lease on an entry, and with the first one the entry itself.

    Args:
        store: The store.
        entry_id: The entry.
        user: Who wants to work on it.
        token: Names the page that asks, 32 hexadecimal digits.
        renew: Whether to keep a lease alone. Without it a person's newest page takes the lease
            over from their older ones, such as one that crashed.

    Returns:
        When the lease expires, in seconds since 1970.

    Raises:
        HeldError: Somebody else holds it, or a newer page of the same person.
    """
    entry_for(store, entry_id, user)
    now = store.clock()
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        lease = session.get(Lease, entry_id)
        others = lease is not None and lease.token != token and lease.expires_at > now
        if lease is not None and others and (renew or lease.holder != user.name):
            raise HeldError(
                f"entry must be free, got one that {lease.holder} works on (for "
                f"{lease.expires_at - now:.0f} s at least): wait, or choose another image"
            )
        if lease is None:
            lease = Lease(entry_id=entry_id, holder=user.name, token=token, expires_at=0)
            session.add(lease)
        lease.holder, lease.token, lease.expires_at = user.name, token, now + LEASE_SECONDS
        if entry.assignee is None and not user.reviews_only:
            entry.assignee = user.name
        return lease.expires_at


def release(store: Store, entry_id: int, token: str) -> None:
    """Give a lease back; another page's lease stays."""
    with store.changing() as session:
        lease = session.get(Lease, entry_id)
        if lease is not None and lease.token == token:
            session.delete(lease)


def holder(store: Store, entry_id: int) -> Lease | None:
    """Return the lease that is on an entry now."""
    with store.reading() as session:
        lease = session.get(Lease, entry_id)
    return lease if lease is not None and lease.expires_at > store.clock() else None


def move(store: Store, entry_id: int, state: State, user: User, comment: str = "") -> Entry:
    """Change an entry's state.

    Args:
        store: The store.
        entry_id: The entry.
        state: The new state.
        user: Who changes it.
        comment: Why; needed to skip and to return.

    Returns:
        The entry.

    Raises:
        StoreError: The state does not follow on the present one, a comment is missing, or the
            entry has an open conflict or no mask.
        ForbiddenError: It takes a reviewer, and another one than the annotator.
    """
    entry_for(store, entry_id, user)
    comment = comment.strip()
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        if state not in _NEXT[entry.state]:
            raise StoreError(
                f"state must be {' or '.join(_NEXT[entry.state])} after {entry.state}, got "
                f"{state}: open the image anew"
            )
        if state in ("in_review", "accepted", "returned"):
            _check_reviewer(entry, user)
        if state in _NEEDS_COMMENT and not comment:
            raise StoreError(f"comment must say why, got none: write why the image is {state}")
        if state in ("done", "accepted"):
            open_conflict = session.scalar(
                select(Conflict.id).where(
                    Conflict.entry_id == entry_id, Conflict.resolved_by.is_(None)
                )
            )
            if open_conflict is not None:
                raise StoreError(
                    f"entry must have no open conflict to be {state}, got one: settle it first"
                )
            if entry.head == 0:
                raise StoreError(
                    f"entry must have a mask to be {state}, got none: paint one, save an empty "
                    "one with Ctrl+S, or skip the image"
                )
        entry.state, entry.comment = state, comment
        session.add(
            Event(
                entry_id=entry_id,
                at=store.clock(),
                author=user.name,
                state=state,
                comment=comment,
            )
        )
        # Within the transaction: what cannot be written is not finished.
        store.publish(entry)
    return entry


def _check_reviewer(entry: Entry, user: User) -> None:
    if not user.reviews:
        raise ForbiddenError(f"user must be a reviewer to review, got {user.name}: ask a reviewer")
    if not user.alone and entry.assignee == user.name:
        raise ForbiddenError(
            f"reviewer must be another person than the annotator, got {user.name}: ask another"
        )


def annotate(
    store: Store,
    entry_id: int,
    user: User,
    *,
    note: str | None = None,
    flagged: bool | None = None,
) -> None:
    """Write an entry's note or flag; None leaves it."""
    entry_for(store, entry_id, user)
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        if note is not None:
            entry.note = note.strip()[:10_000]
        if flagged is not None:
            entry.flagged = flagged


def assign(store: Store, entry_id: int, user: User, assignee: str | None) -> None:
    """Give an entry to a person, or to nobody; reviewers and admins may."""
    if not user.reviews:
        raise ForbiddenError(f"user must be a reviewer to assign, got {user.name}: ask a reviewer")
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        twin = session.scalar(
            select(Entry.assignee).where(Entry.image_id == entry.image_id, Entry.id != entry.id)
        )
        if assignee is not None and assignee == twin:
            raise StoreError(
                f"assignee must be another person than the first pass's, got {assignee}: "
                "the second pass is blind"
            )
        entry.assignee = assignee


def add_second_pass(store: Store, percent: float, seed: int = 0) -> int:
    """Choose K % of the images for a blind second pass; more calls add, none takes away.

    Args:
        store: The store.
        percent: Part of all images, in (0, 100].
        seed: Decides which images; a larger percentage holds the smaller one's.

    Returns:
        How many images have a second pass now.

    Raises:
        StoreError: The percentage is out of range.
    """
    if not 0 < percent <= 100:
        raise StoreError(f"percent must be above 0 and at most 100, got {percent:g}: choose 10")
    with store.changing() as session:
        images = list(session.scalars(select(Image)))
        second = set(session.scalars(select(Entry.image_id).where(Entry.blind_pass == 2)))
        # By a hash of the name, so that images which are added later change no earlier choice.
        images.sort(key=lambda i: hashlib.sha256(f"{seed} {i.name}".encode()).digest())
        chosen = images[: max(1, round(len(images) * percent / 100))]
        session.add_all(
            Entry(image_id=image.id, blind_pass=2) for image in chosen if image.id not in second
        )
        return len(second | {image.id for image in chosen})


def progress(store: Store, author: str | None = None) -> Progress:
    """Count entries, time and rate; of everyone or of one person.

    The rate is taken over active work, which is what the page measures, not over days.
    """
    with store.reading() as session:
        counting = select(Entry.state, func.count()).group_by(Entry.state)
        time = select(func.sum(Revision.active_seconds))
        finishing = select(Entry.id).where(Entry.state.in_(FINISHED))
        if author is not None:
            counting = counting.where(Entry.assignee == author)
            time = time.where(Revision.author == author)
            finishing = finishing.where(Entry.assignee == author)
        found = {state: number for state, number in session.execute(counting)}  # noqa: C416  # typed
        counts: dict[str, int] = {state: found.get(state, 0) for state in STATES}
        seconds = float(session.scalar(time) or 0.0)
        finished_ids = set(session.scalars(finishing))
        spent = select(func.sum(Revision.active_seconds)).where(Revision.entry_id.in_(finishing))
        finished_seconds = float(session.scalar(spent) or 0.0)
        corrected = session.scalar(
            select(func.count(func.distinct(Revision.entry_id))).where(
                Revision.entry_id.in_(finishing), Revision.kind.in_(("proposal", "import"))
            )
        )
        left = session.scalar(
            select(func.count())
            .select_from(Entry)
            .where(Entry.state.in_(("open", "in_work", "returned")))
        )
    per_hour = (
        3600 * len(finished_ids) / finished_seconds if finished_ids and finished_seconds else None
    )
    return Progress(
        author,
        counts,
        seconds,
        len(finished_ids),
        corrected or 0,
        per_hour,
        (left or 0) / per_hour if per_hour else None,
    )


def authors(store: Store) -> Sequence[str]:
    """Return everyone who saved or was given something."""
    with store.reading() as session:
        saved = set(session.scalars(select(Revision.author).distinct()))
        given = set(session.scalars(select(Entry.assignee).distinct()))
    return sorted(name for name in saved | given if name)
