"""Cut subjects out of photographs.

python -m mgm_core photo.jpg -o cutout.png
python -m mgm_core photos/ -o cutouts/ --recursive --skip-existing
python -m mgm_core incoming/ -o cutouts/ --watch
python -m mgm_core photo.jpg -o cutout.png --quality fast
python -m mgm_core photo.jpg -o cutout.png --trimap trimap.png --save-alpha
python -m mgm_core photo.jpg -o cutout.png --settings settings.json   # as the page saved them
cat photo.jpg | python -m mgm_core - -o - > cutout.png

The ending of --output chooses the format: .png, .webp, .tiff, .avif, .psd, or .jpg over a
--background. What is given beside --settings overrides them.
"""

import argparse
import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NoReturn, get_args

from tqdm import tqdm

from mgm_core.arrays import Floats
from mgm_core.batch.cluster import check_ray, work_on_ray
from mgm_core.batch.local import sharing_cores
from mgm_core.batch.photograph import CutOut, Done, Order
from mgm_core.batch.report import Report
from mgm_core.batch.watching import changes, check_watching
from mgm_core.choices import (
    ANIMAL,
    CATEGORIES,
    COARSE_SIDE_PX,
    DEFAULT_WEIGHTS,
    ENGINES,
    SEGMENTERS,
    WORKING_MEGAPIXELS,
)
from mgm_core.compositing import Fit
from mgm_core.cutout import opaque
from mgm_core.files.formats import FORMATS, Format
from mgm_core.files.outputs import PIPE, Job, Plan, UsageError, check_outputs, plan
from mgm_core.files.urls import UrlJob, UrlPlan, is_url, plan_urls
from mgm_core.foreground.estimate import ForegroundMethod, current_method
from mgm_core.guidance import GuidanceKind
from mgm_core.images import check_limit, read_photo
from mgm_core.models import Models
from mgm_core.networks.hardware import DtypeName
from mgm_core.recipe import AUTO, Background, Quality, Recipe, read_background
from mgm_core.runtime.partial import clear_up
from mgm_core.runtime.renamed import RenamedSwitch, old_name
from mgm_core.runtime.reporting import Failures, allow_any_name
from mgm_core.runtime.workers import work_on
from mgm_core.weights import verify_bundled


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(
        prog="mgm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "inputs",
        nargs="+",
        type=_name,
        help="photographs or folders of them, or URLs as s3://bucket/photos; -: standard input",
    )
    p.add_argument(
        "-o",
        "--output",
        required=True,
        type=_name,
        help="file, or folder for several or with a slash at its end; -: standard output",
    )
    p.add_argument("--recursive", action="store_true", help="look into folders of folders")
    p.add_argument("--skip-existing", action="store_true", help="leave finished ones as they are")
    p.add_argument(
        "--watch",
        action="store_true",
        help="go on with photographs that come into the folders, until Ctrl+C",
    )
    p.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="photographs at once; by default one a core, as far as memory goes",
    )
    p.add_argument(
        "--runner",
        choices=("local", "ray"),
        default="local",
        help="ray: on the cluster that RAY_ADDRESS names, or on all cores here; needs the extra "
        "cluster",
    )
    p.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="append a line of JSON on every photograph: what became of it, and its times",
    )
    add_options(p)
    files = p.add_argument_group("files")
    files.add_argument(
        "--format",
        dest="format_name",
        choices=list(FORMATS),
        help="instead of the one that --output's ending chooses; 16: bits a channel",
    )
    files.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep EXIF, with place and time; without it the resolution alone",
    )
    files.add_argument("--save-alpha", action="store_true", help="write NAME_alpha.png, 16 bits")
    files.add_argument("--save-foreground", action="store_true", help="write NAME_foreground.png")
    return p


