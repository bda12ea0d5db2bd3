"""The store: every save is a revision that stays; files and database rows go together.

A save writes its file first and its row last, in one transaction, so that what was acknowledged
is on the disk twice over and what was not leaves at most an unclaimed file, which `verify` finds.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.storage.database import connect, writing
from benchmark_data_tools.annotation.storage.dataset import (
    DEFAULT_PATTERN,
    FOLDER,
    Picture,
    Scan,
    check_pattern,
    scan,
)
from benchmark_data_tools.annotation.storage.masks import (
    Mask,
    check_mask,
    decode_mask,
    encode_mask,
    is_detail,
    mask_sha256,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.tables import (
    KINDS,
    Conflict,
    Entry,
    Image,
    Kind,
    Revision,
    Setting,
)

FINISHED = ("done", "in_review", "accepted")
LOCKED = ("in_review", "accepted")


class StoreError(ValueError):
    """The store refuses; the message says what to do."""


class UnknownError(StoreError):
    """There is no such entry, revision or conflict in this dataset."""


@dataclass(frozen=True)
class Saved:
    """An acknowledged save.

    Args:
        number: The new revision's number.
        head: The number of the revision that counts now.
        conflict: The conflict that this save opened; None where it became the head.
    """

    number: int
    head: int
    conflict: int | None


class Store:
    """An opened dataset.

    Args:
        folder: The dataset's folder.
        engine: Its database.
        clock: Tells seconds since 1970.
    """

    def __init__(
        self, folder: Path, engine: Engine, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.clock, self.engine = folder, clock, engine
        self._reading = sessionmaker(engine, expire_on_commit=False)
        self._writing = sessionmaker(writing(engine), expire_on_commit=False)
        with self.reading() as session:
            self.pattern = session.get_one(Setting, "pattern").value
            self.identity = session.get_one(Setting, "dataset").value

    @classmethod
    def create(
        cls, folder: Path, *, pattern: str = DEFAULT_PATTERN, database: str | None = None
    ) -> tuple["Store", Scan]:
        """Make a store, or take in images that were added since.

        Detail maps that lie at the pattern's paths become first revisions.

        Args:
            folder: Holds `image/`.
            pattern: Path of finished detail maps within the folder.
            database: URL; None for SQLite in the dataset's own folder.

        Returns:
            The store, and what the scan found.

        Raises:
            ValueError: The folder or the pattern cannot be used.
            DatabaseError: The database cannot be used.
        """
        check_pattern(pattern)
        found = scan(folder)
        _refuse_maps_of_other_types(folder, pattern, found)
        (folder / FOLDER).mkdir(exist_ok=True)
        engine = connect(database or _sqlite_url(folder))
        _claim(folder, engine, pattern)
        store = cls(folder, engine)
        if store.pattern != pattern:
            raise StoreError(
                f"pattern must be this dataset's {store.pattern}, got {pattern}: "
                "it cannot change once work has begun"
            )
        store._take_in(found)
        return store, found

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        database: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> "Store":
        """Open a store that `create` made.

        Raises:
            StoreError: There is none, or the database belongs to another dataset.
            DatabaseError: The database cannot be used.
        """
        marker = folder / FOLDER / "dataset.json"
        if not marker.is_file():
            raise StoreError(
                f"{folder} must be a dataset made ready for annotation, got a folder without "
                f"{FOLDER}/dataset.json: run `python -m benchmark_data_tools init {folder}`"
            )
        engine = connect(database or _sqlite_url(folder))
        _check_claim(marker, engine)
        return cls(folder, engine, clock)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session for reading."""
        with self._reading() as session:
            yield session

    @contextmanager
    def changing(self) -> Iterator[Session]:
        """Give a session that commits at its end, or rolls back."""
        with self._writing.begin() as session:
            yield session

    def entry(self, entry_id: int, session: Session | None = None) -> Entry:
        """Return an entry, locked where a session for changes is given; else UnknownError."""
        query = select(Entry).where(Entry.id == entry_id)
        if session is not None:
            found = session.scalar(query.with_for_update())
        else:
            with self.reading() as own:
                found = own.scalar(query)
        if found is None:
            raise UnknownError(
                f"entry must be one of this dataset, got {entry_id}: open the queue anew"
            )
        return found

    def image(self, entry_id: int) -> Image:
        """Return an entry's image."""
        entry = self.entry(entry_id)
        with self.reading() as session:
            return session.get_one(Image, entry.image_id)

    def save(
        self,
        entry_id: int,
        mask: Mask,
        *,
        author: str,
        base: int,
        kind: Kind = "paint",
        strokes: int = 0,
        active_seconds: float = 0.0,
        save_id: str | None = None,
        privileged: bool = False,
    ) -> Saved:
        """Add a revision; it becomes the head if it was drawn on the head.

        Args:
            entry_id: The entry.
            mask: (H, W) uint8.
            author: Who drew it.
            base: Number of the revision that was drawn on; 0 for the empty mask.
            kind: How it came about.
            strokes: Strokes since that revision.
            active_seconds: Seconds of work since that revision.
            save_id: 32 hexadecimal digits that name this save; sent again, they save nothing
                twice. None takes new ones.
            privileged: Whether an entry under review may change its head.

        Returns:
            What became of it. A save upon an old revision is kept, and opens a conflict.

        Raises:
            StoreError: An argument is wrong.
            MaskError: The mask does not fit the image.
            OSError: The disk does not take it; nothing is changed.
        """
        save_id = token_hex(16) if save_id is None else save_id
        _check_save(kind, strokes, active_seconds, save_id)
        image = self.image(entry_id)
        check_mask(mask, image.width, image.height)
        png, digest = encode_mask(mask), mask_sha256(mask)
        with self.changing() as session:
            entry = self.entry(entry_id, session)
            if (earlier := _earlier_save(session, entry, save_id)) is not None:
                return earlier
            last = session.scalar(
                select(func.max(Revision.number)).where(Revision.entry_id == entry_id)
            )
            number = 1 + (last or 0)
            if not 0 <= base < number:
                raise StoreError(
                    f"base must be a revision of the entry, got {base}: open the image anew"
                )
            file = f"{entry_id:06d}/{number:05d}-{save_id}.png"
            write_atomically(self._revisions / file, png)
            session.add(
                Revision(
                    entry_id=entry_id,
                    number=number,
                    parent=base,
                    save_id=save_id,
                    file=file,
                    author=author,
                    saved_at=self.clock(),
                    active_seconds=active_seconds,
                    strokes=strokes,
                    kind=kind,
                    detail_px=int(is_detail(mask).sum()),
                    mask_sha256=digest,
                    tool_version=TOOL_VERSION,
                )
            )
            conflict = None
            head = session.scalar(
                select(Revision.mask_sha256).where(
                    Revision.entry_id == entry_id, Revision.number == entry.head
                )
            )
            # The very same pixels are no conflict, whatever they were drawn on.
            stale = base != entry.head and digest != head
            if stale or (entry.state in LOCKED and not privileged):
                conflict = Conflict(entry_id=entry_id, kept=entry.head, stale=number)
                session.add(conflict)
                session.flush()
            else:
                entry.head = number
                if entry.state in ("open", "returned", "done", "skipped"):
                    entry.state = "in_work"
            return Saved(number, entry.head, conflict.id if conflict else None)

    def revisions(self, entry_id: int) -> list[Revision]:
        """Return an entry's revisions, oldest first."""
        with self.reading() as session:
            query = select(Revision).where(Revision.entry_id == entry_id)
            return list(session.scalars(query.order_by(Revision.number)))

    def revision(self, entry_id: int, number: int) -> Revision:
        """Return one revision; UnknownError where there is none."""
        with self.reading() as session:
            found = session.scalar(
                select(Revision).where(Revision.entry_id == entry_id, Revision.number == number)
            )
        if found is None:
            raise UnknownError(
                f"revision must be one of entry {entry_id}, got {number}: open its history anew"
            )
        return found

    def mask_png(self, entry_id: int, number: int) -> bytes:
        """Return the file of a revision, which is never 0."""
        return (self._revisions / self.revision(entry_id, number).file).read_bytes()

    def mask(self, entry_id: int, number: int | None = None) -> Mask | None:
        """Return a revision's mask, (H, W) uint8; the head's for None.

        Returns:
            The mask; None where the entry has no revision yet.
        """
        image = self.image(entry_id)
        number = self.entry(entry_id).head if number is None else number
        if number == 0:
            return None
        return decode_mask(self.mask_png(entry_id, number), image.width, image.height)

    def restore(
        self, entry_id: int, number: int, *, author: str, privileged: bool = False
    ) -> Saved:
        """Make an old revision's mask the newest revision."""
        mask = self.mask(entry_id, number)
        if mask is None:
            raise UnknownError("revision must be 1 or more, got 0: choose one of the history")
        head = self.entry(entry_id).head
        return self.save(
            entry_id, mask, author=author, base=head, kind="restore", privileged=privileged
        )

    def open_conflicts(self, entry_id: int | None = None) -> list[Conflict]:
        """Return unresolved conflicts, of one entry or of all."""
        query = select(Conflict).where(Conflict.resolved_by.is_(None)).order_by(Conflict.id)
        if entry_id is not None:
            query = query.where(Conflict.entry_id == entry_id)
        with self.reading() as session:
            return list(session.scalars(query))

    def resolve(
        self, conflict_id: int, mask: Mask, *, author: str, privileged: bool = False
    ) -> Saved:
        """Settle a conflict with a mask: one of the two, or what a person made of both.

        Args:
            conflict_id: The conflict.
            mask: (H, W) uint8.
            author: Who settles it.
            privileged: Whether an entry under review may change its head.

        Returns:
            The new revision, which is the head.

        Raises:
            UnknownError: There is no such open conflict.
            StoreError: The entry is under review, or was saved in between.
        """
        with self.reading() as session:
            conflict = session.get(Conflict, conflict_id)
        if conflict is None or conflict.resolved_by is not None:
            raise UnknownError(
                f"conflict must be an open one, got {conflict_id}: open the image anew"
            )
        entry = self.entry(conflict.entry_id)
        if entry.state in LOCKED and not privileged:
            raise StoreError(
                f"conflict must be settled by a reviewer while the entry is {entry.state}, got "
                f"{author}: ask a reviewer"
            )
        saved = self.save(
            entry.id, mask, author=author, base=entry.head, kind="resolve", privileged=privileged
        )
        if saved.conflict is None:
            with self.changing() as session:
                session.get_one(Conflict, conflict_id).resolved_by = saved.number
        return saved

    def published_path(self, image: Image) -> Path:
        """Return where an image's finished detail map lies."""
        return self.folder / self.pattern.replace("{name}", image.name)

    def publish(self, entry: Entry) -> None:
        """Write a finished entry's mask to its place in the benchmark's layout."""
        if entry.blind_pass == 1 and entry.head and entry.state in FINISHED:
            image = self.image(entry.id)
            write_atomically(self.published_path(image), self.mask_png(entry.id, entry.head))

    @property
    def _revisions(self) -> Path:
        return self.folder / FOLDER / "revisions"

    def _take_in(self, found: Scan) -> None:
        with self.changing() as session:
            present = {image.name: image for image in session.scalars(select(Image))}
            added = []
            for picture in found.pictures:
                if picture.name not in present:
                    added.append(_row(picture))
                    continue
                image = present[picture.name]
                if (image.width, image.height) != (picture.width, picture.height):
                    raise StoreError(
                        f"{picture.file} must stay {image.width}x{image.height}, got "
                        f"{picture.width}x{picture.height}: give the new image another name"
                    )
                image.file, image.alpha_file = picture.file, picture.alpha_file
                image.sha256 = picture.sha256
            session.add_all(added)
            session.flush()
            entries = [Entry(image_id=image.id) for image in added]
            session.add_all(entries)
            session.flush()
            pairs = [(entry.id, image) for entry, image in zip(entries, added, strict=True)]
        for entry_id, image in pairs:
            path = self.published_path(image)
            if path.is_file():
                mask = decode_mask(path.read_bytes(), image.width, image.height)
                self.save(entry_id, mask, author="init", base=0, kind="import")


