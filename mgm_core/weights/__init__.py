"""The bundled weights: which there are, where they lie, and whether they are whole.

PyTorch is not needed for that, so that every program can check them as it starts.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "WEIGHTS_FOLDER",
    "Bundled",
    "CheckpointError",
    "bundled",
    "bundled_path",
    "sha256_of",
    "verify_bundled",
]

WEIGHTS_FOLDER = Path(__file__).parent


class CheckpointError(ValueError):
    """A weights file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Bundled:
    """An entry of the manifest of bundled weights.

    Args:
        name: What they are loaded by.
        file: Their file; of several, the first.
        sha256: Its hash.
        architecture: The network they are of.
        further: Hashes of further files, by their names.
    """

    name: str
    file: str
    sha256: str
    architecture: str
    further: dict[str, str] = field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str]:
        """Hash of each file, by its name."""
        return {self.file: self.sha256, **self.further}


def bundled() -> dict[str, Bundled]:
    """Return the bundled weights by name.

    Raises:
        CheckpointError: The manifest is missing or was changed.
    """
    path = WEIGHTS_FOLDER / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return {name: Bundled(name, **entry) for name, entry in manifest.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"bundled weights must have their manifest at {path}, got none that can be read "
            f"({error}): install the package again"
        ) from error


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_path(name: str) -> Path:
    """Return the path of bundled weights after checking their hash.

    Raises:
        CheckpointError: There are none of this name, or the file was changed.
    """
    known = bundled()
    if name not in known:
        raise CheckpointError(
            f"weights must be a file or one of {', '.join(sorted(known))}, got {name!r}: "
            "correct the path or the name"
        )
    for file, sha256 in known[name].hashes.items():
        path = WEIGHTS_FOLDER / file
        if not path.is_file():
            raise CheckpointError(
                f"weights {name!r} must be at {path}, which is missing: install the package again"
            )
        found = sha256_of(path)
        if found != sha256:
            raise CheckpointError(
                f"weights {name!r} must have SHA-256 {sha256}, got {found}: the file was "
                "changed or cut short; install the package again, or load it by its path"
            )
    return WEIGHTS_FOLDER / known[name].file


def verify_bundled() -> None:
    """Check the hash of every bundled file, so that none is found to be broken halfway.

    Raises:
        CheckpointError: A file is missing or was changed.
    """
    for name in bundled():
        bundled_path(name)
