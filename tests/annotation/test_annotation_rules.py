"""What holds for a team, whoever asks the store: reviews, passes, leases, time, conflicts."""

import numpy as np
import pytest
from annotation_samples import mask_of, save

from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.errors import (
    ChangedError,
    ForbiddenError,
    HeldError,
    StoreError,
    UnknownError,
)
from benchmark_data_tools.annotation.storage.masks import encode_mask
from benchmark_data_tools.annotation.storage.people import ALONE, User, program
from benchmark_data_tools.annotation.storage.rules import LEASE_SECONDS
from benchmark_data_tools.annotation.team import agreement, leases, passes, progress, queue, states
from benchmark_data_tools.annotation.team.queue import Filter

ANN, BOB = User("ann", "annotator"), User("bob", "annotator")
EVE, ADA = User("eve", "reviewer"), User("ada", "admin")
EMPTY = np.zeros((30, 40), np.uint8)


def dot(*columns):
    """A mask of the first image with single columns painted."""
    mask = EMPTY.copy()
    mask[:, list(columns)] = 255
    return mask


@pytest.fixture
def clock(store):
    now = [1000.0]
    store.clock = lambda: now[0]
    return now


# --- Conflicts -------------------------------------------------------------------------------


def test_settling_compares_with_the_head_that_was_shown(store):
    save(store, 1, dot(1), "ann", 0)
    stale = save(store, 1, dot(2), "bob", 0)
    save(store, 1, dot(1, 3), "ann", 1)
    seen = {"head": 1, "stale": {stale.conflict: 2}}
    with pytest.raises(ChangedError, match="head must be the one that was shown, revision 1, got"):
        store.settle(1, dot(1, 2), author=ANN, **seen)
    assert store.entry(1).head == 3
    assert len(store.open_conflicts(1)) == 1
    settled = store.settle(1, dot(1, 2, 3), author=ANN, head=3, stale=seen["stale"])
    np.testing.assert_array_equal(store.mask(1, settled.head), dot(1, 2, 3))
    assert store.open_conflicts(1) == []


@pytest.mark.parametrize("base", [1, 7])
def test_a_save_upon_what_a_restored_server_lacks_lies_beside_the_head(store, base):
    save(store, 1, dot(1), "ann", 0)
    drawn = save(store, 1, dot(2), "ann", base, base_save="f" * 32)
    assert (drawn.head, store.entry(1).head) == (1, 1)
    assert [c.stale for c in store.open_conflicts(1)] == [drawn.number]
    on = store.revision(1, drawn.number).save_id
    again = save(store, 1, dot(2, 3), "ann", drawn.number, base_save=on)
    assert again.conflict == drawn.conflict
    known = save(store, 1, dot(4), "ann", 1, base_save=store.revision(1, 1).save_id)
    assert (known.head, known.conflict) == (known.number, None)


def test_what_is_drawn_on_in_a_conflict_stays_in_it(store):
    save(store, 1, dot(1), "ann", 0)
    first = save(store, 1, dot(2), "bob", 0)
    later = save(store, 1, dot(2, 4), "bob", first.number)
    assert later.conflict == first.conflict
    (conflict,) = store.open_conflicts(1)
    assert (conflict.head, conflict.stale) == (1, 3)
    with pytest.raises(ChangedError, match="conflict must be as it was shown, with revision 2"):
        store.settle(1, dot(2), author=ANN, head=1, stale={conflict.id: 2})
    # Another's save on that branch is their own conflict.
    others = save(store, 1, dot(2, 5), "cyd", 3)
    assert others.conflict != first.conflict
    assert len(store.open_conflicts(1)) == 2


def test_sixteen_stale_saves_are_settled_in_one_go(store):
    save(store, 1, dot(0), "ann", 0)
    stale = {}
    for n in range(1, 17):
        saved = save(store, 1, dot(n), f"p{n}", 0)
        stale[saved.conflict] = saved.number
    assert len(stale) == 16
    settled = store.settle(1, dot(*range(17)), author=ANN, head=1, stale=stale)
    assert store.open_conflicts(1) == []
    assert store.entry(1).head == settled.number
    with pytest.raises(UnknownError, match="conflict must be an open one"):
        store.settle(1, dot(0), author=ANN, head=settled.number, stale=stale)


