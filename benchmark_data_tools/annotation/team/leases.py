"""Leases: who works on an entry now. The store's rules hold others' saves against them.

Who opens a free entry has it as long as their lease lasts, and for good once they have worked on
it; a reviewer, who may only look, has it once they draw on it. What a reviewer assigned stays
theirs.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.errors import HeldError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Lease
from benchmark_data_tools.annotation.team.passes import entry_for

_LABELLED = ("open", "in_work", "returned")


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
        ForbiddenError: It is another's, the user knows the image's other pass, or it is under
            review and they do not review: who only looks at it stops no reviewer.
    """
    if not renew:
        end_lapsed(store)
    entry_for(store, entry_id, user)
    now = store.clock()
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        rules.check_blind(session, entry, user)
        rules.check_lease(session, entry, user, now)
        _give_back_lapsed(session, entry, now)
        rules.check_assignee(entry, user)
        rules.check_unlocked(entry, user)
        lease = session.get(Lease, entry_id)
        valid = lease is not None and rules.is_valid(lease, now)
        if lease is not None and lease.token != token and valid and renew:
            raise HeldError(
                "page must be the newest of its person, got an older one: this image is open in "
                "another tab or window of yours, go on there"
            )
        if lease is None:
            lease = Lease(entry_id=entry_id)
            session.add(lease)
        if lease.holder != user.name or not (valid or lease.token == token):
            lease.taken_at = now
        lease.holder, lease.token, lease.expires_at = user.name, token, now + rules.LEASE_SECONDS
        if entry.assignee is None and not user.reviews_only and entry.state in _LABELLED:
            entry.assignee, entry.taken = user.name, True
        return lease.expires_at


def release(store: Store, entry_id: int, token: str) -> None:
    """Give a lease back, and with it an entry without work; another page's lease stays."""
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        lease = session.get(Lease, entry_id)
        if lease is not None and lease.token == token:
            session.delete(lease)
            _give_back(session, entry)


def end_lapsed(store: Store) -> None:
    """Give back entries without work whose leases have ended by themselves."""
    with store.reading() as session:
        found = list(session.scalars(select(Entry.id).where(rules.lapsed(store.clock()))))
    for entry_id in found:
        # Locked one by one, and asked again: the holder may have renewed it.
        with store.changing() as session:
            entry = store.entry(entry_id, session)
            _give_back_lapsed(session, entry, store.clock())


def _give_back_lapsed(session: Session, entry: Entry, now: float) -> None:
    if _tells(session, entry, rules.lapsed(now)):
        _give_back(session, entry)


def _give_back(session: Session, entry: Entry) -> None:
    """Free an entry that was taken and not worked on; one that was worked on is its assignee's."""
    if not entry.taken:
        return
    entry.taken = False
    if not _tells(session, entry, rules.worked_on()):
        entry.assignee = None


def _tells(session: Session, entry: Entry, rule: ColumnElement[bool]) -> bool:
    return session.scalar(select(Entry.id).where(Entry.id == entry.id, rule)) is not None


def owner(store: Store, entry_id: int) -> str | None:
    """Return whose an entry is now: nobody's, too, once who only opened it has left it."""
    with store.reading() as session:
        return session.scalar(select(rules.owner(store.clock())).where(Entry.id == entry_id))


def holder(store: Store, entry_id: int) -> Lease | None:
    """Return the lease that is on an entry now."""
    with store.reading() as session:
        return rules.lease_on(session, entry_id, store.clock())
