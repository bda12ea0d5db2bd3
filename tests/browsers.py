"""The browser of all tests of pages."""

import os
import shutil
from pathlib import Path


def launch(playwright, *flags):
    """Open Chromium, or Chrome, without a window; `playwright` is that of `sync_playwright`."""
    chromium = (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or playwright.chromium.executable_path
    )
    return playwright.chromium.launch(
        executable_path=Path(__file__).with_name("chromium"),
        env={**os.environ, "CHROMIUM": chromium},
        args=[*flags],
    )
