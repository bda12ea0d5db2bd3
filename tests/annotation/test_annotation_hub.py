"""Work kept in a Hub dataset, and login with Hugging Face, against a Hub on this machine."""

import sqlite3
from contextlib import closing

import httpx
import numpy as np
import pytest
from annotation_samples import free_port, make_dataset, mask_of, save, service_of, serving_app
from fastapi import FastAPI
from hub_stand_in import CLIENT, HubStandIn
from huggingface_hub import HfApi
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import BadRequestError
from starlette.testclient import TestClient

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.annotation.commands import open_service
from benchmark_data_tools.annotation.places import durability
from benchmark_data_tools.annotation.places.durability import HubCopy, restore_from_hub
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import ALONE
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team import states
from benchmark_data_tools.annotation.team.users import Users

NAME = "ada/portraits"


@pytest.fixture
def hub():
    return HubStandIn()


@pytest.fixture
def api(hub):
    with serving_app(hub.app) as address:
        yield HfApi(endpoint=address.rstrip("/"), token="hf_of_nobody")


def copied(folder, api):
    """Send a dataset's work to the Hub once."""
    with HubCopy(folder, NAME, every_minutes=60, api=api):
        pass


def lost_disk(folder, *, deployed):
    """The same dataset on a new disk, with what was deployed of `annotation/`."""
    make_dataset(folder)
    if deployed is not None:
        (folder / "annotation").mkdir()
        for name, data in deployed.items():
            (folder / "annotation" / name).write_bytes(data)
    return folder


def deployed_files(dataset):
    own = dataset / "annotation"
    return {name: (own / name).read_bytes() for name in ("store.db", "dataset.json")}


@pytest.mark.parametrize("database_deployed", [False, True])
def test_work_survives_the_loss_of_the_disk(dataset, tmp_path, hub, api, database_deployed):
    store = Store.create(dataset)[0]
    store.engine.dispose()
    deployed = deployed_files(dataset) if database_deployed else None
    store = Store.open(dataset)
    Users(dataset).put("ada", "admin", "long enough")
    assert restore_from_hub(dataset, NAME, api) is False
    with HubCopy(dataset, NAME, every_minutes=60, api=api) as copy:
        for n in range(3):
            save(store, 1, mask_of(store, 1, n), "ada", n)
        copy.trigger().result()
        save(store, 2, mask_of(store, 2), "ada", 0)
    store.engine.dispose()
    assert hub.private == {NAME: True}
    assert hub.commits >= 2
    assert not [n for n in hub.files[NAME] if "users" in n or "store.db" in n or "key" in n]

    anew = lost_disk(tmp_path / "second", deployed=deployed)
    assert restore_from_hub(anew, NAME, api) is True
    assert restore_from_hub(anew, NAME, api) is False
    back = Store.open(anew)
    for n in range(3):
        np.testing.assert_array_equal(back.mask(1, n + 1), mask_of(back, 1, n))
    np.testing.assert_array_equal(back.mask(2), mask_of(back, 2))
    back.engine.dispose()


def test_the_further_side_counts_and_none_where_both_have_their_own(dataset, tmp_path, api):
    store = Store.create(dataset)[0]
    save(store, 1, mask_of(store, 1), "ada", 0)
    store.engine.dispose()
    deployed = deployed_files(dataset)
    copied(dataset, api)
    # Only the state differs.
    store = Store.open(dataset)
    states.move(store, 1, "done", ALONE)
    assert restore_from_hub(dataset, NAME, api) is False
    assert store.entry(1).state == "done"
    store.engine.dispose()
    copied(dataset, api)
    other = lost_disk(tmp_path / "other", deployed=deployed)
    theirs = Store.open(other)
    save(theirs, 2, mask_of(theirs, 2), "bob", 0)
    theirs.engine.dispose()
    with pytest.raises(StoreError, match="must hold all of this disk's work or none beyond it"):
        restore_from_hub(other, NAME, api)
    (other / "annotation" / "store.db").write_bytes(deployed["store.db"])
    assert restore_from_hub(other, NAME, api) is True
    back = Store.open(other)
    assert back.entry(1).state == "done"
    back.engine.dispose()
    strangers = make_dataset(tmp_path / "strangers", sizes=((20, 20),))
    Store.create(strangers)[0].engine.dispose()
    with pytest.raises(StoreError, match="ada/portraits must hold this dataset's work, got"):
        restore_from_hub(strangers, NAME, api)


def test_equal_work_is_the_hubs_on_a_space(dataset, api, monkeypatch):
    store = Store.create(dataset)[0]
    states.annotate(store, 1, ALONE, note="fringe")
    copied(dataset, api)
    states.annotate(store, 1, ALONE, note="deployed", seen="fringe")
    store.engine.dispose()
    assert restore_from_hub(dataset, NAME, api) is False
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert restore_from_hub(dataset, NAME, api) is True
    store = Store.open(dataset)
    assert store.entry(1).note == "fringe"
    store.engine.dispose()


def test_what_the_hub_does_not_take_is_told_and_sent_again(dataset, hub, api):
    store = Store.create(dataset)[0]
    with HubCopy(dataset, NAME, every_minutes=60, api=api) as copy:
        copy.trigger().result()
        hub.broken = True
        save(store, 1, mask_of(store, 1), "ada", 0)
        with pytest.raises(BadRequestError):
            copy.trigger().result()
        assert "Your work could not be sent to the Hub" in copy.problem
        hub.broken = False
        copy.trigger().result()
        assert copy.problem == ""
        commits = hub.commits
        copy.trigger().result()
        assert hub.commits == commits  # nothing new, nothing sent
    store.engine.dispose()


