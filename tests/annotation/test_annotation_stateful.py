"""Several people at random: what was acknowledged is never lost, and no rule is broken.

Each save paints one pixel of its own, so that a mask tells whose strokes it holds.
"""

import contextlib
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from annotation_samples import make_dataset
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import PAINTED, Conflict, Entry, Event, Revision
from benchmark_data_tools.annotation.storage.verify import verify
from benchmark_data_tools.annotation.team import leases, passes, states

SIDE = 16
PEOPLE = {
    name: User(name, role)
    for name, role in {
        "ann": "annotator",
        "bob": "annotator",
        "eve": "reviewer",
        "rex": "reviewer",
        "ada": "admin",
    }.items()
}
ENTRIES = (1, 2)  # the two passes of one image
people = st.sampled_from(sorted(PEOPLE))
entries = st.sampled_from(ENTRIES)


class Team(RuleBasedStateMachine):
    """People who save, settle, restore, review and undo, in any order."""

    new_store = None  # makes the dataset in a folder

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.dataset = Path(self.folder.name) / "portraits"
        self.store = self.new_store(self.dataset)
        self.now = 1000.0
        self.began = self.now
        self.store.clock = lambda: self.now
        self.strokes = itertools.count()
        self.owed = {entry: {} for entry in ENTRIES}  # pixel -> who must still have it
        # What each person's page shows: the revision it draws on, and its pixels.
        self.pages = {(e, p): (0, frozenset()) for e in ENTRIES for p in PEOPLE}
        self.looked = {entry: set() for entry in ENTRIES}
        self.known = {}  # (entry, revision) -> its pixels
        self.given = {}  # entry -> whom a reviewer gave it

    def teardown(self):
        assert verify(self.store) == []
        self.store.engine.dispose()
        self.folder.cleanup()

    # --- What a mask holds -------------------------------------------------------------------

    def pixels(self, entry, number):
        if (entry, number) not in self.known:  # revisions never change
            mask = self.store.mask(entry, number) if number else np.zeros(0)
            self.known[entry, number] = frozenset(np.flatnonzero(mask).tolist())
        return self.known[entry, number]

    @staticmethod
    def mask(pixels):
        mask = np.zeros(SIDE * SIDE, np.uint8)
        mask[list(pixels)] = 255
        return mask.reshape(SIDE, SIDE)

    def decided(self, entry, number, shown):
        """Whoever replaced a head has seen what they dropped: nobody owes it any more."""
        after = self.pixels(entry, number)
        for pixel in shown - after:
            self.owed[entry].pop(pixel, None)

    # --- Steps -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1.0, 20.0, 100.0)))
    def wait(self, seconds):
        self.now += seconds

    @rule(entry=entries, who=people)
    def look(self, entry, who):
        """Load the head into the page, as the page does when it opens an entry."""
        self.load(entry, who, self.store.entry(entry).head)

    @rule(entry=entries, who=people, data=st.data())
    def look_at_a_conflict(self, entry, who, data):
        """Load what waits beside the head, which a program may draw on too."""
        conflicts = self.store.open_conflicts(entry)
        if conflicts:
            self.load(entry, who, data.draw(st.sampled_from(conflicts)).stale)

    def load(self, entry, who, number):
        try:
            passes.entry_for(self.store, entry, PEOPLE[who])
        except StoreError:
            return
        if number:
            self.store.sight(entry, PEOPLE[who])
            self.looked[entry].add(who)
        self.pages[entry, who] = (number, self.pixels(entry, number))

    @rule(entry=entries, who=people)
    def take(self, entry, who):
        try:
            leases.take(self.store, entry, PEOPLE[who], who[0] * 32)
        except StoreError:
            return
        assert leases.holder(self.store, entry).holder == who

    @rule(entry=entries, who=people)
    def leave(self, entry, who):
        leases.release(self.store, entry, who[0] * 32)

    @rule(
        entry=entries,
        who=people,
        erases=st.booleans(),
        claimed=st.sampled_from((0.0, 9e5)),
        copies=st.sampled_from((False, False, True)),
    )
    def draw(self, entry, who, erases, claimed, copies=False):
        """Save on what the page shows, which may be stale; or the head's very pixels."""
        base, shown = self.pages[entry, who]
        drawn = frozenset([next(self.strokes) % (SIDE * SIDE)])
        dropped = frozenset([min(shown)]) if erases and shown else frozenset()
        if copies and (head := self.store.entry(entry).head):
            drawn, dropped = frozenset(), shown - self.pixels(entry, head)
            pixels = self.pixels(entry, head)
        else:
            pixels = (shown - dropped) | drawn
        lease = leases.holder(self.store, entry)
        old_head = self.store.entry(entry).head
        before = {c.id: c.stale for c in self.store.open_conflicts(entry)}
        own_branch = self.branch_of(entry, who, before)
        draft = Draft(self.mask(pixels), PEOPLE[who], base, active_seconds=claimed)
        try:
            saved = self.store.save(entry, draft)
        except StoreError:
            assert who in self.barred(entry), "only who knows the other pass may not save"
            return
        assert who not in self.barred(entry)
        if lease is not None and lease.holder != who:
            assert saved.head == old_head, "another's save went onto the head"
        if base != old_head:
            assert saved.conflict is not None or self.pixels(entry, old_head) == pixels
        if saved.conflict is None:
            assert own_branch not in {c.id for c in self.store.open_conflicts(entry)}
        elif own_branch is not None:
            assert saved.conflict == own_branch, "drawn on in a conflict, and another was opened"
        elif saved.conflict in before:
            stale = before[saved.conflict]
            again = self.store.revision(entry, stale).author == who
            again &= self.pixels(entry, stale) == pixels
            assert again, "went on with another's conflict"
        self.owed[entry] |= dict.fromkeys(drawn, who)
        for pixel in dropped:
            # Undone in this copy; what another copy holds is owed there no longer either.
            self.owed[entry].pop(pixel, None)
        self.pages[entry, who] = (saved.number, pixels)

    def branch_of(self, entry, who, conflicts):
        """The open conflict that a person draws on in: its revision is theirs, and shown."""
        base, _ = self.pages[entry, who]
        for number, stale in conflicts.items():
            if stale == base and self.store.revision(entry, stale).author == who:
                return number
        return None

    @rule(entry=entries, who=people, data=st.data(), late=st.booleans())
    def settle(self, entry, who, data, late):
        conflicts = self.store.open_conflicts(entry)
        if not conflicts:
            return
        chosen = data.draw(st.lists(st.sampled_from(conflicts), min_size=1, unique=True))
        take = data.draw(st.sampled_from(("head", "stale", "union")))
        head = self.store.entry(entry).head
        seen_head = max(0, head - 1) if late else head
        parts = [self.pixels(entry, c.stale) for c in chosen]
        base = self.pixels(entry, seen_head)
        shown = base.union(*parts)
        pixels = {"head": base, "stale": frozenset().union(*parts), "union": shown}[take]
        stale = {c.id: c.stale for c in chosen}
        try:
            saved = self.store.settle(
                entry, self.mask(pixels), author=PEOPLE[who], head=seen_head, stale=stale
            )
        except StoreError:
            return
        assert seen_head == head, "settled against a head that was not shown"
        self.decided(entry, saved.number, shown)

    @rule(entry=entries, who=people, data=st.data())
    def restore(self, entry, who, data):
        revisions = self.store.revisions(entry)
        if not revisions:
            return
        head = self.store.entry(entry).head
        number = data.draw(st.sampled_from([r.number for r in revisions]))
        try:
            saved = self.store.restore(entry, number, author=PEOPLE[who], head=head)
        except StoreError:
            return
        self.decided(entry, saved.number, self.pixels(entry, head))

    @rule(
        entry=entries,
        who=people,
        state=st.sampled_from(("done", "in_review", "accepted", "returned", "skipped", "in_work")),
    )
    def move(self, entry, who, state):
        lease = leases.holder(self.store, entry)
        try:
            states.move(self.store, entry, state, PEOPLE[who], "a comment")
        except StoreError:
            return
        assert lease is None or lease.holder == who, "moved under another's lease"
        if state in ("in_review", "accepted", "returned"):
            moved = self.store.entry(entry)
            assert who not in self.makers(entry) | {moved.assignee}, "judged their own work"
            assert PEOPLE[who].reviews

    def makers(self, entry):
        """Who painted, or made the head's pixels; saving a page's pixels again is neither."""
        head = self.pixels(entry, self.store.entry(entry).head)
        names = set()
        for revision in self.store.revisions(entry):
            pixels = self.pixels(entry, revision.number)
            decides = revision.kind in ("restore", "resolve")
            again = revision.parent and self.pixels(entry, revision.parent) == pixels
            if (decides or not again) and (revision.kind in PAINTED or pixels == head):
                names.add(revision.author)
        return names

    @rule(
        entry=entries,
        labeller=people,
        assignee=st.sampled_from((None, *sorted(PEOPLE))),
        judge=st.sampled_from(sorted(name for name, user in PEOPLE.items() if user.reviews)),
        verdict=st.sampled_from(("accepted", "returned")),
        restores=st.booleans(),
    )
    def hand_in_and_judge(self, entry, labeller, assignee, judge, verdict, restores):
        """The whole way of an image, which single steps seldom go to its end."""
        self.finish(entry, labeller)
        if assignee is not None:
            self.assign(entry, "ada", assignee)
        head = self.store.entry(entry).head
        if restores and head:
            with contextlib.suppress(StoreError):
                self.store.restore(entry, head, author=PEOPLE[judge], head=head)
            self.move(entry, labeller, "done")
        self.move(entry, judge, "in_review")
        self.move(entry, judge, verdict)

    @rule(entry=entries, who=people)
    def finish(self, entry, who):
        """Label and hand in, as most days go."""
        self.now += 100  # the other's lease ends
        self.look(entry, who)
        self.draw(entry, who, False, 0.0)
        self.move(entry, who, "done")

    @rule(entry=entries, by=people, who=people)
    def assign(self, entry, by, who):
        try:
            states.assign(self.store, entry, PEOPLE[by], who)
        except StoreError:
            return
        self.given[entry] = who

    @rule()
    def end_lapsed(self):
        """Somebody looks at the queue."""
        leases.end_lapsed(self.store)
        for entry in map(self.store.entry, ENTRIES):
            lease = leases.holder(self.store, entry.id)
            held = lease is not None and lease.holder == entry.assignee
            assert held or not entry.taken, "a lease that ended left its image taken"

    def barred(self, entry):
        """Who knows the other pass: they labelled it, were given it, or looked at it."""
        (other,) = set(ENTRIES) - {entry}
        authors = {r.author for r in self.store.revisions(other)}
        return authors | self.looked[other] | {self.store.entry(other).assignee}

    def has_worked(self, entry):
        authors = (
            select(table.author).where(table.entry_id == entry.id) for table in (Revision, Event)
        )
        with self.store.reading() as session:
            return any(entry.assignee in session.scalars(query) for query in authors)

    # --- What always holds -------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_and_every_rule_holds(self):
        with self.store.reading() as session:
            entries = list(session.scalars(select(Entry).order_by(Entry.id)))
            revisions = list(session.scalars(select(Revision)))
            conflicts = list(
                session.scalars(select(Conflict).where(Conflict.resolved_by.is_(None)))
            )
        for entry in entries:
            if entry.id in self.given:
                assert entry.assignee == self.given[entry.id], "a reviewer's assignment is gone"
            elif entry.assignee is not None and not entry.taken:
                assert self.has_worked(entry), "an image that was opened alone is not free"
            pixels = self.pixels(entry.id, entry.head)
            for conflict in conflicts:
                if conflict.entry_id == entry.id:
                    pixels |= self.pixels(entry.id, conflict.stale)
            assert self.owed[entry.id].keys() <= pixels, "an acknowledged stroke is lost"
        first, second = ({r.author for r in revisions if r.entry_id == e} for e in ENTRIES)
        assert not first & second, "one person labelled both passes"
        for who in PEOPLE:
            seconds = sum(r.active_seconds for r in revisions if r.author == who)
            assert seconds <= self.now - self.began, "more work than time has passed"
        if entries[0].state in FINISHED:
            published = self.dataset / "detailmap" / "portrait_0_cloud_trimap.png"
            file = next(r.file for r in revisions if (r.entry_id, r.number) == (1, entries[0].head))
            head = self.dataset / "annotation" / "revisions" / file
            assert published.read_bytes() == head.read_bytes(), "what is published is not the head"


def make(folder, url=None):
    store = Store.create(make_dataset(folder, sizes=((SIDE, SIDE),)), database=url)[0]
    passes.add_second_pass(store, 100)
    return store


def run(new_store, examples):
    class OnDatabase(Team):
        pass

    OnDatabase.new_store = staticmethod(new_store)
    budget = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(OnDatabase, settings=budget)


def test_nothing_is_lost_and_no_rule_is_broken_on_sqlite(tmp_path):
    make(tmp_path / "template").engine.dispose()

    def copy(folder):
        shutil.copytree(tmp_path / "template", folder)
        return Store.open(folder)

    run(copy, 20)


def test_nothing_is_lost_and_no_rule_is_broken_on_postgresql(postgres):
    template, create = postgres
    names = (f"team_{n}" for n in itertools.count())

    def fresh(folder):
        create(name := next(names))
        return make(folder, template % name)

    run(fresh, 5)
