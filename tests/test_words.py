"""Names and texts are in the field's words: none of our own earlier ones is left.

`mgm_core/runtime/renamed.py` alone holds old names, as they work for one version more; CHANGELOG.md
tells what they became.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_HOLD_OLD_WORDS = {
    "CHANGELOG.md",
    "LICENSE",
    "mgm_core/runtime/renamed.py",
    "tests/test_words.py",
}
# What was called so -> the field's word for it.
TEXTS = {
    r"colour[ _-]?lines": "matting Laplacian, refine",
    r"other[ _]looks?\b|\blooks at (once|twice)": "view (test-time augmentation)",
    r"\bweigh(er|ers|ed)\b|who decides": "fusion network",
    r"by[ _]samples": "sampling, sampled",
    r"\bundecided\b": "unknown region",
    "made_ready": "prepare_for_inference",
    r"\bstead(y|ier)\b|\blikeness\b": "temporal smoothing, similarity",
    r"kept[ _]examples": "cached examples",
    r"\bspoil(t|ed)? (it|the mask)\b": "damage",
    r"\bruns to\b": "ends at, direction",
    r"\btold\b(?! to stop)": "reported, shown, called with",
}
# As a whole part of an identifier: no function, class, argument or variable is called so.
IDENTIFIERS = {
    "carried",
    "closer",
    "closest",
    "kept",
    "likeness",
    "looks",
    "matted",
    "steadier",
    "told",
    "undecided",
    "weighed",
    "weigher",
}
# Functions are verbs, or nouns for what they return.
FUNCTIONS = IDENTIFIERS | {"corrected", "finished", "made", "ready", "started"}


def _tracked():
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not names:
        pytest.skip("needs the repository's list of files")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def _texts():
    for path in _tracked():
        name = path.relative_to(ROOT).as_posix()
        if name in MAY_HOLD_OLD_WORDS or name.startswith("tests/data/") or path.suffix == ".lock":
            continue
        content = path.read_bytes()
        if b"\0" not in content[:4096] and path.suffix != ".safetensors":
            yield name, content.decode()


def test_no_text_holds_a_word_that_the_field_does_not_use():
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: say {instead}"
        for name, text in _texts()
        for pattern, instead in TEXTS.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


def _identifiers(tree):
    """Return what a file names: the word and whether it is a function."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name, not name.startswith("test_")
            case ast.ClassDef(name=name):
                yield node.lineno, name, True
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name, False
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name, False


_JAVASCRIPT_NAME = re.compile(r"\b(function\*?|class|const|let|var)\s+([A-Za-z_$][\w$]*)")


def _parts(name):
    """Return the words of an identifier: `_MattedFrame` and `matted_frame` have two."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def test_no_identifier_is_a_word_that_the_field_does_not_use():
    found = [
        f"{name}:{line}: {identifier}"
        for name, text in _texts()
        if name.endswith(".py")
        for line, identifier, is_function in _identifiers(ast.parse(text))
        if not identifier.startswith("test_")
        and {*_parts(identifier)} & (FUNCTIONS if is_function else IDENTIFIERS)
    ]
    assert not found, "\n".join(found)


def test_no_name_in_javascript_is_a_word_that_the_field_does_not_use():
    names = [
        (name, match[2], match[1] in ("function", "function*", "class"))
        for name, text in _texts()
        if name.endswith((".js", ".mjs"))
        for match in _JAVASCRIPT_NAME.finditer(text)
    ]
    assert len(names) > 100
    found = [
        f"{name}: {identifier}"
        for name, identifier, is_function in names
        if {*_parts(identifier)} & (FUNCTIONS if is_function else IDENTIFIERS)
    ]
    assert not found, "\n".join(found)
