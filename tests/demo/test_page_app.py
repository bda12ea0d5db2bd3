"""The page as an app: what it keeps, what it offers, how it treats others, and who can use it."""

import re

import cv2
import numpy as np
import pytest
from axe import violations
from playwright.sync_api import expect
from real_page import (
    ASTRONAUT,
    GAMES,
    STORED,
    anew,
    cut_out,
    open_tab,
    saved,
    settled,
    upload,
    visit,
    wait_until_stored,
)

from mgm_core.images import read_image, write_image

pytestmark = pytest.mark.browser


# The first picture that the page fetches arrives when `release` is called.
FIRST_IS_LATE = """() => {
  const real = window.fetch;
  let begun = false;
  window.fetch = async (url, ...rest) => {
    const answer = await real(url, ...rest);
    if (!begun && String(url).includes("/file=")) {
      begun = true;
      await new Promise((done) => { window.release = done; });
    }
    return answer;
  };
}"""


def test_a_photo_and_its_settings_are_there_again_when_the_page_is_opened_anew(
    browser, address, tmp_path
):
    with visit(browser, address) as page:
        page.evaluate(FIRST_IS_LATE)
        cut_out(page, ASTRONAUT)
        grow = page.locator("#grow input[type=number]")
        grow.fill("7")
        grow.press("Enter")
        page.locator("#background label", has_text="Colour").click()
        before = saved(page, "#download-composite", tmp_path).read_bytes()
        whole = "return record?.values.shift_px === 7 && record.values.background === 'colour'"
        # What was kept first is written last, were it not waited for.
        page.wait_for_timeout(3000)
        page.evaluate("release()")
        page.wait_for_timeout(1000)
        wait_until_stored(page, whole)

        again = anew(page, address)
        offer = again.locator("#keeper .offer")
        expect(offer).to_contain_text("astronaut.png")
        expect(again.locator("#result")).to_have_count(0)
        offer.get_by_role("button", name="Go on with it").click()
        expect(again.locator("#note")).to_contain_text("found")
        expect(again.locator("#grow input[type=number]")).to_have_value("7")
        assert saved(again, "#download-composite", tmp_path).read_bytes() == before

        # After a day it is forgotten, or when the visitor says so.
        age = "record.at -= 1000 * 3600 * {hours}; all.put(record, 'photo'); return true"
        again.close()  # it keeps on keeping
        page.evaluate(STORED, age.format(hours=23))
        later = anew(page, address)
        expect(later.locator("#keeper .offer")).to_be_visible()
        page.evaluate(STORED, age.format(hours=2))
        wait_until_stored(page, "return Date.now() - record.at > 24 * 3600e3")
        latest = anew(page, address)
        wait_until_stored(latest, "return record === undefined")
        expect(latest.locator("#keeper .offer")).to_be_hidden()
        later.get_by_role("button", name="Forget it").click()
        expect(later.locator("#keeper .offer")).to_be_hidden()


def test_a_photo_over_another_and_an_example_chosen_again_are_shown_once_each(
    browser, address, tmp_path
):
    other, begun, shown = tmp_path / "other.png", [], []
    write_image(other, read_image(ASTRONAUT)[:, ::-1].copy())

    def look(request):
        if "/run/" not in request.url and "/queue/join" not in request.url:
            return
        first, *further = request.post_data_json["data"] or [None]
        # What begins a photo is given its path and a state, what shows it the view first of all.
        if isinstance(first, dict) and len(further) == 1:
            begun.append(first["path"].rsplit("/")[-1])
        elif first == "cut-out":
            shown.append(further[1]["path"].rsplit("/")[-1])

    with visit(browser, address) as page:
        page.on("request", look)
        cut_out(page, ASTRONAUT)
        upload(page, "#photo", other)
        expect(page.locator("#photo img")).to_have_attribute("src", re.compile("other"))
        page.wait_for_timeout(1000)
        settled(page)
        assert begun == shown == ["astronaut.png", "other.png"]
        begun.clear()
        for _ in range(2):
            page.locator("#examples button").first.click()
            page.wait_for_timeout(1000)
            settled(page)
        assert len(begun) == 2
        assert len(set(begun)) == 1


