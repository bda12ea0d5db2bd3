"""What a team shares over HTTP: labels, comments at places, batches, guideline, own settings."""

import json

import numpy as np
import pytest
from annotation_samples import make_dataset, mask_of, save, service_of
from starlette.testclient import TestClient

from benchmark_data_tools.annotation.formats.exports import export
from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.places import durability
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.server.proposals import Worker
from benchmark_data_tools.annotation.storage.database import connect
from benchmark_data_tools.annotation.storage.errors import StoreError, UnknownError
from benchmark_data_tools.annotation.storage.masks import MaskError, decode_mask
from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Image
from benchmark_data_tools.annotation.team import leases, passes, queue, states
from benchmark_data_tools.annotation.team.queue import Filter
from benchmark_data_tools.data.samples import problems as benchmark_problems

ANN, EVE = User("ann", "annotator"), User("eve", "reviewer")


@pytest.fixture
def labelled(tmp_path):
    folder = make_dataset(tmp_path / "d", sizes=((40, 30), (20, 10)))
    made = Store.create(folder, labels={"fur": "mask", "outline": "trimap"})[0]
    yield made
    made.engine.dispose()


@pytest.fixture
def client(labelled):
    headers = {"X-Annotation": "1"}
    app = create_app(service_of(labelled))
    with TestClient(app, "http://localhost", headers=headers, client=("127.0.0.1", 1)) as made:
        yield made


def test_each_image_has_an_entry_a_label_and_each_label_its_own_files(labelled):
    rows = queue.listing(labelled, EVE, Filter())
    assert [(r.name, r.label) for r in rows[:3]] == [
        ("portrait_0", "detail"),
        ("portrait_0", "fur"),
        ("portrait_0", "outline"),
    ]
    fur = next(r.id for r in rows if r.label == "fur")
    assert queue.listing(labelled, EVE, Filter(label="fur"))[0].id == fur
    save(labelled, fur, mask_of(labelled, fur))
    states.move(labelled, fur, "done", ANN)
    assert (labelled.folder / "fur" / "portrait_0.png").is_file()
    assert not (labelled.folder / "detailmap").exists()
    # A second pass is a label's own.
    assert passes.add_second_pass(labelled, 100, label="fur") == 2
    assert len(labelled.passes(fur)) == 2
    with pytest.raises(UnknownError, match="label must be one of detail, fur, outline, got hair"):
        passes.add_second_pass(labelled, 100, label="hair")


def finish(store, label, name, mask):
    entry = next(r.id for r in queue.listing(store, EVE, Filter(label=label)) if r.name == name)
    base = store.entry(entry).head
    save(store, entry, mask, base=base)
    states.move(store, entry, "done", ANN)


