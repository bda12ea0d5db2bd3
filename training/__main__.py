"""Command line of training: `python -m training CONFIG.toml [--resume] [key=value ...]`."""

import argparse
import logging
import sys
from pathlib import Path

from training.config import Config, ConfigError, load
from training.loop import NonFiniteLossError, Task, Trainer
from training.prn import PRNTask
from training.segmenter import SegmenterTask


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("config", type=Path, help="a TOML file, see training/configs")
    parser.add_argument("corrections", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true", help="go on from run.folder's checkpoint")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = load(options.config, options.corrections)
        trainer = Trainer(config, _task(config), options.resume)
        trainer.run()
    except (ConfigError, NonFiniteLossError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _task(config: Config) -> Task:
    tasks: dict[str, type[PRNTask | SegmenterTask]] = {"prn": PRNTask, "segmenter": SegmenterTask}
    return tasks[config.task](config)


if __name__ == "__main__":
    sys.exit(main())
