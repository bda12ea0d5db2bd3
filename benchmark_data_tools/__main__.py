"""Command line: `python -m benchmark_data_tools COMMAND --help`.

check TABLE --data DIR       is the benchmark's folder as published?
run TABLE --data DIR --method NAME ... --out results/
report results/ --out report/
worst results/TABLE --out worst.png      contact sheet of the worst images
compare results/TABLE METHOD METHOD      how far apart two methods' mattes are
photos DIR --out sheets/     the whole product on photographs, to look for holes
ablate --data DIR            what each part of the refinement is worth: error and time
speed --out speed/           how long a photograph takes, by quality, network and size; memory
measure                      how long the metrics take
load                         the demo under load: visitors, waiting, errors, memory
mini DIR                     make the mini benchmark, every table's layout
annotate DATASET             label detail regions; with it init, export and others
"""

# Each command imports what it needs: Torch and plots take longer than most commands.
import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from benchmark_data_tools.annotation.commands import add_subcommands
from benchmark_data_tools.data.layouts import LAYOUTS, find_samples, read_subset
from mgm_core.batch.cluster import check_ray
from mgm_core.files.outputs import UsageError, check_outputs
from mgm_core.networks.hardware import DtypeName
from mgm_core.runtime.reporting import allow_any_name

if TYPE_CHECKING:
    from benchmark_data_tools.methods import MethodSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Command line without the program's name; None takes this program's own.

    Returns:
        Exit status: 0, or 1 where something is wrong, which is printed.
    """
    options = _parser().parse_args(arguments)
    allow_any_name()
    try:
        return int(options.command(options))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def check(options: argparse.Namespace) -> int:
    """Print what is wrong with a benchmark's folder; write or compare its manifest."""
    from benchmark_data_tools.data.samples import (
        compare_manifest,
        count_note,
        manifest,
        problems,
    )

    subset = read_subset(options.subset) if options.subset else None
    found = list(problems(options.table, options.data, subset))
    if not found:
        samples = find_samples(options.table, options.data, subset)
        print(count_note(options.table, len(samples)))
        lines = manifest(samples, options.data)
        if options.manifest is not None:
            found = compare_manifest(lines, options.manifest.read_text("utf-8"))
        if options.write_manifest is not None:
            files = [path for sample in samples for path in sample.files.values()]
            check_outputs([options.write_manifest], [options.manifest, options.subset, *files])
            options.write_manifest.write_text(lines, "utf-8")
    for problem in found:
        print(problem)
    print(f"{len(found)} problems." if found else "Nothing wrong.")
    return 1 if found else 0


def run(options: argparse.Namespace) -> int:
    """Run methods over a benchmark and print the table."""
    from benchmark_data_tools import runner
    from benchmark_data_tools.protocols import Settings
    from benchmark_data_tools.reports.tables import markdown, read_results

    plan = runner.Plan(
        table=options.table,
        data=options.data,
        samples=tuple(
            find_samples(
                options.table,
                options.data,
                read_subset(options.subset) if options.subset else None,
            )
        ),
        methods=_methods(options),
        settings=Settings(
            kernels_px=tuple(options.kernels),
            mask=options.mask,
            long_side_px=options.long_side,
            probability=str(options.probability) if options.probability else None,
        ),
        out=options.out / options.table,
        bits=options.bits,
    )
    _refuse_within(plan.out, [path for s in plan.samples for path in s.files.values()])
    if options.runner == "ray":
        check_ray()
    runner.run(plan, processes=options.processes, runner=options.runner)
    print(markdown(read_results(plan.out, {method.slug for method in plan.methods})))
    return 0


def write_report(options: argparse.Namespace) -> int:
    """Write a report on all runs under a folder."""
    from benchmark_data_tools.reports import report

    if options.results.is_dir():
        _refuse_within(options.out, list(options.results.iterdir()))
    for table in report.build(options.results, options.out, thumbnails=options.thumbnails):
        print(table)
    print(options.out / "index.html")
    return 0


