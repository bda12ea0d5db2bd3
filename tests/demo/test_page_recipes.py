"""The real page: what is chosen there is in the pixels that are downloaded."""

import json
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from playwright.sync_api import expect
from real_page import (
    ASTRONAUT,
    PATIENCE_MS,
    ROOT,
    cut_out,
    one_thread,
    saved,
    settled,
    upload,
    visit,
)

from mgm_core.compositing import (
    blurred_background,
    cast_shadow,
    composite,
    fit_background,
    gradient_background,
    rgba_over_shadow,
    soft_shadow,
    solid_background,
)
from mgm_core.images import read_alpha, read_image, read_mask, write_image
from mgm_core.recipe import Recipe

pytestmark = pytest.mark.browser
WIDE = {"width": 1400, "height": 1300}
SIDE_PX = 512
# What 8 bits round away, of the composite and of the foreground that it is compared with.
ROUNDED = 1.1 / 255


def set_number(page, control, value):
    field = page.locator(f"{control} input[type=number]")
    field.fill(str(value))
    field.press("Enter")
    field.blur()


def idle(address):
    """Whether the server has nothing under way, or soon has not."""
    for _ in range(40):
        with urllib.request.urlopen(f"{address}healthz") as answer:
            if json.load(answer)["running"] == 0:
                return True
        time.sleep(0.25)
    return False


def choose_background(page, label):
    page.locator("#background label", has_text=label).click()


def open_shadow_and_light(page):
    page.locator("#shadow-and-light > button").click()


def choose_foreground(page, label):
    page.click("#foreground input")
    page.get_by_role("option", name=label).click()


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """A picture of red, green and blue stripes, each darker from top to bottom."""
    pixels = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)[None].repeat(60, axis=0)
    pixels = pixels * np.linspace(1, 0.4, 60, dtype=np.float32)[:, None, None]
    path = tmp_path_factory.mktemp("pictures") / "stripes.png"
    write_image(path, pixels)
    return path


def test_new_backgrounds_are_those_that_were_chosen(browser, address, stripes, tmp_path):
    def downloaded():
        return read_image(saved(page, "#download-composite", tmp_path))

    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        alpha = read_mask(saved(page, "#download-alpha16", tmp_path))
        foreground = read_image(saved(page, "#download-foreground", tmp_path))

        def over(background):
            return composite(foreground, alpha, background)

        choose_background(page, "Gradient")
        set_number(page, "#angle", 90)
        start, end = (np.float32(c) / 255 for c in ((0x2F, 0x6F, 0x4F), (0xD8, 0xE8, 0xD0)))
        gradient = gradient_background(tuple(start), tuple(end), 90, SIDE_PX, SIDE_PX)
        np.testing.assert_allclose(downloaded(), over(gradient), atol=ROUNDED)

        choose_background(page, "Picture")
        upload(page, "#backdrop", stripes)
        expect(page.locator("#backdrop img")).to_be_visible()
        picture = read_image(stripes)
        np.testing.assert_allclose(
            downloaded(), over(fit_background(picture, SIDE_PX, SIDE_PX)), atol=ROUNDED
        )
        page.get_by_label("Show all").click()
        for control, value in (("#picture-x", 0), ("#picture-y", 100), ("#picture-scale", 0.5)):
            set_number(page, control, value)
        placed = fit_background(
            picture, SIDE_PX, SIDE_PX, "contain", x=0, y=1, scale=0.5, margin=tuple(start)
        )
        np.testing.assert_allclose(downloaded(), over(placed), atol=ROUNDED)

        choose_background(page, "Blur")
        set_number(page, "#blur", 2)
        photo = read_image(ASTRONAUT)
        blurred = blurred_background(photo, alpha, foreground, 2 / 100 * SIDE_PX)
        # The rounding of the foreground counts for more where little of the background is seen.
        assert np.abs(downloaded() - over(blurred)).mean() < 0.2 / 255
        sharp = np.abs(np.diff(photo, axis=0))[:, 400:].mean()
        assert np.abs(np.diff(downloaded(), axis=0))[:, 400:].mean() < 0.5 * sharp


