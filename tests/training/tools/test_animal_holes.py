import cv2
import numpy as np
import pytest

from training.data.held_out import HELD_OUT_ANIMALS
from training.data.sources import is_held_out
from training.tools.animal_holes import BRIGHT, LONG_SIDE_PX, composites, holes


def test_holes_are_parts_of_faint_alpha_deep_inside_what_is_solid():
    truth = np.zeros((100, 100), np.float32)
    truth[20:, 20:80] = 1
    alpha = truth.copy()
    assert holes(alpha, truth) == 0
    alpha[40:44, 40:44] = 0.5
    alpha[60:62, 50:60] = 0.89
    alpha[70, 40] = 0.95  # as good as solid
    alpha[50, 22:28] = 0  # near the edge
    alpha[99, 50] = 0  # at the picture's end, where the animal goes on
    assert holes(alpha, truth) == 3
    assert holes(np.zeros_like(truth), truth) == 1


@pytest.fixture
def folders(tmp_path):
    cutouts, backgrounds = tmp_path / "cutouts", tmp_path / "backgrounds"
    cutouts.mkdir()
    backgrounds.mkdir()
    for name in [*HELD_OUT_ANIMALS, "another"]:
        rgba = np.full((60, 40, 4), 200, np.uint8)
        rgba[..., 3] = 255
        rgba[:10, :, 3] = 0
        cv2.imwrite(str(cutouts / f"{name}.png"), rgba)
    names = [f"{i}" for i in range(200)]
    held_out = next(name for name in names if is_held_out(name, 8))
    used = next(name for name in names if not is_held_out(name, 8))
    for name, value in ((held_out, 90), (used, 10)):
        cv2.imwrite(str(backgrounds / f"{name}.png"), np.full((50, 50, 3), value, np.uint8))
    return cutouts, backgrounds


def test_animals_stand_over_what_is_held_out_three_of_them_in_the_bright(folders):
    made = list(composites(*folders))
    assert [animal.name for animal in made] == sorted(HELD_OUT_ANIMALS)
    for animal in made:
        height, width = animal.alpha.shape
        assert animal.image.shape == (height, width, 3)
        assert max(height, width) < 1.2 * LONG_SIDE_PX
        assert animal.alpha[0].max() == 0
        assert animal.alpha[-1].max() == 1  # none below
        np.testing.assert_allclose(animal.image[animal.alpha == 1], 200 / 255, atol=1e-5)
        ground = animal.image[animal.alpha == 0]
        if animal.name in BRIGHT:
            assert ground.min() > 0.6
        else:
            np.testing.assert_allclose(ground, 90 / 255, atol=1e-5)


def test_missing_animals_and_backgrounds_are_named(folders):
    cutouts, backgrounds = folders
    name = min(HELD_OUT_ANIMALS)
    (cutouts / f"{name}.png").unlink()
    with pytest.raises(ValueError, match=f"must hold the animals .*, got none named {name}:"):
        next(composites(cutouts, backgrounds))
    cv2.imwrite(str(cutouts / f"{name}.png"), np.full((9, 9, 4), 200, np.uint8))
    with pytest.raises(ValueError, match="backgrounds must hold photographs that are held out"):
        next(composites(cutouts, backgrounds, keep_out_percent=0))
