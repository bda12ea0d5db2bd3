"""Who asks, and whether they may: logins, headers, and errors' statuses.

Everything that comes from a browser is untrusted: requests of other sites do not come in
(`guard.py`), and each request of the page says for whom it was opened.
"""

import base64
import binascii
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Body, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from huggingface_hub import parse_huggingface_oauth
from pydantic import Field
from sqlalchemy.exc import OperationalError

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.places import durability
from benchmark_data_tools.annotation.server.guard import TooManyError
from benchmark_data_tools.annotation.server.service import Service
from benchmark_data_tools.annotation.storage.errors import (
    ChangedError,
    ForbiddenError,
    HeldError,
    StoreError,
    UnknownError,
)
from benchmark_data_tools.annotation.storage.people import ALONE, User

log = logging.getLogger(__name__)
COOKIE = "annotation"
_USER_HEADER = "x-annotation-user"
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class LoginError(StoreError):
    """Somebody must log in first."""


class OtherPersonError(LoginError):
    """The page was opened by somebody else than who is logged in now."""


STATUS: dict[type[Exception], int] = {
    LoginError: 401,
    OtherPersonError: 401,
    ForbiddenError: 403,
    UnknownError: 404,
    HeldError: 409,
    TooManyError: 429,
    ChangedError: 412,
    FileNotFoundError: 404,
    ValueError: 422,
    RequestValidationError: 422,
    OSError: 507,
    OperationalError: 507,
}


async def refuse(status: int, _request: Request, error: Exception) -> JSONResponse:
    """Answer with a message that says what to do."""
    message = str(error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        message = f"{first['loc'][-1]} must be valid, got {first.get('input')!r}: {first['msg']}"
    elif isinstance(error, OperationalError):
        if isinstance(error.orig, sqlite3.Error):
            message = f"database must be writable, got {error.orig}: free disk space or its lock"
        else:  # says where the database is, which is nobody's business either
            message = (
                "database must be reachable and writable, got none that is: wait a minute, or tell "
                "its owner"
            )
    elif isinstance(error, FileNotFoundError):
        message = (
            f"{Path(str(error.filename)).name} must be in the dataset, got no such file: tell its "
            "owner to put it back, or to run the command verify"
        )
    elif isinstance(error, OSError):
        # Not the path: where the store lies is nobody's business.
        message = f"disk must take the file, got {error.strerror}: free space or fix permissions"
    if isinstance(error, OSError | OperationalError):
        log.error("%s", message, exc_info=error)
    return JSONResponse({"message": message, "error": type(error).__name__}, status)


async def add_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Set the headers of every answer."""
    response = await call(request)
    response.headers.setdefault("Cache-Control", "no-cache")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; frame-ancestors 'self' https://huggingface.co"
    )
    return response


_FORWARDED = (
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("forwarded", "via"),
)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _user(request: Request) -> User:
    """Return who is asking, or raise LoginError."""
    user = _signed_in(request)
    # A cookie is every tab's: after another login it names somebody else than a page's strokes.
    page_of = unquote(request.headers.get(_USER_HEADER, user.name))
    if page_of != user.name:
        raise OtherPersonError(
            f"user must be {page_of}, for whom this page was opened, got {user.name}: log in as "
            f"{page_of}, or load the page again"
        )
    return user


def _alone(request: Request) -> User:
    """Return this machine's own user, of a dataset without users; ForbiddenError for others."""
    client = request.client.host if request.client else ""
    # The Host header, too: a page of another site may point its own name at 127.0.0.1. And
    # what a proxy on this machine says that it forwards comes from others.
    local = client in _LOCAL_HOSTS and request.url.hostname in _LOCAL_HOSTS
    proxied = any(name in request.headers for name in _FORWARDED)
    if local and not proxied and not durability.on_a_space():
        return ALONE
    raise ForbiddenError(
        "users must be configured before others may come, got none: run `python -m "
        "benchmark_data_tools users DATASET add NAME --role admin` beside the dataset"
    )


def _signed_in(request: Request) -> User:
    service = _service(request)
    if not service.users.configured:
        return _alone(request)
    user = service.users.signed_in(request.cookies.get(COOKIE, ""))
    if user is None and service.hugging_face:
        visitor = parse_huggingface_oauth(request)
        if visitor is not None:
            user = service.users.by_hugging_face(visitor.user_info.preferred_username)
    if user is None:
        raise LoginError("user must be logged in, got nobody: log in")
    return user


def _program(request: Request) -> User:
    """Return for whom a program asks, by HTTP's basic authentication; it has no cookie."""
    service = _service(request)
    if not service.users.configured:
        return _alone(request)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = password = ""
    if scheme.lower() != "basic" or not name:
        raise LoginError("program must send a user's name and password, got none: set them there")
    return check_password(request, service, name, password)


def check_password(request: Request, service: Service, name: str, password: str) -> User:
    """Return the user whose password it is.

    Raises:
        LoginError: It is nobody's.
        TooManyError: Too many were tried before.
    """
    address = request.client.host if request.client else ""
    with service.limits.attempt(name, address) as succeed:
        user = service.users.check_password(name, password)
        if user is None:
            raise LoginError("name and password must be a user's, got others: try again")
        succeed()
    return user


Number = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""A whole number that every database can hold."""
SaveId = Annotated[str, Field(max_length=32)]
"""Names a revision that the page showed; "" where it showed that nothing is saved."""
Guarded = Annotated[User, Depends(_user)]
Program = Annotated[User, Depends(_program)]
Given = Annotated[Service, Depends(_service)]
router = APIRouter()


@router.get("/ways")
def ways(request: Request, service: Given) -> dict[str, Any]:
    """Tell how one may log in, and whom Hugging Face named that is no user here."""
    visitor = parse_huggingface_oauth(request) if service.hugging_face else None
    refused = "" if visitor is None else visitor.user_info.preferred_username
    return {
        "hugging_face": service.hugging_face,
        "refused": refused
        and f"user must be one of this dataset's, got {refused} of Hugging Face: ask its admin",
    }


@router.post("/login")
def login(
    request: Request,
    service: Given,
    name: Annotated[str, Body(max_length=64)],
    password: Annotated[str, Body(max_length=1024)],
) -> Response:
    """Check a password and set the session's cookie."""
    user = check_password(request, service, name, password)
    response = JSONResponse({"name": user.name, "role": user.role})
    # A Space's proxy speaks https, and plain http to us.
    secure = request.url.scheme == "https" or durability.on_a_space()
    response.set_cookie(
        COOKIE,
        service.users.sign(user.name),
        httponly=True,
        secure=secure,
        # A Space shows the page in a frame of another site.
        samesite="none" if secure else "strict",
    )
    return response


@router.post("/logout")
def logout(request: Request, service: Given) -> Response:
    """End the user's logins, on all devices, and Hugging Face's session."""
    user = service.users.signed_in(request.cookies.get(COOKIE, ""))
    if user is not None:
        service.users.log_out(user.name)
    if service.hugging_face:
        request.session.clear()
    response = JSONResponse({})
    response.delete_cookie(COOKIE)
    return response


@router.get("/me")
def me(user: Guarded, service: Given) -> dict[str, Any]:
    """Tell who is logged in, and how safe the work is."""
    return {
        "name": user.name,
        "role": user.role,
        "reviews": user.reviews,
        "alone": user.alone,
        "users": [u.name for u in service.users.all()] if user.reviews else [],
        "dataset": service.store.folder.resolve().name,
        "identity": service.store.identity,
        "storage": service.storage(),
        "version": TOOL_VERSION,
        "labels": [{"name": label.name, "kind": label.kind} for label in service.store.labels()],
    }
