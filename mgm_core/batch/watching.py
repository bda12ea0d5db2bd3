"""Wait for new photographs in folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["changes", "check_watching"]

_QUIET_MS, _PATIENCE_MS = 500, 10_000


def check_watching(folders: Sequence[Path]) -> None:
    """Raise unless folders can be watched.

    Raises:
        ValueError: There is none, or the package is missing.
    """
    others = [str(path) for path in folders if not path.is_dir()]
    if others or not folders:
        raise ValueError(
            f"--watch must be given folders alone, got {', '.join(others) or 'none'}: name the "
            "folder that photographs come into"
        )
    try:
        import watchfiles  # noqa: F401 - only asked for
    except ModuleNotFoundError as error:
        raise ValueError(
            "--watch must have the package watchfiles, which is not installed: pip install "
            "'mgm[watch]'"
        ) from error


def changes(folders: Sequence[Path], *, recursive: bool) -> Iterator[None]:
    """Yield when files came or changed, half a second after the last of them was written to.

    Also every five seconds: what came before this began, or comes by a disk that tells nothing.

    Args:
        folders: What is watched.
        recursive: Their folders too.
    """
    from watchfiles import watch

    for _ in watch(
        *folders,
        recursive=recursive,
        step=_QUIET_MS,
        debounce=_PATIENCE_MS,
        yield_on_timeout=True,
    ):
        yield
