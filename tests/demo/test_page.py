"""The real app in a real browser."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from demo.environment import Environment
from demo.handlers import Controls
from demo.ui import CATEGORIES, EXAMPLES, SEGMENTERS, build
from mgm_core import segmentation
from mgm_core.images import read_alpha, read_image

ROOT = Path(__file__).parents[2]
# The machine may be busy, and the networks are being loaded when the first photo comes.
expect.set_options(timeout=120_000)
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def test_the_page_offers_what_the_core_has():
    assert {*CATEGORIES, "background"} == set(segmentation.CATEGORIES)
    assert tuple(name for _, name in SEGMENTERS) == segmentation.SEGMENTERS


def test_handlers_get_the_controls_in_their_order(studio):
    async def built():
        return build(studio, Environment())

    # Inside a loop, as Gradio else opens loops of its own and leaves them open.
    page = asyncio.run(built())
    show = next(fn for fn in page.fns.values() if fn.name == "show")
    labels = [getattr(part, "label", None) for part in show.inputs]
    assert len(labels) == 2 + len(Controls._fields)
    assert labels[2 + Controls._fields.index("photo")] == "Photo"
    assert labels[2 + Controls._fields.index("threshold")] == "Threshold"
    assert labels[2 + Controls._fields.index("colour")] == "Colour"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app as anyone starts it, with the networks that come with it."""
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "MGM_MAX_MEGAPIXELS": "1",
        "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("gradio")),
        "OMP_NUM_THREADS": "1",
    }
    log = tmp_path_factory.mktemp("server") / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
        ) as server,
    ):
        url = f"http://127.0.0.1:{port}/"
        until = time.monotonic() + 120
        while not answers(url):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield url
        server.terminate()
    assert "Traceback" not in log.read_text()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status == 200
    except urllib.error.URLError:
        return False


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        opened = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield opened
        opened.close()


@contextmanager
def visit(browser, address, **options):
    """Open the page; at the end, hold it to have had no errors."""
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            problems.append(f"asked {request.url}")
            if not request.url.startswith((address, "data:", "blob:"))
            else None
        ),
    )
    page.goto(address)
    yield page
    assert problems == []
    context.close()


def upload(page, target, path):
    page.set_input_files(f"{target} input[type=file]", str(path))


def result_pixels(page, tmp_path):
    """Fetch the picture on the slider's right side."""
    source = page.locator("#result img").last.get_attribute("src")
    path = tmp_path / "shown"
    path.write_bytes(page.request.get(source).body())
    return path


def saved(page, button, tmp_path):
    with page.expect_download() as download:
        page.click(button)
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.browser
def test_from_upload_to_downloaded_png(browser, address, tmp_path):
    photo = read_image(EXAMPLES / "astronaut.png")
    with visit(browser, address) as page:
        upload(page, "#photo", EXAMPLES / "astronaut.png")
        expect(page.locator("#note")).to_contain_text("person found")
        path = saved(page, "#download-cutout", tmp_path)
    assert path.name == "astronaut-cutout.png"
    alpha = read_alpha(path)
    assert alpha.shape == photo.shape[:2]
    assert alpha[70:140, 185:235].min() > 0.98  # her face
    assert alpha[10:200, 350:400].max() < 0.02  # the wall right of her
    partly = (alpha > 0.05) & (alpha < 0.95)
    assert 0.005 < partly.mean() < 0.15
    # Where she is opaque the colours are the photo's own.
    assert np.abs(read_image(path) - photo)[alpha == 1].max() <= 0.51 / 255
