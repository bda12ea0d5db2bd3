"""The endpoints, called as functions; `test_page.py` calls them over the network."""

import threading
import time

import gradio as gr
import numpy as np
import pytest
from demo_pictures import HEIGHT, WIDTH, photo_pixels, subject_mask
from PIL import Image

from demo.api import Api
from demo.backend.visits import LANES
from demo.controls import Controls
from mgm_core.images import encode_png, read_alpha, read_image, read_mask, write_image
from mgm_core.runtime.admission import Admission, Visitor


@pytest.fixture
def api(studio):
    return Api(studio, 1.0)


@pytest.fixture
def cutout(tmp_path):
    path = tmp_path / "cutout.png"
    path.write_bytes(encode_png(np.dstack([photo_pixels(), subject_mask()])))
    return str(path)


def test_a_program_chooses_a_label_and_ignores_transparency(api, photo, tmp_path):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[12:40, 16:40] = 15
    labels[:8, 50:] = 9
    Image.fromarray(labels).save(tmp_path / "labels.png")
    path = str(tmp_path / "labels.png")
    with pytest.raises(gr.Error, match="got a map of the labels 0, 9, 15"):
        api.matte(photo, path)
    alpha = read_mask(api.matte(photo, path, label=9)[1])
    assert alpha[2:6, 54:].min() > 0.95
    assert alpha[26, 28] == 0

    clear = np.ones((HEIGHT, WIDTH), np.float32)
    clear[:, :28] = 0
    (tmp_path / "clear.png").write_bytes(encode_png(np.dstack([photo_pixels(), clear])))
    given = str(tmp_path / "clear.png")
    for ignored, expected in ((False, 0), (True, 1)):
        cutout, _ = api.matte(given, ignore_transparency=ignored)
        assert read_alpha(cutout)[26, 22] == expected


def test_an_unknown_category_is_refused_with_a_mask_too(api, photo, mask):
    message = r"Category must be one of animal, .*, got 'persn'\. Choose one\."
    with pytest.raises(gr.Error, match=message):
        api.matte(photo, mask, category="persn")
    with pytest.raises(gr.Error, match=message):
        api.apply(photo, '{"own_mask": true, "category": "persn"}', mask)


@pytest.mark.parametrize("value", [None, float("inf"), float("nan"), "far", [1]])
def test_what_is_no_number_and_no_text_is_refused_in_words(api, photo, mask, value):
    with pytest.raises(gr.Error, match=r"Grow_px must be a number, got .*\. Correct it\."):
        api.matte(photo, mask, grow_px=value)
    if value is not None:
        with pytest.raises(gr.Error, match=r"Label must be a number, got .*\. Correct it\."):
            api.matte(photo, mask, label=value)
    for name in ("shift_px", "x_percent", "y_percent"):
        with pytest.raises(ValueError, match=rf"^{name} must be a number, got .*: correct it"):
            Controls().with_values(photo=photo, **{name: value}).order()
    with pytest.raises(ValueError, match="colour must look like #1a2b3c, got"):
        Controls().with_values(photo=photo, colour=value).order()
    with pytest.raises(gr.Error, match="Sizes must be whole numbers, got"):
        api.robustness(photo, mask, sizes=value)
    with pytest.raises(gr.Error, match="Settings must be"):
        api.apply(photo, value, mask)


def test_putting_a_cut_out_over_a_background_takes_a_turn_of_its_size(studio, cutout, tmp_path):
    admission, ended, made = Admission(LANES), [], []
    admission.on_end = ended.append
    api = Api(studio, 5.0)

    def ask(background=None):
        with admission.visit(Visitor("one")) as visit, visit.active():
            made.append(api.composite(cutout, background, "#0000ff"))

    asking = threading.Thread(target=ask)
    with admission.visit(Visitor("another")) as earlier:
        earlier.await_turn("photo")
        asking.start()
        deadline = time.monotonic() + 20
        while not admission.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # A large background waits for none of the small ones.
        write_image(tmp_path / "large.png", np.ones((2001, 2000), np.float32))
        ask(str(tmp_path / "large.png"))
        assert (admission.waiting, len(made)) == (1, 1)
    asking.join()
    assert [end.lane for end in ended] == ["large", "photo", "photo"]
    assert read_image(made[0])[0, 0] == pytest.approx([1, 1, 1])
    assert read_image(made[1])[0, 0] == pytest.approx([0, 0, 1])


def test_what_is_wrong_is_told_without_waiting_for_a_turn(api, photo, without_turns):
    with without_turns("photo"):
        with pytest.raises(gr.Error, match="Sizes must be whole numbers"):
            api.robustness(photo, sizes="four")
        with pytest.raises(gr.Error, match="A mask must come with these settings, got none"):
            api.apply(photo, '{"own_mask": true}')
        with pytest.raises(gr.Error, match="The background must be a picture, got none"):
            api.apply(photo, '{"background": {"kind": "picture"}}')


def test_a_composite_is_held_to_the_time_limit(api, studio, cutout):
    studio._max_seconds = 0
    for background in (None, cutout):
        with pytest.raises(gr.Error, match="A photo must take at most 0 s, took longer"):
            api.composite(cutout, background)
