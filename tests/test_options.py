"""Every option that a command takes, it reads."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from mgm_core.recipe import Recipe

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    path
    for package in ("benchmark_data_tools", "demo", "mgm_core", "training")
    for path in (ROOT / package).rglob("*.py")
    if ".add_argument(" in path.read_text(encoding="utf-8")
)
# Options of photographs that are a recipe's settings are taken from the namespace by their names.
NAMESPACES = ("options", "own", "arguments", "parser.parse_args(arguments)")
BY_NAME = {"mgm_core/__main__.py": {part.name for part in fields(Recipe)}}


def _destination(call):
    """Return the name that an option's value gets."""
    for keyword in call.keywords:
        if keyword.arg == "dest":
            return ast.literal_eval(keyword.value)
    names = [each.value for each in call.args if isinstance(each, ast.Constant)]
    long = [name for name in names if name.startswith("--")] or names
    return long[0].lstrip("-").replace("-", "_")


def _unread(source, taken_by_name=frozenset()):
    """Return the options that are parsed in a source and not read there."""
    nodes = list(ast.walk(ast.parse(source)))
    parsed = {
        _destination(node)
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
    }
    read = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and ast.unparse(node.value) in NAMESPACES
    }
    assert parsed, "no option is found"
    return parsed - read - taken_by_name


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_command_reads_every_option_that_it_takes(path):
    name = path.relative_to(ROOT).as_posix()
    unread = _unread(path.read_text(encoding="utf-8"), BY_NAME.get(name, frozenset()))
    assert not unread, f"{name} takes and ignores {sorted(unread)}"


def test_an_option_that_is_ignored_is_found():
    source = "p.add_argument('--least-side'); p.add_argument('-o', '--out'); f(options.out)"
    assert _unread(source) == {"least_side"}
