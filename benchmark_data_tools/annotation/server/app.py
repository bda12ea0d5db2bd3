"""The HTTP side of the annotation: a FastAPI application, alone or mounted beside the demo.

Everything that comes from a browser is untrusted: entries are named by id, masks are decoded and
encoded anew, and requests that change something must carry a header that other sites cannot set.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from huggingface_hub import attach_huggingface_oauth, parse_huggingface_oauth
from sqlalchemy.exc import OperationalError

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.server.proposals import LAYERS, Layer, Layers
from benchmark_data_tools.annotation.storage import durability
from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.masks import (
    Mask,
    decode_mask,
    encode_mask,
    write_atomically,
)
from benchmark_data_tools.annotation.storage.store import (
    LOCKED,
    Saved,
    Store,
    StoreError,
    UnknownError,
)
from benchmark_data_tools.annotation.storage.tables import (
    Conflict,
    Entry,
    Image,
    Kind,
    Revision,
    State,
)
from benchmark_data_tools.annotation.team import agreement, queue
from benchmark_data_tools.annotation.team.queue import Filter, ForbiddenError, HeldError, QueueRow
from benchmark_data_tools.annotation.team.users import ALONE, User, Users
from mgm_core.images import encode_png, read_image

log = logging.getLogger(__name__)
PAGE = Path(__file__).parents[1] / "page"
COOKIE = "annotation"
_HEADER = "x-annotation"
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class LoginError(StoreError):
    """Somebody must log in first."""


@dataclass(frozen=True)
class Service:
    """What the server works with.

    Args:
        store: The opened dataset.
        layers: Layers and proposals.
        users: Who may log in.
        storage: Tells what people must know about where the work is kept; empty where it is safe.
        hugging_face: Whether people may log in with Hugging Face, under the names of the users
            file; needs a Space with `hf_oauth: true`.
    """

    store: Store
    layers: Layers
    users: Users
    storage: Callable[[], str] = lambda: ""
    hugging_face: bool = False


def create_app(service: Service) -> FastAPI:
    """Return the application; mount it under a path or serve it alone.

    Args:
        service: What it works with.

    Returns:
        The application, with the page at its root.
    """
    app = FastAPI(title="Annotation", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    app.include_router(router, prefix="/api")
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, partial(_refuse, status))
    app.middleware("http")(_guard)
    if service.hugging_face:
        attach_huggingface_oauth(app)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


_STATUS: dict[type[Exception], int] = {
    LoginError: 401,
    ForbiddenError: 403,
    UnknownError: 404,
    HeldError: 409,
    ValueError: 422,
    RequestValidationError: 422,
    OSError: 507,
    OperationalError: 507,
}


async def _refuse(status: int, _request: Request, error: Exception) -> JSONResponse:
    message = str(error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        message = f"{first['loc'][-1]} must be valid, got {first.get('input')!r}: {first['msg']}"
    elif isinstance(error, OperationalError):
        message = f"database must be writable, got {error.orig}: free disk space or its lock"
    elif isinstance(error, OSError):
        # Not the path: where the store lies is nobody's business.
        message = f"disk must take the file, got {error.strerror}: free space or fix permissions"
    if status == 507:
        log.error("%s", message, exc_info=error)
    return JSONResponse({"message": message}, status)


async def _guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    # A form or script of another site cannot set this header without a preflight, which gets none.
    if request.method not in ("GET", "HEAD") and _HEADER not in request.headers:
        return JSONResponse({"message": f"request must carry the header {_HEADER}"}, 403)
    response = await call(request)
    response.headers.setdefault("Cache-Control", "no-cache")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; frame-ancestors 'self' https://huggingface.co"
    )
    return response


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _user(request: Request) -> User:
    """Return who is asking, or raise LoginError."""
    service = _service(request)
    if not service.users.configured:
        client = request.client.host if request.client else ""
        # The Host header, too: a page of another site may point its own name at 127.0.0.1. And
        # what a proxy on this machine forwards comes from others.
        local = client in _LOCAL_HOSTS and request.url.hostname in _LOCAL_HOSTS
        if local and "x-forwarded-for" not in request.headers and not durability.on_a_space():
            return ALONE
        raise ForbiddenError(
            "users must be configured before others may come, got none: run `python -m "
            "benchmark_data_tools users DATASET add NAME --role admin` beside the dataset"
        )
    user = service.users.signed_in(request.cookies.get(COOKIE, ""))
    if user is None and service.hugging_face:
        visitor = parse_huggingface_oauth(request)
        if visitor is not None:
            user = service.users.by_hugging_face(visitor.user_info.preferred_username)
    if user is None:
        raise LoginError("user must be logged in, got nobody: log in")
    return user


Guarded = Annotated[User, Depends(_user)]
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
    user = service.users.check_password(name, password)
    if user is None:
        raise LoginError("name and password must be a user's, got others: try again")
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
    """Remove the session's cookie, and Hugging Face's session."""
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
    }


@router.get("/queue")
def get_queue(
    user: Guarded,
    service: Given,
    state: str | None = None,
    search: str = "",
    flagged: bool = False,
    mine: bool = False,
) -> Response:
    """Return the whole filtered queue, compact: a list of values an entry."""
    found = queue.listing(service.store, user, Filter(state, search, flagged, mine))
    # Not by FastAPI's encoder, which looks at each of tens of thousands of values.
    text = json.dumps({"columns": QueueRow._fields, "rows": found}, separators=(",", ":"))
    return Response(text, media_type="application/json")


@router.get("/progress")
def get_progress(user: Guarded, service: Given) -> list[dict[str, Any]]:
    """Return everyone's progress first, then each person's; annotators see their own."""
    names = queue.authors(service.store) if user.reviews else [user.name]
    return [asdict(queue.progress(service.store, name)) for name in (None, *names)]


@router.get("/entries/{entry_id}")
def get_entry(entry_id: int, user: Guarded, service: Given) -> dict[str, Any]:
    """Return all that the page needs to open an entry."""
    entry = queue.entry_for(service.store, entry_id, user)
    image = service.store.image(entry_id)
    lease = queue.holder(service.store, entry_id)
    return _entry_row(entry, image) | {
        "lease": None if lease is None else {"holder": lease.holder, "expires": lease.expires_at},
        "conflicts": [
            {"id": c.id, "kept": c.kept, "stale": c.stale}
            for c in service.store.open_conflicts(entry_id)
        ],
        "revisions": [_revision_row(r) for r in service.store.revisions(entry_id)],
        "layers": list(LAYERS),
        "own_alpha": image.alpha_file is not None,
    }


@router.get("/entries/{entry_id}/image")
def get_image(entry_id: int, user: Guarded, service: Given) -> Response:
    """Return the image's own file, or a PNG of what browsers do not show."""
    queue.entry_for(service.store, entry_id, user)
    image = service.store.image(entry_id)
    path = service.store.folder / image.file
    if path.suffix.lower() not in _SHOWN_BY_BROWSERS:
        shown = service.store.folder / FOLDER / "cache" / f"{image.sha256[:32]}-shown.png"
        if not shown.is_file():
            write_atomically(shown, encode_png(read_image(path, max_megapixels=89)))
        path = shown
    if not path.is_file():
        raise UnknownError(f"{image.file} must be in the dataset, got no such file: put it back")
    return FileResponse(path)


