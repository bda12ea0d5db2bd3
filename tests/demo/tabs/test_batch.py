import re
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from demo_pictures import HEIGHT, WIDTH, photo_pixels

from demo.environment import Environment
from demo.tabs.batch import BatchHandlers, distinct_stems, summary
from mgm_core.images import read_alpha, read_image, read_mask, write_image
from mgm_core.recipe import Background, Recipe
from mgm_core.runtime.cancellation import Cancellation, cancellable


@pytest.fixture
def photos(tmp_path):
    paths = []
    for name in ("one.png", "two.png", "three.png"):
        write_image(tmp_path / name, photo_pixels())
        paths.append(str(tmp_path / name))
    return paths


@pytest.fixture
def handlers(studio):
    return BatchHandlers(studio, Environment(batch_photos=4))


def run(
    handlers,
    photos,
    *,
    background="transparent",
    wanted=("cutout",),
    category="person",
    settings=None,
):
    return handlers.cut_out(
        photos, category, 0, 0.5, "raw", background, "#3366cc", list(wanted), settings,
        gr.Progress(),
    )  # fmt: skip


def test_hidden_files_of_a_mac_are_left_alone(handlers, photos, tmp_path):
    (tmp_path / "._one.png").write_bytes(b"Mac OS X")
    *_, (_, _, note) = run(handlers, [*photos[:2], str(tmp_path / "._one.png")])
    assert note == "<p>2 of 2 cut out</p>"


def archive_of(step):
    return step[1].value["path"]


def test_every_photo_is_cut_out_and_all_are_in_the_archive(handlers, photos, studio):
    steps = list(run(handlers, photos, wanted=("cutout", "alpha16", "alpha")))
    assert [len(pictures) for pictures, _, _ in steps] == [3, 3, 3, 3]  # one list that has grown
    pictures, _, note = steps[-1]
    assert note == "<p>3 of 3 cut out</p>"
    assert pictures[0][1] == "one.png: person found on 22% of the photo"
    assert read_image(pictures[0][0]).shape == (HEIGHT, WIDTH, 3)
    with zipfile.ZipFile(archive_of(steps[-1])) as archive:
        assert len(archive.namelist()) == 9
        cutout = archive.read("two-cutout.png")
        fine = archive.read("two-alpha16.png")
    assert np.abs(read_alpha(cutout) - read_mask(fine)).max() <= 0.51 / 255
    assert np.abs(read_image(cutout)[25, 28] - photo_pixels()[25, 28]).max() < 0.01


def test_a_photo_that_fails_is_named_and_the_others_go_on(handlers, photos, tmp_path):
    broken = tmp_path / "<b>roken.png"
    broken.write_bytes(b"not a picture")
    empty = tmp_path / "empty.png"
    write_image(empty, np.zeros((HEIGHT, WIDTH, 3), np.float32))
    steps = list(run(handlers, [str(broken), photos[0], str(empty), photos[1]]))
    note = steps[-1][2]
    assert note.startswith("<p>2 of 4 cut out, 2 failed</p><ul><li>&lt;b&gt;roken.png: ")
    assert "<li>empty.png: The photo must show a person, got none" in note
    with zipfile.ZipFile(archive_of(steps[-1])) as archive:
        assert archive.namelist() == ["one-cutout.png", "two-cutout.png", "failed.txt"]
        failed = archive.read("failed.txt").decode().splitlines()
    assert [line.partition(":")[0] for line in failed] == ["<b>roken.png", "empty.png"]
    assert str(tmp_path) not in note


def test_a_photo_for_which_memory_is_short_ends_no_batch_and_nor_does_our_own_fault(
    handlers, photos, matter, monkeypatch
):
    errors = [RuntimeError("DefaultCPUAllocator: can't allocate memory"), IndexError("a fault")]
    matte = matter.matte

    def fail(*args, **options):
        if errors:
            raise errors.pop(0)
        return matte(*args, **options)

    monkeypatch.setattr(matter, "matte", fail)
    *_, last = run(handlers, photos)
    pictures, _, note = last
    assert len(pictures) == 1
    with zipfile.ZipFile(archive_of(last)) as archive:
        assert archive.namelist() == ["three-cutout.png", "failed.txt"]
    assert "<p>1 of 3 cut out, 2 failed</p>" in note
    assert "memory must be enough for this, and was not." in note
    assert "This program failed at it: report that." in note
    assert "a fault" not in note


def test_where_none_could_be_cut_out_there_is_nothing_to_take_away(handlers, photos):
    *_, (pictures, archive, note) = run(handlers, photos, category="cat")
    assert pictures == []
    assert "value" not in archive
    assert note.startswith("<p>0 of 3 cut out, 3 failed</p>")


