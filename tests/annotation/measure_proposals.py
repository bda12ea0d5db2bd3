"""Whether a proposal at hand stays quick while one of 24 megapixels is computed.

Run: PYTHONPATH=. python tests/annotation/measure_proposals.py OUT. It asks over HTTP for the
proposal of an image of 3 megapixels that was computed before: first in quiet, then for 25 s while
the worker computes another of 24 megapixels, and ends that.
"""

import json
import sys
import threading
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
from annotation_samples import serving
from timed_session import EXAMPLE

from benchmark_data_tools.annotation.server.app import Service
from benchmark_data_tools.annotation.server.proposals import Layers, NetworkProposer, Worker
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.images import read_image, write_image

BUSY_SECONDS = 25


def main(out: Path) -> None:
    folder = out / "two"
    if not folder.exists():
        (folder / "image").mkdir(parents=True)
        for name, size in (("at_hand", (2000, 1500)), ("large", (6000, 4000))):
            large = cv2.resize(read_image(EXAMPLE), size, interpolation=cv2.INTER_CUBIC)
            write_image(folder / "image" / f"{name}.jpg", np.clip(large, 0, 1))
    store, worker = Store.create(folder)[0], Worker()
    service = Service(store, Layers(folder, NetworkProposer(), worker), Users(folder))
    with serving(service) as address, httpx.Client(base_url=address, timeout=None) as client:

        def seconds() -> float:
            start = time.perf_counter()
            client.get("api/entries/1/proposal").raise_for_status()
            return time.perf_counter() - start

        first = seconds()
        quiet = [seconds() for _ in range(10)]

        def compute() -> None:
            httpx.get(f"{address}api/entries/2/proposal", timeout=None)

        computing = threading.Thread(target=compute)
        computing.start()
        time.sleep(3)
        busy, until = [], time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < until:
            busy.append(seconds())
            time.sleep(0.5)
        still = computing.is_alive()
        worker.close()
        computing.join()
    report = {
        "first, computed, s": first,
        "at hand in quiet, s: median, longest": [float(np.median(quiet)), max(quiet)],
        "at hand while 24 megapixels are computed": [float(np.median(busy)), max(busy), len(busy)],
        "was still computing at the end": still,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
