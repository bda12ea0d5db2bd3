"""A timed trial on the real page: images of 12 megapixels, each proposed, looked at, corrected.

Run: PYTHONPATH=. python tests/annotation/timed_session.py OUT; proposals that OUT already holds
are not computed anew. A script does an annotator's work:

    propose   ask for the proposal, see it, switch a region off and on, apply it
    look      contour, brighter shadows, zoom to three places along the hair
    correct   there, zoomed in: erase past the hair, paint strands, add what a click finds, undo
    done      save, mark done, see the next image

It prints the seconds of each part, and takes screenshots. Nobody thinks meanwhile: the figures are
what the tool takes, to which a person adds their own.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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

SIZE = (4000, 3000)
IMAGES = 4
EXAMPLE = Path(__file__).parents[1] / "data" / "photos" / "astronaut.png"
SAVED = "annotator.page.saver.state === 'saved' && !annotator.page.saver.unsaved"
# Left, top, right and bottom of where an annotator looks, as fractions of the image.
PLACES = ((0.25, 0.05, 0.45, 0.25), (0.45, 0.02, 0.65, 0.22), (0.6, 0.2, 0.8, 0.4))


def make_portraits(folder: Path, count: int = IMAGES) -> None:
    """Write crops of a portrait, turned, in different light."""
    (folder / "image").mkdir(parents=True)
    portrait = read_image(EXAMPLE)
    for n in range(count):
        turned = portrait[:, :: 1 if n % 2 else -1]
        top, left = 8 * (n % 3), 12 * (n % 4)
        crop = turned[top : top + 345, left : left + 460]
        large = cv2.resize(crop, SIZE, interpolation=cv2.INTER_CUBIC)
        lit = np.clip(large * (0.85 + 0.03 * n), 0, 1)
        write_image(folder / "image" / f"portrait_{n:02d}.jpg", lit.astype(np.float32))


class Annotator:
    """Works on a page, and notes how long each part took."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - start)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def drawn(self) -> None:
        """Wait until the screen shows what was done."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw through points that are fractions of the canvas."""
        box = self.page.locator("#frame").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=12)
        self.page.mouse.up()

    def look_at(self, left: float, top: float, right: float, bottom: float) -> None:
        self.press("0", "z")
        corners = self.page.evaluate(
            "(places) => places.map(([x, y]) => annotator.view.toScreen("
            "x * annotator.page.mask.width, y * annotator.page.mask.height))",
            [(left, top), (right, bottom)],
        )
        box = self.page.locator("#frame").bounding_box()
        places = [(x / box["width"], y / box["height"]) for x, y in corners]
        self.stroke(*places)
        self.drawn()

    def propose(self, shot: Path | None) -> None:
        self.press("d")
        self.page.wait_for_function("annotator.view.proposal")
        self.drawn()
        if shot:
            self.page.screenshot(path=shot)
        for _ in range(2):
            self.page.mouse.click(640, 400)
        self.press("Enter")

    def look(self, shot: Path | None) -> None:
        self.press("k", "2", "2", "2")
        for place in PLACES:
            self.look_at(*place)
        if shot:
            self.page.screenshot(path=shot)
        self.press("k", "k", "k", "Shift+R")

    def correct(self, shot: Path | None) -> None:
        for n, place in enumerate(PLACES):
            self.look_at(*place)
            self.press("e")
            self.stroke((0.1, 0.15), (0.25, 0.1), (0.4, 0.12))
            self.press("b", *["["] * 4)
            for strand in range(4):
                x = 0.3 + 0.1 * strand
                self.stroke((x, 0.7), (x + 0.03, 0.5), (x + 0.1, 0.35), (x + 0.2, 0.3))
            if n == 1:
                steps = self.page.evaluate("annotator.page.mask.steps.length")
                self.press("j")
                self.page.mouse.click(640, 400)
                self.page.wait_for_function("document.querySelector('#banner').hidden")
                if self.page.evaluate("annotator.page.mask.steps.length") > steps:
                    self.press("Control+z")
            self.press("b", *["]"] * 4)
        self.page.wait_for_function(SAVED)
        if shot:
            self.page.screenshot(path=shot)
        self.press("0")


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
    if "--ahead" in sys.argv:
        return
    service = Service(store, layers, Users(store.folder))
    with serving(service) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(bypass_csp=True, viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        work = Annotator(page)
        work.press("n")
        page.wait_for_selector("body[data-opened]")
        for number in range(IMAGES):
            first = number == 0
            with work.part("whole"):
                with work.part("propose"):
                    work.propose(out / "proposal.png" if first else None)
                with work.part("look"):
                    work.look(out / "look.png" if first else None)
                with work.part("correct"):
                    work.correct(out / "corrected.png" if first else None)
                with work.part("done"):
                    opened = page.evaluate("document.body.dataset.opened")
                    work.press("Control+Enter")
                    page.wait_for_function(
                        "(opened) => document.body.dataset.opened && "
                        "document.body.dataset.opened !== opened || "
                        "document.querySelector('#banner').textContent.includes('are done')",
                        arg=opened,
                    )
            sys.stderr.write(f"{number + 1} of {IMAGES}: {work.seconds['whole'][-1]:.1f} s\n")
        whole = progress.progress(store)
        report = {
            "seconds of proposals computed now": ahead,
            "median seconds an image": {
                name: round(float(np.median(s)), 2) for name, s in work.seconds.items()
            },
            "longest": {name: round(max(s), 2) for name, s in work.seconds.items()},
            "finished": whole.finished,
            "corrected": whole.corrected,
            "active seconds": whole.seconds,
        }
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