def test_restoring_compares_with_the_head_that_was_shown(store):
    save(store, 1, dot(1), "ann", 0)
    save(store, 1, dot(1, 2), "ann", 1)
    with pytest.raises(ChangedError):
        store.restore(1, 1, author=ANN, head=1)
    np.testing.assert_array_equal(store.mask(1), dot(1, 2))


# --- Reviews ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["assigned", "head", "painted earlier", "settled"])
def test_nobody_reviews_their_own_work(store, how):
    mine = {"assigned": BOB, "head": ADA, "painted earlier": ADA, "settled": BOB}[how]
    store.save(1, Draft(dot(1), mine, 0))
    states.assign(store, 1, EVE, "ada" if how == "assigned" else None)
    if how == "painted earlier":
        store.save(1, Draft(dot(2), BOB, 1))
    if how == "settled":
        stale = save(store, 1, dot(3), "cyd", 0)
        store.settle(1, dot(1, 3), author=ADA, head=1, stale={stale.conflict: 2})
    states.move(store, 1, "done", ADA)
    with pytest.raises(ForbiddenError, match="reviewer must be another person than who labelled"):
        states.move(store, 1, "in_review", ADA)
    states.move(store, 1, "in_review", EVE)
    for verdict in ("accepted", "returned"):
        with pytest.raises(ForbiddenError, match="another person than who labelled"):
            states.move(store, 1, verdict, ADA, "a comment")
    mine_or_free = store.entry(1).assignee or "cyd"
    with pytest.raises(ForbiddenError, match="user must be a reviewer"):
        states.move(store, 1, "accepted", User(mine_or_free, "annotator"))
    states.move(store, 1, "accepted", EVE)


@pytest.mark.parametrize("state", ["done", "in_review", "accepted"])
def test_the_same_pixels_saved_again_undo_no_verdict_and_are_nobodys_work(store, tmp_path, state):
    save(store, 1, dot(1), "ann", 0)
    for step in ("done", "in_review", "accepted"):
        states.move(store, 1, step, ANN if step == "done" else EVE)
        if step == state:
            break
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "portrait_0.png").write_bytes(encode_mask(dot(1)))
    assert import_masks(store, maps, "png").taken == ("portrait_0",)
    again = save(store, 1, dot(1), "eve", 2)  # as Ctrl+S sends it
    assert (again.head, again.state, store.entry(1).state) == (3, state, state)
    assert store.published_path(store.image(1)).is_file()
    follows = {"done": "in_review", "in_review": "accepted", "accepted": "in_review"}[state]
    states.move(store, 1, follows, EVE)
    assert agreement.authors_of(store, store.entry(1)) == "ann"
    save(store, 1, dot(1, 2), "eve", 3)
    with pytest.raises(ForbiddenError, match="reviewer must be another person than who labelled"):
        states.move(store, 1, "accepted", EVE)


def test_saving_a_reviewers_pixels_again_takes_their_authorship_from_nobody(store):
    save(store, 1, dot(1), "ann", 0)
    save(store, 1, dot(2), "ann", 1)
    store.restore(1, 1, author=EVE, head=2)
    save(store, 1, dot(1), "ann", 3)
    states.move(store, 1, "done", ANN)
    with pytest.raises(ForbiddenError, match="reviewer must be another person than who labelled"):
        states.move(store, 1, "in_review", EVE)


def test_who_drew_what_was_restored_or_chosen_in_a_conflict_is_named(store):
    def authors(entry=1):
        return agreement.authors_of(store, store.entry(entry))

    save(store, 1, dot(1), "ann", 0)
    stale = save(store, 1, dot(2), "bob", 0)
    store.settle(1, dot(2), author=EVE, head=1, stale={stale.conflict: 2})
    assert authors() == "bob"
    store.restore(1, 1, author=EVE, head=3)
    assert authors() == "ann"
    stale = save(store, 1, dot(1, 3), "bob", 1)
    store.settle(1, dot(1), author=EVE, head=4, stale={stale.conflict: 5})
    assert authors() == "ann"
    stale = save(store, 1, dot(4), "cyd", 0)
    store.settle(1, dot(1, 4), author=EVE, head=6, stale={stale.conflict: 7})  # a union
    assert authors() == "ann + cyd"


