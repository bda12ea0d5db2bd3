"""What the texts point at is there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    path
    for folder in (".", "docs", "docs/experiments", "docs/images", "mgm_core/weights")
    for path in (ROOT / folder).glob("*.md")
)
_FENCES = re.compile(r"^\s*```.*?^\s*```", re.M | re.S)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")
_PATH = re.compile(
    r"`((?:mgm_core|training|demo|benchmark_data_tools|tests|docs|scripts)/[\w./-]+)`"
)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(text):
    prose = _FENCES.sub("", text.read_text(encoding="utf-8"))
    linked = {name: text.parent / name for name in _LINK.findall(prose)}
    named = {name: ROOT / name for name in _PATH.findall(prose)}
    assert [name for name, path in {**linked, **named}.items() if not path.exists()] == []


def test_modules_that_texts_start_are_there():
    commands = "\n".join(text.read_text(encoding="utf-8") for text in TEXTS)
    ours = r"(?:mgm_core|training|demo|benchmark_data_tools)(?:\.\w+)*"
    for module in sorted(set(re.findall(rf"python -m ({ours})", commands))):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_scripts_can_be_run():
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "scripts"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs a checkout")
    assert {line.split()[0] for line in listed.stdout.splitlines()} == {"100755"}