def test_a_photo_that_is_too_large_is_reduced_where_the_visitor_agrees(browser, address, tmp_path):
    write_image(tmp_path / "wall.jpg", np.full((3000, 5000, 3), 0.5, np.float32))
    photo = "document.querySelector('#photo img')"
    with visit(browser, address) as page:
        upload(page, "#photo", tmp_path / "wall.jpg")
        offer = page.locator("#keeper .offer")
        expect(offer).to_contain_text("wall.jpg has 15 megapixels; this page takes up to 12.")
        expect(page.locator("#result")).to_have_count(0)
        offer.get_by_role("button", name="Reduce it to 12 megapixels").click()
        expect(page.locator("#result")).to_be_visible()
        expect(offer).to_be_hidden()
        page.wait_for_function(f"![0, undefined, 5000].includes({photo}?.naturalWidth)")
        width, height = page.evaluate(f"[{photo}.naturalWidth, {photo}.naturalHeight]")
    assert 11.9e6 < width * height <= 12e6
    assert abs(width / height - 5 / 3) < 0.01


def test_a_photo_a_little_too_large_has_more_megapixels_than_the_page_takes(
    browser, address, tmp_path
):
    write_image(tmp_path / "wall.jpg", np.full((3010, 4000, 3), 0.5, np.float32))
    with visit(browser, address) as page:
        upload(page, "#photo", tmp_path / "wall.jpg")
        expect(page.locator("#keeper .offer")).to_contain_text(
            "wall.jpg has 12.1 megapixels; this page takes up to 12."
        )