def test_what_is_under_review_changes_by_reviewers_alone(store):
    save(store, 1, dot(1), "ann", 0)
    states.move(store, 1, "done", ALONE)
    states.move(store, 1, "in_review", ALONE)
    late = save(store, 1, dot(2), "ann", 1)
    assert (late.head, late.conflict is not None) == (1, True)
    saw = {"head": 1, "stale": {late.conflict: 2}}
    with pytest.raises(ForbiddenError, match="entry must not be under review, got in_review"):
        store.settle(1, dot(2), author=ANN, **saw)
    with pytest.raises(StoreError, match="entry must have no open conflict to be accepted"):
        states.move(store, 1, "accepted", ALONE)
    store.settle(1, dot(2), author=EVE, **saw)
    states.move(store, 1, "accepted", ALONE)
    # What a reviewer changes after all needs another's acceptance, and is published with it.
    save(store, 1, dot(5), "eve", 3)
    assert store.entry(1).state == "in_review"
    with pytest.raises(ForbiddenError):
        states.move(store, 1, "accepted", EVE)


def test_a_verdict_is_on_the_head_that_was_shown(store):
    save(store, 1, dot(1), "ann", 0)
    states.move(store, 1, "done", ANN, head=1)
    states.move(store, 1, "in_review", EVE, head=1)
    store.save(1, Draft(dot(2), ADA, 1))
    with pytest.raises(ChangedError, match="head must be the one that was shown, revision 1, got"):
        states.move(store, 1, "accepted", EVE, head=1)


# --- Leases and assignees --------------------------------------------------------------------


def test_leases_expire_and_follow_a_person_to_their_newest_page(store, clock):
    until = leases.take(store, 1, ANN, "a" * 32)
    assert until == 1000 + LEASE_SECONDS
    assert store.entry(1).assignee == "ann"
    with pytest.raises(HeldError, match="entry must be free, got one that ann works on"):
        leases.take(store, 1, EVE, "b" * 32)
    leases.take(store, 1, ANN, "c" * 32)
    with pytest.raises(HeldError, match="open in another tab or window of yours"):
        leases.take(store, 1, ANN, "a" * 32, renew=True)
    leases.release(store, 1, "a" * 32)  # not its own: stays
    assert leases.holder(store, 1).token == "c" * 32
    save(store, 1, dot(1), "ann", 0)
    clock[0] = until + 1
    assert leases.holder(store, 1) is None
    leases.take(store, 1, EVE, "b" * 32)
    assert store.entry(1).assignee == "ann"  # a reviewer's look is no wish to label
    leases.release(store, 1, "b" * 32)
    with pytest.raises(ForbiddenError, match="entry must be bob's or free, got one of ann"):
        leases.take(store, 1, BOB, "d" * 32)


@pytest.mark.parametrize("ended", ["left", "lapsed"])
@pytest.mark.parametrize("did", ["nothing", "saved", "skipped", "assigned", "saved beside"])
def test_an_image_that_was_opened_and_not_worked_on_is_free_again(any_store, ended, did):
    store, now = any_store, [1000.0]
    store.clock = lambda: now[0]
    if did == "saved beside":
        save(store, 1, dot(2), "bob", 0)
    until = leases.take(store, 1, ANN, "a" * 32)
    assert (store.entry(1).assignee, store.entry(1).taken) == ("ann", True)
    if did.startswith("saved"):
        save(store, 1, dot(1), "ann", 0)
    elif did == "skipped":
        states.move(store, 1, "skipped", ANN, "no hair")
    elif did == "assigned":
        states.assign(store, 1, EVE, "ann")
    if ended == "left":
        leases.release(store, 1, "a" * 32)
    else:
        now[0] = until - 1
        assert queue.listing(store, BOB, Filter())[0].assignee == "ann"
        now[0] = until + 1
    shown = queue.listing(store, BOB, Filter())[0].assignee
    leases.take(store, 2, BOB, "b" * 32)  # which settles what has lapsed
    assert shown == store.entry(1).assignee == (None if did == "nothing" else "ann")
    assert not store.entry(1).taken
    if did == "nothing":
        leases.take(store, 1, BOB, "b" * 32)
        assert store.entry(1).assignee == "bob"
    else:
        with pytest.raises(ForbiddenError, match="entry must be bob's or free, got one of ann"):
            leases.take(store, 1, BOB, "b" * 32)


