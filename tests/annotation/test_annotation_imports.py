"""Masks of other programs: each comes in alone, or is named with what is wrong with it."""

import base64
import io
import json
import random
import shutil

import numpy as np
import pytest
from annotation_samples import make_dataset, service_of
from fastapi.testclient import TestClient
from PIL import ExifTags, Image

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.annotation.formats.imports import import_masks
from benchmark_data_tools.annotation.formats.matching import ImageNames
from benchmark_data_tools.annotation.formats.rle import coco_encode
from benchmark_data_tools.annotation.server.app import create_app
from benchmark_data_tools.annotation.storage.masks import encode_mask
from benchmark_data_tools.annotation.storage.store import Store, StoreError
from mgm_core.images import encode_jpeg, encode_png, read_image

WIDTH, HEIGHT = 24, 16
NAMES = ("photo", "other", "my photo (1)")


def picture(n=0):
    return np.random.default_rng(n).random((HEIGHT, WIDTH, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "ds"
    (folder / "image").mkdir(parents=True)
    for n, name in enumerate(NAMES):
        (folder / "image" / f"{name}.jpg").write_bytes(encode_jpeg(picture(n)))
    return folder


@pytest.fixture
def store(folder):
    store = Store.create(folder)[0]
    yield store
    store.engine.dispose()


def square(left, right=None):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:10, left : right or left + 6] = True
    return mask


def entry_of(store, name):
    return next(n for n in range(1, 4) if store.image(n).name == name)


def mask_of(store, name):
    return store.mask(entry_of(store, name))


def brought_in(store, tmp_path, document, kind, **options):
    path = tmp_path / "from_elsewhere.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return import_masks(store, path, kind, **options)


# COCO


def coco_of(*annotations, images=None, categories=("hair",)):
    images = images or [("photo.jpg", 1), ("other.jpg", 2)]
    return {
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        "images": [
            {"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for name, n in images
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "segmentation": segmentation}
            for n, (image, category, segmentation) in enumerate(annotations, 1)
        ],
    }


def test_masks_and_polygons_of_one_file(store, tmp_path):
    document = coco_of(
        (1, 1, coco_encode(square(2))),
        (2, 1, [[3, 4, 9, 4, 9, 10, 3, 10]]),
        (2, 1, coco_encode(square(15))),
    )
    assert brought_in(store, tmp_path, document, "coco").problems == ()
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)
    np.testing.assert_array_equal(mask_of(store, "other"), (square(3) | square(15)) * 255)


def test_sizes_may_be_written_with_a_point(store, tmp_path):
    whole = coco_encode(square(2))
    document = coco_of((1, 1, whole | {"size": [float(HEIGHT), float(WIDTH)]}))
    assert brought_in(store, tmp_path, document, "coco").problems == ()
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)


def test_categories_are_chosen_and_told(store, tmp_path):
    document = coco_of(
        (1, 1, coco_encode(square(2))),
        (1, 2, coco_encode(square(15))),
        categories=("hair", "car", "unused"),
    )
    with pytest.raises(StoreError, match=r"category must be chosen .* got car, hair: name one by"):
        brought_in(store, tmp_path, document, "coco")
    with pytest.raises(StoreError, match="category must be one of car, hair, got tree"):
        brought_in(store, tmp_path, document, "coco", categories=["tree"])
    assert not store.revisions(1)
    brought_in(store, tmp_path, document, "coco", categories=["car"])
    np.testing.assert_array_equal(mask_of(store, "photo"), square(15) * 255)
    brought_in(store, tmp_path, document, "coco", categories=["car", "hair"])
    assert len(store.revisions(entry_of(store, "photo"))) == 2


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [60_000, 60_000], "counts": "0PPPPPPo0"}, "got 60000x60000: it belongs to anot"),
        ({"size": None, "counts": "1"}, "size must be height and width, got None"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "counts must be text or a list"),
        ({"size": [HEIGHT, WIDTH], "counts": [True, 1.5]}, "counts must be text or a list"),
        ({"size": [HEIGHT, WIDTH], "counts": "P" * 4000}, "one beyond any"),
        ({"size": [HEIGHT, WIDTH], "counts": [10**30]}, "counts must fill 16x24 pixels"),
        ({"size": [HEIGHT, WIDTH]}, "counts must be text"),
        ([], "must have a mask or polygons, got none"),
        (None, "must have a mask or polygons, got none"),
        ("text", "must have a mask or polygons, got none"),
        ([[1, 2, 3]], "polygon must be x and y of 3 to"),
        ([[1, 2, 3, 4, 5, float("nan")]], "polygon must be x and y"),
        ([[0, 0, 1e9, 0, 0, 1e9]], "polygon must have an outline of at most 10000 px, got 4e+09"),
        ([["a"] * 6], "polygon must be a list of numbers"),
        ([{"x": 1}], "polygon must be"),
    ],
)
def test_what_is_wrong_with_one_annotation_costs_that_image_alone(
    store, tmp_path, segmentation, message
):
    document = coco_of((1, 1, coco_encode(square(2))), (2, 1, segmentation))
    done = brought_in(store, tmp_path, document, "coco")
    assert done.taken == ("photo",)
    (problem,) = done.problems
    assert problem.startswith("other.jpg: ")
    assert message in problem


