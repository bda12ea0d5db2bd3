"""A subject of any kind is followed from a mask of the first frame; by the bundled network."""

import cv2
import numpy as np
import pytest
from clips import make_clip

from mgm_core.cutout import NoSubjectError
from mgm_core.images import SubjectMask, encode_png, read_alpha
from mgm_core.models import Models
from mgm_core.recipe import Recipe
from mgm_core.video import __main__ as video
from mgm_core.video.__main__ import matte_clip
from mgm_core.video.files import Clip
from mgm_core.video.tracking import Tracker

HEIGHT, WIDTH, SIDE = 128, 288, 80
RECIPE = Recipe(quality="fast", category="dog", foreground="raw")


def texture(seed, height, width, scale):
    coarse = np.random.default_rng(seed).random((height // scale + 2, width // scale + 2, 3))
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


BEHIND = (0.2 + 0.5 * texture(1, HEIGHT, WIDTH, 20)) * (0.5, 0.9, 1.2)
COLOURS = (0.35, 0.1, 0.0) + texture(2, SIDE, SIDE, 12) * (0.65, 0.4, 0.2)
_Y, _X = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
_ANGLE, _RADIUS = np.arctan2(_Y, _X), np.hypot(_X, _Y)
STAR = np.clip((0.62 + 0.13 * np.cos(5 * _ANGLE) - _RADIUS) / 0.06 + 0.5, 0, 1)


def frame(number, x, turned_deg=0, *, hidden=False, pillar=None):
    """A star at column x before a background of its own colours; with noise, and its alpha.

    A pillar, from one column to another, stands before it.
    """
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turned_deg, 1)
    turn[:, 2] += (x - SIDE / 2, HEIGHT / 2 - SIDE / 2)
    alpha = cv2.warpAffine(STAR, turn, (WIDTH, HEIGHT)) * (not hidden)
    colours = cv2.warpAffine(COLOURS, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    image = alpha[..., None] * colours + (1 - alpha[..., None]) * BEHIND
    if pillar is not None:
        columns = slice(*pillar)
        width = columns.stop - columns.start
        image[:, columns] = (0.55, 0.5, 0.42) + 0.1 * texture(9, HEIGHT, width, 6)
        alpha[:, columns] = 0
    image += np.random.default_rng(number).normal(0, 0.01, image.shape)
    return image.clip(0, 1).astype(np.float32), alpha.astype(np.float32)


SCENES = {
    "moves 200 px": [frame(n, 44 + 10 * n) for n in range(21)],
    "moves 200 px, by 20": [frame(n, 44 + 20 * n) for n in range(11)],
    "turns": [frame(n, 140, 12 * n) for n in range(9)],
    "is hidden for 10 frames": [frame(n, 50 + 8 * n, hidden=3 <= n < 13) for n in range(17)],
}


PILLAR = (104, 184)
BEHIND_A_PILLAR = [frame(n, 50 + 16 * n, pillar=PILLAR) for n in range(12)]


class FindsNothing:
    def probability(self, image, category, *, long_side_px=None):
        return np.zeros(image.shape[:2], np.float32)


@pytest.fixture(scope="module")
def matter():
    return Models().matter()


def rough(alpha):
    return (cv2.GaussianBlur(alpha, (0, 0), 2) > 0.5).astype(np.float32)


def clip_of(path, frames):
    return make_clip(path, [image for image, _ in frames], options={"crf": "8"})


def errors_of(tmp_path, matter, frames):
    """Each frame's MSE, and that of the first frame's alpha, copied; in first frames' MSE."""
    alphas = [alpha for _, alpha in frames]
    with Clip(clip_of(tmp_path / "clip.mp4", frames)) as source:
        found = [
            done.alpha
            for done in matte_clip(
                source,
                tmp_path / "o.zip",
                FindsNothing(),
                matter,
                RECIPE,
                first_mask=SubjectMask(rough(alphas[0])),
            )
        ]
    errors = np.array([np.square(a - b).mean() for a, b in zip(found, alphas, strict=True)])
    copied = np.array([np.square(found[0] - alpha).mean() for alpha in alphas])
    return errors / errors[0], copied / errors[0]


@pytest.mark.parametrize("scene", SCENES)
def test_the_error_stays_below_twice_the_first_frames(tmp_path, matter, scene):
    errors, copied = errors_of(tmp_path, matter, SCENES[scene])
    assert max(errors) < 2, errors.round(2)
    assert max(copied) > 10  # a copied mask fails


def test_what_passes_behind_a_pillar_is_found_again(tmp_path, matter):
    errors, _ = errors_of(tmp_path, matter, BEHIND_A_PILLAR)
    areas = [alpha.sum() for _, alpha in BEHIND_A_PILLAR]
    whole = np.array(areas) > 0.99 * areas[0]
    assert whole[[0, -1]].all()
    assert min(areas) < 0.01 * areas[0]
    assert max(errors[whole]) < 2, errors.round(2)
    assert max(errors) < 15, errors.round(2)  # what begins to come into view is missed at first


def test_a_large_subject_is_followed():
    frames = [tuple(cv2.resize(p, None, fx=2.5, fy=2.5) for p in pair) for pair in SCENES["turns"]]
    tracker = Tracker()
    tracker.saw(*frames[0])
    image, alpha = frames[1]
    found = tracker.guidance(image, np.zeros_like(alpha))
    assert found.shape == alpha.shape
    assert np.abs(found - alpha).sum() < 0.1 * alpha.sum()


def colour(value):
    return np.full((HEIGHT, WIDTH, 3), value, np.float32)


def test_after_a_cut_the_segmenter_begins_anew():
    tracker = Tracker()
    (first, alpha), _ = SCENES["turns"][:2]
    tracker.saw(first, alpha)
    elsewhere = colour(0.9)
    probability = np.zeros((HEIGHT, WIDTH), np.float32)
    probability[20:60, 200:260] = 0.9
    probability[100:104, 10:14] = 0.9
    found = tracker.guidance(elsewhere, probability)
    np.testing.assert_array_equal(found, probability * (np.arange(WIDTH) > 100) > 0.5)
    assert not tracker.guidance(elsewhere, np.zeros_like(probability)).any()


def test_a_segmentation_that_agrees_is_joined_and_another_is_not():
    (first, alpha), (second, _) = SCENES["turns"][:2]
    for shift, joined in ((2, True), (60, False)):
        found = []
        probability = np.roll(cv2.dilate(rough(alpha), np.ones((9, 9))), shift, axis=1)
        for segmented in (np.zeros_like(alpha), probability):
            tracker = Tracker()
            tracker.saw(first, alpha)
            found.append(tracker.guidance(second, segmented))
        alone, both = found
        assert ((both > alone).sum() > 50) == joined


def test_the_command_takes_a_mask_of_the_clips_proportions(tmp_path, monkeypatch, caplog):
    frames = SCENES["turns"][:2]
    clip = clip_of(tmp_path / "clip.mp4", frames)
    mask = rough(frames[0][1])
    (tmp_path / "mask.png").write_bytes(encode_png(cv2.resize(mask, (WIDTH * 2, HEIGHT * 2))))
    command = [str(clip), "-o", str(tmp_path / "o"), "--foreground", "raw", "--category", "dog"]
    assert video.main([*command, "--mask", str(tmp_path / "mask.png")]) == 0
    alpha = read_alpha(tmp_path / "o" / "frame_00002.png")
    assert np.square(alpha - frames[1][1]).mean() < 0.003
    (tmp_path / "mask.png").write_bytes(encode_png(np.ascontiguousarray(mask[:, :100])))
    assert video.main([*command, "--mask", str(tmp_path / "mask.png")]) == 1
    assert "--mask must have the first frame's proportions, 288x128, got 100x128" in caplog.text
    assert video.main([*command, "--mask", str(clip)]) == 1


def test_an_empty_mask_is_refused(tmp_path, matter):
    clip = clip_of(tmp_path / "clip.mp4", SCENES["turns"][:1])
    empty = SubjectMask(np.zeros((HEIGHT, WIDTH), np.float32))
    with Clip(clip) as source, pytest.raises(NoSubjectError, match="got all values 0"):
        list(matte_clip(source, tmp_path / "o", FindsNothing(), matter, RECIPE, first_mask=empty))
