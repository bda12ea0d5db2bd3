from io import BytesIO
from pathlib import Path

import av
import gradio as gr
import numpy as np
import pytest
from demo_pictures import HEIGHT, SUBJECT, WIDTH, photo_pixels, results_left, subject_mask
from PIL import Image

from demo.backend.memory import Memory
from demo.backend.models import Models
from demo.backend.studio import Studio
from demo.backend.visits import LANES
from demo.controls import Controls
from demo.play.card import share_card
from demo.play.handlers import PlayHandlers, Score, in_words
from demo.play.loop import KERNELS_PX, encode_gif, encode_mp4, loop_frame, there_and_back
from demo.play.loupe import most_partial
from mgm_core.images import encode_png, read_image
from mgm_core.runtime.admission import Admission, Visitor
from mgm_core.runtime.cancellation import Cancelled

DEFAULTS = Controls().with_values(category="person", foreground="raw")
SCRIBBLE = [{"tool": "add", "size_px": 8, "points": [[20.0, 20.0], [34.0, 32.0]]}]


@pytest.fixture
def handlers(studio):
    return PlayHandlers(studio)


@pytest.fixture
def values(photo):
    return DEFAULTS.with_values(photo=photo).values()


def test_the_card_shows_photo_mask_and_result(handlers, values):
    path = handlers.card(*values)
    assert Path(path).name == "portrait-card.jpg"
    card = read_image(path)
    assert card.shape == (24 + HEIGHT + 46, 2 * 24 + 3 * WIDTH + 2 * 12, 3)
    panels = [card[24 : 24 + HEIGHT, 24 + n * (WIDTH + 12) :][:, :WIDTH] for n in range(3)]
    photo = photo_pixels()
    assert np.abs(panels[0] - photo)[26, 28].max() < 0.05
    assert panels[1][26, 28, 2] > photo[26, 28, 2] + 0.2  # tinted where the mask is
    assert panels[2][2, 2].min() > 0.7  # tiles where the background was
    assert np.abs(panels[2] - photo)[26, 28].max() < 0.05
    assert card[24 + HEIGHT :].min() < 0.5  # captions


def test_large_pictures_are_reduced_on_the_card():
    tall = np.full((2000, 500, 3), 0.5, np.float32)
    assert share_card([("A", tall), ("B", tall)]).shape == (24 + 800 + 46, 48 + 2 * 200 + 12, 3)


def test_a_photo_that_cannot_be_read_leaves_the_sheet_empty(handlers, values, photo):
    assert handlers.blank(*values)[0] is not None
    Path(photo).write_bytes(b"no picture")
    assert handlers.blank(*values) == (None, [])


def test_a_scribble_is_cut_out_and_scored(handlers, values, matter):
    canvas, edits = handlers.blank(*values)
    assert (canvas["width"], canvas["edits"], edits) == (WIDTH, [], [])
    canvas = handlers.scribbled(SCRIBBLE, *values)
    assert canvas["edits"] == SCRIBBLE
    pictures, score, best = handlers.play(SCRIBBLE, None, gr.Progress(), *values)
    assert [caption for _, caption in pictures] == ["Your mask", "Its cut-out", "By the good mask"]
    good, scribble = (guidance for guidance, _ in matter.seen[:2])
    np.testing.assert_array_equal(good, subject_mask())
    assert 0 < scribble.sum() < 300
    assert set(np.unique(scribble)) == {0, 1}
    assert "SAD in thousands" in score
    assert f"Best so far: {best:.0f} %" in score
    # A worse one later leaves the best as it is.
    assert handlers.play(SCRIBBLE, 99.0, gr.Progress(), *values)[2] == 99
    # Quality is the fast one, whatever the page's.
    assert matter.refined == ["off", "off"]


def test_a_long_scribble_ends_at_the_time_limit(studio, values):
    studio._max_seconds = 0
    with pytest.raises(gr.Error, match="A photo must take at most 0 s, took longer"):
        PlayHandlers(studio).scribbled(SCRIBBLE, *values)


def test_the_score_is_the_share_that_was_mended():
    assert Score(20, 5).mended_percent == 75
    assert in_words(Score(20, 5), 80).startswith("**75 % mended.** Your mask is wrong by 20.0")
    assert in_words(Score(20, 25), 80).startswith("**Made 25 % worse.**")
    assert Score(0, 0).mended_percent == 0


def test_without_paint_or_photo_there_is_no_game(handlers, values):
    with pytest.raises(gr.Error, match="mask must have some paint, got none"):
        handlers.play([], None, gr.Progress(), *values)
    with pytest.raises(gr.Error, match="A photo must be given"):
        handlers.play(SCRIBBLE, None, gr.Progress(), *DEFAULTS.values())
    assert handlers.blank(*DEFAULTS.values()) == (None, [])


def test_the_loop_is_computed_mask_by_mask(handlers, values, matter):
    *frames, (gif, as_gif, as_mp4, measured) = handlers.loop(gr.Progress(), *values)
    assert len(frames) == len(KERNELS_PX)
    # The reference is the unperturbed one, which is computed once.
    areas = [guidance.sum() for guidance, _ in matter.seen]
    assert len(areas) == len(KERNELS_PX)
    assert len(set(areas)) > 5
    with Image.open(gif) as loop:
        assert loop.n_frames == 2 * len(KERNELS_PX) - 2
        assert loop.size == (2 * WIDTH, HEIGHT)
    assert [Path(b.value["path"]).name for b in (as_gif, as_mp4)] == [
        "portrait-loop.gif",
        "portrait-loop.mp4",
    ]
    assert measured.startswith("The mask moves by -30 to 30 px: it changes by up to ")


