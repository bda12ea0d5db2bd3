"""Video files in, frames out, and back: the one module that knows codecs, clocks and rotation.

A frame is float32 (H, W, 3), sRGB in [0, 1] and upright, at a time in seconds. Frames come one by
one and leave one by one, so that a clip takes no more memory than a few of its frames.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike, fspath, sep
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, TypeAlias, cast, get_args

import av
import cv2
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mgm_core.arrays import Floats, resized
from mgm_core.images import encode_png
from mgm_core.runtime.partial import clear_up, left_over, part_beside, written_whole
from mgm_core.video.exr import encode_exr

__all__ = [
    "Clip",
    "ClipKind",
    "ClipLimits",
    "ClipWriter",
    "Frame",
    "PictureFormat",
    "VideoError",
    "check_long_side",
    "check_target",
    "clip_kind",
    "write_clip",
]

SoundPacket: TypeAlias = "Packet[AudioStream]"  # quoted: it is generic for type checkers alone
ClipKind: TypeAlias = Literal["mp4", "webm", "mov", "zip", "folder"]
PictureFormat: TypeAlias = Literal["png", "exr"]

# Only these run on files from strangers: among FFmpeg's others are play lists, which open whatever
# file or address they name.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif"
_FORMAT_NAMES = "MP4, MOV, WebM, MKV, AVI or MPEG"
# What a file without colour tags was encoded with, by height, as players take it.
_HD_HEIGHT_PX = 720
_UNTAGGED = 2
_BT709 = 1
_LIMITED_RANGE = 1
_HDR_TRANSFERS = (16, 18)  # PQ and HLG
_MP4_OPTIONS = {"crf": "17", "preset": "veryfast"}
_MOV_OPTIONS = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
# Frames that are invisible and only referred to would lose their alpha: hence no auto-alt-ref.
_WEBM_OPTIONS = {
    "crf": "24",
    "b": "0",
    "auto-alt-ref": "0",
    "deadline": "good",
    "cpu-used": "4",
    "row-mt": "1",
}
# The encoder, its options, and its pixels without and with alpha.
_ENCODERS = {
    "mp4": ("libx264", _MP4_OPTIONS, "yuv420p", "yuv420p"),
    "webm": ("libvpx-vp9", _WEBM_OPTIONS, "yuv420p", "yuva420p"),
    "mov": ("prores_ks", _MOV_OPTIONS, "yuv444p10le", "yuva444p10le"),
}
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_WIDEST_PIXEL = 4
# Sound that each muxer takes as it is. PyAV's `supported_codecs` names more; FFmpeg refuses some of
# that, and only with the file's first packet.
_PCM = "pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s32le pcm_f32le pcm_mulaw pcm_alaw"
_COPIED_SOUND = {
    "mp4": frozenset(("aac", "mp3", "mp2", "ac3", "eac3", "alac", "flac", "opus")),
    "webm": frozenset(("opus", "vorbis")),
    "mov": frozenset(("aac", "mp3", "mp2", "ac3", "eac3", "alac", *_PCM.split())),
}
_LOWEST_MP3_RATE_OF_MP4 = 16_000
# Sound of another rate, as old cameras made it, is resampled.
_AAC_RATES = frozenset(
    (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
)
_PLAY_LIST = "frames.ffconcat"


class VideoError(ValueError):
    """A file cannot be read as the clip that it was given for."""


@dataclass(frozen=True)
class ClipLimits:
    """What a clip may have; every frame costs a pass of the network.

    Args:
        seconds: length.
        frames: how many.
        megapixels: of a frame as it is in the file.
    """

    seconds: float = 60.0
    frames: int = 1800
    megapixels: float = 9.0


@dataclass(frozen=True)
class Frame:
    """A picture of a clip.

    Args:
        image: (H, W, 3) float32 sRGB in [0, 1], upright.
        time_s: when it is shown, in seconds from the start of the file's clock.
        alpha: (H, W) float32 in [0, 1], the clip's own transparency; None where it has none.
    """

    image: Floats = field(repr=False)
    time_s: Fraction
    alpha: Floats | None = field(default=None, repr=False)


def check_long_side(long_side_px: int | None) -> None:
    """Raise a ValueError unless frames can be shrunk to a long side; None keeps their size."""
    if long_side_px is not None and long_side_px < 16:
        raise ValueError(
            f"long_side_px must be at least 16, got {long_side_px}: 960 suits most clips"
        )


class Clip:
    """A clip that is open for reading; a context manager.

    Rotation, as phones note it, is applied, and pixels that are not square become so. High dynamic
    range is not mapped to the standard one: `note` says so where it matters.

    Args:
        path: the file.
        limits: longer, larger or wider clips are refused, from the header where it tells and
            while reading where it does not.
        long_side_px: frames whose long side is larger are shrunk to it; None keeps their size.

    Raises:
        VideoError: the file is missing, damaged, no video, or over a limit.
        ValueError: `long_side_px` is below 16.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        limits: ClipLimits = ClipLimits(),
        *,
        long_side_px: int | None = None,
    ) -> None:
        check_long_side(long_side_px)
        self.name = Path(path).name
        self.frames_read = 0
        self._damaged = False
        self._notes: list[str] = []
        self._limits = limits
        self._long_side_px = long_side_px
        with self._naming_damage():
            self.container: InputContainer = av.open(
                # A name that begins like an address or an option is a file's all the same.
                f"file:{Path(path).absolute()}",
                options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        try:
            with self._naming_damage():
                self._open_streams()
        except BaseException:
            self.container.close()
            raise

    def _open_streams(self) -> None:
        if not self.container.streams.video:
            raise VideoError(f"{self.name} must hold video, got a file without: give a clip")
        # A cover picture is a stream, too.
        moving = [
            stream
            for stream in self.container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        self.video: VideoStream = (moving or self.container.streams.video)[0]
        audio = self.container.streams.audio
        self.audio: AudioStream | None = audio[0] if audio else None
        sound: AudioCodecContext | None = audio[0].codec_context if audio else None
        if audio and sound is None:
            self.audio = None
            self.tell("The clip's sound is of an unknown kind, and is left out.")
        # PyAV has no context for a codec that FFmpeg does not know, whatever its types say.
        context: VideoCodecContext | None = self.video.codec_context
        if context is None:
            raise VideoError(
                f"{self.name} must be of a codec that is known here, got an unknown one: export it "
                "as H.264"
            )
        self._alpha_decoder = self._decoder_of_alpha()
        self._check_size(context.width, context.height)
        # The decoder is held to the limit too: a stream may change its size on the way.
        for decoder in filter(None, (context, self._alpha_decoder)):
            decoder.options = {"max_pixels": str(4 * round(self._limits.megapixels * 1e6))}
        seconds, rate = self.seconds, self.video.average_rate
        if seconds is not None and seconds > self._limits.seconds:
            raise self._too_long(f"{seconds:.1f} s")
        self.frames_expected = self.video.frames or (
            round(seconds * float(rate)) if seconds and rate else None
        )
        if self.frames_expected is not None and self.frames_expected > self._limits.frames:
            raise self._too_many(self.frames_expected)

    @property
    def seconds(self) -> float | None:
        """The length that the header tells, or None."""
        if self.video.duration is not None and self.video.time_base is not None:
            return float(self.video.duration * self.video.time_base)
        return None if self.container.duration is None else self.container.duration / av.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, on average; 25 where the file does not tell."""
        return self.video.average_rate or Fraction(25)

    @property
    def note(self) -> str:
        """What a viewer should know of the clip once it was read, or nothing."""
        notes = [*self._notes]
        if self.video.codec_context.color_trc in _HDR_TRANSFERS:
            notes.append("The clip is HDR: its colours are taken as they are, and look paler.")
        if self._damaged or 0 < self.frames_read < 0.9 * self.video.frames:
            notes.append(
                f"The file is damaged or was cut off: it could be read for {self.frames_read} "
                "frames."
            )
        return " ".join(notes)

    def tell(self, sentence: str) -> None:
        """Add a sentence to the note."""
        self._notes.append(sentence)

    def __enter__(self) -> "Clip":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.container.close()

    def read(self, heard: Callable[[SoundPacket], None] | None = None) -> Iterator[Frame]:
        """Return the frames in the order they are shown.

        Args:
            heard: is given the packets of the first audio stream as they come by.

        Raises:
            VideoError: the file is damaged before its first frame, or turns out to be over a
                limit. Damage further on ends the clip there, and `note` tells.
        """
        first_s = last_s = None
        for picture in self._decoded(heard):
            self.frames_read += 1
            if self.frames_read > self._limits.frames:
                raise self._too_many(self.frames_read)
            last_s = self._time_s(picture, last_s)
            first_s = last_s if first_s is None else first_s
            if last_s - first_s > self._limits.seconds:
                raise self._too_long(f"more than {self._limits.seconds:g} s")
            with self._naming_damage():
                frame = self._upright(picture, last_s)
            yield frame
        if self.frames_read == 0:
            raise VideoError(f"{self.name} must hold frames, got none: record or export it anew")

    def _decoder_of_alpha(self) -> VideoCodecContext | None:
        """Return a decoder that sees VP8's and VP9's alpha, which FFmpeg's own ones do not."""
        decoder = _ALPHA_DECODERS.get(self.video.codec_context.name)
        if decoder is None or self.video.metadata.get("alpha_mode") != "1":
            return None
        context = cast("VideoCodecContext", CodecContext.create(decoder, "r"))
        context.extradata = self.video.codec_context.extradata
        return context

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        if self._alpha_decoder is None:
            return self.video.decode(packet)
        return self._alpha_decoder.decode(packet if packet.size else None)

    def _decoded(self, heard: Callable[[SoundPacket], None] | None) -> Iterator[VideoFrame]:
        streams: list[Stream] = [self.video]
        if self.audio is not None and heard is not None:
            streams.append(self.audio)
        packets = self.container.demux(*streams)
        size: tuple[int, int] | None = None
        while True:
            try:
                with self._naming_damage():
                    packet = next(packets, None)
                    pictures = (
                        self._decode(cast("Packet[VideoStream]", packet))
                        if packet is not None and packet.stream is self.video
                        else []
                    )
            except VideoError:
                if self.frames_read == 0:
                    raise
                # What came before the damage took minutes to matte, and is good.
                self._damaged = True
                return
            if packet is None:
                return
            if packet.stream is self.audio and heard is not None:
                heard(cast("SoundPacket", packet))
            for picture in pictures:
                found = picture.width, picture.height
                size = size or found
                if found != size:
                    raise VideoError(
                        f"{self.name} must keep one frame size, got {size[0]}x{size[1]} and then "
                        f"{found[0]}x{found[1]}: export it anew"
                    )
                yield picture

    def _time_s(self, picture: VideoFrame, last_s: Fraction | None) -> Fraction:
        """Return when a frame is shown: by its own clock, and always later than the one before."""
        step = 1 / self.frame_rate
        if picture.pts is None or picture.time_base is None:
            return Fraction(0) if last_s is None else last_s + step
        time_s = picture.pts * picture.time_base
        if last_s is not None and time_s <= last_s:
            return last_s + step / 100
        return time_s

    def _upright(self, picture: VideoFrame, time_s: Fraction) -> Frame:
        untagged = picture.colorspace == _UNTAGGED
        hd = max(picture.width, picture.height) >= _HD_HEIGHT_PX * 16 // 9
        has_alpha = any(component.is_alpha for component in picture.format.components)
        stored = picture.to_ndarray(
            format="gbrapf32le" if has_alpha else "gbrpf32le",
            src_colorspace="ITU709" if untagged and hd else None,
        )
        image = self._square(np.asarray(stored, np.float32))
        image = np.rot90(image, round(picture.rotation / 90))
        height, width = image.shape[:2]
        scale = 1.0 if self._long_side_px is None else self._long_side_px / max(height, width)
        if scale < 1:
            size = max(1, round(height * scale)), max(1, round(width * scale))
            image = resized(image, size, cv2.INTER_CUBIC)
        image = np.ascontiguousarray(image.clip(0, 1))
        if not has_alpha:
            return Frame(image, time_s)
        alpha = np.ascontiguousarray(image[..., 3])
        return Frame(np.ascontiguousarray(image[..., :3]), time_s, alpha)

    def _square(self, image: Floats) -> Floats:
        """Stretch a frame whose pixels are not square, as players do; no line or column is lost."""
        aspect = self.video.sample_aspect_ratio
        if aspect is None or aspect <= 0 or aspect == 1:
            return image
        # A header can ask for anything; no camera goes beyond this.
        if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
            return image
        height, width = image.shape[:2]
        if aspect > 1:
            return resized(image, (height, round(width * aspect)), cv2.INTER_CUBIC)
        return resized(image, (round(height / aspect), width), cv2.INTER_CUBIC)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._limits.megapixels * 1e6:
            raise VideoError(
                f"{self.name} must have at most {self._limits.megapixels:g} megapixels a frame, "
                f"got {width}x{height}: export it smaller"
            )

    def _too_long(self, found: str) -> VideoError:
        return VideoError(
            f"{self.name} must be at most {self._limits.seconds:g} s long, got {found}: cut it"
        )

    def _too_many(self, found: int) -> VideoError:
        return VideoError(
            f"{self.name} must have at most {self._limits.frames} frames, got {found} or more: "
            "cut it, or export it at fewer frames a second"
        )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Say what FFmpeg's errors mean for who brought the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise VideoError(f"{self.name} must exist, got no such file: check its path") from error
        except IsADirectoryError as error:
            raise VideoError(
                f"{self.name} must be a file, got a folder: name a file in it"
            ) from error
        except (VideoError, MemoryError):
            raise
        except Exception as error:  # whatever FFmpeg and its binding make of a damaged file
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise VideoError(
                f"{self.name} must be a complete clip ({_FORMAT_NAMES}), got a damaged or unknown "
                f"file ({reason}): record, export or upload it anew"
            ) from error


class ClipWriter(Protocol):
    """What takes the finished frames."""

    transparent: bool
    """Whether frames are to have an alpha channel."""

    def write(self, pixels: Floats, time_s: Fraction) -> None:
        """Add a frame: (H, W, 4) straight RGBA where `transparent`, else (H, W, 3)."""
        ...

    def hear(self, packet: SoundPacket) -> None:
        """Add a packet of the clip's sound."""
        ...

    def finish(self) -> None:
        """Complete the file."""
        ...


def clip_kind(target: str | PathLike[str]) -> ClipKind:
    """Return what a target's name asks for: .mp4, .webm, .mov, .zip, or a folder.

    A folder's name has no ending, or a slash at its end, or it is one already.

    Raises:
        ValueError: it has another ending.
    """
    name = fspath(target)
    if name.endswith(("/", sep)) or Path(name).is_dir():
        return "folder"
    suffix = Path(name).suffix.lower().removeprefix(".") or "folder"
    for kind in get_args(ClipKind):
        if suffix == kind:
            found: ClipKind = kind
            return found
    raise ValueError(
        f"target must end in .mp4, .webm, .mov or .zip or be a folder, got {Path(name).name}: "
        "choose one of them, or end a folder's name with a slash"
    )


def check_target(target: str | PathLike[str], *, transparent: bool | None = None) -> None:
    """Raise unless a target can be written, as far as one can know ahead.

    What a program left unfinished in a folder of frames as it was killed is finished or deleted.

    Raises:
        ValueError: the ending is another, or the format cannot hold alpha.
        VideoError: its folder does not exist, or the frames' folder holds files that are not those
            of an earlier result.
    """
    kind = clip_kind(target)
    path = Path(target)
    if kind == "mp4" and transparent:
        raise ValueError("transparent must be False for .mp4, got True: write .webm, .mov or .zip")
    if not path.parent.is_dir():
        raise VideoError(f"target must be in a folder that exists, got {path}: create its folder")
    if kind == "folder":
        _finish_folder(path)
        _check_folder(path)


def _check_folder(folder: Path) -> None:
    """Raise unless a folder can take frames: new, empty, or with an earlier result alone."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise VideoError(f"target must be a folder, got the file {folder.name}: name another")
    names = {path.name for path in folder.iterdir()} - {".DS_Store", "Thumbs.db", "desktop.ini"}
    others = sorted(names - set(_listed_frames(folder)) - {_PLAY_LIST})
    if others:
        raise VideoError(
            f"target must be a new or empty folder, or hold an earlier result, got {folder.name} "
            f"with {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}: name another"
        )


def write_clip(
    target: str | PathLike[str],
    source: Clip,
    *,
    transparent: bool | None = None,
    pictures: PictureFormat = "png",
) -> AbstractContextManager[ClipWriter]:
    """Open a clip for writing; it is there whole when the context ends well, or else not at all.

    Args:
        target: ends in .mp4 (H.264, opaque, with the source's sound), .webm (VP9 with alpha and
            sound), .mov (ProRes 4444 with alpha and sound), .zip or nothing (pictures and a play
            list with their times). An earlier result in a folder goes once the new one is complete.
        source: where rate and sound come from.
        transparent: frames have alpha; None where the format can hold it.
        pictures: of what kind they are: PNG, or EXR in linear light with premultiplied alpha, as
            compositors expect them.

    Raises:
        ValueError: the ending is another, or the format cannot hold alpha.
        VideoError: the folder does not exist, or is not one for frames.
    """
    check_target(target, transparent=transparent)
    kind = clip_kind(target)
    path = Path(target)
    alpha = kind != "mp4" if transparent is None else transparent
    if kind == "folder":
        return _folder(path, source, alpha, pictures)
    return _in_one_step(path, kind, source, alpha, pictures)


@contextmanager
def _folder(
    path: Path, source: Clip, transparent: bool, pictures: PictureFormat
) -> Iterator[ClipWriter]:
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    done = False
    try:
        with part_beside(path / _PLAY_LIST, is_folder=True) as part:
            writer = _Pictures(
                lambda name, data: (part / name).write_bytes(data),
                source.frame_rate,
                transparent,
                pictures,
            )
            yield writer
            writer.finish()
            _replace_frames(path, part)
        done = True
    finally:
        if is_new and not done:
            with suppress(OSError):
                path.rmdir()


def _finish_folder(path: Path) -> None:
    """Do what programs that were killed left undone in a folder of frames.

    Frames that were complete replace the earlier ones, those that were not are deleted.

    Args:
        path: The folder.
    """
    for part in left_over(path):
        # Its play list is written as its last.
        if (part / _PLAY_LIST).is_file():
            _replace_frames(path, part)
    clear_up(path)


def _replace_frames(path: Path, part: Path) -> None:
    """Replace a folder's frames by those in another; this can be begun anew at any point."""
    outdated = set(_listed_frames(path)) - set(_listed_frames(part))
    # The play list last: until then it is the old one's.
    for new in part.iterdir():
        if new.name != _PLAY_LIST:
            new.replace(path / new.name)
    for name in outdated:
        (path / name).unlink(missing_ok=True)
    (part / _PLAY_LIST).replace(path / _PLAY_LIST)


def _listed_frames(folder: Path) -> list[str]:
    """Return the frames that a folder's play list names: those are ours to replace."""
    play_list = folder / _PLAY_LIST
    if not play_list.is_file():
        return []
    lines = play_list.read_text("utf-8", "replace").splitlines()
    names = [line.removeprefix("file ") for line in lines if line.startswith("file frame_")]
    return [name for name in names if Path(name).name == name]


@contextmanager
def _in_one_step(
    path: Path, kind: ClipKind, source: Clip, transparent: bool, pictures: PictureFormat
) -> Iterator[ClipWriter]:
    with written_whole(path) as part:
        if kind == "zip":
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                writer = _Pictures(archive.writestr, source.frame_rate, transparent, pictures)
                yield writer
                writer.finish()
        else:
            with av.open(str(part.absolute()), "w", format=kind) as container:
                movie = _Movie(container, kind, source, transparent)
                yield movie
                movie.finish()


class _Pictures:
    """Numbered pictures, and a play list for FFmpeg: `ffmpeg -f concat -i frames.ffconcat`."""

    def __init__(
        self,
        put: Callable[[str, bytes], object],
        rate: Fraction,
        transparent: bool,
        pictures: PictureFormat,
    ) -> None:
        self.transparent = transparent
        self._put = put
        self._rate = rate
        self._times: list[Fraction] = []
        self._suffix, self._encode = pictures, _PICTURE_ENCODERS[pictures]

    def write(self, pixels: Floats, time_s: Fraction) -> None:
        self._times.append(time_s)
        self._put(self._name(len(self._times)), self._encode(pixels))

    def _name(self, number: int) -> str:
        return f"frame_{number:05d}.{self._suffix}"

    def hear(self, packet: SoundPacket) -> None:
        pass  # pictures make no sound

    def finish(self) -> None:
        lines = ["ffconcat version 1.0"]
        ends = [*self._times[1:], *(time + 1 / self._rate for time in self._times[-1:])]
        for number, (start, end) in enumerate(zip(self._times, ends, strict=True), start=1):
            lines += [f"file {self._name(number)}", f"duration {float(end - start):.6f}"]
        self._put(_PLAY_LIST, ("\n".join(lines) + "\n").encode())


_PICTURE_ENCODERS: dict[PictureFormat, Callable[[Floats], bytes]] = {
    "png": encode_png,
    "exr": encode_exr,
}


class _Movie:
    """H.264 in MP4, VP9 with alpha in WebM, or ProRes 4444 in MOV, with the source's sound."""

    def __init__(
        self, container: OutputContainer, kind: ClipKind, source: Clip, transparent: bool
    ) -> None:
        self.transparent = transparent
        self._container = container
        self._source = source
        self._even = kind == "mp4"  # its chroma has half the size
        encoder, options, opaque, with_alpha = _ENCODERS[kind]
        self._video = cast("VideoStream", container.add_stream(encoder, source.frame_rate, options))
        self._video.pix_fmt = with_alpha if transparent else opaque
        self._time_base = source.video.time_base or Fraction(1, 90_000)
        context = self._video.codec_context
        context.time_base = self._time_base
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._last_pts: int | None = None
        self._early: list[SoundPacket] = []
        self._sound = None if source.audio is None else _Sound(container, kind, source.audio)

    def write(self, pixels: Floats, time_s: Fraction) -> None:
        height, width = pixels.shape[:2]
        if self._even:
            pads = ((0, height % 2), (0, width % 2), (0, 0))
            pixels = np.pad(pixels, pads, mode="edge")
        if self._last_pts is None:
            self._video.height, self._video.width = pixels.shape[:2]
        planar = "gbrapf32le" if self.transparent else "gbrpf32le"
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), planar).reformat(
            format=self._video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        pts = round(time_s / self._time_base)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        picture.pts, picture.time_base = pts, self._time_base
        self._last_pts = pts
        self._container.mux(self._video.encode(picture))
        while self._early:
            self.hear(self._early.pop(0))

    def hear(self, packet: SoundPacket) -> None:
        if self._sound is None:
            return
        if self._last_pts is None:
            # The file's header is written with its first packet, and has to know the frames' size.
            self._early.append(packet)
        else:
            with self._naming_damaged_sound():
                self._sound.hear(packet)

    @contextmanager
    def _naming_damaged_sound(self) -> Iterator[None]:
        """End the sound, and not the clip, where the sound is damaged."""
        try:
            yield
        except (av.error.FFmpegError, ValueError):
            self._sound = None
            self._source.tell("The clip's sound is damaged, and ends early.")

    def finish(self) -> None:
        if self._last_pts is not None:
            self._container.mux(self._video.encode(None))
        if self._sound is not None:
            with self._naming_damaged_sound():
                self._sound.finish()


def _can_hold(kind: ClipKind, source: AudioStream) -> bool:
    """Return whether a kind of file can hold a sound as it is."""
    codec = source.codec_context.codec.canonical_name
    too_low = source.codec_context.sample_rate < _LOWEST_MP3_RATE_OF_MP4
    return codec in _COPIED_SOUND[kind] and not (kind == "mp4" and codec == "mp3" and too_low)


class _Sound:
    """The source's sound: copied where the new format can hold its codec, else encoded anew."""

    def __init__(self, container: OutputContainer, kind: ClipKind, source: AudioStream) -> None:
        self._container = container
        self._source = source
        self._resampler: AudioResampler | None = None
        if _can_hold(kind, source):
            self._stream = container.add_stream_from_template(source)
            return
        encoder = "libopus" if kind == "webm" else "aac"
        own_rate = source.codec_context.sample_rate
        rate = own_rate if kind != "webm" and own_rate in _AAC_RATES else 48_000
        layout = "stereo" if source.codec_context.channels > 1 else "mono"
        self._stream = cast("AudioStream", container.add_stream(encoder, rate, layout=layout))
        self._resampler = AudioResampler(
            format="flt" if kind == "webm" else "fltp", layout=layout, rate=rate
        )

    def hear(self, packet: SoundPacket) -> None:
        if self._resampler is not None:
            for sound in self._source.decode(packet):
                for resampled in self._resampler.resample(sound):
                    self._container.mux(self._stream.encode(resampled))
        elif packet.dts is not None:  # the last, empty one only says that there are no more
            packet.stream = self._stream
            self._container.mux_one(packet)

    def finish(self) -> None:
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                self._container.mux(self._stream.encode(resampled))
            self._container.mux(self._stream.encode(None))
