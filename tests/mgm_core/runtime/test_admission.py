import threading
import time
from contextlib import ExitStack, nullcontext

import pytest

from mgm_core.runtime.admission import (
    Admission,
    BusyError,
    Visitor,
    await_turn,
    briefly,
    current_visit,
    reserve,
    within,
)
from mgm_core.runtime.cancellation import Cancelled, checkpoint


def until(so):
    """Wait for other threads."""
    for _ in range(1000):
        if so():
            return
        time.sleep(0.01)
    pytest.fail("did not come about")


class Asking:
    """A visit in a thread of its own, which keeps its turn until the test ends it."""

    def __init__(self, admission, visitor, lane="photo"):
        self.admission, self.visitor, self.lane = admission, visitor, lane
        self.entered, self.has_turn, self.may_end = (threading.Event() for _ in range(3))
        self.reports, self.outcome, self.visit = [], None, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.entered.wait(10)
        until(lambda: self.outcome is not None or self.visit._lane is not None)

    def _run(self):
        try:
            with (
                self.admission.listen(self.visitor.page),
                self.admission.visit(self.visitor) as visit,
                visit.active(),
            ):
                visit.on_wait = self.reports.append
                self.visit = visit
                reserve()
                self.entered.set()
                await_turn(self.lane)
                self.has_turn.set()
                while not self.may_end.wait(0.01):
                    checkpoint()
            self.outcome = "finished"
        except (BusyError, Cancelled) as error:
            self.outcome = error
        finally:
            self.entered.set()

    def end(self):
        self.may_end.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.outcome


def visitor(name):
    return Visitor(name, f"page of {name}")


def test_one_computes_and_the_others_wait_and_are_told_how_many_come_before():
    admission = Admission({"photo": 1})
    first, second, third = (Asking(admission, visitor(name)) for name in "abc")
    assert first.has_turn.wait(10)
    assert (admission.running, admission.waiting) == (1, 2)
    assert not second.has_turn.is_set()
    assert first.end() == "finished"
    assert second.has_turn.wait(10)
    until(lambda: third.reports == [2, 1])
    assert second.end() == third.end() == "finished"
    assert first.reports == []
    assert second.reports == [1]
    assert admission.counts == {"admitted": 3, "finished": 3}


def test_lanes_do_not_wait_for_each_other():
    admission = Admission({"photo": 1, "clip": 1})
    asking = [Asking(admission, visitor("a"), lane) for lane in ("clip", "photo")]
    assert all(each.has_turn.wait(10) for each in asking)
    assert [each.end() for each in asking] == ["finished"] * 2


def test_turns_go_round_by_address():
    admission = Admission({"photo": 1})
    running = Asking(admission, visitor("a"))
    assert running.has_turn.wait(10)
    greedy = [Asking(admission, visitor("a")) for _ in range(3)]
    late = Asking(admission, visitor("b"))
    order = []
    for _ in range(4):
        running.end()
        waiting = [each for each in (*greedy, late) if each not in order]
        running = next_turn(waiting)
        order.append(running)
    running.end()
    assert order == [late, *greedy]


def next_turn(waiting):
    while True:
        for each in waiting:
            if each.has_turn.wait(0.01):
                return each


def test_who_comes_when_all_places_are_taken_is_told_how_many_come_before():
    admission = Admission({"photo": 1}, places=2)
    first = Asking(admission, visitor("a"))
    assert first.has_turn.wait(10)
    others = [Asking(admission, visitor(name)) for name in "bc"]
    refused = Asking(admission, visitor("d"))
    assert str(refused.end()) == (
        "the server must have a free place, got 3 before you: try again in a minute"
    )
    assert admission.counts["refused"] == 1
    for each in (first, *others):
        assert each.end() == "finished"
    assert Asking(admission, visitor("d")).end() == "finished"


def test_pages_and_addresses_have_shares():
    admission = Admission({"photo": 1}, page_share=2, address_share=3)
    with ExitStack() as stack:
        for page in ("x", "x", "y"):
            stack.enter_context(admission.visit(Visitor("a", page)))
        with (
            pytest.raises(BusyError, match="this page must have at most 2 requests"),
            admission.visit(Visitor("b", "x")),
        ):
            pass
        with (
            pytest.raises(BusyError, match="your address must have at most 3 requests"),
            admission.visit(Visitor("a", "z")),
        ):
            pass
        with admission.visit(Visitor("b", "z")):
            pass
    with admission.visit(Visitor("a", "x")):
        pass


@pytest.mark.parametrize(
    ("other", "is_the_same"),
    [("2001:db8::2", True), ("2001:db8:0:1::1", False), ("203.0.113.7", False), ("", False)],
)
def test_an_ipv6_host_has_one_share_for_all_its_addresses(other, is_the_same):
    admission = Admission({"photo": 1}, address_share=1)
    refused = pytest.raises(BusyError, match="your address") if is_the_same else nullcontext()
    with admission.visit(Visitor("2001:db8::1")), refused, admission.visit(Visitor(other)):
        pass


def test_turns_go_round_by_ipv6_host():
    admission = Admission({"photo": 1})
    ranks = []
    with ExitStack() as stack:
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            visit = stack.enter_context(admission.visit(Visitor(address)))
            visit.reserve()
            ranks.append(visit._place.round)
    assert ranks == [1, 2, 1]