def test_the_loop_keeps_no_result_at_full_size(segmenter, matter, values, monkeypatch):
    left = results_left(monkeypatch, "demo.play.handlers.trials")
    forgetful = Memory(max_bytes=1, keep_s=600)
    studio = Studio(Models(lambda: matter, lambda _: segmenter), forgetful, max_megapixels=1.0)
    list(PlayHandlers(studio).loop(gr.Progress(), *values))
    assert len(left) > 5
    assert max(left) <= 2


def test_a_stopped_loop_ends(handlers, values):
    admission = Admission(LANES)
    with admission.visit(Visitor("a")) as visit, visit.active():
        running = handlers.loop(gr.Progress(), *values)
        next(running)
        visit.token.cancel()
        with pytest.raises((Cancelled, gr.Error)):
            list(running)


def frames_of(levels):
    return [np.full((20, 30, 3), level, np.uint8) for level in levels]


def test_there_and_back_has_every_step_once_each_way():
    levels = [frame[0, 0, 0] for frame in there_and_back(frames_of([1, 2, 3, 4, 5]))]
    assert levels == [3, 4, 5, 4, 3, 2, 1, 2]


def test_gif_and_mp4_hold_the_frames():
    levels = [20, 120, 220]
    with Image.open(BytesIO(encode_gif(frames_of(levels)))) as gif:
        assert gif.info["loop"] == 0
        for n, level in enumerate(levels):
            gif.seek(n)
            assert np.abs(np.asarray(gif.convert("RGB"), int) - level).max() <= 3
    with av.open(BytesIO(encode_mp4(frames_of(levels)))) as movie:
        read = [frame.to_ndarray(format="rgb24") for frame in movie.decode(video=0)]
    assert len(read) == 4 * len(levels)
    for frame, level in zip(read, levels * 4, strict=True):
        assert np.abs(frame.astype(int) - level).max() <= 6


def test_frames_of_a_loop_have_even_sides():
    wide = np.zeros((333, 1001, 3), np.float32)
    assert loop_frame(wide, wide).shape == (160, 960, 3)


def test_the_loupe_begins_in_the_hair(handlers, values):
    alpha = np.zeros((120, 240), np.float32)
    alpha[40:, 60:180] = 1
    alpha[20:40, 100:120] = 0.5
    x, y = most_partial(alpha)
    assert 100 <= x < 120
    assert 20 <= y < 40
    shown = handlers.look(gr.Progress(), *values)
    assert (shown["width"], shown["height"]) == (WIDTH, HEIGHT)
    # The stand-in's levels differ by their values.
    levels = [read_image(level["path"])[0, 0, 0] for level in shown["levels"]]
    assert levels[:3] == pytest.approx([0.1, 0.2, 0.3], abs=0.01)


def test_another_tools_cut_out_or_matte_is_compared(handlers, values, tmp_path):
    theirs = np.zeros((HEIGHT, WIDTH), np.float32)
    theirs[12:40, 16:36] = 1
    (tmp_path / "other.png").write_bytes(encode_png(np.dstack([photo_pixels(), theirs])))
    (tmp_path / "matte.png").write_bytes(encode_png(theirs))
    for name in ("other.png", "matte.png"):
        path = str(tmp_path / name)
        column, (ours, other), pair, note = handlers.compare(path, "alpha", gr.Progress(), *values)
        np.testing.assert_allclose(read_image(other)[..., 0], theirs, atol=0.01)
        assert read_image(ours)[26, 38, 0] > 0.9  # where they differ
        assert pair["after"]["path"] == other
        assert column.visible
        assert note.startswith("They differ by 0.1")
        _, (_, other), *_ = handlers.compare(path, "cut-out", gr.Progress(), *values)
        assert read_image(other)[26, 38].min() > 0.7  # tiles
        _, (_, other), *_ = handlers.compare(path, "difference", gr.Progress(), *values)
        assert read_image(other)[26, 38].mean() > 2 * read_image(other)[26, 28].mean()


def test_what_cannot_be_compared_is_refused(handlers, values, tmp_path):
    with pytest.raises(gr.Error, match="Another result must be given, got none"):
        handlers.compare(None, "alpha", gr.Progress(), *values)
    square = np.zeros((HEIGHT, HEIGHT), np.float32)
    square[SUBJECT] = 1
    (tmp_path / "square.png").write_bytes(encode_png(square))
    with pytest.raises(gr.Error, match=r"must have the photo's proportions, 64x48, got 48x48"):
        handlers.compare(str(tmp_path / "square.png"), "alpha", gr.Progress(), *values)
    half = np.dstack([photo_pixels(), subject_mask()])[::2, ::2]
    (tmp_path / "half.png").write_bytes(encode_png(np.ascontiguousarray(half)))
    _, (_, other), *_ = handlers.compare(
        str(tmp_path / "half.png"), "alpha", gr.Progress(), *values
    )
    assert read_image(other).shape[:2] == (HEIGHT, WIDTH)