def test_annotations_without_their_image_are_named(store, tmp_path):
    document = coco_of((1, 1, coco_encode(square(2))), (99999999999999999999, 1, [[1] * 6]))
    document["annotations"] += [None, {"id": 7, "category_id": 1, "image_id": {"a": 1}}]
    document["images"].append({"id": 5})
    done = brought_in(store, tmp_path, document, "coco")
    assert done.taken == ("photo",)
    assert len(done.problems) == 3


@pytest.mark.parametrize("kind", ["png", "trimap"])
def test_names_with_dots_are_those_of_their_own_images(tmp_path, kind):
    names = ("frame", "frame.0001", "my.photo")
    (tmp_path / "ds" / "image").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    for n, name in enumerate(names):
        (tmp_path / "ds" / "image" / f"{name}.jpg").write_bytes(encode_jpeg(picture(n)))
    for n, file in enumerate(("frame.0001.png", "my.photo_cloud_trimap.png")):
        plane = np.where(square(2 + n), np.float32(128 / 255), np.float32(0))
        (tmp_path / "masks" / file).write_bytes(encode_png(plane))
    store = Store.create(tmp_path / "ds")[0]
    done = import_masks(store, tmp_path / "masks", kind)
    assert (set(done.taken), done.problems) == ({"frame.0001", "my.photo"}, ())
    level = 128 if kind == "png" else 255
    for n, name in enumerate(names[1:]):
        np.testing.assert_array_equal(mask_of(store, name), square(2 + n) * level)
    assert mask_of(store, "frame") is None
    store.engine.dispose()


def test_two_masks_for_one_image_are_named_and_none_is_taken(store, tmp_path):
    document = coco_of(
        (1, 1, coco_encode(square(2))),
        (2, 1, coco_encode(square(15))),
        images=[("train/photo.jpg", 1), ("val/photo.jpg", 2)],
    )
    done = brought_in(store, tmp_path, document, "coco")
    assert done.taken == ()
    assert done.problems == (
        "train/photo.jpg, val/photo.jpg: would all go to photo; leave one of them in the source",
    )


def mutated(value, generator):
    """Return JSON with something in it replaced by something of another kind."""
    others = [None, -1, 1e308, "", [], {}, [[]], "\ud800", True, 10**25, "999999"]
    if generator.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return generator.choice(others)
    changed = dict(value) if isinstance(value, dict) else list(value)
    key = generator.choice(list(changed) if isinstance(changed, dict) else range(len(changed)))
    changed[key] = mutated(changed[key], generator)
    return changed


