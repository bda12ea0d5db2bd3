"""Blind second passes: a person sees one pass of an image, and labels the one that they see.

Whoever labelled one pass, or looked at its mask, does not label the other; whoever labelled one
does not see the other. The store keeps both (`storage.rules`).
"""

import hashlib

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.claim import DETAIL
from benchmark_data_tools.annotation.storage.errors import ForbiddenError, StoreError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image, Revision


def visible(query: Select[Entry], user: User, now: float) -> Select[Entry]:
    """Leave out what would spoil a blind second pass."""
    if user.alone:
        return query
    if user.reviews:
        # They judge both passes of what others label, but see only one of what they label.
        return query.where(~rules.twin_where(user.name, seen=False))
    other = aliased(Entry)
    owner = rules.owner(now)
    # Who drew on a pass that was given to another person may save what is still in hand.
    drawn = select(Revision.id).where(Revision.entry_id == Entry.id, Revision.author == user.name)
    own = owner.is_(None) | (owner == user.name) | drawn.exists()
    # Where there are two passes, each is its authors' alone.
    twins = (
        select(other.id)
        .where(other.image_id == Entry.image_id, other.label == Entry.label, other.id != Entry.id)
        .exists()
    )
    return query.where(~rules.twin_where(user.name, seen=True), ~twins | own)


def entry_for(store: Store, entry_id: int, user: User) -> Entry:
    """Return an entry that the user may see.

    Raises:
        UnknownError: There is none.
        ForbiddenError: It is the other pass of an image that the user has worked on.
    """
    entry = store.entry(entry_id)
    with store.reading() as session:
        query = visible(select(Entry).where(Entry.id == entry_id), user, store.clock())
        if session.scalar(query) is None:
            raise ForbiddenError(
                f"entry must be one that {user.name} may see, got {entry_id}: it is labelled "
                "blind by somebody else"
            )
    return entry


def add_second_pass(store: Store, percent: float, seed: int = 0, label: str = DETAIL) -> int:
    """Choose K % of the images for a blind second pass; more calls add, none takes away.

    Args:
        store: The store.
        percent: Part of all images, in (0, 100].
        seed: Decides which images; a larger percentage holds the smaller one's.
        label: The label that is labelled twice.

    Returns:
        How many images have a second pass now.

    Raises:
        StoreError: The percentage is out of range.
    """
    if not 0 < percent <= 100:
        raise StoreError(f"percent must be above 0 and at most 100, got {percent:g}: choose 10")
    store.label(label)
    with store.changing() as session:
        images = list(session.scalars(select(Image)))
        second = set(
            session.scalars(
                select(Entry.image_id).where(Entry.blind_pass == 2, Entry.label == label)
            )
        )
        # By a hash of the name, so that images which are added later change no earlier choice.
        images.sort(key=lambda i: hashlib.sha256(f"{seed} {i.name}".encode()).digest())
        chosen = images[: max(1, round(len(images) * percent / 100))]
        chosen_ids = {image.id for image in chosen} - second
        session.add_all(Entry(image_id=i, label=label, blind_pass=2) for i in sorted(chosen_ids))
        return len(second | {image.id for image in chosen})
