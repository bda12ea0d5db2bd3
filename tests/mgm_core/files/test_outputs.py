"""Which photographs become which files, and that nothing of the user's is ever replaced."""

import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgm_core import images
from mgm_core.__main__ import main
from mgm_core.batch import photograph
from mgm_core.choices import SegmenterError
from mgm_core.files.outputs import UsageError, check_outputs, plan
from mgm_core.images import encode_png, read_alpha, read_image, read_photo, write_image
from mgm_core.matting.matter import Matte, Matter
from mgm_core.runtime.reporting import Failures, reason_of
from mgm_core.segmentation import Segmenter

GREEN, RED = (0.2, 0.6, 0.3), (0.9, 0.2, 0.2)


def scene(height=24, width=32):
    image = np.empty((height, width, 3), np.float32)
    image[:], image[6:18, 8:24] = GREEN, RED
    return image


class FindsRed:
    def probability(self, image, category, *, long_side_px=None):
        return (image[..., 0] > 0.55).astype(np.float32)


class TakesGuidance:
    device = "cpu"

    def matte(self, image, guidance, **_):
        return Matte(*[guidance.astype(np.float32)] * 6)


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.setattr(Matter, "load", lambda *_, **__: TakesGuidance())
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: FindsRed())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, scene() if array is None else array)
    return path


def run(*arguments):
    return main([*map(str, arguments), "--foreground", "raw"])


def targets(*inputs, output="out", **options):
    found = plan([str(one) for one in inputs], output, **options)
    return [(job.source.as_posix(), job.target.as_posix()) for job in found.jobs]


# What is read is never written over


def test_masks_backgrounds_settings_and_photographs_are_never_written_over(here, capsys):
    photo, mask = write(here / "p" / "x.png"), write(here / "m" / "x.png", scene()[..., 0].round())
    write(here / "m" / "x_alpha.png")
    before = {path: path.read_bytes() for path in here.rglob("*.png")}
    (here / "link").symlink_to(here / "m")
    os.link(mask, here / "hard.png")
    for arguments in (
        ["p", "--mask", "m", "-o", "m"],
        ["p", "--mask", "m", "-o", "link"],
        ["p", "--mask", "m", "-o", "m/../link/."],
        ["p/x.png", "--mask", "m/x.png", "-o", "hard.png"],
        ["p/x.png", "-o", "p/x.png"],
        ["p/x.png", "-o", "p"],
        ["p/x.png", "-o", "y.png", "--mask", "m/x_alpha.png", "--background", "y.png"],
        ["p/x.png", "--mask", "m/x_alpha.png", "-o", "m/x.png", "--save-alpha", "--format", "png"],
    ):
        if "y.png" in arguments:
            (here / "y.png").write_bytes(photo.read_bytes())
        assert run(*arguments) == 2, arguments
        message = capsys.readouterr().err
        assert "no result may replace" in message, message
    (here / "y.png").unlink()
    (here / "hard.png").unlink()
    assert before == {path: path.read_bytes() for path in here.rglob("*.png")}
    settings = here / "settings.png"
    settings.write_text('{"version": 1}')
    assert run("p/x.png", "--settings", settings, "-o", settings) == 2
    assert settings.read_text() == '{"version": 1}'
    assert run("p", "--mask", "m", "-o", "out") == 0


def test_two_results_are_never_one_file(here):
    write(here / "a.png"), write(here / "a_alpha.jpg")
    jobs = plan(["a.png", "a_alpha.jpg"], "out", sides=["alpha"]).jobs
    written = [path for job in jobs for path in (job.target, *job.sides.values())]
    with pytest.raises(UsageError, match=r"must be a file of its own, but .*a_alpha\.png would be"):
        check_outputs(written, [])
    assert main(["a.png", "a_alpha.jpg", "-o", "out", "--save-alpha"]) == 2


def test_an_unnamed_result_beside_its_photograph_replaces_nothing(here):
    write(here / "a.jpg")
    other = write(here / "a.png")
    assert run("a.jpg", "-o", here) == 2
    np.testing.assert_array_equal(read_image(other), read_photo(other).image)
    assert read_photo(other).alpha is None
    assert run("a.jpg", "-o", here / "a.webp") == 0


