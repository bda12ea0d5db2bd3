"""The labelling page as a tab of the demo, on the same port."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from annotation_samples import free_port, make_dataset
from browsers import launch
from playwright.sync_api import expect, sync_playwright

import app
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team.users import Users
from demo.environment import Environment

ROOT = Path(__file__).parents[2]


@contextmanager
def serve(folder, log, **variables):
    """Run the demo over a dataset; yields its process and address."""
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "MGM_ANNOTATE": str(folder),
        "GRADIO_TEMP_DIR": str(log.parent),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
        ) as server,
    ):
        try:
            yield server, f"http://127.0.0.1:{port}/"
        finally:
            server.kill()  # what the demo computes in the background may take minutes to end


@pytest.mark.browser
def test_the_demo_has_a_tab_that_labels(store, tmp_path):
    log = tmp_path / "log"
    with serve(store.folder, log) as (server, address), sync_playwright() as playwright:
        until = time.monotonic() + 500
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            try:
                assert httpx.get(f"{address}annotate", follow_redirects=True).status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.5)
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.get_by_role("tab", name="Annotate").click()
        frame = page.frame_locator("#annotation iframe")
        frame.locator(".row").first.click()
        frame.locator("body[data-opened='1']").wait_for()
        frame.locator("#frame").click()
        expect(frame.locator("#save-state")).to_have_text("Saved", timeout=60_000)
        assert store.mask(1).any()
        browser.close()
        assert_other_sites_stay_out(store, f"{address}annotate/")
        # The signal of a Space that stops: the store is closed, and the Hub would get its part.
        server.terminate()
        assert server.wait(120) == 0
    assert "Traceback" not in log.read_text()


def assert_other_sites_stay_out(store, page):
    """Beside Gradio, which answers other sites' preflights, and with any Host but localhost."""
    users = Users(store.folder)
    users.put("ada", "admin", "ada-password")
    headers = {
        "Host": "label.example",
        "Origin": "https://evil.example",
        "Cookie": f"annotation={users.sign('ada')}",
        "X-Annotation": "1",
    }
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-annotation",
    }
    assert httpx.options(f"{page}api/me", headers=headers | preflight).status_code in (200, 403)
    for answer in (
        httpx.get(f"{page}api/me", headers=headers),
        httpx.post(f"{page}api/entries/1/state", headers=headers, json={"state": "done"}),
    ):
        assert answer.status_code == 403
        assert "of another site" in answer.text
        assert "ada" not in answer.text
    headers["Origin"] = "http://label.example"
    assert httpx.get(f"{page}api/me", headers=headers).json()["name"] == "ada"


def test_a_space_without_users_does_not_start_to_label(dataset, tmp_path):
    log = tmp_path / "log"
    Store.create(dataset)[0].engine.dispose()
    with serve(dataset, log, SPACE_ID="a/b", GRADIO_SERVER_NAME="0.0.0.0") as (server, _):
        assert server.wait(500) == 1
    assert "users must be configured where others can come, got none for host" in log.read_text()
    assert not Users(dataset).configured


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    environment = Environment(annotate=str(make_dataset(tmp_path / "raw")))
    message = "must be a dataset made ready for annotation"
    with ExitStack() as stack, pytest.raises(ValueError, match=message):
        app.open_annotation(environment, stack)
