"""What a visitor does, for locust: have a photo of his own cut out, and look whether it is his.

`server.py` starts locust with this file; `LOAD_FOLDER` names where outcomes go, a line each.
"""

import io
import itertools
import json
import os
import time
from pathlib import Path

import numpy as np
from locust import HttpUser, between, task
from PIL import Image

PORTRAIT = Path(__file__).parents[2] / "demo" / "examples" / "pictures" / "flying-hair.jpg"
FOLDER = Path(os.environ.get("LOAD_FOLDER", "."))
SIDE_PX = int(os.environ.get("LOAD_SIDE_PX", "256"))

_numbers = itertools.count()
# Where the subject is opaque, its colours are the photo's, but where alpha only rounds to opaque.
# Photos of two visitors are tens of levels apart.
_MOST_LEVELS_OFF = 2


def own_photo(number: int) -> np.ndarray:
    """Return a portrait whose colours no other number's has, (H, W, 3) uint8.

    Args:
        number: of the photo.
    """
    portrait = Image.open(PORTRAIT).convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    gains = 0.55 + 0.45 * np.random.default_rng(number).random(3)
    return (np.asarray(portrait, np.float64) * gains).round().astype(np.uint8)


def is_cutout_of(cutout: np.ndarray, photo: np.ndarray) -> bool:
    """Tell whether a cut-out, (H, W, 4) uint8, is one of a photo, (H, W, 3) uint8."""
    if cutout.shape != (*photo.shape[:2], 4):
        return False
    opaque = cutout[..., 3] == 255
    share = opaque.mean()
    off = np.abs(cutout[..., :3].astype(int) - photo)[opaque]
    return bool(0.05 < share < 0.9 and off.mean(0).max() <= _MOST_LEVELS_OFF)


class Visitor(HttpUser):
    """Sends one photo after the other; who was refused waits longer before the next try."""

    wait_time = between(0.2, 1.0)

    def on_start(self) -> None:
        """Take an address of one's own."""
        number = next(_numbers)
        forwarded = f"198.18.{number // 250}.{number % 250 + 1}"
        self.client.headers["x-forwarded-for"] = forwarded
        self.photos = itertools.count(number * 100_000 + os.getpid() * 97)

    @task
    def cut_out(self) -> None:
        """Have a photo cut out, and write down what came of it."""
        number = next(self.photos)
        begun = time.time()
        try:
            outcome = self._ask(number)
        except (OSError, ValueError) as error:  # requests' errors are the one or the other
            outcome = f"unanswered: {type(error).__name__}: {str(error)[:300]}"
        with (FOLDER / "outcomes.jsonl").open("a", encoding="utf-8") as out:
            line = {"outcome": outcome, "begun": begun, "seconds": time.time() - begun}
            out.write(json.dumps(line) + "\n")
        if outcome != "finished":
            time.sleep(3)

    def _ask(self, number: int) -> str:
        photo = own_photo(number)
        data = io.BytesIO()
        Image.fromarray(photo).save(data, "PNG")
        sent = self.client.post(
            "/gradio_api/upload", files={"files": (f"{number}.png", data.getvalue())}, timeout=60
        )
        if sent.status_code == 429:
            return "refused"
        sent.raise_for_status()
        file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        call = "/gradio_api/call/v2/matte"
        asked = self.client.post(call, json={"photo": file, "foreground": "multilevel"}, timeout=60)
        if asked.status_code == 503:
            return "refused"
        asked.raise_for_status()
        event = asked.json()["event_id"]
        listened = self.client.get(f"{call}/{event}", name=f"{call}/…", timeout=900)
        listened.raise_for_status()  # locust gives an empty answer where the connection broke
        answer = listened.text
        if "before you" in answer or "under way" in answer or "told to stop" in answer:
            return "refused"
        if "event: complete" not in answer:
            return f"lost: {answer[-200:]}"
        found = json.loads(answer.rpartition("data: ")[2])[0]
        made = self.client.get(f"/gradio_api/file={found['path']}", name="file", timeout=60)
        made.raise_for_status()
        cutout = np.asarray(Image.open(io.BytesIO(made.content)))
        return "finished" if is_cutout_of(cutout, photo) else "wrong"
