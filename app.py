"""Serve the demo: `python app.py`, then open http://localhost:7860 (PORT changes it)."""

import gc
import importlib.util
import inspect
import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_space, get_upload_folder
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from demo.backend.leftovers import delete_old_files
from demo.backend.memory import Memory
from demo.backend.models import Models
from demo.backend.studio import Studio
from demo.backend.visits import LANES, Visits, log
from demo.environment import Environment
from demo.examples import PICTURES
from demo.tabs.annotation import PATH
from demo.ui import build
from demo.web.guard import Guard, Input, UploadShares, security_headers
from demo.web.health import check_metrics, health_route, metrics_route
from demo.web.paths import mounted
from demo.web.sessions import Sessions
from demo.web.theme import CSS, theme
from mgm_core import __version__
from mgm_core.runtime.admission import Admission
from mgm_core.runtime.memory import give_back, share_arenas

# Beside those who wait: for visits that have their turn, that are short, and that are refused.
_THREADS = 40
# A network takes the interpreter back after each layer, each time from whoever answers a request:
# with Python's 5 ms a photo took a fifth longer while a hundred visitors came.
_SWITCH_S = 0.0005
_KEEP_ALIVE_S = 75
# What a finished request's answer takes to reach its visitor before the server is gone.
_DELIVERY_S = 0.5


