"""All that Numba compiles is compiled ahead, and once: a photograph asks for nothing more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from mgm_core.images import read_image, write_image

ROOT = Path(__file__).parents[3]
SAMPLING = "mgm_core.matting.sampling"
# In a process of its own, as in this one other tests have compiled some of it.
PROGRAM = """
import gc, json, sys
from numba.core.dispatcher import Dispatcher
from mgm_core import cut_out
from mgm_core.engines.compile import compile_kernels

def variants():
    found = (o for o in gc.get_objects() if isinstance(o, Dispatcher))
    return {
        f"{o.py_func.__module__}.{o.py_func.__name__}": len(o.signatures)
        for o in found
        if o.py_func.__module__.startswith("mgm_core")
    }

compile_kernels()
ahead = variants()
cut_out(sys.argv[1], quality="best")
cut_out(sys.argv[1], quality="fast")
print(json.dumps([ahead, variants()]))
"""


def test_a_photograph_waits_for_no_compiler(tmp_path):
    curls = read_image(ROOT / "demo" / "examples" / "pictures" / "curls.jpg")
    photo = tmp_path / "curls.png"
    write_image(photo, np.ascontiguousarray(curls[:640, 100:900]))  # wider than a tile
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(photo)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    ahead, later = json.loads(done.stdout)
    # `_mix` is part of the kernels that call it.
    assert {name for name, count in ahead.items() if count != 1} <= {f"{SAMPLING}._mix"}
    assert {f"{SAMPLING}._gather", "mgm_core.foreground.multilevel._relax"} <= ahead.keys()
    assert later == ahead