def test_labels_are_exported_apart_and_together(labelled, tmp_path):
    shape = (30, 40)
    detail, fur = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    detail[3:9, 5:20], fur[10:20, 1:7] = 255, 255
    finish(labelled, "detail", "portrait_0", detail)
    finish(labelled, "fur", "portrait_0", fur)
    trimap = np.where(detail > 0, np.uint8(128), fur)
    finish(labelled, "outline", "portrait_0", trimap)
    assert export(labelled, tmp_path / "p", "png", labels=["detail", "fur"]).masks == 2
    for name, mask in (("detail", detail), ("fur", fur)):
        png = (tmp_path / "p" / name / "portrait_0.png").read_bytes()
        np.testing.assert_array_equal(decode_mask(png, 40, 30), mask)
    card = (tmp_path / "p" / "README.md").read_text()
    assert "| Images | 1 |\n| Masks | 2 |" in card
    assert "| Annotator | Masks |\n|---|---|\n| ann | 2 |\n" in card
    assert "| With a conflict to settle | none |" in card
    export(labelled, tmp_path / "c", "coco", labels=["detail", "fur"])
    document = json.loads((tmp_path / "c" / "detail.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["detail", "fur"]
    assert [(a["image_id"], a["area"]) for a in document["annotations"]] == [(1, 90), (1, 60)]
    export(labelled, tmp_path / "t", "trimap", labels=["outline"])
    png = (tmp_path / "t" / "trimap" / "portrait_0.png").read_bytes()
    np.testing.assert_array_equal(decode_mask(png, 40, 30), trimap)
    for kind, labels in (("benchmark", ["detail", "fur"]), ("coco", ["outline"])):
        with pytest.raises(StoreError, match=f"{kind} must be"):
            export(labelled, tmp_path / "x", kind, labels=labels)
    # What comes in goes under the label that it is of.
    done = import_masks(labelled, tmp_path / "p" / "fur", "png", under="fur")
    assert done.taken == ("portrait_0",)


def test_the_data_card_names_images_with_saves_that_nobody_has_looked_at(labelled, tmp_path):
    finish(labelled, "detail", "portrait_0", np.zeros((30, 40), np.uint8))
    states.move(labelled, 1, "in_review", EVE)
    states.move(labelled, 1, "accepted", EVE)
    # What a browser kept, and sent after the acceptance.
    assert save(labelled, 1, mask_of(labelled, 1), base=1).conflict is not None
    export(labelled, tmp_path / "p", "png")
    card = (tmp_path / "p" / "README.md").read_text()
    assert "| With a conflict to settle | portrait_0 |" in card


def test_images_without_a_matte_are_left_out_of_the_benchmark(tmp_path):
    folder = make_dataset(tmp_path / "d", sizes=((40, 30), (20, 10)))
    (folder / "alpha" / "portrait_1.png").unlink()
    store = Store.create(folder, labels={"matte": "alpha"})[0]
    for name, shape in (("portrait_0", (30, 40)), ("portrait_1", (10, 20))):
        finish(store, "detail", name, np.full(shape, 255, np.uint8))
    done = export(store, tmp_path / "out")
    assert done.masks == 1
    assert done.left_out == (
        "portrait_1 is left out: the benchmark needs a matte, and alpha/ has none of it",
    )
    assert list(benchmark_problems("5", tmp_path / "out", None)) == []
    assert "| Left out for want of a matte | 1 |" in (tmp_path / "out" / "README.md").read_text()
    # A matte that was touched up here is one.
    finish(store, "matte", "portrait_1", np.full((10, 20), 77, np.uint8))
    assert export(store, tmp_path / "both", alpha_label="matte").masks == 2
    matte = decode_mask((tmp_path / "both" / "alpha" / "portrait_1.png").read_bytes(), 20, 10)
    assert (matte == 77).all()
    assert list(benchmark_problems("5", tmp_path / "both", None)) == []
    for kind, name, message in (
        ("benchmark", "mate", "label must be one of detail, matte, got mate"),
        ("benchmark", "detail", "alpha_label must be a label of mattes, got detail, a mask"),
        ("png", "matte", "alpha_label must come with benchmark, got png"),
    ):
        with pytest.raises(StoreError, match=message):
            export(store, tmp_path / "refused", kind, alpha_label=name)
    assert not (tmp_path / "refused").exists()
    store.engine.dispose()


def test_trimaps_hold_three_values(labelled):
    outline = queue.listing(labelled, EVE, Filter(label="outline"))[0].id
    mask = np.full((30, 40), 128, np.uint8)
    mask[:5], mask[-5:] = 0, 255
    save(labelled, outline, mask)
    mask[7, 7] = 90
    with pytest.raises(MaskError, match="trimap must hold the levels 0, 128 and 255 alone, got 90"):
        save(labelled, outline, mask, base=1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"image": "mask"}, "label must be 1 to 64 letters"),
        ({"../x": "mask"}, "label must be 1 to 64 letters"),
        ({"fur": "picture"}, "kind of label fur must be one of mask, trimap, alpha"),
        ({"detail": "alpha"}, "label detail must stay a mask, got alpha"),
    ],
)
def test_bad_labels_are_refused(dataset, labels, message):
    with pytest.raises(StoreError, match=message):
        Store.create(dataset, labels=labels)


def test_a_label_has_no_place_that_the_pattern_takes(dataset):
    with pytest.raises(StoreError, match="annotation, fur, got 'fur': choose another name"):
        Store.create(dataset, pattern="fur/{name}.png", labels={"fur": "mask"})


def test_comments_at_places(client, labelled):
    said = {"x": 3.5, "y": 4, "text": "is this hair?"}
    (pin,) = client.post("/api/entries/1/pins", json=said).json()
    assert (pin["author"], pin["text"]) == ("local", "is this hair?")
    assert client.get("/api/entries/1").json()["pins"] == [pin]
    for bad, message in (({"text": " "}, "1 to 2000 characters"), ({"x": 40}, "within the image")):
        answer = client.post("/api/entries/1/pins", json=said | bad)
        assert (answer.status_code, message in answer.text) == (422, True)
    assert client.post(f"/api/pins/{pin['id']}/settle").status_code == 200
    assert client.get("/api/entries/1").json()["pins"] == []
    assert client.post(f"/api/pins/{pin['id']}/settle").status_code == 404


def test_the_page_shows_an_image_that_was_only_opened_as_nobodys(client, labelled):
    until = leases.take(labelled, 1, ANN, "a" * 32)
    assert client.get("/api/entries/1").json()["assignee"] == "ann"
    labelled.clock = lambda: until + 1
    assert client.get("/api/entries/1").json()["assignee"] is None


def test_a_lease_tells_whose_the_image_is_with_it_and_after_it(client, labelled):
    token = {"token": "a" * 32}
    assert client.post("/api/entries/1/lease", json=token).json()["assignee"] == "local"
    assert client.post("/api/entries/1/release", json=token).json() == {"assignee": None}


