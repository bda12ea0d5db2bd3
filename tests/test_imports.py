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


def test_the_page_comes_up_without_waiting_for_pytorch():
    code = "import sys, app; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[-1] == "False"


def test_the_core_draws_nothing_at_random():
    for path in (ROOT / "mgm_core").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for word in ("default_rng", "torch.rand", "np.random", "import random", "manual_seed"):
            assert word not in source, f"{path} uses {word}"
