"""The annotation's FastAPI application, alone or mounted beside the demo."""

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from huggingface_hub import attach_huggingface_oauth

from benchmark_data_tools.annotation.server import access, entries, label_studio, reviews, work
from benchmark_data_tools.annotation.server.access import STATUS, add_headers, refuse
from benchmark_data_tools.annotation.server.guard import Guard
from benchmark_data_tools.annotation.server.service import Service

__all__ = ["Service", "create_app"]
PAGE = Path(__file__).parents[1] / "page"


def create_app(service: Service) -> FastAPI:
    """Return the application; mount it under a path or serve it alone.

    Args:
        service: What it works with.

    Returns:
        The application, with the page at its root.
    """
    app = FastAPI(title="Annotation", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    for part in (access, entries, work, reviews):
        app.include_router(part.router, prefix="/api")
    for kind, status in STATUS.items():
        app.add_exception_handler(kind, partial(refuse, status))
    app.include_router(label_studio.router)
    app.middleware("http")(add_headers)
    app.add_middleware(
        Guard, takes_masks=entries.takes_masks, is_program=label_studio.is_for_label_studio
    )
    if service.hugging_face:
        attach_huggingface_oauth(app)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app