def _row(picture: Picture) -> Image:
    return Image(
        name=picture.name,
        file=picture.file,
        alpha_file=picture.alpha_file,
        width=picture.width,
        height=picture.height,
        sha256=picture.sha256,
    )


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{(folder / FOLDER / 'store.db').absolute()}"


def _refuse_maps_of_other_types(folder: Path, pattern: str, found: Scan) -> None:
    """Two files of one name, .jpg and .png, would leave open which one is the detail map."""
    for picture in found.pictures:
        path = folder / pattern.replace("{name}", picture.name)
        others = [o for o in path.parent.glob(f"{_escaped(path.stem)}.*") if o.suffix != ".png"]
        if others:
            raise StoreError(
                f"pattern must name files of its own, got {pattern} beside {others[0].name}: "
                "choose --pattern 'detailmap_png/{name}_cloud_trimap.png' and take the old maps "
                "in with the import command"
            )


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _claim(folder: Path, engine: Engine, pattern: str) -> None:
    """Mark folder and database as belonging together, once."""
    marker = folder / FOLDER / "dataset.json"
    if marker.is_file():
        _check_claim(marker, engine)
        return
    identity = token_hex(16)
    with Session(writing(engine)) as session, session.begin():
        if session.get(Setting, "dataset") is not None:
            raise StoreError(
                "database must be empty for a new dataset, got one in use: name another database, "
                f"or restore {marker}"
            )
        session.add_all(
            [Setting(name="dataset", value=identity), Setting(name="pattern", value=pattern)]
        )
    write_atomically(marker, json.dumps({"dataset": identity}).encode())


