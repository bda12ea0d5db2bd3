"""Who may compute, and when: a queue with shares for everyone who asks, whatever serves it.

    admission = Admission({"photo": 1, "clip": 1})
    with admission.visit(Visitor("203.0.113.7", page="a1b2")) as visit, visit.active():
        await_turn("photo")               # raises BusyError where too many wait
        matter.matte(image, guidance)     # ends early if the visitor leaves

A visit is one request. It takes no turn until it asks for one, so that what is short never waits;
it then keeps its turn until it ends. Turns go round by visitor: one who asks ten times does not
keep another waiting ten times. A visitor who left, or presses Stop, ends all visits of his page by
their token (`cancellation.py`), those that wait and those that compute.
"""

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from mgm_core.runtime.cancellation import Cancellation, TimeLimitReached, cancellable

__all__ = [
    "Admission",
    "BusyError",
    "Ended",
    "Visit",
    "Visitor",
    "await_turn",
    "briefly",
    "current_visit",
    "host_of",
    "reserve",
    "within",
]

# How often one who waits looks whether somebody cancelled, in seconds.
_LOOK_S = 0.2


def host_of(address: str) -> str:
    """Return what stands for an address in shares: an IPv6 host has all 2^64 of its network.

    >>> host_of("2001:db8::1"), host_of("::ffff:203.0.113.7"), host_of("203.0.113.7"), host_of("")
    ('2001:db8::/64', '203.0.113.7', '203.0.113.7', '')
    """
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    network = ipaddress.IPv6Network((int(found), 64), strict=False)
    return str(found.ipv4_mapped or network)


class BusyError(Exception):
    """The server has too much to do; the message says what to do about it."""


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Args:
        address: Of the network.
        page: What tells one open page from another; None where nobody can tell whether the visitor
            still waits.
    """

    address: str
    page: str | None = None

    @property
    def host(self) -> str:
        """What its address's share counts for."""
        return host_of(self.address)


@dataclass(frozen=True)
class _Place:
    """A place in a queue: the round in which it is its visitor's turn, and when it came."""

    round: int
    number: int

    @property
    def rank(self) -> tuple[int, int]:
        return self.round, self.number


@dataclass(frozen=True)
class Ended:
    """A visit that ended.

    Args:
        outcome: "finished", "failed" or "cancelled".
        lane: In which it had or awaited its turn; None where it needed none.
        waited_s: How long it waited for its turn, or to compute something short.
        served_s: How long all the rest took.
    """

    outcome: str
    lane: str | None
    waited_s: float
    served_s: float


