"""Run methods over a benchmark: in parallel, resumable, one picture in memory a process.

Results of a table lie in one folder:

    run.json                        data, settings, images
    METHOD/method.json              identity and provenance of a method
    METHOD/VARIANT/NAME.png         the matte; METHOD/VARIANT/NAME.foreground.png with table 3
    METHOD/VARIANT/NAME.json        its errors, written last: where it exists, the image is done

Every file is written in one step, and errors are those of the file on disk, not of the array
before rounding. So a run that was killed goes on where it stopped and ends with the same figures.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import multiprocessing
import multiprocessing.connection
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from tqdm import tqdm

from benchmark_data_tools.data.layouts import Sample
from benchmark_data_tools.data.samples import (
    Pictures,
    load,
    manifest,
    read_colours,
    read_prediction,
)
from benchmark_data_tools.methods import (
    MethodSpec,
    alpha_method,
    check_folder,
    identity,
    predict_foreground,
)
from benchmark_data_tools.metrics import alpha_errors, foreground_errors
from benchmark_data_tools.protocols import (
    Case,
    Probability,
    Settings,
    case,
    probability_from_folder,
    sha256_of_probabilities,
    shrink,
    trimap_variant,
    uses_segmentation,
    variants,
)
from mgm_core.arrays import Floats, check_mask
from mgm_core.batch.cluster import work_on_ray
from mgm_core.images import write_image
from mgm_core.runtime.partial import clear_up, written_whole
from mgm_core.weights import bundled_path, sha256_of

PACKAGES = ("mgm", "torch", "numpy", "opencv-python-headless", "pymatting", "pillow", "scipy")
SEGMENTER = "portrait"
JsonObject = dict[str, Any]
RunnerName = Literal["local", "ray"]


@dataclass(frozen=True)
class Plan:
    """A run.

    Args:
        table: Key of LAYOUTS.
        data: The benchmark's folder.
        samples: Its images.
        methods: What to compare.
        settings: The protocol's choices.
        out: Folder of this table's results.
        bits: Bits a channel of the written predictions.
    """

    table: str
    data: Path
    samples: tuple[Sample, ...]
    methods: tuple[MethodSpec, ...]
    settings: Settings
    out: Path
    bits: Literal[8, 16] = 16

    def variants(self, method: MethodSpec) -> list[str]:
        """The variants that a method answers in this table."""
        return method.variants(
            variants(self.table, self.settings), trimap_variant(self.table, self.settings)
        )

    def folder(self, method: MethodSpec, variant: str) -> Path:
        """Where the results of a method's variant lie."""
        return self.out / method.slug / variant


@dataclass(frozen=True)
class Job:
    """One image of one method's variant."""

    method: MethodSpec
    variant: str
    sample: Sample


def run(
    plan: Plan, *, processes: int, command: str | None = None, runner: RunnerName = "local"
) -> None:
    """Make what is missing of a run's results.

    Args:
        plan: The run.
        processes: How many images to work on at a time.
        runner: "ray" works on a Ray cluster whose machines share the folders of the run and of
            its data; "local" on this machine.
        command: The command line, for the provenance; None takes this program's own.

    Raises:
        ValueError: If the folder holds results of other data, settings or weights, or a picture
            or prediction is wrong, or there is no process.
    """
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}: give --processes 1")
    for method in plan.methods:
        names = [sample.name for sample in plan.samples]
        check_folder(method, plan.variants(method), names)
    _record(plan, shlex.join(sys.argv) if command is None else command)
    refined = [method for method in plan.methods if method.refiner is not None]
    others = [method for method in plan.methods if method.refiner is None]
    for methods in (others, refined):  # refinement reads the others' mattes
        jobs = [
            Job(method, variant, sample)
            for method in methods
            for variant in plan.variants(method)
            for sample in plan.samples
        ]
        _run_jobs(plan, jobs, processes, runner)


def _run_jobs(plan: Plan, jobs: list[Job], processes: int, runner: RunnerName) -> None:
    pending = [job for job in jobs if not _row_file(plan, job).exists()]
    if not pending:
        return
    done = len(jobs) - len(pending)
    with tqdm(total=len(jobs), initial=done, unit="image", desc=f"table {plan.table}") as progress:
        work = _on_ray if runner == "ray" else _completed
        for _ in work(plan, pending, processes):
            progress.update()


