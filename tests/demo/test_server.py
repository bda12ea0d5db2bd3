"""The real app over the network, without a browser: who leaves, stops or sends what is no photo."""

import http.client
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from real_page import ASTRONAUT, ROOT, free_port, one_thread, running_app

from demo.backend.visits import DISK_FULL
from demo.web.guard import NOT_UPLOADED
from mgm_core.images import read_image, write_image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for times")


class Server:
    def __init__(self, url, process, folder):
        self.http = httpx.Client(base_url=url, timeout=120)
        self.process, self.folder = process, folder

    def upload(self, path, name=None):
        files = {"files": (name or path.name, path.read_bytes())}
        answer = self.http.post("/gradio_api/upload", files=files)
        assert answer.status_code == 200, answer.text
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def call(self, endpoint, photo):
        others = {"foreground": "network"} if endpoint == "matte" else {}
        path = f"/gradio_api/call/v2/{endpoint}"
        answer = self.http.post(path, json={"photo": photo, **others})
        assert answer.status_code == 200, answer.text
        return f"{path}/{answer.json()['event_id']}"

    def answer(self, endpoint, photo):
        return self.http.get(self.call(endpoint, photo)).text

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def state(self):
        return self.http.get("/healthz").json()

    def wait_for(self, **wanted):
        until = time.monotonic() + 120
        while not wanted.items() <= self.state().items():
            assert time.monotonic() < until, self.state()
            time.sleep(0.05)


@contextmanager
def serve(folder, **variables):
    with running_app(folder, **variables) as (url, process):
        server = Server(url, process, folder)
        with server.http:
            yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    variables = {"MGM_MAX_MEGAPIXELS": "9", "MGM_QUEUE_SIZE": "2", "MGM_METRICS": "1"}
    with serve(folder, **variables) as server:
        server.wait_for(weights_loaded=True)
        yield server
        log = (folder / "log").read_text()
        assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def large(server):
    """A photo that takes a minute."""
    path = server.folder / "large.png"
    write_image(path, np.ascontiguousarray(np.tile(read_image(ASTRONAUT), (5, 5, 1))))
    return server.upload(path)


def test_work_ends_soon_after_its_client_left(server, large):
    with server.http.stream("GET", server.call("matte", large)):
        server.wait_for(running=1)
    left = time.monotonic()
    server.wait_for(running=0)
    ended = time.monotonic() - left
    # Nobody waits for one second; the rest is what lies between two checkpoints.
    assert ended < 10, f"{ended:.1f} s"
    before = server.cpu_s()
    time.sleep(2)
    assert server.cpu_s() - before < 1


def test_work_that_nobody_waits_for_does_not_keep_others_out(server, large):
    """Three fill all places; nobody comes for their results, so that they get no turn."""
    for _ in range(3):
        server.call("matte", large)
    server.wait_for(running=0, waiting=3)
    refused = server.answer("matte", server.upload(ASTRONAUT, "other.png"))
    assert "The server must have a free place, got 3 before you. Try again in a minute." in refused
    assert "event: complete" in server.answer("segment", server.upload(ASTRONAUT))  # is short
    server.wait_for(running=0, waiting=0)
    assert "event: complete" in server.answer("segment", server.upload(ASTRONAUT))


def bad_pictures(folder):
    """What is no picture, no longer one, or not one that the page takes: names and bytes."""
    png, jpeg, gif = (folder / f"good.{kind}" for kind in ("png", "jpg", "gif"))
    Image.open(ASTRONAUT).convert("RGB").resize((64, 64)).save(png)
    for path in (jpeg, gif):
        Image.open(png).save(path)
    whole = png.read_bytes()
    yield "empty.png", b""
    yield "text.jpg", b"this is a text"
    yield "page.png", b"<html><script>alert(1)</script></html>"
    yield (
        "drawing.svg",
        b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    )
    yield "page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    yield "letter.pdf", b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF"
    yield "archive.png", b"PK\x03\x04" + bytes(60)
    yield "program.png", b"\x7fELF" + bytes(60)
    yield "header.png", whole[:8]
    yield "chunk.png", whole[:33]
    yield "no-data.png", whole[: whole.index(b"IDAT") - 4] + whole[-12:]
    yield "flipped.png", whole[:100] + bytes([whole[100] ^ 255]) + whole[101:]
    yield "huge.png", whole[:16] + b"\x00\x01\x00\x00" * 2 + whole[24:]
    yield "flat.png", whole[:16] + b"\x00\x00\x00\x00" * 2 + whole[24:]
    for name, path in (("jpg", jpeg), ("gif", gif), ("png", png)):
        data = path.read_bytes()
        for part in (0.1, 0.3, 0.5, 0.7):
            yield f"cut-{part}.{name}", data[: int(len(data) * part)]
    yield "marker.jpg", b"\xff\xd8\xff"
    yield "noise.webp", b"RIFF" + bytes(range(256)) + b"WEBP"
    yield "noise.heic", b"\x00\x00\x00\x18ftypheic" + bytes(range(200))
    yield "noise.tif", b"II*\x00" + bytes(range(200))
    yield "zeros.bmp", b"BM" + bytes(100)


