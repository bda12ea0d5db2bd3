"""COCO, CVAT, Label Studio and labelme, with files that these tools wrote and read themselves."""

import base64
import json
import struct
import zipfile
import zlib
from pathlib import Path
from time import process_time
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from annotation_samples import make_dataset, make_many, save, service_of
from fastapi.testclient import TestClient
from foreign import cross_test
from sqlalchemy import insert, select, update

from benchmark_data_tools.annotation.formats.exports import data_card, export
from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.formats.rle import label_studio_decode, label_studio_encode
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import ALONE
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Image, Revision
from benchmark_data_tools.annotation.team import progress, states

FILES = Path(cross_test.__file__).parent / "kept"


def test_what_other_tools_wrote_comes_in_pixel_by_pixel(tmp_path):
    assert cross_test.check_theirs(FILES / "theirs", tmp_path) == 33


def test_what_was_drawn_in_label_studio_comes_in(tmp_path):
    folder = make_dataset(tmp_path / "ds", sizes=((512, 512),))
    (folder / "image" / "portrait_0.png").rename(folder / "image" / "a portrait (1).png")
    store = Store.create(folder, labels={"hair": "mask"})[0]
    for kind in ("brush", "bitmask"):
        path = FILES / "label_studio" / f"{kind}.json"
        drawn = json.loads(path.read_text("utf-8"))[0]["annotations"][0]["result"]
        for entry_id, label in ((1, "detail"), (2, "hair")):
            options = {"categories": [label], "under": label}
            assert import_masks(store, path, "label_studio", **options).problems == ()
            if kind == "brush":  # what Label Studio made of it when it exported PNGs
                expected = cv2.imread(str(path.with_name(f"brush_{label}.png")), -1)
            else:
                (one,) = (r for r in drawn if r["value"]["bitmasklabels"] == [label])
                expected = np.array(pixels(one["value"]["imageDataURL"]))[..., 3]
            latest = store.revisions(entry_id)[-1].number
            np.testing.assert_array_equal(store.mask(entry_id, latest), expected)
    store.engine.dispose()


def pixels(value):
    """Return JSON with pixels in place of PNGs, whose bytes depend on their encoder."""
    if isinstance(value, dict):
        return {k: pixels(v) for k, v in value.items() if k != "version"}
    if isinstance(value, list):
        return [pixels(one) for one in value]
    if isinstance(value, str) and "iVBORw0KGgo" in value:  # a PNG's beginning in base64
        png = np.frombuffer(base64.b64decode(value.split(",")[-1]), np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_UNCHANGED).tolist()
    return value


def test_what_other_tools_read_is_what_is_written(tmp_path):
    cross_test.write_ours(tmp_path / "dataset", tmp_path / "ours")
    compared = 0
    for file in sorted((FILES / "ours").rglob("*")):
        written = tmp_path / "ours" / file.relative_to(FILES / "ours")
        if file.suffix == ".json":
            assert pixels(json.loads(written.read_text("utf-8"))) == pixels(
                json.loads(file.read_text("utf-8"))
            )
        elif file.suffix == ".xml":
            assert ElementTree.canonicalize(written.read_text("utf-8")) == (
                ElementTree.canonicalize(file.read_text("utf-8"))
            )
        compared += file.suffix in (".json", ".xml")
    assert compared == 9


