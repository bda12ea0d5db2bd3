"""One request in, one PNG out: the service's routes, limits and answers.

Requests take turns and have shares (`runtime/admission.py`), and work ends when its client leaves.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
import anyio.to_thread
from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData

from mgm_core import __version__
from mgm_core.api import cut_out
from mgm_core.choices import ANIMAL, CATEGORIES
from mgm_core.images import encode_png
from mgm_core.recipe import AUTO, BACKGROUNDS, Quality, read_background
from mgm_core.runtime.admission import Admission, BusyError, Visitor, await_turn, within
from mgm_core.runtime.cancellation import Cancelled
from mgm_core.runtime.memory import is_out_of_memory
from mgm_core.runtime.reporting import reason_of
from mgm_core.serve.limits import BodyLimit

__all__ = ["LANE", "Limits", "make_app"]

LANE = "photo"
"""The lane of `Admission` that a service must have."""
_CLIENT_LEFT = 499
_RETRY_S = "5"
_NO_MEMORY = "the server must have memory for the photograph, got too little: send a smaller one"
_PNG = {200: {"content": {"image/png": {}}, "description": "The cut-out"}}
_ERRORS = {
    413: {"description": "The request is too large"},
    422: {"description": "A picture cannot be read, or nothing is there to be cut out"},
    503: {"description": "Too much is under way; ask again after the seconds of Retry-After"},
}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Args:
        megabytes: Of all files of a request together.
        megapixels: Of a picture.
        seconds: To compute.
    """

    megabytes: float = 50.0
    megapixels: float = 50.0
    seconds: float = 300.0


def make_app(
    admission: Admission | None = None,
    limits: Limits | None = None,
    *,
    device: str = "auto",
    engine: str = "torch",
) -> FastAPI:
    """Return the service; networks are loaded with the first request.

    Args:
        admission: Who may compute, and when, in a lane "photo"; None for one photograph at a time.
        limits: What a request may ask for.
        device: Where the networks compute.
        engine: What computes the matting and fusion networks.
    """
    admission = admission or Admission({LANE: 1})
    limits = limits or Limits()
    app = FastAPI(
        title="Mask guided matting",
        version=__version__,
        description="Cut subjects out of photographs.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, most_bytes=int(limits.megabytes * 1e6))

    @app.get("/healthz")
    async def healthz() -> dict[str, int]:
        """Tell how many requests compute and wait."""
        return {"running": admission.running, "waiting": admission.waiting}

    @app.post(
        "/cut-out",
        response_class=Response,
        responses={**_PNG, **_ERRORS},  # type: ignore[dict-item] # FastAPI's own form
    )
    async def cut_out_photo(
        request: Request,
        photo: Annotated[UploadFile, File(description="The photograph")],
        mask: Annotated[
            UploadFile | None, File(description="A binary or soft mask of the subject")
        ] = None,
        trimap: Annotated[UploadFile | None, File(description="0, 128 and 255")] = None,
        background_picture: Annotated[UploadFile | None, File()] = None,
        background: Annotated[
            str | None,
            Form(description="'#rrggbb', 'gradient:#rrggbb,#rrggbb,ANGLE', 'blur[:PERCENT]'"),
        ] = None,
        category: Annotated[
            str, Form(description=f"{AUTO}, {ANIMAL}, or one of {', '.join(CATEGORIES[1:])}")
        ] = "person",
        quality: Annotated[Quality, Form()] = "best",
        result: Annotated[
            Literal["picture", "alpha"], Form(description="alpha: a PNG of 16 bits")
        ] = "picture",
    ) -> Response:
        """Cut the subject out of a photograph, or put it over a background."""
        address = request.client.host if request.client else ""

        def work() -> bytes:
            with visit.active():
                await_turn(LANE)  # its files lie on the disk until then
                with within(limits.seconds, "a photograph"):  # the wait does not count
                    made = cut_out(
                        photo.file.read(),
                        mask=None if mask is None else mask.file.read(),
                        trimap=None if trimap is None else trimap.file.read(),
                        quality=quality,
                        category=category,
                        background=(
                            background
                            if background_picture is None
                            else background_picture.file.read()
                        ),
                        device=device,
                        engine=engine,
                        max_megapixels=limits.megapixels,
                    )
                    if result == "alpha":
                        return encode_png(made.alpha, bits=16)
                    return encode_png(made.picture)

        try:
            fields = [field.name for field in request.scope["route"].dependant.body_params]
            _check_fields(await request.form(), fields)
            if background is not None:
                _check_background(background, background_picture)
            with admission.visit(Visitor(address)) as visit:
                visit.reserve()
                # It waits in a thread of its own: AnyIO's common ones are 40, for all requests.
                thread = anyio.CapacityLimiter(1)
                async with _cancelled_with(request, visit.token.cancel):
                    data = await anyio.to_thread.run_sync(work, limiter=thread)
        except BusyError as error:
            return JSONResponse({"detail": str(error)}, 503, {"Retry-After": _RETRY_S})
        except Cancelled:
            return Response(status_code=_CLIENT_LEFT)
        # Each library has its own error for a lack of memory; what has no reason is raised below.
        except Exception as error:
            if is_out_of_memory(error):
                return JSONResponse({"detail": _NO_MEMORY}, 503, {"Retry-After": _RETRY_S})
            reason = reason_of(error)
            if reason is None:  # a fault of this program
                raise
            return JSONResponse({"detail": reason}, 422)
        return Response(data, media_type="image/png")

    return app


def _check_fields(form: FormData, fields: Sequence[str]) -> None:
    """Raise where a request has a field that nobody reads, such as a misspelt one.

    Raises:
        ValueError: It has.
    """
    unknown = form.keys() - set(fields)
    if unknown:
        raise ValueError(
            f"a request's fields must be {', '.join(fields)}, got {min(unknown)!r:.60}: correct "
            "it, or leave it out"
        )


def _check_background(text: str, picture: UploadFile | None) -> None:
    """Raise unless a text is the background: `cut_out` opens any other text as a file's path.

    Raises:
        ValueError: It is no background, or a picture is there beside it.
    """
    if picture is not None:
        raise ValueError(
            f"background must be left out beside background_picture, got {text!r:.60}: send one "
            "of them"
        )
    if read_background(text) is None:
        raise ValueError(
            f"background must be {BACKGROUNDS}, got {text!r:.60}: send a picture as "
            "background_picture"
        )


@asynccontextmanager
async def _cancelled_with(request: Request, cancel: Callable[[], None]) -> AsyncIterator[None]:
    """Cancel the work in this block when its client leaves or the server stops."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        cancel()  # a thread goes on without its task
        raise
    finally:
        watching.cancel()