def put_under_load(options: argparse.Namespace) -> int:
    """Put the demo under load."""
    from benchmark_data_tools.load import server

    return server.main(
        options.visitors,
        options.minutes,
        options.side,
        faults=options.faults,
        keep_minutes=options.keep_minutes,
    )


def make_mini(options: argparse.Namespace) -> int:
    """Make the mini benchmark."""
    from benchmark_data_tools.data import mini

    mini.make(options.out, seed=options.seed)
    print(f"{options.out}: one folder a table, see docs/benchmarks.md for the commands")
    return 0


def draw_worst(options: argparse.Namespace) -> int:
    """Draw a run's worst images and name them."""
    from benchmark_data_tools.reports import sheets

    check_outputs([options.out], options.results.rglob("*"))
    drawn = sheets.worst_sheet(
        options.results,
        options.out,
        method=options.method,
        count=options.count,
        side_px=options.side,
    )
    print("\n".join([*drawn, str(options.out)]))
    return 0


def draw_photos(options: argparse.Namespace) -> int:
    """Cut photographs out and draw them on a plain colour."""
    from benchmark_data_tools.reports import sheets

    if options.folder.is_dir():
        _refuse_within(options.out, list(options.folder.iterdir()))
    failures = sheets.photo_sheets(
        options.folder,
        options.out,
        category=options.category,
        per_sheet=options.per_sheet,
        side_px=options.side,
        colour=options.colour,
    )
    for failure in failures:
        print(f"not cut out: {failure}")
    print(options.out)
    return 1 if failures else 0


def compare_methods(options: argparse.Namespace) -> int:
    """Print how far apart two methods' mattes are."""
    from benchmark_data_tools.reports.comparison import compare

    print(compare(options.results, options.first, options.second))
    return 0


