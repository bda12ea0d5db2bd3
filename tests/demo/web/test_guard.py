import asyncio
import json
from contextlib import contextmanager

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from demo.web.guard import (
    JSON_AT_ONCE,
    JSON_BYTES,
    NOT_UPLOADED,
    Guard,
    Input,
    UploadShares,
    files_are_uploads,
    security_headers,
)

BOUNDARY = "b0undary"


class Behind:
    """Says what came through, and notes who listened meanwhile."""

    def __init__(self):
        self.listening, self.heard = [], []

    async def __call__(self, scope, receive, send):
        self.heard = list(self.listening)
        body = await Request(scope, receive).body()
        await JSONResponse({"body": body.decode("latin-1")})(scope, receive, send)

    @contextmanager
    def listen(self, page):
        self.listening.append(page)
        yield
        self.listening.remove(page)


@pytest.fixture
def behind():
    return Behind()


def guard_before(behind, most_bytes=10_000, **options):
    return Guard(
        behind,
        shares=UploadShares(most_bytes, 60),
        listen=behind.listen,
        session_of={"e5": "s5"}.__getitem__,
        inputs_of=lambda handler: (
            [Input("photo", is_file=True, is_needed=True), Input("more", False, False)]
            if handler in (7, "segment")
            else None
        ),
        headers=security_headers(on_a_space=False),
        elsewhere=["annotate"],
        **options,
    )


@pytest.fixture
def ask(behind):
    def make(**options):
        guard = guard_before(behind, **options)

        def ask(method, path, **content):
            async def once():
                transport = httpx.ASGITransport(guard)
                async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                    return await client.request(method, path, **content)

            return asyncio.run(once())

        return ask

    return make


@pytest.fixture
def uploaded(tmp_path):
    path = tmp_path / "ab12" / "photo.png"
    path.parent.mkdir()
    path.write_bytes(b"x")
    return str(path)


def test_an_upload_is_let_in_without_where_else_it_could_be(ask, uploaded):
    sent = {"data": [{"path": uploaded, "url": "data:image/png;base64,x", "meta": {}}, 3]}
    answer = ask()("POST", "/gradio_api/call/segment", json=sent)
    assert json.loads(answer.json()["body"]) == {
        "data": [{"path": uploaded, "url": None, "meta": {}}, 3]
    }


@pytest.mark.parametrize(
    "file",
    [
        __file__,
        {"path": __file__},
        {"path": __file__, "meta": {"_type": "gradio.FileData"}},
        {"path": "/nowhere/at/all.png"},
        {"path": "{uploads}/ab12/../../other.png"},
        {"path": "{uploads}/ab12"},
        {"path": "{uploads}/ab12/no-longer.png"},
        {"path": "http://dns.google/a.png", "meta": {"_type": "gradio.FileData"}},
        {"path": None, "url": "data:image/png;base64,iVBORw0KGgo="},
        {"url": "http://dns.google/a.png"},
        {"path": "a\0b"},
        {"path": "\ud800", "meta": {"_type": "gradio.FileData"}},
        {"path": "x" * 5000},
        {"path": 7},
        {"meta": {"_type": "gradio.FileData"}},
        [[{"deep": {"path": __file__}}]],
        7,
    ],
)
def test_everything_else_has_one_answer(ask, uploaded, tmp_path, file):
    (tmp_path.parent / "other.png").write_bytes(b"x")
    for path, asked in (
        ("queue/join", {"data": [file], "fn_index": 7}),
        ("call/segment", {"data": [file, 3]}),
        ("call/v2/segment", {"photo": file}),
    ):
        text = json.dumps(asked).replace("{uploads}", str(tmp_path))
        answer = ask()("POST", f"/gradio_api/{path}", content=text)
        assert (answer.status_code, answer.json()["detail"]) == (400, NOT_UPLOADED)


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("call/v2/segment", {"photo": None, "more": 3}, 200),
        ("call/v2/segment", {"photo": None}, 200),
        ("call/v2/segment", {"more": 3}, 400),
        ("call/v2/segment", {"photo": None, "other": 3}, 400),
        ("call/v2/nothing", {"photo": None}, 404),
        ("call/nothing", {"data": []}, 404),
        ("call/segment", {"data": [None, 3]}, 200),
        ("call/segment", {"data": [None]}, 400),
        ("queue/join", {"data": [], "fn_index": 99}, 200),  # which Gradio answers itself
    ],
)
def test_endpoints_and_parameters_that_there_are_not_are_answered_in_words(
    ask, path, asked, status
):
    answer = ask()("POST", f"/gradio_api/{path}", json=asked)
    assert answer.status_code == status
    assert (" must " in answer.json().get("detail", "")) == (status != 200)


