import argparse
import logging
import zipfile
from dataclasses import fields
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from clips import GREEN, HEIGHT, RED, WIDTH, FindsRed, TakesGuidance, make_clip, read_movie, scene

from mgm_core import __main__ as photographs
from mgm_core.cutout import NoSubjectError
from mgm_core.images import read_alpha, read_image, write_image
from mgm_core.matting.matter import Matter
from mgm_core.recipe import PRESETS, Background, Edit, Recipe
from mgm_core.runtime.cancellation import Cancellation, Cancelled, cancellable
from mgm_core.runtime.renamed import old_name
from mgm_core.segmentation import Segmenter
from mgm_core.video import __main__ as video
from mgm_core.video.__main__ import matte_clip
from mgm_core.video.files import Clip
from mgm_core.video.smoothing import TemporalSmoother

ASTRONAUT = Path(__file__).parents[2] / "data" / "photos" / "astronaut.png"
RAW_ALPHA = Recipe(quality="fast", refine="off")
RAW = Recipe(quality="fast", foreground="raw")


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", [scene(x) for x in range(4, 14)], sound="aac")


def run(clip, target, recipe=RAW, **options):
    matter = TakesGuidance()
    with Clip(clip) as source:
        frames = list(matte_clip(source, target, FindsRed(), matter, recipe, **options))
    return frames, matter


def test_every_frame_is_cut_out_with_its_alpha(clip, tmp_path):
    target = tmp_path / "out.webm"
    frames, matter = run(clip, target, smoother=TemporalSmoother(0))
    assert [frame.number for frame in frames] == list(range(1, 11))
    assert matter.count == 10
    for x, (_, name, pixels) in zip(range(4, 14), read_movie(target, "libvpx-vp9"), strict=True):
        assert name == "yuva420p"
        assert pixels[16:32, x + 4 : x + 20, 3].min() > 0.95
        assert pixels[:, x + 28 :, 3].max() < 0.05
        assert pixels[24, x + 12, :3] == pytest.approx(RED, abs=0.06)


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        (Background("colour", colour="#1a33cc"), (0x1A / 255, 0.2, 0.8)),
        (Background("picture"), (0.7, 0.7, 0.7)),
        (Background("blur", blur_percent=3), GREEN),
    ],
)
def test_the_subject_is_put_before_a_new_background_with_its_sound(
    clip, tmp_path, background, expected
):
    target = tmp_path / "out.mp4"
    recipe = Recipe(foreground="raw", background=background)
    picture = np.full((10, 10, 3), 0.7, np.float32)
    run(clip, target, recipe, picture=picture, smoother=TemporalSmoother(0))
    for x, (_, _, pixels) in zip(range(4, 14), read_movie(target), strict=True):
        assert pixels[24, x + 12] == pytest.approx(RED, abs=0.04)
        assert pixels[4, 58] == pytest.approx(expected, abs=0.04)
    with av.open(str(target)) as movie:
        assert movie.streams.audio[0].codec_context.name == "aac"


def test_pictures_hold_straight_colours_and_nothing_of_what_was_cut_away(clip, tmp_path):
    target = tmp_path / "out.zip"
    run(clip, target, smoother=TemporalSmoother(0))
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 11
        last = archive.read("frame_00010.png")
    assert read_alpha(last)[24, 25] == 1
    assert read_image(last)[24, 25] == pytest.approx(RED, abs=0.04)
    assert read_image(last)[4, 4].max() == 0


def test_stopping_keeps_what_is_done_and_leaving_keeps_nothing(clip, tmp_path):
    target = tmp_path / "out.webm"
    done = []
    with Clip(clip) as source:
        token = Cancellation()
        with cancellable(token):
            for frame in matte_clip(source, target, FindsRed(), TakesGuidance(), RAW):
                assert not target.exists()
                done.append(frame.number)
                if len(done) == 3:
                    token.cancel()
    assert len(read_movie(target)) == len(done) == 3
    with Clip(clip) as source, cancellable(token), pytest.raises(Cancelled):
        next(matte_clip(source, target, FindsRed(), TakesGuidance(), RAW))
    left = tmp_path / "left"
    left.mkdir()
    with Clip(clip) as source:
        frames = matte_clip(source, left / "out.webm", FindsRed(), TakesGuidance(), RAW)
        next(frames)
        frames.close()
    assert list(left.iterdir()) == []


