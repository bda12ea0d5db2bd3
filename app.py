"""Serve the demo: `python app.py`, then open http://localhost:7860 (PORT changes it)."""

import importlib.util
import logging
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route

from demo.backend.memory import Memory, share_arenas
from demo.backend.models import Models
from demo.backend.studio import Studio
from demo.environment import Environment
from demo.tabs.annotation import PATH
from demo.ui import EXAMPLES_FOLDER, build
from demo.web.theme import CSS, SCRIPT, theme


def launch(
    page: gr.Blocks,
    environment: Environment,
    *,
    annotation: FastAPI | None = None,
) -> str:
    """Start serving a page, and return while it is being served.

    Args:
        page: what `build` returned.
        environment: limits and the port.
        annotation: the labelling page, served under `demo.tabs.annotation.PATH`.

    Returns:
        The page's address.
    """
    page.queue(max_size=environment.queue_size)
    routes: list[BaseRoute] = []
    if annotation is not None:
        routes = [
            Route(f"/{PATH}", lambda _: RedirectResponse(f"{PATH}/")),
            Mount(f"/{PATH}", annotation),
        ]
    _, url, _ = page.launch(
        server_port=environment.port,
        theme=theme(),
        css=CSS,
        js=SCRIPT,
        allowed_paths=[str(EXAMPLES_FOLDER)],
        max_file_size=environment.max_file_megabytes * gr.FileSize.MB,
        state_session_capacity=environment.sessions,
        footer_links=["api"],
        enable_monitoring=False,
        run_history=False,
        strict_cors=True,
        ssr_mode=False,
        quiet=True,
        # Before Gradio's own routes, which answer to every path.
        app_kwargs={"routes": routes},
        mcp_server=bool(environment.mcp),
        prevent_thread_lock=True,
    )
    return url


def check_mcp(environment: Environment) -> None:
    """Hold what MCP needs to be installed where it is wanted; Gradio would go on without a word.

    Raises:
        ValueError: it is not.
    """
    if environment.mcp and importlib.util.find_spec("mcp") is None:
        raise ValueError(
            "MGM_MCP must be 0 while the package mcp is missing, got 1: "
            f"pip install 'gradio[mcp]=={gr.__version__}'"
        )


def open_annotation(environment: Environment, stack: ExitStack) -> FastAPI | None:
    """Open the dataset that is to be labelled, if there is one, until the stack ends."""
    if not environment.annotate:
        return None
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here, as it imports PyTorch, which would keep the page of everyone else from coming up.
    from benchmark_data_tools.annotation.commands import open_service
    from benchmark_data_tools.annotation.server.app import create_app

    # A Space is stopped by a signal; it must end the stack, which sends the work to the Hub.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    service = open_service(
        Path(environment.annotate),
        host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        hub_dataset=environment.annotate_hub or None,
    )
    return create_app(stack.enter_context(service))


def forget_in_time(memory: Memory) -> None:
    """Drop the results of visitors who left, also while no one else comes."""
    while True:
        time.sleep(60)
        memory.forget_old()


def main() -> None:
    """Read the settings, start loading the networks, and serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    share_arenas()
    environment = Environment.from_variables(os.environ)
    check_mcp(environment)
    with ExitStack() as stack:
        annotation = open_annotation(environment, stack)
        models = Models.bundled(environment.weights, environment.device)
        memory = Memory(environment.memory_megabytes * 2**20, environment.keep_minutes * 60)
        page = build(Studio(models, memory, environment.max_megapixels), environment)
        threading.Thread(target=forget_in_time, args=(memory,), daemon=True).start()
        logging.getLogger("app").info("http://localhost:%d", environment.port)
        launch(page, environment, annotation=annotation)
        # Not before, as loading PyTorch keeps the page from coming up.
        models.warm_up("portrait")
        page.block_thread()


if __name__ == "__main__":
    main()