def test_of_the_former_photo_neither_result_nor_corrections_stay(browser, address, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    sent = []
    with visit(browser, address, viewport={"width": 1400, "height": 1300}) as page:
        page.on("request", lambda request: sent.append(request.post_data or ""))
        cut_out(page, ASTRONAUT)
        page.check("#closely input")
        page.check("#editing input")
        editor = page.locator("#editor [data-edits]")
        expect(editor).to_have_attribute("data-edits", "0")
        page.click("#editor [data-do=damage]")
        expect(editor).to_have_attribute("data-edits", "1")
        settled(page)
        upload(page, "#photo", tmp_path / "broken.png")
        expect(page.locator("#note")).to_contain_text("Broken.png must be an image file")
        sent.clear()
        for shown in ("#editor img", "#closeup img"):
            assert not page.locator(f"{shown}[src]").count()
        page.click("#editor [data-do=damage]")
        page.uncheck("#closely input")
        assert not page.locator("#result img").count()
        with page.expect_request(lambda request: "queue/join" in request.url):
            page.locator("#view label", has_text="Mask").click()
        assert not any("damage" in data for data in sent)
        # The canvas of the same photo is there again, without its corrections.
        upload(page, "#photo", ASTRONAUT)
        expect(page.locator("#editor .chips button")).to_have_count(1)
        expect(editor).to_have_attribute("data-edits", "0")
        expect(page.locator("#result img")).to_have_count(2)


def test_what_is_under_way_is_not_shown_beside_the_next_photo(browser, address, tmp_path):
    large = cv2.resize(read_image(ASTRONAUT), (2010, 2010), interpolation=cv2.INTER_CUBIC)
    write_image(tmp_path / "large.jpg", large.clip(0, 1))
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    held = []

    def hold(route):
        first, *further = route.request.post_data_json["data"] or [None]
        # What begins a photo brings its path and a state.
        if isinstance(first, dict) and "broken.png" in first["path"] and len(further) == 1:
            held.append(route)
        else:
            route.continue_()

    with visit(browser, address) as page:
        upload(page, "#photo", tmp_path / "large.jpg")
        expect(page.locator("#note")).to_contain_text("found")
        # Over a slow network the former photo's result comes before the new photo begins.
        page.route("**/queue/join*", hold)
        upload(page, "#photo", tmp_path / "broken.png")
        expect(page.locator("#result img")).to_have_count(0)
        expect(page.locator("#result img")).to_have_count(2)
        held[0].continue_()
        expect(page.locator("#note")).to_contain_text("Broken.png must be an image file")
        expect(page.locator("#result img")).to_have_count(0)


def test_views_that_are_there_do_not_wait_for_another_visitors_large_photo(
    browser, address, tmp_path
):
    large = cv2.resize(read_image(ASTRONAUT), (2010, 2010), interpolation=cv2.INTER_CUBIC)
    write_image(tmp_path / "large.jpg", large.clip(0, 1))
    with visit(browser, address) as one, visit(browser, address) as other:
        cut_out(one, ASTRONAUT)
        seen = one.locator("#result img").last
        at_work = other.locator("#progress .progress-level")
        upload(other, "#photo", tmp_path / "large.jpg")
        expect(other.locator("#note")).to_contain_text("found")
        for name in ("Alpha", "Mask", "Cut-out"):
            before = seen.get_attribute("src")
            one.locator("#view label", has_text=name).click()
            expect(seen).not_to_have_attribute("src", before)
        expect(at_work).to_be_visible()
        # What the other one wants by now ends what he wanted before.
        other.locator("#quality label", has_text="Fast").click()
        other.locator("#view label", has_text="Mask").click()
        expect(at_work).to_have_count(0)


SIZES = [(1440, 900), (1024, 768), (390, 844)]


def ours(rule, markup):
    """Whether a finding is about markup of this project: Gradio names its own parts."""
    gradios = {"label-content-name-mismatch": "upload-container", "aria-prohibited-attr": "empty "}
    return gradios.get(rule, "\0") not in markup


@pytest.mark.parametrize(("size", "theme"), [*zip(SIZES, ("light", "dark", "dark"), strict=True)])
def test_nobody_is_kept_out(browser, address, size, theme):
    width, height = size
    viewport = {"width": width, "height": height}
    with visit(browser, address, viewport=viewport, color_scheme=theme) as page:
        expect(page.locator("#examples button").first).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)  # Gradio's own, of a part yet to come
        assert violations(page, ours) == {}
        page.locator("#examples button").nth(1).click()
        expect(page.locator("#result img").last).to_be_visible()
        expect(page.locator("#note")).to_contain_text("An example")
        expect(page.locator("#note")).to_have_attribute("aria-live", "polite")
        assert violations(page, ours) == {}
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width > 900:
            # The result and what it is saved by are seen without scrolling.
            for seen in ("#result", "#download-composite"):
                box = page.locator(seen).bounding_box()
                assert box["y"] + box["height"] <= height, seen
        else:
            top, below = (page.locator(part).bounding_box()["y"] for part in ("#result", "#photo"))
            assert top < below  # on a phone the result comes first
        page.check("#editing input")
        expect(page.locator("#editor .chips button")).to_have_count(1)
        assert violations(page, ours) == {}
        if width == 1024:
            return
        open_tab(page, "Play")
        others = ("Robustness", "Several photos", "Video", "About") if width == 1440 else ()
        for tab in (*GAMES, *others):
            open_tab(page, tab)
            assert violations(page, ours) == {}, tab


def test_the_first_page_is_light(browser, address):
    with visit(browser, address) as page:
        again = page.context.new_page()
        network = page.context.new_cdp_session(again)
        loaded = []
        network.on(
            "Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"])
        )
        network.send("Network.enable")
        again.goto(address)
        pictures = "[...document.querySelectorAll('#hero img, #examples img')]"
        again.wait_for_function(f"{pictures}.filter((image) => image.naturalWidth).length === 9")
        assert 500_000 < sum(loaded) < 1_500_000