def test_looking_at_the_queue_writes_nothing(any_store, monkeypatch):
    store, now = any_store, [1000.0]
    store.clock = lambda: now[0]
    now[0] = 1 + leases.take(store, 1, ANN, "a" * 32)
    monkeypatch.setattr(store, "changing", None)
    assert queue.listing(store, BOB, Filter(assignee="")) == queue.listing(store, BOB, Filter())
    assert [row.id for row in queue.listing(store, BOB, Filter(mine=True))] == [1, 2, 3]
    assert (store.entry(1).assignee, store.entry(1).taken) == ("ann", True)


def test_an_image_that_was_only_opened_is_nobodys_wherever_it_is_shown(any_store):
    store, now = any_store, [1000.0]
    store.clock = lambda: now[0]
    now[0] = leases.take(store, 1, ANN, "a" * 32) - 1
    assert progress.authors(store) == ["ann"]
    assert progress.progress(store, "ann").counts["open"] == 1
    assert leases.owner(store, 1) == "ann"
    now[0] += 2
    assert progress.authors(store) == []
    assert progress.progress(store, "ann").counts["open"] == 0
    assert leases.owner(store, 1) is None
    # What a person worked on and finished counts as theirs without any lease.
    leases.take(store, 1, ANN, "a" * 32)
    now[0] += 30
    save(store, 1, dot(1), "ann", 0, active_seconds=30)
    states.move(store, 1, "done", ANN)
    now[0] += 2 * LEASE_SECONDS
    ann = progress.progress(store, "ann")
    assert (ann.counts["done"], ann.finished, ann.per_hour) == (1, 1, pytest.approx(120))


def test_a_renewed_lease_takes_an_image_back_from_who_only_opened_it_meanwhile(store, clock):
    clock[0] = 1 + leases.take(store, 1, ANN, "a" * 32)  # her machine slept
    until = leases.take(store, 1, BOB, "b" * 32)
    with pytest.raises(HeldError, match="got one that bob works on"):
        leases.take(store, 1, ANN, "a" * 32, renew=True)
    clock[0] = until + 1
    leases.take(store, 1, ANN, "a" * 32, renew=True)
    assert (store.entry(1).assignee, store.entry(1).taken) == ("ann", True)
    assert save(store, 1, dot(1), "ann", 0).conflict is None


def test_a_second_pass_that_somebody_only_opened_is_shown_to_others(store, clock):
    passes.add_second_pass(store, 100)
    second = max(entry.id for entry in store.passes(1))
    clock[0] = leases.take(store, second, ANN, "a" * 32) - 1
    assert second not in seen(store, BOB)
    clock[0] += 2
    assert second in seen(store, BOB)
    leases.take(store, second, BOB, "b" * 32)


def test_a_renewed_lease_settles_no_others(store, clock):
    clock[0] = leases.take(store, 1, ANN, "a" * 32) - 1
    leases.take(store, 2, BOB, "b" * 32)
    clock[0] += 2
    leases.take(store, 2, BOB, "b" * 32, renew=True)
    assert store.entry(1).assignee == "ann"
    leases.take(store, 3, BOB, "c" * 32)
    assert store.entry(1).assignee is None


