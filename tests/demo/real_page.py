"""The real page, started as anyone starts it, and what tests do on it."""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
from browsers import launch
from playwright.sync_api import expect, sync_playwright

ASTRONAUT = Path(__file__).parents[1] / "data" / "photos" / "astronaut.png"
ROOT = Path(__file__).parents[2]
PATIENCE_MS = 180_000
GAMES = ("A terrible mask", "A loop", "A loupe", "Compare")  # the tabs within "Play"
# The machine may be busy, and the networks are being loaded when the first photo comes.
expect.set_options(timeout=PATIENCE_MS)


def free_port():
    # Below those that the system hands out to connections, which may be many before it is used.
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def one_thread():
    """The environment of a process whose sums come out alike, whatever else runs."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def running_app(folder, **variables):
    """Start the app as anyone starts it; its address and process. Its log is added to a file."""
    port = free_port()
    environment = {**one_thread(), "PORT": str(port), "GRADIO_TEMP_DIR": str(folder), **variables}
    log = folder / "log"
    with (
        log.open("ab") as out,
        subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}/"
            until = time.monotonic() + 240
            while not answers(url):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield url, process
        finally:
            process.kill()


@contextmanager
def served(folder):
    """Start the app with the networks that come with it, and hold it to no errors; its address."""
    with running_app(folder, MGM_MAX_MEGAPIXELS="12") as (url, process):
        yield url
        process.terminate()
        process.wait()
    said = (folder / "log").read_text()
    assert "Traceback" not in said, said


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status == 200
    except urllib.error.URLError:
        return False


@contextmanager
def chromium(folder):
    """Open a browser whose camera sees the astronaut."""
    film = folder / "camera.mjpeg"
    film.write_bytes(cv2.imencode(".jpg", cv2.imread(str(ASTRONAUT)))[1].tobytes())
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    with sync_playwright() as playwright:
        opened = launch(playwright, *flags)
        yield opened
        opened.close()


@contextmanager
def visit(browser, address, **options):
    """Open the page; at the end, hold it to have had no errors."""
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: (
            problems.append(f"{said.text} {said.location['url']}") if said.type == "error" else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            problems.append(f"asked {request.url}")
            if not request.url.startswith((address, "data:", "blob:"))
            else None
        ),
    )
    try:
        page.goto(address)
        yield page
        assert problems == [], problems
    finally:
        context.close()


def upload(page, target, path):
    page.set_input_files(f"{target} input[type=file]", str(path))


def open_tab(page, name):
    """Show one of the page's tabs, or of those within "Play"."""
    tab = page.get_by_role("tab", name=name, exact=True)
    further = page.locator(".overflow-dropdown button", has_text=name)
    expect(tab.or_(further).first).to_be_attached()
    if tab.is_visible():
        tab.click()
    else:  # a phone has no room for all of them
        page.locator(".overflow-menu").filter(has=further).get_by_label("More tabs").click()
        further.click()
    shown = 2 if name in ("Play", *GAMES) else 1
    expect(page.locator("[role=tabpanel]:visible")).to_have_count(shown)


def cut_out(page, path):
    """Upload a photo and wait for its cut-out."""
    upload(page, "#photo", path)
    expect(page.locator("#note")).to_contain_text("found")
    settled(page)


def settled(page):
    """Wait until nothing is being computed."""
    expect(page.locator("#progress .wrap:not(.hide)")).to_have_count(0)


def saved(page, button, tmp_path):
    with page.expect_download() as download:
        page.click(button)
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


# What of the kept record the test is about; the page has made the store when it was opened.
STORED = """(look) => new Promise((resolve) => {
  indexedDB.open("mgm", 1).onsuccess = ({target: {result}}) => {
    const all = result.transaction("kept", "readwrite").objectStore("kept");
    all.get("photo").onsuccess = ({target: {result: record}}) => {
      const seen = new Function("record", "all", look)(record, all);
      result.close();
      resolve(seen);
    };
  };
})"""


def wait_until_stored(page, look):
    """Wait until what `STORED` looks at holds; Playwright itself takes a promise for an answer."""
    until = time.monotonic() + 60
    while not page.evaluate(STORED, look):
        assert time.monotonic() < until, look
        page.wait_for_timeout(100)


def anew(page, address):
    """Open the page again, as after the server was started anew: it knows of no photo."""
    again = page.context.new_page()
    again.goto(address)
    expect(again.locator("#examples button").first).to_be_visible()
    return again
