"""What every tab owes to phones, keyboards, screen readers and other visitors."""

import re
import zipfile

import numpy as np
import pytest
from clips import make_clip, read_movie
from gradio_client import Client, handle_file
from playwright.sync_api import expect
from real_page import ASTRONAUT, open_tab, saved, upload, visit

from demo.examples import EXAMPLES, PICTURES
from mgm_core.images import read_alpha, read_image, write_image

TABS = ("Cut out", "Robustness", "Play", "Several photos", "Video", "About")
CONTROLS = "button|textbox|checkbox|radio|slider|spinbutton|combobox|listbox|link"

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_stands_out_at_the_side_of_a_phone(browser, address, theme):
    viewport = {"width": 360, "height": 740}
    with visit(browser, address, viewport=viewport, color_scheme=theme) as page:
        expect(page.locator("#photo")).to_be_visible()
        for name in TABS:
            open_tab(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_every_control_has_a_name_for_who_does_not_see_it(browser, address):
    with visit(browser, address) as page:
        upload(page, "#photo", ASTRONAUT)
        expect(page.locator("#note")).to_contain_text("found")
        for name in TABS:
            open_tab(page, name)
            closed = page.locator("button.label-wrap:not(.open):visible")
            while closed.count():
                closed.first.click()
            expect(page.locator("#examples button")).to_have_count(len(EXAMPLES))
            lines = page.locator("body").aria_snapshot().splitlines()
            controls = [line for line in lines if re.match(rf"\s*- ({CONTROLS})\b", line)]
            assert len(controls) > (1 if name == "About" else 3)
            unnamed = [line for line in controls if not re.match(r'\s*- \w+ "[^"]', line)]
            assert unnamed == [], name


@pytest.mark.parametrize(
    ("tab", "wanted"),
    [
        ("Several photos", ["Click to upload", "Cut out", "Cut out a", "Files"]),
        ("Video", ["video file here to upload", "Cut out", "Cut out a"]),
    ],
)
def test_everything_is_reached_by_keyboard(browser, address, tab, wanted):
    with visit(browser, address) as page:
        open_tab(page, tab)
        reached = ""
        for _ in range(40):
            page.keyboard.press("Tab")
            reached += page.evaluate(
                """() => { const at = document.activeElement;
                  const group = at.closest("fieldset");
                  return [at.ariaLabel, at.innerText, group && group.innerText].join(" ") + "\\n";
                }"""
            )
    for name in wanted:
        assert name in reached


def test_several_photos_become_one_archive(browser, address, tmp_path):
    cat = PICTURES / "chelsea.png"
    with visit(browser, address) as page:
        open_tab(page, "Several photos")
        page.set_input_files("#photos input[type=file]", [str(ASTRONAUT), str(cat)])
        expect(page.locator("#photos")).to_contain_text("KB")
        expect(page.locator("#batch-stop")).to_be_hidden()
        page.click("#batch-run")
        expect(page.locator("#batch-stop")).to_be_visible()
        expect(page.locator("#batch-download")).to_be_enabled()
        expect(page.locator("#batch-stop")).to_be_hidden()
        expect(page.locator("#batch-note")).to_contain_text("1 of 2 cut out, 1 failed")
        expect(page.locator("#batch-note")).to_contain_text(
            "chelsea.png: The photo must show a person"
        )
        expect(page.locator("#batch-gallery img")).to_have_count(1)
        archive = saved(page, "#batch-download", tmp_path)
    with zipfile.ZipFile(archive) as files:
        assert files.namelist() == ["astronaut-cutout.png", "failed.txt"]
        alpha = read_alpha(files.read("astronaut-cutout.png"))
    assert alpha[70:140, 185:235].min() > 0.98  # her face
    assert alpha[10:200, 350:400].max() < 0.02  # the wall beside her


def test_a_clip_is_cut_out_and_played(browser, address, tmp_path):
    photo = np.ascontiguousarray(read_image(ASTRONAUT)[::2, ::2])
    clip = make_clip(tmp_path / "her.mp4", [photo] * 3, sound="aac")
    with visit(browser, address) as page:
        open_tab(page, "Video")
        page.set_input_files("#clip input[type=file]", str(clip))
        expect(page.locator("#clip video")).to_be_visible()
        page.click("#clip-run")
        expect(page.locator("#clip-stop")).to_be_visible()
        expect(page.locator("#clip-download")).to_be_enabled()
        expect(page.locator("#clip-stop")).to_be_hidden()
        expect(page.locator("#clip-note")).to_contain_text("3 frames.")
        expect(page.locator("#clip-result video")).to_be_visible()
        movie = read_movie(saved(page, "#clip-download", tmp_path), "libvpx-vp9")
    assert [name for _, name, _ in movie] == ["yuva420p"] * 3
    alpha = movie[-1][2][..., 3]
    assert alpha[35:70, 93:117].min() > 0.95
    assert alpha[5:100, 175:200].max() < 0.05


def test_visitors_do_not_see_each_others_pictures(browser, address, tmp_path):
    """Two at once, each with a photo of his own; then a third, who has only guesses."""
    # Without the helmet, of which the segmenter is not sure: there rounding decides.
    head, mirrored = tmp_path / "head.png", tmp_path / "mirrored.png"
    write_image(head, read_image(ASTRONAUT)[:360, 60:420].copy())
    write_image(mirrored, read_image(head)[:, ::-1].copy())
    clients = [Client(address, verbose=False, download_files=str(tmp_path)) for _ in range(2)]
    jobs = [
        client.submit(photo=handle_file(str(photo)), api_name="/matte")
        for client, photo in zip(clients, (head, mirrored), strict=True)
    ]
    (own, _), (other, _) = (job.result(timeout=180) for job in jobs)
    own_alpha, other_alpha = read_alpha(own), read_alpha(other)
    assert np.abs(own_alpha - other_alpha[:, ::-1]).mean() < 0.04  # a network is not quite mirrored
    assert np.abs(own_alpha - other_alpha).mean() > 0.2
    with visit(browser, address) as first, visit(browser, address) as second:
        upload(first, "#photo", ASTRONAUT)
        expect(first.locator("#note")).to_contain_text("found")
        expect(second.locator("#note")).not_to_be_visible()
        assert second.locator("#photo img").count() == 0
        seen = first.locator("#result img").first.get_attribute("src")
        name = seen.rpartition("/")[2]
        # A file's folder is a keyed hash: its name alone opens nothing.
        guess = second.request.get(seen.replace(seen.split("/")[-2], "0" * 64))
        assert name in seen
        assert guess.status in (403, 404)
