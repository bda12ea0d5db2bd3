"""What a page reads and saves of an entry: image, layers, masks and revisions."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response

from benchmark_data_tools.annotation.server.access import Given, Guarded, Number, SaveId
from benchmark_data_tools.annotation.server.proposals import (
    KERNEL_PX,
    LAYERS,
    OPENING_PX,
    Layer,
)
from benchmark_data_tools.annotation.server.service import Service
from benchmark_data_tools.annotation.server.shown import shown_file
from benchmark_data_tools.annotation.storage.dataset import MAX_MEGAPIXELS
from benchmark_data_tools.annotation.storage.drafts import Draft, Saved
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.masks import (
    DETAIL_FROM,
    decode_mask,
    encode_mask,
)
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.rules import LOCKED
from benchmark_data_tools.annotation.storage.tables import Entry, Image, Revision
from benchmark_data_tools.annotation.team import leases, pins
from benchmark_data_tools.annotation.team.passes import entry_for
from mgm_core.corrections.clicking import Click, segment_clicks
from mgm_core.images import read_image

# What a page may claim; the other kinds are the store's own.
_PaintedKind = Literal["paint", "proposal", "correction"]
router = APIRouter()


@router.get("/entries/{entry_id}")
def get_entry(entry_id: Number, user: Guarded, service: Given) -> dict[str, Any]:
    """Return all that the page needs to open an entry."""
    entry = entry_for(service.store, entry_id, user)
    image = service.store.image(entry_id)
    lease = leases.holder(service.store, entry_id)
    return entry_row(entry, image) | {
        "assignee": leases.owner(service.store, entry_id),
        "lease": None if lease is None else {"holder": lease.holder, "expires": lease.expires_at},
        "conflicts": [
            {"id": c.id, "kept": c.head, "stale": c.stale}
            for c in service.store.open_conflicts(entry_id)
        ],
        "revisions": [_revision_row(r) for r in service.store.revisions(entry_id)],
        "layers": list(LAYERS),
        "own_alpha": image.alpha_file is not None,
        "kind": service.store.label(entry.label).kind,
        "pins": [asdict(pin) for pin in pins.listing(service.store, entry_id)],
    }


@router.get("/entries/{entry_id}/image")
def get_image(entry_id: Number, user: Guarded, service: Given) -> Response:
    """Return the image as a file whose pixels every browser shows as they are labelled."""
    entry_for(service.store, entry_id, user)
    image = service.store.image(entry_id)
    return FileResponse(shown_file(service.store.folder, image))


@router.get("/entries/{entry_id}/layers/{layer}")
def get_layer(entry_id: Number, layer: Layer, user: Guarded, service: Given) -> Response:
    """Return a layer to look at."""
    entry_for(service.store, entry_id, user)
    return png_response(service.layers.png(service.store.image(entry_id), layer))


@router.get("/entries/{entry_id}/proposal")
def get_proposal(
    entry_id: Number,
    user: Guarded,
    service: Given,
    opening_px: Number = OPENING_PX,
    kernel_px: Number = KERNEL_PX,
    source: Layer = "alpha",
) -> Response:
    """Return proposed detail."""
    entry = entry_for(service.store, entry_id, user)
    proposed = service.layers.proposal(
        service.store.image(entry_id),
        opening_px=opening_px,
        kernel_px=kernel_px,
        source=source,
        kind=service.store.label(entry.label).kind,
    )
    return png_response(encode_mask(proposed))


@router.get("/entries/{entry_id}/mask")
def get_mask(
    entry_id: Number, user: Guarded, service: Given, revision: Number | None = None
) -> Response:
    """Return a revision's mask, the head's by default; 204 where nothing is saved yet."""
    entry = entry_for(service.store, entry_id, user)
    number = entry.head if revision is None else revision
    if number == 0:
        return Response(status_code=204, headers={"X-Revision": "0"})
    service.store.sight(entry_id, user)
    return png_response(service.store.mask_png(entry_id, number), {"X-Revision": str(number)})


@router.post("/entries/{entry_id}/revisions")
async def save(
    request: Request,
    entry_id: Number,
    user: Guarded,
    service: Given,
    base: Number,
    save_id: str,
    kind: _PaintedKind = "paint",
    strokes: Number = 0,
    active_seconds: float = 0.0,
    base_save: str | None = None,
) -> dict[str, Any]:
    """Save the mask that is the request's body, a grey PNG of the image's size."""

    def store(png: bytes) -> Saved:
        mask = decode_mask(png, image.width, image.height)
        draft = Draft(mask, user, base, kind, strokes, active_seconds, save_id, base_save)
        return service.store.save(entry_id, draft)

    image, png = await _mask_of(request, entry_id, user, service)
    return asdict(await run_in_threadpool(store, png))


@router.post("/entries/{entry_id}/segment")
async def segment(
    request: Request,
    entry_id: Number,
    user: Guarded,
    service: Given,
    x: Number,
    y: Number,
    adds: bool,
) -> Response:
    """Return the mask that is the request's body, a grey PNG, with what lies at (x, y) added.

    Without `adds` it is taken away. Nothing is saved.
    """

    def find(png: bytes) -> bytes:
        mask = decode_mask(png, image.width, image.height)
        picture = read_image(service.store.folder / image.file, max_megapixels=MAX_MEGAPIXELS)
        before = (mask >= DETAIL_FROM).astype(np.float32)
        after = segment_clicks(picture, [Click(x, y, adds)], before)
        return encode_mask(np.where(after > 0, np.uint8(255), np.uint8(0)))

    image, png = await _mask_of(request, entry_id, user, service)
    return png_response(await run_in_threadpool(find, png))


@router.post("/entries/{entry_id}/restore")
def restore(
    entry_id: Number,
    user: Guarded,
    service: Given,
    save: Annotated[SaveId, Body()],
    head: Annotated[SaveId, Body()],
) -> dict[str, Any]:
    """Make an old save the newest revision; `head` is the save that the page shows."""
    entry_for(service.store, entry_id, user)
    number, shown = service.store.numbers_of(entry_id, save, head)
    return asdict(service.store.restore(entry_id, number, author=user, head=shown))


def entry_row(entry: Entry, image: Image) -> dict[str, Any]:
    """Return what the page shows of an entry's state."""
    return {
        "id": entry.id,
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "state": entry.state,
        "assignee": entry.assignee,
        "pass": entry.blind_pass,
        "label": entry.label,
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
        "save_id": revision.save_id,
        "author": revision.author,
        "saved_at": revision.saved_at,
        "active_seconds": revision.active_seconds,
        "strokes": revision.strokes,
        "kind": revision.kind,
        "detail_px": revision.detail_px,
    }


def png_response(data: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return a PNG as an answer."""
    return Response(data, media_type="image/png", headers=headers)


async def _mask_of(
    request: Request, entry_id: int, user: User, service: Service
) -> tuple[Image, bytes]:
    """Return an entry's image, and the request's body: no more of it than a mask can have."""
    await run_in_threadpool(entry_for, service.store, entry_id, user)
    image = await run_in_threadpool(service.store.image, entry_id)
    limit = image.width * image.height * 2 + 65_536  # no PNG of random levels is larger
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise StoreError(
                f"mask must have at most {limit} bytes, got more: it belongs to another image"
            )
        parts.append(part)
    return image, b"".join(parts)


def takes_masks(path: str) -> bool:
    """Tell whether a path takes a mask, whose size is limited by its image's."""
    return bool(re.search(r"/api/entries/-?\d{1,20}/(revisions|segment)$", path))
