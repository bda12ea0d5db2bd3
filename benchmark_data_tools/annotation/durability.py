"""Where the work is kept: a disk that stays, a Hub dataset or, said plainly, nowhere safe."""

import os
import shutil
import sqlite3
from pathlib import Path

from huggingface_hub import CommitInfo, CommitScheduler, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from benchmark_data_tools.annotation.dataset import FOLDER

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
    kept = disk / folder.name
    if not kept.exists():
        part = kept.with_name(f".{kept.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.rename(kept)
    return kept


def warning(folder: Path, *, hub_dataset: str | None, disk: Path = SPACE_DISK) -> str:
    """Return what to tell people about the disk; empty where their work is safe."""
    safe = not on_a_space() or hub_dataset is not None or folder.is_relative_to(disk)
    return "" if safe else NOT_SAFE


def restore_from_hub(folder: Path, hub_dataset: str, api: HfApi | None = None) -> bool:
    """Fetch `annotation/` from a Hub dataset where this disk has none.

    Args:
        folder: The dataset's folder.
        hub_dataset: USER/NAME.
        api: The Hub.

    Returns:
        Whether there was something to fetch.
    """
    own = folder / FOLDER
    if (own / "store.db").is_file():
        return False
    api = api or HfApi()
    try:
        names = api.list_repo_files(hub_dataset, repo_type="dataset")
    except RepositoryNotFoundError:
        return False
    if f"{FOLDER}/{_SNAPSHOT}" not in names:
        return False
    api.snapshot_download(
        hub_dataset, repo_type="dataset", local_dir=folder, allow_patterns=f"{FOLDER}/**"
    )
    (own / _SNAPSHOT).rename(own / "store.db")
    return True


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
        snapshot(self._own / "store.db", self._own / _SNAPSHOT)
        return super().push_to_hub()


def snapshot(database: Path, out: Path) -> None:
    """Copy a SQLite database that is in use, whole, and in one step."""
    part = out.with_name(f".{out.name}.part")
    part.unlink(missing_ok=True)
    source, target = sqlite3.connect(database), sqlite3.connect(part)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    part.replace(out)
