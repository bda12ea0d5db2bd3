import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from clips import make_clip, make_transparent_clip, read_movie
from demo_pictures import HEIGHT, WIDTH, photo_pixels
from PIL import Image

from demo.backend.models import Models
from demo.backend.visits import LANES
from demo.environment import Environment
from demo.tabs.video import VideoHandlers, on_page
from mgm_core.images import read_alpha, read_image, write_image
from mgm_core.runtime.admission import Admission, Visitor


@pytest.fixture
def clip(tmp_path):
    return str(make_clip(tmp_path / "clip.mp4", [photo_pixels()] * 6, sound="aac"))


@pytest.fixture
def handlers(segmenter, matter, monkeypatch):
    monkeypatch.setattr("demo.tabs.video._SHOW_EVERY_S", 0)
    models = Models(lambda: matter, lambda name: segmenter)
    return VideoHandlers(models, Environment(clip_seconds=2, clip_frames=8))


def run(handlers, clip, *, background="transparent", save="webm", picture=None, **changed):
    values = {"category": "person", "threshold": 0.5, "long_side_px": 0, "colour": "#3366cc"}
    values |= changed
    return handlers.cut_out(
        clip,
        values["category"],
        values["threshold"],
        values["long_side_px"],
        background,
        values["colour"],
        picture,
        1.0,
        save,
        changed.get("first_mask"),
        changed.get("label"),
        changed.get("ignore_transparency", False),
        gr.Progress(),
    )


def test_each_frame_is_shown_and_then_the_clip(handlers, clip):
    *frames, (_, result, button, note) = run(handlers, clip)
    assert len(frames) == 6
    assert frames[0][3] == "Frame 1"
    assert frames[3][3].startswith("Frame 4 of 6, about ")
    assert read_image(frames[-1][0]).shape == (HEIGHT, WIDTH, 3)
    assert note == "6 frames."
    path = button.value["path"]
    assert Path(path).name == "clip-cutout.webm"
    assert result.value["video"]["path"] == path if "video" in result.value else result.value
    movie = read_movie(path, "libvpx-vp9")
    assert len(movie) == 6
    assert movie[-1][2][25, 28, 3] > 0.98
    assert movie[-1][2][4, 4, 3] < 0.02


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        ("colour", np.float32([0x33, 0x66, 0xCC]) / 255),
        ("picture", [0.7, 0.7, 0.7]),
        ("blur", photo_pixels()[2, 60]),
    ],
)
def test_a_background_goes_behind_every_frame(handlers, clip, tmp_path, background, expected):
    write_image(tmp_path / "wall.png", np.full((8, 8, 3), 0.7, np.float32))
    *_, last = run(
        handlers, clip, background=background, save="mp4", picture=str(tmp_path / "wall.png")
    )
    _, _, pixels = read_movie(last[2].value["path"])[-1]
    assert pixels[2, 60] == pytest.approx(expected, abs=0.03)
    assert pixels[25, 28] == pytest.approx(photo_pixels()[25, 28], abs=0.04)


def test_pictures_are_taken_away_and_not_played(handlers, clip):
    *_, (latest, _, button, _) = run(handlers, clip, save="zip", long_side_px=32)
    assert latest.visible
    with zipfile.ZipFile(button.value["path"]) as archive:
        assert len(archive.namelist()) == 7
        assert read_alpha(archive.read("frame_00006.png")).shape == (24, 32)


def test_a_mask_of_the_first_frame_names_what_is_followed(handlers, clip, tmp_path):
    # What no segmenter finds: the scene's lower right corner, by its label.
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[30:, 44:] = 3
    labels[:8, :8] = 9
    Image.fromarray(labels).save(tmp_path / "labels.png")
    path = str(tmp_path / "labels.png")
    choice = handlers.labels(path)
    assert [label for _, label in choice.choices] == [3, 9]
    assert (choice.visible, choice.value) == (True, 3)
    assert not handlers.labels(None).visible
    for label, inside, outside in ((3, (40, 56), (3, 3)), (9, (3, 3), (40, 56))):
        *_, last = run(handlers, clip, first_mask=path, label=label)
        _, _, pixels = read_movie(last[2].value["path"], "libvpx-vp9")[0]
        assert pixels[*inside, 3] > 0.95
        assert pixels[*outside, 3] < 0.05
        assert pixels[25, 28, 3] < 0.05  # the segmenter's subject