def _name(text: str) -> str:
    """Return a name; an empty one would mean the working folder, or no mask."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, got nothing: is a variable empty?")
    return text


def add_options(p: argparse.ArgumentParser) -> None:
    """Add the options on guidance, network and result, which clips have too."""
    p.add_argument("--settings", type=Path, help="JSON as the page saves it")
    # What belongs to a recipe has no default here: only what is given overrides --settings.
    unset = argparse.SUPPRESS
    guidance = p.add_argument_group("guidance")
    given = guidance.add_mutually_exclusive_group()
    given.add_argument(
        "--mask", type=_name, help="mask or matte, its kind is detected; a folder for several"
    )
    given.add_argument("--trimap", type=_name, help="trimap of 0, 128, 255; a folder for several")
    guidance.add_argument(
        "--kind",
        dest="mask_kind",
        choices=get_args(GuidanceKind),
        default=unset,
        help="what --mask is, instead of detecting it",
    )
    guidance.add_argument(
        "--label",
        type=int,
        default=unset,
        metavar="N",
        help="which label of --mask, a map of classes, is the subject; default: the only one",
    )
    guidance.add_argument("--segmenter", choices=SEGMENTERS, default=unset)
    guidance.add_argument(
        "--category",
        choices=(AUTO, ANIMAL, *CATEGORIES),
        default=unset,
        metavar="NAME",
        help="one of VOC's 20, default person; animal: all animals; auto: a person, else animals "
        "or the largest thing; with --mask, what it shows",
    )
    guidance.add_argument("--threshold", type=float, default=unset, help="probability, default 0.5")
    guidance.add_argument(
        "--segmenter-side",
        dest="segmenter_side_px",
        type=int,
        default=unset,
        metavar="PX",
        help="one view at this long side in px; default: a magnified second view of small subjects",
    )
    guidance.add_argument(
        "--shift",
        dest="shift_px",
        type=int,
        default=unset,
        metavar="PX",
        help="dilate the guidance, erode below 0",
    )
    network = p.add_argument_group("network")
    network.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, help="bundled name, .safetensors, or authors' .pth"
    )
    network.add_argument(
        "--engine",
        choices=ENGINES,
        default="torch",
        help="what computes the matting and fusion networks; the others need an extra, onnx or "
        "openvino, and compute on the CPU",
    )
    network.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    network.add_argument(
        "--coarse-side",
        type=int,
        default=COARSE_SIDE_PX,
        metavar="PX",
        help="images over twice this long side are matted at it first; 0: never",
    )
    network.add_argument(
        "--working-megapixels",
        type=float,
        default=WORKING_MEGAPIXELS,
        metavar="N",
        help="alpha and colours of larger images are found at this size and enlarged along their "
        "edges, default 2.1; 0: at full size, which takes longer",
    )
    network.add_argument(
        "--least-side",
        type=int,
        metavar="PX",
        help="images of a shorter long side are magnified to it for the network, at most by half; "
        "0: never; by default 800 for the light network, 0 for ResNet34",
    )
    network.add_argument("--dtype", choices=get_args(DtypeName), default="auto")
    network.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="refine alpha where the network is uncertain, at full size; by default as --quality "
        "says",
    )
    network.add_argument(
        old_name("--refine"),
        dest="refine",
        action=RenamedSwitch,
        default=unset,
        help=argparse.SUPPRESS,
    )
    result = p.add_argument_group("result")
    result.add_argument(
        "--quality",
        choices=get_args(Quality),
        default=unset,
        help="fast: alpha refined at half the size; best, the default for photographs: at full "
        "size, twice, by further views; what --refine or --foreground say is taken instead",
    )
    result.add_argument(
        "--background",
        dest="behind",
        metavar="WHAT",
        help="'none' (transparent, the default), '#rrggbb', 'gradient:#rrggbb,#rrggbb,ANGLE' "
        "(0 is up, 90 right, 180 down), 'blur', 'blur:PERCENT' (of the longer side), or a picture",
    )
    result.add_argument("--fit", choices=get_args(Fit), help="of a picture, default cover")
    result.add_argument(
        "--position", metavar="X,Y", help="of a picture: 0,0 top left, 1,1 bottom right"
    )
    result.add_argument("--scale", type=float, help="of a picture, as a multiple of what fits")
    result.add_argument(
        "--shadow",
        dest="shadow_numbers",
        metavar="STRENGTH[,X,Y[,BLUR]]",
        help="0 to 1; how far it falls right and down and its softness in percent of the longer "
        "side; in a transparent PNG it is black below the subject",
    )
    result.add_argument(
        "--light-wrap",
        dest="light_wrap_numbers",
        metavar="STRENGTH[,WIDTH]",
        help="0 to 1; how far the background's light spills over the edge, in percent",
    )
    result.add_argument(
        "--foreground",
        type=current_method,
        choices=get_args(ForegroundMethod),
        default=unset,
        help="how the subject's own colours are found; by default as --quality says",
    )
    result.add_argument(
        "--keep-largest",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="drop stray parts",
    )
    result.add_argument(
        "--ignore-transparency",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="bring back what is transparent in the photograph, if it is the subject's",
    )
    p.add_argument("--max-megapixels", type=float, default=50.0)


def command() -> NoReturn:
    """Run the command in a process of its own.

    PyTorch's modules hold half a million objects that stay until the end. The garbage collector
    would look through them for a second while they are made, and for another when Python ends.
    """
    gc.disable()  # until the networks are loaded
    status = main()
    gc.freeze()
    sys.exit(status)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where a photograph failed, 2 for a wrong command line, 130 where it was interrupted.
    """
    allow_any_name()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    done: list[Job | UrlJob] = []
    try:
        return _run(parser().parse_args(arguments), done)
    except KeyboardInterrupt:
        finished = f"{len(done)} finished" if done else "nothing finished"
        print(f"stopped: {finished}; --skip-existing goes on with the rest", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, done: list[Job | UrlJob]) -> int:
    try:
        recipe, picture_path = recipe_of(options)
        planned = planned_of(options, recipe, picture_path)
        picture = None
        if picture_path is not None:
            picture = read_backdrop(picture_path, recipe, options.max_megapixels)
        if options.workers is not None and options.workers < 1:
            raise UsageError(
                f"--workers must be 1 or more, got {options.workers}: leave it out to keep the "
                "machine busy"
            )
        check_limit(options.max_megapixels, "--max-megapixels")
        if options.watch:
            check_watching([Path(name) for name in options.inputs])
        models = models_of(options)
        verify_bundled()
        if options.runner == "ray":
            check_ray()
            if str(PIPE) in (*options.inputs, options.output):
                raise UsageError("--runner ray must be given files, got '-': name them")
        else:
            models.matter()
            if not (options.mask or options.trimap):
                models.segmenter(recipe.segmenter)
        report = None if options.report is None else Report(options.report)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    for sentence in planned.left_out:
        print(sentence, file=sys.stderr)
    near = [job.target for job in planned.jobs if isinstance(job, Job) and job.target != PIPE]
    for folder in {path.parent for path in near}:
        clear_up(folder)
    order = Order(
        recipe, planned.form, picture, options.max_megapixels, keep_metadata=options.keep_metadata
    )
    work_through = partial(
        _work_through, order=order, models=models, options=options, report=report, done=done
    )
    with report or nullcontext():
        seen = {job.source: _age(job) for job in planned.jobs} if options.watch else {}
        failed = work_through(planned.jobs, skip_existing=options.skip_existing)
        if options.watch:
            print("watching for new photographs; Ctrl+C ends it", file=sys.stderr)
            for came, changed in _arrivals(seen, options, recipe, picture_path):
                failed += work_through(came, skip_existing=options.skip_existing)
                failed += work_through(changed, skip_existing=False)
    if report is not None and report.error is not None:
        print(
            f"error: --report lacks lines, as it could not be written: {report.error}; make "
            "room, and run with --skip-existing",
            file=sys.stderr,
        )
        return 1
    return 1 if failed else 0


