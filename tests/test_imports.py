"""Imports point towards the core, and Gradio stays in the pages."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mgm_core

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "mgm_core": {"mgm_core"},
    "training": {"training", "mgm_core"},
    "benchmark_data_tools": {"benchmark_data_tools", "mgm_core"},
    "demo": {"demo", "mgm_core"},
}
# From the bottom up: a room of `mgm_core`, a module or a folder, knows those above it in this list
# and itself. What stands side by side knows nothing of each other.
LAYERS = (
    {"arrays", "choices", "labels", "runtime", "weights"},
    {"images", "compositing", "guidance"},
    {"files", "networks"},
    {"matting"},
    {"foreground", "segmentation"},
    {"recipe"},
    {"corrections", "engines", "hub"},
    {"cutout", "models"},
    {"api", "batch"},
    {"__init__", "__main__", "export", "serve"},
    {"video"},
)
LARGEST_FOLDER = 12
NETWORKS = {"torch", "scipy", "numba", "pymatting"}
CORE = sorted((ROOT / "mgm_core").rglob("*.py"))
LOOSE = {path.stem for path in (ROOT / "mgm_core").glob("*.py")}
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


def _rooms(path):
    """Return the rooms of the core that a file imports from, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "mgm_core":
            names = [f"mgm_core.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        rooms = {name.split(".")[1] for name in names if name.startswith("mgm_core.")}
        yield from (room for room in rooms if (ROOT / "mgm_core" / room).exists() or room in LOOSE)


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_room_of_the_core_knows_the_rooms_below_it(path):
    own = path.relative_to(ROOT / "mgm_core").parts[0].removesuffix(".py")
    height = next(i for i, layer in enumerate(LAYERS) if own in layer)
    below = set().union(*LAYERS[:height])
    above = {room for room in _rooms(path) if room != own} - below
    if own != "__init__":  # loads the package's public names on first use, from wherever they are
        assert not above, f"{path} imports from above or beside: {above}"


def test_no_folder_has_more_modules_than_one_looks_through():
    for folder in {path.parent for path in FILES}:
        names = [path.name for path in folder.glob("*.py") if not path.name.startswith("__")]
        assert len(names) <= LARGEST_FOLDER, f"{folder} is two folders: {sorted(names)}"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import app", NETWORKS),
        ("import mgm_core.models", NETWORKS),
        (
            "from mgm_core.__main__ import parser, recipe_of\n"
            "recipe_of(parser().parse_args(['a.jpg', '-o', 'b.png']))",
            NETWORKS,
        ),
        ("from mgm_core.__main__ import parser; parser()", NETWORKS | {"pydantic"}),
        ("from mgm_core.video.__main__ import parser; parser()", NETWORKS | {"pydantic"}),
    ],
    ids=["page", "models", "command", "help", "help on clips"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code, heavy):
    code += f"\nimport sys; print(sorted({heavy} & {{*sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_core_draws_nothing_at_random():
    for path in (ROOT / "mgm_core").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for word in ("default_rng", "torch.rand", "np.random", "import random", "manual_seed"):
            assert word not in source, f"{path} uses {word}"


def test_the_version_stands_twice_and_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert mgm_core.__version__ == project["version"]
