"""Find the image of the dataset that another program's file means by a path or an address."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from mgm_core.files.outputs import normalised

__all__ = ["ImageNames"]

# Label Studio puts eight hexadecimal digits before the names of uploads.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


class ImageNames:
    """The names of a dataset's images, without extensions.

    Args:
        names: Those of the store.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {normalised(name): name for name in names}
        self._uploaded: dict[str, list[str]] = {}
        for name in self._names.values():
            self._uploaded.setdefault(_as_uploaded(name), []).append(name)

    def find(self, path: str) -> str | None:
        """Return the image that a path or an address means; None where there is none.

        Args:
            path: `train/photo.jpg`, `/data/upload/1/3f2a9b1c-my%20photo.jpg?token=1`,
                `/data/local-files/?d=images/photo.jpg`, or a bare name.
        """
        for name in _spellings(path):
            for wanted in (name, _UPLOAD_PREFIX.sub("", name)):
                if wanted in self._names:
                    return self._names[wanted]
                # An upload's name has lost its spaces, and what else is no letter.
                alike = self._uploaded.get(_as_uploaded(wanted), [])
                if wanted != name and len(alike) == 1:
                    return alike[0]
        return None


def _spellings(path: str) -> Iterable[str]:
    """Yield what the path may name: as it is, and as an address with a query and escapes."""
    yield _stem(path)
    try:
        parts = urlsplit(path)
    except ValueError:  # no address, such as "[photo"
        return
    # Files of a server's own disk are named in the query.
    for given in parse_qs(parts.query).get("d", []):
        yield _stem(given)
    yield _stem(unquote(parts.path))


def _stem(path: str) -> str:
    return normalised(PurePosixPath(path.replace("\\", "/")).stem)


def _as_uploaded(name: str) -> str:
    return re.sub(r"[^\w.-]", "", name.strip().replace(" ", "_"))
