"""Check that files and rows go together, and repair what does not; no mask is ever deleted."""

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path

from sqlalchemy import delete, func, select, update

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.masks import (
    MaskError,
    check_levels,
    decode_mask,
    mask_sha256,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.people import program
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import Conflict, Entry, Event, Image, Revision


def verify(store: Store, *, repair: bool = False) -> list[str]:
    """Compare every row with its file and every file with its row.

    Repairs: a lost file is written again where its mask is found elsewhere, else its row moves to
    `annotation/lost.jsonl`, and an entry that it finished goes back to work; files without rows
    move to `annotation/unclaimed/`, and an entry's newest, where the database is older, becomes a
    revision beside the head; so does a finished map that someone else changed, which is then
    written anew.

    Args:
        store: The store; nobody may save meanwhile when repairing.
        repair: Whether to repair.

    Returns:
        A sentence for each problem.
    """
    return [
        *_revisions(store, repair),
        *_unclaimed(store, repair),
        *_published(store, repair),
        *_images(store),
    ]


def _read(path: Path, image: Image) -> str | None:
    """Return a file's mask hash; None where it is missing or no mask of the image."""
    try:
        return mask_sha256(decode_mask(path.read_bytes(), image.width, image.height))
    except (FileNotFoundError, MaskError):
        return None


def _revisions(store: Store, repair: bool) -> Iterator[str]:
    folder = store.folder / FOLDER / "revisions"
    with store.reading() as session:
        rows = session.execute(
            select(Revision, Image, Entry.label)
            .join(Entry, Entry.id == Revision.entry_id)
            .join(Image, Image.id == Entry.image_id)
            .order_by(Revision.entry_id, Revision.number)
        ).all()
    sound: dict[str, Path] = {}
    broken: list[tuple[Revision, Image, str]] = []
    for revision, image, label in rows:
        path = folder / revision.file
        if _read(path, image) == revision.mask_sha256:
            sound[revision.mask_sha256] = path
        else:
            broken.append((revision, image, label))
    for revision, image, label in broken:
        path = folder / revision.file
        problem = (
            f"revision {revision.number} of {image.name}: its file is "
            f"{'damaged' if path.exists() else 'missing'}"
        )
        if not repair:
            yield problem
            continue
        places = [
            *([sound[revision.mask_sha256]] if revision.mask_sha256 in sound else []),
            store.published_path(image, label),
            store.folder / FOLDER / "unclaimed" / path.name,  # of an earlier repair
        ]
        found = [place for place in places if _read(place, image) == revision.mask_sha256]
        mask = found[0].read_bytes() if found else None
        if path.exists():
            _set_aside(store, path)
        if mask is not None:
            write_atomically(path, mask)
        else:
            _give_up(store, revision)
            problem += f"; its mask is lost, and its row is in {FOLDER}/lost.jsonl"
        yield problem


def _give_up(store: Store, lost: Revision) -> None:
    """Take a row out whose mask is gone; its children and the head fall back on its parent.

    A conflict that it settled is open again, and nobody has finished what is the head then.
    """
    record = {column.name: getattr(lost, column.name) for column in Revision.__table__.columns}
    log = store.folder / FOLDER / "lost.jsonl"
    earlier = log.read_bytes() if log.is_file() else b""
    write_atomically(log, earlier + json.dumps(record).encode() + b"\n")
    with store.changing() as session:
        same_entry = Revision.entry_id == lost.entry_id
        parent = session.get_one(Revision, lost.id).parent
        session.execute(
            update(Revision).where(same_entry, Revision.parent == lost.number).values(parent=parent)
        )
        line = select(Revision.number, Revision.parent).where(same_entry)
        parents = dict(session.execute(line).all())
        entry = store.entry(lost.entry_id, session)
        if entry.head == lost.number:
            entry.head = parent
            if entry.state in FINISHED:
                entry.state, entry.comment = "in_work", "The finished mask is lost with its file."
                session.add(
                    Event(
                        entry_id=entry.id,
                        at=store.clock(),
                        author="verify",
                        state=entry.state,
                        comment=entry.comment,
                    )
                )
        conflicts = select(Conflict).where(Conflict.entry_id == lost.entry_id)
        for conflict in session.scalars(conflicts):
            conflict.head = parent if conflict.head == lost.number else conflict.head
            if conflict.resolved_by == lost.number:
                conflict.resolved_by = None
            if conflict.stale == lost.number:
                # What was drawn before on that branch stays in its conflict.
                conflict.stale = parent
                if parent in _line(parents, conflict.head):
                    session.delete(conflict)
        session.execute(delete(Revision).where(Revision.id == lost.id))


def _line(parents: Mapping[int, int], number: int) -> Iterator[int]:
    """Yield a revision and what it was drawn on, down to 0, the empty mask."""
    while number:
        yield number
        number = parents[number]
    yield 0


def _unclaimed(store: Store, repair: bool) -> Iterator[str]:
    folder = store.folder / FOLDER / "revisions"
    with store.reading() as session:
        claimed = set(session.scalars(select(Revision.file)))
    files = {
        name: path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix()) not in claimed
    }
    for name in files:
        yield (
            f"{name} belongs to no revision: its save was never acknowledged, or is newer than the "
            "database"
        )
    if repair:
        for entry, image, path in _newer(store, files):
            _keep_foreign(store, entry, image, path)
        for path in files.values():
            if path.exists():
                _set_aside(store, path)


