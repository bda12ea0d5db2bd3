"""The way of an entry through the queue: its state, its assignee, notes and flags."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.errors import (
    ChangedError,
    ForbiddenError,
    StoreError,
)
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Conflict, Entry, Event, State
from benchmark_data_tools.annotation.team.passes import entry_for

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


def move(
    store: Store,
    entry_id: int,
    state: State,
    user: User,
    comment: str = "",
    *,
    head: int | None = None,
) -> Entry:
    """Change an entry's state.

    Args:
        store: The store.
        entry_id: The entry.
        state: The new state.
        user: Who changes it.
        comment: Why; needed to skip and to return.
        head: The head that they saw, if it must still be the same.

    Returns:
        The entry.

    Raises:
        StoreError: The state does not follow on the present one, a comment is missing, or the
            entry has an open conflict or no mask.
        ForbiddenError: It takes a reviewer and another one than who labelled, or it is another's
            entry.
        HeldError: Somebody else works on it.
        ChangedError: The head is another one.
    """
    entry_for(store, entry_id, user)
    with store.changing() as session:
        return _change(store, session, entry_id, state, user, comment, head)


def _change(
    store: Store,
    session: Session,
    entry_id: int,
    state: State,
    user: User,
    comment: str,
    head: int | None = None,
) -> Entry:
    comment = comment.strip()
    entry = store.entry(entry_id, session)
    if state not in _NEXT[entry.state]:
        raise StoreError(
            f"state must be {' or '.join(_NEXT[entry.state])} after {entry.state}, got "
            f"{state}: open the image anew"
        )
    if head is not None and head != entry.head:
        raise ChangedError(
            f"head must be the one that was shown, revision {head}, got {entry.head}: somebody "
            "saved meanwhile, open the image anew"
        )
    rules.check_lease(session, entry, user, store.clock())
    rules.check_assignee(entry, user)
    if state in ("in_review", "accepted", "returned"):
        rules.check_reviewer(session, entry, user)
    if state in _NEEDS_COMMENT and not comment:
        raise StoreError(f"comment must say why, got none: write why the image is {state}")
    if state in ("done", "accepted"):
        open_conflict = session.scalar(
            select(Conflict.id).where(Conflict.entry_id == entry_id, Conflict.resolved_by.is_(None))
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
    session.flush()
    store.publish(entry, session)
    return entry


def annotate(
    store: Store,
    entry_id: int,
    user: User,
    *,
    note: str | None = None,
    seen: str = "",
    flagged: bool | None = None,
) -> None:
    """Write an entry's note or flag; None leaves it.

    Args:
        store: The store.
        entry_id: The entry.
        user: Who writes it.
        note: The new note.
        seen: The note that they saw, which the new one replaces.
        flagged: The new flag.

    Raises:
        ForbiddenError: It is an entry that they may not see.
        ChangedError: Somebody else has changed the note since; nothing is written.
    """
    entry_for(store, entry_id, user)
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        if note is not None:
            if entry.note not in (seen.strip(), note.strip()):
                raise ChangedError(
                    f"note must be the one that was shown, got another that somebody wrote "
                    f"meanwhile, {entry.note!r}: put both into one"
                )
            entry.note = note.strip()
        if flagged is not None:
            entry.flagged = flagged


def assign(store: Store, entry_id: int, user: User, assignee: str | None) -> None:
    """Give an entry to a person, or to nobody; reviewers and admins may."""
    if not user.reviews:
        raise ForbiddenError(f"user must be a reviewer to assign, got {user.name}: ask a reviewer")
    with store.changing() as session:
        entry = store.entry(entry_id, session)
        if assignee is not None and rules.knows_twin(session, entry, assignee):
            raise StoreError(
                f"assignee must not know the image's other pass, got {assignee}: the passes are "
                "blind, choose another person"
            )
        entry.assignee, entry.taken = assignee, False


def batch(
    store: Store,
    entry_ids: Sequence[int],
    user: User,
    action: Literal["accept", "return", "assign"],
    *,
    assignee: str | None = None,
    comment: str = "",
) -> dict[int, str]:
    """Accept, return or assign many entries; each by itself, so that one refusal stops no other.

    Args:
        store: The store.
        entry_ids: The entries.
        user: Who does it.
        action: What is done. Entries that are done enter review on the way.
        assignee: Who gets them, or nobody.
        comment: Why they are returned.

    Returns:
        Entries that refused -> why.
    """
    refused = {}
    for entry_id in entry_ids:
        try:
            if action == "assign":
                assign(store, entry_id, user, assignee)
                continue
            verdict: State = "accepted" if action == "accept" else "returned"
            entry_for(store, entry_id, user)
            # In one transaction: who refuses the verdict stays as it is.
            with store.changing() as session:
                if store.entry(entry_id, session).state == "done":
                    _change(store, session, entry_id, "in_review", user, "")
                _change(store, session, entry_id, verdict, user, comment)
        except StoreError as error:
            refused[entry_id] = str(error)
    return refused
