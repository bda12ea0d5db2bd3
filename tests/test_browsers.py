import shutil
import subprocess
from pathlib import Path


def test_what_playwright_disables_stays_disabled():
    opened = subprocess.run(
        [Path(__file__).with_name("chromium"), "--headless", "--disable-features=One,Two", "a b"],
        env={"CHROMIUM": shutil.which("echo")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert opened.stdout == (
        "--headless --disable-features=WebUIOmniboxAimPopup,WebUIOmniboxPopup,One,Two a b\n"
    )
