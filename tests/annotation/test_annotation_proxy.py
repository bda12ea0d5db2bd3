"""The labelling page beside the demo, behind proxies that serve both below a path of their own."""

import pytest
from annotation_samples import service_of
from fastapi import FastAPI
from fastapi.testclient import TestClient

from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.team.users import Users
from demo.web.paths import mounted, path_of_route

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.mark.parametrize("root", ["", "/matting", "/a/b"])
@pytest.mark.parametrize("takes_off", [True, False])
def test_page_assets_api_and_login_are_found(store, root, takes_off):
    host = FastAPI(routes=mounted("annotate", create_app(service_of(store))))
    path = "" if takes_off else root
    with TestClient(
        host, base_url="http://localhost", client=("127.0.0.1", 1), root_path=root
    ) as client:
        redirect = client.get(f"{path}/annotate", follow_redirects=False)
        assert redirect.headers["location"] == "annotate/"
        assert "<title>Annotation</title>" in client.get(f"{path}/annotate/").text
        assert client.get(f"{path}/annotate/annotation.css").status_code == 200
        assert client.get(f"{path}/annotate/api/entries/1").json()["width"] == 40
        assert client.get(f"{path}/annotate/api/entries/1/image").status_code == 200
        assert client.get(f"{path}/annotate/none").status_code == 404
        Users(store.folder).put("ann", "admin", "a long password")
        client.headers["x-annotation"] = "1"
        answer = client.post(
            f"{path}/annotate/api/login", json={"name": "ann", "password": "a long password"}
        )
        assert answer.status_code == 200, answer.text
        assert client.get(f"{path}/annotate/api/me").json()["name"] == "ann"


def test_the_proxys_path_is_none_of_the_route():
    for path in ("/matting/gradio_api/upload", "/gradio_api/upload"):
        scope = {"path": path, "root_path": "/matting"}
        assert path_of_route(scope) == "/gradio_api/upload"
    assert path_of_route({"path": "/mattings/a", "root_path": "/matting"}) == "/mattings/a"
    assert path_of_route({"path": "/a"}) == "/a"
