"""The notebook, run as Jupyter runs it."""

import base64
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "integrations" / "cut_out.ipynb"


# Its event loop and its sockets to the kernel are the library's own to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_notebook_runs_and_shows_a_cutout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))  # as `pip install .` would
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [
        np.asarray(Image.open(BytesIO(base64.b64decode(output.data["image/png"]))))
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    cutout, alpha, green = pictures
    assert cutout.shape[2] == 4
    assert (cutout[..., 3] == 255).mean() > 0.1
    assert (cutout[..., 3] == 0).mean() > 0.1
    assert alpha.shape == cutout.shape[:2]
    assert (green[:4, :4] == [0, 177, 64]).all()
    said = "".join(output.get("text", "") for output in outputs)
    lines = [line.split(": ") for line in said.splitlines()[:2]]
    error = {name: float(value.split()[0]) for name, value in lines}
    assert error["alpha by a rough mask"] < error["the rough mask itself"] / 2
    assert said.rstrip().endswith("kB")
