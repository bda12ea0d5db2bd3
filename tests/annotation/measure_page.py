"""How quick the page is: opening 24 megapixels, strokes on them, the queue of 10,000 images.

Run: PYTHONPATH=. python tests/annotation/measure_page.py OUT, on a machine that does nothing else.
"""

import json
import sys
from pathlib import Path

import numpy as np
from annotation_samples import (
    DRAW_STROKES,
    make_large_dataset,
    make_many,
    service_of,
    serving,
)
from playwright.sync_api import sync_playwright

OPENING = """async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await wait(1500); // for what the last opening still does behind the scenes
  delete document.body.dataset.opened;
  annotator.queue.open(1);
  while (document.body.dataset.opened !== "1") await wait(5);
  return (performance.now() - performance.getEntriesByName("transferred").at(-1).startTime) / 1000;
}"""


def main(out: Path) -> None:
    figures: dict[str, object] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        context = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 800})
        with serving(service_of(make_large_dataset(out / "large"))) as address:
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            figures["opening of 6000x4000 after transfer, s"] = [
                page.evaluate(OPENING) for _ in range(3)
            ]
            random = np.random.default_rng(1)
            for count, size in ((60, 100), (450, 40)):
                page.evaluate(f"annotator.tools.sizes.brush = {size}")
                start = random.random((count, 2)) * [5600, 3600] + 200
                end = start + random.normal(0, 80, (count, 2))
                times = page.evaluate(DRAW_STROKES, np.stack([start, end], 1).tolist())
                figures[f"stroke of {size} px, ms: median, 95 %, longest of {count}"] = [
                    float(np.median(times)),
                    float(np.percentile(times, 95)),
                    float(np.max(times)),
                ]
            figures["history of all strokes, bytes"] = page.evaluate(
                "annotator.page.mask.historyBytes"
            )
            figures["heap, bytes"] = page.evaluate("performance.memory.usedJSHeapSize")
            page.close()
        with serving(service_of(make_many(out / "many", 10_000))) as address:
            seconds = []
            for _ in range(3):
                page = context.new_page()
                page.goto(address)
                page.wait_for_selector("body[data-ready]")
                mark = "performance.getEntriesByName('queue shown')[0].startTime"
                seconds.append(page.evaluate(mark) / 1000)
                page.close()
            figures["queue of 10,000 images shown after navigation, s"] = seconds
        browser.close()
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