def test_a_note_replaces_only_the_one_that_was_shown(client, labelled):
    def write(note, seen):
        answer = client.post("/api/entries/1/note", json={"note": note, "seen": seen})
        return answer.status_code, answer.json().get("message", ""), labelled.entry(1).note

    states.annotate(labelled, 1, ANN, note="wild curls")
    status, message, stored = write("a hat", "")
    assert (status, stored) == (412, "wild curls")
    assert "somebody wrote meanwhile, 'wild curls': put both into one" in message
    assert write(" wild curls, a hat\n", "wild curls ")[::2] == (200, "wild curls, a hat")
    # Sent again, as after an answer that was lost.
    assert write("wild curls, a hat", "wild curls")[::2] == (200, "wild curls, a hat")
    assert client.post("/api/entries/1/note", json={"flagged": True}).status_code == 200
    assert (labelled.entry(1).note, labelled.entry(1).flagged) == ("wild curls, a hat", True)


def test_a_batch_does_what_it_may_and_tells_the_rest(labelled):
    for entry in (1, 2):
        save(labelled, entry, mask_of(labelled, entry))
        states.move(labelled, entry, "done", ANN)
    save(labelled, 3, np.zeros((30, 40), np.uint8))
    refused = states.batch(labelled, [1, 2, 3], EVE, "accept")
    assert list(refused) == [3]
    assert "after in_work" in refused[3]
    assert [labelled.entry(n).state for n in (1, 2, 3)] == ["accepted", "accepted", "in_work"]
    assert states.batch(labelled, [1, 2, 3], EVE, "assign", assignee="bob") == {}
    assert labelled.entry(3).assignee == "bob"
    assert list(states.batch(labelled, [1], ANN, "accept")) == [1]


def test_a_batch_that_refuses_leaves_an_entry_as_it_is(labelled):
    save(labelled, 1, mask_of(labelled, 1))
    states.move(labelled, 1, "done", ANN)
    assert "comment must say why" in states.batch(labelled, [1], EVE, "return")[1]
    save(labelled, 1, mask_of(labelled, 1, 2), "bob", 0)
    assert "no open conflict to be accepted" in states.batch(labelled, [1], EVE, "accept")[1]
    assert labelled.entry(1).state == "done"
    assert states.batch(labelled, [1], EVE, "return", comment="the fringe") == {}
    assert labelled.entry(1).state == "returned"


def test_the_guideline_is_markdown_without_scripts(client, labelled):
    assert client.get("/api/guideline").json() == {"html": ""}
    own = labelled.folder / "annotation"
    text = "# Hair\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![e](e.png)\n"
    (own / "guideline.md").write_text(text)
    html = client.get("/api/guideline").json()["html"]
    assert "<h1>Hair</h1>" in html
    assert "<script" not in html
    assert 'href="javascript' not in html
    (own / "guideline").mkdir()
    (own / "guideline" / "e.png").write_bytes(b"picture")
    answer = client.get("/api/guideline/e.png")
    assert (answer.content, answer.headers["content-type"]) == (b"picture", "image/png")
    for bad in ("f.png", "users.json", "..%2fusers.json"):
        assert client.get(f"/api/guideline/{bad}").status_code == 404


def test_settings_are_each_persons_own(client):
    assert client.get("/api/preferences").json() == {}
    client.post("/api/preferences", json={"value": {"sizes": {"brush": 7}}})
    assert client.get("/api/preferences").json() == {"sizes": {"brush": 7}}
    answer = client.post("/api/preferences", json={"value": {"keys": "k" * 30_000}})
    assert answer.status_code == 422


def test_a_cached_layer_waits_for_no_computation(labelled):
    """What is computed, in a process of its own, holds up neither the cache nor other images."""
    layers = service_of(labelled).layers
    with labelled.reading() as session:
        images = session.query(Image).order_by(Image.id).all()
    layers.png(images[0], "guidance")
    with layers._choosing:
        lock = layers._locks[images[0].id]
    with lock:  # as while a layer of the first image is computed
        assert layers.png(images[0], "guidance")
        assert layers.png(images[1], "edges")
    worker = Worker()
    job = (labelled.folder, images[1].file, None, images[1].sha256, "edges")
    worker.run(*job, None)
    worker.close()


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text

    from benchmark_data_tools.annotation.storage import database

    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(database._MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO setting VALUES ('pattern', 'd/{name}.png'), ('dataset', 'x')",
            "INSERT INTO image VALUES (1, 'a', 'image/a.png', NULL, 4, 4, 'h')",
            "INSERT INTO entry VALUES (1, 1, 1, 'done', 'ann', 1, '', 'n', 0)",
            "INSERT INTO revision VALUES "
            "(1, 1, 1, 0, 's', 'f', 'ann', 1, 2, 3, 'paint', 4, 'm', 'v')",
            "INSERT INTO lease VALUES (1, 'ann', 't', 5)",
        ):
            connection.execute(text(statement))
    engine.dispose()
    assert durability._work(tmp_path / "old.db").entries == {("a (detail, pass 1)",)}
    engine = connect(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, label, head, note FROM entry")).all()
        assert rows == [(1, "detail", 1, "n")]
        assert connection.execute(text("SELECT assignee, taken FROM entry")).all() == [("ann", 0)]
        assert connection.execute(text("SELECT pattern FROM label")).all() == [("d/{name}.png",)]
        assert connection.execute(text("SELECT * FROM lease")).all() == []
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("PRAGMA foreign_keys")).all() == [(1,)]
    engine.dispose()
