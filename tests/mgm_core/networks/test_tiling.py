import itertools
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mgm_core.networks.hardware import threads_each
from mgm_core.networks.tiling import TiledRunner, on_torch, shares, spans, tiles
from mgm_core.runtime.cancellation import Cancellation, Cancelled, cancellable


class _Blur:
    """Stands for a network: a mean over 9x9 px. Counts what it is given."""

    def __init__(self):
        self.shapes = []

    def __call__(self, *planes):
        self.shapes.append(planes[0].shape)
        blurred = [cv2.blur(plane, (9, 9)) for plane in planes[0].reshape(-1, *planes[0].shape[2:])]
        return np.stack(blurred).reshape(planes[0].shape)

    @property
    def pixels(self):
        return sum(shape[2] * shape[3] for shape in self.shapes)


def runner(run, **options):
    settings = {"stride": 8, "tile_px": 64, "overlap_px": 16, "padding": "reflect", "margin_px": 8}
    return TiledRunner(run, **(settings | options))


def planes(height, width, n=1, channels=2):
    return np.random.default_rng(0).random((n, channels, height, width), dtype=np.float32)


def test_spans_are_nearly_equal_few_and_overlap_by_no_more_than_asked():
    assert spans(20, 20, 3) == [(0, 20)]
    assert spans(1080, 1024, 128) == [(0, 604), (476, 1080)]
    for length, side, overlap in itertools.product(range(21, 300, 7), (20, 33), (3, 6)):
        pieces = spans(length, side, overlap)
        assert pieces[0][0] == 0
        assert pieces[-1][1] == length
        sizes = [last - first for first, last in pieces]
        assert max(sizes) <= side
        assert max(sizes) - min(sizes) <= 1
        assert all(one[1] - two[0] == overlap for one, two in itertools.pairwise(pieces))
        assert (len(pieces) - 1) * (side - overlap) + overlap < length  # one less would not do


@pytest.mark.parametrize(("length", "side", "overlap"), [(100, 40, 10), (37, 36, 17), (20, 30, 5)])
def test_at_each_pixel_what_counts_adds_up_to_one_and_rises_from_the_ends(length, side, overlap):
    total = np.zeros(length)
    found = shares(length, side, overlap)
    assert [(span.start, span.stop) for span, _ in found] == spans(length, side, overlap)
    for number, (span, share) in enumerate(found):
        total[span] += share
        assert share.min() > 0
        if number:
            assert (np.diff(share[:overlap]) > 0).all()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_as_many_pixels_as_a_tile_has_are_one_tile():
    assert [len(axis) for axis in tiles(32, 128, 64, 8)] == [1, 1]
    assert [len(axis) for axis in tiles(32, 130, 64, 8)] == [1, 3]
    assert [len(axis) for axis in tiles(48, 56, 64, 8, 4)] == [1, 1]
    assert [len(axis) for axis in tiles(60, 60, 64, 8, 4)] == [2, 2]


def test_what_is_wanted_is_written_into_a_picture_and_the_rest_of_it_stays():
    given, wanted = planes(150, 170), np.zeros((150, 170), np.bool_)
    wanted[30:100, 20:150:3] = True
    into = np.full((1, 2, 150, 170), 7, np.float32)
    found = runner(_Blur())(given, wanted=wanted, into=into)
    assert found is into
    whole = runner(_Blur(), tile_px=512)(given)
    np.testing.assert_allclose(into[..., wanted], whole[..., wanted], atol=1e-5)
    assert (into[..., ~wanted] == 7).all()
    runner(_Blur())(given, into=into)
    np.testing.assert_allclose(into, whole, atol=1e-5)
    with pytest.raises(ValueError, match="wanted must hold a pixel, got none"):
        runner(_Blur())(given, wanted=np.zeros_like(wanted), into=into)


@pytest.mark.parametrize("padding", ["reflect", "edge"])
@pytest.mark.parametrize(
    ("size", "pads_margin"),
    # Without a margin the blur's own border follows the padding, which a tile may have less of.
    [((40, 48), True), ((50, 130), True), ((101, 163), True), ((104, 168), False)],
)
def test_tiles_give_what_the_whole_gives(size, padding, pads_margin):
    given = planes(*size, n=2)
    options = {"padding": padding, "pads_margin": pads_margin}
    whole = runner(_Blur(), tile_px=512, **options)(given)
    run = _Blur()
    tiled = runner(run, **options)(given)
    assert tiled.shape == whole.shape == given.shape
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert all(height % 8 == width % 8 == 0 for *_, height, width in run.shapes)
    assert all(height * width <= 64**2 for *_, height, width in run.shapes)


def test_the_margin_goes_on_beyond_the_picture_where_it_is_to():
    for pads_margin, size in ((True, (56, 72)), (False, (40, 56))):
        run = _Blur()
        runner(run, pads_margin=pads_margin)(planes(40, 50))
        assert run.shapes == [(1, 2, *size)]


def test_as_many_pixels_as_fit_are_one_tile_whatever_their_shape():
    run = _Blur()
    runner(run, tile_px=128)(planes(20, 400))
    assert run.shapes == [(1, 2, 40, 416)]
    # Just above one tile, a picture costs little more than one of just below it.
    below, above = _Blur(), _Blur()
    runner(below, tile_px=256)(planes(240, 240))
    runner(above, tile_px=256)(planes(248, 248))
    assert len(above.shapes) == 4
    assert above.pixels < 1.45 * below.pixels


