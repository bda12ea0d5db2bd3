import pytest
from annotation_samples import make_dataset

from benchmark_data_tools.annotation.storage.store import Store


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "portraits")


@pytest.fixture
def store(dataset):
    made = Store.create(dataset)[0]
    yield made
    made.engine.dispose()