@router.get("/entries/{entry_id}/layers/{layer}")
def get_layer(entry_id: int, layer: Layer, user: Guarded, service: Given) -> Response:
    """Return a layer to look at."""
    queue.entry_for(service.store, entry_id, user)
    return _png(service.layers.png(service.store.image(entry_id), layer))


@router.get("/entries/{entry_id}/proposal")
def get_proposal(
    entry_id: int,
    user: Guarded,
    service: Given,
    opening_px: int = 5,
    kernel_px: int = 15,
    source: Layer = "alpha",
) -> Response:
    """Return proposed detail."""
    queue.entry_for(service.store, entry_id, user)
    proposed = service.layers.proposal(
        service.store.image(entry_id), opening_px=opening_px, kernel_px=kernel_px, source=source
    )
    return _png(encode_mask(proposed))


@router.get("/entries/{entry_id}/mask")
def get_mask(entry_id: int, user: Guarded, service: Given, revision: int | None = None) -> Response:
    """Return a revision's mask, the head's unless told; 204 where nothing is saved yet."""
    entry = queue.entry_for(service.store, entry_id, user)
    number = entry.head if revision is None else revision
    if number == 0:
        return Response(status_code=204, headers={"X-Revision": "0"})
    return _png(service.store.mask_png(entry_id, number), {"X-Revision": str(number)})


