"""The wheel, the extras and the lock file, as a developer meets them who installs one function."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mgm_core

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# What each extra brings, by the name that it is imported by.
IMPORTED = {
    "annotate": ["alembic", "authlib", "fastapi", "itsdangerous", "sqlalchemy", "uvicorn"],
    "cluster": ["ray"],
    "demo": ["gradio"],
    "formats": ["psd_tools", "tifffile"],
    "heif": ["pillow_heif"],
    "hub": ["huggingface_hub"],
    "mcp": ["mcp"],
    "metrics": ["prometheus_client"],
    "onnx": ["onnx", "onnxruntime", "onnxscript"],
    "openvino": ["openvino"],
    "postgres": ["psycopg"],
    "serve": ["fastapi", "uvicorn"],
    "train": ["tensorboard"],
    "video": ["av"],
    "watch": ["watchfiles"],
}
BLOCKER = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            return None
        return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
CUT_OUT = """
import numpy as np
from mgm_core import cut_out
photo = np.full((48, 64, 3), 40, np.uint8)
mask = np.zeros((48, 64), bool)
photo[12:36, 16:48], mask[12:36, 16:48] = 200, True
assert cut_out(photo, mask=mask, quality="fast").alpha[24, 32] > 0.9
from mgm_core.__main__ import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked as pip does, beside PyTorch as it is installed here."""
    source, built, site = (tmp_path_factory.mktemp(n) for n in ("source", "built", "site"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    shutil.copytree(
        ROOT / "mgm_core", source / "mgm_core", ignore=shutil.ignore_patterns("__pycache__")
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", built, source], check=True
    )
    (wheel,) = built.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    return wheel, site


def run(site, code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=site,
        # Numba would compile all kernels anew in this place, for 20 s; as Python they do the same.
        env={**os.environ, "PYTHONPATH": str(site), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_library_alone(installed):
    wheel, _ = installed
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mgm_core"}
    assert "mgm_core/py.typed" in names
    weights = {path.name for path in (ROOT / "mgm_core" / "weights").iterdir()}
    assert weights <= {Path(name).name for name in names if "/weights/" in name}


def test_without_any_extra_the_library_works(installed):
    _, site = installed
    everything = sorted({name for names in IMPORTED.values() for name in names})
    done = run(site, BLOCKER.format(blocked=everything) + CUT_OUT)
    assert done.returncode == 0, done.stderr
    assert "usage: mgm" in done.stdout


def test_what_is_missing_is_named_with_its_extra(installed):
    _, site = installed
    clip = run(site, BLOCKER.format(blocked=["av"]) + "import mgm_core.video.files")
    assert "pip install 'mgm[video]'" in clip.stderr
    heic = "from mgm_core import read_image; read_image(b'\\0\\0\\0\\x18ftypheic' + bytes(20))"
    photo = run(site, BLOCKER.format(blocked=["pillow_heif"]) + heic)
    assert "ImageError" in photo.stderr
    assert "pip install 'mgm[heif]'" in photo.stderr


def test_an_engine_that_is_missing_is_named_with_its_extra(installed):
    _, site = installed
    missing = [
        ("onnxruntime", "onnxruntime", "onnx"),
        ("openvino", "openvino", "openvino"),
        ("openvino", "onnxscript", "openvino"),
    ]
    code = "import sys\nfrom mgm_core.engines.sessions import EngineError, check_engine\n"
    for engine, package, _ in missing:
        check = f"try:\n    check_engine({engine!r}, 'cpu', 'auto')\n"
        said = "except EngineError as error:\n    print(error)\n"
        code += f"finders = sys.meta_path[:]\n{BLOCKER.format(blocked=[package])}{check}{said}"
        code += "sys.meta_path[:] = finders\n"
    done = run(site, code)
    assert done.returncode == 0, done.stderr
    for (_, package, extra), said in zip(missing, done.stdout.splitlines(), strict=True):
        assert f"the package {package}, which is not installed: pip install 'mgm[{extra}]'" in said


def test_every_extra_is_known_to_these_tests():
    assert set(EXTRAS) == set(IMPORTED) | {"all"}
    assert Requirement(EXTRAS["all"][0]).extras == set(IMPORTED)


def test_the_version_stands_once_more_in_the_code():
    assert mgm_core.__version__ == PYPROJECT["project"]["version"]


def test_pins_are_those_of_the_lock_file():
    locked = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        locked[canonicalize_name(requirement.name)] = str(requirement.specifier)
    named = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]]
    named += [line for lines in EXTRAS.values() for line in lines]
    ranges = {canonicalize_name(r.name): r.specifier for r in map(Requirement, named)}
    ranges.pop("mgm")
    pins = {}
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if not line.startswith("-r "):
                pin = Requirement(line)
                assert re.fullmatch(r"==[\w.]+", str(pin.specifier))
                pins[canonicalize_name(pin.name)] = str(pin.specifier)
    assert pins == {name: locked[name] for name in pins}
    # Whoever has a cluster installs it there; its test runs where it is.
    ray = {canonicalize_name(Requirement(line).name) for line in EXTRAS["cluster"]}
    missing = set(ranges) - set(pins) - ray
    assert missing == set(), f"scripts/lock was not run for {missing}"
    for name, allowed in ranges.items():
        assert allowed.contains(locked[name].removeprefix("==")), f"{name}: run scripts/lock"
