"""Label Studio's protocol for models: its tasks get our proposals, as brushes or bitmasks.

Source: the requests that Label Studio sends (/health, /setup, /predict). Images are found in the
dataset by their names, and never fetched from the addresses that a task names.
"""

import logging
import re
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Body
from sqlalchemy import select

from benchmark_data_tools.annotation import TOOL_VERSION
from benchmark_data_tools.annotation.formats import label_studio
from benchmark_data_tools.annotation.formats.markup import parse_xml
from benchmark_data_tools.annotation.formats.matching import ImageNames
from benchmark_data_tools.annotation.server.access import Given, Program
from benchmark_data_tools.annotation.server.proposals import KERNEL_PX, OPENING_PX
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Image

__all__ = ["is_for_label_studio", "router"]

log = logging.getLogger(__name__)
router = APIRouter(prefix="/label_studio")
_VERSION = f"mgm proposal {TOOL_VERSION}"
_TAGS = {"brushlabels": False, "brush": False, "bitmasklabels": True, "bitmask": True}


class Target(NamedTuple):
    """Where a labelling interface takes a mask.

    Args:
        from_name: The tag that makes masks.
        to_name: The image's tag.
        image_key: What a task calls the image's address.
        bitmask: Whether the tag makes bitmasks, or brushes.
        label: The label of the mask; None for a tag without labels.
    """

    from_name: str
    to_name: str
    image_key: str
    bitmask: bool
    label: str | None


@router.get("/health")
def health(user: Program) -> dict[str, str]:
    """Tell that this is a model that answers."""
    return {"status": "UP", "model_class": "mgm"}


@router.post("/setup")
def setup(
    user: Program, service: Given, label_config: Annotated[str, Body(embed=True, alias="schema")]
) -> dict[str, str]:
    """Check the project's labelling interface, and tell the model's version."""
    target_of(label_config, service.store)
    return {"model_version": _VERSION}


@router.post("/predict")
def predict(
    user: Program,
    service: Given,
    tasks: Annotated[list[dict[str, Any]], Body()],
    label_config: Annotated[str, Body()],
) -> dict[str, Any]:
    """Return a prediction for each task; none for one whose image the dataset does not have."""
    target = target_of(label_config, service.store)
    with service.store.reading() as session:
        images = {image.name: image for image in session.scalars(select(Image))}
    names = ImageNames(images)
    results: list[dict[str, Any] | list[Any]] = []
    for task in tasks:
        data = task.get("data")
        address = data.get(target.image_key) if isinstance(data, dict) else None
        name = names.find(address) if isinstance(address, str) else None
        if name is None:
            log.warning("task %s of Label Studio: no image is named %s", task.get("id"), address)
            results.append([])
            continue
        mask = service.layers.proposal(images[name], opening_px=OPENING_PX, kernel_px=KERNEL_PX)
        result = label_studio.result_of(
            mask,
            target.label,
            bitmask=target.bitmask,
            from_name=target.from_name,
            to_name=target.to_name,
        )
        results.append({"result": [result] if mask.any() else [], "model_version": _VERSION})
    return {"results": results}


def target_of(label_config: str, store: Store) -> Target:
    """Find where a labelling interface takes the masks that are proposed.

    Raises:
        StoreError: It takes none, or has several labels of which none is the dataset's.
    """
    try:
        tags = list(parse_xml(label_config.encode()).iter())
    except ValueError as error:
        raise StoreError(f"label_config must be Label Studio's, got none: {error}") from error
    images = {tag.get("name"): tag.get("value", "") for tag in tags if tag.tag.lower() == "image"}
    for tag in tags:
        kind = tag.tag.lower()
        if kind not in _TAGS or tag.get("toName") not in images:
            continue
        label: str | None = None
        if kind.endswith("labels"):
            known = [str(child.get("value")) for child in tag.iter() if child.tag == "Label"]
            ours = {one.name for one in store.labels() if one.kind == "mask"}
            chosen = [name for name in known if name in ours] or known
            if len(known) > 1 and chosen is known:
                raise StoreError(
                    f"label_config must have a label of the dataset's, {', '.join(sorted(ours))}, "
                    f"got {', '.join(known)}: name one of its labels so"
                )
            if not chosen:
                continue
            label = chosen[0]
        name = str(tag.get("toName"))
        return Target(str(tag.get("name")), name, images[name].lstrip("$"), _TAGS[kind], label)
    raise StoreError(
        "label_config must have BrushLabels, Brush, BitmaskLabels or Bitmask for an Image, got "
        "none: add one, for instance of `export --kind label_studio`"
    )


def is_for_label_studio(path: str) -> bool:
    """Tell whether a path is one that Label Studio asks."""
    return bool(re.search(r"/label_studio/(health|setup|predict)$", path))
