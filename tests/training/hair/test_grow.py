import re
import sys

import cv2
import numpy as np
import portraits
import pytest
from portraits import HEIGHT, WIDTH
from scipy.ndimage import distance_transform_edt
from scipy.stats import norm

from mgm_core.compositing import composite
from mgm_core.images import read_image, write_image
from training.hair import grow as grown_hair
from training.hair.grow import HairSettings, grow_hair
from training.hair.strands import NODES, PIECES, Strands, draw_strands
from training.hair.styles import STYLES
from training.hair.subject import analyse, spread

UNIT = HEIGHT / 800
ALL_STYLES = ["none", *STYLES]


@pytest.fixture(scope="module")
def portrait():
    return portraits.portrait()


def grown(portrait, seed=0, **settings):
    return grow_hair(*portrait, np.random.default_rng(seed), HairSettings(**settings))


def test_the_same_seed_gives_the_same_cutout_and_another_seed_another(portrait):
    first, again, other = (grown(portrait, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.alpha, again.alpha)
    np.testing.assert_array_equal(first.foreground, again.foreground)
    assert abs(first.alpha - other.alpha).max() > 0.5


@pytest.mark.parametrize("style", ALL_STYLES)
def test_alpha_is_solid_inside_and_nothing_beyond_reach(portrait, style):
    inside = portrait[1] > 0
    settings = {"cloth_chance": 1, "motion_blur_chance": 1, "fly_away_chance": 1}
    for seed in range(3):
        cutout = grown(portrait, seed, style=style, reach=0.15, **settings)
        for array, shape in ((cutout.alpha, (HEIGHT, WIDTH)), (cutout.foreground, (320, 240, 3))):
            assert array.dtype == np.float32
            assert array.shape == shape
            assert array.min() >= 0
            assert array.max() <= 1
        # The outline is smoothed by 0.6 px before depths are taken.
        assert (cutout.alpha[distance_transform_edt(inside) > 12 * UNIT + 0.7] == 1).all()
        assert (cutout.alpha[distance_transform_edt(~inside) > 0.15 * HEIGHT] == 0).all()
        assert ((cutout.alpha == 0) | (cutout.alpha >= 1 / 512)).all()


@pytest.mark.parametrize("style", ALL_STYLES)
def test_no_old_background_is_left_in_the_foreground_anywhere(portrait, style):
    image, subject = portrait
    rough = cv2.dilate(subject, np.ones((3, 3)))
    foreground = grown((image, rough), style=style).foreground
    assert foreground[..., 2].max() == 0
    assert foreground[..., :2].max(-1).min() > 0.02


def test_background_inside_a_careless_mask_is_painted_over(portrait):
    image, subject = portrait
    careless = cv2.dilate(subject, np.ones((9, 9)))
    for seed in range(3):
        assert grown((image, careless), seed, style="none").foreground[..., 2].max() < 0.02


def test_the_inside_stays_as_photographed(portrait):
    image, _ = portrait
    face = np.s_[150:200, 100:140]
    np.testing.assert_array_equal(grown(portrait, style="long").foreground[face], image[face])


def test_composites_satisfy_the_compositing_equation(portrait):
    cutout = grown(portrait, style="wavy")
    black, white = (
        composite(cutout.foreground, cutout.alpha, np.full((HEIGHT, WIDTH, 3), value, np.float32))
        for value in (0, 1)
    )
    np.testing.assert_allclose(
        1 - (white - black), cutout.alpha[..., None].repeat(3, -1), atol=1e-6
    )
    seen = cutout.alpha > 0.01
    straight = black[seen] / cutout.alpha[seen][:, None]
    np.testing.assert_allclose(straight, cutout.foreground[seen], atol=1e-5)


def test_hair_grows_on_hair_and_fur_everywhere(portrait):
    outside = distance_transform_edt(portrait[1] == 0) > 4
    rows = np.arange(HEIGHT)[:, None]
    head, body = outside & (rows < 120), outside & (rows > 280)
    for seed in range(3):
        assert grown(portrait, seed, style="none").alpha[outside].max() == 0
        short = grown(portrait, seed, style="afro", fly_away_chance=0).alpha
        assert (short[head] > 0.1).sum() > 50
        assert short[body].max() == 0
        assert (grown(portrait, seed, style="fur").alpha[body] > 0.1).sum() > 10


def test_small_holes_of_the_mask_are_filled_and_large_ones_stay(portrait):
    image, subject = portrait
    holed = subject.copy()
    holed[190:200, 110:130] = 0
    holed[270:300, 60:180] = 0
    holed[310:, 100:110] = 0
    holed[5:8, 5:8] = 1
    alpha = grown((image, holed), style="none").alpha
    assert alpha[170:220, 90:150].min() == 1
    assert alpha[280:290, 80:160].max() == 0
    assert alpha[315:, 103:107].max() == 0
    assert alpha[:20, :20].max() == 0


def test_a_bald_head_grows_no_hair(portrait):
    image, subject = portrait
    bald = np.where(image[..., 2:] == 0, np.float32([0.9, 0.7, 0]), image)
    outside = distance_transform_edt(subject == 0) > 4
    assert grown((bald, subject), style="short").alpha[outside].max() == 0


def test_about_the_asked_share_has_no_hair(portrait):
    generator = np.random.default_rng(0)
    drawn = [grown_hair._draw_style(HairSettings(), generator) for _ in range(2000)]
    assert drawn.count(None) / 2000 == pytest.approx(0.15, abs=0.03)
    assert {id(style) for style in drawn if style} == {id(style) for style in STYLES.values()}


def test_cloth_is_translucent_only_near_the_edge(portrait):
    plain, thin = (grown(portrait, 1, style="none", cloth_chance=chance).alpha for chance in (0, 1))
    changed = plain != thin
    assert (plain - thin).max() > 0.1
    assert (plain >= thin).all()
    assert distance_transform_edt(portrait[1])[changed].max() < 12 * UNIT + 0.7


def test_motion_blur_softens_the_edge_and_leaves_the_inside(portrait):
    sharp, smeared = (
        grown(portrait, 1, style="none", cloth_chance=0, motion_blur_chance=chance)
        for chance in (0, 1)
    )
    soft = [((cutout.alpha > 0) & (cutout.alpha < 1)).sum() for cutout in (sharp, smeared)]
    assert soft[1] > 1.1 * soft[0]
    np.testing.assert_array_equal(
        smeared.foreground[150:200, 100:140], sharp.foreground[150:200, 100:140]
    )


def test_edge_profile_is_a_blurred_step_that_ends():
    sigmas = np.linspace(-4, 4, 81)
    profile = grown_hair._edge_profile(sigmas)
    assert profile[40] == pytest.approx(0.5)
    assert abs(profile[sigmas <= -2.5]).max() < 1e-12
    assert (profile[sigmas >= 2.5] == 1).all()
    assert abs(profile - norm.cdf(sigmas)).max() < 0.02


def test_a_drawn_strand_covers_its_width_in_its_colour():
    points = np.stack([np.full(NODES, 8.125), np.linspace(2, 29, NODES)], 1)
    colour = np.tile([0.2, 0.4, 0.8], (1, PIECES, 1))
    for width, opacity in ((0.75, 1.0), (1.25, 0.5)):
        strands = Strands(points[None], colour, np.full((1, PIECES), width))
        layer = draw_strands(strands, (32, 16), 0.3, opacity, supersampling=4)
        drawn = np.zeros((32, 16, 4))
        drawn[layer.rows, layer.columns] = layer.premultiplied
        middle = drawn[8:24]
        np.testing.assert_allclose(middle[..., 3].sum(1), width * opacity, rtol=0.01)
        centre = middle[..., 3] @ np.arange(16) / middle[..., 3].sum(1)
        np.testing.assert_allclose(centre, 8.125, atol=0.15)
        seen = middle[..., 3] > 1e-3
        straight = middle[seen][:, :3] / middle[seen][:, 3:]
        np.testing.assert_allclose(straight, np.tile([0.2, 0.4, 0.8], (seen.sum(), 1)), atol=1e-3)


def test_strands_outside_the_picture_draw_nothing():
    strands = Strands(np.full((1, NODES, 2), -50.0), np.ones((1, PIECES, 3)), np.ones((1, PIECES)))
    layer = draw_strands(strands, (32, 16), 0.3, 1, supersampling=4)
    picture = np.ones((32, 16, 4))
    assert picture[layer.rows, layer.columns].shape == layer.premultiplied.shape
    assert layer.premultiplied.size == 0


def test_spread_takes_the_nearest_value():
    generator = np.random.default_rng(0)
    where = generator.random((24, 30)) < 0.03
    picture = np.stack(np.indices(where.shape), -1).astype(np.float32)
    sources = np.argwhere(where)
    found = spread(picture, where)
    for pixel in np.ndindex(where.shape):
        best = np.linalg.norm(sources - pixel, axis=1).min()
        # OpenCV's distance is itself approximate by 2 %.
        assert np.linalg.norm(found[pixel] - pixel) <= 1.03 * best
        assert where[tuple(found[pixel].astype(int))]


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_flow_lies_along_the_stripes_of_hair(portrait, degrees):
    image, subject = portrait
    across = np.deg2rad(degrees + 90)
    rows, columns = np.indices(subject.shape)
    stripes = np.sin(1.2 * (columns * np.cos(across) + rows * np.sin(across)))
    hair = (image[..., 2] == 0) & (image[..., 0] < 0.5) & (rows < 220)
    striped = np.where(
        hair[..., None], [0.3, 0.15, 0] + 0.1 * stripes[..., None] * [1, 0.5, 0], image
    ).astype(np.float32)
    flow = analyse(striped, subject, uncertain_px=5).flow
    top = flow[60:75, 100:140].mean((0, 1))
    error = np.arctan2(top[1], top[0]) / 2 - np.deg2rad(degrees)
    assert abs(np.sin(error)) < 0.12
    assert np.hypot(*top) > 0.5


def test_hair_is_told_from_skin_and_clothes(portrait):
    hairiness = analyse(*portrait, uncertain_px=5).hairiness
    assert hairiness[60:80, 100:140].min() > 0.7
    assert hairiness[160:190, 105:135].max() < 0.2
    assert hairiness[270:, 60:180].max() < 0.2


def test_blur_of_the_photograph_is_measured():
    generator = np.random.default_rng(0)
    image = generator.random((200, 160, 3), np.float32)
    mask = np.zeros((200, 160))
    mask[20:, 30:130] = 1
    sigmas = [
        analyse(cv2.GaussianBlur(image, (0, 0), sigma), mask, uncertain_px=5).blur_px
        for sigma in (0.3, 0.8, 1.2)
    ]
    assert sigmas == sorted(sigmas)
    assert sigmas[2] == pytest.approx(1.2, abs=0.3)


BLANK = np.zeros((100, 80, 3), np.float32)
SPECKS = np.pad((np.indices((98, 78)).sum(0) % 8 == 0) * (np.indices((98, 78))[0] % 4 == 0), 1)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (BLANK[..., 0], BLANK[..., 0], "image must be of shape (H, W, 3), got (100, 80)"),
        (BLANK, np.zeros((80, 100)), "mask must have the image's size (100, 80), got (80, 100)"),
        (BLANK, np.zeros((100, 80)), "mask must show a subject and a background, got 0% subject"),
        (BLANK, SPECKS, "mask must show one subject, got only pieces of less than 1 % of it: "),
        (BLANK, np.ones((100, 80)), "mask must show a subject and a background, got 100% subject"),
        (BLANK, np.eye(100)[:, :80], "mask must be deeper than 1 px somewhere, got 0."),
    ],
)
def test_bad_input_is_refused(image, mask, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        grow_hair(image, mask, np.random.default_rng(0))


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["grown_hair", *map(str, arguments)])
    grown_hair.main()