def _work_through(
    todo: Sequence[Job | UrlJob],
    order: Order,
    models: Models,
    options: argparse.Namespace,
    report: Report | None,
    done: list[Job | UrlJob],
    *,
    skip_existing: bool,
) -> int:
    """Cut out photographs, tell of them, and return how many failed."""
    if not todo:
        return 0
    failures, skipped = Failures(), 0
    alone = len(todo) == 1
    before = len(done)

    work = CutOut(models, order, skip_existing)
    with ExitStack() as stack:
        if options.runner == "ray":
            gpus = float(options.device.startswith("cuda"))
            outcomes = work_on_ray(list(map(_absolute, todo)), work, options.workers, gpus=gpus)
        else:
            device = str(models.matter().device)
            workers = stack.enter_context(sharing_cores(device, len(todo), options.workers))
            outcomes = work_on(todo, work, workers)
        stack.enter_context(closing(outcomes))
        for job, outcome in tqdm(outcomes, total=len(todo), unit="photo", disable=len(todo) < 2):
            if report is not None:
                report.add(job, outcome)
            if isinstance(outcome, Exception):  # our own faults are shown at the end
                failures.add(str(job.source), outcome)
            elif not isinstance(outcome, Done):
                skipped += 1
            else:
                done.append(job)
                for note in outcome.notes:
                    tqdm.write(f"note: {job.source}: {note}", file=sys.stderr)
                if alone:
                    _tell(job, outcome, order.recipe)
    if len(todo) > 1:
        counts = f"{len(done) - before} cut out, {skipped} skipped, {len(failures)} failed"
        print(f"{counts} ({order.recipe.methods})")
    failures.tell()
    return len(failures)