@router.post("/entries/{entry_id}/revisions")
async def save(
    request: Request,
    entry_id: int,
    user: Guarded,
    service: Given,
    base: int,
    save_id: str,
    kind: Kind = "paint",
    strokes: int = 0,
    active_seconds: float = 0.0,
) -> dict[str, Any]:
    """Save the mask that is the request's body, a grey PNG of the image's size."""

    def store(png: bytes) -> Saved:
        return service.store.save(
            entry_id,
            decode_mask(png, image.width, image.height),
            author=user.name,
            base=base,
            kind=kind,
            strokes=strokes,
            active_seconds=active_seconds,
            save_id=save_id,
            privileged=user.reviews,
        )

    await run_in_threadpool(queue.entry_for, service.store, entry_id, user)
    image = await run_in_threadpool(service.store.image, entry_id)
    # No PNG of random levels is larger than this.
    png = await _body(request, limit=image.width * image.height * 2 + 65_536)
    return asdict(await run_in_threadpool(store, png))


@router.post("/entries/{entry_id}/restore")
def restore(
    entry_id: int, user: Guarded, service: Given, number: Annotated[int, Body(embed=True)]
) -> dict[str, Any]:
    """Make an old revision the newest."""
    queue.entry_for(service.store, entry_id, user)
    saved = service.store.restore(entry_id, number, author=user.name, privileged=user.reviews)
    return asdict(saved)


@router.post("/entries/{entry_id}/lease")
def take_lease(
    entry_id: int,
    user: Guarded,
    service: Given,
    token: Annotated[str, Body(pattern="^[0-9a-f]{32}$")],
    renew: Annotated[bool, Body()] = False,
) -> dict[str, Any]:
    """Take or renew the lease; the page asks often, and hears of the work's storage with it."""
    expires = queue.take(service.store, entry_id, user, token, renew=renew)
    return {"expires": expires, "seconds": queue.LEASE_SECONDS, "storage": service.storage()}


@router.post("/entries/{entry_id}/release")
def release_lease(
    entry_id: int,
    user: Guarded,
    service: Given,
    token: Annotated[str, Body(embed=True, pattern="^[0-9a-f]{32}$")],
) -> dict[str, Any]:
    """Give the lease back."""
    queue.entry_for(service.store, entry_id, user)
    queue.release(service.store, entry_id, token)
    return {}


@router.post("/entries/{entry_id}/state")
def set_state(
    entry_id: int,
    user: Guarded,
    service: Given,
    state: Annotated[State, Body()],
    comment: Annotated[str, Body(max_length=10_000)] = "",
) -> dict[str, Any]:
    """Move an entry on in the queue."""
    entry = queue.move(service.store, entry_id, state, user, comment)
    return _entry_row(entry, service.store.image(entry_id))


@router.post("/entries/{entry_id}/note")
def set_note(
    entry_id: int,
    user: Guarded,
    service: Given,
    note: Annotated[str | None, Body(max_length=10_000)] = None,
    flagged: Annotated[bool | None, Body()] = None,
) -> dict[str, Any]:
    """Write an entry's note or flag."""
    queue.annotate(service.store, entry_id, user, note=note, flagged=flagged)
    return {}


