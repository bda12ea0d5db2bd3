"""Tiny clips for tests, made on the spot."""

from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from mgm_core.matting.matter import Matte

HEIGHT, WIDTH = 48, 64
RED, GREEN = (0.9, 0.2, 0.2), (0.2, 0.6, 0.3)


def scene(x=16, size=(HEIGHT, WIDTH)):
    """A green picture with a red square at column x, (H, W, 3) float32."""
    image = np.empty((*size, 3), np.float32)
    image[:] = GREEN
    image[12:36, x : x + 24] = RED
    return image


class FindsRed:
    """A segmenter of the scene's square."""

    def probability(self, image, category, *, long_side_px=None):
        assert (category, long_side_px) == ("person", None)
        return (image[..., 0] > 0.55).astype(np.float32)


class TakesGuidance:
    """Returns the guidance as alpha, and counts."""

    def __init__(self):
        self.count = 0

    def matte(self, image, guidance, *, known=None, refine="off"):
        self.refined = refine
        self.count += 1
        return Matte(*[guidance.astype(np.float32)] * 6)


def make_clip(
    path,
    images,
    *,
    times_ms=None,
    codec="libx264",
    rotation=0,
    sound=None,
    sound_rate=48_000,
    sound_layout="mono",
    pix_fmt="yuv420p",
    options=None,
    container_options=None,
):
    """Write images as a clip, 10 a second unless their times are given."""
    times_ms = times_ms or [100 * n for n in range(len(images))]
    with av.open(str(path), "w", options=container_options or {}) as out:
        video = out.add_stream(codec, rate=10, options=options or {"crf": "5"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.colorspace = 1
        video.codec_context.color_range = 1
        if rotation:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            audio = out.add_stream(sound, rate=sound_rate, layout=sound_layout)
        for image, time_ms in zip(images, times_ms, strict=True):
            frame = VideoFrame.from_ndarray(image, format="gbrpf32le").reformat(
                format=pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            for tone in tones(times_ms[-1] / 1000, sound_rate):
                out.mux(audio.encode(tone))
            out.mux(audio.encode(None))
    return path


def make_transparent_clip(path, images, *, codec="qtrle", pix_fmt="argb"):
    """Write (H, W, 4) images as a clip with alpha, 10 a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, 10, {"auto-alt-ref": "0"} if "vpx" in codec else {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for image in images:
            frame = VideoFrame.from_ndarray(image, "gbrapf32le").reformat(format=pix_fmt)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def tones(seconds, rate=48_000, block=960):
    """A sine of 440 Hz in blocks."""
    for start in range(0, round(seconds * rate), block):
        wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(start, start + block) / rate)
        tone = AudioFrame.from_ndarray(wave[None].astype(np.float32), "flt", "mono")
        tone.rate, tone.pts, tone.time_base = rate, start, Fraction(1, rate)
        yield tone


def read_movie(path, decoder=None):
    """Return a clip's frames as (time in s, format's name, float RGB or RGBA)."""
    frames = []
    with av.open(str(path)) as movie:
        stream = movie.streams.video[0]
        context = stream.codec_context
        if decoder is not None:
            context = av.codec.CodecContext.create(decoder, "r")
        for packet in movie.demux(stream):
            for frame in context.decode(packet):
                planar = "gbrapf32le" if "a" in frame.format.name else "gbrpf32le"
                pixels = frame.to_ndarray(format=planar, src_colorspace="ITU709")
                frames.append((frame.time, frame.format.name, pixels))
    return frames