def _absolute(job: Job | UrlJob) -> Job | UrlJob:
    """Return a job that is the same in any working folder."""
    if isinstance(job, UrlJob):
        mask_url = None if job.mask is None else _absolute_url(job.mask)
        places = {name: _absolute_url(place) for name, place in job.sides.items()}
        return UrlJob(_absolute_url(job.source), _absolute_url(job.target), mask_url, places)
    sides = {name: path.absolute() for name, path in job.sides.items()}
    mask = None if job.mask is None else job.mask.absolute()
    return Job(job.source.absolute(), job.target.absolute(), mask, sides)


def _absolute_url(name: str) -> str:
    return name if is_url(name) else str(Path(name).absolute())


def _watched(options: argparse.Namespace) -> list[Path]:
    masks = options.mask or options.trimap
    return [Path(name) for name in (*options.inputs, masks) if name and Path(name).is_dir()]


def _age(job: Job | UrlJob) -> tuple[int, ...]:
    """Return what changes when a photograph or its mask is written anew."""
    ages = []
    for name in (job.source, job.mask):
        if name is not None:
            with suppress(FileNotFoundError):  # behind a URL, or taken away meanwhile
                ages.append(Path(name).stat().st_mtime_ns)
    return tuple(ages)


def _arrivals(
    seen: dict[Path | str, tuple[int, ...]],
    options: argparse.Namespace,
    recipe: Recipe,
    picture: Path | None,
) -> Iterator[tuple[list[Job | UrlJob], list[Job | UrlJob]]]:
    """Watch the folders; yield photographs that came, and those that changed since they were seen.

    What they wait for is printed once.

    Args:
        seen: The age of each photograph that was seen; new ones are added.
        options: The command line.
        recipe: How photographs are cut out.
        picture: The background picture.
    """
    printed: Sequence[str] = ()
    for _ in chain([None], changes(_watched(options), recursive=options.recursive)):
        jobs: Sequence[Job | UrlJob] = ()
        try:
            planned = planned_of(options, recipe, picture)
        except (UsageError, OSError) as error:  # such as a disk that is away
            waiting: Sequence[str] = (str(error),)
        else:
            jobs, waiting = planned.jobs, planned.waiting
        for sentence in waiting:
            if sentence not in printed:
                print(f"waiting: {sentence}", file=sys.stderr)
        printed = waiting
        ages = {job.source: _age(job) for job in jobs}
        came = [job for job in jobs if job.source not in seen]
        old = [job for job in jobs if job.source in seen]
        changed = [job for job in old if seen[job.source] != ages[job.source]]
        seen.update(ages)
        yield came, changed


