"""The database's tables.

Times are seconds since 1970 (UTC), as floats: both databases store and compare them alike.
A change here needs a migration beside it; a test compares the two.
"""

from typing import Literal, get_args

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Double

State = Literal["open", "in_work", "done", "skipped", "in_review", "accepted", "returned"]
Kind = Literal["paint", "proposal", "correction", "import", "restore", "resolve", "found"]
STATES: tuple[State, ...] = get_args(State)
LabelKind = Literal["mask", "trimap", "alpha"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
PAINTED: tuple[Kind, ...] = ("paint", "proposal", "correction")  # kinds that somebody drew


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {float: Double}  # noqa: RUF012  # SQLAlchemy's way to configure a base


class Setting(Table):
    """A named value of the dataset: its identity, its file pattern."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Image(Table):
    """An image of the dataset; width and height are those of the upright picture."""

    __tablename__ = "image"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    file: Mapped[str] = mapped_column(String(512))
    alpha_file: Mapped[str | None] = mapped_column(String(512))
    width: Mapped[int]
    height: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64), index=True)


class Label(Table):
    """What is labelled, such as hair: each image has an entry for each label.

    `kind` says what a mask's levels mean: "mask" counts from half strength on, "trimap" has the
    values 0, 128 and 255, "alpha" is a matte. `pattern` is the path of finished masks.
    """

    __tablename__ = "label"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    pattern: Mapped[str] = mapped_column(Text)


class Entry(Table):
    """An image's place in the queue under a label: the first pass over it, or a blind second one.

    `head` is the number of the revision that counts; 0 means that nothing is saved yet. `taken`
    says that the assignee has it by a lease alone; no reviewer assigned it, and no work is known.
    """

    __tablename__ = "entry"
    __table_args__ = (UniqueConstraint("image_id", "label", "blind_pass", name="uq_entry_place"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    label: Mapped[str] = mapped_column(String(64), ForeignKey("label.name"), default="detail")
    blind_pass: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(String(16), default="open", index=True)
    assignee: Mapped[str | None] = mapped_column(String(64))
    taken: Mapped[bool] = mapped_column(default=False)
    head: Mapped[int] = mapped_column(default=0)
    comment: Mapped[str] = mapped_column(Text, default="")
    note: Mapped[str] = mapped_column(Text, default="")
    flagged: Mapped[bool] = mapped_column(default=False)


class Revision(Table):
    """One save. Rows are added and never changed."""

    __tablename__ = "revision"
    __table_args__ = (UniqueConstraint("entry_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"))
    number: Mapped[int]
    parent: Mapped[int]
    save_id: Mapped[str] = mapped_column(String(32), unique=True)
    file: Mapped[str] = mapped_column(String(255))
    author: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[float]
    active_seconds: Mapped[float]
    strokes: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    detail_px: Mapped[int]
    mask_sha256: Mapped[str] = mapped_column(String(64))
    tool_version: Mapped[str] = mapped_column(String(16))


class Lease(Table):
    """Who works on an entry, until when; the token tells two tabs of one person apart."""

    __tablename__ = "lease"
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    token: Mapped[str] = mapped_column(String(32))
    taken_at: Mapped[float]
    expires_at: Mapped[float]


class Sighting(Table):
    """Who has looked at a mask of an image with two passes: they do not label the other one."""

    __tablename__ = "sighting"
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"), primary_key=True)
    person: Mapped[str] = mapped_column(String(64), primary_key=True)


class Conflict(Table):
    """A save that could not become the head: `head` was the head when it came in.

    `stale` is the newest revision of its author on that branch.
    """

    __tablename__ = "conflict"
    __table_args__ = (Index("ix_conflict_open", "entry_id", "resolved_by"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"))
    head: Mapped[int] = mapped_column("kept")
    stale: Mapped[int]
    resolved_by: Mapped[int | None]


class Event(Table):
    """A change of state: who did it, when, and what was said."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"), index=True)
    at: Mapped[float]
    author: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(Text, default="")


class Pin(Table):
    """A comment pinned to a place of an image, in pixels."""

    __tablename__ = "pin"
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"), index=True)
    x: Mapped[float]
    y: Mapped[float]
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[float]
    text: Mapped[str] = mapped_column(Text)
    settled_by: Mapped[str | None] = mapped_column(String(64))


class Preference(Table):
    """A person's own settings and keys, as JSON."""

    __tablename__ = "preference"
    person: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
