"""Imports point towards the core, and Gradio stays in the pages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "mgm_core": {"mgm_core"},
    "training": {"training", "mgm_core"},
    "benchmark_data_tools": {"benchmark_data_tools", "mgm_core"},
    "demo": {"demo", "mgm_core"},
}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def _imported(path):
    """Return the top-level names of everything that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively in line {node.lineno}"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_towards_the_core(path):
    package = path.relative_to(ROOT).parts[0]
    names = set(_imported(path))
    ours = names & (MAY_IMPORT.keys() | {"app", "tests"})
    assert ours <= MAY_IMPORT[package]
    if package != "demo":
        assert "gradio" not in names


@pytest.mark.parametrize(
    "code",
    [
        "import app",
        "import mgm_core.models",
        "from mgm_core.__main__ import parser, recipe_of\n"
        "recipe_of(parser().parse_args(['a.jpg', '-o', 'b.png']))",
        "from mgm_core.video.__main__ import parser; parser()",
    ],
    ids=["page", "models", "command", "clips"],
)
def test_what_needs_no_network_does_not_wait_for_pytorch(code):
    code += "\nimport sys; print(sorted({'torch', 'scipy', 'numba', 'pymatting'} & {*sys.modules}))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_core_draws_nothing_at_random():
    for path in (ROOT / "mgm_core").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for word in ("default_rng", "torch.rand", "np.random", "import random", "manual_seed"):
            assert word not in source, f"{path} uses {word}"
