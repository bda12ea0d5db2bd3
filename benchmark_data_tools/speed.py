"""How long a photograph takes, by quality, network and size, and how much memory.

python -m benchmark_data_tools speed --out speed/ --photo photo.jpg

All runs of one size take turns in one process, so that what else the machine does disturbs them
alike. The reference is a straightforward evaluation of the paper's network (`prn_resnet34`) in
float32 at the same size, without anything that this project does to be faster. Memory and start-up
are those of `mgm` in a process of its own, beyond what `import torch, torchvision` takes there.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from benchmark_data_tools.reports.plots import line_chart
from mgm_core.arrays import Colours, Floats, resized
from mgm_core.cutout import Cutout, guidance_from_probability, predict_matte
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.guidance import trimap_from_probability
from mgm_core.images import encode_jpeg, encode_png, read_image, write_image
from mgm_core.models import Models
from mgm_core.networks.checkpoint import load_prn
from mgm_core.networks.hardware import DtypeName
from mgm_core.networks.prn import STRIDE
from mgm_core.recipe import Quality, Recipe

__all__ = ["Plan", "Row", "measure", "report"]

REFERENCE = "reference: prn_resnet34, float32"
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_IMPORTS = "import torch, torchvision"
_CLASSICAL = """
import sys, numpy as np, pymatting
image, trimap = (np.load(path).astype(np.float64) for path in sys.argv[2:])
getattr(pymatting, f"estimate_alpha_{sys.argv[1]}")(image, trimap)
"""
# Above these sizes they need more memory, or minutes, than most machines and people have.
_REFERENCE_UP_TO_MEGAPIXELS, _CLASSICAL_UP_TO_MEGAPIXELS = 4.0, 1.0

Stages = Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        photo: A photograph of a person, resized to each size.
        megapixels: The sizes.
        networks: Bundled matting networks.
        qualities: As a recipe has them.
        repeats: How often each is run, after once to warm up.
        rivals: Whether PyMatting and, where it is installed, rembg run too.
        processes: Whether `mgm` is also run in processes of its own, for memory and start-up.
        dtype: What all networks but the reference compute in.
    """

    photo: Path
    megapixels: Sequence[float] = (0.25, 1.0, 4.0, 12.0, 50.0)
    networks: Sequence[str] = ("prn_mobilenet_v2", "prn_resnet34")
    qualities: Sequence[Quality] = ("fast", "best")
    repeats: int = 3
    rivals: bool = True
    processes: bool = True
    dtype: DtypeName = "auto"


@dataclass(frozen=True)
class Row:
    """One way at one size.

    Args:
        name: The way.
        megapixels: The size.
        seconds: Median of all runs.
        fastest: The shortest run.
        slowest: The longest.
        stages: Median seconds of each stage.
        ratio: Of the median to the reference's at this size; above 4 megapixels the reference is
            taken to grow with the size. None without a reference.
        growth: Of the median to its own at 1 megapixel; None without one.
        notes: What else there is to say.
    """

    name: str
    megapixels: float
    seconds: float
    fastest: float
    slowest: float
    stages: Stages
    ratio: float | None = None
    growth: float | None = None
    notes: Mapping[str, float] = field(default_factory=dict)


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.exists() else ""
    flags = set(next((line.split() for line in text.splitlines() if line.startswith("flags")), []))
    return {
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
    }


