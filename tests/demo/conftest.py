from contextlib import contextmanager

import pytest
from demo_pictures import FakeMatter, FakeSegmenter, photo_pixels, subject_mask
from real_page import chromium, served

from demo.backend.memory import Memory
from demo.backend.models import Models
from demo.backend.studio import Studio
from demo.backend.visits import LANES
from mgm_core.images import write_image
from mgm_core.runtime.admission import Admission, Visitor


@pytest.fixture
def without_turns():
    """A visit for which there is no turn in a lane: whoever waits for one ends with an error."""

    @contextmanager
    def visiting(lane):
        admission = Admission(LANES)
        with (
            admission.visit(Visitor("another")) as earlier,
            admission.visit(Visitor("one")) as visit,
            visit.active(),
        ):
            earlier.await_turn(lane)
            visit.token.cancel()
            yield

    return visiting


@pytest.fixture
def segmenter():
    return FakeSegmenter()


@pytest.fixture
def matter():
    return FakeMatter()


@pytest.fixture
def memory():
    return Memory(max_bytes=10**8, keep_s=600)


@pytest.fixture
def studio(segmenter, matter, memory):
    return Studio(Models(lambda: matter, lambda name: segmenter), memory, max_megapixels=1.0)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "portrait.png"
    write_image(path, photo_pixels())
    return str(path)


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / "mask.png"
    write_image(path, subject_mask())
    return str(path)


@pytest.fixture(autouse=True)
def _uploads_are_files_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("server")) as url:
        yield url


# Of one module: while it is open, no other test can run an event loop of its own.
@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