def test_stop_ends_what_computes_and_what_waits_on_one_page():
    admission = Admission({"photo": 1})
    computing, waiting, other = (Asking(admission, visitor(name)) for name in "aab")
    assert computing.has_turn.wait(10)
    assert admission.cancel("page of a") == 2
    assert other.has_turn.wait(10)
    for each in (computing, waiting):
        each.thread.join(10)
        assert isinstance(each.outcome, Cancelled)
    assert other.end() == "finished"
    assert admission.counts["cancelled"] == 2


def test_visits_of_a_page_that_left_end_unless_it_comes_back_at_once():
    now = [0.0]
    admission = Admission({"photo": 1}, grace_s=1, arrival_s=10, clock=lambda: now[0])
    with (
        admission.visit(Visitor("a", "here")) as here,
        admission.visit(Visitor("a", "never came")) as never,
        admission.visit(Visitor("a", None)) as program,
    ):
        with admission.listen("here"):
            now[0] = 9.9
            admission.end_deserted()
            assert not never.token.cancelled
            now[0] = 10
            admission.end_deserted()
            assert never.token.cancelled
            now[0] = 100
            admission.end_deserted()
        now[0] = 100.9
        admission.end_deserted()
        with admission.listen("here"):
            now[0] = 200
            admission.end_deserted()
        with admission.visit(Visitor("a", "here")) as begun_later:
            assert not here.token.cancelled
            now[0] = 200.9
            admission.end_deserted()
            assert not here.token.cancelled
            now[0] = 201
            admission.end_deserted()
            assert here.token.cancelled
            assert begun_later.token.cancelled
        assert not program.token.cancelled


def test_closing_lets_those_who_compute_finish_and_nobody_else_in():
    admission = Admission({"photo": 1})
    computing, waiting = (Asking(admission, visitor(name)) for name in "ab")
    assert computing.has_turn.wait(10)
    threading.Timer(0.1, computing.may_end.set).start()
    assert admission.close(10) == 0
    assert computing.end() == "finished"
    waiting.thread.join(10)
    assert isinstance(waiting.outcome, BusyError)
    assert "got told to stop: ask again soon" in str(waiting.outcome)
    with pytest.raises(BusyError, match="got told to stop"), admission.visit(visitor("c")):
        pass


def test_closing_does_not_wait_for_long():
    admission = Admission({"photo": 1})
    computing = Asking(admission, visitor("a"))
    assert computing.has_turn.wait(10)
    assert admission.close(0) == 1
    computing.thread.join(10)
    assert isinstance(computing.outcome, Cancelled)


def test_brief_work_is_limited_beside_turns_and_free_within_one():
    admission = Admission({"photo": 1}, brief=1)
    long = Asking(admission, visitor("a"))
    assert long.has_turn.wait(10)
    reached, may_end = threading.Event(), threading.Event()

    def segment():
        with admission.visit(visitor("b")) as visit, visit.active(), briefly():
            reached.set()
            assert may_end.wait(10)

    thread = threading.Thread(target=segment, daemon=True)
    thread.start()
    assert reached.wait(10)
    with admission.visit(visitor("c")) as visit, visit.active():
        visit.token.cancel()
        with pytest.raises(Cancelled), briefly():
            pytest.fail("two at once")
    may_end.set()
    thread.join(10)
    with admission.visit(visitor("c")) as visit, visit.active(), briefly():
        pass
    long.end()
    with admission.visit(Visitor("a")) as visit, visit.active():
        await_turn("photo")
        with briefly(), briefly():
            pass


def test_who_is_not_there_gets_no_turn_and_keeps_nobody_waiting():
    admission = Admission({"photo": 1})
    got = threading.Event()

    def ask():
        with admission.visit(Visitor("a", "not there yet")) as visit, visit.active():
            await_turn("photo")
            got.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    until(lambda: admission.waiting == 1)
    later = Asking(admission, visitor("b"))
    assert later.has_turn.wait(10)
    assert later.end() == "finished"
    assert not got.is_set()
    with admission.listen("not there yet"):
        assert got.wait(10)
    thread.join(10)


def test_without_a_visit_work_goes_on_as_ever():
    assert current_visit() is None
    reserve()
    await_turn("photo")
    with briefly():
        pass


def test_ended_visits_are_told_of():
    admission = Admission({"photo": 1}, clock=iter(range(100)).__next__)
    ended = []
    admission.on_end = ended.append
    with admission.visit(Visitor("a")) as visit, visit.active():
        await_turn("photo")
    with pytest.raises(KeyError), admission.visit(visitor("a")):
        raise KeyError
    assert [(each.outcome, each.lane) for each in ended] == [
        ("finished", "photo"),
        ("failed", None),
    ]
    assert ended[0].waited_s > 0
    assert ended[0].served_s > 0


def test_work_that_takes_too_long_is_refused_in_words():
    with (
        pytest.raises(ValueError, match="a photo must take at most 0 s, took longer: take a small"),
        within(0, "a photo"),
    ):
        checkpoint()
    with within(None, "a photo"):
        checkpoint()


def test_unknown_lanes_are_refused():
    admission = Admission({"photo": 1})
    with (
        admission.visit(visitor("a")) as visit,
        pytest.raises(ValueError, match="lane must be one of photo, got 'clip'"),
    ):
        visit.await_turn("clip")


def test_the_oldest_visit_counts_from_when_it_came():
    now = [0.0]
    admission = Admission({"photo": 1}, clock=lambda: now[0])
    assert admission.longest_s == 0
    with admission.visit(Visitor("a", "1")):
        now[0] = 70.0
        with admission.visit(Visitor("b", "2")):
            now[0] = 75.0
            assert admission.longest_s == 75
    assert admission.longest_s == 0