def test_addresses_are_let_in_where_they_are_wanted():
    file = {"path": "https://example.org/a.png"}
    assert not files_are_uploads([file])
    assert files_are_uploads([file], addresses=True)
    assert not files_are_uploads([{"path": "file:///etc/passwd"}], addresses=True)


def test_requests_have_a_limit_and_are_json(ask):
    long = ask()("POST", "/gradio_api/queue/join", content=b" " * (JSON_BYTES + 1))
    assert long.status_code == 413
    assert long.json()["detail"].startswith("a request must have at most 4194304 bytes, got more")
    for content in (b"nothing", b"[" * 1_000_000, b"\xff"):
        assert ask()("POST", "/gradio_api/queue/join", content=content).status_code == 400
    assert ask()("POST", "/gradio_api/cancel", content=b"").status_code == 200


def test_one_address_cannot_hold_any_number_of_half_sent_requests(behind):
    guard = guard_before(behind)

    async def half_sent():
        begun = asyncio.Event()
        scope = {
            "type": "http", "method": "POST", "path": "/gradio_api/queue/join",
            "headers": [], "client": ("203.0.113.7", 1),
        }  # fmt: skip

        async def receive():
            begun.set()
            await asyncio.Event().wait()

        waiting = asyncio.create_task(guard(scope, receive, None))
        await begun.wait()
        return waiting

    async def post(address):
        transport = httpx.ASGITransport(guard, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.post("/gradio_api/queue/join", content=b"{}")).status_code

    async def attack():
        held = [await half_sent() for _ in range(JSON_AT_ONCE)]
        during = await post("203.0.113.7"), await post("203.0.113.8")
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        return during, await post("203.0.113.7")

    assert asyncio.run(attack()) == ((429, 200), 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/gradio_api/file=http://dns.google/a", 403),
        ("GET", "/gradio_api/file=%20HTTPS://dns.google/a", 403),
        ("HEAD", "/gradio_api/proxy=https://x.hf.space/", 403),
        ("GET", "/gradio_api/deep_link?session_hash=s5", 404),
        ("GET", "/gradio_api/dev/reload", 404),
        ("POST", "/gradio_api/process_recording", 404),
        ("POST", "/gradio_api/vibe-edit/", 404),
        ("POST", "/gradio_api/component_server", 404),
        ("GET", "/gradio_api/file=/tmp/x/photo.png", 200),
        ("GET", "/", 200),
    ],
)
def test_what_the_page_does_not_offer_is_not_there(ask, method, path, status):
    assert ask()(method, path).status_code == status


def form(*parts):
    return (
        b"".join(
            b'--%s\r\nContent-Disposition: form-data; name="files"%s\r\n\r\n%s\r\n'
            % (BOUNDARY.encode(), name, data)
            for name, data in parts
        )
        + b"--%s--\r\n" % BOUNDARY.encode()
    )


def send(ask, content, kinds=(f"multipart/form-data; boundary={BOUNDARY}",)):
    headers = [("content-type", kind) for kind in kinds]
    return ask("POST", "/gradio_api/upload?upload_id=1", content=content, headers=headers)


def test_uploads_are_let_in_up_to_a_share(ask):
    ask = ask(most_bytes=5000)
    file = form((b'; filename="a.png"', b"x" * 4000))
    assert send(ask, file).json()["body"].encode() == file
    full = send(ask, file)
    assert (full.status_code, full.text[:39]) == (429, "uploads must fit into your share, got m")
    assert send(ask, b"").status_code == 429  # nothing is left