def _newer(store: Store, files: Mapping[str, Path]) -> Iterator[tuple[Entry, Image, Path]]:
    """Yield each entry's newest file that is newer than its rows, as after a restored backup."""
    last = select(Revision.entry_id, func.max(Revision.number)).group_by(Revision.entry_id)
    with store.reading() as session:
        rows = session.execute(select(Entry, Image).join(Image, Image.id == Entry.image_id)).all()
        newest = dict(session.execute(last).all())
    found: dict[int, Path] = {}
    for name, path in files.items():  # in order of number
        match = re.fullmatch(r"(\d{6})/(\d{5})-.*\.png", name)
        if match and int(match[2]) > newest.get(int(match[1]), 0):
            found[int(match[1])] = path
    yield from ((entry, image, found[entry.id]) for entry, image in rows if entry.id in found)


def _set_aside(store: Store, path: Path) -> None:
    folder = store.folder / FOLDER / "unclaimed"
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    for number in count(2):
        if not target.exists():
            break
        target = folder / f"{path.stem}-{number}{path.suffix}"
    path.replace(target)


def _published(store: Store, repair: bool) -> Iterator[str]:
    with store.reading() as session:
        rows = session.execute(
            select(Entry, Image, Revision.mask_sha256)
            .join(Image, Image.id == Entry.image_id)
            .join(Revision, (Revision.entry_id == Entry.id) & (Revision.number == Entry.head))
            .where(Entry.blind_pass == 1, Entry.state.in_(FINISHED))
        ).all()
    for entry, image, expected in rows:
        path = store.published_path(image, entry.label)
        if _read(path, image) == expected:
            continue
        yield f"{path.name} is not the finished mask of {image.name}"
        if repair:
            _keep_foreign(store, entry, image, path)
            store.publish(entry)


def _keep_foreign(store: Store, entry: Entry, image: Image, path: Path) -> None:
    """Keep a file that is no revision's as one beside the head; what is no mask is set aside."""
    try:
        mask = decode_mask(path.read_bytes(), image.width, image.height)
        check_levels(mask, store.label(entry.label).kind)
    except FileNotFoundError:
        return
    except MaskError:
        _set_aside(store, path)
        return
    known = {revision.mask_sha256 for revision in store.revisions(entry.id)}
    if mask_sha256(mask) not in known:
        store.save(entry.id, Draft(mask, program("verify"), 0, "found"))


def _images(store: Store) -> Iterator[str]:
    with store.reading() as session:
        images = list(session.scalars(select(Image).order_by(Image.name)))
    for image in images:
        path = store.folder / image.file
        if not path.is_file():
            yield f"{image.file} is gone: put it back"
        elif sha256(path.read_bytes()).hexdigest() != image.sha256:
            yield f"{image.file} has changed since it was taken in: run init to accept it"
