"""What tests of several parts share."""

from pathlib import Path

import pytest

from mgm_core.images import read_image

ASTRONAUT = Path(__file__).parent / "data" / "photos" / "astronaut.png"
CAT = Path(__file__).parents[1] / "demo" / "examples" / "pictures" / "chelsea.png"


@pytest.fixture(scope="session")
def pictures():
    """The photographs that the project ships, by name."""
    return {path.stem: read_image(path) for path in (ASTRONAUT, CAT)}