def test_the_first_frame_can_be_taken_away_to_draw_over(handlers, clip):
    path = handlers.first_frame(clip, 32)
    assert Path(path).name == "clip-first-frame.png"
    assert read_image(path).shape == (24, 32, 3)
    assert np.abs(read_image(handlers.first_frame(clip, 0)) - photo_pixels()).mean() < 0.03
    with pytest.raises(gr.Error, match="A clip must be given, got none"):
        handlers.first_frame(None, 0)


def test_the_first_frame_is_given_of_the_clips_that_the_server_takes(handlers, tmp_path):
    long = make_clip(tmp_path / "long.mp4", [photo_pixels()] * 2, times_ms=[0, 90_000])
    wide = VideoHandlers(handlers._models, Environment(clip_seconds=120))
    assert read_image(wide.first_frame(str(long), 32)).shape == (24, 32, 3)
    with pytest.raises(gr.Error, match=r"Long.mp4 must be at most 2 s long, got 90"):
        handlers.first_frame(str(long), 32)


def test_a_clips_transparency_stays_unless_it_is_ignored(handlers, tmp_path):
    half = np.ones((HEIGHT, WIDTH), np.float32)
    half[:, WIDTH // 2 :] = 0
    clear = np.dstack([photo_pixels(), half])
    path = str(make_transparent_clip(tmp_path / "clear.mov", [clear] * 2))
    for ignored, expected in ((False, 0), (True, 1)):
        *_, last = run(handlers, path, ignore_transparency=ignored)
        _, _, pixels = read_movie(last[2].value["path"], "libvpx-vp9")[-1]
        assert pixels[25, 36, 3] == pytest.approx(expected, abs=0.05)


def test_stopping_keeps_the_frames_that_are_done(handlers, clip):
    admission = Admission(LANES)
    with admission.visit(Visitor("a")) as visit, visit.active():
        running = run(handlers, clip)
        next(running)
        next(running)
        visit.token.cancel()
        *_, (_, _, button, note) = running
    assert note == "Stopped: the file has the first 2 frames."
    assert len(read_movie(button.value["path"])) == 2


def test_leaving_the_page_leaves_no_file(handlers, clip, tmp_path):
    running = run(handlers, clip)
    next(running)
    running.close()
    assert list(tmp_path.rglob("*cutout*")) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category": "cat"}, "The clip must show a cat, got none in 6 frames. Choose another"),
        ({"save": "mp4"}, r"Transparent must be False for \.mp4, got True"),
        ({"save": "avi"}, r"Target must end in \.mp4, \.webm, \.mov or \.zip"),
        ({"background": "picture"}, "The background must be a picture, got none. Give one"),
        ({"background": "sea"}, "Background.kind must be one of transparent, .* got 'sea'"),
    ],
)
def test_what_cannot_be_done_is_refused(handlers, clip, changed, message):
    with pytest.raises(gr.Error, match=message):
        list(run(handlers, clip, **changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"background": "picture"}, "The background must be a picture, got none. Give one"),
        ({"background": "colour", "colour": "blue"}, "Colour must look like #1a2b3c"),
        ({"threshold": 0}, "Threshold must lie between"),
    ],
)
def test_wrong_settings_are_told_without_waiting_for_a_turn(
    handlers, clip, without_turns, changed, message
):
    with without_turns("clip"), pytest.raises(gr.Error, match=message):
        list(run(handlers, clip, **changed))


def test_no_clip_another_file_or_too_long_a_clip_are_refused(handlers, tmp_path):
    with pytest.raises(gr.Error, match=r"A clip must be given, got none\. Upload one\."):
        list(run(handlers, None))
    with pytest.raises(gr.Error, match="must be a file that was uploaded"):
        list(run(handlers, __file__))
    long = make_clip(tmp_path / "long.mp4", [photo_pixels()] * 9)
    with pytest.raises(gr.Error, match=r"Long.mp4 must have at most 8 frames, got 9 or more"):
        list(run(handlers, str(long)))


def test_transparent_frames_are_shown_over_tiles():
    clear = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    assert on_page(clear)[0, 0] == pytest.approx([1, 1, 1])
    opaque = photo_pixels()
    assert on_page(opaque) is opaque
