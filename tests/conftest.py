"""What tests of several parts share."""

from pathlib import Path

import pytest

from mgm_core.images import read_image

EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"


@pytest.fixture(scope="session")
def pictures():
    """The photographs that the project ships, by name."""
    return {path.stem: read_image(path) for path in EXAMPLES.iterdir() if path.suffix != ".md"}
