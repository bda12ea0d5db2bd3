"""The demo that runs in the visitor's browser, built as `make browser` does."""

import re
import shutil
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from browsers import launch
from playwright.sync_api import expect, sync_playwright

from demo import static_page
from demo.static_page import StaticPageError, main, write_static_page
from mgm_core import cut_out
from mgm_core.images import read_alpha, read_image, write_image

pytestmark = pytest.mark.browser
PATIENCE_MS = 240_000


class Quiet(SimpleHTTPRequestHandler):
    """A static host that logs nothing."""

    extensions_map = {  # noqa: RUF012 - as its parent has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        pass


@contextmanager
def hosted(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def address(tmp_path_factory, written_onnx):
    folder = tmp_path_factory.mktemp("static")
    with pytest.MonkeyPatch.context() as patched:
        # By the name alone, as `tests/mgm_core/test_export.py` compares each with its network.
        patched.setattr(
            static_page, "write_onnx", lambda _, path: shutil.copy2(written_onnx(path.stem), path)
        )
        files = {path.as_posix() for path in write_static_page(folder)}
    assert {"index.html", "worker.js", "models/matting.onnx", "ort/README.md"} <= files
    with hosted(folder) as url:
        yield url


@contextmanager
def opened(address):
    with sync_playwright() as playwright:
        flags = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
        browser = launch(playwright, *flags)
        page = browser.new_page()
        page.troubles = []
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        # Nothing may come from, or go to, anywhere else.
        page.route(lambda url: not url.startswith((address, "blob:", "data:")), lambda r: r.abort())
        page.goto(address)
        yield page
        browser.close()


@pytest.fixture
def page(address):
    with opened(address) as page:
        yield page


@pytest.fixture
def page_alone(tmp_path):
    """The page without its networks: `answer` sends it what its worker would."""
    folder = shutil.copytree(static_page.PAGE, tmp_path / "page")
    (folder / "worker.js").write_text(
        """self.onmessage = ({ data }) => { self.order = data.order; };
        self.answer = (message) => {
          if (message.cutout) message.cutout = new ImageData(...message.cutout);
          postMessage({ order: self.order, ...message });
        };"""
    )
    with hosted(folder) as address, opened(address) as page:
        yield page


def test_a_portrait_is_cut_out_in_the_browser_as_in_python(page, pictures, tmp_path):
    photo, cutout = tmp_path / "photo.png", tmp_path / "cutout.png"
    # Without the helmet, which the segmenter doubts: there rounding decides.
    head = pictures["astronaut"][:360, 60:420]
    image = cv2.resize(head, (256, 256), interpolation=cv2.INTER_AREA)
    write_image(photo, image)
    page.set_input_files("#photo", photo)
    status = page.locator("#status")
    expect(status).to_contain_text("Done in", timeout=PATIENCE_MS)
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(cutout)
    alpha = read_alpha(cutout)
    expected = cut_out(photo, quality="fast", device="cpu")
    assert np.abs(alpha - expected.alpha).mean() < 0.01
    sure = expected.alpha == 1
    assert np.abs(read_image(cutout) - image)[sure & (alpha == 1)].max() < 0.02
    # A mask of one's own, over a colour.
    mask = np.zeros((256, 256), np.float32)
    mask[40:110, 90:130] = 1
    write_image(tmp_path / "mask.png", mask)
    page.uncheck("#transparent")
    page.set_input_files("#mask", tmp_path / "mask.png")
    expect(status).not_to_contain_text("Done in", timeout=PATIENCE_MS)
    expect(status).to_contain_text("Done in", timeout=PATIENCE_MS)
    with page.expect_download() as download:
        page.click("#download")
    shown = read_image(download.value.path())
    assert shown[250, 2] == pytest.approx([0, 0xB1 / 255, 0x40 / 255], abs=0.01)
    assert page.troubles == []


def test_what_cannot_be_done_is_told(page, tmp_path):
    status = page.locator("#status")
    (tmp_path / "text.jpg").write_text("no picture")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    expect(status).to_contain_text("cannot be opened")
    write_image(tmp_path / "tiny.png", np.zeros((4, 4, 3), np.float32))
    page.set_input_files("#photo", tmp_path / "tiny.png")
    expect(status).to_contain_text("sides of 16 px")
    write_image(tmp_path / "grey.png", np.full((64, 64, 3), 0.5, np.float32))
    page.set_input_files("#photo", tmp_path / "grey.png")
    expect(status).to_contain_text("No person was found", timeout=PATIENCE_MS)
    write_image(tmp_path / "wide.png", np.ones((32, 64), np.float32))
    page.set_input_files("#mask", tmp_path / "wide.png")
    expect(status).to_contain_text("must have the photo's shape, 64x64, got 64x32: draw it over")


def test_the_photo_chosen_last_is_the_one_that_is_shown(page, tmp_path):
    write_image(tmp_path / "grey.png", np.full((64, 64, 3), 0.5, np.float32))
    write_image(tmp_path / "tiny.png", np.zeros((4, 4, 3), np.float32))
    status = page.locator("#status")
    worker = page.workers[0] if page.workers else page.wait_for_event("worker")
    worker.evaluate(
        """() => {
          const send = self.postMessage.bind(self);
          self.over = false;
          self.postMessage = (message) => { send(message); self.over ||= message.error; };
        }"""
    )
    page.set_input_files("#photo", tmp_path / "grey.png")
    expect(status).to_contain_text(re.compile("Looking for|No person"), timeout=PATIENCE_MS)
    page.set_input_files("#photo", tmp_path / "tiny.png")
    expect(status).to_contain_text("sides of 16 px")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not worker.evaluate("() => self.over"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    expect(status).to_contain_text("sides of 16 px")


def test_a_photos_result_goes_when_another_one_is_chosen(page_alone, tmp_path):
    page = page_alone
    worker = page.workers[0] if page.workers else page.wait_for_event("worker")
    progress, status = page.locator("#progress"), page.locator("#status")

    def choose(name, side=64):
        write_image(tmp_path / f"{name}.png", np.full((side, side, 3), 0.5, np.float32))
        page.set_input_files("#photo", tmp_path / f"{name}.png")

    def touch(*then):
        """Change the background and let the page make what there is to download."""
        page.evaluate(
            """(then) => {
              for (const [id, name] of [["transparent", "input"], ["colour", "input"], ...then])
                document.getElementById(id).dispatchEvent(new Event(name));
              const canvas = document.createElement("canvas");
              return new Promise((done) => canvas.toBlob(() => setTimeout(done, 200)));
            }""",
            then,
        )

    def expect_no_result():
        expect(page.locator("#result")).to_be_hidden()
        expect(page.locator("#download")).to_be_hidden()

    choose("first")
    expect(progress).to_be_visible()
    worker.evaluate("() => self.answer({ cutout: [64, 64], text: 'Done' })")
    expect(page.locator("#download")).to_be_visible()
    touch(("photo", "change"))
    expect_no_result()
    choose("second")
    expect(progress).to_be_visible()
    touch()
    expect_no_result()
    worker.evaluate("() => self.answer({ error: true, text: 'No person' })")
    expect(status).to_have_text("No person")
    touch()
    expect_no_result()
    choose("third")
    expect(progress).to_be_visible()
    choose("tiny", 4)
    expect(status).to_contain_text("sides of 16 px")
    expect(progress).to_be_hidden()
    assert page.troubles == []


def test_a_runtime_that_is_not_the_one_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(static_page, "RUNTIME_SHA512", "another")
    assert main([str(tmp_path / "page")]) == 1
    assert "must have SHA-512 another" in capsys.readouterr().err
    monkeypatch.setattr(static_page.shutil, "which", lambda _: None)
    with pytest.raises(StaticPageError, match="npm must be installed"):
        static_page._write_runtime(tmp_path)
