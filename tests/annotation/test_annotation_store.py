import errno
import json
import shutil
import sqlite3
import subprocess
import sys
from threading import Thread

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from annotation_samples import make_dataset, mask_of, save

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.annotation.formats.exports import export
from benchmark_data_tools.annotation.places.durability import snapshot
from benchmark_data_tools.annotation.storage import masks
from benchmark_data_tools.annotation.storage.database import DatabaseError, connect
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.errors import StoreError, UnknownError
from benchmark_data_tools.annotation.storage.masks import MaskError, decode_mask, encode_mask
from benchmark_data_tools.annotation.storage.people import ALONE, User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Revision, Table
from benchmark_data_tools.annotation.storage.verify import verify
from benchmark_data_tools.annotation.team import leases
from benchmark_data_tools.annotation.team.states import move
from mgm_core.images import write_image

ANN = User("ann", "annotator")


def test_what_is_saved_comes_back_pixel_by_pixel(any_store):
    mask = mask_of(any_store, 1)
    now = [1000.0]
    any_store.clock = lambda: now[0]
    leases.take(any_store, 1, ANN, "a" * 32)
    now[0] += 5
    saved = save(any_store, 1, mask, "ann", 0, strokes=3, active_seconds=4.5)
    assert (saved.number, saved.head, saved.conflict) == (1, 1, None)
    np.testing.assert_array_equal(any_store.mask(1), mask)
    (revision,) = any_store.revisions(1)
    assert (revision.author, revision.strokes, revision.active_seconds) == ("ann", 3, 4.5)
    assert revision.detail_px == int((mask >= 128).sum())
    assert any_store.entry(1).state == "in_work"


def test_a_stale_save_is_kept_and_opens_a_conflict_that_can_be_settled(any_store):
    first, second, third = (mask_of(any_store, 1, seed) for seed in range(3))
    save(any_store, 1, first, "ann", 0)
    save(any_store, 1, second, "ann", 1)
    stale = save(any_store, 1, third, "bob", 1)
    assert stale.head == 2
    assert stale.number == 3
    np.testing.assert_array_equal(any_store.mask(1), second)
    np.testing.assert_array_equal(any_store.mask(1, 3), third)
    (conflict,) = any_store.open_conflicts(1)
    assert (conflict.head, conflict.stale) == (2, 3)
    saw = {"head": 2, "stale": {conflict.id: 3}}
    settled = any_store.settle(1, third, author=ANN, **saw)
    assert settled.head == settled.number == 4
    assert any_store.open_conflicts() == []
    with pytest.raises(UnknownError, match="conflict must be an open one, got"):
        any_store.settle(1, third, author=ANN, head=4, stale={conflict.id: 3})