@pytest.mark.parametrize("inputs", [["a/y.jpg", "b/x.jpg"], ["a", "b/x.jpg"]])
def test_a_photograph_beside_another_one_is_not_replaced(here, inputs, capsys):
    write(here / "a" / "y.jpg"), write(here / "b" / "x.jpg")
    other = write(here / "b" / "y.png")
    before = other.read_bytes()
    assert run(*inputs, "-o", "b/") == 2
    assert "no result may replace b/y.png, which lies beside a p" in capsys.readouterr().err
    assert other.read_bytes() == before


@pytest.mark.parametrize("options", [[], ["--skip-existing"]])
@pytest.mark.parametrize("output", [".", "a.png"])
@pytest.mark.parametrize("side", ["alpha", "foreground"])
def test_a_side_replaces_nothing_beside_the_photograph(here, capsys, side, output, options):
    write(here / "a.jpg")
    other = write(here / f"a_{side}.png")
    before = other.read_bytes()
    assert run("a.jpg", "-o", output, f"--save-{side}", *options) == 2
    assert f"no result may replace a_{side}.png, which lies beside a p" in capsys.readouterr().err
    assert other.read_bytes() == before
    assert not (here / "a.png").exists()
    assert run("a.jpg", "-o", "out/", f"--save-{side}", *options) == 0


def test_sides_of_an_earlier_run_do_not_keep_the_next_from_going_on(here, capsys):
    write(here / "a.jpg"), write(here / "b.jpg")
    command = ["-o", here, "--save-alpha", "--save-foreground", "--skip-existing"]
    assert run("a.jpg", *command) == 0
    before = {path: path.read_bytes() for path in here.glob("a*.png")}
    assert len(before) == 3
    assert run("a.jpg", "b.jpg", *command) == 0  # such as after an interruption
    assert "1 cut out, 1 skipped, 0 failed" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in here.glob("a*.png")}
    assert (here / "b_alpha.png").exists()
    # A result that was named may be made again, with its sides.
    for _ in range(2):
        assert run("a.jpg", "-o", "c.png", "--save-alpha") == 0


def test_what_is_missing_beside_a_finished_result_is_written(here, capsys):
    write(here / "p" / "a.jpg")
    assert run("p", "-o", "out") == 0
    finished = (here / "out" / "a.png").stat()
    assert run("p", "-o", "out", "--save-alpha", "--skip-existing", "--report", "r.jsonl") == 0
    assert read_image(here / "out" / "a_alpha.png").shape == scene().shape
    assert (here / "out" / "a.png").stat() == finished
    capsys.readouterr()
    assert run("p", "-o", "out", "--save-alpha", "--skip-existing", "--report", "r.jsonl") == 0
    rows = [json.loads(line) for line in (here / "r.jsonl").read_text("utf-8").splitlines()]
    assert [row["status"] for row in rows] == ["written", "skipped"]


# Names and folders


def test_photographs_of_one_name_keep_their_endings(here):
    for name in ("IMG_1.jpg", "IMG_1.png", "IMG_2.jpg", "img_2.webp", "b.jpg"):
        write(here / "p" / name)
    assert targets("p") == [
        ("p/IMG_1.jpg", "out/IMG_1_jpg.png"),
        ("p/IMG_1.png", "out/IMG_1_png.png"),
        ("p/IMG_2.jpg", "out/IMG_2_jpg.png"),
        ("p/b.jpg", "out/b.png"),
        ("p/img_2.webp", "out/img_2_webp.png"),
    ]


