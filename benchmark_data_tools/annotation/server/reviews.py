"""Conflicts and their settlement, and agreement of blind passes."""

from dataclasses import asdict
from functools import reduce
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body
from fastapi.responses import Response

from benchmark_data_tools.annotation.server.access import Given, Guarded, Number, SaveId
from benchmark_data_tools.annotation.server.entries import png_response
from benchmark_data_tools.annotation.server.service import Service
from benchmark_data_tools.annotation.storage.errors import ForbiddenError
from benchmark_data_tools.annotation.storage.masks import Mask
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team import agreement
from benchmark_data_tools.annotation.team.passes import entry_for
from mgm_core.images import encode_png

router = APIRouter()


@router.post("/entries/{entry_id}/settle")
def settle(
    entry_id: Number,
    user: Guarded,
    service: Given,
    take: Annotated[Literal["head", "stale", "union", "intersection"], Body()],
    head: Annotated[SaveId, Body()],
    stale: Annotated[dict[Number, SaveId], Body(min_length=1, max_length=10_000)],
) -> dict[str, Any]:
    """Settle open conflicts.

    Take "head", or "stale", or what the head and all of "stale" have together ("union") or in
    common ("intersection"). `head` is the save, and `stale` of each conflict the save, that the
    page showed.
    """
    entry_for(service.store, entry_id, user)
    shown, *numbers = service.store.numbers_of(entry_id, head, *stale.values())
    beside = dict(zip(stale, numbers, strict=True))
    service.store.check_settlement(entry_id, author=user, head=shown, stale=beside)
    # Decoded one at a time: all at once would take the server's memory.
    others = (_mask_or_empty(service.store, entry_id, number) for number in numbers)
    first = _mask_or_empty(service.store, entry_id, shown)
    chosen = {
        "head": lambda: first,
        "stale": lambda: reduce(np.maximum, others),
        "union": lambda: reduce(np.maximum, others, first),
        "intersection": lambda: reduce(np.minimum, others, first),
    }[take]()
    return asdict(service.store.settle(entry_id, chosen, author=user, head=shown, stale=beside))


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


@router.get("/agreement/{entry_id}.png")
def get_disagreement(entry_id: Number, user: Guarded, service: Given) -> Response:
    """Return the disagreement map of a first pass and its second; not to who labelled one."""
    store = _reviewed_by(user, service)
    both = [entry_for(store, one.id, user) for one in store.passes(entry_id)]
    drawn = agreement.map_of(store, entry_id)
    for one in both:
        store.sight(one.id, user)
    return png_response(encode_png(drawn))


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
