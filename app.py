"""Serve the demo: `python app.py`, then open http://localhost:7860 (PORT changes it)."""

import logging
import os
import threading
import time

import gradio as gr

from demo.environment import Environment
from demo.memory import Memory
from demo.models import Models
from demo.studio import Studio
from demo.theme import CSS, theme
from demo.ui import EXAMPLES_FOLDER, build


def launch(page: gr.Blocks, environment: Environment, *, block: bool = True) -> str:
    """Start serving a page.

    Args:
        page: what `build` returned.
        environment: limits and the port.
        block: wait until the server ends.

    Returns:
        The page's address.
    """
    page.queue(max_size=environment.queue_size)
    _, url, _ = page.launch(
        server_port=environment.port,
        theme=theme(),
        css=CSS,
        allowed_paths=[str(EXAMPLES_FOLDER)],
        max_file_size=environment.max_file_megabytes * gr.FileSize.MB,
        state_session_capacity=environment.sessions,
        footer_links=["api"],
        enable_monitoring=False,
        run_history=False,
        strict_cors=True,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=not block,
    )
    return url


def forget_in_time(memory: Memory) -> None:
    """Drop the results of visitors who left, also while no one else comes."""
    while True:
        time.sleep(60)
        memory.forget_old()


def main() -> None:
    """Read the settings, start loading the networks, and serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    environment = Environment.from_variables(os.environ)
    models = Models.bundled(environment.weights, environment.device)
    memory = Memory(environment.memory_megabytes * 2**20, environment.keep_minutes * 60)
    page = build(Studio(models, memory, environment.max_megapixels), environment)
    models.warm_up("portrait")
    threading.Thread(target=forget_in_time, args=(memory,), daemon=True).start()
    logging.getLogger("app").info("http://localhost:%d", environment.port)
    launch(page, environment)


if __name__ == "__main__":
    main()
