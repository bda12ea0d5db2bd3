import os
import signal
import sys
import zipfile
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from clips import GREEN, HEIGHT, RED, WIDTH, make_clip, read_movie, scene

from mgm_core.images import read_alpha, read_image
from mgm_core.video.files import (
    Clip,
    ClipLimits,
    VideoError,
    check_target,
    clip_kind,
    write_clip,
)


def frames_of(path, *args, **kwargs):
    with Clip(path, *args, **kwargs) as clip:
        return list(clip.read())


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", [scene(x) for x in range(4, 14)])


def test_frames_come_in_order_with_their_colours_and_times(clip):
    frames = frames_of(clip)
    assert [float(frame.time_s) for frame in frames] == pytest.approx(np.arange(10) / 10)
    for x, frame in zip(range(4, 14), frames, strict=True):
        assert frame.image.dtype == np.float32
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert frame.image[20, x + 12] == pytest.approx(RED, abs=0.03)
        assert frame.image[20, 60] == pytest.approx(GREEN, abs=0.03)


def test_a_variable_frame_rate_is_kept_from_end_to_end(tmp_path):
    times_ms = [0, 40, 240, 250, 900]
    clip = make_clip(tmp_path / "phone.mp4", [scene(x) for x in range(5)], times_ms=times_ms)
    expected = pytest.approx([t / 1000 for t in times_ms], abs=0.001)
    assert [float(frame.time_s) for frame in frames_of(clip)] == expected
    for target in (tmp_path / "copy.mp4", tmp_path / "copy.webm"):
        with Clip(clip) as source, write_clip(target, source, transparent=False) as writer:
            for frame in source.read(writer.hear):
                writer.write(frame.image, frame.time_s)
        assert [time for time, _, _ in read_movie(target)] == expected


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_phones_rotation_is_applied(tmp_path, rotation):
    stored = scene()
    stored[:12, :16] = (0.1, 0.1, 0.9)  # blue at the top left of what is stored
    clip = make_clip(tmp_path / "phone.mp4", [stored] * 3, rotation=rotation)
    with av.open(str(clip)) as opened:
        # What the container says is turned counterclockwise for showing.
        turns = round(next(opened.decode(video=0)).rotation / 90)
    image = frames_of(clip)[0].image
    assert turns % 4 != 0
    assert image.shape == np.rot90(stored, turns).shape
    assert np.abs(image - np.rot90(stored, turns)).mean() < 0.02
    corner = {90: image[-4, 4], 180: image[-4, -4], -90: image[4, -4]}[rotation]
    assert corner == pytest.approx((0.1, 0.1, 0.9), abs=0.06)


def test_large_frames_are_shrunk_and_small_ones_left(clip):
    assert frames_of(clip, long_side_px=32)[0].image.shape == (24, 32, 3)
    assert frames_of(clip, long_side_px=640)[0].image.shape == (48, 64, 3)
    with pytest.raises(ValueError, match="long_side_px must be at least 16, got 8: 960 suits"):
        Clip(clip, long_side_px=8)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ClipLimits(seconds=0.5), r"clip.mp4 must be at most 0.5 s long, got 1.0 s: cut it"),
        (ClipLimits(frames=9), "must have at most 9 frames, got 10 or more: cut it"),
        (ClipLimits(megapixels=0.003), "at most 0.003 megapixels a frame, got 64x48: export it"),
    ],
)
def test_what_is_over_a_limit_is_refused_from_the_header(clip, limits, message):
    with pytest.raises(VideoError, match=message):
        Clip(clip, limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ClipLimits(seconds=0.5), "at most 0.5 s long, got more than 0.5 s: cut it"),
        (ClipLimits(frames=4), "at most 4 frames, got 5 or more"),
    ],
)
def test_a_header_that_does_not_tell_is_not_trusted(tmp_path, limits, message):
    stream = make_clip(
        tmp_path / "stream.mkv", [scene(x) for x in range(10)], container_options={"live": "1"}
    )
    with Clip(stream, limits) as clip:
        assert clip.frames_expected is None
        with pytest.raises(VideoError, match=message):
            list(clip.read())


