"""A loop for sharing: the mask shrinks and grows, and the cut-out beside it stands still."""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from demo.play.card import reduced
from mgm_core.arrays import Bytes, Floats

__all__ = [
    "FRAME_MS",
    "KERNELS_PX",
    "encode_frame",
    "encode_gif",
    "encode_mp4",
    "loop_frame",
    "there_and_back",
]

KERNELS_PX = (-30, -24, -18, -12, -6, 0, 6, 12, 18, 24, 30)
"""What the mask is eroded and dilated by, as signed kernel diameters in px."""
FRAME_MS = 110
_PANEL_PX = 480
# Players show a short MP4 once: it holds the loop several times.
_ROUNDS = 4


def loop_frame(mask: Floats, result: Floats) -> Bytes:
    """Return a frame: the photo with its mask, and the result, side by side.

    Args:
        mask: (H, W, 3) float32 in [0, 1].
        result: (H, W, 3) float32 in [0, 1].

    Returns:
        (h, w, 3) uint8; h and w are even, as video needs them.
    """
    height, width = mask.shape[:2]
    scale = min(1.0, _PANEL_PX / max(height, width))
    size = max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
    return np.hstack([reduced(mask, size), reduced(result, size)])


def there_and_back(frames: Sequence[Bytes]) -> list[Bytes]:
    """Return one round of the loop: from the middle to the last, to the first, and back."""
    middle = len(frames) // 2
    return [*frames[middle:], *frames[-2::-1], *frames[1:middle]]


def encode_frame(frame: Bytes) -> bytes:
    """Encode a frame as JPEG."""
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=90)
    return file.getvalue()


def encode_gif(frames: Sequence[Bytes]) -> bytes:
    """Encode frames as a GIF that goes on for ever."""
    # One palette for all: what stands still must not change its colours.
    palette = Image.fromarray(np.vstack(frames)).quantize(256, dither=Image.Dither.NONE)
    first, *others = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    )
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    return file.getvalue()


def encode_mp4(frames: Sequence[Bytes]) -> bytes:
    """Encode frames as H.264, several rounds of them."""
    import av  # on use: the page need not wait for it
    from av.video.frame import VideoFrame

    # A file, which is written over again so that players can begin before they have all of it.
    with TemporaryDirectory(prefix="mgm-") as folder:
        path = Path(folder, "loop.mp4")
        with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
            stream = out.add_stream("libx264", Fraction(1000, FRAME_MS), {"crf": "18"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for number, pixels in enumerate([*frames] * _ROUNDS):
                frame = VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = number, Fraction(FRAME_MS, 1000)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path.read_bytes()
