"""Clips with true alpha: how near their mattes are, and how they flicker.

    DATA/SET/CLIP/com/0000.png    the frames; also .jpg
    DATA/SET/CLIP/pha/0000.png    their true alpha

as Robust Video Matting (Lin et al., WACV 2022) and MatAnyone (Yang et al., CVPR 2025) lay their
benchmarks out, with their four errors. dtSSD is that of Erofeev et al., "Perceptually Motivated
Benchmark for Video Matting", BMVC 2015: it grows where alpha changes and the truth does not, or
the other way round.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from benchmark_data_tools.metrics import absolute_difference, check_alphas, gradient_error, mse
from mgm_core.arrays import Floats
from mgm_core.compositing import composite
from mgm_core.images import SubjectMask, read_image, read_matte, write_image
from mgm_core.models import Models
from mgm_core.recipe import Recipe
from mgm_core.video.__main__ import matte_clip
from mgm_core.video.files import Clip, ClipLimits
from mgm_core.video.smoothing import TemporalSmoother

__all__ = ["ClipErrors", "clip_errors", "dtssd", "find_clips", "make_clips", "run_clips", "table"]

_FRAMES_A_SECOND = 25
_LIMITS = ClipLimits(seconds=3600.0, frames=100_000)


@dataclass(frozen=True)
class ClipErrors:
    """Errors of a clip's mattes, as means over its frames.

    Args:
        mad: Mean absolute difference, x 1,000.
        mse: Mean squared difference, x 1,000.
        grad: Sum of squared differences of gradient amplitudes, / 1,000.
        dtssd: Difference of the changes from frame to frame, x 100; the first frame has none and
            counts as 0, as in the published code.
    """

    mad: float
    mse: float
    grad: float
    dtssd: float


def dtssd(prediction: Floats, before: Floats, truth: Floats, truth_before: Floats) -> float:
    """Return how differently alpha and true alpha change from one frame to the next, x 100.

    >>> ones, zeros = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    >>> dtssd(ones, zeros, zeros, zeros), dtssd(ones, zeros, ones, zeros)
    (100.0, 0.0)

    Args:
        prediction: Alpha of a frame, (H, W) float32 in [0, 1].
        before: That of the frame before.
        truth: True alpha of the frame.
        truth_before: That of the frame before.
    """
    change = (prediction - before) - (truth - truth_before)
    return float(100 * np.sqrt(np.square(change).mean(dtype=np.float64)))


def clip_errors(frames: Iterable[tuple[Floats, Floats]]) -> ClipErrors:
    """Return the errors of a clip's frames.

    Args:
        frames: Alpha and true alpha of each, (H, W) float32 in [0, 1].

    Raises:
        ValueError: There is no frame, or sizes differ.
    """
    rows: list[ClipErrors] = []
    past: tuple[Floats, Floats] | None = None
    for alpha, truth in frames:
        check_alphas(alpha, truth)
        change = 0.0 if past is None else dtssd(alpha, past[0], truth, past[1])
        mad = float(1000 * absolute_difference(alpha, truth).mean(dtype=np.float64))
        rows.append(ClipErrors(mad, 1000 * mse(alpha, truth), gradient_error(alpha, truth), change))
        past = alpha, truth
    if not rows:
        raise ValueError("frames must be some, got none: give a clip with frames")
    means = (float(np.mean([getattr(row, f.name) for row in rows])) for f in fields(ClipErrors))
    return ClipErrors(*means)


def find_clips(data: Path) -> dict[str, Path]:
    """Return the clips by "SET/CLIP".

    Raises:
        ValueError: There is none, or its frames and true alphas are not of the same names.
    """
    found = {}
    for folder in sorted(path.parent for path in data.glob("*/*/pha") if path.is_dir()):
        name = folder.relative_to(data).as_posix()
        frames, truths = (_stems(folder / part) for part in ("com", "pha"))
        if frames.keys() != truths.keys() or not frames:
            raise ValueError(
                f"{name} must have the same names in com and pha, got {len(frames)} and "
                f"{len(truths)}: complete them"
            )
        found[name] = folder
    if not found:
        raise ValueError(f"data must hold SET/CLIP/com and SET/CLIP/pha, got none in {data}")
    return found


def _stems(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in (".png", ".jpg")}


def run_clips(
    data: Path,
    out: Path,
    models: Models,
    *,
    shares: Sequence[float] = (0.0, 0.7),
    first_mask: bool = False,
) -> Iterator[dict[str, object]]:
    """Matte all clips as `mgm_core.video` does, and yield a row for each way and clip.

    Args:
        data: As `find_clips` wants it.
        out: Gets WAY/SET/CLIP/pha/NAME.png, of 8 bits.
        models: The networks.
        shares: Of temporal smoothing; 0 is frame by frame.
        first_mask: The subject is what the first frame's true alpha shows, and is followed from
            there, instead of what the segmenter finds; there is no smoothing then.

    Raises:
        ValueError: The folder is not as wanted, or a clip shows no subject.
    """
    recipe = Recipe(quality="fast", refine="off")
    ways = {"followed": 0.0} if first_mask else {f"smoothing {share:g}": share for share in shares}
    for name, folder in find_clips(data).items():
        frames, truths = (list(_stems(folder / part).values()) for part in ("com", "pha"))
        with TemporaryDirectory() as folder_for_clip:
            lossless = Path(folder_for_clip) / "clip.mkv"
            _write_lossless(lossless, map(read_image, frames))
            for way, share in ways.items():
                target = out / way.replace(" ", "-") / name / "pha"
                target.mkdir(parents=True, exist_ok=True)
                mask = SubjectMask(read_matte(truths[0])) if first_mask else None
                with Clip(lossless, _LIMITS) as clip:
                    frames_cut_out = matte_clip(
                        clip,
                        f"{Path(folder_for_clip) / way}/",
                        models.segmenter(recipe.segmenter),
                        models.matter(),
                        recipe,
                        smoother=TemporalSmoother(share),
                        first_mask=mask,
                        foreground_network=models.foreground_network,
                    )
                    for frame, truth in zip(frames_cut_out, truths, strict=True):
                        write_image(target / f"{truth.stem}.png", frame.alpha)
                written = ((read_matte(target / f"{t.stem}.png"), read_matte(t)) for t in truths)
                yield {"clip": name, "way": way, **asdict(clip_errors(written))}


def table(rows: Sequence[dict[str, object]]) -> str:
    """Return the means over all clips of each way, as Markdown."""
    names = [f.name for f in fields(ClipErrors)]
    lines = ["| way | clips | MAD | MSE | Grad | dtSSD |", "| -- | -- | -- | -- | -- | -- |"]
    for way in dict.fromkeys(str(row["way"]) for row in rows):
        own = [row for row in rows if row["way"] == way]
        means = (np.mean([row[name] for row in own]) for name in names)
        lines.append(f"| {way} | {len(own)} | {' | '.join(f'{m:.2f}' for m in means)} |")
    return "\n".join(lines)


def _write_lossless(path: Path, images: Iterable[Floats]) -> None:
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=_FRAMES_A_SECOND)
        for number, image in enumerate(images):
            levels = np.rint(255 * image).astype(np.uint8)
            if number == 0:
                video.height, video.width = levels.shape[:2]
                video.pix_fmt = "bgr0"
            frame = VideoFrame.from_ndarray(levels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number, Fraction(1, _FRAMES_A_SECOND)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


def make_clips(
    out: Path,
    subjects: Sequence[tuple[Floats, Floats]],
    backgrounds: Sequence[Floats],
    *,
    frames: int = 24,
    seed: int = 0,
) -> None:
    """Write clips, each subject over each background: it sways, the camera pans, film is grainy.

    Args:
        out: Gets "generated/NUMBER"; must be empty or new.
        subjects: Colours (H, W, 3) and alpha (H, W), float32 in [0, 1].
        backgrounds: Pictures, (h, w, 3) float32 in [0, 1].
        frames: Of each clip.
        seed: Of the movements and the grain.

    Raises:
        ValueError: If there is something in the folder already.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"out must be an empty folder, got {out}: choose another")
    generator = np.random.default_rng(seed)
    for number, ((colours, alpha), picture) in enumerate(product(subjects, backgrounds)):
        height, width = alpha.shape
        folder = out / "generated" / f"{number:04}"
        for part in ("com", "pha"):
            (folder / part).mkdir(parents=True)
        wide = cv2.resize(picture, (round(1.25 * width), round(1.25 * height)))
        phases = generator.uniform(0, 2 * np.pi, 3)
        for time in range(frames):
            turns = np.sin(2 * np.pi * time / 24 + phases)
            centre = (width / 2, height / 2)
            matrix = cv2.getRotationMatrix2D(centre, 2 * turns[0], 1 + 0.02 * turns[1])
            matrix[:, 2] += 0.02 * width * turns[1:]
            f, a = (
                cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
                for plane in (colours, alpha)
            )
            truth = (np.rint(255 * np.clip(a, 0, 1)) / 255).astype(np.float32)
            top, left = (round(0.12 * side * (1 + turns[2])) for side in (height, width))
            behind = wide[top : top + height, left : left + width]
            frame = composite(
                f.astype(np.float32), truth, behind.astype(np.float32)
            ) + generator.normal(0, 0.01, f.shape)
            write_image(folder / "com" / f"{time:04}.png", frame.clip(0, 1).astype(np.float32))
            write_image(folder / "pha" / f"{time:04}.png", truth)
