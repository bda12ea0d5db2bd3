"""The report of many photographs: a line of JSON on each, appended as they are done."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from mgm_core.batch.photograph import SKIPPED, Done, Outcome
from mgm_core.files.outputs import Job
from mgm_core.files.urls import UrlJob
from mgm_core.runtime.reporting import reason_of

__all__ = ["Report", "Row", "row_of"]

Row: TypeAlias = dict[str, object]
"""What a line says."""


class Report:
    """A file to which lines are appended, each as soon as it is known.

    Args:
        path: The file, in a folder that exists; it is made if it is not there.

    Attributes:
        error: Why lines are missing, such as a full disk; None where none is.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        # Names of files need not be UTF-8; what of them is not is written as \\udcXX.
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        self.error: OSError | None = None

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._noting_errors():
            self._file.close()

    def add(self, job: Job | UrlJob, outcome: Outcome) -> None:
        """Append a line on a photograph; an error is kept, and does not end the work."""
        with self._noting_errors():
            self._file.write(json.dumps(row_of(job, outcome), ensure_ascii=False) + "\n")
            self._file.flush()

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error


def row_of(job: Job | UrlJob, outcome: Outcome) -> Row:
    """Return the report's row on a photograph.

    >>> from pathlib import Path
    >>> row_of(Job(Path("a.jpg"), Path("a.png"), None, {}), SKIPPED)
    {'photo': 'a.jpg', 'status': 'skipped', 'result': 'a.png'}
    """
    row: Row = {"photo": str(job.source)}
    if isinstance(outcome, Exception):
        reason = reason_of(outcome)
        fault = f"a fault of this program, {type(outcome).__name__}: {outcome}"
        return {**row, "status": "failed", "error": fault if reason is None else reason}
    files = {"result": str(job.target), **{name: str(path) for name, path in job.sides.items()}}
    if not isinstance(outcome, Done):
        return {**row, "status": SKIPPED, **files}
    return {
        **row,
        "status": "written",
        **files,
        "width": outcome.width,
        "height": outcome.height,
        "guidance": outcome.guidance,
        "notes": list(outcome.notes),
        "seconds": {stage: round(s, 4) for stage, s in outcome.seconds.items()},
        "cpu_seconds": round(outcome.cpu_s, 4),
    }
