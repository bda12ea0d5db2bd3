"""What comes in from the network, before Gradio sees it: limits, files, who listens; and headers.

An ASGI middleware. Gradio takes the name of any file, a web address or the file itself inside JSON
for a file, reads JSON and form fields of any length into memory, and answers to more than this page
offers. Here a file is what was uploaded, under one message for all that is not.
"""

import json
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from gradio.utils import get_upload_folder
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.backend.visits import DISK_FULL
from demo.web.paths import path_of_route
from mgm_core.runtime.admission import host_of
from mgm_core.runtime.reporting import refused_by_disk

NOT_UPLOADED = (
    "a file must be one that was uploaded to this page a short while ago, got another: upload it "
    "first"
)
JSON_BYTES = 4 * 2**20
FIELD_BYTES = 64 * 2**10
UPLOADS_AT_ONCE = 8
JSON_AT_ONCE = 64

_logger = logging.getLogger(__name__)

_API = "/gradio_api/"
# What the page and its endpoints post to; Gradio answers to much more.
_POSTS = re.compile(r"(upload|queue/join|cancel|reset|call/.+|run/.+|api/.+|mcp(/.*)?)/?")
# Gradio fetches these addresses for whoever asks.
_FETCHED_ELSEWHERE = re.compile(r"(file=\s*[a-z][a-z0-9+.-]*:|proxy=)", re.IGNORECASE)
# The one writes what a session shows to disk for whoever asks, the other watches for changes of the
# page's source twenty times a second for each who listens. This page offers neither.
_NOT_OFFERED = re.compile(r"(deep_link|dev/reload)/?")
_CALLED = re.compile(r"/call/(v2/)?([^/]+)/?$")
_LISTENING = re.compile(r"call/(?:v2/)?[^/]+/([^/]+)/?")

_SOURCES = {
    "default-src": "'self'",
    # Gradio compiles the scripts of HTML components, and its page begins with inline ones.
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self' https://huggingface.co",
}


def security_headers(*, on_a_space: bool) -> dict[str, str]:
    """Return the headers of every answer.

    Args:
        on_a_space: The page is in Hugging Face's frame, for which Gradio loads a script.
    """
    sources = dict(_SOURCES)
    if on_a_space:
        sources["script-src"] += " https://cdnjs.cloudflare.com"
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in sources.items()),
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }


