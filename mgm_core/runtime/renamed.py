"""Names of the version before, which work for one version more and say what they are called now."""

import argparse
import logging
from collections.abc import Mapping
from typing import Any

__all__ = [
    "DATA_KEYS",
    "FOREGROUNDS",
    "METHODS",
    "OPTIONS",
    "RECIPE_KEYS",
    "TASKS",
    "RenamedOption",
    "RenamedSwitch",
    "old_name",
    "rename_keys",
    "report_renamed",
]

# The only place where these names stand, each with the name of now; a test holds that.
OPTIONS = {"--colour-lines": "--refine", "--steady": "--smoothing"}
RECIPE_KEYS = {"colour_lines": "refine"}
METHODS = {"lines:": "refined:"}
FOREGROUNDS = {"fused": "network", "closed_form": "multilevel"}
TASKS = {"colour_lines": "fusion"}
DATA_KEYS = {"kept_examples": "cached_examples"}

_logger = logging.getLogger(__name__)


def report_renamed(old: str, new: str, where: str = "") -> None:
    """Say that a name is an old one.

    Args:
        old: The name that was given.
        new: What it is called now.
        where: What holds it, such as "settings"; empty where the name speaks for itself.
    """
    _logger.warning(
        "%s%s is now called %s; the next version drops it", where and f"{where}: ", old, new
    )


def rename_keys(table: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return named values by the names of now.

    Args:
        table: Named values, some perhaps by their old names.
        names: From old names to those of now.
        where: What holds the values.
    """
    renamed = dict(table)
    for old, new in names.items():
        if old in table and new not in table:
            report_renamed(old, new, where)
            renamed[new] = renamed.pop(old)
    return renamed


def old_name(option: str) -> str:
    """Return the old name of an option."""
    return next(old for old, new in OPTIONS.items() if new == option)


class RenamedOption(argparse.Action):
    """A command line's option by its old name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take the value, and say what the option is called now."""
        del parser
        assert option_string is not None
        report_renamed(option_string, OPTIONS[option_string])
        setattr(namespace, self.dest, values)


class RenamedSwitch(argparse.BooleanOptionalAction):
    """A command line's switch, `--name` and `--no-name`, by its old name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Turn it on or off, and say what it is called now."""
        assert option_string is not None
        off = option_string.startswith("--no-")
        new = OPTIONS[option_string.replace("--no-", "--", 1)]
        report_renamed(option_string, new.replace("--", "--no-", 1) if off else new)
        super().__call__(parser, namespace, None, option_string)
