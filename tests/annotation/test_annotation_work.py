"""Queue, people, agreement, proposals, exchange, commands and the server, without a browser."""

import json
import sqlite3
import subprocess
import sys
import threading
import weakref
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from annotation_samples import StandIn, make_dataset, mask_of, save, service_of
from fastapi import FastAPI
from pycocotools import mask as coco_masks
from starlette.testclient import TestClient

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.annotation.formats.exports import export
from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.formats.rle import (
    coco_decode,
    coco_encode,
    label_studio_decode,
)
from benchmark_data_tools.annotation.places import durability
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.server.proposals import Layers, NetworkProposer, detail_of
from benchmark_data_tools.annotation.storage import masks
from benchmark_data_tools.annotation.storage.errors import ForbiddenError, StoreError, UnknownError
from benchmark_data_tools.annotation.storage.masks import encode_mask
from benchmark_data_tools.annotation.storage.people import ALONE, User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry
from benchmark_data_tools.annotation.team import agreement, leases, passes, queue, states
from benchmark_data_tools.annotation.team.queue import Filter
from benchmark_data_tools.annotation.team.users import UserError, Users
from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import problems as benchmark_problems
from mgm_core.images import read_mask, write_image

ANN, BOB = User("ann", "annotator"), User("bob", "annotator")
EVE, ADA = User("eve", "reviewer"), User("ada", "admin")


# --- Queue -----------------------------------------------------------------------------------


def test_the_way_of_an_image_through_the_queue(store):
    leases.take(store, 1, ANN, "a" * 32)
    with pytest.raises(StoreError, match="state must be in_work or skipped after open"):
        states.move(store, 1, "done", ANN)
    save(store, 1, mask_of(store, 1), "ann", 0)
    states.move(store, 1, "done", ANN)
    leases.release(store, 1, "a" * 32)
    with pytest.raises(ForbiddenError, match="user must be a reviewer to review, got ann"):
        states.move(store, 1, "in_review", ANN)
    states.move(store, 1, "in_review", EVE)
    with pytest.raises(StoreError, match="comment must say why, got none"):
        states.move(store, 1, "returned", EVE, " ")
    states.move(store, 1, "returned", EVE, "the fringe is missing")
    assert store.entry(1).comment == "the fringe is missing"
    save(store, 1, mask_of(store, 1, 1), "ann", 1)
    states.move(store, 1, "done", ANN)
    states.move(store, 1, "in_review", EVE)
    states.move(store, 1, "accepted", EVE)
    with pytest.raises(StoreError, match="state must be in_review after accepted, got done"):
        states.move(store, 1, "done", EVE)
    published = read_mask(store.published_path(store.image(1)))
    np.testing.assert_array_equal(np.rint(published * 255), mask_of(store, 1, 1))


def test_listing_filters_and_searches(store):
    save(store, 2, mask_of(store, 2), "ann", 0)
    states.annotate(store, 3, ANN, note="A wild BEARD", flagged=True)
    states.assign(store, 1, EVE, "bob")

    def ids(user, **wanted):
        return [row.id for row in queue.listing(store, user, Filter(**wanted))]

    assert ids(ANN) == [1, 2, 3]
    assert ids(ANN, state="in_work") == [2]
    assert ids(ANN, search="beard") == [3]
    assert ids(ANN, search="%") == []
    assert ids(ANN, search="AIT_1") == [2]
    assert ids(ANN, flagged=True) == [3]
    assert ids(ANN, mine=True) == [2, 3]
    assert ids(EVE, assignee="bob") == [1]
    assert ids(EVE, assignee="") == [2, 3]
    assert ids(EVE, assignee="carl") == []
    with pytest.raises(StoreError, match=r"state must be one of open, .*, got 'lost'"):
        ids(ANN, state="lost")
    with pytest.raises(ForbiddenError, match="user must be a reviewer to assign"):
        states.assign(store, 1, ANN, "ann")


def test_the_list_tells_which_images_are_in_conflict(store):
    save(store, 2, mask_of(store, 2), "ann", 0)
    beside = save(store, 2, mask_of(store, 2, 1), "bob", 0)
    rows = queue.listing(store, EVE, Filter())
    assert [(row.id, row.conflict) for row in rows] == [(1, False), (2, True), (3, False)]
    assert queue.listing(store, EVE, Filter(conflict=True)) == [rows[1]]
    stale = {beside.conflict: beside.number}
    store.settle(2, mask_of(store, 2, 1), author=EVE, head=1, stale=stale)
    assert queue.listing(store, EVE, Filter(conflict=True)) == []


# --- People ----------------------------------------------------------------------------------