def test_brushes_go_round_whatever_the_runs():
    for size, values in (((1, 1), 1), ((3, 70_000), 2), ((9, 7), 256), ((300, 300), 3)):
        mask = np.random.default_rng(0).integers(0, values, size).astype(np.uint8)
        mask[:, size[1] // 2 :] = 255
        encoded = label_studio_encode(mask)
        np.testing.assert_array_equal(label_studio_decode(encoded, size[1], size[0]), mask)


@pytest.fixture
def store(dataset):
    """A store of three images: one mask with soft edges, one empty, one not done."""
    store = Store.create(dataset)[0]
    soft = np.zeros((30, 40), np.uint8)
    soft[3:9, 5:20], soft[9, 5:20] = 255, 60
    save(store, 1, soft)
    save(store, 2, np.zeros((47, 33), np.uint8))
    for entry_id in (1, 2):
        states.move(store, entry_id, "done", ALONE)
    yield store
    store.engine.dispose()


@pytest.mark.parametrize("kind", ["label_studio", "label_studio_bitmask"])
def test_soft_edges_are_kept_where_asked(store, tmp_path, kind):
    for soft in (False, True):
        export(store, tmp_path / str(soft), kind, soft=soft)
        other = Store.create(make_dataset(tmp_path / f"other {soft}"))[0]
        import_masks(other, tmp_path / str(soft) / "tasks.json", "label_studio")
        expected = store.mask(1) if soft else np.where(store.mask(1) > 127, 255, 0)
        np.testing.assert_array_equal(other.mask(1), expected)
        np.testing.assert_array_equal(other.mask(2), 0)
        other.engine.dispose()


def test_names_in_label_studios_addresses_are_escaped_and_prefixes_are_not(tmp_path):
    folder = make_dataset(tmp_path / "ds", sizes=((40, 30),))
    name = "a&b+c#d%20e?.png"
    (folder / "image" / "portrait_0.png").rename(folder / "image" / name)
    store = Store.create(folder)[0]
    save(store, 1, np.full((30, 40), 255, np.uint8))
    states.move(store, 1, "done", ALONE)
    for number, prefix in enumerate((None, "https://host/x?a=1&d=train/")):
        export(store, tmp_path / str(number), "label_studio", image_prefix=prefix)
        path = tmp_path / str(number) / "tasks.json"
        address = json.loads(path.read_text())[0]["data"]["image"]
        assert parse_qs(urlsplit(address).query)["d"][0].endswith(f"/{name}")
        assert import_masks(store, path, "label_studio").problems == ()
    store.engine.dispose()


def test_the_data_card_of_many_images_is_written_in_seconds(tmp_path):
    """With each head sought among all revisions of all images, 1000 images took 18 s."""
    store = make_many(tmp_path / "many", 1000)
    same = {"author": "ann", "saved_at": 0, "active_seconds": 1, "strokes": 1, "kind": "paint"}
    same |= {"file": "", "detail_px": 40, "tool_version": ""}
    rows = [
        {"entry_id": entry, "number": n, "parent": n - 1, "save_id": f"{entry}-{n}"}
        | {"mask_sha256": f"{entry}-{n}"}
        | same
        for entry in range(1, 1001)
        for n in range(1, 16)
    ]
    with store.changing() as session:
        session.execute(insert(Revision), rows)
        session.execute(update(Entry).values(head=15, state="done"))
        chosen = session.execute(select(Entry, Image).join(Image, Image.id == Entry.image_id)).all()
    before = process_time()
    card = data_card(store, [(entry, image) for entry, image in chosen], "png")
    assert "| Detail, mean part of the image | 10.00 % |" in card
    assert process_time() - before < 10
    store.engine.dispose()


def test_what_was_imported_alone_was_not_corrected(store, tmp_path):
    row = "| Begun from a proposal or an import, then corrected | {} |"
    mask = store.mask(1)
    for number, kind in enumerate(("import", "correction")):
        save(store, 1, mask // (number + 2), "ann", 1 + number, kind=kind)
        states.move(store, 1, "done", ALONE)
        export(store, tmp_path / kind, "png")
        assert row.format(number) in (tmp_path / kind / "README.md").read_text()
        assert progress.progress(store).corrected == number


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme", "trimap"])
def test_soft_edges_are_refused_where_a_format_has_no_place_for_them(store, tmp_path, kind):
    message = "soft must come with benchmark, png, label_studio, label_studio_bitmask, got"
    with pytest.raises(StoreError, match=f"{message} {kind}: leave it out"):
        export(store, tmp_path / "out", kind, soft=True)
    assert not (tmp_path / "out").exists()


def test_what_cvat_has_no_place_for_is_named(store, tmp_path):
    done = export(store, tmp_path / "out", "cvat")
    assert done.masks == 1
    assert done.left_out == (
        "portrait_1 is left out: its mask is empty, and CVAT has no empty masks",
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Images | 1 |" in card
    assert "| Left out | 1 |" in card
    with pytest.raises(StoreError, match="image_prefix must come with coco, cvat, label_studio"):
        export(store, tmp_path / "other", "labelme", image_prefix="train/")


# A PNG's beginning that says 60000x60000.
BOMB = base64.b64encode(
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + (ihdr := b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    + struct.pack(">I", zlib.crc32(ihdr))
    + struct.pack(">I", 8)
    + b"IDAT"
    + bytes(12)
).decode()
CVAT = '<annotations><image name="portrait_0.png" width="40" height="30">{}</image></annotations>'
MASK = '<mask label="hair" rle="{}" left="{}" top="2" width="{}" height="1"/>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CVAT.format(MASK.format("1, 3", 38, 4)), "mask must lie within the image, got a box"),
        (CVAT.format(MASK.format("1, 2", 3, 4)), "rle must fill 4x1 pixels, got runs of 3"),
        (CVAT.format(MASK.format("1, -1, 4", 3, 4)), "rle must fill 4x1 pixels"),
        (CVAT.format(MASK.format("1, x", 3, 4)), "rle must be whole numbers"),
        (CVAT.format(MASK.format(f"1, {10**30}", 3, 4)), "rle must be whole numbers"),
        (CVAT.format(MASK.format("1, 3", "x", 4)), "left of mask must be a whole number, got 'x'"),
        (CVAT.format('<polygon label="a" points="1,2;3"/>'), "polygon must be a list of numbers"),
        (CVAT.format('<box label="a" xtl="1"/>'), "shape must be a mask or a polygon, got box"),
        (CVAT.replace("40", "41").format(MASK.format("1, 3", 3, 4)), "must have the image's size"),
        ('<annotations><track id="1"/></annotations>', "got tracks of a video"),
        ("<other/>", "it must hold annotations, got other"),
        ("<annotations>", "XML must be whole, got an error"),
        ('<?xml version="1.0" encoding="utff-8"?><a/>', "unknown encoding: utff-8"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "XML must have no entities"),
    ],
)
def test_what_is_wrong_with_cvats_file_is_named(store, tmp_path, text, message):
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    try:
        (problem,) = import_masks(store, path, "cvat").problems
    except StoreError as error:
        problem = str(error)
    assert message in problem
    assert len(store.revisions(1)) == 1


@pytest.mark.parametrize("damage", ["bytes", "checksum", "password", "method"])
def test_a_zip_that_cannot_be_unpacked_is_refused(store, tmp_path, damage):
    path = tmp_path / "annotations.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", "<annotations/>" * 9)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    at, value = {
        "bytes": (data.index(b".xml") + 4, 0xFF),
        "checksum": (central + 16, data[central + 16] ^ 1),
        "password": (central + 8, 1),
        "method": (central + 10, 99),
    }[damage]
    data[at] = value
    if damage == "password":
        data[6] = 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="must be whole and without a password"):
        import_masks(store, path, "cvat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [[1, 2], [90, 3]]}, "mask must lie within the image of 40x30, got a box from"),
        ({"points": [[1, 2]]}, "mask must have 2 points, got 1"),
        ({"points": [[1, "x"], [2, 3]]}, "points must be pairs of numbers"),
        ({"mask": "AAAA"}, "mask must be a PNG in base64"),
        (
            {"shape_type": "polygon", "points": [[1, 2]]},
            "polygon must have 3 or more points, got 1",
        ),
        ({"mask": BOMB}, "mask must be a PNG in base64"),
        ({"points": [[1, 2], [2, 2]]}, "mask must have the image's size 2x1, got 3x2"),
        ({"shape_type": "line"}, "shape must be one of mask, rectangle"),
    ],
)
def test_what_is_wrong_with_labelmes_file_costs_its_image_alone(store, tmp_path, change, message):
    png = base64.b64encode(cv2.imencode(".png", np.ones((2, 3), np.uint8))[1]).decode()
    shape = {"label": "a", "shape_type": "mask", "points": [[1, 2], [3, 3]], "mask": png}
    for n, size in enumerate([(40, 30), (33, 47)]):
        document = {
            "imagePath": f"..\\image\\portrait_{n}.png",
            "imageWidth": size[0],
            "imageHeight": size[1],
            "shapes": [shape | change if n == 0 else shape],
        }
        (tmp_path / "theirs").mkdir(exist_ok=True)
        (tmp_path / "theirs" / f"{n}.json").write_text(json.dumps(document))
    done = import_masks(store, tmp_path / "theirs", "labelme")
    assert done.taken == ("portrait_1",)
    assert message in done.problems[0]