def test_each_bad_picture_is_answered_in_words(server, tmp_path):
    seen = 0
    for name, data in bad_pictures(tmp_path):
        (tmp_path / "bad").write_bytes(data)
        answer = server.answer("segment", server.upload(tmp_path / "bad", name))
        assert "event: error" in answer, name
        assert " must " in answer, (name, answer)
        seen += 1
    assert seen >= 30


@pytest.mark.parametrize(
    "file",
    [
        str(ASTRONAUT),
        {"path": str(ASTRONAUT)},
        {"path": "/nowhere.png", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://dns.google/a.png", "meta": {"_type": "gradio.FileData"}},
        {"path": None, "url": "data:image/png;base64,iVBORw0KGgo="},
    ],
)
def test_what_was_not_uploaded_has_one_answer(server, file):
    data = [file, "person", 0.5, "portrait", None]
    for path, asked in (("segment", {"data": data}), ("v2/segment", {"photo": file})):
        answer = server.http.post(f"/gradio_api/call/{path}", json=asked)
        assert (answer.status_code, answer.json()["detail"]) == (400, NOT_UPLOADED)
    for path in ("nothing", "v2/nothing"):
        assert server.http.post(f"/gradio_api/call/{path}", json={}).status_code == 404
    missing = server.http.post("/gradio_api/call/v2/segment", json={"category": "cat"})
    assert missing.status_code == 400
    assert missing.json()["detail"].startswith("a request must have parameters of photo, category,")


def test_operators_are_told_how_it_is(server, large):
    with server.http.stream("GET", server.call("matte", large)):
        server.wait_for(running=1)
    server.wait_for(running=0)
    state = server.state()
    assert state == {
        "status": "ok",
        "version": state["version"],
        "weights_loaded": True,
        "running": 0,
        "waiting": 0,
    }
    figures = server.http.get("/metrics").text
    assert 'mgm_visits_total{outcome="cancelled"}' in figures
    assert "process_resident_memory_bytes" in figures


def test_a_connection_outlasts_a_clients_pause(server):
    """Proxies keep connections, and lose a request that they send into one just being closed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http.base_url.port, timeout=60)
    with closing(connection):
        for pause_s in (0, 6):
            time.sleep(pause_s)
            connection.request("GET", "/healthz")
            connection.auto_open = False  # what is closed stays so, and the second request fails
            assert connection.getresponse().read()


def test_proxies_are_believed_only_where_they_are_named(tmp_path):
    """A second server, as one reads its settings once; its disk fills up; it stops as it should."""
    forwarded = {"x-forwarded-for": "203.0.113.7"}
    variables = {
        "MGM_PROXIES": "127.0.0.1",
        "MGM_UPLOAD_MEGABYTES": "1",
        "MGM_STOP_SECONDS": "60",
    }
    with serve(tmp_path, **variables) as proxied:
        photo = proxied.upload(ASTRONAUT)
        files = {"files": ("a.png", bytes(2**20))}
        statuses = [
            proxied.http.post("/gradio_api/upload", files=files, headers=headers).status_code
            for headers in ({}, {}, forwarded, forwarded)
        ]
        # What is too much is stopped on its way, so that each address is refused from its second.
        assert statuses[1] == statuses[3] == 429
        third = {"x-forwarded-for": "203.0.113.8"}
        limits = resource.prlimit(proxied.process.pid, resource.RLIMIT_FSIZE, (1000, -1))
        files = {"files": ("a.png", bytes(20_000))}
        answer = proxied.http.post("/gradio_api/upload", files=files, headers=third)
        assert (answer.status_code, answer.text) == (507, DISK_FULL)
        resource.prlimit(proxied.process.pid, resource.RLIMIT_FSIZE, limits)
        answer = proxied.http.post("/gradio_api/upload", files=files, headers=third)
        assert answer.status_code == 200
        proxied.wait_for(weights_loaded=True)
        result = []
        events = proxied.call("matte", photo)
        thread = threading.Thread(target=lambda: result.append(proxied.http.get(events).text))
        thread.start()
        proxied.wait_for(running=1)
        proxied.process.send_signal(signal.SIGTERM)
        thread.join(120)
        assert "event: complete" in result[0]  # what was running has finished
        assert proxied.process.wait(30) == 0


def test_starts_though_it_answers_late_and_ends_well_while_a_thread_computes(tmp_path):
    # Gradio asks the page that it just started, and gives it 3 s.
    # PyTorch aborts when Python shuts down beneath a thread that is inside it.
    program = """
import os, runpy, signal, threading, torch
from demo.backend.models import Models
from gradio import networking

networking.url_ok = lambda url: False

def compute():
    noise = torch.rand(1500, 1500)
    while True:
        noise = (noise @ noise).sigmoid()

def warm_up(models, segmenter, on_broken):
    threading.Thread(target=compute, daemon=True).start()
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()

Models.warm_up = warm_up
runpy.run_path("app.py", run_name="__main__")
"""
    variables = {"PORT": str(free_port()), "GRADIO_TEMP_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**one_thread(), **variables},
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