def test_users_passwords_and_cookies(store):
    now = [0.0]
    users = Users(store.folder, clock=lambda: now[0])
    assert not users.configured
    with pytest.raises(UserError, match="first user must be an admin, got annotator"):
        users.put("ann", "annotator", "long enough")
    users.put("ada", "admin", "long enough")
    users.put("ann", "annotator", "also long enough")
    users.put("hub", "reviewer", None)
    text = (store.folder / "annotation" / "users.json").read_text()
    assert "long enough" not in text
    assert users.check_password("ada", "long enough") == User("ada", "admin")
    for name, password in (("ada", "long  enough"), ("eve", "long enough"), ("hub", "")):
        assert users.check_password(name, password) is None
    cookie = users.sign("ann")
    assert users.signed_in(cookie) == User("ann", "annotator")
    assert users.signed_in(cookie.replace("ann", "ada")) is None
    assert users.signed_in("nonsense") is None
    users.put("ann", "annotator", "a new password")
    assert users.signed_in(cookie) is None
    cookie = users.sign("ann")
    now[0] = 8 * 24 * 3600
    assert users.signed_in(cookie) is None
    with pytest.raises(UserError, match="one admin must stay"):
        users.remove("ada")
    users.remove("ann")
    assert [user.name for user in users.all()] == ["ada", "hub"]
    for arguments, message in [
        (("a b", "admin", "long enough"), "name must be 1 to 64 letters"),
        (("x", "king", "long enough"), "role must be one of annotator"),
        (("x", "admin", "short"), "password must have 10 characters or more, got 5"),
    ]:
        with pytest.raises(UserError, match=message):
            users.put(*arguments)
    with pytest.raises(UserError, match="name must be a user's, got 'nobody'"):
        users.remove("nobody")


# --- Agreement -------------------------------------------------------------------------------


def squares():
    a, b = np.zeros((2, 20, 20), np.uint8)
    a[5:15, 5:15] = 255
    b[5:15, 10:20] = 200
    return a, b


def test_agreement_of_two_squares_by_hand():
    a, b = squares()
    assert agreement.iou(a, b) == 50 / 150
    assert agreement.iou(a, a) == agreement.boundary_f(a, a) == agreement.kappa(a, a) == 1
    empty = np.zeros_like(a)
    assert agreement.iou(empty, empty) == agreement.kappa(empty, empty) == 1
    assert agreement.boundary_f(a, empty) == 0
    # 100 of 400 pixels each, 300 agree: chance is 1/16 + 9/16.
    assert agreement.kappa(a, b) == pytest.approx((0.75 - 0.625) / 0.375)
    picture = agreement.disagreement_map(a, b)
    assert picture[10, 12].tolist() == [1, 1, 1]
    assert picture[10, 6, 0] > picture[10, 6, 2]
    assert picture[10, 18, 2] > picture[10, 18, 0]


def test_boundary_f_is_its_slow_twin():
    random = np.random.default_rng(0)
    a, b = (
        (cv2.GaussianBlur(random.random((40, 40)), (0, 0), 3) > 0.5).astype(np.uint8) * 255
        for _ in range(2)
    )

    def outline(mask):
        points = []
        for y in range(40):
            for x in range(40):
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = [(r, c) for r, c in around if 0 <= r < 40 and 0 <= c < 40]
                if mask[y, x] and any(not mask[r, c] for r, c in inside):
                    points.append((y, x))
        return np.array(points)

    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))

    def found(points, others):
        near = [
            any(
                abs(dy) <= 3 and abs(dx) <= 3 and ellipse[dy + 3, dx + 3]
                for dy, dx in others - point
            )
            for point in points
        ]
        return np.mean(near)

    p, q = outline(a), outline(b)
    precision, recall = found(p, q), found(q, p)
    expected = 2 * precision * recall / (precision + recall)
    assert 0.2 < expected < 0.95
    assert agreement.boundary_f(a, b) == pytest.approx(expected)


def test_pairs_means_and_csv(store):
    passes.add_second_pass(store, 100)
    rows = queue.listing(store, EVE, Filter())
    for row in rows:
        who = "ann" if row.blind_pass == 1 else "bob"
        image = store.image(row.id)
        mask = np.zeros((image.height, image.width), np.uint8)
        mask[4:10, 4 : 10 + 6 * row.blind_pass] = 255
        save(store, row.id, mask, who, 0)
        states.assign(store, row.id, EVE, who)
        if row.name != "portrait_2":
            states.move(store, row.id, "done", User(who, "annotator"))
    found = agreement.pairs(store)
    assert [(p.name, p.first, p.second) for p in found] == [
        ("portrait_0", "ann", "bob"),
        ("portrait_1", "ann", "bob"),
    ]
    assert found[0].iou == 12 / 18
    assert found[0].sad == pytest.approx(36 / 1000)  # 36 pixels differ by 1
    assert found[0].mse == pytest.approx(1000 * 36 / (40 * 30))
    means = agreement.means(found)
    assert [(m.label, m.who, m.images) for m in means] == [
        ("detail", "ann + bob", 2),
        ("detail", "ann", 2),
        ("detail", "bob", 2),
        ("detail", "all", 2),
    ]
    lines = agreement.to_csv(found).splitlines()
    assert lines[0] == "entry_id,name,label,first,second,iou,boundary_f,kappa,sad,mse"
    assert len(lines) == 3
    with pytest.raises(StoreError, match="entry must be the first of two finished passes, got 3"):
        agreement.map_of(store, 3)