def test_frames_without_the_subject_stay_empty_and_cost_no_network(tmp_path):
    empty = np.full((HEIGHT, WIDTH, 3), 0.3, np.float32)
    clip = make_clip(tmp_path / "clip.mp4", [empty, empty, scene(), scene()])
    frames, matter = run(clip, tmp_path / "out.zip")
    assert matter.count == 2
    assert [frame.alpha.any() for frame in frames] == [False, False, True, True]


def test_a_clip_without_the_subject_is_refused_and_leaves_no_file(tmp_path):
    empty = np.full((HEIGHT, WIDTH, 3), 0.3, np.float32)
    clip = make_clip(tmp_path / "clip.mp4", [empty] * 3)
    with pytest.raises(NoSubjectError, match="clip must show a person, got none in 3 frames"):
        run(clip, tmp_path / "out.webm")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_no_more_frames_are_held_than_needed(tmp_path, monkeypatch):
    """The generator asks for the next frame only when the last one was taken."""
    clip = make_clip(tmp_path / "clip.mp4", [scene(x) for x in range(10)])
    read = []
    whole = Clip.read

    def counting(self, heard=None):
        for frame in whole(self, heard):
            read.append(frame.time_s)
            yield frame

    monkeypatch.setattr(Clip, "read", counting)
    with Clip(clip) as source:
        frames = matte_clip(source, tmp_path / "out.zip", FindsRed(), TakesGuidance(), RAW)
        for number, _ in enumerate(frames, start=1):
            assert len(read) == number


@pytest.mark.parametrize(
    "recipe", [Recipe(own_mask=True), Recipe(edits=(Edit("add", 3, ((1.0, 1.0),)),))]
)
def test_settings_of_a_single_photo_are_refused(clip, tmp_path, recipe):
    with pytest.raises(ValueError, match="settings for a clip must be without corrections by hand"):
        run(clip, tmp_path / "out.webm", recipe)


def test_the_clip_may_come_last_and_begin_with_a_minus():
    given = ["--foreground", "raw", "-o", "o.webm", "--", "-clip.mp4"]
    options = video.parser().parse_args(given)
    assert (options.clip, options.output, options.foreground) == ("-clip.mp4", "o.webm", "raw")
    options = video.parser().parse_args(["--category", "dog", "clip.mp4", "-o", "o.webm"])
    assert (options.clip, options.category) == ("clip.mp4", "dog")


def test_the_command_says_what_is_wrong(clip, tmp_path, caplog, capsys):
    assert video.main([str(clip), "-o", str(tmp_path / "out.mp4")]) == 2
    assert "error: --background must be given for .mp4" in caplog.text
    for wrong in (["--smoothing", "5"], ["--threshold", "2"], ["--settings", str(clip)]):
        assert video.main([str(clip), "-o", str(tmp_path / "out.webm"), *wrong]) == 2
    assert video.main([str(clip), "-o", str(tmp_path / "out"), "--long-side", "8"]) == 2
    assert "error: long_side_px must be at least 16, got 8: 960 suits most" in caplog.text
    assert video.main([str(tmp_path / "no.mp4"), "-o", str(tmp_path / "out.webm")]) == 1
    assert "no.mp4 must exist" in caplog.text
    caplog.clear()
    assert video.main([str(clip), "-o", str(tmp_path / "o.webm"), "--max-seconds", "0.5"]) == 1
    assert "must be at most 0.5 s long" in caplog.text
    with pytest.raises(SystemExit, match="2"):
        video.main([str(clip), "-o", str(tmp_path / "o.webm"), "--save-alpha"])
    assert "unrecognized arguments: --save-alpha" in capsys.readouterr().err


@pytest.mark.parametrize(
    "shortage",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
)
def test_a_shortage_of_memory_is_told_and_a_fault_keeps_its_trace(
    clip, tmp_path, monkeypatch, caplog, shortage
):
    def failing(error):
        def run(*_):
            raise error

        monkeypatch.setattr(video, "_run", run)
        return video.main([str(clip), "-o", str(tmp_path / "o.webm")])

    assert failing(shortage) == 1
    assert "error: memory must be enough for the photo, got too little" in caplog.text
    with pytest.raises(RuntimeError, match="sizes do not match"):
        failing(RuntimeError("sizes do not match"))