def test_an_ipv6_host_has_one_share_for_all_its_addresses(behind):
    guard = guard_before(behind, most_bytes=5000)
    file = form((b'; filename="a.png"', b"x" * 4000))

    async def post(address):
        transport = httpx.ASGITransport(guard, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
            return await client.post("/gradio_api/upload", content=file, headers=kind)

    addresses = "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"
    assert [asyncio.run(post(each)).status_code for each in addresses] == [200, 429, 200]


def test_uploads_under_way_have_one_share_together(behind):
    guard = guard_before(behind, most_bytes=5000)
    file = form((b'; filename="a.png"', b"x" * 3000))
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}

    async def post(address, content):
        transport = httpx.ASGITransport(guard, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            path = "/gradio_api/upload"
            return (await client.post(path, content=content, headers=kind)).status_code

    async def attack():
        arrived, released = asyncio.Event(), asyncio.Event()

        async def slowly():
            yield file[:2500]
            arrived.set()
            await released.wait()
            yield file[2500:]

        slow = asyncio.create_task(post("203.0.113.7", slowly()))
        await arrived.wait()
        during = await post("203.0.113.7", file), await post("203.0.113.8", file)
        released.set()
        return during, await slow

    # What was sent in vain counts, too: nothing is left for the first one's end.
    assert asyncio.run(attack()) == ((429, 200), 429)
    assert not guard._arriving_bytes


def test_shares_come_back():
    now = [0.0]
    shares = UploadShares(100, 60, clock=lambda: now[0])
    shares.count("a", 80)
    assert (shares.left_bytes("a"), shares.left_bytes("b")) == (20, 100)
    now[0] = 30
    shares.count("a", 15)
    assert shares.left_bytes("a") == 5
    now[0] = 61
    assert shares.left_bytes("a") == 85
    now[0] = 91
    shares.count("b", 1)
    assert shares.left_bytes("a") == 100


def test_a_form_holds_files_alone(ask):
    ask = ask(most_bytes=10**6)
    assert send(ask, form((b"", b"x" * 60_000))).status_code == 200
    assert send(ask, form((b"", b"x" * 70_000))).status_code == 400
    assert send(ask, form((b'; filename="a"', b"x" * 70_000))).status_code == 200
    assert send(ask, b"no form at all").status_code == 400


def test_a_forms_first_content_type_counts_and_a_broken_one_is_refused(ask):
    ask = ask(most_bytes=10**6)
    long_field = form((b"", b"x" * 70_000))
    form_and_text = f"multipart/form-data; boundary={BOUNDARY}", "text/plain"
    assert send(ask, long_field, form_and_text).status_code == 400
    assert send(ask, long_field, ["multipart/form-data; boundary=" + "b" * 300]).status_code == 400


def test_a_file_is_one_wherever_the_network_cuts_its_form(ask, monkeypatch):
    monkeypatch.setattr("demo.web.guard.FIELD_BYTES", 20)
    ask = ask(most_bytes=10**6)
    file, field = form((b'; filename="a.png"', b"x" * 30)), form((b"", b"x" * 30))

    async def in_two(content, cut):
        yield content[:cut]
        yield content[cut:]

    assert {send(ask, in_two(file, cut)).status_code for cut in range(len(file))} == {200}
    assert {send(ask, in_two(field, cut)).status_code for cut in range(len(field))} == {400}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b'Content-Disposition: form-data; name="filename"', 400),
        (b'Content-Disposition: form-data; name="a; filename=b"', 400),
        (b'Content-Disposition: form-data; name="a"\r\nX-Other: form-data; filename="b"', 400),
        (b"content-disposition: form-data; name=a; filename=b", 200),
        (b'Content-Disposition: form-data; name="a"; filename=""', 200),
    ],
)
def test_a_part_is_a_file_by_its_disposition_alone(ask, header, status):
    part = b"--%s\r\n%s\r\n\r\n" % (BOUNDARY.encode(), header) + b"x" * 70_000
    content = part + b"\r\n--%s--\r\n" % BOUNDARY.encode()
    assert send(ask(most_bytes=10**6), content).status_code == status


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/gradio_api/queue/data?session_hash=s1", ["s1"]),
        ("/gradio_api/call/segment/e5", ["s5"]),
        ("/gradio_api/call/v2/segment/e5", ["s5"]),
        ("/gradio_api/queue/data", []),
        ("/gradio_api/heartbeat/s1", []),
    ],
)
def test_who_waits_for_results_listens(ask, behind, path, page):
    ask()("GET", path)
    assert behind.heard == page
    assert behind.listening == []


def test_answers_carry_the_headers_but_for_what_has_a_guard_of_its_own(ask):
    for path in ("/", "/gradio_api/file=http://x", "/gradio_api/queue/data?session_hash=s"):
        headers = ask()("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
    own = ask()("POST", "/annotate/api/login", content=b"no JSON")
    assert own.status_code == 200
    assert "content-security-policy" not in own.headers
    assert "cdnjs" in security_headers(on_a_space=True)["content-security-policy"]