@router.post("/entries/{entry_id}/assignee")
def set_assignee(
    entry_id: int,
    user: Guarded,
    service: Given,
    assignee: Annotated[str | None, Body(embed=True, max_length=64)],
) -> dict[str, Any]:
    """Give an entry to a user, or to nobody."""
    if assignee is not None and service.users.by_name(assignee) is None:
        raise StoreError(f"assignee must be a user, got {assignee}: choose one of the list")
    queue.assign(service.store, entry_id, user, assignee)
    return {}


@router.post("/conflicts/{conflict_id}")
def resolve(
    conflict_id: int, user: Guarded, service: Given, take: Annotated[str, Body(embed=True)]
) -> dict[str, Any]:
    """Settle a conflict: take "kept", "stale", or the two's "union" or "intersection"."""
    with service.store.reading() as session:
        conflict = session.get(Conflict, conflict_id)
    if conflict is None:
        raise UnknownError(f"conflict must be an open one, got {conflict_id}: open the image anew")
    queue.entry_for(service.store, conflict.entry_id, user)
    kept = _mask_or_empty(service.store, conflict.entry_id, conflict.kept)
    stale = _mask_or_empty(service.store, conflict.entry_id, conflict.stale)
    choices = {
        "kept": kept,
        "stale": stale,
        "union": np.maximum(kept, stale),
        "intersection": np.minimum(kept, stale),
    }
    if take not in choices:
        raise StoreError(f"take must be one of {', '.join(choices)}, got {take}: choose one")
    return asdict(
        service.store.resolve(conflict_id, choices[take], author=user.name, privileged=user.reviews)
    )


@router.get("/agreement")
def get_agreement(user: Guarded, service: Given) -> dict[str, Any]:
    """Return agreement by image and its means."""
    found = agreement.pairs(_reviewed_by(user, service))
    return {
        "pairs": [asdict(pair) for pair in found],
        "means": [asdict(mean) for mean in agreement.means(found)],
    }


@router.get("/agreement.csv")
def get_agreement_csv(user: Guarded, service: Given) -> Response:
    """Return agreement by image as CSV."""
    text = agreement.to_csv(agreement.pairs(_reviewed_by(user, service)))
    return Response(
        text,
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="agreement.csv"'},
    )


@router.get("/agreement/{image_id}.png")
def get_disagreement(image_id: int, user: Guarded, service: Given) -> Response:
    """Return an image's disagreement map."""
    return _png(encode_png(agreement.map_of(_reviewed_by(user, service), image_id)))


def _reviewed_by(user: User, service: Service) -> Store:
    if not user.reviews:
        raise ForbiddenError(
            f"user must be a reviewer to see agreement, got {user.name}: the passes are blind"
        )
    return service.store


def _mask_or_empty(store: Store, entry_id: int, number: int) -> Mask:
    mask = store.mask(entry_id, number)
    if mask is not None:
        return mask
    image = store.image(entry_id)
    return np.zeros((image.height, image.width), np.uint8)


def _entry_row(entry: Entry, image: Image) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "state": entry.state,
        "assignee": entry.assignee,
        "pass": entry.blind_pass,
        "head": entry.head,
        "comment": entry.comment,
        "note": entry.note,
        "flagged": entry.flagged,
        "locked": entry.state in LOCKED,
    }


def _revision_row(revision: Revision) -> dict[str, Any]:
    return {
        "number": revision.number,
        "parent": revision.parent,
        "author": revision.author,
        "saved_at": revision.saved_at,
        "active_seconds": revision.active_seconds,
        "strokes": revision.strokes,
        "kind": revision.kind,
        "detail_px": revision.detail_px,
    }


def _png(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, media_type="image/png", headers=headers)


async def _body(request: Request, limit: int) -> bytes:
    """Read a request's body, and no more of it than a mask can have."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise StoreError(
                f"mask must have at most {limit} bytes, got more: it belongs to another image"
            )
        parts.append(part)
    return b"".join(parts)