@pytest.mark.parametrize("kind", ["coco", "label_studio"])
def test_damaged_documents_raise_nothing_but_store_errors(store, tmp_path, kind):
    whole = {
        "coco": coco_of((1, 1, coco_encode(square(2))), (2, 1, [[3, 4, 9, 4, 9, 10]])),
        "label_studio": [
            task("photo.jpg", brush(square(2))),
            task("other.jpg", bitmask(square(3))),
        ],
    }[kind]
    generator = random.Random(3)
    outcomes = {"taken": 0, "named": 0, "refused": 0}
    for _ in range(80):
        try:
            done = brought_in(store, tmp_path, json.dumps(mutated(whole, generator)), kind)
        except StoreError:
            outcomes["refused"] += 1
        else:
            outcomes["taken"] += len(done.taken)
            outcomes["named"] += len(done.problems)
    assert all(outcomes.values())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "[1",
        "null",
    ],
)
@pytest.mark.parametrize("kind", ["coco", "label_studio"])
def test_what_is_no_document_is_refused(store, tmp_path, text, kind):
    with pytest.raises(StoreError, match=r"from_elsewhere.json must be a"):
        brought_in(store, tmp_path, text, kind)


# Label Studio


def rle_of(mask):
    """Label Studio's brush format: each value alone, in runs of at most 8."""
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[..., 3] = mask * 255
    values = values.ravel().tolist()
    bits, at = f"{len(values):032b}{7:05b}{2:04b}{7:04b}{15:04b}{15:04b}", 0
    while at < len(values):
        run = 1
        while run < 8 and at + run < len(values) and values[at + run] == values[at]:
            run += 1
        bits += f"1{0:02b}{run - 1:03b}{values[at]:08b}"
        at += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def result(kind, value, label):
    return {
        "type": kind,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {**value, kind: [label]},
    }


def brush(mask, label="hair"):
    return result("brushlabels", {"format": "rle", "rle": rle_of(mask)}, label)


def bitmask(mask, label="hair", **size):
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask * 255
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return result("bitmasklabels", {"imageDataURL": address}, label) | size


def task(image, *results, **options):
    return {
        "id": 1,
        "data": {"image": image},
        "annotations": [{"result": list(results), **options}],
    }


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("photo.jpg", "photo"),
        ("/data/upload/1/3f2a9b1c-photo.jpg", "photo"),
        ("s3://bucket/train/photo.png?X-Amz-Date=1&name=other.jpg", "photo"),
        ("https://example.org/a/photo.jpg#other", "photo"),
        ("/data/local-files/?d=images/photo.jpg", "photo"),
        ("C:\\pictures\\photo.jpg", "photo"),
        ("/data/upload/1/3f2a9b1c-my_photo_1.jpg", "my photo (1)"),
        ("images/my%20photo%20%281%29.jpg", "my photo (1)"),
        ("my photo (1).jpg", "my photo (1)"),
        ("3f2a9b1c-stranger.jpg", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_images_are_found_by_what_programs_call_them(address, name):
    assert ImageNames(NAMES).find(address) == name


def test_a_name_that_looks_like_an_upload_is_itself_first():
    assert ImageNames(["photo", "3f2a9b1c-photo"]).find("3f2a9b1c-photo.jpg") == "3f2a9b1c-photo"


def test_names_are_found_whatever_form_their_letters_have():
    assert ImageNames(["Zoe\u0308"]).find("upload/Zo\u00eb.jpg") == "Zoe\u0308"


def test_a_real_export_comes_in(store, tmp_path):
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    document = [
        task("/data/upload/1/3f2a9b1c-photo.jpg", relation, brush(square(2)), choice),
        task("/data/local-files/?d=x/other.jpg", bitmask(square(3)), brush(square(15))),
        {
            "data": {"comment": "a text", "picture": "images/my%20photo%20%281%29.jpg"},
            "annotations": [
                {"result": [brush(square(1))], "was_cancelled": True},
                {"result": [brush(square(9))]},
                {"result": []},
            ],
        },
    ]
    done = brought_in(store, tmp_path, document, "label_studio")
    assert done.problems == ()
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)
    np.testing.assert_array_equal(mask_of(store, "other"), (square(3) | square(15)) * 255)
    np.testing.assert_array_equal(mask_of(store, "my photo (1)"), square(9) * 255)


