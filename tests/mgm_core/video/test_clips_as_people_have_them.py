"""Clips of every kind: wide pixels, transparency, damaged titles, and folders that are in use."""

import random
import sys
from fractions import Fraction
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from clips import (
    HEIGHT,
    RED,
    WIDTH,
    FindsRed,
    TakesGuidance,
    make_clip,
    make_transparent_clip,
    read_movie,
    scene,
)

from mgm_core.images import encode_png, read_image
from mgm_core.matting.matter import Matter
from mgm_core.recipe import Background, Recipe
from mgm_core.segmentation import Segmenter
from mgm_core.video import __main__ as video
from mgm_core.video.__main__ import matte_clip
from mgm_core.video.exr import encode_exr
from mgm_core.video.files import Clip, VideoError, check_target, write_clip

RAW = Recipe(foreground="raw", refine="off")


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.setattr(Matter, "load", lambda *_, **__: TakesGuidance())
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: FindsRed())


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", [scene(x) for x in range(4, 8)], sound="aac")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return video.main([*map(str, arguments), "--foreground", "raw"])


def cut(clip, target, recipe=RAW, **options):
    with Clip(clip) as source:
        return list(matte_clip(source, target, FindsRed(), TakesGuidance(), recipe, **options))


def anamorphic(path, aspect, images=None):
    """A clip whose header says that its pixels are `aspect` as wide as they are high."""
    images = images or [scene()]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 10, {"crf": "5"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for image in images:
            frame = VideoFrame.from_ndarray(image, "gbrpf32le").reformat(format="yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (48, 85)),
        (Fraction(8, 9), (54, 64)),
        (Fraction(1, 1), (48, 64)),
        (Fraction(1, 100), (48, 64)),  # nobody's pixels
    ],
)
def test_pixels_become_square_without_losing_lines(tmp_path, aspect, size):
    with Clip(anamorphic(tmp_path / "a.mp4", aspect)) as source:
        (frame,) = source.read()
    assert frame.image.shape[:2] == size
    # The red square has 24 columns of 64 and 24 rows of 48.
    red = frame.image[..., 0] > 0.55
    assert red.mean() == pytest.approx(24 * 24 / (48 * 64), rel=0.06)


@pytest.mark.parametrize("name", ["o.mp4", "o.webm", "o.mov", "o"])
def test_every_target_shows_a_wide_clip_at_its_width(tmp_path, name):
    clip = anamorphic(tmp_path / "a.mp4", Fraction(3, 2))
    behind = Recipe(foreground="raw", refine="off", background=Background("colour", "#000000"))
    cut(clip, tmp_path / name, behind)
    if name == "o":
        assert read_image(tmp_path / "o" / "frame_00001.png").shape == (48, 96, 3)
    else:
        ((_, _, pixels),) = read_movie(tmp_path / name)
        assert pixels.shape[:2] == (48, 96)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "qtrle", "argb"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_what_is_transparent_in_a_clip_stays_so(tmp_path, name, codec, pix_fmt):
    pixels = np.dstack([scene(), np.ones((HEIGHT, WIDTH), np.float32)])
    pixels[:, :28, 3] = 0  # half of the red square
    path = make_transparent_clip(tmp_path / name, [pixels] * 3, codec=codec, pix_fmt=pix_fmt)
    frames = cut(path, tmp_path / "o.zip")
    assert len(frames) == 3
    for frame in frames:
        assert frame.alpha[:, :24].max() < 0.05
        assert frame.alpha[24, 34] > 0.95
        assert not frame.pixels[..., :3][frame.alpha == 0].any()
    ignored = Recipe(foreground="raw", refine="off", ignore_transparency=True)
    assert cut(path, tmp_path / "p.zip", ignored)[0].alpha[24, 20] > 0.95


def test_prores_keeps_alpha_colours_and_sound(clip, tmp_path):
    frames = cut(clip, tmp_path / "o.mov")
    movie = read_movie(tmp_path / "o.mov")
    assert len(movie) == len(frames) == 4
    for (_, name, pixels), frame in zip(movie, frames, strict=True):
        assert name.startswith("yuva444p1")
        np.testing.assert_allclose(pixels[..., 3], frame.alpha, atol=0.01)
        inside = cv2.erode((frame.alpha == 1).astype(np.uint8), np.ones((9, 9))) > 0
        np.testing.assert_allclose(
            pixels[inside][:, :3], np.tile(RED, (inside.sum(), 1)), atol=0.04
        )
    with av.open(str(tmp_path / "o.mov")) as written:
        assert written.streams.video[0].codec_context.name == "prores"
        assert written.streams.audio[0].codec_context.name == "aac"


def exr_pixels(path):
    with av.open(str(path)) as picture:
        (frame,) = picture.decode(video=0)
        return frame.to_ndarray(format="gbrapf32le")


def test_exrs_are_linear_and_premultiplied(here, networks, clip):
    assert run(clip, "-o", "o/", "--format", "exr") == 0
    assert sorted(p.name for p in (here / "o").iterdir()) == [
        *(f"frame_{n:05d}.exr" for n in range(1, 5)),
        "frames.ffconcat",
    ]
    half = np.full((4, 4, 4), 0.5, np.float32)
    (here / "half.exr").write_bytes(encode_exr(half))
    # 0.5 is 0.2140 in linear light, and half of that with its alpha.
    np.testing.assert_allclose(exr_pixels(here / "half.exr")[0, 0], [0.107] * 3 + [0.5], atol=1e-3)


# Folders, names and pipes


def break_off(clip, target):
    with Clip(clip) as source, write_clip(target, source) as writer:
        writer.write(np.dstack([scene(), scene()[..., 0]]), Fraction(0))
        raise RuntimeError("the network broke")