def test_an_admins_look_at_a_free_image_hinders_neither_labelling_nor_the_admins_review(store):
    leases.take(store, 1, ADA, "d" * 32)
    leases.release(store, 1, "d" * 32)
    leases.take(store, 1, ANN, "a" * 32)
    save(store, 1, dot(1), "ann", 0)
    states.move(store, 1, "done", ANN)
    leases.release(store, 1, "a" * 32)
    states.move(store, 1, "in_review", ADA)


def test_a_free_image_that_a_reviewer_draws_on_is_theirs(store, clock):
    until = leases.take(store, 1, EVE, "e" * 32)
    assert store.entry(1).assignee is None  # she may only look
    save(store, 1, dot(1), "eve", 0)
    clock[0] = until + 1
    assert queue.listing(store, BOB, Filter())[0].assignee == "eve"
    assert progress.progress(store, "eve").counts["in_work"] == 1
    with pytest.raises(ForbiddenError, match="entry must be bob's or free, got one of eve"):
        leases.take(store, 1, BOB, "b" * 32)


@pytest.mark.parametrize("how", ["the same pixels", "under review", "beside"])
def test_what_is_no_labelling_of_a_reviewer_leaves_an_image_free(store, how):
    save(store, 1, dot(1), "ann", 0)
    if how == "under review":
        states.move(store, 1, "done", ANN)
        states.move(store, 1, "in_review", ADA)
    leases.take(store, 1, EVE, "e" * 32)
    save(
        store, 1, dot(1) if how == "the same pixels" else dot(2), "eve", 0 if how == "beside" else 1
    )
    assert store.entry(1).assignee is None


@pytest.mark.parametrize("state", ["in_review", "accepted"])
def test_an_annotators_look_at_what_is_under_review_holds_up_no_reviewer(store, clock, state):
    save(store, 1, dot(1), "ann", 0)
    states.move(store, 1, "done", ANN)
    states.move(store, 1, "in_review", EVE)
    if state == "accepted":
        states.move(store, 1, "accepted", EVE)
    for renew in (False, True):
        with pytest.raises(ForbiddenError, match=f"must not be under review, got {state}: ask a"):
            leases.take(store, 1, ANN, "a" * 32, renew=renew)
    assert leases.holder(store, 1) is None
    leases.take(store, 1, EVE, "b" * 32)
    states.move(store, 1, "accepted" if state == "in_review" else "in_review", EVE)


def test_a_clock_that_is_put_back_locks_nobody_out(store, clock):
    clock[0] = 90_000
    leases.take(store, 1, ANN, "a" * 32)
    clock[0] -= LEASE_SECONDS / 2  # as clocks are corrected
    with pytest.raises(HeldError, match="got one that ann works on"):
        leases.take(store, 1, EVE, "b" * 32)
    clock[0] = 1000
    assert leases.holder(store, 1) is None
    assert leases.take(store, 1, EVE, "b" * 32) == 1000 + LEASE_SECONDS


@pytest.mark.parametrize("who", ["bob", "eve"])
def test_anothers_save_under_a_lease_becomes_a_conflict(store, clock, who):
    leases.take(store, 1, ANN, "a" * 32)
    save(store, 1, dot(1), "ann", 0)
    late = save(store, 1, dot(2), who, 1)
    assert late.conflict is not None
    np.testing.assert_array_equal(store.mask(1), dot(1))
    person = {"bob": BOB, "eve": EVE}[who]
    for state in ("done", "skipped"):
        with pytest.raises(HeldError, match="one that ann works on"):
            states.move(store, 1, state, person, "why not")
    with pytest.raises((ForbiddenError, HeldError)):
        store.settle(1, dot(2), author=person, head=1, stale={late.conflict: 2})
    clock[0] += LEASE_SECONDS + 1
    later = save(store, 1, dot(3), who, 1)
    # Without the lease the entry is still ann's, which stops annotators and not reviewers.
    assert (later.conflict is None) == (who == "eve")
    if who == "bob":
        with pytest.raises(ForbiddenError, match="entry must be bob's or free"):
            states.move(store, 1, "skipped", BOB, "no")


