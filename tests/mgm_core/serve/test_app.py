import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import uvicorn

from mgm_core import cut_out
from mgm_core.images import encode_png, read_image, read_photo
from mgm_core.runtime.admission import Admission, Visitor
from mgm_core.runtime.cancellation import checkpoint
from mgm_core.serve import app as service
from mgm_core.serve.__main__ import main
from mgm_core.serve.app import Limits, make_app


@contextmanager
def serving(app):
    """A server on a free port, stopped at the end."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def files(pictures):
    """A small portrait and a rough mask, as PNGs."""
    image = np.ascontiguousarray(pictures["astronaut"][:320:2, 60:380:2])
    mask = np.zeros(image.shape[:2], np.float32)
    mask[20:, 30:130] = 1
    return {"photo": encode_png(image), "mask": encode_png(mask)}


def test_a_request_is_answered_with_what_the_library_gives(files):
    limits = Limits(megabytes=0.5, megapixels=0.05)
    with serving(make_app(limits=limits, device="cpu")) as client:
        made = client.post("/cut-out", files=files, data={"quality": "fast"})
        assert (made.status_code, made.headers["content-type"]) == (200, "image/png")
        # In a thread, as the service does it: in one that has imported PyMatting, PyTorch computes
        # by all cores, and rounds otherwise.
        with ThreadPoolExecutor(1) as pool:
            expected = pool.submit(
                cut_out, files["photo"], mask=files["mask"], quality="fast", device="cpu"
            ).result()
        assert made.content == encode_png(expected.picture)
        alpha = client.post("/cut-out", files=files, data={"quality": "fast", "result": "alpha"})
        np.testing.assert_allclose(
            read_image(alpha.content)[..., 0], expected.alpha, atol=0.6 / 65535
        )
        over = {"quality": "fast", "background": "#00ff00"}
        green = client.post("/cut-out", files={"photo": files["photo"]}, data=over)
        assert (read_image(green.content)[:4, :4] == [0, 1, 0]).all()
        assert read_photo(green.content).alpha is None

        def refused(data=None, **given):
            answer = client.post("/cut-out", files=given, data=data)
            return answer.status_code, str(answer.json()["detail"])

        assert refused(photo=b"no picture")[0] == 422
        code, detail = refused(photo=files["photo"], data={"category": "unicorn"})
        assert code == 422
        assert "category must be one of" in detail
        code, detail = refused(photo=encode_png(np.zeros((300, 300, 3), np.float32)))
        assert code == 422
        assert "megapixels" in detail
        code, detail = refused(photo=bytes(600_000))
        assert code == 413
        assert "at most 500000 bytes" in detail
        assert refused(mask=files["mask"])[0] == 422

        def in_parts():
            yield b"--x\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\n"
            yield from [bytes(100_000)] * 8

        sent = {"content-type": "multipart/form-data; boundary=x"}
        assert client.post("/cut-out", content=in_parts(), headers=sent).status_code == 413
        described = client.get("/openapi.json").json()["paths"]["/cut-out"]["post"]
        assert "image/png" in described["responses"]["200"]["content"]
        assert "multipart/form-data" in described["requestBody"]["content"]
        assert client.get("/healthz").json() == {"running": 0, "waiting": 0}


def test_a_background_in_words_never_names_a_file_of_the_server(files, monkeypatch, tmp_path):
    secret = tmp_path / "scan.png"
    secret.write_bytes(files["photo"])
    given = []

    def composited(*_, background, **__):
        given.append(background)
        return SimpleNamespace(picture=np.zeros((4, 4, 3), np.float32))

    monkeypatch.setattr(service, "cut_out", composited)
    with serving(make_app()) as client:
        for text, message in (
            (str(secret), "background must be none, #rrggbb, .* send a picture as background_pict"),
            ("http://127.0.0.1/scan.png", "background must be none, #rrggbb"),
            ("#00ff00\n", "background must be none, #rrggbb"),
            ("blur:1000", "blur"),
        ):
            answer = client.post("/cut-out", files=files, data={"background": text})
            assert answer.status_code == 422, text
            assert re.search(message, answer.json()["detail"])
        assert given == []
        for text in ("none", "#00ff00", "gradient:#000000,#ffffff,90", "blur:5"):
            answer = client.post("/cut-out", files=files, data={"background": text})
            assert answer.status_code == 200, text
        picture = {**files, "background_picture": files["photo"]}
        answer = client.post("/cut-out", files=picture, data={"background": "#00ff00"})
        assert answer.status_code == 422
        assert "left out beside background_picture" in answer.json()["detail"]
        answer = client.post("/cut-out", files=picture)
        assert answer.status_code == 200
        assert given[-1] == files["photo"]


def test_a_field_that_nobody_reads_is_refused(files):
    with serving(make_app()) as client:
        answer = client.post("/cut-out", files=files, data={"backgroud": "#00ff00"})
        assert answer.status_code == 422
        assert "fields must be photo, mask, " in answer.json()["detail"]
        assert "got 'backgroud': correct it" in answer.json()["detail"]
        fields = client.get("/openapi.json").json()["components"]["schemas"]
        (described,) = (each["properties"] for each in fields.values() if "photo" in str(each))
        assert f"fields must be {', '.join(described)}, got" in answer.json()["detail"]


def test_who_leaves_frees_the_turn_and_who_comes_too_many_is_told(files, monkeypatch):
    left = threading.Event()

    def endless(*_, **__):
        try:
            while True:
                checkpoint()
                time.sleep(0.01)
        finally:
            left.set()

    monkeypatch.setattr(service, "cut_out", endless)
    admission = Admission({"photo": 1}, address_share=1)
    with serving(make_app(admission)) as client:
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            asking = threading.Thread(target=_ask, args=(other, files))
            asking.start()
            until(lambda: admission.running == 1)
            busy = client.post("/cut-out", files=files)
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
            assert "must have at most 1 requests under way" in busy.json()["detail"]
        asking.join()  # its client gave up
        assert left.wait(20)
        until(lambda: client.get("/healthz").json() == {"running": 0, "waiting": 0})
        assert admission.counts["cancelled"] == 1


def test_files_are_read_into_memory_when_it_is_their_turn(files, monkeypatch):
    read, done = [], SimpleNamespace(picture=np.zeros((4, 4, 3), np.float32))
    read_file = SpooledTemporaryFile.read
    monkeypatch.setattr(
        SpooledTemporaryFile, "read", lambda *given: read.append(1) or read_file(*given)
    )
    monkeypatch.setattr(service, "cut_out", lambda *_, **__: done)
    with serving(make_app(Admission({"photo": 1}, address_share=0))) as client:
        assert client.post("/cut-out", files=files).status_code == 503
    assert read == []
    admission, codes = Admission({"photo": 1}), []
    given = {**files, "background_picture": files["photo"]}
    with serving(make_app(admission)) as client:
        with admission.visit(Visitor("another")) as earlier:
            earlier.await_turn("photo")
            asking = threading.Thread(
                target=lambda: codes.append(client.post("/cut-out", files=given).status_code)
            )
            asking.start()
            until(lambda: admission.waiting == 1)
            assert read == []
        asking.join()
    assert (codes, len(read)) == ([200], 3)


def _ask(client, files):
    with pytest.raises(httpx.HTTPError):
        client.post("/cut-out", files=files, timeout=2)


def test_what_takes_too_long_is_refused(files, monkeypatch):
    def endless(*_, **__):
        while True:
            checkpoint()

    monkeypatch.setattr(service, "cut_out", endless)
    with serving(make_app(limits=Limits(seconds=0.1))) as client:
        late = client.post("/cut-out", files=files)
        assert late.status_code == 422
        assert "a photograph must take at most 0.1 s" in late.json()["detail"]


def test_waiting_for_a_turn_takes_none_of_the_time_to_compute(files, monkeypatch):
    def short(*_, **__):
        checkpoint()
        return SimpleNamespace(picture=np.zeros((4, 4, 3), np.float32))

    monkeypatch.setattr(service, "cut_out", short)
    admission, codes = Admission({"photo": 1}), []
    with serving(make_app(admission, Limits(seconds=1))) as client:

        def ask():
            codes.append(client.post("/cut-out", files=files).status_code)

        with admission.visit(Visitor("another")) as earlier:
            earlier.await_turn("photo")
            asking = threading.Thread(target=ask)
            asking.start()
            until(lambda: admission.waiting == 1)
            time.sleep(1.2)
        asking.join()
    assert codes == [200]


def test_any_number_of_places_holds_and_the_server_answers_meanwhile(files, monkeypatch):
    done, answers = threading.Event(), []

    def short(*_, **__):
        done.wait(20)
        return SimpleNamespace(picture=np.zeros((4, 4, 3), np.float32))

    monkeypatch.setattr(service, "cut_out", short)
    # One more than AnyIO's own threads wait.
    admission = Admission({"photo": 1}, places=41, address_share=100)
    with serving(make_app(admission)) as client:

        def ask():
            answers.append(client.post("/cut-out", files=files).status_code)

        asking = [threading.Thread(target=ask) for _ in range(42)]
        try:
            for thread in asking:
                thread.start()
            until(lambda: admission.running + admission.waiting == 42)
            health = client.get("/healthz", timeout=5)
            assert health.json() == {"running": 1, "waiting": 41}
            busy = client.post("/cut-out", files=files, timeout=5)
            assert busy.status_code == 503
            assert "must have a free place, got 42 before you" in busy.json()["detail"]
        finally:
            done.set()
            for thread in asking:
                thread.join()
    assert answers == [200] * 42


def test_a_wrong_command_line_says_what_to_do(capsys):
    assert main(["--device", "tpu"]) == 2
    assert "device must be auto" in capsys.readouterr().err
    assert main(["--engine", "openvino", "--device", "cuda:0"]) == 2
    for option, value in (
        ("--at-once", "0"),
        ("--places", "-1"),
        ("--share", "0"),
        ("--max-megabytes", "0"),
        ("--max-seconds", "nan"),
        ("--max-megapixels", "200"),
        ("--port", "65536"),
    ):
        assert main([option, value]) == 2
        assert f"{option} must be " in capsys.readouterr().err


def test_a_lack_of_memory_is_the_servers_and_passes(files, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError

    monkeypatch.setattr(service, "cut_out", too_large)
    with serving(make_app()) as client:
        answer = client.post("/cut-out", files=files)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"].endswith("got too little: send a smaller one")


def test_a_server_that_stops_ends_its_work():
    cancelled = []

    class Connected:
        async def receive(self):
            await asyncio.sleep(60)

    async def stop_early():
        async def work():
            async with service._cancelled_with(Connected(), lambda: cancelled.append(True)):
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop_early())
    assert cancelled == [True]