def test_every_picture_is_taken_and_everything_else_told(here, capsys):
    picture = Image.fromarray((scene() * 255).astype(np.uint8))
    (here / "p").mkdir()
    for name, kind in (("a.jfif", "JPEG"), ("b.jpe", "JPEG"), ("c.gif", "GIF"), ("d.TIF", "TIFF")):
        picture.save(here / "p" / name, kind)
    for name in ("._a.jpg", ".hidden.png", "Thumbs.db"):
        (here / "p" / name).write_bytes(b"no picture")
    (here / "p" / "notes.txt").write_text("left out")
    assert run("p", "-o", "out") == 0
    assert sorted(p.name for p in (here / "out").iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
    streams = capsys.readouterr()
    assert "4 cut out, 0 skipped, 0 failed" in streams.out
    assert "left out of p, as no pictures of a known kind: notes.txt\n" in streams.err
    assert "._a" not in streams.err


def test_masks_are_found_whatever_form_their_names_letters_have(here):
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    write(here / "p" / f"{composed}.jpg")
    write(here / "m" / f"{decomposed}.png")
    write(here / "m" / "._other.png")
    assert [job.mask.name for job in plan(["p"], "out", masks="m").jobs] == [f"{decomposed}.png"]
    write(here / "m" / f"{composed}.webp")
    with pytest.raises(UsageError, match=r"must have one mask, got .*Zoë.webp"):
        plan(["p"], "out", masks="m")


def test_a_second_run_does_not_take_its_own_results(here):
    write(here / "p" / "a.jpg"), write(here / "p" / "below" / "b.jpg")
    write(here / "p" / "masks" / "a.png")
    first = targets("p", output="p/out", recursive=True)
    for _, target in first:
        write(here / target)
    assert targets("p", output="p/out", recursive=True) == first
    found = plan(["p"], "p/out", recursive=True, masks=None)
    assert found.left_out == ("left out of p, as earlier results or masks: 3 files",)
    (here / "p" / "masks" / "a.png").unlink()
    with pytest.raises(UsageError, match="must be another folder than the photographs'"):
        plan(["p"], "p/.")


@pytest.mark.parametrize("output", [".", "p"])
def test_results_and_masks_may_lie_in_a_folder_around_the_photographs(here, output):
    write(here / "p" / "raw" / "a.jpg"), write(here / "p" / "a.png")
    found = plan(["p/raw"], output, masks="p")
    assert [(job.source, job.mask) for job in found.jobs] == [
        (Path("p/raw/a.jpg"), Path("p/a.png"))
    ]


@pytest.mark.parametrize("output", ["cut_v1.5/", "cut_v1.5", "cut.png/"])
def test_a_folder_may_have_a_dot(here, output):
    write(here / "p" / "a.jpg"), write(here / "p" / "b.jpg")
    assert [target for _, target in targets("p", output=output)] == [
        f"{output.rstrip('/')}/a.png",
        f"{output.rstrip('/')}/b.png",
    ]


def test_what_cannot_be_written_is_refused_before_the_work(here, capsys, monkeypatch):
    monkeypatch.setattr(photograph, "cut_out", None)
    photo = write(here / "a.jpg")
    (here / "file").touch()
    long = here / f"{'x' * 245}.jpg"
    photo.rename(long)
    write(photo)
    for arguments, message in (
        (["a.jpg", "-o", "a.gif"], "must end in .png, .webp"),
        (["a.jpg", "-o", "cut_v1.5"], "or end a folder's name with a slash"),
        (["a.jpg", "-o", "b.jpg"], "--background must be given for jpeg"),
        (["a.jpg", "-o", "b.png", "--format", "avif"], "must end in .avif for avif, got b.png"),
        (["a.jpg", "-o", "file/b.png"], "must be in a folder, got the file file"),
        (["a.jpg", "-o", "b.psd", "--keep-metadata"], "a format that holds EXIF, got psd"),
        (["a.jpg", "-o", "b.psd", "--light-wrap", "1"], "--light-wrap must be 0 for psd"),
        (["a.jpg", "-", "-o", "out"], "inputs must be '-' alone"),
        (["a.jpg", "-o", "-", "--save-alpha"], "must have a file beside them, got '-'"),
        ([long.name, "-o", "out", "--save-foreground"], "must have at most 255 bytes, got 260"),
    ):
        assert run(*arguments) == 2, arguments
        assert message in capsys.readouterr().err
    assert {p.name for p in here.iterdir()} == {"a.jpg", "file", long.name}


def test_a_name_may_be_as_long_as_the_disk_allows(here):
    name = "人" * 83  # 249 bytes
    assert run(write(here / f"{name}.jpg"), "-o", "out") == 0
    assert [p.name for p in (here / "out").iterdir()] == [f"{name}.png"]


def test_a_console_that_lacks_a_letter_shows_its_escape():
    script = (
        "from mgm_core.runtime.reporting import allow_any_name as a; a(); print('人物 \\udcff')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == rb"\u4eba\u7269 \udcff"


# Content


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("o.webp", []),
        ("o.webp", ["--format", "webp-lossless"]),
        ("o.tif", ["--format", "tiff16"]),
        ("o.avif", []),
        ("o.psd", ["--background", "#00ff00", "--shadow", "0.5"]),
        ("o.jpg", ["--background", "#00ff00"]),
    ],
)
def test_results_are_written_in_the_format_of_their_ending(here, name, options):
    write(here / "a.png")
    assert run("a.png", "-o", name, *options) == 0
    with Image.open(here / name) as seen:
        assert seen.size == (32, 24)
    if name.endswith(".psd"):
        from psd_tools import PSDImage

        assert [layer.name for layer in PSDImage.open(here / name)] == [
            "Background",
            "Shadow",
            "Subject",
        ]
    elif name != "o.jpg":
        np.testing.assert_allclose(read_alpha(here / name)[10, 16], 1, atol=0.01)
        np.testing.assert_allclose(read_image(here / name)[10, 16], RED, atol=0.03)


