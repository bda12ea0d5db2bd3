"""What comes in from the network, before the annotation sees it: other sites, sizes, passwords.

An ASGI middleware of the annotation's own application, so that it is there whoever mounted that.
Where Gradio did, it answers other sites' preflights before anybody here is asked: what a request
says of where it comes from counts, not what it was allowed to say.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmark_data_tools.annotation.storage.errors import StoreError
from mgm_core.runtime.admission import host_of
from mgm_core.serve.limits import BodyLimit

HEADER = "x-annotation"
BODY_BYTES = 2**20
LOGIN_BYTES = 4096
PROGRAM_BYTES = 2**26  # Label Studio sends tasks with all that was drawn on them
HASHES_AT_ONCE = 2

_SAFE_METHODS = ("GET", "HEAD")
_REMEMBERED = 10_000
_FREE_FAILURES = 5
_LONGEST_S = {"name": 30.0, "address": 900.0}
_FORGOTTEN_S = 3600.0


class Guard:
    """The middleware.

    Args:
        app: the annotation.
        takes_masks: whether a path takes a mask, whose size its own route knows and limits.
        is_program: whether a path is for a program, which sends a password and never a cookie.
    """

    def __init__(
        self,
        app: ASGIApp,
        takes_masks: Callable[[str], bool],
        is_program: Callable[[str], bool],
    ) -> None:
        self._app, self._takes_masks, self._is_program = app, takes_masks, is_program
        self._for_programs, self._for_login, self._limited = (
            BodyLimit(app, most_bytes, key="message")
            for most_bytes in (PROGRAM_BYTES, LOGIN_BYTES, BODY_BYTES)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if comes_from_elsewhere(scope["method"], headers):
            await _refusal("request must come from this page, got one of another site", 403)(
                scope, receive, send
            )
        elif self._is_program(scope["path"]):
            await self._for_programs(scope, receive, send)
        elif scope["method"] not in _SAFE_METHODS and HEADER not in headers:
            # A form of another site cannot set it.
            await _refusal(f"request must carry the header {HEADER}, got none", 403)(
                scope, receive, send
            )
        elif self._takes_masks(scope["path"]):
            await self._app(scope, receive, send)
        else:
            login = scope["path"].endswith("/api/login")
            await (self._for_login if login else self._limited)(scope, receive, send)


def _refusal(message: str, status: int) -> JSONResponse:
    return JSONResponse({"message": message}, status)


def comes_from_elsewhere(method: str, headers: Headers) -> bool:
    """Tell whether a browser says that a request was made by a page of another site.

    Where a browser says so itself, in a header that no page can set, that counts: a proxy may have
    changed the Host. Another site may only open the page, as Hugging Face does in a frame.

    >>> comes_from_elsewhere("GET", Headers({"host": "a.org", "origin": "https://b.org"}))
    True
    >>> comes_from_elsewhere("GET", Headers({"host": "a.org:80", "origin": "http://a.org:80"}))
    False
    >>> comes_from_elsewhere("POST", Headers({"host": "a.org"}))
    False

    Args:
        method: of the request.
        headers: of the request.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        opens_a_page = method in _SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
        return site not in ("same-origin", "none") and not opens_a_page
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class TooManyError(StoreError):
    """Somebody must wait before the next password is looked at."""


class LoginLimits:
    """Slows guessing: by name and by address, and how many passwords are hashed at once.

    A hash takes memory and a tenth of a second, so that hashing is not for everybody at once. After
    some wrong passwords a name must wait, twice as long each time up to half a minute, so that its
    owner is never kept out for long; an address up to a quarter of an hour.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        # By kind and value, the oldest first: failures, and from when on another try is looked at.
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    @contextmanager
    def attempt(self, name: str, address: str) -> Iterator[Callable[[], None]]:
        """Look at a password in this block.

        Args:
            name: whose it would be.
            address: of who says so.

        Yields:
            What is called if it was right.

        Raises:
            TooManyError: it is too early, or too many are looked at already.
        """
        keys = [("name", name), ("address", host_of(address))]
        with self._lock:
            wait_s = max(self._failures.get(key, (0, 0.0))[1] for key in keys) - self._clock()
        if wait_s > 0:
            raise TooManyError(
                f"login must wait {wait_s:.0f} s after wrong passwords, got one before: try later"
            )
        if not self._hashing.acquire(timeout=5):
            raise TooManyError("login must wait for others, got too many at once: try again")
        right = False

        def succeed() -> None:
            nonlocal right
            right = True

        try:
            yield succeed
        finally:
            self._hashing.release()
            with self._lock:
                if right:  # of the address: somebody may guess others' beside the own one
                    self._failures.pop(keys[0], None)
                else:
                    for key in keys:
                        self._fail(key)

    def _fail(self, key: tuple[str, str]) -> None:
        failures, until = self._failures.pop(key, (0, 0.0))
        if self._clock() - until > _FORGOTTEN_S:
            failures = 0
        failures += 1
        over = failures - _FREE_FAILURES
        wait_s = min(2.0**over, _LONGEST_S[key[0]]) if over >= 0 else 0.0
        self._failures[key] = failures, self._clock() + wait_s
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
