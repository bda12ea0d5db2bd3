import json

import numpy as np
import pytest

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.clips import clip_errors, dtssd, find_clips, make_clips
from mgm_core.images import read_image, read_mask, write_image

# By evaluation/evaluate_lr.py of github.com/PeterL1n/RobustVideoMatting at 17d1774, run on the
# clip of `drawn` below, means over its frames.
PUBLISHED = {"mad": 33.911132, "mse": 4.2490641, "grad": 0.016648903, "dtssd": 5.7575861}


def drawn():
    """Five frames of alpha and true alpha, in eighths so that every machine has the same."""
    rows, columns = np.mgrid[0:48, 0:64]
    for time in range(5):
        truth = np.clip(((columns - 20 - 2 * time) ** 2 + (rows - 24) ** 2) / 128, 0, 8)
        guess = np.clip(((columns - 22 - time) ** 2 + (rows - 23) ** 2) / 128, 0, 8)
        yield tuple((1 - np.floor(plane) / 8).astype(np.float32) for plane in (guess, truth))


def test_errors_are_those_of_the_published_code():
    errors = clip_errors(drawn())
    for name, value in PUBLISHED.items():
        assert getattr(errors, name) == pytest.approx(value, rel=2e-5), name


def test_steadiness_by_hand():
    one, half = (np.full((4, 4), v, np.float32) for v in (1, 0.5))
    assert dtssd(one, half, one, half) == 0  # both change alike
    assert dtssd(one, half, one, one) == pytest.approx(50)
    with pytest.raises(ValueError, match="frames must be some, got none"):
        clip_errors([])


def test_clips_are_made_matted_and_measured(tmp_path, pictures, capsys):
    image = np.ascontiguousarray(pictures["astronaut"][:384:3, 60:444:3])
    alpha = np.zeros(image.shape[:2], np.float32)
    alpha[20:, 30:100] = 1
    data, out = tmp_path / "data", tmp_path / "out"
    make_clips(data, [(image, alpha)], [pictures["chelsea"]], frames=3)
    (folder,) = find_clips(data).values()
    assert len(list((folder / "com").iterdir())) == 3
    frames = [read_image(folder / "com" / f"000{n}.png") for n in range(2)]
    truths = [read_mask(folder / "pha" / f"000{n}.png") for n in range(2)]
    assert np.abs(frames[0] - frames[1]).max() > 0.2
    assert np.abs(truths[0] - truths[1]).max() > 0.2
    command = ["video", str(data), "--out", str(out), "--device", "cpu"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "| smoothing 0 | 1 |" in said
    assert "| smoothing 0.7 | 1 |" in said
    rows = json.loads((out / "rows.json").read_text())
    assert [row["way"] for row in rows] == ["smoothing 0", "smoothing 0.7"]
    assert rows[0]["mad"] != rows[1]["mad"]
    made = [
        (read_mask(out / "smoothing-0" / "generated" / "0000" / "pha" / f"000{n}.png"), truth)
        for n, truth in enumerate(truths)
    ]
    assert made[0][0].shape == alpha.shape
    levels = np.zeros(alpha.shape, np.float32)
    levels[20:, 30:100] = 5 / 255  # as faint as a map of labels
    levels[40:, 60:80] = 3 / 255
    write_image(folder / "pha" / "0001.png", levels)
    assert main([*command[:3], str(tmp_path / "followed"), "--first-mask"]) == 0
    assert "| followed | 1 |" in capsys.readouterr().out


def test_clips_that_are_not_complete_are_refused(tmp_path):
    with pytest.raises(ValueError, match="data must hold SET/CLIP/com and SET/CLIP/pha, got none"):
        find_clips(tmp_path)
    (tmp_path / "set" / "clip" / "pha").mkdir(parents=True)
    write_image(tmp_path / "set" / "clip" / "pha" / "0.png", np.zeros((16, 16), np.float32))
    with pytest.raises(ValueError, match="set/clip must have the same names in com and pha, got 0"):
        find_clips(tmp_path)