class Noticing(argparse.Namespace):
    """Notes which options are asked for."""

    def __getattribute__(self, name):
        asked = object.__getattribute__(self, "__dict__").setdefault("_asked", set())
        asked.add(name)
        return object.__getattribute__(self, name)


def test_the_command_does_something_with_every_option(clip, tmp_path, monkeypatch):
    write_image(tmp_path / "beach.png", np.full((10, 10, 3), 0.7, np.float32))
    options = video.parser().parse_args(
        [str(clip), "-o", str(tmp_path / "o.mp4"), "--background", str(tmp_path / "beach.png")],
        Noticing(),
    )
    given = set(vars(options))
    vars(options)["_asked"].clear()
    stand_ins = SimpleNamespace(
        segmenter=lambda name: FindsRed(),
        matter=TakesGuidance,
        foreground_network=lambda: None,
        working_megapixels=None,
    )
    made = photographs.models_of
    monkeypatch.setattr(photographs, "models_of", lambda o: (made(o), stand_ins)[1])
    video._run(options, Path(options.clip), options.output)
    # The files are named by who calls; `recipe_of` takes settings by their names.
    taken = {"clip", "output"} | {part.name for part in fields(Recipe)}
    assert given - vars(options)["_asked"] - taken == {"_asked"}


def test_smoothing_answers_to_its_old_name_too(caplog):
    given = ["clip.mp4", "-o", "o.webm"]
    assert video.parser().parse_args(given).smoothing == 0.7
    assert video.parser().parse_args([*given, old_name("--smoothing"), "0.2"]).smoothing == 0.2
    assert (
        f"{old_name('--smoothing')} is now called --smoothing; the next version drops it"
        in caplog.text
    )


def test_a_background_picture_is_held_to_the_limit(clip, tmp_path, caplog):
    write_image(tmp_path / "beach.png", np.full((200, 200, 3), 0.7, np.float32))
    command = [str(clip), "-o", str(tmp_path / "o.mp4"), "--max-megapixels", "0.01"]
    assert video.main([*command, "--background", str(tmp_path / "beach.png")]) == 1
    assert "0.01" in caplog.text


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_frames_are_refined_if_the_recipe_says_so(clip, tmp_path, quality):
    _, matter = run(clip, tmp_path / "out.zip", Recipe(quality=quality, foreground="raw"))
    assert matter.refined == PRESETS[quality].refine


def test_the_command_with_the_bundled_networks(tmp_path, caplog):
    """A noisy recording of someone who does not move: the real networks, the real command."""
    photo = cv2.resize(read_image(ASTRONAUT)[:320, 40:360], (192, 192))
    noise = np.random.default_rng(0)
    frames = [
        (photo + noise.normal(0, 0.06, photo.shape)).clip(0, 1).astype(np.float32) for _ in range(4)
    ]
    clip = make_clip(tmp_path / "clip.mp4", frames, options={"crf": "10"})
    target = tmp_path / "cutout.zip"
    caplog.set_level(logging.INFO)
    settings = tmp_path / "settings.json"
    settings.write_text(Recipe().to_json())
    assert video.main([str(clip), "-o", str(target), "--settings", str(settings)]) == 0
    # By the network alone, although the settings say best.
    assert f"cutout.zip: 4 frames, {RAW_ALPHA.methods}" in caplog.text

    def alphas(path):
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
            return [read_alpha(BytesIO(archive.read(name))) for name in names]

    calm = alphas(target)
    assert calm[-1][46:80, 92:112].mean() > 0.97  # her face
    assert calm[-1][5:60, 172:190].max() < 0.05  # the wall beside her
    with Clip(clip) as source:
        single = [
            frame.alpha
            for frame in matte_clip(
                source,
                tmp_path / "single.zip",
                Segmenter.load(device="cpu"),
                Matter.load(device="cpu"),
                RAW_ALPHA,
                smoother=TemporalSmoother(0),
            )
        ]

    def flicker(planes):
        return np.mean([np.abs(b - a).mean() for a, b in pairwise(planes)])

    assert flicker(calm) < 0.8 * flicker(single)
