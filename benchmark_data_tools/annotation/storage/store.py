"""The store: every save is a revision that stays; files and database rows go together.

A save writes its file first and its row last, in one transaction, so that what was acknowledged
is on the disk twice over and what was not leaves at most an unclaimed file, which `verify` finds.

What was acknowledged counts until a person who saw it decides otherwise: it is in the head, or in
an open conflict beside it. So whoever replaces a head says which head they saw.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.storage import rules
from benchmark_data_tools.annotation.storage.claim import (
    DETAIL,
    MARKER,
    check_claim,
    claim,
    follow_renames,
    image_row,
    is_claimed,
    refuse_maps_of_other_types,
    sqlite_url,
)
from benchmark_data_tools.annotation.storage.database import connect, writing
from benchmark_data_tools.annotation.storage.dataset import (
    DEFAULT_PATTERN,
    FOLDER,
    Scan,
    check_pattern,
    scan,
)
from benchmark_data_tools.annotation.storage.drafts import Draft, Saved
from benchmark_data_tools.annotation.storage.errors import (
    ChangedError,
    ForbiddenError,
    HeldError,
    StoreError,
    UnknownError,
)
from benchmark_data_tools.annotation.storage.masks import (
    Mask,
    MaskError,
    check_levels,
    check_mask,
    decode_mask,
    encode_mask,
    is_detail,
    mask_sha256,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.people import User, program
from benchmark_data_tools.annotation.storage.tables import (
    LABEL_KINDS,
    PAINTED,
    Conflict,
    Entry,
    Event,
    Image,
    Label,
    LabelKind,
    Revision,
    Setting,
    Sighting,
)

FINISHED = ("done", "in_review", "accepted")
RESERVED = ("image", "alpha", "detailmap", FOLDER)  # folders that a label's masks must not enter


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
        cls,
        folder: Path,
        *,
        pattern: str | None = None,
        database: str | None = None,
        labels: Mapping[str, LabelKind] | None = None,
    ) -> tuple["Store", Scan]:
        """Make a store, or take in images that were added since.

        Detail maps that lie at the pattern's paths become first revisions.

        Args:
            folder: Holds `image/`.
            pattern: Path of finished detail maps within the folder; None for the one that the
                dataset has, which is DEFAULT_PATTERN at first.
            database: URL; None for SQLite in the dataset's own folder.
            labels: Labels to add beside "detail" -> what their masks are. Their finished masks
                lie in `NAME/{name}.png`.

        Returns:
            The store, and what the scan found.

        Raises:
            ValueError: The folder or the pattern cannot be used.
            DatabaseError: The database cannot be used.
        """
        if pattern is not None:
            check_pattern(pattern)
        found = scan(folder)
        if is_claimed(folder):
            store = cls.open(folder, database=database)
            if pattern not in (None, store.pattern):
                raise StoreError(
                    f"pattern must be this dataset's {store.pattern}, got {pattern}: "
                    "the first init has chosen it, leave it out"
                )
            refuse_maps_of_other_types(folder, store.pattern, found)
        else:
            pattern = pattern or DEFAULT_PATTERN
            refuse_maps_of_other_types(folder, pattern, found)
            (folder / FOLDER).mkdir(exist_ok=True)
            engine = connect(database or sqlite_url(folder))
            claim(folder, engine, pattern)
            store = cls(folder, engine)
        for name, kind in (labels or {}).items():
            store._add_label(name, kind)
        problems = (*found.problems, *store._take_in(found))
        return store, replace(found, problems=problems)

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
        if not is_claimed(folder):
            raise StoreError(
                f"{folder} must be a dataset made ready for annotation, got a folder without "
                f"{FOLDER}/{MARKER}: run `python -m benchmark_data_tools init {folder}`"
            )
        engine = connect(database or sqlite_url(folder))
        check_claim(folder, engine)
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

    def passes(self, entry_id: int) -> list[Entry]:
        """Return all passes of an entry's image under its label, itself among them."""
        entry = self.entry(entry_id)
        query = select(Entry).where(Entry.image_id == entry.image_id, Entry.label == entry.label)
        with self.reading() as session:
            return list(session.scalars(query.order_by(Entry.blind_pass)))

    def image(self, entry_id: int) -> Image:
        """Return an entry's image."""
        entry = self.entry(entry_id)
        with self.reading() as session:
            return session.get_one(Image, entry.image_id)

    def save(self, entry_id: int, draft: Draft) -> Saved:
        """Add a revision; it becomes the head if it was drawn on the head and nothing forbids it.

        A save upon an old revision or on one that is not here, or of somebody who may not change
        the head now, is kept and opens a conflict. What its author then draws on it goes on with
        the same conflict, and so do the same pixels saved again. The head's own pixels are no
        conflict, whoever saves them.

        Args:
            entry_id: The entry.
            draft: The mask, who drew it and upon what.

        Returns:
            What became of it.

        Raises:
            StoreError: The draft is wrong.
            ForbiddenError: The author knows the image's other pass.
            MaskError: The mask does not fit the image.
            OSError: The disk does not take it; nothing is changed.
        """
        draft.check()
        png, digest = self._encoded(entry_id, draft.mask)
        with self.changing() as session:
            entry = self.entry(entry_id, session)
            if (earlier := _earlier_save(session, entry, draft.save_id)) is not None:
                return earlier
            if draft.base_save not in (
                None,
                _fact(session, Revision.save_id, entry.id, draft.base),
            ):
                draft = replace(draft, base=0)  # so that it is kept beside the head
            # The very same pixels are no conflict, whatever they were drawn on.
            same = digest == _fact(session, Revision.mask_sha256, entry.id, entry.head)
            if same and draft.kind not in PAINTED:
                draft = replace(draft, base=entry.head)  # the head's authors stay known
            number = self._add(session, entry, draft, png, digest)
            stale = draft.base != entry.head and not same
            branch = session.scalar(
                select(Conflict).where(
                    Conflict.entry_id == entry_id,
                    Conflict.stale == draft.base,
                    Conflict.resolved_by.is_(None),
                )
            )
            drawn_by = _fact(session, Revision.author, entry_id, draft.base)
            if branch is not None and drawn_by != draft.author.name:
                branch = None
            writable = _writable(session, entry, draft.author, self.clock())
            if stale or not (writable or same):
                if branch is None:
                    branch = _same_branch(session, entry, draft.author, digest)
                if branch is None:
                    branch = Conflict(entry_id=entry_id, head=entry.head, stale=number)
                    session.add(branch)
                branch.stale = number
                session.flush()
                return Saved(number, entry.head, branch.id, entry.state)
            if branch is not None:
                branch.resolved_by = number
            if not writable:
                return Saved(number, entry.head, None, entry.state)
            self._set_head(session, entry, number, draft.author, same=same)
            if not same and draft.kind in PAINTED:
                self._give_to_who_draws(session, entry, draft.author)
            return Saved(number, number, None, entry.state)

    def _give_to_who_draws(self, session: Session, entry: Entry, author: User) -> None:
        """Give a free entry to who draws on it: a reviewer's page opens it without taking it."""
        lease = rules.lease_on(session, entry.id, self.clock())
        holds = lease is not None and lease.holder == author.name
        if holds and entry.assignee is None and entry.state == "in_work":
            entry.assignee = author.name

    def _add(self, session: Session, entry: Entry, draft: Draft, png: bytes, digest: str) -> int:
        """Write a revision's file and row; returns its number."""
        rules.check_blind(session, entry, draft.author)
        last = session.scalar(
            select(func.max(Revision.number)).where(Revision.entry_id == entry.id)
        )
        number = 1 + (last or 0)
        if not 0 <= draft.base < number:
            raise StoreError(
                f"base must be a revision of the entry, got {draft.base}: open the image anew"
            )
        now, author = self.clock(), draft.author.name
        seconds = rules.credible_seconds(session, entry.id, author, draft.active_seconds, now)
        file = f"{entry.id:06d}/{number:05d}-{draft.save_id}.png"
        write_atomically(self._revisions / file, png)
        session.add(
            Revision(
                entry_id=entry.id,
                number=number,
                parent=draft.base,
                save_id=draft.save_id,
                file=file,
                author=author,
                saved_at=now,
                active_seconds=seconds,
                strokes=draft.strokes,
                kind=draft.kind,
                detail_px=int(is_detail(draft.mask).sum()),
                mask_sha256=digest,
                tool_version=TOOL_VERSION,
            )
        )
        session.flush()
        return number

    def _set_head(
        self, session: Session, entry: Entry, number: int, author: User, *, same: bool = False
    ) -> None:
        """Make a revision the head; one of the same pixels leaves finished entries finished."""
        entry.head = number
        state = {
            "open": "in_work",
            "returned": "in_work",
            "done": "in_work",
            "skipped": "in_work",
            # What a reviewer changed needs another one's eyes.
            "accepted": "in_work" if author.alone else "in_review",
        }.get(entry.state)
        if state is not None and not (same and entry.state in FINISHED):
            entry.state = state
            session.add(Event(entry_id=entry.id, at=self.clock(), author=author.name, state=state))
        session.flush()
        self.publish(entry, session)

    def revisions(self, entry_id: int) -> list[Revision]:
        """Return an entry's revisions, oldest first."""
        with self.reading() as session:
            query = select(Revision).where(Revision.entry_id == entry_id)
            return list(session.scalars(query.order_by(Revision.number)))

    def numbers_of(self, entry_id: int, *save_ids: str) -> list[int]:
        """Return the numbers of revisions that somebody saw; 0 for "", where nothing was saved.

        After a restore of the database from a copy another revision may have the number of one
        that was shown, but never its `save_id`.

        Raises:
            ChangedError: One is not here.
        """
        numbers = {"": 0} | {one.save_id: one.number for one in self.revisions(entry_id)}
        if not numbers.keys() >= set(save_ids):
            raise ChangedError(
                "revision must be one that the server has, got one that it lacks, as after its "
                "restore from a copy: open the image anew and look at what is there"
            )
        return [numbers[save_id] for save_id in save_ids]

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

    def restore(self, entry_id: int, number: int, *, author: User, head: int) -> Saved:
        """Make an old revision's mask the newest revision.

        Args:
            entry_id: The entry.
            number: The old revision.
            author: Who restores it.
            head: The head that they saw.

        Returns:
            The new revision, which is the head.

        Raises:
            UnknownError: There is no such revision.
            ChangedError: Another save has become the head since.
            ForbiddenError, HeldError: They may not change the head now.
        """
        mask = self.mask(entry_id, number)
        if mask is None:
            raise UnknownError("revision must be 1 or more, got 0: choose one of the history")
        return self._replace(entry_id, Draft(mask, author, head, "restore"), {})

    def settle(
        self, entry_id: int, mask: Mask, *, author: User, head: int, stale: Mapping[int, int]
    ) -> Saved:
        """Settle conflicts with a mask that somebody chose or made of what they saw.

        Args:
            entry_id: The entry.
            mask: (H, W) uint8.
            author: Who settles them.
            head: The head that they saw.
            stale: Open conflicts that this settles -> the revision that they saw of each.

        Returns:
            The new revision, which is the head.

        Raises:
            UnknownError: One is no open conflict of the entry.
            ChangedError: The head, or a conflict's revision, is another one by now.
            ForbiddenError, HeldError: They may not change the head now.
        """
        return self._replace(entry_id, Draft(mask, author, head, "resolve"), stale)

    def _encoded(self, entry_id: int, mask: Mask) -> tuple[bytes, str]:
        """Return a mask that fits its entry as PNG, and its digest."""
        image = self.image(entry_id)
        check_mask(mask, image.width, image.height)
        check_levels(mask, self.label(self.entry(entry_id).label).kind)
        return encode_mask(mask), mask_sha256(mask)

    def _replace(self, entry_id: int, draft: Draft, stale: Mapping[int, int]) -> Saved:
        png, digest = self._encoded(entry_id, draft.mask)
        with self.changing() as session:
            entry = self.entry(entry_id, session)
            settled = self._settleable(session, entry, draft.author, draft.base, stale)
            number = self._add(session, entry, draft, png, digest)
            for conflict in settled:
                conflict.resolved_by = number
            self._set_head(session, entry, number, draft.author)
            return Saved(number, number, None, entry.state)

    def check_settlement(
        self, entry_id: int, *, author: User, head: int, stale: Mapping[int, int]
    ) -> None:
        """Raise what `settle` would now, before anybody decodes the masks of what was shown."""
        with self.reading() as session:
            self._settleable(session, self.entry(entry_id), author, head, stale)

    def _settleable(
        self, session: Session, entry: Entry, author: User, head: int, stale: Mapping[int, int]
    ) -> list[Conflict]:
        """Return the open conflicts, if they and the head are as they were shown."""
        rules.check_writable(session, entry, author, self.clock())
        if entry.head != head:
            raise ChangedError(
                f"head must be the one that was shown, revision {head}, got {entry.head}"
                ": somebody saved meanwhile, look at both again"
            )
        found = []
        for conflict_id, number in stale.items():
            conflict = session.get(Conflict, conflict_id)
            if (
                conflict is None
                or conflict.resolved_by is not None
                or conflict.entry_id != entry.id
            ):
                raise UnknownError(
                    f"conflict must be an open one, got {conflict_id}: open the image anew"
                )
            if conflict.stale != number:
                raise ChangedError(
                    f"conflict must be as it was shown, with revision {number}, got "
                    f"{conflict.stale}: its author drew on, look at both again"
                )
            found.append(conflict)
        return found

    def open_conflicts(self, entry_id: int | None = None) -> list[Conflict]:
        """Return unresolved conflicts, of one entry or of all."""
        query = select(Conflict).where(Conflict.resolved_by.is_(None)).order_by(Conflict.id)
        if entry_id is not None:
            query = query.where(Conflict.entry_id == entry_id)
        with self.reading() as session:
            return list(session.scalars(query))

    def sight(self, entry_id: int, user: User) -> None:
        """Remember that somebody looked at an entry's mask: they do not label its other pass."""
        if user.alone:
            return
        with self.reading() as session:
            if session.get(Sighting, (entry_id, user.name)) is not None:
                return
        with self.changing() as session:
            self.entry(entry_id, session)  # locked, so that two requests do not both add a row
            if session.get(Sighting, (entry_id, user.name)) is None:
                session.add(Sighting(entry_id=entry_id, person=user.name))

    def labels(self) -> list[Label]:
        """Return all labels, the first one first."""
        with self.reading() as session:
            found = list(session.scalars(select(Label).order_by(Label.name)))
        return sorted(found, key=lambda label: label.name != DETAIL)

    def label(self, name: str) -> Label:
        """Return a label; UnknownError where there is none of this name."""
        with self.reading() as session:
            found = session.get(Label, name)
        if found is None:
            raise UnknownError(
                f"label must be one of {', '.join(label.name for label in self.labels())}, got "
                f"{name}: add it with `init --label {name}`"
            )
        return found

    def published_path(self, image: Image, label: str = DETAIL) -> Path:
        """Return where an image's finished mask of a label lies."""
        return self.folder / self.label(label).pattern.replace("{name}", image.name)

    def publish(self, entry: Entry, session: Session | None = None) -> None:
        """Write a finished entry's mask to its place in the benchmark's layout.

        Args:
            entry: The entry.
            session: The open change that made its head, if any.
        """
        if entry.blind_pass != 1 or not entry.head or entry.state not in FINISHED:
            return
        with self.reading() if session is None else nullcontext(session) as found:
            revision = found.scalars(
                select(Revision).where(Revision.entry_id == entry.id, Revision.number == entry.head)
            ).one()
            image, label = found.get_one(Image, entry.image_id), found.get_one(Label, entry.label)
            path = self.folder / label.pattern.replace("{name}", image.name)
        write_atomically(path, (self._revisions / revision.file).read_bytes())

    @property
    def _revisions(self) -> Path:
        return self.folder / FOLDER / "revisions"

    def _add_label(self, name: str, kind: LabelKind) -> None:
        reserved = dict.fromkeys((*RESERVED, PurePosixPath(self.pattern).parts[0]))
        if not re.fullmatch(r"[\w-]{1,64}", name) or name in reserved:
            raise StoreError(
                f"label must be 1 to 64 letters, digits or dashes and none of "
                f"{', '.join(reserved)}, got {name!r}: choose another name"
            )
        if kind not in LABEL_KINDS:
            raise StoreError(
                f"kind of label {name} must be one of {', '.join(LABEL_KINDS)}, got {kind!r}: "
                f"write for instance {name}:mask"
            )
        with self.changing() as session:
            present = session.get(Label, name)
            if present is None:
                session.add(Label(name=name, kind=kind, pattern=f"{name}/{{name}}.png"))
            elif present.kind != kind:
                raise StoreError(
                    f"label {name} must stay a {present.kind}, got {kind}: choose another name"
                )

    def _move_published(self, renamed: Mapping[str, str]) -> None:
        for label in self.labels():
            for old, new in renamed.items():
                before, after = (
                    self.folder / label.pattern.replace("{name}", name) for name in (old, new)
                )
                if before.is_file() and not after.exists():
                    before.rename(after)

    def _take_in(self, found: Scan) -> list[str]:
        """Take in what a scan found; returns a sentence for each image that has moved or gone."""
        with self.changing() as session:
            present = {image.name: image for image in session.scalars(select(Image))}
            renamed = follow_renames(present, found.pictures)
            present = {image.name: image for image in present.values()}
            added = []
            for picture in found.pictures:
                if picture.name not in present:
                    added.append(image_row(picture))
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
            images = list(session.scalars(select(Image).order_by(Image.name)))
            missing = [
                (image, label)
                for label in session.scalars(select(Label))
                for image in _without_entry(session, images, label.name)
            ]
            entries = [Entry(image_id=image.id, label=label.name) for image, label in missing]
            session.add_all(entries)
            session.flush()
            # Those of an earlier call too, which may have stopped before it took their masks in.
            unsaved = session.execute(
                select(Entry.id, Image, Label)
                .join(Image, Image.id == Entry.image_id)
                .join(Label, Label.name == Entry.label)
                .where(Entry.blind_pass == 1, Entry.head == 0)
                .order_by(Entry.id)
            ).all()
        self._move_published(renamed)
        for entry_id, image, label in unsaved:
            file = label.pattern.replace("{name}", image.name)
            path = self.folder / file
            if path.is_file():
                try:
                    mask = decode_mask(path.read_bytes(), image.width, image.height)
                    self.save(entry_id, Draft(mask, program("init"), 0, "import"))
                except MaskError as error:
                    raise MaskError(f"{file}: {error}") from error
        return [
            *(f"{old} is named {new} now: its work goes with it" for old, new in renamed.items()),
            *(
                f"{i.file} is gone: put it back"
                for i in images
                if not (self.folder / i.file).is_file()
            ),
        ]


def _without_entry(session: Session, images: list[Image], label: str) -> list[Image]:
    present = set(session.scalars(select(Entry.image_id).where(Entry.label == label)))
    return [image for image in images if image.id not in present]


def _writable(session: Session, entry: Entry, author: User, now: float) -> bool:
    try:
        rules.check_writable(session, entry, author, now)
    except (ForbiddenError, HeldError):
        return False
    return True


def _fact(
    session: Session, column: InstrumentedAttribute[str], entry_id: int, number: int
) -> str | None:
    """Return a column of a revision; None where there is no such revision."""
    return session.scalar(
        select(column).where(Revision.entry_id == entry_id, Revision.number == number)
    )


def _same_branch(session: Session, entry: Entry, author: User, digest: str) -> Conflict | None:
    """Return the open conflict in which the author saved the very same pixels, if there is one."""
    return session.scalar(
        select(Conflict)
        .join(
            Revision,
            (Revision.entry_id == Conflict.entry_id) & (Revision.number == Conflict.stale),
        )
        .where(Conflict.entry_id == entry.id, Conflict.resolved_by.is_(None))
        .where(Revision.author == author.name, Revision.mask_sha256 == digest)
        .limit(1)
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
    return Saved(revision.number, entry.head, conflict, entry.state)
