import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI
from sqlalchemy import insert

from benchmark_data_tools.annotation.server.app import Service, create_app
from benchmark_data_tools.annotation.server.proposals import Layers
from benchmark_data_tools.annotation.storage.drafts import Draft, Saved
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.images import write_image

# Draws strokes between pairs of points; returns the milliseconds until each was on the canvas.
DRAW_STROKES = """async (points) => {
  const {tools, view} = annotator;
  const times = [];
  for (const [from, to] of points) {
    const start = performance.now();
    tools.press(from);
    tools.drag(to);
    view.lastStrokeDrawn = 0;
    while (!view.lastStrokeDrawn) await new Promise((done) => setTimeout(done));
    times.push(view.lastStrokeDrawn - start);
    tools.release();
  }
  return times;
}"""


def make_dataset(folder: Path, sizes=((40, 30), (33, 47), (64, 48))) -> Path:
    random = np.random.default_rng(0)
    (folder / "image").mkdir(parents=True)
    (folder / "alpha").mkdir()
    for n, (width, height) in enumerate(sizes):
        image = random.random((height, width, 3)).astype(np.float32)
        write_image(folder / "image" / f"portrait_{n}.png", image)
        ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
        write_image(folder / "alpha" / f"portrait_{n}.png", ramp)
    return folder


def mask_of(store: Store, entry_id: int, seed: int = 0) -> np.ndarray:
    image = store.image(entry_id)
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (image.height, image.width), dtype=np.uint8)


def save(
    store: Store, entry_id: int, mask: np.ndarray, author: str = "ann", base: int = 0, **rest
) -> Saved:
    """Save as somebody; "eve" is a reviewer, all others annotators."""
    role = "reviewer" if author == "eve" else "annotator"
    return store.save(entry_id, Draft(mask, User(author, role), base, **rest))


class StandIn:
    """Takes bright pixels for the subject, so that pages can be tested without the networks."""

    key = "stand-in"

    def guidance(self, image):
        return (image.mean(axis=2) > 0.5).astype(np.float32)

    def alpha(self, image, guidance):
        return cv2.GaussianBlur(guidance, (0, 0), 3)


def service_of(store: Store, **changes) -> Service:
    layers = Layers(store.folder, StandIn())
    return Service(store, layers, Users(store.folder), **changes)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def serving(service: Service, port: int = 0) -> AbstractContextManager[str]:
    """Serve the real application; gives its address."""
    return serving_app(create_app(service), port)


@contextmanager
def serving_app(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application in a thread; yields its address."""
    config = uvicorn.Config(app, port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


def make_large_dataset(folder: Path) -> Store:
    """A dataset of one photograph of 6000x4000 pixels."""
    (folder / "image").mkdir(parents=True)
    random = np.random.default_rng(0)
    small = random.random((250, 375, 3)).astype(np.float32)
    image = cv2.resize(small, (6000, 4000), interpolation=cv2.INTER_LINEAR)
    write_image(folder / "image" / "large.jpg", image)
    return Store.create(folder)[0]


def make_many(folder: Path, count: int) -> Store:
    """A dataset whose database lists `count` images of one small file."""
    store = Store.create(make_dataset(folder, sizes=((20, 20),)))[0]
    numbers = range(2, count + 1)
    with store.changing() as session:
        rows = [
            {
                "id": n,
                "name": f"face_{n:05d}",
                "file": "image/portrait_0.png",
                "width": 20,
                "height": 20,
                "sha256": "0" * 64,
            }
            for n in numbers
        ]
        session.execute(insert(Image), rows)
        session.execute(insert(Entry), [{"image_id": n} for n in numbers])
    return store