def test_a_file_that_is_gone_or_no_clip_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"no.mp4 must exist, got no such file: check its path"):
        Clip(tmp_path / "no.mp4")
    with pytest.raises(VideoError, match="must be a file, got a folder"):
        Clip(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("not a film")
    with pytest.raises(VideoError, match=r"text.mp4 must be a complete clip \(MP4, MOV, .* got a"):
        Clip(text)


def test_a_clip_that_was_cut_off_is_refused_or_told(clip, tmp_path):
    whole = clip.read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(whole[: len(whole) // 2])  # its index was at the end
    with pytest.raises(VideoError, match=r"broken.mp4 must be a complete clip"):
        Clip(broken)
    # Noise: what is cut off are many of its frames, and not one.
    noise = np.random.default_rng(0).random((20, HEIGHT, WIDTH, 3), np.float32)
    indexed = make_clip(
        tmp_path / "indexed.mp4",
        list(noise),
        options={"g": "1"},
        container_options={"movflags": "faststart"},
    )
    indexed.write_bytes(indexed.read_bytes()[:-20_000])
    with Clip(indexed) as source:
        read = len(list(source.read()))
        assert 0 < read < 20
        assert source.note == (
            f"The file is damaged or was cut off: it could be read for {read} frames."
        )


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        audio = out.add_stream("aac", rate=48_000, layout="mono")
        from clips import tones

        for tone in tones(0.2):
            out.mux(audio.encode(tone))
        out.mux(audio.encode(None))
    with pytest.raises(VideoError, match=r"song.mp4 must hold video, got a file without: give"):
        Clip(path)


def test_a_playlist_cannot_open_other_files(clip):
    for name, text in (
        ("list.ffconcat", f"ffconcat version 1.0\nfile {clip.name}\n"),
        ("list.m3u8", f"#EXTM3U\n#EXTINF:1,\n{clip.name}\n#EXT-X-ENDLIST\n"),
    ):
        path = clip.with_name(name)
        path.write_text(text)
        with pytest.raises(VideoError, match="must be a complete clip"):
            Clip(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.MP4", "mp4"), ("a.webm", "webm"), ("a.zip", "zip"), ("frames", "folder")],
)
def test_the_ending_decides(name, kind):
    assert clip_kind(name) == kind


def test_other_endings_and_missing_folders_are_refused(clip, tmp_path):
    with pytest.raises(ValueError, match=r"must end in .mp4, .* or .zip .* got a.avi: choose"):
        clip_kind("a.avi")
    with Clip(clip) as source:
        with pytest.raises(VideoError, match="target must be in a folder that exists"):
            write_clip(tmp_path / "no" / "a.mp4", source)
        with pytest.raises(ValueError, match=r"transparent must be False for .mp4, got True"):
            write_clip(tmp_path / "a.mp4", source, transparent=True)


def test_webm_keeps_alpha_colours_and_odd_sizes(clip, tmp_path):
    target = tmp_path / "cutout.webm"
    rgba = np.dstack([scene(16, (49, 65)), np.zeros((49, 65), np.float32)])
    rgba[12:36, 16:40, 3] = 1
    rgba[40:, :, 3] = 0.5
    with Clip(clip) as source, write_clip(target, source) as writer:
        assert writer.transparent
        for number in range(3):
            writer.write(rgba, Fraction(number, 10))
    frames = read_movie(target, "libvpx-vp9")
    assert [name for _, name, _ in frames] == ["yuva420p"] * 3
    for _, _, pixels in frames:
        assert pixels.shape == (49, 65, 4)
        assert pixels[24, 28] == pytest.approx([*RED, 1], abs=0.04)
        assert pixels[5, 50, 3] == pytest.approx(0, abs=0.02)
        assert pixels[46, 30, 3] == pytest.approx(0.5, abs=0.02)


def test_mp4_repeats_the_last_column_and_row_of_odd_sizes(clip, tmp_path):
    target = tmp_path / "odd.mp4"
    with Clip(clip) as source, write_clip(target, source) as writer:
        assert not writer.transparent
        writer.write(scene(16, (49, 65)), Fraction(0))
    ((_, name, pixels),) = read_movie(target)
    assert (name, pixels.shape) == ("yuv420p", (50, 66, 3))
    assert pixels[24, 28] == pytest.approx(RED, abs=0.03)
    assert pixels[49, 65] == pytest.approx(GREEN, abs=0.03)


def test_pictures_come_with_a_play_list_of_their_times(clip, tmp_path):
    target = tmp_path / "frames.zip"
    rgba = np.dstack([scene(), np.full((HEIGHT, WIDTH), 0.5, np.float32)])
    with Clip(clip) as source, write_clip(target, source) as writer:
        for time_s in (Fraction(0), Fraction(3, 10)):
            writer.write(rgba, time_s)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["frame_00001.png", "frame_00002.png", "frames.ffconcat"]
        first = archive.read("frame_00001.png")
        lines = archive.read("frames.ffconcat").decode().splitlines()
        archive.extractall(tmp_path / "out")
    assert np.abs(read_image(BytesIO(first)) - scene()).max() <= 0.51 / 255
    assert read_alpha(BytesIO(first)) == pytest.approx(0.5, abs=0.003)
    assert [line.split()[1] for line in lines if line.startswith("duration")] == [
        "0.300000",
        "0.100000",
    ]
    with av.open(str(tmp_path / "out" / "frames.ffconcat"), format="concat") as list_of_frames:
        times = [frame.time for frame in list_of_frames.decode(video=0)]
    assert times == pytest.approx([0, 0.3], abs=0.05)


def frames_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("frame_*")}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals and locks")
@pytest.mark.parametrize("after", [0, 1, 3, 5, None])
def test_killed_between_two_frames_a_folder_is_finished_or_cleared_next_time(clip, tmp_path, after):
    """Four new frames for ten: SIGKILL after so many have moved, or before all are there."""
    folder, whole = tmp_path / "frames", tmp_path / "whole"

    def write(target, count, x):
        with Clip(clip) as source, write_clip(target, source) as writer:
            for number in range(count):
                writer.write(scene(x + number), Fraction(number, 10))
                if after is None and target == folder and (x, number) == (20, 2):
                    os.kill(os.getpid(), signal.SIGKILL)

    write(folder, 10, 4)
    write(whole, 4, 20)
    old = frames_in(folder)
    child = os.fork()
    if child == 0:
        moved, replace = [], Path.replace

        def killed(path, target):
            if len(moved) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            moved.append(path)
            return replace(path, target)

        Path.replace = killed
        write(folder, 4, 20)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) == (after != 5)
    assert any(name.name.endswith(".part") for name in folder.iterdir()) == (after != 5)
    check_target(folder)
    assert frames_in(folder) == (old if after is None else frames_in(whole))
    assert len(list(folder.iterdir())) == len(frames_in(folder)) + 1  # and the play list
    check_target(folder)


@pytest.mark.parametrize(
    ("source_sound", "target", "expected"),
    [
        ("aac", "copy.mp4", "aac"),
        ("aac", "anew.webm", "opus"),
        ("libopus", "copy.webm", "opus"),
        ("flac", "copy.mp4", "flac"),
        ("pcm_u8", "anew.mp4", "aac"),
    ],
)
def test_sound_is_copied_or_where_that_is_impossible_encoded_anew(
    tmp_path, source_sound, target, expected
):
    clip = make_clip(tmp_path / "clip.mkv", [scene(x) for x in range(10)], sound=source_sound)
    with Clip(clip) as source, write_clip(tmp_path / target, source, transparent=False) as writer:
        for frame in source.read(writer.hear):
            writer.write(frame.image, frame.time_s)
    with av.open(str(tmp_path / target)) as movie:
        assert movie.streams.audio[0].codec_context.codec.canonical_name == expected
        sound = np.concatenate([block.to_ndarray()[0] for block in movie.decode(audio=0)])
        rate = movie.streams.audio[0].codec_context.sample_rate
    assert len(sound) / rate == pytest.approx(0.9, abs=0.1)
    middle = sound[len(sound) // 4 : 3 * len(sound) // 4].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(440, abs=6)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "target", "expected"),
    [
        ("clip.avi", "pcm_s16le", 48_000, "anew.mp4", "aac"),
        ("clip.webm", "libopus", 48_000, "anew.mov", "aac"),
        ("clip.mkv", "flac", 48_000, "anew.mov", "aac"),
        ("clip.mkv", "libmp3lame", 12_000, "anew.mp4", "aac"),
        ("clip.avi", "pcm_s16le", 48_000, "copy.mov", "pcm_s16le"),
    ],
)
def test_sound_that_the_new_file_refuses_is_encoded_anew(
    tmp_path, name, codec, rate, target, expected
):
    images = [scene(x) for x in range(11)]
    video = {"codec": "libvpx", "options": {"b": "1M"}} if name.endswith("webm") else {}
    clip = make_clip(
        tmp_path / name, images, sound=codec, sound_rate=rate, sound_layout="stereo", **video
    )
    with Clip(clip) as source, write_clip(tmp_path / target, source, transparent=False) as writer:
        for frame in source.read(writer.hear):
            writer.write(frame.image, frame.time_s)
    with av.open(str(tmp_path / target)) as movie:
        sound = movie.streams.audio[0].codec_context
        assert sound.codec.canonical_name == expected
        samples = sum(block.samples for block in movie.decode(audio=0))
    assert samples / sound.sample_rate == pytest.approx(1, abs=0.15)


def test_sound_of_a_rate_that_aac_lacks_is_resampled(tmp_path):
    images = [scene(x) for x in range(3)]
    clip = make_clip(tmp_path / "clip.avi", images, sound="pcm_u8", sound_rate=22_254)
    with Clip(clip) as source, write_clip(tmp_path / "a.mp4", source, transparent=False) as writer:
        for frame in source.read(writer.hear):
            writer.write(frame.image, frame.time_s)
    with av.open(str(tmp_path / "a.mp4")) as movie:
        assert movie.streams.audio[0].codec_context.sample_rate == 48_000


def test_a_failure_leaves_neither_file_nor_part(clip, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "a.webm", "a.zip"):
        target = folder / name
        with pytest.raises(RuntimeError, match="the network broke"):
            _break_off(clip, target)
    assert list(folder.iterdir()) == []


def _break_off(clip, target):
    with Clip(clip) as source, write_clip(target, source, transparent=False) as writer:
        writer.write(scene(), Fraction(0))
        raise RuntimeError("the network broke")
