"""The real page and files as people have them: labels, transparency, a clip's first mask."""

import cv2
import numpy as np
import pytest
from clips import make_clip, read_movie
from PIL import Image
from playwright.sync_api import expect
from real_page import (
    ASTRONAUT,
    anew,
    cut_out,
    saved,
    settled,
    upload,
    visit,
    wait_until_stored,
)

from mgm_core.images import encode_png, read_alpha, read_image, read_mask

pytestmark = pytest.mark.browser
FACE, WALL = np.s_[70:140, 190:230], np.s_[10:200, 400:500]


def write_erased_and_labels(folder):
    """Write a photo without the left half of her face, and a map of labels; return the labels."""
    photo = read_image(ASTRONAUT)
    erased = np.ones(photo.shape[:2], np.float32)
    erased[:, :210] = 0
    (folder / "erased.png").write_bytes(encode_png(np.dstack([photo, erased])))
    labels = np.zeros(photo.shape[:2], np.uint8)
    labels[40:500, 100:330] = 15
    labels[WALL] = 9
    Image.fromarray(labels).save(folder / "labels.png")
    return labels


def test_labels_and_transparency_are_chosen(browser, address, tmp_path):
    labels = write_erased_and_labels(tmp_path)
    with visit(browser, address, viewport={"width": 1400, "height": 1300}) as page:
        upload(page, "#photo", tmp_path / "erased.png")
        expect(page.locator("#note")).to_contain_text("What is transparent in the photo stays so")
        settled(page)
        alpha = read_alpha(saved(page, "#download-cutout", tmp_path))
        assert alpha[:, :210].max() == 0
        assert alpha[70:140, 212:230].min() > 0.9
        page.locator("#ignore-transparency input").check()
        expect(page.locator("#note")).not_to_contain_text("stays so")
        settled(page)
        assert read_alpha(saved(page, "#download-cutout", tmp_path))[FACE].min() > 0.9
        page.get_by_role("button", name="Your own mask").click()
        upload(page, "#mask", tmp_path / "labels.png")
        expect(page.locator("#note")).to_contain_text("label 15 of 0, 9, 15")
        guidance = read_mask(saved(page, "#download-guidance", tmp_path))
        np.testing.assert_array_equal(guidance, labels == 15)
        page.click("#label input")
        page.get_by_role("option", name="9 (").click()
        expect(page.locator("#note")).to_contain_text("label 9 of 0, 9, 15")
        guidance = read_mask(saved(page, "#download-guidance", tmp_path))
        np.testing.assert_array_equal(guidance, labels == 9)


def test_a_label_and_ignored_transparency_are_there_again(browser, address, tmp_path):
    write_erased_and_labels(tmp_path)
    with visit(browser, address, viewport={"width": 1400, "height": 1300}) as page:
        cut_out(page, tmp_path / "erased.png")
        page.locator("#ignore-transparency input").check()
        page.get_by_role("button", name="Your own mask").click()
        upload(page, "#mask", tmp_path / "labels.png")
        expect(page.locator("#note")).to_contain_text("label 15 of 0, 9, 15")
        page.click("#label input")
        page.get_by_role("option", name="9 (").click()
        expect(page.locator("#note")).to_contain_text("label 9 of 0, 9, 15")
        whole = "return record?.values.label === 9 && record.values.ignore_transparency"
        wait_until_stored(page, whole)
        again = anew(page, address)
        again.get_by_role("button", name="Go on with it").click()
        expect(again.locator("#note")).to_contain_text("label 9 of 0, 9, 15")
        settled(again)
        expect(again.locator("#note")).to_contain_text("label 9 of 0, 9, 15")
        expect(again.locator("#note")).not_to_contain_text("stays so")
        expect(again.locator("#ignore-transparency input")).to_be_checked()


def test_a_clip_follows_what_its_first_mask_shows(browser, address, tmp_path):
    rng = np.random.default_rng(3)
    texture = cv2.resize(rng.random((9, 13, 3)).astype(np.float32), (192, 128)) * 0.5
    frames = []
    for x in (40, 50, 60):
        frame = texture.copy()
        cv2.circle(frame, (x, 64), 24, (1.0, 0.45, 0.1), -1)
        frames.append(frame)
    clip = make_clip(tmp_path / "ball.mp4", frames)
    with visit(browser, address) as page:
        page.get_by_role("tab", name="Video").click()
        page.set_input_files("#clip input[type=file]", str(clip))
        expect(page.locator("#clip video")).to_be_visible()
        page.locator("#clip-follow > button").click()
        first = read_image(saved(page, "#clip-first-frame", tmp_path))
        mask = (first[..., 0] > 0.7).astype(np.float32)
        (tmp_path / "mask.png").write_bytes(encode_png(mask))
        upload(page, "#clip-mask", tmp_path / "mask.png")
        expect(page.locator("#clip-mask img")).to_be_visible()
        page.click("#clip-run")
        expect(page.locator("#clip-note")).to_contain_text("3 frames.")
        movie = read_movie(saved(page, "#clip-download", tmp_path), "libvpx-vp9")
    for (_, _, pixels), x in zip(movie, (40, 50, 60), strict=True):
        assert pixels[50:78, x - 14 : x + 14, 3].min() > 0.9
        assert pixels[:, x + 40 :, 3].max() < 0.1


def test_another_clip_ends_and_empties_what_was_made_of_the_one_before(browser, address, tmp_path):
    photo = cv2.resize(read_image(ASTRONAUT), (192, 192), interpolation=cv2.INTER_AREA)
    short = make_clip(tmp_path / "short.mp4", [photo] * 2)
    long = make_clip(tmp_path / "long.mp4", [photo] * 200)
    with visit(browser, address) as page:
        page.get_by_role("tab", name="Video").click()

        def choose(clip):
            if page.locator("#clip video").count():
                page.locator("#clip").get_by_label("Clear").click()
            page.set_input_files("#clip input[type=file]", str(clip))
            expect(page.locator("#clip video")).to_be_visible()

        choose(short)
        page.click("#clip-run")
        expect(page.locator("#clip-note")).to_contain_text("2 frames.")
        expect(page.locator("#clip-run")).to_be_enabled()
        choose(long)
        expect(page.locator("#clip-note")).to_have_text("The result will be here.")
        expect(page.locator("#clip-result")).to_have_count(0)
        expect(page.locator("#clip-download")).to_be_disabled()
        page.click("#clip-run")
        expect(page.locator("#clip-note")).to_contain_text("of 200")
        expect(page.locator("#clip-run")).to_be_disabled()
        choose(short)
        expect(page.locator("#clip-note")).to_have_text("The result will be here.")
        expect(page.locator("#clip-latest img")).to_have_count(0)
        page.click("#clip-run")
        expect(page.locator("#clip-note")).to_contain_text("2 frames.")