def test_stopping_keeps_what_is_done(handlers, photos):
    token = Cancellation()
    with cancellable(token):
        running = run(handlers, photos)
        next(running)
        token.cancel()
        *_, last = running
    assert last[2] == "<p>1 of 3 cut out, 2 left out as you stopped</p>"
    with zipfile.ZipFile(archive_of(last)) as archive:
        assert archive.namelist() == ["one-cutout.png"]


def test_leaving_the_page_leaves_no_archive(handlers, photos, tmp_path):
    running = run(handlers, photos)
    next(running)
    running.close()
    assert list(tmp_path.rglob("cutouts.*")) == []


def test_the_background_goes_behind_each(handlers, photos):
    *_, last = run(handlers, photos[:1], background="colour", wanted=("composite",))
    with zipfile.ZipFile(archive_of(last)) as archive:
        picture = read_image(archive.read("one-composite.png"))
    assert picture[2, 2] == pytest.approx(np.float32([0x33, 0x66, 0xCC]) / 255, abs=0.01)


@pytest.mark.parametrize(
    ("count", "wanted", "message"),
    [
        (0, ["cutout"], "Photos must be given, got none. Drop some."),
        (5, ["cutout"], "Photos must be at most 4, got 5. Take them in parts"),
        (1, [], "Files must be some of cutout, .*, got \\[\\]. Choose at least one."),
        (1, ["psd"], "Files must be some of cutout, .*, got \\['psd'\\]"),
    ],
)
def test_what_cannot_be_done_is_refused(handlers, photos, count, wanted, message):
    with pytest.raises(gr.Error) as refused:
        list(run(handlers, (photos * 2)[:count], wanted=wanted))
    assert re.match(message, refused.value.message)


def test_settings_of_a_single_cut_out_serve_for_many(handlers, photos, tmp_path):
    settings = tmp_path / "settings.json"
    recipe = Recipe(foreground="raw", background=Background("colour", colour="#cc3366"))
    settings.write_text(recipe.to_json())
    *_, last = run(handlers, photos[:1], wanted=("composite",), settings=str(settings))
    with zipfile.ZipFile(archive_of(last)) as archive:
        picture = read_image(archive.read("one-composite.png"))
    assert picture[2, 2] == pytest.approx(np.float32([0xCC, 0x33, 0x66]) / 255, abs=0.01)
    settings.write_text(Recipe(own_mask=True).to_json())
    with pytest.raises(gr.Error, match="must be without corrections by hand and a mask"):
        list(run(handlers, photos, settings=str(settings)))
    settings.write_text('{"version": 2}')
    with pytest.raises(gr.Error, match=r"must be .*got 2"):
        list(run(handlers, photos, settings=str(settings)))


def test_settings_that_need_a_picture_are_refused_before_anything_is_computed(
    handlers, photos, matter, tmp_path
):
    settings = tmp_path / "settings.json"
    settings.write_text(Recipe(background=Background("picture")).to_json())
    with pytest.raises(gr.Error, match=r"must be without a picture as background, .* Choose anoth"):
        list(run(handlers, photos, settings=str(settings)))
    assert matter.seen == []


def test_a_photo_whose_preview_fails_leaves_nothing_in_the_archive(
    handlers, photos, studio, monkeypatch
):
    def fail(*_):
        raise ValueError("the view must be made, got none: make it")

    monkeypatch.setattr(studio, "view", fail)
    list(run(handlers, photos))
    (archive,) = Path(photos[0]).parent.rglob("cutouts.zip")
    with zipfile.ZipFile(archive) as files:
        assert files.namelist() == ["failed.txt"]


def test_the_operators_quality_is_that_of_a_batch(studio, photos, matter):
    handlers = BatchHandlers(studio, Environment(quality="fast"))
    list(run(handlers, photos[:1]))
    assert matter.refined == ["half"]


def test_files_that_were_not_uploaded_are_refused(handlers):
    with pytest.raises(gr.Error, match="must be a file that was uploaded, got the name of another"):
        list(run(handlers, [__file__]))


def test_equal_names_are_told_apart():
    assert distinct_stems(["a/x.jpg", "b/x.png", "c/x.gif", "x-2.png"]) == [
        "x", "x-3", "x-4", "x-2",
    ]  # fmt: skip
    # On a Mac's disk and on Windows each of these would replace the one before.
    assert distinct_stems(["a/cat.jpg", "b/Cat.png", "CAT-2.gif"]) == ["cat", "Cat-3", "CAT-2"]
    assert distinct_stems(["\u00e9.jpg", "e\u0301.png"]) == ["\u00e9", "e\u0301-2"]
    assert distinct_stems(["x.jpg", "y.jpg"]) == ["x", "y"]


def test_the_note_counts():
    assert summary(1, [], 3) == "<p>1 of 3 cut out</p>"
    assert summary(1, ["b: no."], 3) == "<p>1 of 3 cut out, 1 failed</p><ul><li>b: no.</li></ul>"
