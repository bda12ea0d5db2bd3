"""Train networks: `python -m training CONFIG.toml [--resume] [--profile] [key=value ...]`.

python -m training pack DIR --limit-mb N --config CONFIG.toml [key=value ...]
python -m training sheet CONFIG.toml --out sheet.png [key=value ...]
python -m training guidance ALPHA.png --out sheet.png
python -m training segmenter-scores CONFIG.toml --weights FILE [key=value ...]
python -m training norms CONFIG.toml --out FILE network.start=WEIGHTS [key=value ...]
python -m training bundle WEIGHTS NAME [--int8]
python -m training permissive-data DATA OUT --network FILE
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mgm_core.runtime.memory import keep_freed
from training.config import Config, load
from training.data.licences import require_permissive
from training.distributed import stop
from training.loop import NonFiniteLossError, Trainer
from training.tasks.foreground import ForegroundTask
from training.tasks.fusion import FusionTask
from training.tasks.prn import PRNTask
from training.tasks.segmenter import SegmenterTask
from training.tasks.task import Task
from training.tools.bundle import bundle
from training.tools.norms import write_with_measured_norms
from training.tools.pack import pack
from training.tools.permissive_data import MASKS_BY_HAND, permissive_data
from training.tools.profile import profile_run
from training.tools.segmenter_scores import Scores
from training.tools.sheets import example_sheet, guidance_sheet

_TASKS: dict[str, Callable[[Config], Task]] = {
    "foreground": ForegroundTask,
    "fusion": FusionTask,
    "prn": PRNTask,
    "segmenter": SegmenterTask,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    commands = {
        "pack": _pack,
        "sheet": _sheet,
        "guidance": _guidance,
        "segmenter-scores": _segmenter_scores,
        "norms": _norms,
        "bundle": _bundle,
        "permissive-data": _permissive_data,
    }
    try:
        if arguments and arguments[0] in commands:
            return commands[arguments[0]](arguments[1:])
        return _train(arguments)
    except (ValueError, NonFiniteLossError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        stop()


def _parser(command: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m training{command}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _config_parser(command: str) -> argparse.ArgumentParser:
    parser = _parser(command)
    parser.add_argument("config", type=Path, help="a TOML file, see training/configs")
    parser.add_argument("corrections", nargs="*", metavar="key=value")
    return parser


def _train(arguments: list[str]) -> int:
    parser = _config_parser("")
    parser.add_argument("--resume", action="store_true", help="go on from run.folder's checkpoint")
    parser.add_argument("--profile", action="store_true", help="print where a step's time goes")
    options = parser.parse_intermixed_args(arguments)
    config = load(options.config, options.corrections)
    require_permissive(config)
    if not options.profile:
        keep_freed()
        Trainer(config, _task(config), options.resume).run()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if not options.resume:  # nothing is kept, so that run.folder may hold another run
            config = replace(config, run=replace(config.run, folder=folder))
        for line in profile_run(Trainer(config, _task(config), options.resume)):
            print(line)
    return 0


def _task(config: Config) -> Task:
    return _TASKS[config.task](config)


def _pack(arguments: list[str]) -> int:
    parser = _parser(" pack")
    parser.add_argument("folder", type=Path)
    parser.add_argument("corrections", nargs="*", metavar="key=value")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--limit-mb", type=float, required=True, help="in 10^6 bytes")
    options = parser.parse_intermixed_args(arguments)
    packed = pack(load(options.config, options.corrections), options.folder, options.limit_mb)
    print(
        f"{packed.files} files, {packed.size / 1e6:.1f} MB: foregrounds up to "
        f"{packed.foreground_side_px} px, backgrounds {packed.background_side_px} px, "
        f"quality {packed.quality}. Train with data.root={options.folder}"
    )
    return 0


def _sheet(arguments: list[str]) -> int:
    parser = _config_parser(" sheet")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    options = parser.parse_intermixed_args(arguments)
    config = load(options.config, options.corrections)
    example_sheet(_task(config).dataset(), options.count, options.out)
    return 0


def _guidance(arguments: list[str]) -> int:
    parser = _parser(" guidance")
    parser.add_argument("alpha", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    names = guidance_sheet(options.alpha, options.columns, options.seed, options.out)
    print("first column: alpha; rows:", "; ".join(names))
    return 0


def _segmenter_scores(arguments: list[str]) -> int:
    parser = _config_parser(" segmenter-scores")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="JSON of every picture's score, sheets beside it")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="FOLDER=N", help="only its first N"
    )
    options = parser.parse_intermixed_args(arguments)
    limits = dict(text.rsplit("=", 1) for text in options.limit)
    config = load(options.config, options.corrections)
    scores = Scores(config, options.weights, {k: int(v) for k, v in limits.items()})
    for line in scores.lines():
        print(line, flush=True)
    if options.out is not None:
        scores.write(options.out)
    return 0


def _norms(arguments: list[str]) -> int:
    parser = _config_parser(" norms")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=100)
    options = parser.parse_intermixed_args(arguments)
    config = load(options.config, options.corrections)
    require_permissive(config)
    write_with_measured_norms(config, _task(config), options.batches, options.out)
    return 0


def _bundle(arguments: list[str]) -> int:
    parser = _parser(" bundle")
    parser.add_argument("weights", type=Path)
    parser.add_argument("name")
    parser.add_argument("--int8", action="store_true", help="8 bits a weight instead of 16")
    options = parser.parse_args(arguments)
    path = bundle(options.weights, options.name, int8=options.int8)
    for file in sorted(path.parent.glob(f"{options.name}.*safetensors")):
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
    return 0


def _permissive_data(arguments: list[str]) -> int:
    parser = _parser(" permissive-data")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", type=Path, required=True, help="makes the masks of portraits")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="further starts")
    parser.add_argument(
        "--masks", type=Path, default=MASKS_BY_HAND, help="folder of masks corrected by hand"
    )
    options = parser.parse_args(arguments)
    for line in permissive_data(
        options.data, options.out, options.network, options.weights, options.masks
    ):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