def test_shadow_and_light_are_what_was_asked_for(browser, address, tmp_path):
    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        plain_cutout = saved(page, "#download-cutout", tmp_path).read_bytes()
        choose_background(page, "Colour")
        plain_file = saved(page, "#download-composite", tmp_path).read_bytes()
        plain = read_image(plain_file)
        alpha = read_mask(saved(page, "#download-alpha16", tmp_path))
        foreground = read_image(saved(page, "#download-foreground", tmp_path))
        open_shadow_and_light(page)
        set_number(page, "#light-wrap-reach", 3)
        assert saved(page, "#download-composite", tmp_path).read_bytes() == plain_file
        set_number(page, "#light-wrap", 1)
        lit = read_image(saved(page, "#download-composite", tmp_path))
        assert saved(page, "#download-cutout", tmp_path).read_bytes() == plain_cutout
        set_number(page, "#light-wrap", 0)
        for control, value in (("", 0.6), ("-x", 4), ("-y", -3), ("-blur", 1)):
            set_number(page, f"#shadow{control}", value)
        shady = read_image(saved(page, "#download-composite", tmp_path))
        cutout = saved(page, "#download-cutout", tmp_path)
        same_alpha = read_mask(saved(page, "#download-alpha16", tmp_path))

    assert (lit - plain).min() > -ROUNDED
    assert (lit - plain)[alpha == 0].max() < ROUNDED
    edge = (alpha > 0.5) & (plain.max(axis=2) < 0.5)
    assert (lit - plain)[edge].max() > 0.1

    shadow = soft_shadow(alpha, 0.04 * SIDE_PX, -0.03 * SIDE_PX, 0.01 * SIDE_PX, 0.6)
    green = solid_background(tuple(np.float32([0x2F, 0x6F, 0x4F]) / 255), SIDE_PX, SIDE_PX)
    np.testing.assert_allclose(
        shady, composite(foreground, alpha, cast_shadow(green, shadow)), atol=ROUNDED
    )
    expected = rgba_over_shadow(foreground, alpha, shadow)
    np.testing.assert_allclose(read_alpha(cutout), expected[..., 3], atol=ROUNDED)
    np.testing.assert_array_equal(same_alpha, alpha)


def test_estimated_colours_differ_from_the_photos_own_in_the_fringe(browser, address, tmp_path):
    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        alpha = read_mask(saved(page, "#download-alpha16", tmp_path))
        estimated = read_image(saved(page, "#download-cutout", tmp_path))
        choose_foreground(page, "Photo's own")
        own = read_image(saved(page, "#download-cutout", tmp_path))
    np.testing.assert_array_equal(estimated[alpha == 1], own[alpha == 1])
    fringe = (alpha > 0.1) & (alpha < 0.9)
    assert fringe.sum() > 500
    assert np.abs(estimated - own)[fringe].mean() > 0.02