def launch(
    page: gr.Blocks,
    environment: Environment,
    visits: Visits,
    *,
    annotation: FastAPI | None = None,
    further: Sequence[BaseRoute] = (),
) -> str:
    """Start serving a page, and return while it is being served.

    Args:
        page: what `build` returned.
        environment: limits and the port.
        visits: which pages wait for their results.
        annotation: the labelling page, served under `demo.tabs.annotation.PATH`.
        further: routes beside the page.

    Returns:
        The page's address.

    Raises:
        ValueError: the port is another's.
    """
    # Visits take turns (`mgm_core.runtime.admission`), each in a thread; Gradio only hands them on.
    threads = environment.queue_size + _THREADS
    page.queue(max_size=threads, default_concurrency_limit=None, api_open=False)
    routes = [*further]
    if annotation is not None:
        routes += mounted(PATH, annotation)

    def session_of(event_id: str) -> str:
        event = page._queue.event_ids_to_events.get(event_id)
        return event_id if event is None else event.session_hash

    def inputs_of(handler: int | str) -> list[Input] | None:
        for number, function in page.fns.items():
            if handler in (number, function.api_name):
                parameters = inspect.signature(function.fn or (lambda: None)).parameters.values()
                return [
                    Input(
                        parameter.name if parameter else "",
                        isinstance(part, gr.Image | gr.File | gr.Video),
                        parameter is not None and parameter.default is parameter.empty,
                    )
                    for parameter, part in itertools.zip_longest(
                        itertools.islice(parameters, len(function.inputs)), function.inputs
                    )
                ]
        return None

    guard = Middleware(
        Guard,
        shares=UploadShares(environment.upload_megabytes * 2**20, environment.keep_minutes * 60),
        listen=visits.admission.listen,
        session_of=session_of,
        inputs_of=inputs_of,
        headers=security_headers(on_a_space=get_space() is not None),
        elsewhere=[PATH] if annotation is not None else [],
        addresses=bool(environment.mcp),
    )
    # Uvicorn reads it; by default it believes any program on this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = environment.proxies
    try:
        served, url, _ = page.launch(
            server_port=environment.port,
            theme=theme(),
            css=CSS,
            allowed_paths=[str(PICTURES)],
            max_file_size=environment.max_file_megabytes * gr.FileSize.MB,
            state_session_capacity=environment.sessions,
            footer_links=["api"],
            enable_monitoring=False,
            run_history=False,
            strict_cors=True,
            ssr_mode=False,
            quiet=True,
            # Gradio else ends where the page's first answer takes 3 s, as on a busy machine.
            _frontend=False,
            # Before Gradio's own routes, which answer to every path.
            app_kwargs={"routes": routes, "middleware": [guard]},
            max_threads=threads,
            mcp_server=bool(environment.mcp),
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ValueError(
            f"PORT must be free, got {environment.port}, which cannot be listened on: stop what "
            "uses it, or set another PORT"
        ) from error
    served.state_holder = Sessions()  # type: ignore[no-untyped-call] # Gradio's own constructor
    served.state_holder.set_blocks(page)
    # A proxy keeps connections for a minute, and must not send into one that is just being closed.
    page.server.config.timeout_keep_alive = _KEEP_ALIVE_S
    return url


def check_mcp(environment: Environment) -> None:
    """Hold what MCP needs to be installed where it is wanted; Gradio would go on without a word.

    Raises:
        ValueError: it is not.
    """
    if environment.mcp and importlib.util.find_spec("mcp") is None:
        raise ValueError(
            "MGM_MCP must be 0 while the package mcp is missing, got 1: pip install -e '.[mcp]'"
        )


def open_annotation(environment: Environment, stack: ExitStack) -> FastAPI | None:
    """Open the dataset that is to be labelled, if there is one, until the stack ends."""
    if not environment.annotate:
        return None
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here, as it imports PyTorch, which would keep the page of everyone else from coming up.
    from benchmark_data_tools.annotation.commands import open_service
    from benchmark_data_tools.annotation.server.app import create_app

    service = open_service(
        Path(environment.annotate),
        host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        hub_dataset=environment.annotate_hub or None,
    )
    return create_app(stack.enter_context(service))


def forget_in_time(memory: Memory, keep_s: float, admission: Admission) -> None:
    """Drop results and files of visitors who left, also while no one else comes."""
    while True:
        time.sleep(min(60, keep_s))
        memory.forget_old()
        give_back()
        # What was uploaded for a visit that still waits or computes must be there for it.
        delete_old_files(Path(get_upload_folder()), keep_s + admission.longest_s)


def spare_collector(loading: threading.Thread) -> None:
    """Once all is loaded, let the garbage collector pass over it: it stays.

    Looking through half a million objects would hold everybody up for half a second, now and then.
    """
    loading.join()
    gc.collect()
    gc.freeze()


def own_folder() -> Path:
    """Make the folder of visitors' files, which is nobody else's, as all in it goes by age.

    It is in Gradio's folder if one is named, else in the system's for temporary files.

    Raises:
        ValueError: it cannot be made, or is there and somebody else's.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    parent = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    folder = Path(parent, f"mgm-demo-{user}").absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"the folder for visitors' files must be writable, got {folder} ({error.strerror}): "
            "name another place by GRADIO_TEMP_DIR"
        ) from error
    if folder.is_symlink() or folder.stat().st_uid != user:
        raise ValueError(
            f"the folder for visitors' files must be this user's own, got {folder}, which is "
            "another's: name another place by GRADIO_TEMP_DIR"
        )
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def stop_on_signals() -> threading.Event:
    """Return an event that the first signal to stop sets; the second stops the process at once."""
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        if stopping.is_set():
            raise SystemExit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def main() -> None:
    """Read the settings, start loading the networks, and serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    share_arenas()
    sys.setswitchinterval(_SWITCH_S)
    environment = Environment.from_variables(os.environ)
    check_mcp(environment)
    check_metrics(bool(environment.metrics))
    stopping = stop_on_signals()
    keep_s = environment.keep_minutes * 60
    delete_old_files(own_folder(), keep_s)
    admission = Admission(
        LANES,
        brief=max(1, (os.cpu_count() or 1) // 4),
        places=environment.queue_size,
        address_share=environment.address_share,
        page_share=environment.page_share,
    )
    visits = Visits(admission)
    with ExitStack() as stack:
        annotation = open_annotation(environment, stack)
        models = Models.bundled(environment.weights, environment.device)
        memory = Memory(environment.memory_megabytes * 2**20, keep_s)
        studio = Studio(models, memory, environment.max_megapixels, environment.request_seconds)
        page = build(studio, environment, visits)
        threading.Thread(
            target=forget_in_time, args=(memory, keep_s, admission), daemon=True
        ).start()
        admission.watch()
        further = [health_route(admission, models, __version__)]
        if environment.metrics:
            further.append(metrics_route(admission, lambda: memory.held_bytes, log))
        logging.getLogger("app").info("http://localhost:%d", environment.port)
        launch(page, environment, visits, annotation=annotation, further=further)
        # Not before, as loading PyTorch keeps the page from coming up.
        broken: list[str] = []

        def give_up(why: str) -> None:
            broken.append(why)
            stopping.set()

        warming = models.warm_up("portrait", give_up)
        threading.Thread(target=spare_collector, args=(warming,), daemon=True).start()
        stopping.wait()
        if broken:
            raise ValueError(broken[0])
        logging.getLogger("app").info(
            "stopping: running requests have %g s", environment.stop_seconds
        )
        admission.close(environment.stop_seconds)
        time.sleep(_DELIVERY_S)
        page.close(verbose=False)


def end(status: int) -> NoReturn:
    """End the process at once, while threads may still compute.

    PyTorch aborts when Python shuts down beneath a thread that is inside it, such as the one of
    `Models.warm_up`: https://docs.python.org/3/c-api/init.html#c.PyEval_RestoreThread.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        end(1)
    end(0)
