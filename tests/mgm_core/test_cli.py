import numpy as np
import pytest

from mgm_core.__main__ import main
from mgm_core.images import read_alpha, read_image, write_image


@pytest.fixture
def photos(tmp_path, pictures):
    """A folder with two portraits, one in a folder below, and a broken file."""
    folder = tmp_path / "photos"
    small = np.ascontiguousarray(pictures["astronaut"][:320:2, 60:380:2])
    write_image(_in(folder / "a.jpg"), small)
    write_image(_in(folder / "below" / "b.png"), small[:, ::-1].copy())
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    return folder


def _in(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_astronaut_becomes_a_cutout_with_soft_edges_and_no_background_tint(
    tmp_path, pictures, capsys
):
    photo = tmp_path / "astronaut.png"
    write_image(photo, pictures["astronaut"])
    target = tmp_path / "cutout.png"
    assert main([str(photo), "-o", str(target), "--save-alpha", "--save-foreground"]) == 0
    assert "portrait: person at 0.5" in capsys.readouterr().out
    alpha, colours = read_alpha(target), read_image(target)
    soft = (alpha > 0.05) & (alpha < 0.95)
    assert 0.005 < soft.mean() < 0.2  # hair is not a hard edge
    assert alpha[200:500, 150:250].mean() > 0.98
    assert alpha[:150, 430:].mean() < 0.02
    # Behind the hair on the left is a flag and a bright wall: the hair must stay dark.
    hair = soft & (np.arange(512)[:, None] < 160) & (np.arange(512)[None] < 300)
    image = pictures["astronaut"]
    assert hair.sum() > 100
    assert colours[hair].mean() < image[hair].mean() - 0.05
    sixteen = read_image(tmp_path / "cutout_alpha.png")[..., 0]
    np.testing.assert_allclose(sixteen, alpha, atol=0.5 / 255 + 1e-6)
    assert (tmp_path / "cutout_foreground.png").is_file()


def test_one_bad_file_does_not_stop_the_rest(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(photos), "-o", str(out), "--recursive"]) == 1
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.png")} == {"a.png", "below/b.png"}
    streams = capsys.readouterr()
    assert "2 cut out, 0 skipped, 1 failed" in streams.out
    assert "broken.jpg" in streams.err
    before = (out / "a.png").stat().st_mtime_ns
    (photos / "broken.jpg").unlink()
    assert main([str(photos), "-o", str(out), "--recursive", "--skip-existing"]) == 0
    assert "0 cut out, 2 skipped, 0 failed" in capsys.readouterr().out
    assert (out / "a.png").stat().st_mtime_ns == before


def test_masks_trimaps_and_backgrounds(photos, tmp_path, capsys):
    trimap = np.full((160, 160), 128 / 255, np.float32)
    trimap[:20], trimap[60:, 40:120] = 0, 1
    write_image(tmp_path / "trimap.png", trimap)
    target = tmp_path / "over.png"
    photo, guidance = str(photos / "a.jpg"), str(tmp_path / "trimap.png")
    assert main([photo, "-o", str(target), "--trimap", guidance, "--background", "#00ff00"]) == 0
    composite = read_image(target)
    assert composite.shape == (160, 160, 3)
    assert (composite[:20] == [0, 1, 0]).all()  # known background is enforced
    np.testing.assert_allclose(composite[60:, 40:120], read_image(photo)[60:, 40:120], atol=2 / 255)
    for background in ("blur:4", photo):
        assert main([photo, "-o", str(target), "--mask", guidance, "--background", background]) == 0
    assert "a trimap" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg", "-o", "x.png"], "inputs must exist, got none.jpg"),
        (["PHOTOS", "-o", "x.png"], "--output must be a folder for several"),
        (["A", "-o", "A"], "must not be the photograph itself"),
        (["A", "-o", "x.png", "--mask", "none.png"], "the mask must exist, got none.png"),
        (["A", "-o", "x.png", "--threshold", "3"], "--threshold must lie between 0 and 1, got 3"),
        (["A", "-o", "x.png", "--background", "green"], "--background must be '#rrggbb'"),
        (["A", "-o", "x.png", "--weights", "prn_x"], "weights must be a file or one of"),
        (["A", "-o", "x.png", "--device", "tpu"], "device must be auto"),
    ],
)
def test_a_wrong_command_line_says_what_to_do(photos, capsys, arguments, message):
    known = {"PHOTOS": str(photos), "A": str(photos / "a.jpg")}
    assert main([known.get(a, a) for a in arguments]) == 2
    assert message in capsys.readouterr().err


def test_two_photographs_of_one_name_are_not_written_over_each_other(photos, tmp_path, capsys):
    (photos / "a.png").write_bytes((photos / "below" / "b.png").read_bytes())
    assert main([str(photos), "-o", str(tmp_path / "out")]) == 2
    assert "would both become" in capsys.readouterr().err


def test_a_photograph_without_a_person(tmp_path, capsys):
    write_image(tmp_path / "grey.png", np.full((64, 64, 3), 0.5, np.float32))
    assert main([str(tmp_path / "grey.png"), "-o", str(tmp_path / "out.png")]) == 1
    assert "the photo must show a person" in capsys.readouterr().err