def test_command_writes_cutouts_and_a_sheet(portrait, tmp_path, monkeypatch):
    for folder, array in (("images", portrait[0]), ("masks", portrait[1])):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "a.png", array)
    arguments = ["--images", tmp_path / "images", "--masks", tmp_path / "masks", "--seed", 3]
    arguments += ["--count", 2, "--style", "fur"]
    command(monkeypatch, *arguments, "--out", tmp_path / "one", "--sheet", tmp_path / "sheet.png")
    command(monkeypatch, *arguments, "--out", tmp_path / "two")
    names = ["a_00000.png", "a_00001.png"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    written = cv2.imread(str(tmp_path / "one" / names[0]), cv2.IMREAD_UNCHANGED)
    assert written.shape == (HEIGHT, WIDTH, 4)
    assert len(np.unique(written[..., 3])) > 50
    assert read_image(tmp_path / "sheet.png").shape == (640, 1600, 3)


def test_command_leaves_unsuitable_portraits_out(portrait, tmp_path, monkeypatch, caplog):
    for name, mask in (("a", portrait[1]), ("blank", np.zeros_like(portrait[1]))):
        for folder, array in (("images", portrait[0]), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / f"{name}.png", array)
    arguments = ["--images", tmp_path / "images", "--masks", tmp_path / "masks", "--style", "none"]
    command(monkeypatch, *arguments, "--count", 6, "--out", tmp_path / "out")
    assert "left out blank.png: mask must show a subject" in caplog.text
    written = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(written) == 6 - len(caplog.records) > 0
    assert all(name.startswith("a_") for name in written)


def test_command_refuses_folders_without_pairs(tmp_path, monkeypatch):
    for folder, name in (("images", "a.png"), ("masks", "b.png")):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / name, np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match=r"images and masks must share file names, got none in "):
        command(
            monkeypatch,
            *("--images", tmp_path / "images", "--masks", tmp_path / "masks"),
            *("--count", 1, "--out", tmp_path / "out"),
        )