def measure(plan: Plan, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure all ways at all sizes.

    Args:
        plan: What.
        say: Called with each row as soon as it is measured.

    Returns:
        What the JSON file holds: "machine", "rows" and "processes".

    Raises:
        ValueError: The photograph cannot be read, or a number is out of range.
    """
    if plan.repeats < 1 or not plan.megapixels or min(plan.megapixels) <= 0:
        raise ValueError(
            f"repeats must be 1 or more and sizes above 0, got {plan.repeats} and "
            f"{list(plan.megapixels)}: 3 and 1 would do"
        )
    whole = read_image(plan.photo)
    models = {name: Models(name, dtype=plan.dtype) for name in plan.networks}
    per_megapixel: float | None = None
    at_one: dict[str, float] = {}
    rows = []
    for size in sorted(plan.megapixels, key=lambda size: (size != 1, size)):
        image = of_megapixels(whole, size)
        ways = dict(_ways(plan, models, image))
        runs: dict[str, list[Stages]] = {name: [] for name in ways}
        for repeat in range(plan.repeats + 1):
            for name, way in ways.items():
                stages = way()
                if repeat:
                    runs[name].append(stages)
        if REFERENCE in runs:
            per_megapixel = median(sum(run.values()) for run in runs[REFERENCE]) / size
        for name, taken in runs.items():
            totals = [sum(run.values()) for run in taken]
            seconds = median(totals)
            if size == 1:
                at_one[name] = seconds
            row = Row(
                name,
                size,
                seconds,
                min(totals),
                max(totals),
                {stage: median(run[stage] for run in taken) for stage in taken[0]},
                seconds / (per_megapixel * size) if per_megapixel else None,
                seconds / at_one[name] if name in at_one else None,
                _notes(name, image, models),
            )
            rows.append(row)
            say(line(row))
    rows.sort(key=lambda row: row.megapixels)
    found: dict[str, Any] = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    found["processes"] = []
    if plan.processes:
        for process in _processes(plan, models, whole, rows):
            found["processes"].append(process)
            say(json.dumps(process))
    return found


def of_megapixels(image: Colours, megapixels: float) -> Colours:
    """Return a photograph at a size, its sides in proportion."""
    height, width = image.shape[:2]
    scale = (megapixels * 1e6 / (height * width)) ** 0.5
    size = max(16, round(height * scale)), max(16, round(width * scale))
    return resized(image, size, cv2.INTER_CUBIC)


def line(row: Row) -> str:
    """Return a row as a line of text."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row.stages.items())
    parts = [
        f"{row.megapixels:>5g} MP  {row.name:<36} {row.seconds:6.2f} s "
        f"({row.fastest:.2f} to {row.slowest:.2f})",
        "" if row.ratio is None else f"{row.ratio:.2f}x the reference",
        "" if row.growth is None else f"{row.growth:.1f}x its time at 1 MP",
        stages if len(row.stages) > 1 else "",
        ", ".join(f"{name} {value:.0%}" for name, value in row.notes.items()),
    ]
    return "; ".join(part for part in parts if part)


def report(found: Mapping[str, Any], folder: Path) -> None:
    """Write `speed.json` and `speed.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in found["rows"]:
        lines.setdefault(row["name"], []).append((row["megapixels"], row["seconds"]))
    ticks = sorted({row["megapixels"] for row in found["rows"]})
    chart = line_chart("Seconds a photograph", "megapixels", "seconds", lines, x_ticks=ticks)
    write_image(folder / "speed.png", chart)


def _ways(
    plan: Plan, models: Mapping[str, Models], image: Colours
) -> Iterator[tuple[str, Callable[[], Stages]]]:
    size = image.shape[0] * image.shape[1] / 1e6
    photo = encode_jpeg(image)
    for name, loaded in models.items():
        for quality in plan.qualities:
            recipe = Recipe(quality=quality)
            yield f"{quality}, {name}", _cut_out(photo, loaded, recipe)
    segmenter = next(iter(models.values())).segmenter()
    probability = segmenter.probability(image)
    guidance = (probability >= Recipe().threshold).astype(np.float32)
    for name, loaded in models.items():
        matter = loaded.matter()
        yield f"network alone, {name}", _timed(functools.partial(matter.matte, image, guidance))
    if size <= 1.05 * _REFERENCE_UP_TO_MEGAPIXELS:
        yield REFERENCE, _timed(_reference(image, guidance))
    if plan.rivals and size <= 1.05 * _CLASSICAL_UP_TO_MEGAPIXELS:
        trimap = trimap_from_probability(probability)
        for name in ("cf", "knn"):
            yield f"PyMatting {name}, trimap given", _timed(_classical(name, image, trimap))
        if importlib.util.find_spec("rembg"):
            for network in ("u2net", "isnet-general-use"):
                for matting in (False, True):
                    name = f"rembg {network}{' -a' * matting}"
                    yield name, _timed(_rembg(photo, network, matting))


def _cut_out(photo: bytes, models: Models, recipe: Recipe) -> Callable[[], Stages]:
    """Return the whole way of the product, stage by stage."""

    def way() -> Stages:
        marks = [time.perf_counter()]

        def mark() -> None:
            marks.append(time.perf_counter())

        image = read_image(photo, max_megapixels=89)
        mark()
        guided = guidance_from_probability(models.segmenter().probability(image), recipe)
        mark()
        matter = models.matter()
        matte = predict_matte(image, guided, matter, recipe)
        mark()
        foreground = estimate_foreground(
            image, matte.alpha, recipe.foreground, network=models.foreground_network
        )
        mark()
        encode_png(Cutout(image, guided, matte, foreground, recipe).levels())
        mark()
        names = ("reading", "segmenter", "alpha", "colours", "encoding")
        return {n: b - a for n, a, b in zip(names, marks[:-1], marks[1:], strict=True)}

    return way


def _timed(work: Callable[[], object]) -> Callable[[], Stages]:
    def way() -> Stages:
        started = time.perf_counter()
        work()
        return {"all": time.perf_counter() - started}

    return way


def _reference(image: Colours, guidance: Floats) -> Callable[[], object]:
    """Return the paper's network as its paper has it: float32, all levels everywhere."""
    network = load_prn("prn_resnet34").eval()
    x, g = _as_tensors(image, guidance)

    def work() -> object:
        with torch.inference_mode():
            return network.refined(network(x.contiguous(), g)).alpha

    return work


def _as_tensors(image: Colours, guidance: Floats) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both at sides that the network takes, mirrored beyond the image: (1, C, H, W)."""
    pads = [(0, -length % STRIDE) for length in guidance.shape]
    x = torch.from_numpy(np.pad(image, (*pads, (0, 0)), mode="reflect")).permute(2, 0, 1)[None]
    return x, torch.from_numpy(np.pad(guidance, pads, mode="reflect"))[None, None]


def _classical(name: str, image: Colours, trimap: Floats) -> Callable[[], object]:
    import pymatting

    estimate = getattr(pymatting, f"estimate_alpha_{name}")
    return lambda: estimate(image.astype(np.float64), trimap.astype(np.float64))


def _rembg(photo: bytes, network: str, matting: bool) -> Callable[[], object]:
    rembg = importlib.import_module("rembg")
    session = rembg.new_session(network)
    return lambda: rembg.remove(photo, session=session, alpha_matting=matting)


def _notes(name: str, image: Colours, models: Mapping[str, Models]) -> dict[str, float]:
    """Return what of the finer levels was left out, where the network ran in one piece."""
    kind, _, weights = name.partition(", ")
    if kind != "network alone" or image.shape[0] * image.shape[1] > 2e6:
        return {}
    probability = models[weights].segmenter().probability(image)
    guidance = (probability >= Recipe().threshold).astype(np.float32)
    matter = models[weights].matter()
    x, g = _as_tensors(image, guidance)
    with torch.inference_mode():
        skipped = matter.network.sparse_alpha(x.to(matter.device), g.to(matter.device))[1]
    return {"finer levels left out on": skipped}


def _processes(
    plan: Plan, models: Mapping[str, Models], whole: Colours, rows: Sequence[Row]
) -> Iterator[dict[str, object]]:
    """Run `mgm` and rivals in processes of their own: start-up and peak memory."""
    imports = [_process("-c", _IMPORTS) for _ in range(plan.repeats)]
    import_s, import_kb = (median(each) for each in zip(*imports, strict=True))
    yield {"command": _IMPORTS, "seconds": round(import_s, 2), "peak_gb": round(import_kb / 1e6, 2)}
    helps = [_process("-m", "mgm_core", "--help")[0] for _ in range(plan.repeats)]
    yield {"command": "mgm --help", "seconds": round(median(helps), 2)}
    with tempfile.TemporaryDirectory() as folder:
        for size in sorted(plan.megapixels):
            photo = Path(folder) / "photo.jpg"
            write_image(photo, of_megapixels(whole, size))
            for quality in plan.qualities:
                command = ["-m", "mgm_core", str(photo), "-o", str(photo.with_suffix(".png"))]
                command += ["--quality", quality, "--max-megapixels", "89"]
                command += ["--weights", plan.networks[0], "--dtype", plan.dtype]
                found = [_process(*command) for _ in range(plan.repeats if size <= 1 else 1)]
                seconds, peak_kb = (median(each) for each in zip(*found, strict=True))
                warm = [
                    row.seconds
                    for row in rows
                    if row.megapixels == size and row.name == f"{quality}, {plan.networks[0]}"
                ]
                yield {
                    "command": f"mgm --quality {quality}",
                    "megapixels": size,
                    "seconds": round(seconds, 2),
                    "peak_gb": round(peak_kb / 1e6, 2),
                    "beyond_import_and_warm_s": round(seconds - import_s - sum(warm), 2),
                    "peak_beyond_import_gb": round((peak_kb - import_kb) / 1e6, 2),
                }
            if plan.rivals and size <= _CLASSICAL_UP_TO_MEGAPIXELS:
                image = of_megapixels(whole, size)
                probability = next(iter(models.values())).segmenter().probability(image)
                yield from _rivals(image, trimap_from_probability(probability), Path(folder))


def _rivals(image: Colours, trimap: Floats, folder: Path) -> Iterator[dict[str, object]]:
    files = [folder / "image.npy", folder / "trimap.npy"]
    for path, array in zip(files, (image, trimap), strict=True):
        np.save(path, array)
    for name in ("cf", "knn"):
        seconds, peak_kb = _process("-c", _CLASSICAL, name, *map(str, files))
        yield {
            "command": f"PyMatting {name}, trimap given",
            "megapixels": image.shape[0] * image.shape[1] / 1e6,
            "seconds": round(seconds, 2),
            "peak_gb": round(peak_kb / 1e6, 2),
        }


# A child's peak is at least its parent's size when it began, so that a small process is between.
_MEASURED = """
import resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
print(status, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _process(*arguments: str) -> tuple[float, float]:
    """Return a Python process's seconds and its peak memory in kB."""
    found = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    status, seconds, peak_kb = found.stdout.split()
    if status != "0":
        raise ValueError(
            f"python {' '.join(arguments)} must succeed, got status {status}: run it alone to see "
            "why"
        )
    return float(seconds), float(peak_kb)