def test_json_min_comes_in(store, tmp_path):
    value = {"format": "rle", "rle": rle_of(square(2)), "brushlabels": ["hair"]}
    value |= {"original_width": WIDTH, "original_height": HEIGHT}
    document = [
        {
            "image": "/data/upload/1/3f2a9b1c-photo.jpg",
            "id": 1,
            "tag": [value],
            "annotator": 1,
            "annotation_id": 2,
            "choice": "good",
        }
    ]
    assert brought_in(store, tmp_path, document, "label_studio").taken == ("photo",)
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)


def test_of_several_annotations_the_true_one_counts_or_none(store, tmp_path):
    works = [{"result": [brush(square(n))]} for n in (1, 9)]
    document = [
        {"data": {"image": "photo.jpg"}, "annotations": works},
        task("other.jpg", brush(square(4))),
    ]
    done = brought_in(store, tmp_path, document, "label_studio")
    assert done.taken == ("other",)
    assert "photo.jpg: task must have one annotation, got 2: mark one as true" in done.problems[0]
    works[1]["ground_truth"] = True
    assert "photo" in brought_in(store, tmp_path, document, "label_studio").taken
    np.testing.assert_array_equal(mask_of(store, "photo"), square(9) * 255)


def test_labels_are_chosen(store, tmp_path):
    document = [task("photo.jpg", brush(square(2)), brush(square(15), "car"))]
    with pytest.raises(StoreError, match=r"category must be chosen .* got car, hair"):
        brought_in(store, tmp_path, document, "label_studio")
    brought_in(store, tmp_path, document, "label_studio", categories=["hair"])
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)


def test_a_bad_task_costs_its_image_alone(store, tmp_path):
    large = Image.new("L", (9000, 9000))
    file = io.BytesIO()
    large.save(file, "PNG")
    bomb = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    for value, message in (
        ({"imageDataURL": bomb}, "must have at most"),
        ({"imageDataURL": "data:image/png;base64,%%%"}, "imageDataURL must be base64"),
        ({"imageDataURL": "http://example.org/x.png"}, "imageDataURL must hold a PNG"),
        ({"rle": None}, "mask must have the image's size"),
        ({"rle": ["x"], "original_width": WIDTH, "original_height": HEIGHT}, "a list of bytes"),
    ):
        bad = {
            "type": "brushlabels",
            "value": {**value, "brushlabels": ["hair"]},
            **{k: v for k, v in value.items() if "_" in k},
        }
        document = [task("photo.jpg", brush(square(2))), task("other.jpg", bad), {"data": {}}, None]
        done = brought_in(store, tmp_path, document, "label_studio")
        assert done.taken == ("photo",)
        assert any("other.jpg: " in p and message in p for p in done.problems), done.problems
        assert "task 2: task must name an image, got none" in done.problems
    document = [task("photo.jpg", brush(square(2))), task("other.jpg", brush(square(2)))]
    del document[1]["annotations"][0]["result"][0]["value"]["brushlabels"]
    done = brought_in(store, tmp_path, document, "label_studio")
    assert done.problems == ("other.jpg: task must have a label for every mask, got one without",)


# Trimaps


def test_trimaps_under_a_label_of_trimaps_keep_their_levels(folder, tmp_path):
    store = Store.create(folder, labels={"outline": "trimap", "matte": "alpha"})[0]
    (tmp_path / "maps").mkdir()
    levels = np.zeros((HEIGHT, WIDTH), np.uint8)
    levels[4:], levels[8:] = 128, 255
    Image.fromarray(levels).save(tmp_path / "maps" / "photo.png")
    assert import_masks(store, tmp_path / "maps", "trimap", under="outline").taken == ("photo",)
    (taken,) = (n for n in range(1, 10) if store.revisions(n))
    np.testing.assert_array_equal(store.mask(taken), levels)
    with pytest.raises(StoreError, match="label for trimap must be a mask or a trimap, got matte"):
        import_masks(store, tmp_path / "maps", "trimap", under="matte")
    store.engine.dispose()


# Class maps


