"""The load tool's own judgement, and a short run of it over the real app."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmark_data_tools.load import server
from benchmark_data_tools.load.server import Figures

ROOT = Path(__file__).parents[3]

# Locust patches sockets and threads as it is imported, which nothing else here may suffer.
_JUDGE = """
import json
import numpy as np
from benchmark_data_tools.load.visitors import is_cutout_of, own_photo

photo, other = own_photo(1), own_photo(2)
alpha = np.zeros(photo.shape[:2], np.uint8)
alpha[60:200, 80:180] = 255
nothing = np.zeros_like(alpha)
cutout = np.dstack([photo, alpha])
rounded = cutout.copy()
rounded[100, 100, :3] = 0
print(json.dumps([
    is_cutout_of(cutout, photo), is_cutout_of(rounded, photo), is_cutout_of(cutout, other),
    is_cutout_of(np.dstack([photo, nothing]), photo), is_cutout_of(cutout[:9], photo),
    bool((own_photo(1) == photo).all()),
]))
"""


def test_an_answer_is_known_from_another_visitors():
    done = subprocess.run(
        [sys.executable, "-c", _JUDGE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [True, True, False, False, False, True]


def test_figures_are_a_row():
    figures = Figures(8, 120, Counter(finished=6, refused=2), [1, 2, 3], [4, 5, 6], [(1, 900)], 0.1)
    assert figures.row() == "| 8 | 6 | 3.0 | 2.0 / 2.9 | 5.0 / 5.9 | 2 | 0 | 0 | 0 | 900 | 10% |"
    assert server.HEAD.count("|") == 2 * figures.row().count("|")


def test_what_the_app_logs_is_read():
    line = "INFO mgm.visits: photo finished: waited 0.31 s, served in 4.50 s"
    assert server._SERVED.findall(line) == [("finished", "0.31", "4.50")]


def test_an_app_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(ValueError, match="must answer, got none: error: MGM_QUEUE_SIZE must"),
        server.serve(tmp_path, {"MGM_QUEUE_SIZE": "x"}),
    ):
        pytest.fail("started")
