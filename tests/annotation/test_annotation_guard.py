"""Other sites, sizes and passwords: what the annotation keeps out, whoever mounted it."""

import threading

import pytest
from annotation_samples import service_of
from starlette.testclient import TestClient

from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.server.guard import (
    BODY_BYTES,
    LOGIN_BYTES,
    LoginLimits,
    TooManyError,
)
from benchmark_data_tools.annotation.team.users import Users

HEADER = {"X-Annotation": "1"}
pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def users(store):
    made = Users(store.folder)
    made.put("ada", "admin", "ada-password")
    made.put("ann", "annotator", "ann-password")
    return made


@pytest.fixture
def client(store, users):
    app = create_app(service_of(store))
    with TestClient(app, base_url="http://label.example", headers=HEADER) as client:
        yield client


def log_in(client, name="ann", password="ann-password"):
    return client.post("/api/login", json={"name": name, "password": password})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://label.example:8080"},
        {"Origin": "http://label.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
    ],
)
def test_other_sites_can_neither_read_nor_write(client, headers):
    log_in(client)
    for method, path in (("GET", "/api/me"), ("POST", "/api/logout"), ("GET", "/api/queue")):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "request must come from this page" in answer.json()["message"]
    assert client.get("/api/me").status_code == 200


def test_the_own_page_and_who_links_to_it_come_in(client):
    log_in(client)
    for headers in (
        {"Origin": "http://label.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"},
        {"Sec-Fetch-Site": "none"},
        {},
    ):
        assert client.get("/api/me", headers=headers).status_code == 200
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=framed).status_code == 200
    assert client.post("/api/logout", headers=framed).status_code == 403


def test_changes_need_the_header_that_forms_cannot_set(client):
    del client.headers["X-Annotation"]
    answer = client.post("/api/logout")
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        "request must carry the header x-annotation, got none",
    )


def test_bodies_have_limits(client):
    def parts(size):
        for _ in range(size // 1000):
            yield b" " * 1000

    too_long = f"request must have at most {LOGIN_BYTES} bytes"
    answer = client.post("/api/login", content=b" " * (LOGIN_BYTES + 1))
    assert (answer.status_code, answer.json()["message"][: len(too_long)]) == (413, too_long)
    assert client.post("/api/login", content=parts(10_000)).status_code in (400, 413)
    log_in(client)
    for content in (b" " * (BODY_BYTES + 1), parts(BODY_BYTES + 5000)):
        assert client.post("/api/entries/1/state", content=content).status_code in (400, 413)
    # A mask's own limit is that of its image.
    answer = client.post(
        "/api/entries/1/revisions?base=0&save_id=1", content=b" " * (LOGIN_BYTES + 1)
    )
    assert answer.status_code == 422
    large = b" " * (BODY_BYTES + 1)
    answer = client.post("/api/entries/1/segment?x=1&y=1&adds=true", content=large)
    assert (answer.status_code, answer.json()["message"][:23]) == (422, "mask must have at most ")


def test_logging_out_ends_all_logins(client, users):
    cookie = log_in(client).cookies["annotation"]
    other = users.sign("ada")
    assert users.signed_in(cookie).name == "ann"
    client.post("/api/logout")
    assert users.signed_in(cookie) is None
    assert users.signed_in(other).name == "ada"
    assert log_in(client).status_code == 200
    assert client.get("/api/me").status_code == 200


@pytest.mark.parametrize("number", [10**20, 2**31, -(2**40)])
def test_numbers_that_no_database_holds_are_refused(client, number):
    log_in(client)
    for path in (f"/api/entries/{number}", f"/api/entries/1/mask?revision={number}"):
        assert client.get(path).status_code == 422
    for path in (f"/api/pins/{number}/settle", f"/api/entries/{number}/pins"):
        assert client.post(path, json={"x": 1, "y": 1, "text": "a"}).status_code == 422


def test_guessing_is_slowed(client):
    for _ in range(5):
        assert log_in(client, password="wrong password").status_code == 401
    answer = log_in(client, password="ann-password")
    assert answer.status_code == 429
    assert "login must wait 1 s after wrong passwords" in answer.json()["message"]


def fail(limits, name, address):
    with limits.attempt(name, address):
        pass


@pytest.mark.parametrize(("kind", "longest_s"), [("name", 30), ("address", 900)])
def test_waits_double_up_to_a_limit_and_are_forgotten(kind, longest_s):
    now = [0.0]
    limits = LoginLimits(clock=lambda: now[0])

    def asked(number):
        return ("ann", f"a{number}") if kind == "name" else (f"n{number}", "a")

    waits = []
    for number in range(20):
        fail(limits, *asked(number))
        waited = 0
        while True:
            try:
                with limits.attempt(*asked(100 + number)) as succeed:
                    succeed()
                break
            except TooManyError:
                waited += 1
                now[0] += 1
        if kind == "name":  # its owner came in, and it counts anew
            assert waited == 0
            break
        waits.append(waited)
    assert waits in ([], [0] * 4 + [2**i for i in range(10)] + [900] * 6)
    if kind == "name":
        for number in range(20):
            fail(limits, *asked(number))
            now[0] += longest_s
        now[0] -= 1
        with pytest.raises(TooManyError, match="wait 1 s"):
            fail(limits, *asked(50))
    now[0] += 10_000
    for _ in range(4):
        fail(limits, *asked(0))


def test_an_ipv6_host_waits_for_all_its_addresses():
    limits = LoginLimits(clock=lambda: 0.0)
    for number in range(5):
        fail(limits, f"n{number}", f"2001:db8::{number}")
    with pytest.raises(TooManyError, match="wait 1 s"):
        fail(limits, "n5", "2001:db8::5")
    fail(limits, "another", "2001:db8:0:1::1")


def test_few_passwords_are_hashed_at_once(monkeypatch):
    limits, inside, most = LoginLimits(), threading.Semaphore(0), []
    leave = threading.Event()

    def attempt(name):
        with limits.attempt(name, name) as succeed:
            most.append(name)
            inside.release()
            leave.wait(10)
            succeed()

    threads = [threading.Thread(target=attempt, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=10)
    assert inside.acquire(timeout=10)
    assert not inside.acquire(timeout=0.2)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert sorted(most) == ["a", "b", "c"]