class Visit:
    """One request of a visitor, made by `Admission.visit`.

    Args:
        admission: Where it is.
        visitor: Whose it is.
        token: Ends its work.
        began: When, by the admission's clock.
        passing: Whether the page's next wish makes it pointless.
        task: What it is part of.
    """

    def __init__(
        self,
        admission: "Admission",
        visitor: Visitor,
        token: Cancellation,
        began: float,
        *,
        passing: bool = False,
        task: str = "",
    ) -> None:
        self.visitor, self.token, self.began = visitor, token, began
        self.passing, self.task = passing, task
        self.waited_s = 0.0
        self.on_wait: Callable[[int], None] = lambda _before: None
        """Called with how many come before, whenever that changes."""
        self._admission = admission
        self._lane: str | None = None
        self._place: _Place | None = None
        self._has_turn = False

    @property
    def has_place(self) -> bool:
        """Whether it waits for its turn or has it."""
        return self._place is not None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have its token end what runs in this block, and `await_turn` wait for its turn."""
        before = _current.set(self)
        try:
            with cancellable(self.token):
                yield
        finally:
            _current.reset(before)

    def reserve(self) -> None:
        """Take a place among those who wait, if it has none yet.

        Raises:
            BusyError: All places are taken, or the server is about to stop.
        """
        self._admission._reserve(self)

    def await_turn(self, lane: str) -> None:
        """Wait for its turn, and keep it until the visit ends; nothing happens if it has one.

        Raises:
            BusyError: All places are taken.
            Cancelled: Its visitor left or stopped it.
        """
        self._admission._await_turn(self, lane)


class Admission:
    """Lets visits compute in turn. Safe for threads; nobody is kept waiting by who only asks.

    Args:
        lanes: How many visits of each kind may compute at once.
        brief: How many short pieces of work may compute at once beside them.
        places: How many visits may wait in all lanes together before others are refused.
        address_share: How many visits one address, or network of an IPv6 host, may have at once.
        page_share: How many visits one page may have at once.
        grace_s: How long a page may be gone before its visits end, in seconds; a page that follows
            its visit by a second connection is not gone in between.
        arrival_s: How long a page may take to be there at all; it gets no turn before it is.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        lanes: Mapping[str, int],
        *,
        brief: int = 2,
        places: int = 24,
        address_share: int = 12,
        page_share: int = 6,
        grace_s: float = 1.0,
        arrival_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes, self._brief, self._places = dict(lanes), brief, places
        self._address_share, self._page_share = address_share, page_share
        self._grace_s, self._arrival_s = grace_s, arrival_s
        self._clock = clock
        self._changed = threading.Condition()
        self._visits: set[Visit] = set()
        self._number = 0
        self._last_round: Counter[str] = Counter()
        self._round = 0
        self._brief_running = 0
        self._listeners: Counter[str] = Counter()
        self._gone_since: dict[str, float] = {}
        self._closed = False
        self.counts: Counter[str] = Counter()
        """How many visits were admitted, finished, failed, cancelled and refused so far."""
        self.on_end: Callable[[Ended], None] = lambda _ended: None
        """Called with each visit that ended."""

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    @property
    def running(self) -> int:
        """How many visits have their turn."""
        return sum(visit._has_turn for visit in tuple(self._visits))

    @property
    def waiting(self) -> int:
        """How many visits wait for their turn."""
        return sum(v._place is not None and not v._has_turn for v in tuple(self._visits))

    @property
    def longest_s(self) -> float:
        """For how many seconds the oldest visit has been here; 0 where there is none."""
        now = self._clock()
        return max((now - visit.began for visit in tuple(self._visits)), default=0.0)

    @contextmanager
    def visit(self, visitor: Visitor, *, passing: bool = False, task: str = "") -> Iterator[Visit]:
        """Let a visitor in for as long as the block lasts.

        Args:
            visitor: Who asks.
            passing: Whether the page's next wish makes it pointless: see `cancel`.
            task: What it is part of: see `cancel`.

        Yields:
            The visit, active nowhere yet.

        Raises:
            BusyError: The visitor has too much under way already, or the server is about to stop.
        """
        visit = self._enter(visitor, passing, task)
        outcome = "failed"
        try:
            yield visit
            outcome = "finished"
        finally:
            outcome = "cancelled" if visit.token.cancelled else outcome
            with self._changed:
                self._visits.discard(visit)
                self.counts[outcome] += 1
                if not self._visits:
                    self._last_round.clear()
                    self._round = 0
                self._changed.notify_all()
            took = self._clock() - visit.began
            self.on_end(Ended(outcome, visit._lane, visit.waited_s, took - visit.waited_s))

    @contextmanager
    def listen(self, page: str) -> Iterator[None]:
        """Tell that a page waits for what it asked for, as long as the block lasts."""
        with self._changed:
            self._listeners[page] += 1
            self._gone_since.pop(page, None)
        try:
            yield
        finally:
            with self._changed:
                self._listeners[page] -= 1
                if not self._listeners[page]:
                    del self._listeners[page]
                    self._gone_since[page] = self._clock()

    def cancel(
        self, page: str, *, only_passing: bool = False, tasks: Collection[str] | None = None
    ) -> int:
        """End visits of a page.

        Args:
            page: Whose.
            only_passing: End those alone that the page's next wish makes pointless.
            tasks: End those alone that are part of one of these.

        Returns:
            How many there were.
        """
        with self._changed:
            ended = [
                v
                for v in self._visits
                if v.visitor.page == page
                and (v.passing or not only_passing)
                and (tasks is None or v.task in tasks)
            ]
            for visit in ended:
                visit.token.cancel()
            self._changed.notify_all()
        return len(ended)

    def end_deserted(self) -> None:
        """End the visits of pages that are gone; call it often."""
        now = self._clock()
        with self._changed:
            for visit in self._visits:
                page = visit.visitor.page
                if page is None or page in self._listeners:
                    continue
                gone = self._gone_since.get(page)
                left = gone is not None and now - max(gone, visit.began) >= self._grace_s
                if left or (gone is None and now - visit.began >= self._arrival_s):
                    visit.token.cancel()
            pages = {visit.visitor.page for visit in self._visits}
            self._gone_since = {
                page: since
                for page, since in self._gone_since.items()
                if page in pages or now - since < self._arrival_s
            }
            self._changed.notify_all()

    def watch(self, every_s: float = 0.25) -> threading.Thread:
        """Start a thread that calls `end_deserted` for as long as the process lives."""

        def watch() -> None:
            while True:
                time.sleep(every_s)
                if self._visits or self._gone_since:
                    self.end_deserted()

        thread = threading.Thread(target=watch, name="admission", daemon=True)
        thread.start()
        return thread

    def close(self, seconds: float) -> int:
        """Refuse new visits and those that wait, and let those that compute finish.

        Args:
            seconds: How long they may take; what is not done then is cancelled.

        Returns:
            How many had to be cancelled while they computed.
        """
        until = self._clock() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while (left := list(self._visits)) and self._clock() < until:
                self._changed.wait(_LOOK_S)
            for visit in left:
                visit.token.cancel()
        return len(left)

    @contextmanager
    def briefly(self) -> Iterator[None]:
        """Compute something short in this block, beside those who have their turn."""
        with self._changed:
            visit, since = current_visit(), self._clock()
            while self._brief_running >= self._brief:
                self._changed.wait(_LOOK_S)
                if visit is not None:
                    visit.token.check()
            if visit is not None:
                visit.waited_s += self._clock() - since
            self._brief_running += 1
        try:
            yield
        finally:
            with self._changed:
                self._brief_running -= 1
                self._changed.notify_all()

    def _enter(self, visitor: Visitor, passing: bool, task: str) -> Visit:
        with self._changed:
            self._refuse_if_closed()
            for name, most, count in (
                (
                    "this page",
                    self._page_share,
                    sum(
                        v.visitor.page == visitor.page and not (v.passing and v.token.cancelled)
                        for v in self._visits
                    )
                    if visitor.page is not None
                    else 0,
                ),
                (
                    "your address",
                    self._address_share,
                    sum(v.visitor.host == visitor.host for v in self._visits),
                ),
            ):
                if count >= most:
                    self.counts["refused"] += 1
                    raise BusyError(
                        f"{name} must have at most {most} requests under way, got one more: wait "
                        "for one to end, or stop it"
                    )
            token = Cancellation(clock=self._clock)
            visit = Visit(self, visitor, token, self._clock(), passing=passing, task=task)
            self._visits.add(visit)
            self.counts["admitted"] += 1
        return visit

    def _refuse_if_closed(self) -> None:
        if self._closed:
            self.counts["refused"] += 1
            raise BusyError("the server must stay up to answer, got told to stop: ask again soon")

    def _reserve(self, visit: Visit) -> None:
        with self._changed:
            if visit._place is not None:
                return
            self._refuse_if_closed()
            waiting, running = self.waiting, self.running
            if waiting >= self._places + (running == 0):  # one of them is about to begin
                self.counts["refused"] += 1
                raise BusyError(
                    f"the server must have a free place, got {waiting + running} before you: try "
                    "again in a minute"
                )
            host = visit.visitor.host
            # A visitor's next turn is in the round after his last, and none is in a past round.
            self._last_round[host] = max(self._last_round[host] + 1, self._round)
            self._number += 1
            visit._place = _Place(self._last_round[host], self._number)

    def _await_turn(self, visit: Visit, lane: str) -> None:
        if lane not in self._lanes:
            raise ValueError(f"lane must be one of {', '.join(self._lanes)}, got {lane!r}")
        self._reserve(visit)
        place = visit._place
        assert place is not None
        reported, since = None, self._clock()
        while True:
            visit.token.check()
            with self._changed:
                if visit._has_turn:
                    return
                self._refuse_if_closed()
                visit._lane = lane
                same = [v for v in self._visits if v._lane == lane]
                running = sum(v._has_turn for v in same)
                earlier = sum(
                    v._place is not None
                    and not v._has_turn
                    and v._place.rank < place.rank
                    and (v.visitor.page is None or v.visitor.page in self._listeners)
                    for v in same
                )
                page = visit.visitor.page
                awaited = page is None or page in self._listeners
                if awaited and earlier < self._lanes[lane] - running:
                    visit._has_turn = True
                    visit.waited_s += self._clock() - since
                    self._round = place.round
                    return
                before = earlier + running
                if before in (0, reported):
                    self._changed.wait(_LOOK_S)
            if before not in (0, reported):
                reported = before
                visit.on_wait(before)  # without the lock: it may take long


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


def current_visit() -> Visit | None:
    """Return the visit that this code works for, if any."""
    return _current.get()


def await_turn(lane: str) -> None:
    """Wait for the current visit's turn; work that nobody visits for has it at once."""
    visit = _current.get()
    if visit is not None:
        visit.await_turn(lane)


def reserve() -> None:
    """Take a place for the current visit, before what leads up to its turn; see `Visit.reserve`."""
    visit = _current.get()
    if visit is not None:
        visit.reserve()


@contextmanager
def within(seconds: float | None, what: str) -> Iterator[None]:
    """Compute something in this block that may not take longer.

    Args:
        seconds: The limit; None for none.
        what: Names the work in the message.

    Raises:
        ValueError: It took longer.
    """
    limit = Cancellation(seconds)
    try:
        with cancellable(limit):
            yield
    except TimeLimitReached as error:
        raise ValueError(
            f"{what} must take at most {seconds:g} s, took longer: take a smaller picture, or "
            "simpler settings"
        ) from error


@contextmanager
def briefly() -> Iterator[None]:
    """Compute something short in this block: at once in one's turn, else beside the others."""
    visit = _current.get()
    if visit is None or visit._has_turn:
        yield
        return
    with visit._admission.briefly():
        yield
