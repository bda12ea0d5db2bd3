"""Measure the served page: seconds to the first page and to the first result, and its memory.

    python -m demo.measure                 # 100 requests after the first
    python -m demo.measure --requests 10

Starts the app anew, on a free port, as `python app.py` does. Needs Linux, which tells a process's
memory. Runs for minutes; figures are only worth something on a machine that does nothing else.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from gradio_client import Client, handle_file  # type: ignore[import-untyped] # it has no types

from mgm_core.images import read_image, write_image

ROOT = Path(__file__).parents[1]
PORTRAIT = Path(__file__).parent / "examples" / "pictures" / "flying-hair.jpg"
# Small, so that it is full before the first quarter ends: what grows then is no cache.
MEMORY_MEGABYTES = 50
# What a visitor needs to choose a photo; PyTorch and the networks load meanwhile.
CHOOSING_SECONDS = 10


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Start the app; its files go into the folder.

    Yields:
        Its address, its process's number, and the seconds until it answered.

    Raises:
        RuntimeError: it ended, or did not answer within five minutes.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = os.environ | {
        "PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder),
        "MGM_MEMORY_MEGABYTES": str(MEMORY_MEGABYTES),
    }
    address = f"http://127.0.0.1:{port}/"
    log = folder / "log"
    begun = time.monotonic()
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
        ) as server,
    ):
        try:
            while not answers(address):
                if server.poll() is not None or time.monotonic() - begun > 300:
                    raise RuntimeError(f"the app must answer, got none: {log.read_text()}")
                time.sleep(0.05)
            yield address, server.pid, time.monotonic() - begun
        finally:
            server.terminate()


def answers(address: str) -> bool:
    """Tell whether a page is there."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False


def resident_megabytes(process: int) -> float:
    """Return the memory that a process holds, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {process} must tell its memory, got no VmRSS: is it Linux?")


def portraits(folder: Path, count: int) -> Iterator[Path]:
    """Write one portrait of a megapixel and then so many smaller ones, no two alike."""
    image = read_image(PORTRAIT)
    for number in range(count + 1):
        side = 1000 if number == 0 else 256
        resized = np.asarray(cv2.resize(image, (side, side)), np.float32).clip(0, 1)
        resized[0, 0] = (number % 16 / 16, number // 16 % 16 / 16, 0)
        path = folder / f"portrait_{number}.png"
        write_image(path, resized)
        yield path


def measure(requests: int) -> Iterator[str]:
    """Measure, and return a line for each figure as it is known."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with served(folder) as (address, process, seconds):
            yield f"first page        {seconds:6.1f} s"
            photos = portraits(folder, requests)
            client = Client(address, verbose=False, download_files=str(folder))
            time.sleep(CHOOSING_SECONDS)
            begun = time.monotonic()
            client.predict(photo=handle_file(str(next(photos))), api_name="/matte")
            yield (
                f"first result      {time.monotonic() - begun:6.1f} s  "
                f"(1 megapixel, {CHOOSING_SECONDS} s after the page)"
            )
            marks = [round(requests * quarter / 4) for quarter in (1, 2, 3, 4)]
            memory = []
            begun = time.monotonic()
            for number, photo in enumerate(photos, start=1):
                client.predict(photo=handle_file(str(photo)), api_name="/matte")
                photo.unlink()
                if number in marks:
                    memory.append(f"{resident_megabytes(process):.0f} MiB after {number}")
            each = (time.monotonic() - begun) / requests
            yield f"each of the next  {each:6.1f} s  ({requests} photos of 256x256 px)"
            yield f"memory            {', '.join(memory)}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args(arguments)
    if options.requests < 4:
        parser.error(f"--requests must be at least 4, got {options.requests}: 100 is usual")
    for line in measure(options.requests):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
