"""Where the work is kept: a disk that stays, a Hub dataset or, said plainly, nowhere safe."""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitScheduler, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.errors import StoreError

SPACE_DISK = Path("/data")
NOT_SAFE = (
    "This server's disk is lost at its next restart, and your work with it. Its owner must start "
    "it with --hub-dataset USER/NAME, or add persistent storage."
)
MINUTES = 5.0
_SNAPSHOT = "snapshot.db"
_LEFT_OUT = ["store.db*", "cache/*", "session.key", "users.json", "*.part"]


def on_a_space() -> bool:
    """Whether this runs on a Hugging Face Space."""
    return "SPACE_ID" in os.environ


def safe_folder(folder: Path, disk: Path = SPACE_DISK) -> Path:
    """Return where a Space keeps a dataset: on its persistent disk where it has one.

    Args:
        folder: The dataset's folder, as deployed.
        disk: Where a persistent disk would be.

    Returns:
        The folder to work in; a first use copies the dataset there.
    """
    if not on_a_space() or not disk.is_dir() or folder.is_relative_to(disk):
        return folder
    safe = disk / folder.name
    if not safe.exists():
        part = safe.with_name(f".{safe.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.rename(safe)
    return safe


def warning(folder: Path, *, hub_dataset: str | None, disk: Path = SPACE_DISK) -> str:
    """Return what to tell people about the disk; empty where their work is safe."""
    safe = not on_a_space() or hub_dataset is not None or folder.is_relative_to(disk)
    return "" if safe else NOT_SAFE


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
        StoreError: Each holds work that the other lacks, or they are of different datasets.
    """
    own = folder / FOLDER
    database, fetched = own / "store.db", own / _SNAPSHOT
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
    if database.is_file() and not _hub_is_further(_work(database), _work(fetched), hub_dataset):
        return False
    api.snapshot_download(
        hub_dataset, repo_type="dataset", local_dir=folder, allow_patterns=f"{FOLDER}/**"
    )
    if database.is_file():
        database.replace(own / "store.db.before")
    fetched.rename(database)
    return True


@dataclass(frozen=True)
class _Work:
    """What was done in a database: its dataset, its images, its saves and changes of state."""

    identity: str
    images: frozenset[object]
    done: frozenset[object]


def _work(database: Path) -> _Work:
    # The last connection to close folds SQLite's write-ahead file into the database.
    with closing(sqlite3.connect(database)) as connection:

        def rows(query: str) -> frozenset[object]:
            return frozenset(connection.execute(query).fetchall())

        return _Work(
            str(rows("SELECT value FROM setting WHERE name = 'dataset'")),
            rows("SELECT sha256 FROM image"),
            rows("SELECT save_id FROM revision")
            | rows("SELECT entry_id, at, author, state FROM event"),
        )


def _hub_is_further(here: _Work, there: _Work, hub_dataset: str) -> bool:
    same = here.identity == there.identity or (not here.done and here.images & there.images)
    if not same:
        raise StoreError(
            f"hub_dataset must hold this dataset's work, got another's in {hub_dataset}: "
            "name another"
        )
    if here.done - there.done and there.done - here.done:
        raise StoreError(
            f"hub_dataset must hold all of this disk's work or none beyond it, got saves on both "
            f"sides in {hub_dataset}: export one side, import it into the other, and name a new one"
        )
    if here.done == there.done:
        # A Space's own disk is new at each start.
        return on_a_space()
    return bool(there.done - here.done)


class HubCopy(CommitScheduler):
    """Sends `annotation/` to a private Hub dataset every few minutes, and when it is stopped.

    The database goes as a snapshot: its file may change while it is read. A revision's file that
    is newer than the snapshot is kept on the Hub, too, and `verify` finds it.

    Args:
        folder: The dataset's folder.
        hub_dataset: USER/NAME.
        every_minutes: Time between two commits.
        api: The Hub.
    """

    def __init__(
        self,
        folder: Path,
        hub_dataset: str,
        *,
        every_minutes: float = MINUTES,
        api: HfApi | None = None,
    ) -> None:
        self._own = folder / FOLDER
        self.problem = ""  # what to tell people; empty after a commit that succeeded
        super().__init__(
            repo_id=hub_dataset,
            repo_type="dataset",
            folder_path=self._own,
            path_in_repo=FOLDER,
            every=every_minutes,
            private=True,
            ignore_patterns=_LEFT_OUT,
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
    finally:
        target.close()
        source.close()
    if out.is_file() and out.read_bytes() == part.read_bytes():
        part.unlink()
    else:
        part.replace(out)
