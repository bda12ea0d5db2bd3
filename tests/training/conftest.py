"""What tests of training share."""

import pytest
from training_data import write_training_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder with a little training data of each kind."""
    root = tmp_path_factory.mktemp("data")
    write_training_data(root)
    return root
