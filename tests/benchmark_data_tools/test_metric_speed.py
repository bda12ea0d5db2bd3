import re

import cv2
import pytest

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.metric_speed import metric_seconds


def test_every_metric_is_timed(capsys):
    threads = cv2.getNumThreads()
    assert main(["measure", "--width", "80", "--height", "60", "--repeats", "1"]) == 0
    assert cv2.getNumThreads() == threads
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("80x60")
    assert [re.sub(r" \d+\.\d+$", "", line).strip() for line in lines] == [
        "sad",
        "mse",
        "grad",
        "conn",
        "all four",
    ]


def test_all_four_take_about_as_long_as_the_four():
    seconds = metric_seconds(300, 400, 2)
    assert seconds["all four"] < 3 * sum(seconds[name] for name in ("sad", "mse", "grad", "conn"))
    assert seconds["all four"] > max(seconds["grad"], seconds["conn"]) / 2


def test_sizes_that_measure_nothing_are_refused():
    with pytest.raises(ValueError, match="repeats 1 or more, got 60, 80 and 0"):
        metric_seconds(60, 80, 0)