def test_frames_of_an_earlier_clip_go_once_the_new_ones_are_complete(tmp_path):
    long, short = (make_clip(tmp_path / f"{n}.mp4", [scene(x) for x in range(n)]) for n in (5, 2))
    target = tmp_path / "fr"
    cut(long, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert len(before) == 6
    with pytest.raises(RuntimeError, match="broke"):
        break_off(short, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    cut(short, target)
    assert sorted(path.name for path in target.iterdir()) == [
        "frame_00001.png",
        "frame_00002.png",
        "frames.ffconcat",
    ]


def test_a_folder_with_anything_elses_files_is_refused_and_left_alone(here, networks, clip):
    folder = here / "fr"
    folder.mkdir()
    mine = folder / "frame_00001.png"
    mine.write_bytes(b"my own frame, of another program")
    with pytest.raises(VideoError, match=r"or hold an earlier result, got fr with frame_00001"):
        check_target(folder)
    assert run(clip, "-o", "fr") == 1
    assert [path.name for path in folder.iterdir()] == [mine.name]
    mine.unlink()
    assert run(clip, "-o", "fr") == 0
    assert run(clip, "-o", "cut_v1.5/") == 0
    assert (here / "cut_v1.5" / "frame_00004.png").is_file()


def test_the_clip_and_its_background_are_never_written_over(here, networks, clip, caplog):
    (here / "behind.png").write_bytes(encode_png(scene()))
    (here / "link.mp4").symlink_to(clip)
    before = clip.read_bytes()
    assert run(clip, "-o", "link.mp4", "--background", "#000000") == 2
    assert run(clip, "-o", f"{clip.parent}/./clip.mp4", "--background", "behind.png") == 2
    assert "no result may replace a file that is read" in caplog.text
    assert clip.read_bytes() == before
    assert run(clip, "-o", "fr") == 0
    frame = here / "fr" / "frame_00001.png"
    assert run(clip, "-o", "fr", "--background", frame) == 2
    assert "nothing is read from" in caplog.text
    assert frame.is_file()


def test_a_name_may_begin_with_a_dash_or_look_like_an_address(here, networks, clip):
    for name in ("-clip.mp4", "http:clip.mp4", "人物.mp4"):
        clip.rename(here / name)
        clip = here / name
        assert run(f"./{name}", "-o", "./-o.webm") == 0, name
    assert read_movie(here / "-o.webm")


def test_pipes(here, networks, clip, monkeypatch):
    class Pipe:
        def __init__(self, data=b""):
            self.buffer = BytesIO(data)

    out = Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe(clip.read_bytes()))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert run("-", "-o", "-", "--format", "webm") == 0
        assert run(clip, "-o", "-") == 2
    (here / "piped.webm").write_bytes(out.buffer.getvalue())
    assert len(read_movie(here / "piped.webm")) == 4


def test_an_interruption_ends_in_one_line(here, networks, clip, monkeypatch, caplog):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "estimate_foreground", interrupted)
    assert run(clip, "-o", "o.webm") == 130
    assert caplog.messages[-1] == "stopped: nothing was written"
    assert [path.name for path in here.iterdir()] == ["clip.mp4"]


# Damage


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path):
    path = make_clip(tmp_path / "a.avi", [scene()], codec="mpeg4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.avi"), "w") as out:
        out.metadata["title"] = "Fuenf Blaetter XX"
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = (tmp_path / "b.avi").read_bytes()
    assert b"Fuenf Blaetter XX" in data
    path.write_bytes(data.replace(b"Fuenf Blaetter XX", "Fünf Blätter ÄÖXX".encode("latin-1")))
    with Clip(path) as source:
        (frame,) = source.read()
    np.testing.assert_allclose(frame.image[24, 28], RED, atol=0.1)


def test_an_unknown_codec_is_refused_by_name(clip, tmp_path):
    path = tmp_path / "unknown.mp4"
    path.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    with pytest.raises(VideoError, match=r"unknown\.mp4 must be .*got an? unknown"), Clip(path):
        pass


def test_sound_of_an_unknown_kind_is_left_out_and_told(tmp_path):
    path = make_clip(tmp_path / "a.mkv", [scene(), scene()], sound="aac")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with Clip(path) as source:
        assert source.audio is None
        assert "sound is of an unknown kind" in source.note
    assert len(cut(path, tmp_path / "o.webm")) == 2


def test_damaged_sound_ends_early_and_the_clip_does_not(tmp_path):
    path = make_clip(tmp_path / "a.mkv", [scene(x) for x in range(6)], sound="flac")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        sounds = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
    for sound in sounds[3:]:
        start = bytes(data).index(sound)
        data[start : start + len(sound)] = bytes(len(sound))
    path.write_bytes(data)
    with Clip(path) as source:
        frames = list(matte_clip(source, tmp_path / "o.webm", FindsRed(), TakesGuidance(), RAW))
        assert source.note == "The clip's sound is damaged, and ends early."
    assert len(frames) == len(read_movie(tmp_path / "o.webm")) == 6


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.mkv", "ffv1")],
)
def test_mutated_clips_raise_nothing_but_video_errors(tmp_path, name, codec):
    whole = make_clip(tmp_path / name, [scene(x) for x in range(3)], codec=codec).read_bytes()
    generator = random.Random(7)
    read = refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 30)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path = tmp_path / f"damaged-{name}"
        path.write_bytes(damaged[: generator.choice([None, len(damaged) // 2])])
        try:
            with Clip(path) as source, write_clip(tmp_path / "o.zip", source) as writer:
                for frame in source.read(writer.hear):
                    assert frame.image.shape[2] == 3
                    read += 1
        except VideoError:
            refused += 1
    assert read
    assert refused
