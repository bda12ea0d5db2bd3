import contextvars
import threading

import numpy as np
import pytest
import torch

from mgm_core.matting.laplacian import MattingLaplacian
from mgm_core.matting.matter import Matter
from mgm_core.networks.prn import PRN
from mgm_core.runtime.cancellation import (
    Cancellation,
    Cancelled,
    TimeLimitReached,
    add_checkpoints,
    cancellable,
    checkpoint,
)
from mgm_core.segmentation import Segmenter


class After(Cancellation):
    """Cancels itself at its nth check."""

    def __init__(self, checks):
        super().__init__()
        self.left = checks

    def check(self):
        self.left -= 1
        if self.left < 0:
            self.cancel()
        super().check()


def test_work_that_nobody_cancelled_goes_on():
    checkpoint()
    with cancellable(Cancellation(seconds=60)) as token:
        checkpoint()
    assert not token.cancelled


def test_cancelled_work_ends_at_its_next_checkpoint_and_is_no_error():
    token = Cancellation()
    with cancellable(token):
        token.cancel()
        assert token.cancelled
        with pytest.raises(Cancelled):
            checkpoint()
    checkpoint()  # out of the block
    assert not issubclass(Cancelled, Exception)  # a loop that goes on after errors ends


def test_blocks_around_count_too_and_leave_again():
    outer, inner = Cancellation(), Cancellation()
    with cancellable(outer):
        with cancellable(inner):
            checkpoint()
        inner.cancel()
        checkpoint()
        with cancellable(Cancellation()):
            outer.cancel()
            with pytest.raises(Cancelled):
                checkpoint()


def test_time_that_is_up_ends_work():
    now = [0.0]
    with cancellable(Cancellation(1.5, clock=lambda: now[0])) as token:
        now[0] = 1.4
        checkpoint()
        assert not token.late
        now[0] = 1.5
        assert token.cancelled
        with pytest.raises(TimeLimitReached, match=r"longer than 1\.5 s"):
            checkpoint()


def test_threads_are_apart_unless_they_are_given_the_context():
    token, seen = Cancellation(), []

    def ask():
        try:
            checkpoint()
            seen.append("went on")
        except Cancelled:
            seen.append("ended")

    with cancellable(token):
        token.cancel()
        for target, given in ((ask, ()), (contextvars.copy_context().run, (ask,))):
            thread = threading.Thread(target=target, args=given)
            thread.start()
            thread.join()
    assert seen == ["went on", "ended"]


def checks_of(work):
    """How often work asks."""
    with cancellable(After(10**9)) as token:
        work()
    return 10**9 - token.left


def test_a_network_asks_at_every_layer_once():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Sequential(torch.nn.ReLU()))
    add_checkpoints(network)
    add_checkpoints(network)
    assert checks_of(lambda: network(torch.zeros(1, 3, 4, 4))) == 2


def test_the_solver_asks_at_every_step():
    rng = np.random.default_rng(0)
    image = rng.random((24, 24, 3), np.float32)
    where = np.ones((24, 24), np.bool_)
    where[:2] = False
    alpha = rng.random((24, 24), np.float32)
    laplacian = MattingLaplacian(image, alpha, where)
    assert checks_of(lambda: laplacian.solve([alpha], [1e-4])) > 5


def test_cutting_out_ends_wherever_it_is():
    torch.manual_seed(0)
    matter = Matter(PRN("mobilenet_v2"), device="cpu", dtype="float32", tile_px=256, overlap_px=64)
    image = np.full((40, 300, 3), 0.5, np.float32)
    guidance = np.zeros((40, 300), np.float32)
    guidance[10:30, 100:200] = 1
    count = checks_of(lambda: matter.matte(image, guidance))
    assert count > 150
    for checks in (0, 1, count // 2, count - 1):
        with pytest.raises(Cancelled), cancellable(After(checks)):
            matter.matte(image, guidance)
    assert np.isfinite(matter.matte(image, guidance).alpha).all()  # no lock is left taken


def test_looking_for_the_subject_ends_too():
    segmenter = Segmenter.load(device="cpu", dtype="float32")
    image = np.full((64, 64, 3), 0.5, np.float32)
    with pytest.raises(Cancelled), cancellable(After(20)):
        segmenter.probability(image)