def read_backdrop(path: Path, recipe: Recipe, max_megapixels: float) -> Floats:
    """Read a background picture; where it is transparent the background's colour shows.

    Raises:
        ImageError: the file cannot be read.
    """
    photo = read_photo(path, max_megapixels=max_megapixels)
    return opaque(photo, recipe)


def _tell(job: Job | UrlJob, done: Done, recipe: Recipe) -> None:
    to = sys.stderr if job.target == PIPE else sys.stdout
    name = "written" if job.target == PIPE else job.target
    print(f"{name}  (guidance: {done.guidance}; {recipe.methods})", file=to)


def _weights(given: str) -> str | Path:
    return Path(given).absolute() if Path(given).suffix else given


def models_of(options: argparse.Namespace) -> Models:
    """Return the networks that the command line asks for, none of them loaded yet."""
    return Models(
        _weights(options.weights),
        device=options.device,
        dtype=options.dtype,
        coarse_side_px=options.coarse_side or None,
        least_side_px=options.least_side,
        working_megapixels=options.working_megapixels or None,
        engine=options.engine,
    )


def recipe_of(options: argparse.Namespace) -> tuple[Recipe, Path | None]:
    """Return the settings that the command line asks for, and the background picture's path.

    Raises:
        ValueError: The settings cannot be read, or a value is out of range.
        UsageError: An option cannot be understood, or a file is missing.
    """
    recipe = Recipe() if options.settings is None else _read_settings(options.settings)
    given = {
        name: value for name, value in vars(options).items() if name in Recipe.__dataclass_fields__
    }
    mask = options.mask or options.trimap
    for option, name in (("--kind", "mask_kind"), ("--label", "label")):
        if name in given and options.trimap:
            raise UsageError(f"{option} must come with --mask, got --trimap: give it as --mask")
    if options.trimap:
        given["mask_kind"] = "trimap"
    if "segmenter" in given and not mask:
        given["own_mask"] = False
    if "quality" in given:
        recipe = recipe.with_quality(given["quality"])
    if isinstance(given.get("refine"), bool):
        given["refine"] = "full" if given["refine"] else "off"
    recipe = replace(recipe, **given)
    if recipe.own_mask and not mask:
        raise UsageError(
            "--mask must be given with these settings, got none: they were made with a mask; name "
            "it, or take a --segmenter instead"
        )
    background, picture = _background(recipe.background, options)
    recipe = replace(recipe, background=background)
    if options.shadow_numbers is not None:
        names = ("strength", "x_percent", "y_percent", "blur_percent")
        numbers = _numbers("--shadow", options.shadow_numbers, (1, 3, 4))
        shadow = replace(recipe.shadow, **dict(zip(names, numbers, strict=False)))
        recipe = replace(recipe, shadow=shadow)
    if options.light_wrap_numbers is not None:
        strength, *width = _numbers("--light-wrap", options.light_wrap_numbers, (1, 2))
        percent = width[0] if width else recipe.light_wrap_percent
        recipe = replace(recipe, light_wrap=strength, light_wrap_percent=percent)
    return recipe, picture


def _read_settings(path: Path) -> Recipe:
    if not path.is_file():
        raise UsageError(f"--settings must be a file, got {path}: correct the path")
    return Recipe.from_json(path.read_bytes())


