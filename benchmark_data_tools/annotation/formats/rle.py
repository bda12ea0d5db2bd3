"""Run-length encodings of masks: COCO's and Label Studio's.

Sources: the COCO API's mask format (column by column, runs of 0 and 1 in turn, differences to the
run before the last in base 32 from character 48 on) and Label Studio's brush format (a bit stream
of RGBA bytes, of which the mask is A).
"""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmark_data_tools.annotation.formats.items import runs_of
from benchmark_data_tools.annotation.storage.masks import Mask

# How many bits the length of a run may have; the two-bit index of one stands before each run.
_RUN_BITS = np.array([3, 4, 8, 16])


class CocoRle(TypedDict):
    """A mask in COCO's compressed form."""

    size: list[int]
    counts: str


def coco_encode(detail: NDArray[np.bool_]) -> CocoRle:
    """Encode a mask as COCO RLE.

    Args:
        detail: (H, W) bool.

    Returns:
        Size (H, W) and the compressed counts.
    """
    runs = runs_of(detail.ravel(order="F"))
    text = []
    for n, run in enumerate(runs):
        value = run - runs[n - 2] if n > 2 else run
        more = True
        while more:
            digit = value & 31
            value >>= 5
            more = value != (-1 if digit & 16 else 0)
            text.append(chr(48 + (digit | 32 if more else digit)))
    height, width = detail.shape
    return {"size": [height, width], "counts": "".join(text)}


def coco_decode(size: list[int], counts: str | list[int]) -> NDArray[np.bool_]:
    """Decode COCO RLE.

    Args:
        size: Height and width.
        counts: Compressed text, or a list of runs.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: The runs do not fill the mask.
    """
    height, width = size
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"counts must fill {height}x{width} pixels, got runs of {sum(runs)}: "
            "the file is damaged, or the mask is of another image"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _uncompressed(counts: str) -> list[int]:
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError(f"counts must be COCO's characters, got {character!r}: export anew")
        value |= (digit & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("counts must be runs of a mask, got one beyond any: export it anew")
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return runs


def label_studio_decode(rle: list[int], width: int, height: int) -> Mask:
    """Decode Label Studio's brush format.

    Args:
        rle: The bytes of the label's "rle".
        width: The label's "original_width" in pixels.
        height: The label's "original_height" in pixels.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: The bytes are damaged, or the mask is of another size.
    """
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise ValueError("rle must be complete, got a bit stream that ends early: export anew")
        at += count
        return int(bits[at - count : at], 2)

    length, word = read(32), read(5) + 1
    if length != 4 * width * height or word != 8:
        raise ValueError(
            f"rle must hold {width}x{height} pixels of RGBA, got {length} values of {word} bits: "
            "it belongs to another image"
        )
    run_bits = [read(4) + 1 for _ in range(4)]
    out = np.empty(length, np.uint8)
    filled = 0
    while filled < length:
        repeats = read(1)
        end = filled + 1 + read(run_bits[read(2)])
        if end > length:
            raise ValueError("rle must fit its length, got a longer run: export anew")
        if repeats:
            out[filled:end] = read(8)
        else:
            for n in range(filled, end):
                out[n] = read(8)
        filled = end
    return np.ascontiguousarray(out.reshape(height, width, 4)[..., 3])


def label_studio_encode(mask: Mask) -> list[int]:
    """Encode a mask in Label Studio's brush format, R, G, B and A alike.

    Args:
        mask: (H, W) uint8.

    Returns:
        The bytes of a label's "rle".
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = 4 * np.diff(np.append(starts, flat.size))
    # A run of more than 2**16 values is several.
    pieces = -(-lengths // 2**16)
    values = np.repeat(flat[starts], pieces).astype(np.uint32)
    runs = np.full(values.size, 2**16)
    runs[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * 2**16
    kind = np.searchsorted(2**_RUN_BITS, runs)
    bits = _RUN_BITS[kind]
    codes = (1 << (bits + 10)) | (kind << (bits + 8)) | ((runs - 1) << 8) | values
    lengths_in_bits = bits + 11
    # To the left of 32 bits each, of which the first ones are written.
    aligned = (codes << (32 - lengths_in_bits)).astype(">u4")
    table = np.unpackbits(aligned.view(np.uint8).reshape(-1, 4), axis=1)
    stream = table[np.arange(32) < lengths_in_bits[:, None]]
    head = f"{4 * flat.size:032b}{7:05b}" + "".join(f"{bits - 1:04b}" for bits in _RUN_BITS)
    head_bits = np.frombuffer(head.encode(), np.uint8) - ord("0")
    encoded: list[int] = np.packbits(np.concatenate((head_bits, stream))).tolist()
    return encoded