def test_class_maps_come_in_by_their_label(store, tmp_path, capsys):
    maps = tmp_path / "maps"
    maps.mkdir()
    levels = np.where(square(2), 15, 0) + np.where(square(15), 7, 0)
    Image.fromarray(levels.astype(np.uint8)).save(maps / "photo.png")
    done = import_masks(store, maps, "png")
    assert "photo.png: photo.png must use the whole range" in done.problems[0]
    assert "got a map of the labels 0, 7, 15" in done.problems[0]
    (maps / "._photo.png").write_bytes(b"what a Mac leaves")
    command = ["import", str(store.folder), str(maps), "--kind", "png", "--label", "15"]
    assert main(command) == 0
    assert "1 taken, 0 not." in capsys.readouterr().out
    np.testing.assert_array_equal(mask_of(store, "photo"), square(2) * 255)
    with pytest.raises(StoreError, match=r"category must come with coco, cvat, .*, got png"):
        import_masks(store, maps, "png", categories=["hair"])


# What the page shows


def saved(folder, name, picture, file_format, **options):
    (folder / "image").mkdir(parents=True, exist_ok=True)
    picture.save(folder / "image" / name, file_format, **options)


def test_files_are_named_as_the_images_or_by_the_whole_pattern(tmp_path):
    folder = make_dataset(tmp_path / "d", sizes=((40, 30), (20, 10)))
    (folder / "image" / "portrait_1.png").rename(folder / "image" / "map_1.png")
    store = Store.create(folder, pattern="maps/map_{name}_x.png")[0]
    source = tmp_path / "in"
    source.mkdir()
    for name, shape in (("map_portrait_0_x", (30, 40)), ("map_1", (10, 20))):
        (source / f"{name}.png").write_bytes(encode_mask(np.full(shape, 255, np.uint8)))
    assert sorted(import_masks(store, source, "png").taken) == ["map_1", "portrait_0"]
    store.engine.dispose()


def test_the_page_shows_the_pixels_that_are_read(tmp_path):
    folder = tmp_path / "ds"
    levels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    photo = Image.fromarray(levels)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    saved(folder, "jpg6.jpg", photo, "JPEG", exif=turned, quality=95)
    saved(folder, "webp6.webp", photo, "WEBP", exif=turned, lossless=True)
    saved(folder, "png6.png", photo, "PNG", exif=turned)
    saved(folder, "tiff.tif", photo, "TIFF")
    saved(folder, "gif.gif", photo.quantize(), "GIF")
    saved(folder, "heic.heic", photo, "HEIF")
    saved(folder, "cmyk.jpg", photo.convert("CMYK"), "JPEG", quality=95)
    erased = photo.copy()
    erased.putalpha(Image.fromarray((levels[..., 0] > 99).astype(np.uint8) * 255))
    saved(folder, "erased.png", erased, "PNG")
    saved(folder, "plain.png", photo, "PNG")
    # An EPS by another name must not start Ghostscript.
    (folder / "image" / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "image" / "film.mov").write_bytes(b"no picture")
    store, found = Store.create(folder)
    assert "image/film.mov is left out: it is no picture of a known kind" in found.problems
    assert any("image/eps.png is left out" in problem for problem in found.problems)
    with TestClient(
        create_app(service_of(store)), base_url="http://127.0.0.1", client=("127.0.0.1", 1)
    ) as client:
        for entry_id in range(1, 10):
            image = store.image(entry_id)
            answer = client.get(f"/api/entries/{entry_id}/image")
            assert answer.status_code == 200, image.name
            with Image.open(io.BytesIO(answer.content)) as shown:
                # Nothing that one browser heeds and another does not.
                assert shown.getexif().get(ExifTags.Base.Orientation, 1) == 1
                assert not {"icc_profile", "transparency"} & set(shown.info)
                assert shown.mode == "RGB"
                pixels = np.asarray(shown) / np.float32(255)
            expected = read_image(folder / image.file)
            assert pixels.shape[:2] == (image.height, image.width)
            np.testing.assert_allclose(pixels, expected, atol=0.51 / 255, err_msg=image.name)
        shutil.rmtree(folder / "annotation" / "cache")
        (folder / "image" / "webp6.webp").unlink()
        gone = next(n for n in range(1, 10) if store.image(n).name == "webp6")
        assert client.get(f"/api/entries/{gone}/image").status_code == 404
    store.engine.dispose()
