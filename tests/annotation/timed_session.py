"""A timed session on the real page: ten images of 2000x1500, each from a proposal.

Run: PYTHONPATH=. python tests/annotation/timed_session.py OUT; proposals that OUT already holds
are not computed anew. A script moves the mouse as an annotator would:
propose, switch a region, apply, erase with one stroke, paint with two, done. It prints the
seconds of each image, from the opening to the opening of the next, and takes screenshots. Nobody
thinks or looks meanwhile: the figures are what the tool takes, to which a person adds their own.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from annotation_samples import serving
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import select

from benchmark_data_tools.annotation.server.app import Service
from benchmark_data_tools.annotation.server.proposals import Layers, NetworkProposer
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Image
from benchmark_data_tools.annotation.team import progress
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.images import read_image, write_image

SIZE = (2000, 1500)
EXAMPLE = Path(__file__).parents[1] / "data" / "photos" / "astronaut.png"
SAVED = "annotator.page.saver.state === 'saved' && !annotator.page.saver.unsaved"


def make_portraits(folder: Path, count: int = 10) -> None:
    """Write crops of a portrait on backgrounds of different brightness."""
    (folder / "image").mkdir(parents=True)
    portrait = read_image(EXAMPLE)
    for n in range(count):
        turned = portrait[:, :: 1 if n % 2 else -1]
        top, left = 8 * (n % 3), 12 * (n % 4)
        crop = turned[top : top + 345, left : left + 460]
        large = cv2.resize(crop, SIZE, interpolation=cv2.INTER_CUBIC)
        lit = np.clip(large * (0.85 + 0.03 * n), 0, 1)
        write_image(folder / "image" / f"portrait_{n:02d}.jpg", lit.astype(np.float32))


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Draw through points that are fractions of the canvas."""
    box = page.locator("#frame").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=12)
    page.mouse.up()


def label(page: Page, shot: Path | None) -> None:
    """Label the open image from its proposal."""
    page.keyboard.press("d")
    page.wait_for_function("annotator.view.proposal")
    if shot:
        page.wait_for_timeout(300)
        page.screenshot(path=shot)
    page.mouse.click(640, 400)
    page.keyboard.press("Enter")
    page.keyboard.press("e")
    stroke(page, (0.2, 0.85), (0.4, 0.9), (0.6, 0.88))
    page.keyboard.press("b")
    stroke(page, (0.35, 0.3), (0.4, 0.2), (0.5, 0.15))
    stroke(page, (0.5, 0.15), (0.6, 0.2), (0.65, 0.35))
    page.wait_for_function(SAVED)


def main(out: Path) -> None:
    """Make the images, label them and print what it took."""
    if not (out / "portraits").exists():
        make_portraits(out / "portraits")
    store = Store.create(out / "portraits")[0]
    layers = Layers(store.folder, NetworkProposer())
    start = time.perf_counter()
    with store.reading() as session:
        for image in session.scalars(select(Image)):
            layers.png(image, "network_alpha")
    ahead = time.perf_counter() - start
    service = Service(store, layers, Users(store.folder))
    seconds = []
    with serving(service) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(bypass_csp=True, viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("n")
        for number in range(1, 11):
            page.wait_for_selector(f"body[data-opened='{number}']")
            start = time.perf_counter()
            label(page, out / "proposal.png" if number == 1 else None)
            if number == 1:
                page.wait_for_timeout(200)
                page.screenshot(path=out / "painted.png")
            page.keyboard.press("Control+Enter")
            page.wait_for_function(
                f"document.body.dataset.opened && document.body.dataset.opened !== '{number}'"
                " || document.querySelector('#banner').textContent.includes('are done')"
            )
            seconds.append(time.perf_counter() - start)
        for name, width, height in (("tablet", 1024, 768), ("tablet_upright", 820, 1180)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(400)
            page.keyboard.press("0")
            page.wait_for_timeout(300)
            page.screenshot(path=out / f"{name}.png")
        browser.close()
    whole = progress.progress(store)
    report = {
        "ahead_seconds_an_image": ahead / 10,
        "seconds_an_image": seconds,
        "median": float(np.median(seconds)),
        "finished": whole.finished,
        "corrected": whole.corrected,
        "active_seconds": whole.seconds,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