def test_resolution_stays_and_exif_only_when_it_is_wanted(here):
    tags = Image.Exif()
    tags[315] = "A. Photographer"
    picture = Image.fromarray((scene() * 255).astype(np.uint8))
    picture.save(here / "a.jpg", dpi=(300, 300), exif=tags, quality=95)
    assert run("a.jpg", "-o", "bare.png") == 0
    assert run("a.jpg", "-o", "kept.png", "--keep-metadata") == 0
    bare, tagged = read_photo(here / "bare.png"), read_photo(here / "kept.png")
    assert bare.dpi == tagged.dpi == pytest.approx((300, 300), abs=0.01)
    assert bare.exif == b""
    assert b"A. Photographer" in tagged.exif


def test_a_note_says_when_exif_cannot_be_written_again(here, monkeypatch, capsys):
    def unwritable(_):
        raise ValueError("a tag is of no known kind")

    monkeypatch.setattr(images, "_exif", unwritable)
    write(here / "a.jpg")
    assert run("a.jpg", "-o", "bare.png") == 0
    assert "EXIF" not in capsys.readouterr().err
    assert run("a.jpg", "-o", "kept.png", "--keep-metadata") == 0
    message = "a.jpg: its EXIF cannot be written again (a tag is of no known kind) and is left out."
    assert message in capsys.readouterr().err
    assert read_photo(here / "kept.png").exif == b""


def erased():
    """A photo whose left half was made transparent over colours that stayed."""
    pixels = np.dstack([scene(), np.ones((24, 32), np.float32)])
    pixels[:, :16, 3] = 0
    return pixels


def test_what_was_transparent_stays_so(here):
    (here / "a.png").write_bytes(encode_png(erased()))
    assert run("a.png", "-o", "o.png", "--save-foreground", "--save-alpha") == 0
    alpha = read_alpha(here / "o.png")
    assert (alpha <= erased()[..., 3]).all()
    assert alpha[10, 20] == 1
    assert not read_image(here / "o_foreground.png")[:, :16].any()
    assert not read_image(here / "o_alpha.png")[:, :16].any()
    assert run("a.png", "-o", "o.png", "--ignore-transparency") == 0
    assert read_alpha(here / "o.png")[10, 10] == 1