def test_the_heads_own_pixels_are_no_conflict_though_another_has_the_image(store):
    leases.take(store, 1, ANN, "a" * 32)
    save(store, 1, dot(1), "ann", 0)
    copy = save(store, 1, dot(1), "bob", 0)
    assert (copy.number, copy.head, copy.conflict) == (2, 1, None)
    # Who draws on beside the head, and comes back to its pixels, has nothing left to settle.
    late = save(store, 1, dot(2), "bob", 1)
    assert late.conflict is not None
    assert save(store, 1, dot(1), "bob", late.number).conflict is None
    assert (store.open_conflicts(1), store.entry(1).head) == ([], 1)


def test_the_same_import_three_times_opens_one_conflict(store):
    save(store, 1, dot(1), "ann", 0)
    opened = {
        store.save(1, Draft(dot(2), User(name, "annotator"), 0, "import")).conflict
        for name in ("import", "import", "import", "bob")
    }
    assert len(opened) == len(store.open_conflicts(1)) == 2  # another's are another's
    first = store.open_conflicts(1)[0]
    assert (first.stale, store.revision(1, first.stale).author) == (4, "import")


# --- Blind passes ----------------------------------------------------------------------------


@pytest.fixture
def twins(store):
    """The two passes of one image, by number."""
    assert passes.add_second_pass(store, 34) == 1
    assert passes.add_second_pass(store, 34) == 1
    (second,) = [row for row in queue.listing(store, EVE, Filter()) if row.blind_pass == 2]
    return store.passes(second.id)


def seen(store, user):
    return {row.id for row in queue.listing(store, user, Filter())}


def test_a_second_pass_is_blind(store, twins):
    first, second = twins
    leases.take(store, first.id, ANN, "a" * 32)
    assert first.id in seen(store, ANN)
    assert second.id not in seen(store, ANN)
    assert first.id not in seen(store, BOB)
    assert second.id in seen(store, BOB)
    with pytest.raises(ForbiddenError, match="labelled blind by somebody else"):
        leases.take(store, second.id, ANN, "a" * 32)
    with pytest.raises(ForbiddenError):
        passes.entry_for(store, first.id, BOB)
    with pytest.raises(StoreError, match="the passes are blind"):
        states.assign(store, second.id, EVE, "ann")
    assert passes.add_second_pass(store, 100) == 3
    with pytest.raises(StoreError, match="percent must be above 0"):
        passes.add_second_pass(store, 0)


def test_a_reviewer_labels_one_pass_and_never_sees_the_other(store, twins):
    first, second = twins
    save(store, first.id, mask_of(store, first.id), "eve", 0)
    with pytest.raises(ForbiddenError, match="labelled blind by somebody else"):
        passes.entry_for(store, second.id, EVE)
    with pytest.raises(ForbiddenError, match="labeller must not know the image's other pass"):
        save(store, second.id, mask_of(store, second.id), "eve", 0)
    assert second.id not in seen(store, EVE)
    assert store.revisions(second.id) == []


def test_who_drew_on_a_pass_that_is_anothers_by_now_can_save_and_leave_it(store, twins):
    first, second = twins
    leases.take(store, first.id, ANN, "a" * 32)
    save(store, first.id, mask_of(store, first.id), "ann")
    states.assign(store, first.id, EVE, "bob")
    assert passes.entry_for(store, first.id, ANN).assignee == "bob"
    assert save(store, first.id, mask_of(store, first.id, 1), "ann", 1).conflict is not None
    with pytest.raises(ForbiddenError, match="entry must be ann's or free, got one of bob"):
        leases.take(store, first.id, ANN, "a" * 32, renew=True)
    assert second.id not in seen(store, ANN)
    assert first.id not in seen(store, User("cyd", "annotator"))


