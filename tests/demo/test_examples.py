import json

import numpy as np
import pytest

from demo.backend.studio import over_tiles
from demo.examples import EXAMPLES, PICTURES, manifest
from demo.examples.__main__ import computed, digest
from demo.play.loop import KERNELS_PX
from demo.web.gallery import claim
from mgm_core.images import read_image, read_mask
from mgm_core.models import Models

RERUN = "run python -m demo.examples and look at the pictures"


def test_results_are_of_the_weights_and_settings_of_now():
    assert manifest()["hashes"] == digest(), RERUN


def test_a_result_is_what_the_bundled_weights_give():
    cat = next(e for e in EXAMPLES if e.photo == "chelsea.png")
    made = computed(cat, Models(device="cpu"))
    shown = over_tiles(made.foreground, made.alpha, made.recipe)
    # JPEG and bf16 differ by a level or two from machine to machine.
    assert np.abs(shown - read_image(cat.result_path)).mean() < 2 / 255, RERUN


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.photo)
def test_every_file_is_there(example):
    photo = read_image(example.photo_path)
    assert read_image(example.result_path).shape == photo.shape
    assert example.thumbnail_path.stat().st_size < 20_000
    if example.mask_path is not None:
        assert read_mask(example.mask_path).shape == photo.shape[:2]


def test_the_hero_is_small_and_says_what_was_measured():
    assert (PICTURES / "hero.webp").stat().st_size < 400_000
    measured = json.loads((PICTURES / "manifest.json").read_text())["hero"]
    assert tuple(measured["kernels_px"]) == KERNELS_PX
    subject = measured["subject_thousands"]
    mask, result = (100 * max(measured[f"{p}_sad_thousands"]) / subject for p in ("mask", "alpha"))
    assert f"{mask:.1f} % of the subject" in claim()
    assert f"up to {result:.1f} %" in claim()
    assert result < mask
