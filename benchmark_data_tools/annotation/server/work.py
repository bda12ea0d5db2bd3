"""The queue and the way of entries through it: leases, states, notes, assignees, progress."""

import json
import mimetypes
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi.responses import Response

from benchmark_data_tools.annotation.server.access import Given, Guarded, Number, SaveId
from benchmark_data_tools.annotation.server.entries import entry_row
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.rules import LEASE_SECONDS
from benchmark_data_tools.annotation.storage.tables import State
from benchmark_data_tools.annotation.team import leases, pins, preferences, progress, queue, states
from benchmark_data_tools.annotation.team.passes import entry_for
from benchmark_data_tools.annotation.team.queue import Filter, QueueRow

router = APIRouter()


@router.get("/queue")
def get_queue(
    user: Guarded,
    service: Given,
    state: str | None = None,
    search: str = "",
    flagged: bool = False,
    mine: bool = False,
    label: str | None = None,
    assignee: str | None = None,
    conflict: bool = False,
) -> Response:
    """Return the whole filtered queue, compact: a list of values an entry.

    An empty `assignee` asks for what nobody has.
    """
    wanted = Filter(state, search, flagged, mine, label, assignee, conflict)
    found = queue.listing(service.store, user, wanted)
    # Not by FastAPI's encoder, which looks at each of tens of thousands of values.
    text = json.dumps({"columns": QueueRow._fields, "rows": found}, separators=(",", ":"))
    return Response(text, media_type="application/json")


@router.get("/progress")
def get_progress(user: Guarded, service: Given) -> list[dict[str, Any]]:
    """Return everyone's progress first, then each person's; annotators see their own."""
    names = progress.authors(service.store) if user.reviews else [user.name]
    return [asdict(progress.progress(service.store, name)) for name in (None, *names)]


@router.post("/entries/{entry_id}/lease")
def take_lease(
    entry_id: Number,
    user: Guarded,
    service: Given,
    token: Annotated[str, Body(pattern="^[0-9a-f]{32}$")],
    renew: Annotated[bool, Body()] = False,
) -> dict[str, Any]:
    """Take or renew the lease; the page asks often, and hears of the work's storage with it."""
    expires = leases.take(service.store, entry_id, user, token, renew=renew)
    return {
        "expires": expires,
        "seconds": LEASE_SECONDS,
        "storage": service.storage(),
        "assignee": leases.owner(service.store, entry_id),
    }


@router.post("/entries/{entry_id}/release")
def release_lease(
    entry_id: Number,
    user: Guarded,
    service: Given,
    token: Annotated[str, Body(embed=True, pattern="^[0-9a-f]{32}$")],
) -> dict[str, Any]:
    """Give the lease back; tells whose the entry is then."""
    entry_for(service.store, entry_id, user)
    leases.release(service.store, entry_id, token)
    return {"assignee": leases.owner(service.store, entry_id)}


@router.post("/entries/{entry_id}/state")
def set_state(
    entry_id: Number,
    user: Guarded,
    service: Given,
    state: Annotated[State, Body()],
    comment: Annotated[str, Body(max_length=10_000)] = "",
    head: Annotated[SaveId | None, Body()] = None,
) -> dict[str, Any]:
    """Move an entry on in the queue; `head` is the save that the page shows."""
    shown = None if head is None else service.store.numbers_of(entry_id, head)[0]
    entry = states.move(service.store, entry_id, state, user, comment, head=shown)
    return entry_row(entry, service.store.image(entry_id))


@router.post("/entries/{entry_id}/note")
def set_note(
    entry_id: Number,
    user: Guarded,
    service: Given,
    note: Annotated[str | None, Body(max_length=10_000)] = None,
    seen: Annotated[str, Body(max_length=10_000)] = "",
    flagged: Annotated[bool | None, Body()] = None,
) -> dict[str, Any]:
    """Write an entry's note or flag; `seen` is the note that the page showed before."""
    states.annotate(service.store, entry_id, user, note=note, seen=seen, flagged=flagged)
    return {}


@router.post("/entries/{entry_id}/assignee")
def set_assignee(
    entry_id: Number,
    user: Guarded,
    service: Given,
    assignee: Annotated[str | None, Body(embed=True, max_length=64)],
) -> dict[str, Any]:
    """Give an entry to a user, or to nobody."""
    if assignee is not None and service.users.by_name(assignee) is None:
        raise StoreError(f"assignee must be a user, got {assignee}: choose one of the list")
    states.assign(service.store, entry_id, user, assignee)
    return {}


@router.post("/batch")
def batch(
    user: Guarded,
    service: Given,
    entries: Annotated[list[Number], Body(min_length=1, max_length=100_000)],
    action: Annotated[Literal["accept", "return", "assign"], Body()],
    assignee: Annotated[str | None, Body(max_length=64)] = None,
    comment: Annotated[str, Body(max_length=10_000)] = "",
) -> dict[str, Any]:
    """Accept, return or assign many entries; tells which refused, and why."""
    if assignee is not None and service.users.by_name(assignee) is None:
        raise StoreError(f"assignee must be a user, got {assignee}: choose one of the list")
    refused = states.batch(service.store, entries, user, action, assignee=assignee, comment=comment)
    return {"done": len(entries) - len(refused), "refused": refused}


@router.post("/entries/{entry_id}/pins")
def add_pin(
    entry_id: Number,
    user: Guarded,
    service: Given,
    x: Annotated[float, Body()],
    y: Annotated[float, Body()],
    text: Annotated[str, Body(max_length=10_000)],
) -> list[dict[str, Any]]:
    """Pin a comment to a place; returns all open ones."""
    pins.add(service.store, entry_id, user, x, y, text)
    return [asdict(pin) for pin in pins.listing(service.store, entry_id)]


@router.post("/pins/{pin_id}/settle")
def settle_pin(pin_id: Number, user: Guarded, service: Given) -> dict[str, Any]:
    """Take a comment off the image."""
    pins.settle(service.store, pin_id, user)
    return {}


@router.get("/preferences")
def get_preferences(user: Guarded, service: Given) -> dict[str, Any]:
    """Return one's own settings and keys."""
    return preferences.read(service.store, user)


@router.post("/preferences")
def set_preferences(
    user: Guarded, service: Given, value: Annotated[dict[str, Any], Body(embed=True)]
) -> dict[str, Any]:
    """Keep one's own settings and keys."""
    preferences.write(service.store, user, value)
    return {}


@router.get("/guideline")
def get_guideline(user: Guarded, service: Given) -> dict[str, str]:
    """Return the owner's guideline as HTML without scripts."""
    return {"html": preferences.guideline_html(service.store)}


@router.get("/guideline/{name}")
def get_guideline_picture(name: str, user: Guarded, service: Given) -> Response:
    """Return a picture that lies beside the guideline."""
    picture = preferences.guideline_picture(service.store, name)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(picture, media_type=kind)