def test_saves_at_the_same_time_lose_nothing(any_store):
    def save_one(seed):
        save(any_store, 1, mask_of(any_store, 1, seed), f"p{seed}", 0)

    threads = [Thread(target=save_one, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = any_store.revisions(1)
    assert [r.number for r in revisions] == list(range(1, 9))
    assert {r.author for r in revisions} == {f"p{seed}" for seed in range(8)}
    assert len(any_store.open_conflicts(1)) == 7
    assert verify(any_store) == []


def test_a_repeated_save_is_answered_alike_and_kept_once(store):
    mask = mask_of(store, 1)
    first = save(store, 1, mask, "ann", 0, save_id="a" * 32)
    again = save(store, 1, mask, "ann", 0, save_id="a" * 32)
    assert first == again
    assert len(store.revisions(1)) == 1
    with pytest.raises(StoreError, match="save_id must be of this entry"):
        save(store, 2, mask_of(store, 2), "ann", 0, save_id="a" * 32)


def test_any_revision_can_be_restored_and_none_is_overwritten(store):
    masks_drawn = [mask_of(store, 1, seed) for seed in range(4)]
    for base, mask in enumerate(masks_drawn):
        save(store, 1, mask, "ann", base)
    restored = store.restore(1, 2, author=ANN, head=4)
    np.testing.assert_array_equal(store.mask(1), masks_drawn[1])
    assert store.revisions(1)[-1].kind == "restore"
    assert restored.head == 5
    for number, mask in enumerate(masks_drawn, 1):
        np.testing.assert_array_equal(store.mask(1, number), mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": 7}, "base must be a revision of the entry, got 7: open the image anew"),
        ({"kind": "guess"}, "kind must be one of paint, .*, got 'guess'"),
        ({"strokes": -1}, "strokes and active_seconds must be 0 or more"),
        ({"save_id": "../x"}, "save_id must be 32 hexadecimal digits"),
        ({"mask": np.zeros((3, 3), np.uint8)}, r"mask must be uint8 of shape \(30, 40\)"),
    ],
)
def test_bad_saves_are_refused(store, change, message):
    arguments = {"mask": mask_of(store, 1), "author": ANN, "base": 0, **change}
    with pytest.raises(ValueError, match=message):
        store.save(1, Draft(**arguments))
    assert store.revisions(1) == []


def test_made_up_entries_and_revisions_are_unknown(store):
    with pytest.raises(UnknownError, match="entry must be one of this dataset, got 99"):
        save(store, 99, mask_of(store, 1), "ann", 0)
    with pytest.raises(UnknownError, match="revision must be one of entry 1, got 5"):
        store.mask(1, 5)


def test_a_full_disk_changes_nothing_and_says_so(store, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(store, 1, mask_of(store, 1), "ann", 0)
    before = sorted(store.folder.rglob("*.png"))
    with monkeypatch.context() as patched:
        patched.setattr(masks.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save(store, 1, mask_of(store, 1, 1), "ann", 1)
    assert sorted(store.folder.rglob("*.png")) == before
    assert store.entry(1).head == 1
    assert save(store, 1, mask_of(store, 1, 1), "ann", 1).number == 2


KILLED = """
import sys
from pathlib import Path
import numpy as np
from benchmark_data_tools.annotation.storage.drafts import Draft
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
store = Store.open(Path(sys.argv[1]))
ann = User("ann", "annotator")
for n in range(200):
    mask = np.full((30, 40), n % 256, np.uint8)
    saved = store.save(1, Draft(mask, ann, n))
    print(saved.number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 37, 90])
def test_kill_9_during_200_saves_loses_no_acknowledged_save(store, after):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.folder)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == after:
            process.kill()
    process.wait()
    process.stdout.close()
    assert acknowledged < 200
    revisions = store.revisions(1)
    assert len(revisions) >= acknowledged
    for revision in revisions:
        assert (store.mask(1, revision.number) == revision.number - 1).all()
    problems = verify(store, repair=True)
    assert all("never acknowledged" in problem for problem in problems)
    assert verify(store) == []


def test_verify_finds_and_repairs(store):
    masks_drawn = [mask_of(store, 1, seed) for seed in range(3)]
    for base, mask in enumerate(masks_drawn):
        save(store, 1, mask, "ann", base)
    move(store, 1, "done", ALONE)
    image = store.image(1)
    published = store.published_path(image)
    revisions = store.folder / "annotation" / "revisions"
    files = [revisions / revision.file for revision in store.revisions(1)]
    assert verify(store) == []

    files[1].unlink()  # gone for good
    files[2].write_bytes(b"torn")  # but the published file has its pixels
    (revisions / "000001" / "00009-unclaimed.png").write_bytes(encode_mask(masks_drawn[0]))
    found = verify(store)
    assert [problem.split(":")[0] for problem in found] == [
        "revision 2 of portrait_0",
        "revision 3 of portrait_0",
        "000001/00009-unclaimed.png belongs to no revision",
    ]
    assert verify(store) == found  # looking changes nothing
    verify(store, repair=True)
    assert verify(store) == []
    np.testing.assert_array_equal(store.mask(1), masks_drawn[2])
    assert [(r.number, r.parent) for r in store.revisions(1)] == [(1, 0), (3, 1)]
    lost = json.loads((store.folder / "annotation" / "lost.jsonl").read_text())
    assert lost["number"] == 2
    set_aside = sorted(p.name for p in (store.folder / "annotation" / "unclaimed").iterdir())
    assert set_aside == [files[2].name, "00009-unclaimed.png"]

    foreign = mask_of(store, 1, 9)
    published.write_bytes(encode_mask(foreign))
    assert verify(store) == [f"{published.name} is not the finished mask of portrait_0"]
    verify(store, repair=True)
    np.testing.assert_array_equal(
        decode_mask(published.read_bytes(), image.width, image.height), masks_drawn[2]
    )
    np.testing.assert_array_equal(store.mask(1, 4), foreign)
    assert store.revisions(1)[-1].kind == "found"

    (store.folder / "image" / "portrait_1.png").unlink()
    write_image(store.folder / "image" / "portrait_2.png", np.zeros((48, 64, 3), np.float32))
    assert verify(store) == [
        "image/portrait_1.png is gone: put it back",
        "image/portrait_2.png has changed since it was taken in: run init to accept it",
    ]


def test_repair_says_which_mask_is_lost_and_what_is_left(store, capsys):
    def repair():
        status = main(["verify", str(store.folder), "--repair"])
        return status, capsys.readouterr().out.splitlines()

    save(store, 1, mask_of(store, 1))
    save(store, 1, mask_of(store, 1, 1), base=1)
    (store.folder / "annotation" / "revisions" / store.revisions(1)[1].file).unlink()
    assert repair() == (
        0,
        [
            "revision 2 of portrait_0: its file is missing; its mask is lost, and its row is in "
            "annotation/lost.jsonl",
            "1 problems.",
            "0 problems are left after the repair.",
        ],
    )
    (store.folder / "image" / "portrait_1.png").unlink()
    gone = "image/portrait_1.png is gone: put it back"
    assert repair() == (
        1,
        [gone, "1 problems.", f"not repaired: {gone}", "1 problems are left after the repair."],
    )


def test_a_conflict_whose_settlement_is_lost_is_open_again(store):
    masks_drawn = [mask_of(store, 1, seed) for seed in range(3)]
    save(store, 1, masks_drawn[0])
    beside = save(store, 1, masks_drawn[1], "bob")
    shown = {"head": 1, "stale": {beside.conflict: beside.number}}
    settled = store.settle(1, masks_drawn[2], author=ANN, **shown)
    assert store.open_conflicts(1) == []
    lose(store, settled.number)
    verify(store, repair=True)
    assert [(c.head, c.stale) for c in store.open_conflicts(1)] == [(1, beside.number)]
    np.testing.assert_array_equal(store.mask(1), masks_drawn[0])
    store.settle(1, masks_drawn[1], author=ANN, **shown)
    assert store.open_conflicts(1) == []


def test_what_was_finished_with_a_mask_that_is_lost_goes_back_to_work(store, tmp_path):
    save(store, 1, mask_of(store, 1))
    save(store, 1, mask_of(store, 1, 1), base=1)
    for state in ("done", "in_review", "accepted"):
        move(store, 1, state, ALONE)
    lose(store, 2)
    store.published_path(store.image(1)).unlink()
    verify(store, repair=True)
    entry = store.entry(1)
    assert (entry.head, entry.state) == (1, "in_work")
    assert entry.comment == "The finished mask is lost with its file."
    with pytest.raises(StoreError, match="dataset must have masks to write, got none"):
        export(store, tmp_path / "out", "png")
    lose(store, 1)
    verify(store, repair=True)
    assert (store.entry(1).head, store.entry(1).state, verify(store)) == (0, "in_work", [])


def test_a_conflict_whose_whole_branch_is_lost_is_none(store):
    save(store, 1, mask_of(store, 1))
    save(store, 1, mask_of(store, 1, 1), base=1)
    first = save(store, 1, mask_of(store, 1, 2), "bob", 1)
    later = save(store, 1, mask_of(store, 1, 3), "bob", first.number)
    lose(store, later.number)
    verify(store, repair=True)
    assert [c.stale for c in store.open_conflicts(1)] == [first.number]
    lose(store, first.number)
    verify(store, repair=True)
    assert store.open_conflicts(1) == []


def test_repair_takes_in_what_is_newer_than_a_database_from_a_backup(store, tmp_path):
    save(store, 1, mask_of(store, 1))
    backup, database = tmp_path / "backup.db", store.folder / "annotation" / "store.db"
    snapshot(database, backup)
    for base in (1, 2):
        save(store, 1, mask_of(store, 1, base), base=base)
    save(store, 2, mask_of(store, 2))
    store.engine.dispose()
    shutil.copy(backup, database)
    assert len(verify(store, repair=True)) == 3
    np.testing.assert_array_equal(store.mask(1), mask_of(store, 1))
    (conflict,) = store.open_conflicts()
    np.testing.assert_array_equal(store.mask(1, conflict.stale), mask_of(store, 1, 2))
    np.testing.assert_array_equal(store.mask(2), mask_of(store, 2))
    assert verify(store) == []
    assert len(list((store.folder / "annotation" / "unclaimed").iterdir())) == 3


def test_repair_brings_back_what_an_earlier_one_set_aside(store):
    """As where it ran while somebody saved: the file was there, and its row not yet."""
    save(store, 1, mask_of(store, 1))
    own = store.folder / "annotation"
    (own / "unclaimed").mkdir()
    file = own / "revisions" / store.revision(1, 1).file
    file.rename(own / "unclaimed" / file.name)
    verify(store, repair=True)
    np.testing.assert_array_equal(store.mask(1), mask_of(store, 1))
    assert verify(store) == []


def lose(store, number):
    """Take away the file of a revision of the first entry."""
    (store.folder / "annotation" / "revisions" / store.revision(1, number).file).unlink()


def test_repair_keeps_every_odd_file_and_goes_on_after_it(dataset):
    store = Store.create(dataset, labels={"outline": "trimap", "fur": "mask"})[0]
    for entry_id in range(1, 10):
        image = store.image(entry_id)
        label = store.entry(entry_id).label
        if image.name == "portrait_0" and label != "detail":
            save(store, entry_id, np.zeros((30, 40), np.uint8))
            move(store, entry_id, "done", ALONE)
            odd = np.full((30, 40), 77, np.uint8)  # no level of a trimap
            png = encode_mask(odd) if label == "outline" else b"no picture"
            store.published_path(image, label).write_bytes(png)
    assert len(verify(store, repair=True)) == 2
    assert verify(store) == []
    set_aside = sorted((store.folder / "annotation" / "unclaimed").iterdir())
    assert [path.name for path in set_aside] == ["portrait_0-2.png", "portrait_0.png"]
    assert len({path.read_bytes() for path in set_aside}) == 2
    store.engine.dispose()


def test_migrations_make_what_the_models_say(url):
    engine = connect(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_a_database_of_a_newer_program_is_refused(store):
    path = store.folder / "annotation" / "store.db"
    store.engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    with pytest.raises(DatabaseError, match=r"must be of version .* or older, got 0999: .* update"):
        Store.open(store.folder)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("nonsense", "database must be a URL, got 'nonsense'"),
        ("mysql://host/x", "database must be SQLite or PostgreSQL, got mysql"),
        ("sqlite:////nowhere/at/all.db", "database must be reachable and writable"),
        (
            "postgresql://u:secret@/x?host=/nowhere",
            r"(?s)got .* from postgresql\+psycopg://u:\*\*\*@",
        ),
    ],
)
def test_bad_databases_are_refused(bad, message):
    with pytest.raises(DatabaseError, match=message):
        connect(bad)


def test_a_database_of_another_dataset_is_refused(store, tmp_path):
    other = make_dataset(tmp_path / "other")
    made = Store.create(other)[0]
    made.engine.dispose()
    with pytest.raises(StoreError, match="database must belong to"):
        Store.open(other, database=f"sqlite:///{store.folder / 'annotation' / 'store.db'}")
    with pytest.raises(StoreError, match="must be a dataset made ready"):
        Store.open(tmp_path)


def test_init_takes_in_maps_and_later_images(dataset):
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9] = 255
    (dataset / "detailmap").mkdir()
    (dataset / "detailmap" / "portrait_0_cloud_trimap.png").write_bytes(encode_mask(mask))
    store = Store.create(dataset)[0]
    np.testing.assert_array_equal(store.mask(1), mask)
    assert store.revisions(1)[0].kind == "import"
    write_image(dataset / "image" / "added.png", np.zeros((20, 20, 3), np.float32))
    store.engine.dispose()
    again, _ = Store.create(dataset)
    assert again.image(4).name == "added"
    assert len(again.revisions(1)) == 1
    write_image(dataset / "image" / "added.png", np.zeros((21, 20, 3), np.float32))
    with pytest.raises(StoreError, match=r"added.png must stay 20x20, got 20x21"):
        Store.create(dataset)
    again.engine.dispose()


def test_an_init_that_stopped_halfway_takes_in_the_other_maps_when_it_is_run_again(dataset):
    maps = dataset / "detailmap"
    maps.mkdir()
    third = np.full((48, 64), 255, np.uint8)
    (maps / "portrait_2_cloud_trimap.png").write_bytes(encode_mask(third))
    (maps / "portrait_1_cloud_trimap.png").write_bytes(b"torn")
    with pytest.raises(MaskError, match=r"portrait_1_cloud_trimap.png: mask must be a PNG file"):
        Store.create(dataset)
    (maps / "portrait_1_cloud_trimap.png").unlink()
    store = Store.create(dataset)[0]
    np.testing.assert_array_equal(store.mask(3), third)
    assert [len(store.revisions(n)) for n in (1, 2, 3)] == [0, 0, 1]
    store.engine.dispose()


def test_init_refuses_to_shadow_maps_of_another_type(dataset):
    (dataset / "detailmap").mkdir()
    (dataset / "detailmap" / "portrait_0_cloud_trimap.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match=r"beside portrait_0_cloud_trimap.jpg"):
        Store.create(dataset)


def test_work_goes_with_an_image_that_was_renamed(dataset):
    store = Store.create(dataset)[0]
    save(store, 1, mask_of(store, 1))
    move(store, 1, "done", ALONE)
    save(store, 2, mask_of(store, 2))
    store.engine.dispose()
    images = dataset / "image"
    (images / "portrait_0.png").rename(images / "ada.png")
    (images / "portrait_2.png").unlink()
    again, found = Store.create(dataset)
    assert found.problems == (
        "portrait_0 is named ada now: its work goes with it",
        "image/portrait_2.png is gone: put it back",
    )
    assert [again.image(n).name for n in (1, 2, 3)] == ["ada", "portrait_1", "portrait_2"]
    assert again.published_path(again.image(1)).is_file()
    assert [path.name for path in (dataset / "detailmap").iterdir()] == ["ada_cloud_trimap.png"]
    assert verify(again) == ["image/portrait_2.png is gone: put it back"]
    again.engine.dispose()


def test_a_picture_under_the_name_of_another_is_refused(dataset):
    """Else one picture's masks would be taken for the other's, of the same size."""
    write_image(dataset / "image" / "portrait_1.png", np.zeros((30, 40, 3), np.float32))
    Store.create(dataset)[0].engine.dispose()
    images = dataset / "image"
    (images / "portrait_1.png").replace(images / "portrait_0.png")
    with pytest.raises(
        StoreError, match=r"portrait_0.png must be the picture .*portrait_1.png: give"
    ):
        Store.create(dataset)
    (images / "portrait_0.png").rename(images / "portrait_1.png")
    Store.create(dataset)[0].engine.dispose()


def test_init_remembers_the_pattern(dataset, capsys):
    def init(*options):
        return main(["init", str(dataset), *options]), capsys.readouterr()

    (dataset / "maps").mkdir()
    for name in ("portrait_0", "later"):
        (dataset / "maps" / f"{name}.png").write_bytes(encode_mask(np.zeros((30, 40), np.uint8)))
    assert init("--pattern", "maps/{name}.png")[0] == 0
    write_image(dataset / "image" / "later.png", np.zeros((30, 40, 3), np.float32))
    assert init()[0] == 0
    store = Store.open(dataset)
    assert [len(store.revisions(n)) for n in (1, 2, 3, 4)] == [1, 0, 0, 1]
    assert store.pattern == "maps/{name}.png"
    store.engine.dispose()
    status, said = init("--pattern", "other/{name}.png")
    assert status != 0
    assert "must be this dataset's maps/{name}.png, got other/{name}.png" in said.err
    (dataset / "maps" / "portrait_1.jpg").write_bytes(b"")
    status, said = init()
    assert status != 0
    assert "beside portrait_1.jpg" in said.err


def test_init_reports_what_is_wrong(dataset):
    shutil.copy(dataset / "image" / "portrait_0.png", dataset / "image" / "twin.png")
    (dataset / "image" / "broken.png").write_bytes(b"no image")
    write_image(dataset / "alpha" / "portrait_1.png", np.zeros((5, 5), np.float32))
    store, found = Store.create(dataset)
    store.engine.dispose()
    assert len(found.pictures) == 4
    text = "\n".join(found.problems)
    assert "image/broken.png is left out: it is no readable image" in text
    assert "alpha/portrait_1.png is left out: it is 5x5, its image 33x47" in text
    assert "image/portrait_0.png has duplicates of the same bytes: twin.png" in text


@pytest.mark.parametrize(
    "pattern",
    [
        *("x.png", "/a/{name}.png", "../{name}.png", "d/{name}.jpg", "annotation/{name}.png"),
        *("alpha/{name}.png", "./image/{name}.png"),
    ],
)
def test_bad_patterns_are_refused(dataset, pattern):
    with pytest.raises(ValueError, match="pattern must be a path within the dataset"):
        Store.create(dataset, pattern=pattern)


@pytest.mark.parametrize(
    ("png", "message"),
    [
        (b"text", "mask must be a PNG file, got 4 bytes of something else"),
        (encode_mask(np.zeros((4, 5), np.uint8)), "must have the image's size 6x4, got 5x4"),
        (encode_mask(np.zeros((4, 6, 3), np.uint8)), "must be a grey PNG of 8 bits, got mode RGB"),
        (encode_mask(np.eye(40, 60, dtype=np.uint8))[:60], "must have the image's size|damaged"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(png, message):
    with pytest.raises(MaskError, match=message):
        decode_mask(png, 6, 4)


def test_a_torn_mask_is_refused():
    whole = encode_mask(mask := np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    np.testing.assert_array_equal(decode_mask(whole, 60, 60), mask)
    with pytest.raises(MaskError, match="mask must be a complete PNG, got a damaged one"):
        decode_mask(whole[:-500], 60, 60)


def test_revision_rows_are_complete(store):
    save(store, 1, mask_of(store, 1), "ann", 0)
    (revision,) = store.revisions(1)
    for column in Revision.__table__.columns:
        assert getattr(revision, column.name) is not None
