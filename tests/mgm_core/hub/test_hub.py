import base64
import hashlib
import json
import threading
import time

import huggingface_hub
import numpy as np
import pytest
import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file, save_file

from mgm_core.hub import HubForegroundNetwork, HubPRN
from mgm_core.matting.matter import Matter
from mgm_core.models import Models
from mgm_core.networks.checkpoint import load_foreground, load_prn
from mgm_core.weights import CheckpointError


class ModelsStandIn:
    """A Hub of model repositories on this machine."""

    def __init__(self):
        self.files, self.app = {}, FastAPI()

        @self.app.post("/api/repos/create")
        async def create(request: Request):
            asked = await request.json()
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.files.setdefault(name, {})
            return {"url": f"{request.base_url}{name}", "name": name}

        @self.app.post("/api/validate-yaml")
        async def validate(request: Request):
            assert (await request.json())["repoType"] == "model"
            return {"warnings": [], "errors": []}

        @self.app.post("/api/models/{user}/{name}/preupload/main")
        async def preupload(request: Request):
            files = (await request.json())["files"]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": file["path"], **regular} for file in files]}

        @self.app.post("/api/models/{user}/{name}/commit/main")
        async def commit(user: str, name: str, request: Request):
            for line in (await request.body()).splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    data = base64.b64decode(part["value"]["content"])
                    self.files[f"{user}/{name}"][part["value"]["path"]] = data
            return {"commitUrl": f"{request.base_url}{user}/{name}/commit/1", "commitOid": "1" * 40}

        @self.app.get("/api/models/{user}/{name}")
        @self.app.get("/api/models/{user}/{name}/revision/main")
        def info(user: str, name: str):
            names = [{"rfilename": path} for path in self.files[f"{user}/{name}"]]
            return {"id": f"{user}/{name}", "sha": "1" * 40, "siblings": names}

        @self.app.api_route("/{user}/{name}/resolve/{sha}/{path}", methods=["GET", "HEAD"])
        def resolve(user: str, name: str, sha: str, path: str):
            data = self.files[f"{user}/{name}"].get(path)
            if data is None:
                raise HTTPException(404, headers={"X-Error-Code": "EntryNotFound"})
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            return Response(data, headers={"ETag": tag, "X-Repo-Commit": "1" * 40})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    stand_in = ModelsStandIn()
    server = uvicorn.Server(uvicorn.Config(stand_in.app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    at = f"http://127.0.0.1:{port}"
    template = "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", at)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{at}/{template}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "whoami", lambda *_, **__: {"name": "ada"})
    monkeypatch.setenv("HF_TOKEN", "a token")
    yield stand_in
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("kind", "loaded", "name"),
    [
        (HubPRN, load_prn, "prn_mobilenet_v2"),
        (HubForegroundNetwork, load_foreground, "foreground_mobilenet_v2"),
    ],
)
def test_what_is_pushed_is_loaded_again(hub, kind, loaded, name):
    kind.bundled(name).push_to_hub("ada/matting")
    files = hub.files["ada/matting"]
    assert files.keys() >= {"model.safetensors", "README.md"}
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.license_name) == ("other", "research-use-only")
    assert card.data.to_dict()["library_name"] == "mgm"
    assert "Licence: research use only" in card.text
    assert f"{kind.__name__}.from_pretrained" in card.text
    again = kind.from_pretrained("ada/matting")
    assert not again.training
    expected = loaded(name).state_dict()
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[key])


def test_a_network_of_the_hub_mattes_as_the_bundled_one(tmp_path):
    HubPRN.bundled().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "encoder": "mobilenet_v2",
        "fusion": "progressive",
    }
    image = np.full((64, 64, 3), 0.2, np.float32)
    mask = np.zeros((64, 64), np.float32)
    image[16:48, 16:48], mask[18:46, 18:46] = 0.8, 1
    found = Matter(HubPRN.from_pretrained(tmp_path), device="cpu").matte(image, mask)
    expected = Models(device="cpu").matter().matte(image, mask)
    np.testing.assert_array_equal(found.alpha, expected.alpha)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    HubForegroundNetwork.bundled().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["head.weight"] = state["head.weight"][:4].clone()
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        HubForegroundNetwork.from_pretrained(tmp_path)


def test_a_repository_without_safetensors_is_refused(tmp_path):
    HubForegroundNetwork.bundled().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises((CheckpointError, OSError), match=r"model\.safetensors"):
        HubForegroundNetwork.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"got pytorch_model\.bin alone: save them anew"):
        HubForegroundNetwork._load_as_pickle(None, "x/pytorch_model.bin", "cpu", False)