def test_the_network_is_told_what_is_wanted():
    def run(plane, wanted):
        assert wanted.dtype == np.bool_
        return np.where(wanted, plane, np.nan)

    given, wanted = planes(150, 170), np.zeros((150, 170), np.bool_)
    wanted[30:100, 20:150:3] = True
    found = runner(run, gives_wanted=True)(given, wanted=wanted)
    np.testing.assert_allclose(found[..., wanted], given[..., wanted], rtol=1e-6)
    assert not found[..., ~wanted].any()


def test_cost_grows_with_what_is_wanted_and_not_in_steps():
    height, width = 320, 320
    given, pixels = planes(height, width), []
    for wide in range(8, width, 8):
        run, wanted = _Blur(), np.zeros((height, width), np.bool_)
        wanted[100:140, :wide] = True
        found = runner(run, context_px=4)(given, wanted=wanted)
        pixels.append(run.pixels)
        whole = runner(_Blur(), tile_px=512)(given)
        np.testing.assert_allclose(found[..., wanted], whole[..., wanted], atol=1e-5)
    assert max(after - before for before, after in itertools.pairwise(pixels)) < 2 * 64**2
    assert pixels[0] < pixels[-1] / 8
    nothing = np.zeros((height, width), np.bool_)
    with pytest.raises(ValueError, match="wanted must hold a pixel, got none"):
        runner(_Blur())(given, wanted=nothing)


def test_tiles_without_a_wanted_pixel_are_left_out():
    run, wanted = _Blur(), np.zeros((200, 200), np.bool_)
    wanted[115, 145] = True
    found = runner(run)(planes(200, 200), wanted=wanted)
    assert len(run.shapes) == 1
    assert not found[..., :92, :].any()


def test_work_is_cancelled_between_tiles():
    token, run = Cancellation(), _Blur()

    def cancelling(*given):
        token.cancel()
        return run(*given)

    with pytest.raises(Cancelled), cancellable(token):
        runner(cancelling)(planes(200, 200))
    assert len(run.shapes) == 1


def test_threads_take_turns():
    inside, most = [], []

    def run(*given):
        inside.append(1)
        time.sleep(0.01)  # others come by, if they may
        most.append(len(inside))
        inside.pop()
        return given[0]

    shared = runner(on_torch(run, torch.device("cpu")))
    threads = [threading.Thread(target=shared, args=(planes(150, 150),)) for _ in range(4)]
    with threads_each(2):  # where a thread has but one core, none waits
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(most) == {1}


def test_torch_runs_arrays_and_keeps_results_in_range():
    run = on_torch(lambda x, y: 2 * x - y, torch.device("cpu"))
    x, y = planes(8, 8), planes(8, 8)[..., ::-1].copy()
    np.testing.assert_allclose(run(x, y), (2 * x - y).clip(0, 1), atol=1e-6)


def test_settings_that_leave_no_room_are_refused():
    with pytest.raises(ValueError, match="multiple of 32 and at least 80, got 64: 1024 suits"):
        runner(_Blur(), stride=32)
    with pytest.raises(ValueError, match="between 0 and half of tile_px, got 32"):
        runner(_Blur(), overlap_px=32)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ],
)
def test_where_memory_is_short_tiles_become_smaller(error, caplog):
    blur = _Blur()

    def run(plane, most=10_000):
        if plane.shape[2] * plane.shape[3] > most:
            raise error
        return blur(plane)

    given = planes(150, 150)
    found = runner(run, tile_px=256)(given)
    assert np.abs(found - runner(_Blur(), tile_px=256)(given)).max() < 1e-5
    assert "tiles of 256 px, going on with 128" in caplog.text
    assert len(blur.shapes) > 1
    with pytest.raises(MemoryError, match="must hold a tile of 64 px, got too little: close other"):
        runner(lambda plane: run(plane, most=10))(given)


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory")
def test_a_process_without_memory_makes_tiles_smaller_and_then_says_so():
    code = (
        "import cv2, logging, resource, re\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from mgm_core.models import Models\n"
        "logging.basicConfig(format='%(message)s')\n"
        "cv2.setNumThreads(1)\n"  # each takes memory of its own
        "matter = Models(coarse_side_px=None).matter()\n"
        "image, mask = np.full((600, 600, 3), 0.5, np.float32), np.zeros((600, 600), np.float32)\n"
        "mask[200:400, 200:400] = 1\n"
        "matter.matte(image[150:250, 150:250], mask[150:250, 150:250])\n"
        "used = re.search(r'VmSize:\\s+(\\d+)', Path('/proc/self/status').read_text())\n"
        "resource.setrlimit(resource.RLIMIT_AS, (int(used[1]) * 1024 + 30_000_000,) * 2)\n"
        "matter.matte(image, mask)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "memory does not hold tiles of 2048 px, going on with 1024" in done.stderr
    assert re.search(r"MemoryError: memory must hold a tile of \d+ px, got too", done.stderr)


def test_other_errors_are_not_taken_for_short_memory():
    def run(plane):
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        runner(run)(planes(150, 150))