def _check_claim(marker: Path, engine: Engine) -> None:
    with Session(engine) as session:
        setting = session.get(Setting, "dataset")
    if setting is None or setting.value != json.loads(marker.read_text("utf-8"))["dataset"]:
        raise StoreError(
            f"database must belong to {marker.parent.parent}, got another dataset's or an empty "
            "one: correct --database"
        )


def _check_save(kind: str, strokes: int, active_seconds: float, save_id: str) -> None:
    if kind not in KINDS:
        raise StoreError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}: choose one")
    if strokes < 0 or not 0 <= active_seconds < 1e6:
        raise StoreError(
            f"strokes and active_seconds must be 0 or more, got {strokes} and {active_seconds}: "
            "count since the last save"
        )
    if not re.fullmatch(r"[0-9a-f]{32}", save_id):
        raise StoreError(
            f"save_id must be 32 hexadecimal digits, got {save_id!r}: make a random one a save"
        )


def _earlier_save(session: Session, entry: Entry, save_id: str) -> Saved | None:
    """What became of the same save before: its answer may not have reached the page."""
    revision = session.scalar(select(Revision).where(Revision.save_id == save_id))
    if revision is None:
        return None
    if revision.entry_id != entry.id:
        raise StoreError(f"save_id must be of this entry, got {save_id} of another: make a new one")
    conflict = session.scalar(
        select(Conflict.id).where(Conflict.entry_id == entry.id, Conflict.stale == revision.number)
    )
    return Saved(revision.number, entry.head, conflict)