class UploadShares:
    """How much each address uploaded lately.

    Args:
        most_bytes: what an address may upload within `window_s`.
        window_s: how long an upload counts, in seconds.
        clock: returns the time in seconds.
    """

    def __init__(
        self, most_bytes: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_bytes, self._window_s, self._clock = most_bytes, window_s, clock
        self._uploads: dict[str, deque[tuple[float, int]]] = {}
        self._bytes: Counter[str] = Counter()

    def left_bytes(self, address: str) -> int:
        """Return what an address may still upload."""
        self._forget_old(address)
        return self._most_bytes - self._bytes[address]

    def count(self, address: str, size: int) -> None:
        """Count what an address uploaded."""
        for known in list(self._uploads):
            self._forget_old(known)
        self._uploads.setdefault(address, deque()).append((self._clock(), size))
        self._bytes[address] += size

    def _forget_old(self, address: str) -> None:
        uploads = self._uploads.get(address, deque())
        since = self._clock() - self._window_s
        while uploads and uploads[0][0] < since:
            self._bytes[address] -= uploads.popleft()[1]
        if not uploads:
            self._uploads.pop(address, None)
            self._bytes.pop(address, None)


class _TooMuchError(Exception):
    """An upload is more than the address has left, or a request than any may be."""


class _TooLongFieldsError(Exception):
    """A form has more than files."""


class Input(NamedTuple):
    """What a handler takes.

    Args:
        name: of its parameter.
        is_file: whether it is a file.
        is_needed: whether it has no default.
    """

    name: str
    is_file: bool
    is_needed: bool


class Guard:
    """The middleware.

    Args:
        app: what is behind the guard.
        shares: of uploads.
        listen: a block in which a page waits for its results, by the page's session.
        session_of: the session of an event that a program waits for, by the event's id.
        inputs_of: a handler's inputs, by its number or its endpoint's name; None if there is none.
        headers: of every answer.
        elsewhere: paths that have a guard of their own, such as the annotation's.
        addresses: whether a file may be a web address, as MCP has them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        shares: UploadShares,
        listen: Callable[[str], AbstractContextManager[None]],
        session_of: Callable[[str], str],
        inputs_of: Callable[[int | str], Sequence[Input] | None],
        headers: dict[str, str],
        elsewhere: Iterable[str] = (),
        addresses: bool = False,
    ) -> None:
        self._app, self._shares, self._listen, self._session_of = app, shares, listen, session_of
        self._inputs_of = inputs_of
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._elsewhere = tuple(f"/{path}" for path in elsewhere)
        self._addresses = addresses
        self._uploading: Counter[str] = Counter()
        self._arriving_bytes: Counter[str] = Counter()
        self._sending: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        path = path_of_route(scope)
        if scope["type"] != "http" or path.startswith(self._elsewhere):
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        rest = path.removeprefix(_API) if path.startswith(_API) else ""
        answer = self._refused(scope, rest)
        if answer is not None:
            await answer(scope, receive, with_headers)
        elif scope["method"] in ("GET", "HEAD"):
            with ExitStack() as stack:
                if (page := self._listener(scope, rest)) is not None:
                    stack.enter_context(self._listen(page))
                await self._app(scope, receive, with_headers)
        elif rest.rstrip("/") == "upload":
            await self._take_upload(scope, receive, with_headers)
        else:
            await self._take_json(scope, receive, with_headers)

    def _refused(self, scope: Scope, rest: str) -> Response | None:
        if not rest:
            return None
        if _FETCHED_ELSEWHERE.match(rest):
            return PlainTextResponse(NOT_UPLOADED, 403)
        asks = scope["method"] in ("GET", "HEAD", "OPTIONS")
        if _NOT_OFFERED.fullmatch(rest) or not (asks or _POSTS.fullmatch(rest)):
            return PlainTextResponse("this page must offer what is asked for, got another", 404)
        return None

    def _listener(self, scope: Scope, rest: str) -> str | None:
        if rest.rstrip("/") == "queue/data":
            found = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash")
            return found[0] if found else None
        event = _LISTENING.fullmatch(rest)
        return None if event is None else self._session_of(event[1])

    async def _take_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = _host(scope)
        full = PlainTextResponse(
            "uploads must fit into your share, got more: wait some minutes, or send smaller files",
            429,
        )

        def left_bytes() -> int:
            return self._shares.left_bytes(address) - self._arriving_bytes[address]

        if left_bytes() <= 0 or self._uploading[address] >= UPLOADS_AT_ONCE:
            await full(scope, receive, send)
            return
        size = 0
        broken = PlainTextResponse("an upload must be a form of files, got another", 400)
        try:
            form = _Form(scope)
        except FormParserError:  # such as for a boundary that is too long
            await broken(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            body = message.get("body", b"")
            size += len(body)
            # All uploads of an address that are under way have one share.
            self._arriving_bytes[address] += len(body)
            form.read(body)
            if left_bytes() < 0:
                raise _TooMuchError
            return message

        self._uploading[address] += 1
        try:
            await self._app(scope, counted, send)
        except _TooMuchError:
            await full(scope, receive, send)
        except (_TooLongFieldsError, MultipartParseError):
            await broken(scope, receive, send)
        except OSError as error:
            if not refused_by_disk(error):
                raise
            _logger.exception("the disk refused an upload")
            await PlainTextResponse(DISK_FULL, 507)(scope, receive, send)
        finally:
            self._uploading[address] -= 1
            self._arriving_bytes[address] -= size
            if not self._uploading[address]:
                del self._uploading[address], self._arriving_bytes[address]
            self._shares.count(address, size)

    async def _take_json(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = _host(scope)
        if self._sending[address] >= JSON_AT_ONCE:
            await refusal(
                f"an address must send at most {JSON_AT_ONCE} requests at once, got more: wait for "
                "one to end",
                429,
            )(scope, receive, send)
            return
        self._sending[address] += 1
        try:
            sent = await _whole_body(receive)
        except _TooMuchError:
            await refusal(
                f"a request must have at most {JSON_BYTES} bytes, got more: upload files", 413
            )(scope, receive, send)
            return
        finally:
            self._sending[address] -= 1
            if not self._sending[address]:
                del self._sending[address]
        if sent is None:
            return
        if sent and not scope["path"].startswith(f"{_API}mcp"):
            try:
                asked = json.loads(sent)
            except (ValueError, RecursionError):
                await refusal("a request must be JSON, got something else: send JSON", 400)(
                    scope, receive, send
                )
                return
            refused = self._refused_call(scope["path"], asked)
            if refused is None and not files_are_uploads(asked, addresses=self._addresses):
                refused = refusal(NOT_UPLOADED, 400)
            if refused is not None:
                await refused(scope, receive, send)
                return
            sent = json.dumps(asked).encode()
        headers = [
            (name, str(len(sent)).encode() if name == b"content-length" else value)
            for name, value in scope["headers"]
        ]
        handed_over = False

        async def again() -> Message:
            nonlocal handed_over
            if handed_over:
                return await receive()
            handed_over = True
            return {"type": "http.request", "body": sent, "more_body": False}

        await self._app({**scope, "headers": headers}, again, send)

    def _refused_call(self, path: str, asked: object) -> Response | None:
        """Answer what Gradio fails at: unknown endpoints or parameters, and bare names of files."""
        called = _CALLED.search(path)
        handler = called[2] if called else isinstance(asked, dict) and asked.get("fn_index")
        if not isinstance(asked, dict) or not isinstance(handler, int | str):
            return None
        inputs = self._inputs_of(handler)
        if inputs is None:
            return called and refusal("this page must offer what is asked for, got another", 404)
        if called and called[1]:
            missing = {each.name for each in inputs if each.is_needed} - asked.keys()
            if missing or asked.keys() - {each.name for each in inputs}:
                names = ", ".join(each.name for each in inputs)
                return refusal(f"a request must have parameters of {names}, got others", 400)
            values: object = [asked.get(each.name) for each in inputs]
        else:
            values = asked.get("data")
            if called and isinstance(values, list) and len(values) != len(inputs):
                names = ", ".join(each.name for each in inputs)
                return refusal(
                    f"data must have {len(inputs)} values ({names}), got {len(values)}", 400
                )
        if isinstance(values, list) and any(
            each.is_file and not isinstance(value, dict | list | None)
            for each, value in zip(inputs, values, strict=False)
        ):
            return refusal(NOT_UPLOADED, 400)
        return None


def _host(scope: Scope) -> str:
    return host_of(scope["client"][0]) if scope.get("client") else ""


async def _whole_body(receive: Receive) -> bytes | None:
    """Return a request's body; None where its sender left before its end."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > JSON_BYTES:
            raise _TooMuchError
    return bytes(body)


class _Form:
    """Follows a form, and counts what in it is no file, as that is read into memory."""

    def __init__(self, scope: Scope) -> None:
        self._size = 0
        self._is_file = False
        self._name, self._value = b"", b""
        # Of several headers the first counts, as for those who read the form.
        kind = Headers(scope=scope).get("content-type", "")
        boundary = parse_options_header(kind)[1].get(b"boundary")
        self._parser = boundary and MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_to_name,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_part_data": self._data,
            },
        )

    def read(self, body: bytes) -> None:
        if self._parser and body:
            self._parser.write(body)

    def _begin(self) -> None:
        self._is_file = False

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        # As Gradio reads it: of several, the last counts.
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]
        self._name, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += 0 if self._is_file else end - start
        if self._size > FIELD_BYTES:
            raise _TooLongFieldsError


def refusal(message: str, status: int) -> Response:
    """Return an answer that the page and programs show, whichever way they asked."""
    return JSONResponse({"detail": message, "error": message}, status)


def files_are_uploads(value: Any, *, addresses: bool = False) -> bool:  # noqa: ANN401 - JSON
    """Tell whether all files in a request are uploads, and take out where else they could be.

    Args:
        value: what the request's JSON holds; a file's `url` is emptied, as its path is what counts.
        addresses: Whether a path may be a web address.
    """
    folder = Path(get_upload_folder()).resolve()
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            if "path" in value or "url" in value or "meta" in value:
                if not _is_upload(value.get("path"), folder, addresses=addresses):
                    return False
                value["url"] = None
            left.extend(value.values())
    return True


def _is_upload(path: object, folder: Path, *, addresses: bool) -> bool:
    if not isinstance(path, str) or len(path) > 4096:
        return False
    if addresses and path.startswith(("http://", "https://")):
        return True
    try:
        found = Path(path).resolve()
        return found.is_relative_to(folder) and found.is_file()
    except (OSError, ValueError):  # such as a half character, or a zero byte
        return False
