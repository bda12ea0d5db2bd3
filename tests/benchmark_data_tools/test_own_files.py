"""No command of the benchmarks writes where it reads."""

import numpy as np
import pytest

from benchmark_data_tools.__main__ import _refuse_within, main
from mgm_core.files.outputs import UsageError
from mgm_core.images import write_image


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "sheet_01.png", np.full((8, 8, 3), 0.5, np.float32))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["worst", "{}", "--out", "{}/sheet_01.png"],
        ["photos", "{}", "--out", "{}"],
        ["report", "{}", "--out", "{}/../{name}"],
    ],
)
def test_what_is_read_is_never_written_over(folder, capsys, command):
    before = (folder / "sheet_01.png").read_bytes()
    assert main([part.format(folder, name=folder.name) for part in command]) == 2
    assert "sheet_01.png" in capsys.readouterr().err
    assert (folder / "sheet_01.png").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["sheet_01.png"]


def test_results_do_not_go_into_a_folder_that_is_read(folder):
    image = folder / "sheet_01.png"
    with pytest.raises(UsageError, match="that nothing is read from, got"):
        _refuse_within(folder / "below" / "..", [image])
    _refuse_within(folder / "below", [image])