def test_the_service_restores_tells_and_sends(dataset, hub, api):
    Store.create(dataset)[0].engine.dispose()
    with open_service(dataset, host="127.0.0.1", hub_dataset=NAME, hub=api) as service:
        mask = mask_of(service.store, 1)
        save(service.store, 1, mask, "ada", 0)
        assert service.storage() == ""
    assert any(path.startswith("annotation/revisions/") for path in hub.files[NAME])
    with pytest.raises(StoreError, match="database must be the dataset's own SQLite"):
        open_service(
            dataset, host="127.0.0.1", hub_dataset=NAME, database="postgresql://x"
        ).__enter__()


def test_a_public_dataset_on_the_hub_gets_nothing(dataset, hub, api):
    Store.create(dataset)[0].engine.dispose()
    hub.files[NAME], hub.private[NAME] = {}, False
    with pytest.raises(StoreError, match="hub_dataset must be private, got ada/portraits"):
        HubCopy(dataset, NAME, api=api)
    assert (hub.files[NAME], hub.commits) == ({}, 0)


def test_a_hub_that_refuses_is_no_full_disk(dataset, monkeypatch, capsys):
    Store.create(dataset)[0].engine.dispose()
    with serving_app(FastAPI()) as address:  # which knows no path
        monkeypatch.setattr(hub_constants, "ENDPOINT", address.rstrip("/"))
        assert main(["annotate", str(dataset), "--hub-dataset", NAME]) == 1
    message = capsys.readouterr().err
    assert "Hub must be reachable and take the work, got " in message
    assert "404" in message


def test_a_network_that_is_down_is_said_to_be():
    with (
        pytest.raises(StoreError, match=r"Hub must be reachable and take the work, got .*HF_TOKEN"),
        durability.explain_hub_errors(),
    ):
        HfApi(endpoint=f"http://127.0.0.1:{free_port()}").repo_info(NAME, repo_type="dataset")


def test_a_space_is_not_open_to_the_world(dataset, monkeypatch):
    Store.create(dataset)[0].engine.dispose()
    with open_service(dataset, host="127.0.0.1") as service:
        app = create_app(service)
        with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
            assert client.get("/api/me").status_code == 200
            monkeypatch.setenv("SPACE_ID", "a/b")
            assert client.get("/api/me").status_code == 403
    with pytest.raises(StoreError, match="users must be configured where others can come"):
        open_service(dataset, host="127.0.0.1").__enter__()
    Users(dataset).put("ada", "admin", "long enough")
    with open_service(dataset, host="0.0.0.0") as service:
        assert "disk is lost at its next restart" in service.storage()
        # The page is in a frame of huggingface.co, and its proxy speaks plain http to us.
        headers = {"X-Annotation": "1"}
        with TestClient(create_app(service), base_url="http://x", headers=headers) as client:
            said = {"name": "ada", "password": "long enough"}
            cookie = client.post("/api/login", json=said).headers["Set-Cookie"]
        assert "SameSite=none; Secure" in cookie


# The Hub's library calls its own login experimental.
@pytest.mark.filterwarnings("ignore:'attach_huggingface_oauth' is experimental:UserWarning")
def test_people_log_in_with_hugging_face(store, hub, monkeypatch):
    users = Users(store.folder)
    users.put("ada", "admin", None)
    users.put("ann", "annotator", "a password of hers")
    monkeypatch.setenv("SPACE_ID", "a/b")
    with serving_app(hub.app) as provider:
        for name, value in (
            ("OAUTH_CLIENT_ID", CLIENT[0]),
            ("OAUTH_CLIENT_SECRET", CLIENT[1]),
            ("OAUTH_SCOPES", "openid profile"),
            ("OPENID_PROVIDER_URL", provider.rstrip("/")),
        ):
            monkeypatch.setattr(hub_constants, name, value)
        app = create_app(service_of(store, hugging_face=True))
        headers = {"X-Annotation": "1"}
        with TestClient(app, base_url="https://space.example", headers=headers) as client:

            def log_in(name):
                hub.visitor = name
                away = client.get(
                    "/oauth/huggingface/login?_target_url=/annotate/", follow_redirects=False
                )
                assert away.headers["location"].startswith(provider)
                back = httpx.get(away.headers["location"]).headers["location"]
                assert back.startswith("https://space.example/oauth/huggingface/callback")
                done = client.get(back, follow_redirects=False)
                assert done.headers["location"] == "/annotate/"

            assert client.get("/api/ways").json() == {"hugging_face": True, "refused": ""}
            assert client.get("/api/me").status_code == 401
            log_in("ada")
            assert client.get("/api/me").json()["role"] == "admin"
            client.post("/api/logout", json={})
            assert client.get("/api/me").status_code == 401
            # A password's owner is not whoever has the same name on the Hub.
            for name in ("stranger", "ann"):
                log_in(name)
                assert client.get("/api/me").status_code == 401
                assert client.get("/api/ways").json()["refused"] == (
                    f"user must be one of this dataset's, got {name} of Hugging Face: ask its admin"
                )
            client.cookies.clear()
            forged = client.get(
                "/oauth/huggingface/callback?code=x&state=y", follow_redirects=False
            )
            assert forged.headers["location"].startswith("/oauth/huggingface/login")
            assert client.get("/api/me").status_code == 401


def test_a_snapshot_that_changes_nothing_stays(store, tmp_path):
    out = tmp_path / "snapshot.db"
    database = store.folder / "annotation" / "store.db"
    durability.snapshot(database, out)
    before = out.stat().st_mtime_ns
    durability.snapshot(database, out)
    assert out.stat().st_mtime_ns == before
    save(store, 1, mask_of(store, 1), "ann", 0)
    durability.snapshot(database, out)
    with closing(sqlite3.connect(out)) as connection:
        assert connection.execute("SELECT count(*) FROM revision").fetchone() == (1,)
