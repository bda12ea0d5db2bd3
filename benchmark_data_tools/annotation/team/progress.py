"""How far the work is, of everyone and of each person."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement

from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import PAINTED, STATES, Entry, Revision


@dataclass(frozen=True)
class Progress:
    """How far the work is; of everyone, or of one person.

    Args:
        author: The person; None for everyone.
        counts: State -> entries.
        seconds: Active work.
        finished: Entries that somebody drew on and finished, from which the rate is taken.
        corrected: Of these, entries that began from a proposal or an import and were then drawn on.
        per_hour: Entries finished in an hour of active work, a person's in their own; None before
            the first.
        hours_left: Active work left at this rate; None before the first.
    """

    author: str | None
    counts: dict[str, int]
    seconds: float
    finished: int
    corrected: int
    per_hour: float | None
    hours_left: float | None


def drawn_on() -> Select[int]:
    """SQL: revisions in which somebody drew on an entry, and did not save its pixels again."""
    return select(Revision.id).where(
        Revision.entry_id == Entry.id, Revision.kind.in_(PAINTED), ~rules.repeats_parent()
    )


def has_corrections() -> ColumnElement[bool]:
    """SQL: whether an entry began from a proposal or an import and was then drawn on."""
    begun = aliased(Revision)
    return (
        drawn_on()
        .join(begun, (begun.entry_id == Revision.entry_id) & (begun.number < Revision.number))
        .where(begun.kind.in_(("proposal", "import")))
        .exists()
    )


def progress(store: Store, author: str | None = None) -> Progress:
    """Count entries, time and rate; of everyone or of one person.

    The rate is taken over active work, which is what the page measures, not over days, and leaves
    out what was taken in finished.
    """
    with store.reading() as session:
        counting = select(Entry.state, func.count()).group_by(Entry.state)
        time = select(func.sum(Revision.active_seconds))
        finishing = select(Entry.id).where(Entry.state.in_(FINISHED), drawn_on().exists())
        if author is not None:
            owned = rules.owner(store.clock()) == author
            counting = counting.where(owned)
            time = time.where(Revision.author == author)
            finishing = finishing.where(owned)
        found = {state: number for state, number in session.execute(counting)}  # noqa: C416  # typed
        counts: dict[str, int] = {state: found.get(state, 0) for state in STATES}
        seconds = float(session.scalar(time) or 0.0)
        finished = len(session.scalars(finishing).all())
        spent = time.where(Revision.entry_id.in_(finishing))
        finished_seconds = float(session.scalar(spent) or 0.0)
        corrected = len(session.scalars(finishing.where(has_corrections())).all())
        left = session.scalar(
            select(func.count())
            .select_from(Entry)
            .where(Entry.state.in_(("open", "in_work", "returned")))
        )
    per_hour = 3600 * finished / finished_seconds if finished_seconds else None
    return Progress(
        author,
        counts,
        seconds,
        finished,
        corrected,
        per_hour,
        (left or 0) / per_hour if per_hour else None,
    )


def authors(store: Store) -> Sequence[str]:
    """Return everyone who saved something, or whose an entry is now."""
    with store.reading() as session:
        saved = set(session.scalars(select(Revision.author).distinct()))
        given = set(session.scalars(select(rules.owner(store.clock())).distinct()))
    return sorted(name for name in saved | given if name)


def statistics(store: Store) -> str:
    """Return progress as a text table, everyone first."""
    header = ["who", "open", "in work", "done", "review", "accepted", "returned", "skipped"]
    table = [[*header, "hours", "per hour", "corrected"]]
    for author in (None, *authors(store)):
        one = progress(store, author)
        rate = f"{one.per_hour:.1f}" if one.per_hour is not None else "-"
        table.append(
            [
                author or "all",
                *(
                    str(one.counts[state])
                    for state in (
                        "open",
                        "in_work",
                        "done",
                        "in_review",
                        "accepted",
                        "returned",
                        "skipped",
                    )
                ),
                f"{one.seconds / 3600:.2f}",
                rate,
                f"{one.corrected} of {one.finished}",
            ]
        )
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table
    )