def test_what_was_transparent_in_the_background_does_not_come_back(here):
    hidden = erased()
    hidden[..., :3] = (0, 0, 1)
    (here / "behind.png").write_bytes(encode_png(hidden))
    write(here / "a.png")
    assert run("a.png", "-o", "o.png", "--background", "behind.png") == 0
    result = read_image(here / "o.png")
    np.testing.assert_allclose(result[2, 4], (1, 1, 1), atol=0.01)  # the margins' white
    np.testing.assert_allclose(result[2, 28], (0, 0, 1), atol=0.01)
    # Nor do the photo's own colours in a blur of it.
    pixels = erased()
    pixels[:, :16, :3] = (1, 0, 1)
    pixels[6:18, 8:24, :3] = RED
    (here / "a.png").write_bytes(encode_png(pixels))
    assert run("a.png", "-o", "o.png", "--background", "blur:10") == 0
    np.testing.assert_allclose(read_image(here / "o.png")[2, 2], GREEN, atol=0.02)


def test_labels_are_read_in_folders_too(here, capsys):
    labels = np.zeros((24, 32), np.uint8)
    labels[6:18, 8:16], labels[6:18, 16:24] = 15, 7
    one = np.where(labels == 15, labels, 0).astype(np.uint8)
    for name, plane in (("a", labels), ("b", one), ("c", np.zeros_like(one))):
        write(here / "p" / f"{name}.png")
        (here / "m").mkdir(exist_ok=True)
        Image.fromarray(plane).save(here / "m" / f"{name}.png")
    assert run("p", "--mask", "m", "-o", "out") == 1
    message = capsys.readouterr().err
    assert (
        "a.png must use the whole range from black to white, got a map of the labels 0, 7"
        in message
    )
    assert (here / "out" / "b.png").exists()
    assert run("p/b.png", "--mask", "m/b.png", "-o", "b.png") == 0
    assert "(guidance: the mask has label 15 of 0, 15; " in capsys.readouterr().out
    assert run("p", "--mask", "m", "-o", "out", "--label", "7") == 1
    message = capsys.readouterr().err
    assert "b.png must have label 7, got 0, 15: choose one" in message
    np.testing.assert_array_equal(read_alpha(here / "out" / "a.png"), labels == 7)


# Pipes, interruptions and faults


class _Stream:
    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_dash_reads_and_writes_the_pipe_and_says_the_rest_elsewhere(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", _Stream(encode_png(scene())))
    out = _Stream()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert run("-", "-o", "-", "--format", "webp") == 0
    assert out.text == ""
    assert read_alpha(out.buffer.getvalue())[10, 16] == 1
    assert "written  (guidance: person found" in capsys.readouterr().err
    assert not list(here.iterdir())


def test_an_interruption_ends_in_one_line(here, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        write(here / "p" / f"{name}.png")
    real = photograph.cut_out

    def interrupted(*arguments, **options):
        if (here / "out" / "a.png").exists():
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(photograph, "cut_out", interrupted)
    assert run("p", "-o", "out", "--workers", "1") == 130
    message = capsys.readouterr().err.splitlines()
    assert message[-1] == "stopped: 1 finished; --skip-existing goes on with the rest"
    assert "Traceback" not in "".join(message)


def test_a_fault_of_the_program_is_shown_once_at_the_end_with_the_rest_done(
    here, monkeypatch, capsys
):
    for name in ("a", "b", "c", "d"):
        write(here / "p" / f"{name}.png")
    real = photograph.cut_out
    errors = {
        "a": IndexError("a bug"),
        "b": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        "c": IndexError("a bug"),
    }
    names = iter("abcd")

    def broken(*arguments, **options):
        if error := errors.get(next(names)):
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(photograph, "cut_out", broken)
    assert run("p", "-o", "out", "--workers", "1") == 1
    streams = capsys.readouterr()
    assert "1 cut out, 0 skipped, 3 failed" in streams.out
    assert streams.err.count("Traceback (most recent call last)") == 1
    assert streams.err.rstrip().endswith("Please report this fault.")
    assert "failed: p/b.png: memory must be enough for the photo, got too little" in streams.err
    assert (here / "out" / "d.png").exists()


def test_reasons():
    assert reason_of(ValueError("x must be y")) == "x must be y"
    assert reason_of(MemoryError()).startswith("memory must be enough")
    assert reason_of(SegmenterError("x must be downloaded")) == "x must be downloaded"
    assert reason_of(KeyError("x")) is None
    assert reason_of(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    failures = Failures()
    failures.add("a", KeyError("x"))
    assert len(failures) == 1