def test_the_command_line_makes_the_same_from_the_settings(browser, address, stripes, tmp_path):
    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        set_number(page, "#grow", 6)
        choose_background(page, "Picture")
        upload(page, "#backdrop", stripes)
        expect(page.locator("#backdrop img")).to_be_visible()
        set_number(page, "#picture-x", 30)
        open_shadow_and_light(page)
        set_number(page, "#shadow", 0.5)
        set_number(page, "#light-wrap", 0.35)
        page.check("#editing input")
        editor = page.locator("#editor [data-edits]")
        expect(editor).to_have_attribute("data-edits", "0")
        page.click("#editor [data-tool=add]")
        box = page.locator("#editor canvas").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.3, steps=4)
        page.mouse.up()
        expect(editor).to_have_attribute("data-edits", "1")
        settings = saved(page, "#download-settings", tmp_path)
        from_page = {
            name: saved(page, f"#download-{name}", tmp_path).read_bytes()
            for name in ("composite", "cutout", "foreground", "alpha16")
        }
    recipe = Recipe.from_json(settings.read_bytes())
    assert (recipe.shift_px, len(recipe.edits), recipe.drawn_on) == (6, 1, (SIDE_PX, SIDE_PX))

    made = {"over": str(stripes), "alone": "none"}
    same = ["--settings", str(settings), "--save-alpha", "--save-foreground"]
    commands = [
        [str(ASTRONAUT), "-o", str(tmp_path / f"{name}.png"), "--background", background, *same]
        for name, background in made.items()
    ]
    # Both by one process of one thread, as the networks take a while to load.
    code = (
        "import json, sys\nfrom mgm_core.__main__ import main\n"
        "sys.exit(max(map(main, json.loads(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, json.dumps(commands)]
    subprocess.run(command, cwd=ROOT, env=one_thread(), check=True, capture_output=True)
    for name, seen in (
        ("over_alpha", "alpha16"),
        ("over_foreground", "foreground"),
        ("over", "composite"),
        ("alone", "cutout"),
    ):
        assert (tmp_path / f"{name}.png").read_bytes() == from_page[seen], name


def test_a_region_is_picked_the_guidance_spoilt_and_all_undone(browser, address, tmp_path):
    two_parts = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    two_parts[40:500, 120:300] = 1
    two_parts[100:200, 380:460] = 1
    write_image(tmp_path / "mask.png", two_parts)

    def guidance():
        return read_mask(saved(page, "#download-guidance", tmp_path))

    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        page.get_by_role("button", name="Your own mask").click()
        upload(page, "#mask", tmp_path / "mask.png")
        expect(page.locator("#note")).to_contain_text("The mask has two values")
        page.check("#editing input")
        editor = page.locator("#editor [data-edits]")
        canvas = page.locator("#editor canvas")
        expect(editor).to_have_attribute("data-edits", "0")
        np.testing.assert_array_equal(guidance(), two_parts)

        # A number on each region leaves it out; it stays, to bring it back.
        chips = page.locator("#editor .chips button")
        expect(chips).to_have_text(["1", "2"])
        page.get_by_role("button", name="Region 2 in the mask").click()
        expect(editor).to_have_attribute("data-edits", "1")
        expect(chips.last).to_have_attribute("aria-pressed", "false")
        picked = guidance()
        np.testing.assert_array_equal(picked[:, :350], two_parts[:, :350])
        assert picked[:, 350:].max() == 0

        page.click("#editor [data-do=damage]")
        expect(editor).to_have_attribute("data-edits", "2")
        settings = json.loads(saved(page, "#download-settings", tmp_path).read_text())
        assert settings["own_mask"]
        assert [edit["tool"] for edit in settings["edits"]] == ["pick", "damage"]
        (x0, y0), (x1, y1), (to_x, to_y) = (
            map(int, point) for point in settings["edits"][1]["points"]
        )
        assert SIDE_PX // 4 <= x1 - x0 <= SIDE_PX // 2
        spoilt = picked.copy()
        spoilt[to_y : to_y + y1 - y0, to_x : to_x + x1 - x0] = picked[y0:y1, x0:x1]
        np.testing.assert_array_equal(guidance(), spoilt)

        page.click("#editor [data-do=undo]")
        expect(editor).to_have_attribute("data-edits", "1")
        np.testing.assert_array_equal(guidance(), picked)
        chips.last.click()
        expect(editor).to_have_attribute("data-edits", "2")
        expect(chips.last).to_have_attribute("aria-pressed", "true")
        np.testing.assert_array_equal(guidance(), two_parts)

        # A click adds what the photo's colours bound there, and an Alt-click takes it out again.
        box = canvas.bounding_box()
        wall = {"x": box["width"] * 0.85, "y": box["height"] * 0.1}
        canvas.click(position=wall)
        expect(editor).to_have_attribute("data-edits", "3")
        added = guidance()
        x, y = int(0.85 * SIDE_PX), int(0.1 * SIDE_PX)
        assert added[y, x] == 1
        assert np.count_nonzero(added != two_parts) > 500
        assert added[two_parts == 1].mean() > 0.99
        canvas.click(position=wall, modifiers=["Alt"])
        expect(editor).to_have_attribute("data-edits", "4")
        assert guidance()[y, x] == 0


def test_corrections_over_a_slow_network_are_all_kept(browser, address):
    def late(route):
        page.wait_for_timeout(700)
        route.continue_()

    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        page.check("#editing input")
        editor = page.locator("#editor [data-edits]")
        expect(editor).to_have_attribute("data-edits", "0")
        page.route("**/run/predict", late)
        for _ in range(3):
            page.click("#editor [data-do=damage]")
        expect(editor).to_have_attribute("data-edits", "3")
        page.unroute_all(behavior="wait")


def test_photo_and_result_zoom_and_move_together(browser, address):
    def places():
        return page.locator("#closeup img").evaluate_all("all => all.map(i => i.style.transform)")

    def zoom():
        return int(viewer.get_attribute("data-zoom"))

    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, ASTRONAUT)
        page.check("#closely input")
        viewer = page.locator("#closeup [data-zoom]")
        loaded = """() => {
            const pictures = [...document.querySelectorAll("#closeup img")];
            return pictures.length === 2 && pictures.every((picture) => picture.naturalWidth);
        }"""
        page.wait_for_function(loaded)
        sizes = page.locator("#closeup img").evaluate_all("all => all.map(i => i.naturalWidth)")
        assert sizes == [SIDE_PX, SIDE_PX]  # full size, not a thumbnail
        expect(page.locator("#result")).to_be_hidden()
        fitted, start = zoom(), places()
        page.locator("#closeup figure").first.scroll_into_view_if_needed()
        pane = page.locator("#closeup figure").first.bounding_box()
        x, y = pane["x"] + pane["width"] * 0.3, pane["y"] + pane["height"] * 0.6
        page.mouse.move(x, y)
        for _ in range(5):
            page.mouse.wheel(0, -100)
        expect(viewer).not_to_have_attribute("data-zoom", str(fitted))
        near = places()
        assert near[0] == near[1] != start[0]
        page.mouse.down()
        page.mouse.move(x + 50, y - 20, steps=3)
        page.mouse.up()
        moved = places()
        assert moved[0] == moved[1] != near[0]
        page.focus("#closeup .panes")
        page.keyboard.press("1")
        assert zoom() == 100
        page.keyboard.press("0")
        assert places() == start
        page.uncheck("#closely input")
        expect(page.locator("#result img").last).to_be_visible()