@pytest.mark.parametrize("person", [EVE, BOB])
def test_whoever_looked_at_a_pass_does_not_label_the_other(store, twins, tmp_path, person):
    first, second = twins
    (tmp_path / "maps").mkdir()
    path = tmp_path / "maps" / f"{store.image(first.id).name}.png"
    path.write_bytes(encode_mask(mask_of(store, first.id)))
    assert import_masks(store, tmp_path / "maps", "png").taken
    store.sight(first.id, person)
    with pytest.raises(ForbiddenError, match="who labelled it or has looked at it"):
        save(store, second.id, mask_of(store, second.id), person.name, 0)
    with pytest.raises(ForbiddenError):
        leases.take(store, second.id, person, "a" * 32)
    with pytest.raises(StoreError, match="assignee must not know the image's other pass"):
        states.assign(store, second.id, ADA, person.name)
    # A reviewer may still judge both.
    assert (second.id in seen(store, person)) == person.reviews


# --- Time ------------------------------------------------------------------------------------


def test_time_is_no_more_than_has_passed(store, clock):
    save(store, 2, mask_of(store, 2), "bob", 0, active_seconds=1e5)  # without a lease
    leases.take(store, 1, ANN, "a" * 32)
    clock[0] += 30
    save(store, 1, dot(1), "ann", 0, active_seconds=277 * 3600)
    clock[0] += 10
    leases.take(store, 1, ANN, "a" * 32, renew=True)
    save(store, 1, dot(2), "ann", 1, active_seconds=4)
    clock[0] += 10
    save(store, 1, dot(3), "ann", 2, active_seconds=60)
    assert [r.active_seconds for r in store.revisions(1)] == [30, 4, 10]
    assert [r.active_seconds for r in store.revisions(2)] == [0]
    # A new lease starts a new count: what an old one left cannot be claimed.
    leases.release(store, 1, "a" * 32)
    clock[0] += 500
    leases.take(store, 1, ANN, "b" * 32)
    clock[0] += 5
    save(store, 1, dot(4), "ann", 3, active_seconds=60)
    assert store.revisions(1)[-1].active_seconds == 5


def test_progress_counts_work_rate_and_what_is_left(store, clock):
    leases.take(store, 1, ANN, "a" * 32)
    clock[0] += 30
    save(store, 1, dot(1), "ann", 0, kind="proposal", active_seconds=30)
    clock[0] += 90
    save(store, 1, dot(2), "ann", 1, kind="correction", active_seconds=90)
    leases.take(store, 2, BOB, "b" * 32)
    clock[0] += 60
    save(store, 2, mask_of(store, 2), "bob", 0, active_seconds=60)
    assert progress.progress(store).per_hour is None
    states.move(store, 1, "done", ANN)
    whole, ann = progress.progress(store), progress.progress(store, "ann")
    assert (whole.seconds, whole.finished, whole.corrected) == (180, 1, 1)
    assert whole.per_hour == pytest.approx(30)
    assert whole.hours_left == pytest.approx(2 / 30)
    assert (ann.seconds, ann.counts["done"], ann.counts["open"]) == (120, 1, 0)
    assert "ann" in progress.statistics(store)


def test_what_was_taken_in_finished_does_not_raise_the_rate(store, clock):
    for entry in (1, 2):
        store.save(entry, Draft(mask_of(store, entry), program("init"), 0, "import"))
    leases.take(store, 1, ANN, "a" * 32)
    clock[0] += 120
    save(store, 1, dot(2), "ann", 1, active_seconds=120)
    save(store, 2, mask_of(store, 2), "ann", 1, kind="correction")  # as Ctrl+S sends it
    for entry in (1, 2):
        states.move(store, entry, "done", ANN)
    whole = progress.progress(store)
    assert (whole.finished, whole.corrected, whole.counts["done"]) == (1, 1, 2)
    assert whole.per_hour == pytest.approx(30)


def test_anothers_correction_does_not_slow_a_persons_rate(store, clock):
    leases.take(store, 1, ANN, "a" * 32)
    clock[0] += 120
    save(store, 1, dot(1), "ann", 0, active_seconds=120)
    leases.release(store, 1, "a" * 32)
    leases.take(store, 1, EVE, "e" * 32)
    clock[0] += 120
    save(store, 1, dot(2), "eve", 1, active_seconds=120)
    states.move(store, 1, "done", EVE)
    assert progress.progress(store).per_hour == pytest.approx(15)
    assert progress.progress(store, "ann").per_hour == pytest.approx(30)