def test_mattes_are_compared_by_their_levels(dataset, tmp_path):
    store = Store.create(dataset, labels={"matte": "alpha"})[0]
    assert passes.add_second_pass(store, 34, label="matte") == 1
    for row in queue.listing(store, EVE, Filter(label="matte")):
        if len(store.passes(row.id)) == 2:
            who = "ann" if row.blind_pass == 1 else "bob"
            image = store.image(row.id)
            matte = np.full((image.height, image.width), 200, np.uint8)
            if who == "bob":  # three pixels differ: by 0.2, by 0.4, and by 0.6 across one half
                matte[0, :3] = 251, 98, 47
            save(store, row.id, matte, who, 0)
            states.move(store, row.id, "done", User(who, "annotator"))
            states.move(store, row.id, "in_review", EVE)
    (pair,) = agreement.pairs(store)
    pixels = store.image(pair.entry_id).width * store.image(pair.entry_id).height
    assert (pair.label, pair.first, pair.second) == ("matte", "ann", "bob")
    assert pair.sad == pytest.approx((0.2 + 0.4 + 0.6) / 1000)
    assert pair.mse == pytest.approx(1000 * (0.04 + 0.16 + 0.36) / pixels)
    assert pair.iou == (pixels - 2) / pixels  # regions count from half on
    export(store, tmp_path / "out", "png", labels=["matte"])
    row = f"| matte | all | 1 | {pair.iou:.3f} | "
    assert any(
        line.startswith(row) and line.endswith(f"| {pair.sad:.3f} | {pair.mse:.3f} |")
        for line in (tmp_path / "out" / "README.md").read_text().splitlines()
    )
    store.engine.dispose()


# --- Proposals -------------------------------------------------------------------------------


def test_detail_is_the_fractional_band_opened_and_dilated():
    alpha = np.zeros((60, 60), np.float32)
    alpha[:, 20:40] = 0.5
    alpha[:, 40:] = 1
    alpha[10, 5] = 0.5  # a speck, which opening takes away
    band = detail_of(alpha, 0, 0)
    assert band[10, 5] == 255
    opened = detail_of(alpha, 5, 0)
    assert opened[10, 5] == 0
    np.testing.assert_array_equal(np.flatnonzero(opened[30]), np.arange(20, 40))
    grown = detail_of(alpha, 5, 11)
    np.testing.assert_array_equal(np.flatnonzero(grown[30]), np.arange(15, 45))
    with pytest.raises(ValueError, match="kernel_px must lie between 0 and 400, got 401"):
        detail_of(alpha, 0, 401)


def test_layers_are_computed_once_and_belong_to_the_image(store):
    calls = []

    class Counting(StandIn):
        def alpha(self, image, guidance):
            calls.append(image.shape)
            return super().alpha(image, guidance)

    layers = Layers(store.folder, Counting())
    image = store.image(1)
    for _ in range(2):
        for layer in ("network_alpha", "guidance", "band", "edges", "alpha"):
            assert read_mask(layers.png(image, layer)).shape == (30, 40)
    assert calls == [(30, 40, 3)]
    np.testing.assert_array_equal(
        read_mask(layers.png(image, "alpha")), read_mask(store.folder / image.alpha_file)
    )
    with pytest.raises(ValueError, match="layer must be one of"):
        layers.png(image, "../../etc/passwd")