def _background(
    background: Background, options: argparse.Namespace
) -> tuple[Background, Path | None]:
    """Return the background with what the options change of it, and the picture's path."""
    text, picture = options.behind, None
    if text is None:
        pass
    elif (read := read_background(text, background)) is not None:
        background = read
    elif Path(text).is_file():
        background, picture = replace(background, kind="picture"), Path(text)
    else:
        raise UsageError(
            "--background must be 'none', '#rrggbb', 'gradient:#rrggbb,#rrggbb,ANGLE', 'blur', "
            f"'blur:PERCENT' or a picture, got {text!r}: quote the colour, or correct the path"
        )
    if background.kind == "picture" and picture is None:
        raise UsageError(
            "--background must name a picture with these settings, got none: they were made with "
            "one; name it, or another background"
        )
    changes: dict[str, object] = {}
    if options.fit is not None:
        changes["fit"] = options.fit
    if options.position is not None:
        changes["x"], changes["y"] = _numbers("--position", options.position, (2,))
    if options.scale is not None:
        changes["scale"] = options.scale
    if changes and background.kind != "picture":
        raise UsageError(
            f"--fit, --position and --scale must come with a picture, got {background.kind}: name "
            "one by --background"
        )
    return replace(background, **changes), picture  # type: ignore[arg-type] # checked by it


def _numbers(name: str, text: str, counts: Sequence[int]) -> tuple[float, ...]:
    """Read numbers with commas between them."""
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UsageError(
            f"{name} must be {wanted} numbers with commas between them, got {text!r}: --help "
            "says which"
        )
    return numbers


def planned_of(options: argparse.Namespace, recipe: Recipe, picture: Path | None) -> Plan | UrlPlan:
    """Return what the command line asks for, with its formats and files checked.

    Raises:
        UsageError: An input is missing, the output cannot hold the results, or a result would be
            written over a file that is read.
    """
    wanted = {"alpha": options.save_alpha, "foreground": options.save_foreground}
    sides = [side for side, is_wanted in wanted.items() if is_wanted]
    masks = options.mask or options.trimap
    weights = _weights(options.weights)
    also_read = [picture, options.settings, weights if isinstance(weights, Path) else None]
    also_written = [options.report] if options.report is not None else []
    if any(is_url(name) for name in (*options.inputs, options.output, masks or "")):
        far = plan_urls(
            options.inputs,
            options.output,
            masks=masks,
            recursive=options.recursive,
            format_name=options.format_name,
            sides=sides,
            also_read=also_read,
            also_written=also_written,
            may_exist=options.skip_existing,
            watched=options.watch,
        )
        _check_form(far.form, recipe, options)
        return far
    planned = plan(
        options.inputs,
        options.output,
        masks=masks,
        recursive=options.recursive,
        format_name=options.format_name,
        sides=sides,
        may_exist=options.skip_existing,
        watched=options.watch,
    )
    check_outputs(
        [
            *(path for job in planned.jobs for path in (job.target, *job.sides.values())),
            *also_written,
        ],
        [*(job.source for job in planned.jobs), *(job.mask for job in planned.jobs), *also_read],
    )
    _check_form(planned.form, recipe, options)
    return planned


def _check_form(form: Format, recipe: Recipe, options: argparse.Namespace) -> None:
    if not form.alpha and recipe.background.kind == "transparent":
        raise UsageError(
            f"--background must be given for {form.name}, which holds no transparency, got none: "
            "give one, or write .png"
        )
    if options.keep_metadata and not form.most_exif_bytes:
        raise UsageError(
            f"--keep-metadata must come with a format that holds EXIF, got {form.name}: leave it "
            "out, or write .png"
        )
    if form.layers and recipe.light_wrap:
        raise UsageError(
            f"--light-wrap must be 0 for {form.name}, whose layers cannot hold it, got "
            f"{recipe.light_wrap:g}: write another format"
        )


if __name__ == "__main__":
    command()
