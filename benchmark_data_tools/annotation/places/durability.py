"""Where the work is kept: a disk that stays, a Hub dataset or, said plainly, nowhere safe."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub import CommitInfo, CommitScheduler, HfApi
from huggingface_hub.errors import (  # type: ignore[attr-defined] # its stubs leave HTTPError out
    HTTPError,  # httpx's or httpx2's, whichever the package uses
    RepositoryNotFoundError,
)
from sqlalchemy import select

from benchmark_data_tools.annotation.places.mounts import takes_databases
from benchmark_data_tools.annotation.storage.database import connect
from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image, LabelKind

SPACE_DISK = Path("/data")
NOT_SAFE = (
    "This server's disk is lost at its next restart, and your work with it. Its owner must mount "
    "a Storage Bucket at /data, or start it with --hub-dataset USER/NAME."
)
MINUTES = 5.0
_SNAPSHOT = "snapshot.db"
LEFT_OUT = [
    *("store.db*", "fetched.db", "copied.db", "cache/*", "session.key", "users.json", "*.part")
]


def on_a_space() -> bool:
    """Whether this runs on a Hugging Face Space."""
    return "SPACE_ID" in os.environ


def safe_folder(folder: Path, disk: Path) -> Path:
    """Return where a Space keeps a dataset: on its persistent disk where it has one.

    Args:
        folder: The dataset's folder, as deployed.
        disk: Where a persistent disk would be, SPACE_DISK.

    Returns:
        The folder to work in; a first use copies the dataset there. A bucket is no such disk
        (`space_bucket`).
    """
    if not _mounted(disk) or folder.is_relative_to(disk) or not takes_databases(disk):
        return folder
    safe = disk / folder.name
    if not safe.exists():
        part = safe.with_name(f".{safe.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.rename(safe)
    return safe


def space_bucket(folder: Path, disk: Path) -> Path | None:
    """Return where a Space's bucket keeps copies of a dataset's work; None without a bucket."""
    return disk / folder.name if _mounted(disk) and not takes_databases(disk) else None


def _mounted(disk: Path) -> bool:
    return on_a_space() and disk.is_dir()


def warning(folder: Path, *, copied: bool, disk: Path) -> str:
    """Return what to tell people about the disk; empty where their work is safe."""
    return "" if not on_a_space() or copied or folder.is_relative_to(disk) else NOT_SAFE


def restore_from_hub(folder: Path, hub_dataset: str, api: HfApi | None = None) -> bool:
    """Fetch `annotation/` from a Hub dataset, unless this disk's work is the further one.

    A Space starts with the files that were deployed, an empty database perhaps among them: that
    one is there tells nothing. The two are compared by their saves and changes of state.

    Args:
        folder: The dataset's folder.
        hub_dataset: USER/NAME.
        api: The Hub.

    Returns:
        Whether it was fetched.

    Raises:
        StoreError: Each holds work that the other lacks, the copy cannot take in an image, or they
            are of different datasets.
    """
    fetched = folder / FOLDER / _SNAPSHOT
    api = api or HfApi()
    try:
        names = api.list_repo_files(hub_dataset, repo_type="dataset")
    except RepositoryNotFoundError:
        return False
    if f"{FOLDER}/{_SNAPSHOT}" not in names:
        return False
    api.snapshot_download(
        hub_dataset,
        repo_type="dataset",
        local_dir=folder,
        allow_patterns=f"{FOLDER}/{_SNAPSHOT}",
    )

    def fetch_files() -> None:
        api.snapshot_download(
            hub_dataset, repo_type="dataset", local_dir=folder, allow_patterns=f"{FOLDER}/**"
        )

    return take_over(folder, fetched, f"hub_dataset {hub_dataset}", fetch_files)


@contextmanager
def explain_hub_errors() -> Iterator[None]:
    """Turn what the Hub refuses, or a network that is down, into what to do about it."""
    try:
        yield
    except HTTPError as error:  # the Hub's own among them, which are OSErrors, too
        raise StoreError(
            f"Hub must be reachable and take the work, got {error}: check HF_TOKEN and the network"
        ) from error


def take_over(folder: Path, fetched: Path, where: str, fetch_files: Callable[[], None]) -> bool:
    """Put a copy's database in the place of this disk's, unless this disk's is the further one.

    Args:
        folder: The dataset's folder.
        fetched: The copy's database, in `annotation/`.
        where: What the copy is called.
        fetch_files: Fetches the copy's other files.

    Returns:
        Whether it was done.

    Raises:
        StoreError: Each holds work that the other lacks, the copy cannot take in an image, or they
            are of different datasets.
    """
    database = folder / FOLDER / "store.db"
    deployed = database.is_file()
    if deployed and not _is_further(_work(fetched), _work(database), where):
        return False
    fetch_files()
    if deployed:
        _take_in(folder, fetched, database, where)
        database.replace(database.with_name("store.db.before"))
    fetched.rename(database)
    return True


@dataclass(frozen=True)
class _Work:
    """What is in a database: its dataset, images, entries, and saves and changes of state."""

    identity: str
    images: frozenset[object]
    entries: frozenset[tuple[str]]
    done: frozenset[object]


def _work(database: Path) -> _Work:
    # The last connection to close folds SQLite's write-ahead file into the database.
    with closing(sqlite3.connect(database)) as connection:

        def rows(query: str) -> frozenset[tuple[Any, ...]]:
            return frozenset(connection.execute(query).fetchall())

        # A database of the first version has one label and no column of it.
        labels = rows("SELECT 1 FROM pragma_table_info('entry') WHERE name = 'label'")
        label = "entry.label" if labels else "'detail'"
        return _Work(
            str(rows("SELECT value FROM setting WHERE name = 'dataset'")),
            rows("SELECT sha256 FROM image"),
            rows(
                f"SELECT image.name || ' (' || {label} || ', pass ' || entry.blind_pass || ')' "
                "FROM entry JOIN image ON image.id = entry.image_id"
            ),
            rows("SELECT save_id FROM revision")
            | rows("SELECT entry_id, at, author, state FROM event"),
        )


def _is_further(there: _Work, here: _Work, where: str) -> bool:
    same = here.identity == there.identity or (not here.done and here.images & there.images)
    if not same:
        raise StoreError(
            f"{where} must hold this dataset's work, got another's: name another place"
        )
    if here.done - there.done and there.done - here.done:
        raise StoreError(
            f"{where} must hold all of this disk's work or none beyond it, got saves on both "
            "sides: export one side, import it into the other, and name a new place"
        )
    # Where both have done the same: a Space's own disk is new at each start.
    return on_a_space() if here.done == there.done else bool(there.done - here.done)


def _take_in(folder: Path, copy: Path, deployed: Path, where: str) -> None:
    """Add images, labels and second passes that this disk's database has to the copy's."""
    places = _work(deployed).entries
    if places <= _work(copy).entries:
        return
    mine, theirs = (Store(folder, connect(f"sqlite:///{path}")) for path in (deployed, copy))
    known = {label.name for label in theirs.labels()}
    Store.create(
        folder,
        database=f"sqlite:///{copy}",
        labels={n.name: cast("LabelKind", n.kind) for n in mine.labels() if n.name not in known},
    )[0].engine.dispose()
    second = (
        select(Image.name, Entry.label)
        .join(Entry, Entry.image_id == Image.id)
        .where(Entry.blind_pass == 2)
    )
    with mine.reading() as own, theirs.changing() as session:
        ids = {image.name: image.id for image in session.scalars(select(Image))}
        wanted = set(own.execute(second)) - set(session.execute(second))
        session.add_all(
            Entry(image_id=ids[name], label=label, blind_pass=2)
            for name, label in sorted(wanted)
            if name in ids
        )
    mine.engine.dispose()
    theirs.engine.dispose()
    lacking = sorted(name for (name,) in places - _work(copy).entries)
    if lacking:
        raise StoreError(
            f"{where} must take in all images of this disk's {FOLDER}/store.db, got {len(lacking)} "
            f"without a picture, such as {lacking[0]}: put it into {folder / 'image'}"
        )


class HubCopy(CommitScheduler):
    """Sends `annotation/` to a private Hub dataset every few minutes, and when it is stopped.

    The database goes as a snapshot: its file may change while it is read. A revision's file that
    is newer than the snapshot is kept on the Hub, too, and `verify` finds it.

    Args:
        folder: The dataset's folder.
        hub_dataset: USER/NAME.
        every_minutes: Time between two commits.
        api: The Hub.

    Raises:
        StoreError: The dataset is there and public.
    """

    def __init__(
        self,
        folder: Path,
        hub_dataset: str,
        *,
        every_minutes: float = MINUTES,
        api: HfApi | None = None,
    ) -> None:
        api = api or HfApi()
        with suppress(RepositoryNotFoundError):  # it is made, then
            if not api.repo_info(hub_dataset, repo_type="dataset").private:
                raise StoreError(
                    f"hub_dataset must be private, got {hub_dataset}, which all can read: make it "
                    "private in its settings, or name another"
                )
        self._own = folder / FOLDER
        self.problem = ""  # what to tell people; empty after a commit that succeeded
        super().__init__(
            repo_id=hub_dataset,
            repo_type="dataset",
            folder_path=self._own,
            path_in_repo=FOLDER,
            every=every_minutes,
            private=True,
            ignore_patterns=LEFT_OUT,
            hf_api=api,
        )

    def push_to_hub(self) -> CommitInfo | None:
        """Take a snapshot of the database and commit what is new."""
        try:
            snapshot(self._own / "store.db", self._own / _SNAPSHOT)
            commit = super().push_to_hub()
        except Exception as error:
            # The scheduler logs it and tries again; people must know as well.
            self.problem = (
                f"Your work could not be sent to the Hub ({type(error).__name__}) and is lost if "
                "this server restarts. It is tried again every few minutes: tell its owner."
            )
            raise
        self.problem = ""
        return commit


def snapshot(database: Path, out: Path) -> None:
    """Copy a SQLite database that is in use, whole and in one step; an equal copy stays."""
    part = out.with_name(f".{out.name}.part")
    part.unlink(missing_ok=True)
    source, target = sqlite3.connect(database), sqlite3.connect(part)
    try:
        source.backup(target)
        # A file alone has no write-ahead log beside it; opened for work it gets one again.
        target.execute("PRAGMA journal_mode=DELETE")
    finally:
        target.close()
        source.close()
    if out.is_file() and out.read_bytes() == part.read_bytes():
        part.unlink()
    else:
        part.replace(out)