def test_a_layer_is_computed_anew_once_what_it_is_made_of_changes(store):
    class Nothing(StandIn):
        key = "nothing"

        def guidance(self, image):
            return np.zeros_like(super().guidance(image))

    image = store.image(1)
    names = ("guidance", "network_alpha", "alpha", "band", "edges")

    def layers_of(proposer):
        layers = Layers(store.folder, proposer)
        return {name: layers.png(image, name) for name in names}

    def changed(one, other):
        return {name for name in names if one[name] != other[name]}

    first, other = layers_of(StandIn()), layers_of(Nothing())
    assert changed(first, other) == {"guidance", "network_alpha"}
    matte = store.folder / image.alpha_file
    write_image(matte, read_mask(matte) ** 2)
    squared = layers_of(StandIn())
    assert changed(first, squared) == {"alpha", "band"}
    image.alpha_file = None  # the network's stand for it
    assert changed(layers_of(StandIn()), layers_of(Nothing())) >= {"alpha", "band"}
    image.alpha_file = "alpha/gone.png"
    with pytest.raises(UnknownError, match=r"alpha/gone.png must be in the dataset"):
        Layers(store.folder, StandIn()).png(image, "alpha")


def test_networks_differ_by_weights_and_category(tmp_path):
    keys = [NetworkProposer().key, NetworkProposer(category="dog").key]
    keys.append(NetworkProposer("prn_resnet34").key)
    weights = tmp_path / "own.safetensors"
    for content in (b"first", b"trained on"):
        weights.write_bytes(content)
        keys.append(NetworkProposer(str(weights)).key)
    assert len(set(keys)) == len(keys)
    assert NetworkProposer().key == keys[0]


