import time
from pathlib import Path

from demo.backend.leftovers import delete_old_files
from demo.web.uploads import uploaded


def test_a_file_is_kept_from_its_last_use_on(photo, tmp_path):
    written = Path(photo).stat().st_ctime
    while time.time() < written + 0.05:
        time.sleep(0.01)
    uploaded(photo)
    assert delete_old_files(tmp_path, 60, now=written + 60.01) == 0
    assert delete_old_files(tmp_path, 60, now=time.time() + 60.01) == 1