def _completed(plan: Plan, jobs: list[Job], processes: int) -> Iterator[None]:
    if processes == 1:
        for job in jobs:
            _run_job(plan, job)
            yield
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(threads,),
    )
    futures: list[Future[None]] = [pool.submit(_run_job, plan, job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _on_ray(plan: Plan, jobs: list[Job], processes: int) -> Iterator[None]:
    for _, made in work_on_ray(jobs, functools.partial(_run_job, plan), processes):
        if isinstance(made, Exception):
            raise made
        yield


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def end_with_parent() -> None:
        # A parent that was killed outright cannot end its workers, which would wait for ever.
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _run_job(plan: Plan, job: Job) -> None:
    try:
        _predict_and_measure(plan, job)
    except ValueError as error:
        raise ValueError(
            f"{job.method.label}, {job.variant}, {job.sample.name}: {error}"
        ) from error


def _predict_and_measure(plan: Plan, job: Job) -> None:
    folder = plan.folder(job.method, job.variant)
    folder.mkdir(parents=True, exist_ok=True)
    question = job_case(plan, job)
    size = question.pictures.alpha.shape
    predict = alpha_method(job.method.refiner or job.method.alpha)
    started = time.perf_counter()
    alpha = predict(question, job.sample.name, job.variant)
    _check_prediction(alpha, question)
    row: JsonObject = {"name": job.sample.name, "size": [size[1], size[0]]}
    matte_file = folder / f"{job.sample.name}.png"
    if job.method.foreground is None:
        row["seconds"] = time.perf_counter() - started
        write_image(matte_file, alpha, bits=plan.bits)
        written = read_prediction(matte_file, size)
        found = alpha_errors(written, question.pictures.alpha, question.regions)
        row["errors"] = {region: asdict(errors) for region, errors in found.items()}
    else:
        foreground = predict_foreground(job.method, question, job.sample.name, job.variant, alpha)
        row["seconds"] = time.perf_counter() - started
        foreground_file = folder / f"{job.sample.name}.foreground.png"
        write_image(matte_file, alpha, bits=plan.bits)
        write_image(foreground_file, foreground, bits=plan.bits)
        row["errors"] = _colour_errors(
            read_prediction(matte_file, size), read_colours(foreground_file, size), question
        )
    _write_json(_row_file(plan, job), row)


def job_case(plan: Plan, job: Job) -> Case:
    """The question that a job answers.

    Args:
        plan: The run.
        job: The job.

    Returns:
        The case.
    """
    pictures = pictures_of(job.sample, plan.settings)
    rival_matte = None
    if job.method.refiner is not None:
        rival = plan.folder(MethodSpec(job.method.alpha), job.variant)
        rival_matte = read_prediction(rival / f"{job.sample.name}.png", pictures.alpha.shape)
    return case(
        plan.table,
        job.variant,
        job.sample.name,
        pictures,
        plan.settings,
        probability=lambda name, image: _probability(plan.settings.probability)(name, image),
        rival_matte=rival_matte,
    )


def pictures_of(sample: Sample, settings: Settings) -> Pictures:
    """A sample's pictures, at the size that a run looks at them.

    Args:
        sample: The sample.
        settings: The run's choices.

    Returns:
        The pictures.
    """
    pictures = load(sample)
    return pictures if settings.long_side_px is None else shrink(pictures, settings.long_side_px)


def manifest_sha256(plan: Plan) -> str:
    """Fingerprint of all files that a run reads.

    Args:
        plan: The run.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(manifest(plan.samples, plan.data).encode()).hexdigest()


def _colour_errors(alpha: Floats, foreground: Floats, question: Case) -> JsonObject:
    """Errors of alpha * F over the table's regions, and of F where the true alpha is not 0."""
    truth = question.pictures
    assert truth.foreground is not None, "table 3's layout asks for true colours"
    product = alpha[..., None] * foreground
    true_product = truth.alpha[..., None] * truth.foreground
    errors = {
        f"alpha_F_{region}": asdict(foreground_errors(product, true_product, mask))
        for region, mask in question.regions.items()
    }
    errors["F"] = asdict(foreground_errors(foreground, truth.foreground, truth.alpha > 0))
    return errors


def _check_prediction(alpha: Floats, question: Case) -> None:
    truth = question.pictures.alpha
    if alpha.shape != truth.shape:
        raise ValueError(
            f"prediction must have the image's shape {truth.shape}, got {alpha.shape}: "
            "predict at the image's own size"
        )
    check_mask("prediction", alpha)
    # Where the guidance or the truth marks nothing, nothing is a fair answer.
    if not alpha.any() and truth.any() and question.guidance.any():
        raise ValueError(
            "prediction must not be all zero, got no pixel above 0: "
            "look whether the method failed or its file is empty"
        )


@functools.lru_cache(maxsize=1)
def _probability(folder: str | None) -> Probability:
    if folder is not None:
        return probability_from_folder(Path(folder))
    from mgm_core.segmentation import Segmenter  # with torchvision, which most runs do not need

    segmenter = Segmenter.load(SEGMENTER)

    def probability(name: str, image: Floats) -> Floats:
        return segmenter.probability(image, "person")

    return probability


def _record(plan: Plan, command: str) -> None:
    """Write what the results will be of; refuse a folder that holds results of something else."""
    plan.out.mkdir(parents=True, exist_ok=True)
    clear_up(plan.out, recursive=True)
    files = manifest(plan.samples, plan.data)
    _keep(
        plan.out / "run.json",
        fixed={
            "table": plan.table,
            "settings": json.loads(json.dumps(asdict(plan.settings))),
            "bits": plan.bits,
            "manifest_sha256": hashlib.sha256(files.encode()).hexdigest(),
            "samples": [sample.name for sample in plan.samples],
            "segmentation_sha256": _segmentation_sha256(plan),
        },
        noted={"data": str(plan.data.resolve())},
    )
    _write_text(plan.out / "manifest.sha256", files)
    versions = {name: _version(name) for name in PACKAGES}
    for position, method in enumerate(plan.methods):
        folder = plan.out / method.slug
        folder.mkdir(exist_ok=True)
        _keep(
            folder / "method.json",
            fixed={
                "spec": asdict(method),
                "label": method.label,
                "variants": plan.variants(method),
                "identity": identity(method),
                "versions": versions,
            },
            noted={
                "command": command,
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "position": position,
            },
        )


def _segmentation_sha256(plan: Plan) -> str | None:
    """Fingerprint of the segmentations, or of the segmenter's weights; None where none are used."""
    if not uses_segmentation(plan.table, plan.settings):
        return None
    if plan.settings.probability is None:
        return sha256_of(bundled_path(SEGMENTER))
    names = [sample.name for sample in plan.samples]
    return sha256_of_probabilities(Path(plan.settings.probability), names)


def _keep(path: Path, *, fixed: JsonObject, noted: JsonObject) -> None:
    if not path.exists():
        _write_json(path, fixed | noted)
        return
    before = json.loads(path.read_text("utf-8"))
    changed = [key for key, value in fixed.items() if before.get(key) != value]
    if changed:
        raise ValueError(
            f"{path.parent} must hold results of one run, got another {', '.join(changed)} than "
            f"in {path.name}: give another --out, or remove the folder"
        )


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "not installed"


def _row_file(plan: Plan, job: Job) -> Path:
    return plan.folder(job.method, job.variant) / f"{job.sample.name}.json"


def _write_json(path: Path, value: JsonObject) -> None:
    _write_text(path, json.dumps(value, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text, "utf-8")


def rows(plan_out: Path, method_slug: str, variant: str, names: Iterable[str]) -> list[JsonObject]:
    """The errors of a method's variant, for every image.

    Args:
        plan_out: Folder of the table's results.
        method_slug: The method's folder.
        variant: The variant.
        names: The run's images.

    Returns:
        One row an image, in the order of `names`.

    Raises:
        ValueError: If one is missing: the run is not finished.
    """
    folder = plan_out / method_slug / variant
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        raise ValueError(
            f"{folder} must hold a result of every image, got none of {', '.join(missing[:5])}"
            f" ({len(missing)} in all): run the same command with this method again, it goes on "
            f"where it stopped, or remove {folder.parent}"
        )
    return [json.loads((folder / f"{name}.json").read_text("utf-8")) for name in names]