def test_a_photo_of_the_camera(browser, address):
    with visit(browser, address, permissions=["camera"]) as page:
        page.click("#photo button[aria-label='Capture from camera']")
        page.locator("#photo").get_by_text("Click to Access Webcam").click()
        shutter = page.locator("#photo button[aria-label='capture photo']")
        playing = "() => document.querySelector('#photo video')?.videoWidth > 0"
        page.wait_for_function(playing)
        shutter.click()
        expect(page.locator("#note")).to_contain_text("Person found")


def test_a_photo_of_the_clipboard(browser, address):
    permissions = ["clipboard-read", "clipboard-write"]
    copy = """async (bytes) => {
        const blob = new Blob([new Uint8Array(bytes)], {type: "image/png"});
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
    }"""
    with visit(browser, address, permissions=permissions) as page:
        page.bring_to_front()
        page.evaluate(copy, list(ASTRONAUT.read_bytes()))
        page.click("#photo button[aria-label='Paste from clipboard']")
        expect(page.locator("#note")).to_contain_text("Person found")


def test_what_takes_long_is_stopped_and_the_page_goes_on(browser, address, tmp_path):
    large = tmp_path / "large.png"
    write_image(large, read_image(ASTRONAUT).repeat(2, axis=0).repeat(2, axis=1))
    with visit(browser, address, viewport=WIDE) as page:
        cut_out(page, large)
        settled(page)
        before = page.locator("#result img").last.get_attribute("src")
        waiting = page.locator("#progress .progress-level-inner")
        # Again and again, with a result on its way: the last one is there again each time.
        for px in range(1, 11):
            set_number(page, "#grow", px)
            expect(waiting.first).to_be_visible()
            page.click("#stop")
            expect(waiting).to_have_count(0)
            expect(page.locator("#result img").last).to_have_attribute("src", before)
        assert idle(address)
        set_number(page, "#grow", 0)
        choose_foreground(page, "Photo's own")
        choose_background(page, "Colour")
        expect(page.locator("#result img").last).not_to_have_attribute(
            "src", before, timeout=PATIENCE_MS
        )
        settled(page)