def run_video(options: argparse.Namespace) -> int:
    """Matte clips with true alpha, and print how near their mattes are and how they flicker."""
    from benchmark_data_tools.clips import find_clips, run_clips, table
    from mgm_core.models import Models

    _refuse_within(options.out, list(find_clips(options.data).values()))
    rows = []
    models = Models(options.weights, device=options.device)
    for row in run_clips(
        options.data, options.out, models, shares=options.smoothing, first_mask=options.first_mask
    ):
        rows.append(row)
        print(json.dumps(row), flush=True)
    (options.out / "rows.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    return 0


def make_video(options: argparse.Namespace) -> int:
    """Make clips with exact alpha of photographs."""
    from benchmark_data_tools.clips import make_clips
    from mgm_core import cut_out
    from mgm_core.arrays import limit_side
    from mgm_core.images import read_image

    cutouts = [cut_out(path, quality="best") for path in options.subject]
    backgrounds = [read_image(path) for path in options.background]
    make_clips(
        options.out,
        [
            (limit_side(c.foreground, options.long_side), limit_side(c.alpha, options.long_side))
            for c in cutouts
        ],
        backgrounds,
        frames=options.frames,
        seed=options.seed,
    )
    return 0


def speed(options: argparse.Namespace) -> int:
    """Print how long a photograph takes, and write it as JSON and a chart."""
    from benchmark_data_tools.speed import Plan, machine, measure, report

    plan = Plan(
        photo=options.photo,
        megapixels=options.megapixels,
        networks=options.networks,
        qualities=options.qualities,
        repeats=options.repeats,
        rivals=not options.no_rivals,
        processes=not options.no_processes,
        dtype=options.dtype,
    )
    print(machine())
    report(measure(plan, say=lambda line: print(line, flush=True)), options.out)
    print(options.out / "speed.json")
    return 0


def ablate(options: argparse.Namespace) -> int:
    """Print what each part of the refinement is worth."""
    from benchmark_data_tools.ablation import ablate, markdown, samples_of

    samples = samples_of(options.data, options.count)
    print(markdown(ablate(samples, lambda name: print(name, file=sys.stderr, flush=True))))
    return 0


def measure(options: argparse.Namespace) -> int:
    """Print how long the metrics take."""
    from benchmark_data_tools.metric_speed import metric_seconds

    seconds = metric_seconds(options.height, options.width, options.repeats)
    print(f"{options.width}x{options.height}, processor seconds on one core:")
    for name, found in seconds.items():
        print(f"{name:>9} {found:.3f}")
    return 0


def _refuse_within(out: Path, inputs: Sequence[Path]) -> None:
    """Hold a folder for results to be none that anything is read from.

    Raises:
        UsageError: It is.
    """
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise UsageError(
                f"--out must be a folder that nothing is read from, got {out} with {path.name} in "
                "it: name another"
            )


def _methods(options: argparse.Namespace) -> "tuple[MethodSpec, ...]":
    from benchmark_data_tools.methods import MethodSpec, parse, parse_refiner

    methods = [parse(name, options.table) for name in dict.fromkeys(options.method)]
    if (options.refiner is not None) != (options.table == "2"):
        raise ValueError(
            f"refiner must be given for table 2 and for it alone, got {options.refiner}: "
            "it names the weights that refine the methods' mattes"
        )
    if options.refiner is not None:
        refiner = parse_refiner(options.refiner)
        methods += [MethodSpec(method.alpha, refiner=refiner) for method in methods]
    return tuple(methods)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark_data_tools", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True)

    def add_data(command: argparse.ArgumentParser) -> None:
        command.add_argument("table", choices=list(LAYOUTS))
        command.add_argument("--data", type=Path, required=True, help="the benchmark's folder")
        command.add_argument("--subset", type=Path, help="text file that names images, one a line")

    checking = commands.add_parser("check", help="look for what is wrong with a benchmark")
    add_data(checking)
    checking.add_argument("--manifest", type=Path, help="compare SHA-256 sums with this file")
    checking.add_argument("--write-manifest", type=Path, help="write SHA-256 sums to this file")
    checking.set_defaults(command=check)

    running = commands.add_parser("run", help="run methods over a benchmark")
    add_data(running)
    running.add_argument("--method", action="append", required=True, help="repeatable; see docs")
    running.add_argument("--refiner", help="table 2: weights that refine the methods' mattes")
    running.add_argument("--out", type=Path, default=Path("results"))
    running.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    running.add_argument(
        "--runner",
        choices=("local", "ray"),
        default="local",
        help="ray: on the cluster that RAY_ADDRESS names, whose machines share these folders",
    )
    running.add_argument("--bits", type=int, choices=(8, 16), default=16, help="of predictions")
    running.add_argument(
        "--kernels", type=int, nargs="+", default=[10, 20, 30], help="robustness: diameters, px"
    )
    running.add_argument("--mask", choices=("truth", "segmentation"), default="truth")
    running.add_argument("--long-side", type=int, help="shrink to this long side; paper: 720")
    running.add_argument("--probability", type=Path, help="folder of segmentation probabilities")
    running.set_defaults(command=run)

    reporting = commands.add_parser("report", help="write tables, charts and a page")
    reporting.add_argument("results", type=Path)
    reporting.add_argument("--out", type=Path, default=Path("report"))
    reporting.add_argument(
        "--thumbnails", type=int, default=50, help="images shown of every method, worst first"
    )
    reporting.set_defaults(command=write_report)

    making = commands.add_parser("mini", help="make the mini benchmark")
    making.add_argument("out", type=Path)
    making.add_argument("--seed", type=int, default=0)
    making.set_defaults(command=make_mini)

    filming = commands.add_parser("video", help="matte clips with true alpha; steadiness")
    filming.add_argument("data", type=Path, help="SET/CLIP/com and SET/CLIP/pha")
    filming.add_argument("--out", type=Path, required=True)
    filming.add_argument("--smoothing", type=float, nargs="+", default=[0.0, 0.7])
    filming.add_argument(
        "--first-mask", action="store_true", help="follow what the first true alpha shows"
    )
    filming.add_argument("--weights", default="prn_mobilenet_v2")
    filming.add_argument("--device", default="auto")
    filming.set_defaults(command=run_video)

    staging = commands.add_parser("mini-video", help="make clips of a person with exact alpha")
    staging.add_argument("out", type=Path)
    staging.add_argument(
        "--subject", type=Path, action="append", required=True, help="photograph of a person"
    )
    staging.add_argument("--background", type=Path, action="append", required=True)
    staging.add_argument("--long-side", type=int, default=320, help="of the clips at most, px")
    staging.add_argument("--frames", type=int, default=24)
    staging.add_argument("--seed", type=int, default=0)
    staging.set_defaults(command=make_video)

    drawing = commands.add_parser("worst", help="draw the images with the largest errors")
    drawing.add_argument("results", type=Path, help="a table's results, such as results/5")
    drawing.add_argument(
        "--method", help="only this method's, as `run` was given it or its table names it"
    )
    drawing.add_argument("--count", type=int, default=20)
    drawing.add_argument("--side", type=int, default=320, help="long side of a picture, px")
    drawing.add_argument("--out", type=Path, required=True, help="PNG to write")
    drawing.set_defaults(command=draw_worst)

    comparing = commands.add_parser("compare", help="how far apart two methods' mattes are")
    comparing.add_argument("results", type=Path, help="a table's results, such as results/5")
    comparing.add_argument("first", help="method, as `run` was given it or its table names it")
    comparing.add_argument("second")
    comparing.set_defaults(command=compare_methods)

    looking = commands.add_parser("photos", help="cut photographs out, over a plain colour")
    looking.add_argument("folder", type=Path)
    looking.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    looking.add_argument("--category", default="person", help="what the segmenter looks for")
    looking.add_argument("--per-sheet", type=int, default=6)
    looking.add_argument("--side", type=int, default=640, help="long side of a picture, px")
    looking.add_argument("--colour", default="#ff00ff", help="name or #rrggbb")
    looking.set_defaults(command=draw_photos)

    ablating = commands.add_parser("ablate", help="what each part of the refinement is worth")
    ablating.add_argument("--data", type=Path, required=True, help="as for table 1 or 3")
    ablating.add_argument("--count", type=int, help="of images, evenly chosen; all by default")
    ablating.set_defaults(command=ablate)

    timing = commands.add_parser("speed", help="how long a photograph takes, and its memory")
    timing.add_argument("--out", type=Path, required=True, help="folder for JSON and chart")
    timing.add_argument(
        "--photo",
        type=Path,
        default=Path("demo/examples/pictures/flying-hair.jpg"),
        help="of a person",
    )
    timing.add_argument("--megapixels", type=float, nargs="+", default=[0.25, 1, 4, 12, 50])
    timing.add_argument("--networks", nargs="+", default=["prn_mobilenet_v2", "prn_resnet34"])
    timing.add_argument(
        "--qualities", nargs="+", choices=["fast", "best"], default=["fast", "best"]
    )
    timing.add_argument("--repeats", type=int, default=3)
    timing.add_argument("--no-rivals", action="store_true", help="no PyMatting, no rembg")
    timing.add_argument("--no-processes", action="store_true", help="no memory and start-up")
    timing.add_argument("--dtype", choices=get_args(DtypeName), default="auto")
    timing.set_defaults(command=speed)

    measuring = commands.add_parser("measure", help="how long the metrics take")
    measuring.add_argument("--width", type=int, default=2000)
    measuring.add_argument("--height", type=int, default=1500)
    measuring.add_argument("--repeats", type=int, default=3)
    measuring.set_defaults(command=measure)

    loading = commands.add_parser("load", help="put the demo under load; needs `make dev`")
    loading.add_argument("--visitors", type=int, nargs="+", default=[1, 8, 32, 100])
    loading.add_argument("--minutes", type=float, default=2, help="of each run")
    loading.add_argument("--side", type=int, default=256, help="side of the photos, px")
    loading.add_argument("--faults", action="store_true", help="one a minute: kill, leave, noise")
    loading.add_argument("--keep-minutes", type=int, default=30, help="MGM_KEEP_MINUTES of the app")
    loading.set_defaults(command=put_under_load)

    add_subcommands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