# --- Exchange --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_coco_rle_goes_round_and_is_pycocotools_own(seed):
    random = np.random.default_rng(seed)
    size = tuple(random.integers(1, 90, 2))
    detail = cv2.GaussianBlur(random.random(size), (0, 0), 1 + seed) > 0.5
    detail = [detail, np.zeros_like(detail), np.ones_like(detail)][seed // 2 % 3]
    mine = coco_encode(detail)
    theirs = coco_masks.encode(np.asfortranarray(detail.astype(np.uint8)))
    assert mine["counts"] == theirs["counts"].decode()
    assert mine["size"] == list(theirs["size"])
    np.testing.assert_array_equal(coco_decode(**mine), detail)


def test_bad_rle_is_refused():
    with pytest.raises(ValueError, match="counts must fill 2x2 pixels, got runs of 3"):
        coco_decode([2, 2], [1, 2])
    with pytest.raises(ValueError, match="counts must be COCO's characters, got ' '"):
        coco_decode([2, 2], "4 ")
    with pytest.raises(ValueError, match="bit stream that ends early"):
        label_studio_decode([0, 0], 2, 2)


def label_studio_encode(mask):
    """Label Studio's format by its description: each value alone, in runs of at most 8."""
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[..., 3] = mask
    values = values.ravel().tolist()
    bits = f"{len(values):032b}{7:05b}{2:04b}{7:04b}{15:04b}{15:04b}"
    at = 0
    while at < len(values):
        run = 1
        while run < 8 and at + run < len(values) and values[at + run] == values[at]:
            run += 1
        if run > 1:
            bits += f"1{0:02b}{run - 1:03b}{values[at]:08b}"
        else:
            bits += f"0{1:02b}{0:08b}{values[at]:08b}"
        at += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def test_label_studio_brushes_are_read():
    mask = np.random.default_rng(0).integers(0, 3, (7, 5)).astype(np.uint8) * 100
    np.testing.assert_array_equal(label_studio_decode(label_studio_encode(mask), 5, 7), mask)
    with pytest.raises(ValueError, match="rle must hold 4x7 pixels of RGBA, got 140 values"):
        label_studio_decode(label_studio_encode(mask), 4, 7)


def finish(store):
    drawn = {}
    for entry_id in (1, 2):
        image = store.image(entry_id)
        mask = np.zeros((image.height, image.width), np.uint8)
        mask[5:20, 8:25] = 255
        mask[5, 8] = 40  # a soft edge
        store.clock = lambda at=1000.0 * entry_id: at
        leases.take(store, entry_id, ANN, "a" * 32)
        store.clock = lambda at=1000.0 * entry_id + 10: at
        save(store, entry_id, mask, "ann", 0, strokes=2, active_seconds=10)
        leases.release(store, entry_id, "a" * 32)
        states.move(store, entry_id, "done", ALONE)
        drawn[image.name] = mask
    return drawn


def test_the_benchmarks_runner_reads_the_export(store, tmp_path):
    drawn = finish(store)
    assert export(store, tmp_path / "out").masks == 2
    samples = find_samples("5", tmp_path / "out")
    assert [sample.name for sample in samples] == ["portrait_0", "portrait_1"]
    for sample in samples:
        expected = (drawn[sample.name] >= 128).astype(np.float32)
        np.testing.assert_array_equal(read_mask(sample.files["detailmap"]), expected)
    assert list(benchmark_problems("5", tmp_path / "out", None)) == []
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Images | 2 |" in card
    assert "10 s an image" in card
    with pytest.raises(StoreError, match="out must be a new or empty folder"):
        export(store, tmp_path / "out")
    export(store, tmp_path / "soft", soft=True)
    soft = read_mask(tmp_path / "soft" / "detailmap" / "portrait_0_cloud_trimap.png")
    assert soft[5, 8] == pytest.approx(40 / 255)
    with pytest.raises(StoreError, match="dataset must have masks to write, got none in accepted"):
        export(store, tmp_path / "none", states=["accepted"])


def test_the_benchmarks_runner_reads_the_export_of_a_dataset_with_another_pattern(
    dataset, tmp_path
):
    store = Store.create(dataset, pattern="detailmap_png/{name}_cloud_trimap.png")[0]
    drawn = finish(store)
    export(store, tmp_path / "out")
    assert [sample.name for sample in find_samples("5", tmp_path / "out")] == list(drawn)
    store.engine.dispose()


# pycocotools is older than NumPy 2's word for copies.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_and_trimap_exports_come_back(store, tmp_path):
    drawn = finish(store)
    export(store, tmp_path / "coco", "coco")
    export(store, tmp_path / "trimaps", "trimap")
    document = json.loads((tmp_path / "coco" / "detail.json").read_text())
    first = document["annotations"][0]
    decoded = coco_masks.decode(
        {"size": first["segmentation"]["size"], "counts": first["segmentation"]["counts"].encode()}
    )
    np.testing.assert_array_equal(decoded > 0, drawn["portrait_0"] >= 128)
    assert first["area"] == decoded.sum()
    assert first["bbox"] == [8, 5, 17, 15]
    other = Store.create(make_dataset(tmp_path / "other"))[0]
    assert import_masks(other, tmp_path / "coco" / "detail.json", "coco").problems == ()
    np.testing.assert_array_equal(other.mask(1) > 0, drawn["portrait_0"] >= 128)
    assert [r.kind for r in other.revisions(1)] == ["import"]
    done = import_masks(other, tmp_path / "trimaps" / "trimap", "trimap")
    assert done.taken == ("portrait_0", "portrait_1")
    assert other.open_conflicts() == []  # the same pixels again
    other.engine.dispose()


def test_imports_of_pictures_and_brushes(store, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    drawn = np.zeros((30, 40), np.float32)
    drawn[3:9] = 1
    write_image(folder / "portrait_0_cloud_trimap.png", drawn)
    write_image(folder / "portrait_1.png", drawn)
    write_image(folder / "stranger.png", drawn)
    done = import_masks(store, folder, "png")
    assert done.taken == ("portrait_0",)
    assert done.problems == (
        "stranger.png: no image of the dataset has this name",
        "portrait_1.png: mask must have the image's size 33x47, got 40x30: it belongs to another "
        "image",
    )
    np.testing.assert_array_equal(store.mask(1), drawn * 255)
    brush = {
        "type": "brushlabels",
        "original_width": 33,
        "original_height": 47,
        "value": {"format": "rle", "rle": label_studio_encode(mask_of(store, 2))},
    }
    path = tmp_path / "studio.json"
    path.write_text(
        json.dumps(
            [{"data": {"image": "/data/portrait_1.png"}, "annotations": [{"result": [brush]}]}]
        )
    )
    assert import_masks(store, path, "label_studio").taken == ("portrait_1",)
    np.testing.assert_array_equal(store.mask(2), mask_of(store, 2))
    for kind, text, message in [
        ("coco", "[", "studio.json must be a JSON file, got none"),
        ("coco", "[]", "studio.json must be a COCO file, got none"),
        ("label_studio", '[{"data": {}}]', "studio.json must be a Label Studio JSON export"),
    ]:
        path.write_text(text)
        with pytest.raises(StoreError, match=message):
            import_masks(store, path, kind)


# --- Server ----------------------------------------------------------------------------------


@pytest.fixture
def client(store):
    with TestClient(
        create_app(service_of(store)),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
        headers={"X-Annotation": "1"},
    ) as made:
        yield made


SAVE = "/api/entries/1/revisions?base=0&save_id=" + "0" * 32


def test_the_server_saves_and_refuses(client, store):
    mask = mask_of(store, 1)
    answer = client.post(SAVE, content=encode_mask(mask))
    assert answer.json() == {"number": 1, "head": 1, "conflict": None, "state": "in_work"}
    np.testing.assert_array_equal(store.mask(1), mask)
    settling = {"take": "head", "head": "0" * 32, "stale": {"5": "0" * 32}}
    refusals = [
        (client.post(SAVE, content=b"x" * 100), 422, "mask must be a PNG file"),
        (client.post(SAVE, content=encode_mask(mask_of(store, 2))), 422, "it belongs to another"),
        (client.post(SAVE, content=b"x" * 200_000), 422, "mask must have at most 67936 bytes"),
        (client.post(SAVE.replace("base=0", "base=x"), content=b""), 422, "base must be valid"),
        (client.post(SAVE.replace("/1/", "/77/"), content=b""), 404, "must be one of this dataset"),
        (client.get("/api/entries/1/layers/secret"), 422, "layer must be valid"),
        (client.get("/api/entries/1/mask?revision=9"), 404, "revision must be one of entry 1"),
        (client.get("/api/entries/..%2f..%2fetc/image"), 404, ""),
        (client.get("/..%2fserver.py"), 404, ""),
        (client.post("/api/entries/1/settle", json=settling), 404, "must be an open one"),
        (client.post("/api/entries/1/settle", json=settling | {"head": ""}), 412, "was shown"),
        (client.post(SAVE + "&kind=import", content=encode_mask(mask)), 422, "kind must be valid"),
        (client.get("/api/queue", headers={"X-Annotation-User": "bob"}), 401, "user must be bob"),
        (client.post("/api/entries/1/lease", json={"token": "x"}), 422, "token must be valid"),
        (client.post("/api/entries/1/state", json={"state": "lost"}), 422, "state must be valid"),
        (client.post(SAVE, headers={"X-Annotation": ""}, content=b""), 422, ""),
    ]
    for answer, status, message in refusals:
        assert answer.status_code == status, answer.text
        assert message in answer.text
        assert str(store.folder) not in answer.text
    assert len(store.revisions(1)) == 1


def test_a_decision_counts_for_the_save_that_was_shown_alone(client, store):
    save(store, 1, mask_of(store, 1), "ann", 0)
    beside = save(store, 1, mask_of(store, 1, 1), "bob", 0)
    head, stale = (revision.save_id for revision in store.revisions(1))
    # What a page shows of a server that was restored from a copy since and has other saves.
    gone = "f" * 32
    settling = {"take": "union", "head": head, "stale": {str(beside.conflict): stale}}
    asked = {
        "settle": [settling | {"head": gone}, settling | {"stale": {str(beside.conflict): gone}}],
        "restore": [{"save": gone, "head": head}, {"save": head, "head": gone}],
        "state": [{"state": "skipped", "comment": "no hair", "head": gone}],
    }
    for path, bodies in asked.items():
        for body in bodies:
            answer = client.post(f"/api/entries/1/{path}", json=body)
            assert (answer.status_code, "restore from a copy" in answer.text) == (412, True)
    assert (store.entry(1).head, store.entry(1).state, len(store.revisions(1))) == (1, "in_work", 2)
    assert client.post("/api/entries/1/settle", json=settling).json()["head"] == 3
    late = client.post("/api/entries/1/state", json={"state": "done", "head": head})
    assert (late.status_code, "revision 1, got 3" in late.text) == (412, True)
    shown = store.revision(1, 3).save_id
    again = client.post("/api/entries/1/restore", json={"save": head, "head": shown})
    assert again.json()["number"] == 4
    np.testing.assert_array_equal(store.mask(1), mask_of(store, 1))
    done = {"state": "done", "head": store.revision(1, 4).save_id}
    assert client.post("/api/entries/1/state", json=done).json()["state"] == "done"


@pytest.mark.parametrize("take", ["head", "stale", "union", "intersection"])
def test_a_settlement_decodes_what_is_in_conflict_alone_and_few_masks_at_once(
    client, store, take, monkeypatch
):
    drawn = [mask_of(store, 1, seed) for seed in range(8)]
    for n, mask in enumerate(drawn):
        save(store, 1, mask, f"p{n}", 0)
    stale = {str(c.id): store.revision(1, c.stale).save_id for c in store.open_conflicts(1)}
    decoded = []
    store_mask = store.mask

    def counted(entry_id, number=None):
        alive = sum(one() is not None for one in decoded)
        mask = store_mask(entry_id, number)
        decoded.append(weakref.ref(mask))
        assert alive <= 3, "masks are held"
        return mask

    monkeypatch.setattr(store, "mask", counted)
    head, *others = (revision.save_id for revision in store.revisions(1))
    asked = {"take": take, "head": head, "stale": stale}
    made_up = asked | {"stale": stale | {str(n): others[0] for n in range(100, 9000)}}
    answer = client.post("/api/entries/1/settle", json=made_up)
    assert (answer.status_code, "must be an open one, got 100" in answer.text) == (404, True)
    assert decoded == []
    assert client.post("/api/entries/1/settle", json=asked).status_code == 200
    expected = {
        "head": drawn[0],
        "stale": np.max(drawn[1:], 0),
        "union": np.max(drawn, 0),
        "intersection": np.min(drawn, 0),
    }[take]
    np.testing.assert_array_equal(store_mask(1), expected)


def test_other_sites_and_other_machines_are_refused(store):
    app = create_app(service_of(store))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as bare:
        assert bare.post(SAVE, content=b"").status_code == 403
        assert bare.get("/api/me").status_code == 200
    for host, address in [("http://localhost", "10.0.0.7"), ("http://evil.example", "127.0.0.1")]:
        with TestClient(app, base_url=host, client=(address, 1)) as stranger:
            answer = stranger.get("/api/me")
            assert answer.status_code == 403
            assert "users must be configured before others may come" in answer.text
            assert stranger.get("/").status_code == 200
    sent = {
        **{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "a", "X-Forwarded-Proto": "https"},
        **{"X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1", "Via": "1.1 proxy"},
    }
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as proxied:
        for name, value in sent.items():
            assert proxied.get("/api/me", headers={name: value}).status_code == 403, name


def test_roles_hold_over_http(store):
    users = Users(store.folder)
    for name, role in (("ada", "admin"), ("ann", "annotator")):
        users.put(name, role, f"{name}-password")
    app = create_app(service_of(store))
    headers = {"X-Annotation": "1"}
    with TestClient(app, base_url="http://space.example", headers=headers) as client:
        assert client.get("/api/queue").status_code == 401
        wrong = client.post("/api/login", json={"name": "ann", "password": "?"})
        assert wrong.status_code == 401
        client.post("/api/login", json={"name": "ann", "password": "ann-password"})
        assert client.get("/api/me").json()["role"] == "annotator"
        assert client.get("/api/agreement").status_code == 403
        assert client.post("/api/entries/1/assignee", json={"assignee": "ann"}).status_code == 403
        client.post("/api/logout", json={})
        assert client.get("/api/me").status_code == 401
        client.post("/api/login", json={"name": "ada", "password": "ada-password"})
        assert client.post("/api/entries/1/assignee", json={"assignee": "ann"}).status_code == 200
        answer = client.post("/api/entries/1/assignee", json={"assignee": "nobody"})
        assert "assignee must be a user, got nobody" in answer.text


def test_a_reviewer_who_labelled_one_pass_sees_no_map_of_both(store, quick_passwords):
    users = Users(store.folder)
    for name, role in (("ada", "admin"), ("eve", "reviewer")):
        users.put(name, role, f"{name}-password")
    passes.add_second_pass(store, 100)
    one, two = (entry.id for entry in store.passes(1))
    for entry_id, who in ((one, "eve"), (two, "bob")):
        save(store, entry_id, mask_of(store, entry_id, entry_id), who)
        states.move(store, entry_id, "done", User("ada", "admin"))
    app = create_app(service_of(store))
    headers = {"X-Annotation": "1"}
    for name, status in (("eve", 403), ("ada", 200)):
        with TestClient(app, base_url="http://space.example", headers=headers) as client:
            client.post("/api/login", json={"name": name, "password": f"{name}-password"})
            assert client.get(f"/api/agreement/{one}.png").status_code == status
    # A look at the map would have kept her from what is returned to her.
    save(store, one, mask_of(store, one, 9), "eve", 1)


@pytest.mark.parametrize("name", ["ann", "Zoë", "Łukasz", "李雷"])
def test_names_of_all_letters_log_in(store, name):
    users = Users(store.folder)
    users.put("ada", "admin", "long enough")
    users.put(name, "annotator", "long enough")
    app = create_app(service_of(store))
    with TestClient(app, base_url="http://x.example", headers={"X-Annotation": "1"}) as client:
        client.post("/api/login", json={"name": name, "password": "long enough"})
        page_of = {"X-Annotation-User": quote(name)}
        assert client.get("/api/me", headers=page_of).json()["name"] == name
    assert users.sign("ada").startswith("ada|")  # as in the cookies of before


def test_a_full_disk_is_reported_to_the_page(client, store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr(masks.os, "fsync", full)
    answer = client.post(SAVE, content=encode_mask(mask_of(store, 1)))
    assert answer.status_code == 507
    assert answer.json()["message"] == (
        "disk must take the file, got No space left on device: free space or fix permissions"
    )
    monkeypatch.undo()
    assert client.post(SAVE, content=encode_mask(mask_of(store, 1))).status_code == 200


def test_a_lost_file_is_not_called_a_full_disk(client, store):
    save(store, 1, mask_of(store, 1))
    file = store.folder / "annotation" / "revisions" / store.revision(1, 1).file
    file.unlink()
    answer = client.get("/api/entries/1/mask")
    assert answer.status_code == 404
    assert f"{file.name} must be in the dataset, got no such file" in answer.json()["message"]
    assert str(store.folder) not in answer.text


def test_the_application_mounts_under_a_path(store):
    host = FastAPI()
    host.mount("/annotate", create_app(service_of(store)))
    with TestClient(host, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        assert "<title>Annotation</title>" in client.get("/annotate/").text
        assert client.get("/annotate/api/entries/1").json()["width"] == 40
        image = client.get("/annotate/api/entries/1/image").content
        assert image == (store.folder / "image" / "portrait_0.png").read_bytes()


# --- Durability ------------------------------------------------------------------------------


def test_a_snapshot_of_a_database_in_use_is_whole(store, tmp_path):
    stop = threading.Event()

    def write():
        base = 0
        while not stop.is_set():
            base = save(store, 1, mask_of(store, 1, base), "ann", base).number

    writer = threading.Thread(target=write)
    writer.start()
    for n in range(5):
        durability.snapshot(store.folder / "annotation" / "store.db", tmp_path / f"{n}.db")
    stop.set()
    writer.join()
    for n in range(5):
        connection = sqlite3.connect(tmp_path / f"{n}.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def test_a_space_without_storage_says_so(dataset, tmp_path, monkeypatch):
    disk = tmp_path / "data"
    assert durability.warning(dataset, copied=False, disk=disk) == ""
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert "disk is lost at its next restart" in durability.warning(
        dataset, copied=False, disk=disk
    )
    assert durability.warning(dataset, copied=True, disk=disk) == ""
    assert durability.safe_folder(dataset, disk) == dataset
    disk.mkdir()
    safe = durability.safe_folder(dataset, disk)
    assert safe == disk / "portraits"
    assert (safe / "image" / "portrait_0.png").is_file()
    assert durability.warning(safe, copied=False, disk=disk) == ""


# --- Commands --------------------------------------------------------------------------------


def test_the_commands(dataset, tmp_path, capsys, monkeypatch):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    assert run("annotate", dataset) == (
        1,
        f"error: {dataset} must be a dataset made ready for annotation, got a folder without "
        f"annotation/dataset.json: run `python -m benchmark_data_tools init {dataset}`\n",
    )
    status, text = run("init", dataset)
    assert status == 0
    assert "3 images" in text
    status, text = run("annotate", dataset, "--host", "0.0.0.0")
    assert status == 1
    assert "users must be configured where others can come, got none for host 0.0.0.0" in text
    monkeypatch.setattr(
        "sys.stdin",
        type("In", (), {"isatty": lambda _: False, "readline": lambda _: "long enough\n"})(),
    )
    assert run("users", dataset, "add", "ada", "--role", "admin") == (0, "")
    assert run("users", dataset, "list") == (0, "ada\tadmin\n")
    assert run("second-pass", dataset, "34") == (0, "1 images have two passes.\n")
    store = Store.open(dataset)
    finish(store)
    store.engine.dispose()
    assert run("export", dataset, tmp_path / "out") == (
        0,
        f"2 masks in {tmp_path / 'out'}, 0 left out.\n",
    )
    status, text = run("import", dataset, tmp_path / "out" / "detailmap")
    assert (status, text) == (0, "2 taken, 0 not.\n")
    status, text = run("stats", dataset)
    assert text.splitlines()[1].startswith("all")
    assert run("agreement", dataset)[1].startswith("entry_id,name")
    status, text = run("verify", dataset)
    assert (status, text.splitlines()[-1]) == (0, "0 problems.")


def test_a_new_password_leaves_the_role(store, capsys, monkeypatch, quick_passwords):
    monkeypatch.setattr(
        "sys.stdin",
        type("In", (), {"isatty": lambda _: False, "readline": lambda _: "long enough\n"})(),
    )
    for arguments in (("ada", "--role", "admin"), ("eve", "--role", "reviewer"), ("ann",)):
        assert main(["users", str(store.folder), "add", *arguments]) == 0
    for name in ("ada", "eve", "ann"):
        assert main(["users", str(store.folder), "add", name]) == 0
    capsys.readouterr()
    main(["users", str(store.folder), "list"])
    assert capsys.readouterr().out == "ada\tadmin\nann\tannotator\neve\treviewer\n"


def test_commands_load_neither_networks_nor_the_server(store):
    code = (
        "import sys; from benchmark_data_tools.__main__ import main; main(sys.argv[1:]); "
        "print(sorted({'torch', 'fastapi', 'gradio', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "stats", str(store.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_entries_of_the_second_pass_are_not_exported(store, tmp_path):
    finish(store)
    with store.changing() as session:
        session.add(Entry(image_id=1, blind_pass=2, state="done"))
    assert export(store, tmp_path / "out", "coco").masks == 2
