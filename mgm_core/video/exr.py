"""OpenEXR pictures, by FFmpeg: linear light and premultiplied alpha, as compositing expects them.

Sources: IEC 61966-2-1 for sRGB's curve; OpenEXR's technical introduction for alpha.
"""

from fractions import Fraction

import numpy as np
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from mgm_core.arrays import Floats

__all__ = ["encode_exr"]


def encode_exr(pixels: Floats) -> bytes:
    """Encode a picture as OpenEXR of 16-bit floats, compressed without loss.

    Args:
        pixels: (H, W, 3) or (H, W, 4) sRGB with straight alpha, float32 in [0, 1].

    Returns:
        The file's bytes.
    """
    linear = _linear(pixels[..., :3])
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:]
        linear = np.concatenate([linear * alpha, alpha], axis=2)
    planar = "gbrapf32le" if pixels.shape[2] == 4 else "gbrpf32le"
    context = CodecContext.create("exr", "w")
    assert isinstance(context, VideoCodecContext), "EXR is a picture's codec"
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = planar, Fraction(1, 25)
    context.options = {"compression": "zip16", "format": "half"}
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(linear, np.float32), planar)
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(map(bytes, packets))


def _linear(colours: Floats) -> Floats:
    """Undo sRGB's curve."""
    steep = colours > 0.04045
    linear: Floats = np.where(steep, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    return linear.astype(np.float32)
