"""Requests that are too large are answered before their bodies are read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit"]


class BodyLimit:
    """Answers requests that are too large, before their bodies are read.

    Args:
        app: What serves the others.
        most_bytes: Of a request's body.
        key: Of the message in an answer.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, key: str = "detail") -> None:
        self._app, self._most_bytes, self._key = app, most_bytes, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = f"request must have at most {self._most_bytes} bytes, got more: send less"
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes:
            await JSONResponse({self._key: message}, 413)(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            part = await receive()
            size += len(part.get("body", b""))
            if size > self._most_bytes:  # of a length that was not announced
                raise HTTPException(413, message)
            return part

        await self._app(scope, counted, send)
