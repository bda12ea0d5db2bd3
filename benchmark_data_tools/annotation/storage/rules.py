"""The rules that hold for every change, whoever asks for it: leases, assignees, blindness, time.

All take an open session, so that what they found still holds when the change is committed.
"""

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql import ColumnElement

from benchmark_data_tools.annotation.storage.errors import ForbiddenError, HeldError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.tables import (
    PAINTED,
    Entry,
    Event,
    Lease,
    Revision,
    Sighting,
)

LOCKED = ("in_review", "accepted")
LEASE_SECONDS = 90.0


def twin_where(name: str, *, seen: bool) -> ColumnElement[bool]:
    """SQL: whether a person labelled an entry's other pass, or with `seen` has looked at it."""
    twin = aliased(Entry)
    known = [
        twin.assignee == name,
        select(Revision.id).where(Revision.entry_id == twin.id, Revision.author == name).exists(),
    ]
    if seen:
        known.append(
            select(Sighting.entry_id)
            .where(Sighting.entry_id == twin.id, Sighting.person == name)
            .exists()
        )
    return (
        select(twin.id)
        .where(
            twin.image_id == Entry.image_id,
            twin.label == Entry.label,
            twin.id != Entry.id,
            or_(*known),
        )
        .exists()
    )


def repeats_parent() -> ColumnElement[bool]:
    """SQL: whether a revision saves again the pixels that it was drawn on, and nothing else.

    Who restores them, or settles a conflict with them, decides for them: that is more.
    """
    parent = aliased(Revision)
    same = select(parent.id).where(
        parent.entry_id == Revision.entry_id,
        parent.number == Revision.parent,
        parent.mask_sha256 == Revision.mask_sha256,
    )
    return Revision.kind.not_in(("restore", "resolve")) & same.exists()


def check_blind(session: Session, entry: Entry, user: User) -> None:
    """Raise ForbiddenError where the user knows the other pass of the entry's image."""
    if not user.alone and knows_twin(session, entry, user.name):
        raise ForbiddenError(
            f"labeller must not know the image's other pass, got {user.name}, who labelled it or "
            "has looked at it: the passes are blind, ask another person"
        )


def knows_twin(session: Session, entry: Entry, name: str) -> bool:
    """Whether a person labelled the other pass of an entry's image, or has looked at its mask."""
    known = select(Entry.id).where(Entry.id == entry.id, twin_where(name, seen=True))
    return session.scalar(known) is not None


def is_valid(lease: Lease, now: float) -> bool:
    """Tell whether a lease is on its entry now.

    One that would last for longer than any does was taken before the server's clock was put back.
    """
    return 0 < lease.expires_at - now <= 2 * LEASE_SECONDS


def lease_on(session: Session, entry_id: int, now: float) -> Lease | None:
    """Return the lease that is on an entry now."""
    lease = session.get(Lease, entry_id)
    return lease if lease is not None and is_valid(lease, now) else None


def lapsed(now: float) -> ColumnElement[bool]:
    """SQL: whether an entry is its assignee's by a lease alone, which is over."""
    # As in `is_valid`.
    held = select(Lease.entry_id).where(
        Lease.entry_id == Entry.id,
        Lease.holder == Entry.assignee,
        Lease.expires_at > now,
        Lease.expires_at <= now + 2 * LEASE_SECONDS,
    )
    return Entry.taken & ~held.exists()


def worked_on() -> ColumnElement[bool]:
    """SQL: whether its assignee saved an entry or changed its state."""
    return or_(
        *(
            select(table.id)
            .where(table.entry_id == Entry.id, table.author == Entry.assignee)
            .exists()
            for table in (Revision, Event)
        )
    )


def owner(now: float) -> ColumnElement[str | None]:
    """SQL: whose an entry is now: nobody's, too, once who only opened it has left it."""
    return case((lapsed(now) & ~worked_on(), None), else_=Entry.assignee)


def check_lease(session: Session, entry: Entry, user: User, now: float) -> None:
    """Raise HeldError where another person works on the entry."""
    lease = lease_on(session, entry.id, now)
    if lease is not None and lease.holder != user.name:
        raise HeldError(
            f"entry must be free, got one that {lease.holder} works on (for "
            f"{lease.expires_at - now:.0f} s at least): wait, or choose another image"
        )


def check_assignee(entry: Entry, user: User) -> None:
    """Raise ForbiddenError where the entry is another person's and the user no reviewer."""
    if entry.assignee not in (None, user.name) and not user.reviews:
        raise ForbiddenError(
            f"entry must be {user.name}'s or free, got one of {entry.assignee}: choose another "
            "image, or ask a reviewer to assign it"
        )


def check_unlocked(entry: Entry, user: User) -> None:
    """Raise ForbiddenError where the entry is under review and the user no reviewer."""
    if entry.state in LOCKED and not user.reviews:
        raise ForbiddenError(
            f"entry must not be under review, got {entry.state}: ask a reviewer to return it"
        )


def check_writable(session: Session, entry: Entry, user: User, now: float) -> None:
    """Raise unless the user may change the entry's head now."""
    check_unlocked(entry, user)
    check_lease(session, entry, user, now)
    check_assignee(entry, user)


def check_reviewer(session: Session, entry: Entry, user: User) -> None:
    """Raise ForbiddenError unless the user may judge the entry: nobody judges their own work."""
    if not user.reviews:
        raise ForbiddenError(f"user must be a reviewer to review, got {user.name}: ask a reviewer")
    if user.alone:
        return
    head = aliased(Revision)
    pixels = select(head.mask_sha256).where(head.entry_id == entry.id, head.number == entry.head)
    own = session.scalar(
        select(Revision.id)
        .where(
            Revision.entry_id == entry.id,
            Revision.author == user.name,
            Revision.kind.in_(PAINTED) | (Revision.mask_sha256 == pixels.scalar_subquery()),
            ~repeats_parent(),
        )
        .limit(1)
    )
    if entry.assignee == user.name or own is not None:
        raise ForbiddenError(
            f"reviewer must be another person than who labelled, got {user.name}: ask another"
        )


def credible_seconds(
    session: Session, entry_id: int, author: str, claimed: float, now: float
) -> float:
    """Return claimed work, and no more than has passed since the lease or the last save."""
    lease = session.get(Lease, entry_id)
    last = session.scalar(select(func.max(Revision.saved_at)).where(Revision.author == author))
    starts = [
        *([lease.taken_at] if lease is not None and lease.holder == author else []),
        *([last] if last is not None else []),
    ]
    return min(claimed, max(0.0, now - max(starts))) if starts else 0.0