# --- Label Studio's protocol for models --------------------------------------------------------


def requests_of(path):
    recorded = json.loads((FILES / "label_studio" / "requests.json").read_text("utf-8"))
    return [one for one in recorded if one["path"] == path]


@pytest.fixture
def asked(tmp_path):
    """The application over the image that Label Studio's recorded tasks name, and its store."""
    folder = make_dataset(tmp_path / "ds", sizes=((40, 30),))
    (folder / "image" / "portrait_0.png").rename(folder / "image" / "a portrait (1).png")
    (folder / "alpha" / "portrait_0.png").rename(folder / "alpha" / "a portrait (1).png")
    store = Store.create(folder)[0]
    with TestClient(
        create_app(service_of(store)), base_url="http://127.0.0.1", client=("127.0.0.1", 1)
    ) as client:
        yield client, store
    store.engine.dispose()


def test_label_studios_requests_are_answered_with_proposals(asked):
    client, store = asked
    assert client.get("/label_studio/health").json()["status"] == "UP"
    for setup, predict in zip(
        requests_of("/label_studio/setup"), requests_of("/label_studio/predict"), strict=True
    ):
        version = client.post("/label_studio/setup", json=setup["body"]).json()["model_version"]
        answer = client.post("/label_studio/predict", json=predict["body"]).json()["results"]
        # The second task's image is none of the dataset's.
        assert answer[1] == []
        assert answer[0]["model_version"] == version
        (result,) = answer[0]["result"]
        assert (result["from_name"], result["to_name"]) == ("mask", "image")
        assert result["value"][result["type"]] == ["detail"]
        assert (result["original_width"], result["original_height"]) == (40, 30)
        proposed = service_of(store).layers.proposal(store.image(1), opening_px=5, kernel_px=15)
        assert proposed.any()
        if "rle" in result["value"]:
            shown = label_studio_decode(result["value"]["rle"], 40, 30)
        else:
            shown = np.array(pixels(result["value"]["imageDataURL"]))[..., 3]
        np.testing.assert_array_equal(shown, proposed)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("<View", "label_config must be Label Studio's, got none"),
        ("<View><Image name='i' value='$i'/></View>", "label_config must have BrushLabels, Brush"),
        (
            "<View><Image name='i' value='$i'/><BrushLabels name='m' toName='i'><Label value='a'/>"
            "<Label value='b'/></BrushLabels></View>",
            "label_config must have a label of the dataset's, detail, got a, b",
        ),
    ],
)
def test_interfaces_that_take_no_masks_are_refused(asked, config, message):
    answer = asked[0].post("/label_studio/setup", json={"schema": config})
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_label_studio_needs_a_password_where_there_are_users(asked):
    client, store = asked
    service_of(store).users.put("ann", "admin", "a long password")
    health, right = "/label_studio/health", ("ann", "a long password")
    assert client.get(health).status_code == 401
    assert client.get(health, auth=("ann", "wrong password")).status_code == 401
    assert client.get(health, auth=right).status_code == 200
    other_site = {"Origin": "https://example.org"}
    assert client.get(health, auth=right, headers=other_site).status_code == 403
    # What a cookie opens stays closed to programs, and the other way round.
    login = {"name": "ann", "password": right[1]}
    client.post("/api/login", json=login, headers={"X-Annotation": "1"})
    assert client.get("/api/me").status_code == 200
    assert client.get(health).status_code == 401
