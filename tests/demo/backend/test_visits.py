import asyncio
import errno
import inspect
from types import SimpleNamespace

import cv2
import gradio as gr
import pytest
from gradio.context import LocalContext

from demo.backend.visits import LANES, Visits, report_waiting, sentence
from mgm_core.runtime.admission import Admission, BusyError, Visitor, await_turn, current_visit
from mgm_core.runtime.cancellation import checkpoint


@pytest.fixture
def visits():
    made = Visits(Admission(LANES, page_share=1))
    with made.admission.listen("a1"):
        yield made


@pytest.fixture(autouse=True)
def _asked_by_a_visitor():
    request = SimpleNamespace(client=SimpleNamespace(host="203.0.113.7"), session_hash="a1")
    before = LocalContext.request.set(request)
    yield
    LocalContext.request.reset(before)


def steps(first: int, progress: gr.Progress = None):
    """Say who asks."""
    for number in range(first, first + 3):
        checkpoint()
        yield number, current_visit().visitor


def test_a_handler_is_a_visit_from_its_first_step_to_its_last(visits):
    handler = visits.of(steps)
    assert inspect.isgeneratorfunction(handler)
    assert (inspect.signature(handler), handler.__doc__) == (
        inspect.signature(steps),
        "Say who asks.",
    )
    running = handler(5)
    assert next(running) == (5, Visitor("203.0.113.7", "a1"))
    assert current_visit() is None
    with pytest.raises(gr.Error, match="This page must have at most 1 requests under way"):
        list(handler(5))
    assert [number for number, _ in running] == [6, 7]
    assert len(list(handler(5))) == 3
    assert visits.admission.counts == {"admitted": 2, "refused": 1, "finished": 2}


def test_what_is_no_generator_is_a_visit_too(visits):
    def double(number):
        await_turn("photo")
        return 2 * number, current_visit().visitor.page

    assert visits.of(double)(4) == (8, "a1")


def test_stop_ends_the_own_page_alone(visits):
    running = visits.of(steps)(0)
    next(running)
    visits.stop("cut out")(SimpleNamespace(session_hash="b2"))
    assert next(running)[0] == 1
    visits.stop("cut out")(SimpleNamespace(session_hash="a1"))
    with pytest.raises(gr.Error) as stopped:
        next(running)
    assert not stopped.value.visible
    assert visits.admission.counts["cancelled"] == 1


def test_stop_ends_its_own_task_alone(visits):
    visits = Visits(Admission(LANES, page_share=2))
    cutting_out, batch = visits.of(steps)(0), visits.of(steps, task="batch")(0)
    next(cutting_out)
    next(batch)
    visits.stop("cut out")(SimpleNamespace(session_hash="a1"))
    assert len(list(batch)) == 2
    with pytest.raises(gr.Error, match="Stopped"):
        next(cutting_out)


def test_the_next_wish_ends_what_is_passing_and_nothing_else(visits):
    visits = Visits(Admission(LANES, page_share=2))
    with visits.admission.listen("a1"):
        staying, looked_at = visits.of(steps)(0), visits.of(steps, passing=True)(0)
        next(staying)
        next(looked_at)
        asyncio.run(visits.outdate(SimpleNamespace(session_hash="b2")))
        assert next(looked_at)[0] == 1
        asyncio.run(visits.outdate(SimpleNamespace(session_hash="a1")))
        # What ends counts no more, although it has not noticed yet; and it ends without an error.
        assert len(list(visits.of(steps, passing=True)(0))) == 3
        assert list(looked_at) == []
        assert [number for number, _ in staying] == [1, 2]


def test_what_was_being_made_when_the_next_wish_came_is_not_shown(visits):
    def slow_steps():
        yield "guidance"
        visits.admission.cancel("a1", only_passing=True)  # as `outdate`, and no checkpoint comes
        yield "cut-out"

    assert list(visits.of(slow_steps, passing=True)()) == ["guidance"]
    assert visits.admission.counts["cancelled"] == 1


def test_what_gradio_does_not_queue_has_the_share_of_its_address_alone():
    admission = Admission(LANES, page_share=1, address_share=3, grace_s=0)
    # No connection tells of the page, which is taken for gone.
    with admission.listen("a1"):
        pass
    visits, seen = Visits(admission), []

    def read(left):
        seen.append(current_visit().visitor)
        admission.end_deserted()
        checkpoint()
        return visits.of(read, queued=False)(left - 1) if left else "read"

    assert visits.of(read, queued=False)(2) == "read"
    assert set(seen) == {Visitor("203.0.113.7")}
    with pytest.raises(gr.Error, match="Your address must have at most 3 requests under way"):
        visits.of(read, queued=False)(3)


def test_a_handler_that_gradio_drops_leaves_nothing_behind(visits):
    ended = []

    def handler():
        try:
            yield 1
        finally:
            ended.append(True)

    running = visits.of(handler)()
    next(running)
    running.close()
    assert ended == [True]
    assert list(visits.of(handler)()) == [1]  # its share is free again


@pytest.mark.parametrize(
    ("error", "title", "message"),
    [
        (
            ValueError("<b> must be y, got z: do"),
            "That did not work",
            "&lt;b&gt; must be y",
        ),
        (
            BusyError("the server must x, got 3 before you: y"),
            "Busy",
            "The server must x",
        ),
        (gr.Error("As it is", title="Own"), "Own", "As it is"),
        (MemoryError(), "Too large", "The server's memory must be enough"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Too large", "The server's m"),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"), "Too large", "The ser"),
        (OSError(errno.ENOSPC, "No space left", "/tmp/x"), "No room", "The server's disk must"),
    ],
)
def test_refusals_reach_the_visitor(visits, error, title, message):
    def handler():
        raise error

    with pytest.raises(gr.Error) as reports:
        visits.of(handler)()
    assert reports.value.title == title
    assert reports.value.message.startswith(message)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), FileNotFoundError(2, "x")])
def test_our_own_faults_do_not(visits, error):
    def handler():
        raise error

    with pytest.raises(type(error)):
        visits.of(handler)()


def test_who_waits_is_told_how_many_come_before(visits):
    reports = []

    def handler():
        report_waiting(lambda share, text: reports.append((share, text)), 0.4)
        current_visit().on_wait(3)

    visits.of(handler)()
    assert reports == [(0.4, "Waiting: 3 before you")]
    report_waiting(reports.append, 0)  # nobody's


def test_messages_become_sentences():
    assert sentence("x must be y, got z: do") == "X must be y, got z. Do."
