"""Put the real app under load, and say how it bears it.

    python -m benchmark_data_tools load                        # 1, 8, 32 and 100 visitors
    python -m benchmark_data_tools load --visitors 8 --minutes 30 --faults    # make soak

The visitors are locust's (`visitors.py`), over loopback and niced, in a process of their own. Needs
Linux, which tells a process's memory and time.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).parents[2]
_SERVED = re.compile(r"photo (\w+): waited ([\d.]+) s, served in ([\d.]+) s")


class Server:
    """The app, in a process of its own, which may be killed and started anew.

    Args:
        folder: for its files and its log.
        variables: further settings of its environment.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.log = folder / "log"
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self._environment = {
            **os.environ,
            "PORT": str(self.port),
            "GRADIO_TEMP_DIR": str(folder),
            "MGM_PROXIES": "127.0.0.1",
            **variables,
        }
        self.process = self._start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env=self._environment,
                stdout=out,
                stderr=out,
            )

    def wait(self) -> None:
        """Wait until it answers and its networks are loaded.

        Raises:
            ValueError: it ended, or did not within five minutes.
        """
        until = time.monotonic() + 300
        while True:
            state = health(self.url)
            if state is not None and state["weights_loaded"]:
                return
            if self.process.poll() is not None or time.monotonic() > until:
                raise ValueError(f"the app must answer, got none: {self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def restart(self, number: signal.Signals) -> None:
        """End it by a signal and start it anew."""
        self.process.send_signal(number)
        self.process.wait(120)
        self.process = self._start()
        self.wait()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def megabytes(self) -> float:
        """Return the memory that it holds, in MiB; 0 while it is down."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0


def health(url: str) -> "dict[str, object] | None":
    """Return what /healthz says; None where nobody answers."""
    try:
        answer = httpx.get(f"{url}/healthz", timeout=10).raise_for_status()
        state: dict[str, object] = answer.json()
        return state
    except (httpx.HTTPError, ValueError):
        return None


@dataclass
class Figures:
    """What came of one number of visitors.

    Args:
        visitors: how many there were at once.
        seconds: for how long.
        outcomes: how many requests ended how.
        waited_s: how long finished requests waited for their turn.
        served_s: how long they took without that.
        memory: seconds since the start and MiB.
        load_share: share of a core that the load tool took.
    """

    visitors: int
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    waited_s: list[float] = field(default_factory=list)
    served_s: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    load_share: float = 0.0

    def row(self) -> str:
        """Return the figures as a row of a Markdown table."""
        waited, served = (
            " / ".join(f"{np.percentile(each, p):.1f}" if each else "-" for p in (50, 95))
            for each in (self.waited_s, self.served_s)
        )
        per_minute = self.outcomes["finished"] / self.seconds * 60
        peak = max((mebibytes for _, mebibytes in self.memory), default=0)
        return (
            f"| {self.visitors} | {self.outcomes['finished']} | {per_minute:.1f} | {waited} | "
            f"{served} | {self.outcomes['refused']} | {self.outcomes['lost']} | "
            f"{self.outcomes['wrong']} | {self.outcomes['unanswered']} | {peak:.0f} | "
            f"{self.load_share:.0%} |"
        )


HEAD = (
    "| visitors | finished | a minute | waited p50 / p95 s | served p50 / p95 s | refused | lost "
    "| wrong | unanswered | peak MiB | load tool's core |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def measure(
    server: Server,
    folder: Path,
    visitors: int,
    seconds: float,
    side_px: int,
    faults: Sequence[Callable[[], None]] = (),
) -> Figures:
    """Let visitors come for a while.

    Args:
        server: what they come to.
        folder: for their outcomes.
        visitors: how many at once.
        seconds: for how long; requests under way then are waited for.
        side_px: of their photos.
        faults: one is done each minute, in turn.
    """
    figures = Figures(visitors, seconds)
    outcomes = folder / "outcomes.jsonl"
    outcomes.unlink(missing_ok=True)
    read_from = server.log.stat().st_size
    command = [
        *("nice", "-n", "10", sys.executable, "-m", "locust", "--headless", "--only-summary"),
        *("-f", str(Path(__file__).with_name("visitors.py")), "-H", server.url),
        *("-u", str(visitors), "-r", str(max(1, visitors // 4)), "-t", f"{seconds:.0f}s"),
        *("--stop-timeout", "900", "--loglevel", "ERROR", "--exit-code-on-error", "0"),
    ]
    environment = {**os.environ, "LOAD_FOLDER": str(folder), "LOAD_SIDE_PX": str(side_px)}
    began = time.monotonic()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            figures.memory.append((time.monotonic() - began, server.megabytes()))

    def break_things() -> None:
        for number in range(int(seconds / 60)):
            if ended.wait(max(0.0, began + (number + 0.5) * 60 - time.monotonic())):
                return
            faults[number % len(faults)]()

    threads = [threading.Thread(target=watch)]
    if faults:
        threads.append(threading.Thread(target=break_things))
    for thread in threads:
        thread.start()
    before = os.times()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    after = os.times()
    ended.set()
    for thread in threads:
        thread.join()
    if done.returncode != 0:
        raise ValueError(f"locust must end well, got {done.returncode}: {done.stderr[-2000:]}")
    taken = sum(after[2:4]) - sum(before[2:4])
    figures.load_share = taken / (time.monotonic() - began)
    for line in outcomes.read_text(encoding="utf-8").splitlines():
        outcome = json.loads(line)["outcome"]
        figures.outcomes[outcome.partition(":")[0]] += 1
        if not outcome.startswith(("finished", "refused")):
            sys.stderr.write(f"{outcome}\n")
    with server.log.open("rb") as log:
        log.seek(read_from)
        for outcome, waited, served in _SERVED.findall(log.read().decode(errors="replace")):
            if outcome == "finished":
                figures.waited_s.append(float(waited))
                figures.served_s.append(float(served))
    return figures


def standard_faults(server: Server) -> list[Callable[[], None]]:
    """Return what goes wrong in a soak, one after the other."""
    random_numbers = random.Random(0)

    def logged(name: str, fault: Callable[[], None]) -> Callable[[], None]:
        def do() -> None:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}\n")
            fault()

        return do

    def post(
        path: str,
        content: bytes | None = None,
        kind: str | None = None,
        data: object = None,
        files: dict[str, tuple[str, bytes]] | None = None,
    ) -> httpx.Response | None:
        url, headers = f"{server.url}/gradio_api{path}", {"x-forwarded-for": "198.19.0.1"}
        if kind is not None:
            headers["content-type"] = kind
        try:
            return httpx.post(
                url, headers=headers, content=content, json=data, files=files, timeout=30
            )
        except httpx.HTTPError:
            return None

    def leave() -> None:
        """Twenty ask for what nobody will come for."""
        photo = (ROOT / "demo" / "examples" / "pictures" / "flying-hair.jpg").read_bytes()
        sent = post("/upload", files={"files": ("a.png", photo)})
        if sent is None or sent.is_error:
            return
        data = {"photo": {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}}
        for _ in range(20):
            post("/call/v2/matte", data=data)

    def send_noise() -> None:
        for _ in range(30):
            post("/queue/join", random_numbers.randbytes(5000), "application/json")
            post("/upload", random_numbers.randbytes(50_000), "multipart/form-data; boundary=b")

    def freeze() -> None:
        """As a machine that swaps or is suspended."""
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        server.process.send_signal(signal.SIGCONT)

    return [
        logged("nobody waits for twenty requests", leave),
        logged("SIGKILL and start", lambda: server.restart(signal.SIGKILL)),
        logged("noise", send_noise),
        logged("SIGTERM and start", lambda: server.restart(signal.SIGTERM)),
        logged("SIGSTOP for 5 s", freeze),
    ]


@contextmanager
def serve(folder: Path, variables: Mapping[str, str]) -> Iterator[Server]:
    """Start the app, warm; end it after the block."""
    server = Server(folder, variables)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def main(
    visitors: Sequence[int], minutes: float, side_px: int, *, faults: bool, keep_minutes: int
) -> int:
    """Measure and print a table.

    Args:
        visitors: numbers at once, one run each.
        minutes: of each run.
        side_px: of the visitors' photos, which are square.
        faults: whether something goes wrong each minute.
        keep_minutes: MGM_KEEP_MINUTES of the app; memory is looked at so long after, and one more.

    Returns:
        0; 1 if an answer was lost or wrong.
    """
    status = 0
    with tempfile.TemporaryDirectory(prefix="mgm-load-") as temporary:
        folder = Path(temporary)
        variables = {"MGM_KEEP_MINUTES": str(keep_minutes)}
        with serve(folder, variables) as server:
            measure(server, folder, 1, 10, side_px)  # first uses are slow
            sys.stdout.write(
                f"{os.cpu_count()} cores; photos of {side_px}x{side_px} px; memory after first "
                f"cut-outs {server.megabytes():.0f} MiB\n{HEAD}\n"
            )
            for count in visitors:
                figures = measure(
                    server,
                    folder,
                    count,
                    minutes * 60,
                    side_px,
                    standard_faults(server) if faults else (),
                )
                sys.stdout.write(f"{figures.row()}\n")
                sys.stdout.flush()
                if faults:
                    step = max(1, len(figures.memory) // 10)
                    curve = ", ".join(f"{mib:.0f}" for _, mib in figures.memory[::step])
                    sys.stdout.write(f"memory, MiB: {curve}\n")
                status |= bool(figures.outcomes["lost"] or figures.outcomes["wrong"])
            time.sleep((keep_minutes + 1) * 60 if keep_minutes <= 2 else 0)
            sys.stdout.write(f"memory at the end {server.megabytes():.0f} MiB\n")
            if "Traceback" in server.log.read_text(errors="replace"):
                sys.stdout.write("the log holds a traceback:\n")
                sys.stdout.write(server.log.read_text(errors="replace")[-3000:])
                status = 1
    return status
