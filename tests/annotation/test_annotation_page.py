"""The real page in Chromium, against the real server and store."""

import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from annotation_samples import (
    DRAW_STROKES,
    make_large_dataset,
    make_many,
    mask_of,
    save,
    service_of,
    serving,
)
from browsers import launch
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect, sync_playwright
from sqlalchemy import select

from benchmark_data_tools.annotation.storage.people import User
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry, Revision
from benchmark_data_tools.annotation.team import leases, passes, states
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.images import write_image

pytestmark = pytest.mark.browser
PATIENCE_MS = 180_000  # the machine may be busy
expect.set_options(timeout=PATIENCE_MS)
STATE = """() => {
  const {mask, entry, held, saver} = annotator.page;
  return JSON.stringify({
    opened: document.body.dataset.opened, dialogs: document.querySelectorAll("dialog[open]").length,
    banner: document.getElementById("banner").textContent, focus: document.activeElement.id,
    cursor: annotator.tools.cursor, readOnly: annotator.tools.readOnly, steps: mask?.steps.length,
    entry: entry?.id, held, state: saver?.state, generation: saver?.generation,
    savedGeneration: saver?.savedGeneration, saving: Boolean(saver?.saving), paused: saver?.paused,
  });
}"""
SAVED = "annotator.page.saver.state === 'saved' && !annotator.page.saver.unsaved"


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, entry=None, **options):
    options = {"viewport": {"width": 1280, "height": 800}, **options}
    # The page's policy forbids eval, which the driver's own waiting needs.
    context = chromium.new_context(bypass_csp=True, **options)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address + (f"#{entry}" if entry else ""))
    if entry:
        page.wait_for_selector(f"body[data-opened='{entry}']")
    else:
        page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def address(store):
    with serving(service_of(store)) as at:
        yield at


def saved(page):
    try:
        page.wait_for_function(SAVED)
    except PlaywrightTimeoutError as error:
        raise AssertionError(f"not saved: {page.evaluate(STATE)}") from error


def at(page, x, y):
    """Where the image point (x, y) is in the window, in CSS pixels."""
    sx, sy, dpr = page.evaluate(
        "([x, y]) => [...annotator.view.toScreen(x, y), annotator.view.dpr]", [x, y]
    )
    box = page.locator("#frame").bounding_box()
    return box["x"] + sx / dpr, box["y"] + sy / dpr


def stroke(page, *points):
    places = [at(page, x, y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def brush(page, size, tool="brush"):
    page.keyboard.press({"brush": "b", "eraser": "e"}[tool])
    page.evaluate(f"annotator.tools.sizes.{tool} = {size}")


def drawn(page, shape):
    text = page.evaluate("Array.from(annotator.page.mask.pixels)")
    return np.array(text, np.uint8).reshape(shape)


def test_paint_erase_undo_redo_reload_and_resume(chromium, address, store):
    expected = np.zeros((48, 64), np.uint8)
    with opened(chromium, address, 3) as page:
        brush(page, 1)
        stroke(page, (10.5, 20.5), (30.5, 20.5))
        saved(page)
        expected[20, 10:31] = 255
        np.testing.assert_array_equal(store.mask(3), expected)
        brush(page, 3, "eraser")
        stroke(page, (20.5, 20.5), (22.5, 20.5))
        saved(page)
        expected[20, 19:24] = 0
        np.testing.assert_array_equal(store.mask(3), expected)
        page.keyboard.press("Control+z")
        saved(page)
        assert store.mask(3)[20, 10:31].all()
        page.keyboard.press("Control+Shift+Z")
        saved(page)
        np.testing.assert_array_equal(store.mask(3), expected)
        page.reload()
        page.wait_for_selector("body[data-opened='3']")
        np.testing.assert_array_equal(drawn(page, (48, 64)), expected)
        brush(page, 2)
        stroke(page, (5, 5))
        saved(page)
        expected[4:6, 4:6] = 255
        np.testing.assert_array_equal(store.mask(3), expected)
    kinds = [(r.kind, r.parent, r.strokes) for r in store.revisions(3)]
    assert kinds == [("paint", n, 1) for n in range(5)]
    assert all(r.active_seconds > 0 for r in store.revisions(3))


@pytest.mark.parametrize("dpr", [1, 1.5, 2])
@pytest.mark.parametrize("zoom", [1, 0.33, 4])
def test_what_is_stored_is_what_was_drawn_at_any_zoom_and_pixel_ratio(
    chromium, address, store, zoom, dpr
):
    with opened(chromium, address, 3, device_scale_factor=dpr) as page:
        page.evaluate(f"annotator.view.actualSize(); annotator.view.zoom({zoom})")
        assert page.evaluate("annotator.view.scale") == pytest.approx(zoom)
        brush(page, 5)
        for x, y in [(12.5, 9.5), (50.5, 30.5), (0.5, 47.5)]:
            stroke(page, (x, y))
        saved(page)
        seen = drawn(page, (48, 64))
    # An independent disc: what the pointer's rounding to window pixels can have hit is known
    # from the page, the rest is geometry.
    np.testing.assert_array_equal(store.mask(3), seen)
    rows, columns = np.mgrid[:48, :64]
    expected = np.zeros((48, 64), np.uint8)
    for x, y in [(12, 9), (50, 30), (0, 47)]:
        expected[(columns - x) ** 2 + (rows - y) ** 2 <= 2.5**2] = 255
    np.testing.assert_array_equal(store.mask(3), expected)


def test_lasso_polygon_fill_soft_edges_and_modifiers(chromium, tmp_path):
    folder = tmp_path / "shapes"
    (folder / "image").mkdir(parents=True)
    image = np.zeros((60, 80, 3), np.float32)
    image[10:20, 10:30] = 0.8
    image[10:20, 30:40] = 0.85
    write_image(folder / "image" / "square.png", image)
    store = Store.create(folder)[0]
    with serving(service_of(store)) as address, opened(chromium, address, 1) as page:
        page.keyboard.press("f")
        page.evaluate("annotator.tools.tolerance = 8")
        stroke(page, (12.5, 12.5))
        saved(page)
        expected = np.zeros((60, 80), np.uint8)
        expected[10:20, 10:30] = 255
        np.testing.assert_array_equal(store.mask(1), expected)
        page.evaluate("annotator.tools.tolerance = 40")
        page.keyboard.press("Control+z")
        stroke(page, (12.5, 12.5))
        saved(page)
        expected[10:20, 10:40] = 255
        np.testing.assert_array_equal(store.mask(1), expected)
        page.keyboard.press("p")
        for point in [(50, 30), (70, 30), (70, 50), (50, 50)]:
            stroke(page, point)
        page.keyboard.press("Enter")
        saved(page)
        expected[30:50, 50:70] = 255
        np.testing.assert_array_equal(store.mask(1), expected)
        page.keyboard.press("l")
        page.keyboard.down("Alt")
        stroke(page, (55, 35), (65, 35), (65, 45), (55, 45))
        page.keyboard.up("Alt")
        saved(page)
        expected[35:45, 55:65] = 0
        np.testing.assert_array_equal(store.mask(1), expected)
        brush(page, 21)
        page.evaluate("annotator.tools.softness = 1")
        stroke(page, (25.5, 45.5))
        saved(page)
        soft = store.mask(1)[45, 15:37]
        assert soft[10] == 255
        assert (np.diff(soft[:11].astype(int)) >= 0).all()
        assert len(set(soft.tolist())) > 8
    store.engine.dispose()


def test_every_action_has_a_key_and_the_keyboard_alone_is_enough(chromium, address, store):
    with opened(chromium, address) as page:
        page.keyboard.press("n")
        page.wait_for_selector("body[data-opened='1']")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        assert page.locator("#keys kbd").count() > 40
        page.keyboard.press("Escape")
        page.evaluate("annotator.tools.sizes.brush = 2")
        page.keyboard.press("b")
        page.keyboard.press("[")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Shift+Enter")
        saved(page)
        expected = np.zeros((30, 40), np.uint8)
        expected[5, 19:22] = 255
        np.testing.assert_array_equal(store.mask(1), expected)
        page.keyboard.press("g")
        page.keyboard.press("m")
        page.keyboard.type("curls")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("body[data-opened='2']")
        page.keyboard.press("s")
        page.keyboard.type("no hair")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#entry-state")).to_have_text("skipped")
        page.keyboard.press("PageUp")
        page.wait_for_selector("body[data-opened='1']")
        page.keyboard.press("r")
        expect(page.locator("#entry-state")).to_have_text("in review")
        page.keyboard.press("a")
        expect(page.locator("#entry-state")).to_have_text("accepted")
    first, second = store.entry(1), store.entry(2)
    assert (first.state, first.flagged, first.note) == ("accepted", True, "curls")
    assert (second.state, second.comment) == ("skipped", "no hair")
    assert store.published_path(store.image(1)).is_file()


def test_proposals_switch_by_region_and_corrections_count(chromium, address, store):
    with opened(chromium, address, 3) as page:
        page.evaluate("document.querySelector('#dilation').value = 0")
        page.keyboard.press("d")
        page.wait_for_function("annotator.view.proposal")
        proposed = page.evaluate("Array.from(annotator.view.proposal.pixels)")
        proposed = np.array(proposed).reshape(48, 64)
        assert proposed[24, 32] == 255  # the matte is a ramp: fractional but for its ends
        assert proposed[24, 0] == proposed[24, 63] == 0
        stroke(page, (32.5, 24.5))
        assert page.evaluate("annotator.view.proposal.pixels[24 * 64 + 32]") < 128
        stroke(page, (32.5, 24.5))
        page.keyboard.press("Enter")
        saved(page)
        np.testing.assert_array_equal(store.mask(3), proposed)
        brush(page, 4, "eraser")
        stroke(page, (20, 20))
        saved(page)
    assert [r.kind for r in store.revisions(3)] == ["proposal", "correction"]


def test_layers_are_shown_and_near_pixels_have_a_grid(chromium, address, store):
    layers = ["alpha", "network_alpha", "guidance", "band", "edges", "image"]
    # What is looked at alone: a whole canvas takes the driver minutes to hand over.
    pixels = """([x, y]) =>
      Array.from(annotator.view.contexts.picture.getImageData(x, y, 64, 48).data)"""
    drawn_at_all = """() => {
      const {width, height} = annotator.view.helpers;
      return annotator.view.contexts.helpers.getImageData(0, 0, width, height).data.some(Boolean);
    }"""
    with opened(chromium, address, 3, viewport={"width": 1000, "height": 420}) as page:
        page.evaluate("annotator.view.actualSize(); window.last = annotator.view.bitmaps[0]")
        seen = {}
        for layer in layers:
            page.keyboard.press("v")
            page.wait_for_function(
                """(name) => document.querySelector("#layer").value === name
                  && annotator.view.bitmaps[0] !== window.last && !annotator.view.wanted""",
                arg=layer,
            )
            page.evaluate("window.last = annotator.view.bitmaps[0]")
            corner = page.evaluate("[annotator.view.x, annotator.view.y]")
            shown = np.array(page.evaluate(pixels, corner), np.uint8)
            seen[layer] = shown.reshape(48, 64, 4)[..., :3]
        service = service_of(store)
        for layer in layers[:-1]:
            png = service.layers.png(store.image(3), layer)
            expected = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
            np.testing.assert_array_equal(seen[layer], np.repeat(expected[..., None], 3, 2))
        image = cv2.imread(str(store.folder / "image" / "portrait_2.png"))[..., ::-1]
        np.testing.assert_array_equal(seen["image"], image)  # not one level is lost
        for scale, lines in ((4, False), (16, True)):
            page.evaluate(f"annotator.view.actualSize(); annotator.view.zoom({scale})")
            page.wait_for_function("!annotator.view.wanted && !annotator.view.helpersWanted")
            assert page.evaluate(drawn_at_all) is lines


def test_touch_alone_is_enough_for_areas(chromium, address, store):
    with opened(chromium, address, 3, has_touch=True) as page:
        page.keyboard.press("p")
        for corner in [(10, 10), (40, 10), (40, 30), (10, 30), (10, 10)]:
            page.touchscreen.tap(*at(page, *corner))
        saved(page)
        expected = np.zeros((48, 64), np.uint8)
        expected[10:30, 10:40] = 255
        # A tap is on a whole pixel of the window, which is a part of one of the image.
        assert (store.mask(3) != expected).sum() < 60
        page.check("#erases-areas")
        page.touchscreen.tap(*at(page, 20, 15))
        page.touchscreen.tap(*at(page, 30, 15))
        page.touchscreen.tap(*at(page, 30, 25))
        page.touchscreen.tap(*at(page, 20, 15))
        saved(page)
        assert store.mask(3)[17, 28] == 0
        assert store.mask(3)[12, 28] == 255


def test_the_keyboard_switches_proposed_regions(chromium, address):
    with opened(chromium, address, 3) as page:
        page.keyboard.press("d")
        page.wait_for_function("annotator.view.proposal")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+Enter")
        assert page.evaluate("annotator.view.proposal.pixels[24 * 64 + 33]") < 128
        page.keyboard.press("Shift+Enter")
        assert page.evaluate("annotator.view.proposal.pixels[24 * 64 + 33]") == 255
        opening = page.locator("#opening").input_value()
        page.keyboard.press("Shift+>")
        assert int(page.locator("#opening").input_value()) == int(opening) + 1
        page.keyboard.press("Escape")
        colour = page.evaluate("annotator.view.colour")
        page.keyboard.press("c")
        assert page.evaluate("annotator.view.colour") != colour


def test_a_note_that_is_being_typed_is_neither_overwritten_nor_left_behind(
    chromium, address, store
):
    with opened(chromium, address, 1) as page:
        page.keyboard.press("m")
        page.keyboard.type("wild ")
        # Any answer of the server shows the entry anew.
        page.evaluate("document.querySelector('[data-action=flag]').click()")
        page.wait_for_function(
            "document.querySelector('[data-action=flag]').ariaPressed === 'true'"
        )
        page.locator("#note").focus()
        page.keyboard.press("End")
        page.keyboard.type("curls")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("body[data-opened='2']")
        expect(page.locator("#note")).to_have_value("")
    assert store.entry(1).note == "wild curls"
    assert store.entry(2).note == ""


def test_two_who_write_a_note_lose_neither(chromium, store):
    with working(chromium, store, "eve", "reviewer") as page:
        owner = page.locator("[aria-current=true] em")
        expect(owner).to_be_hidden()
        brush(page, 4)
        stroke(page, (10, 10))
        saved(page)
        expect(owner).to_have_text("eve")
        page.keyboard.press("m")
        page.keyboard.type("a hat")
        states.annotate(store, 1, User("ann", "annotator"), note="wild curls")
        page.keyboard.press("Escape")
        expect(page.locator("#banner")).to_contain_text("'wild curls': put both into one")
        expect(page.locator("#note")).to_have_value("wild curls\na hat")
        assert store.entry(1).note == "wild curls"
        page.keyboard.press("n")
        page.wait_for_selector("body[data-opened='2']")
    assert store.entry(1).note == "wild curls\na hat"


def test_who_types_on_while_a_note_is_sent_is_not_taken_for_another(chromium, address, store):
    def answer_late(route):
        response = route.fetch()
        time.sleep(1)
        route.fulfill(response=response)

    with opened(chromium, address, 1) as page:
        page.route("**/note", answer_late)
        page.keyboard.press("m")
        page.keyboard.type("wild")
        page.keyboard.press("Escape")
        page.keyboard.press("m")
        page.keyboard.press("End")
        page.keyboard.type(" curls")
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.wait_for_selector("body[data-opened='2']")
    assert store.entry(1).note == "wild curls"


def test_every_control_tells_its_key(chromium, address):
    with opened(chromium, address) as page:
        untold = page.evaluate(
            """() => [...document.querySelectorAll("header button, #tools button, #side input,"
              + "#side select, #side textarea, #side button[data-action]")]
              .filter((e) => !/\\(.+\\)/.test(e.closest("[title]")?.title ?? ""))
              .map((e) => e.outerHTML)"""
        )
        assert [html for html in untold if "assignee" not in html] == []


def test_zoom_keeps_the_point_under_the_pointer_and_space_pans(chromium, address):
    with opened(chromium, address, 3) as page:
        place = at(page, 40, 30)
        page.mouse.move(*place)
        for _ in range(60):
            page.mouse.wheel(0, -120)
        page.wait_for_function("annotator.view.scale === 32")
        assert at(page, 40, 30) == pytest.approx(place, abs=45)  # one point moves by rounding
        expect(page.locator("#zoom")).to_have_text("3200 %")
        before = at(page, 40, 30)
        page.keyboard.down(" ")
        page.mouse.down()
        page.mouse.move(place[0] + 50, place[1] - 30)
        page.mouse.up()
        page.keyboard.up(" ")
        after = at(page, 40, 30)
        assert np.subtract(after, before) == pytest.approx([50, -30], abs=1)
        assert page.evaluate("annotator.page.mask.steps.length") == 0
        page.keyboard.press("0")
        page.keyboard.press("1")
        assert page.evaluate("annotator.view.scale") == 1


def test_two_fingers_move_and_zoom_and_a_pen_presses(chromium, address, store):
    with opened(chromium, address, 3, has_touch=True) as page:
        client = page.context.new_cdp_session(page)
        box = page.locator("#frame").bounding_box()
        cx, cy = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        scale = page.evaluate("annotator.view.scale")

        def touch(kind, *points):
            client.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [{"x": x, "y": y, "id": n} for n, (x, y) in points]},
            )

        touch("touchStart", (0, (cx - 50, cy)))
        touch("touchStart", (0, (cx - 50, cy)), (1, (cx + 50, cy)))
        touch("touchMove", (0, (cx - 100, cy)), (1, (cx + 100, cy)))
        touch("touchEnd")
        assert page.evaluate("annotator.view.scale") == pytest.approx(2 * scale, rel=0.01)
        assert page.evaluate("annotator.page.mask.pixels.some(Boolean)") is False
        touch("touchStart", (0, (cx, cy)))
        touch("touchEnd")
        saved(page)
        assert store.mask(3).any()
        page.keyboard.press("Control+z")
        page.keyboard.press("0")
        brush(page, 40)
        x, y = at(page, 32, 24)
        for kind, force in (("mousePressed", 0.25), ("mouseReleased", 0)):
            client.send(
                "Input.dispatchMouseEvent",
                {
                    "type": kind,
                    "x": x,
                    "y": y,
                    "button": "left",
                    "clickCount": 1,
                    "pointerType": "pen",
                    "force": force,
                },
            )
        saved(page)
        columns = np.flatnonzero(store.mask(3).any(0))
        assert columns.size == 10  # a quarter of the brush's 40 px


def test_a_failing_server_is_told_of_and_the_strokes_are_kept_and_sent(chromium, store):
    service = service_of(store)
    with serving(service) as address:
        port = int(address.rsplit(":", 1)[1].strip("/"))
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(f"{address}#3")
        page.wait_for_selector("body[data-opened='3']")
    brush(page, 4)
    stroke(page, (30, 20))
    expect(page.locator("#banner")).to_contain_text("Your strokes are kept in this browser")
    expect(page.locator("#save-state")).to_have_text("Not saved")
    stroke(page, (10, 10))
    with serving(service, port):
        page.wait_for_function(SAVED)
        mask = store.mask(3)
        assert mask[19, 29] == mask[9, 9] == 255
        expect(page.locator("#banner")).to_be_hidden()
        context.close()


def test_a_browser_that_keeps_no_strokes_says_so_and_promises_nothing(chromium, address, store):
    with opened(chromium, address, 3) as page:
        page.evaluate(
            "() => { IDBObjectStore.prototype.put = () => { throw new Error('disk full'); }; }"
        )
        brush(page, 4)
        stroke(page, (30, 20))
        expect(page.locator("#banner")).to_contain_text("keeps no strokes (disk full)")
        assert "Your strokes are kept" not in page.locator("#banner").text_content()
        saved(page)
        page.route("**/revisions?*", lambda route: route.abort())
        stroke(page, (10, 10))
        expect(page.locator("#banner")).to_contain_text("kept in this tab alone: leave it open")
        said = []
        page.once("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        with page.expect_event("dialog"):
            page.keyboard.press("Shift+N")
        page.unroute("**/revisions?*")
        saved(page)
        assert said == [
            "This image could not be saved. This browser keeps no strokes: they are lost. Leave it?"
        ]
    assert store.mask(3)[9, 9] == 255


def test_a_tab_that_dies_with_unsent_strokes_finds_them_again(chromium, store):
    service = service_of(store)
    with serving(service) as address:
        port = int(address.rsplit(":", 1)[1].strip("/"))
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(f"{address}#3")
        page.wait_for_selector("body[data-opened='3']")
        brush(page, 4)
        stroke(page, (50, 40))
        saved(page)
    stroke(page, (30, 20))
    page.wait_for_function("annotator.page.saver.state === 'failed'")
    page.evaluate("annotator.page.saver.journalled")
    page.close(run_before_unload=False)
    assert not store.mask(3)[19, 29]
    with serving(service, port):
        page = context.new_page()
        page.goto(f"{address}#3")
        page.wait_for_selector("body[data-opened='3']")
        expect(page.locator("#banner")).to_contain_text("found in this browser and restored")
        saved(page)
        mask = store.mask(3)
        assert mask[19, 29] == mask[39, 49] == 255
        assert store.open_conflicts() == []
        context.close()


def leave_a_journal(page, base, base_save=None):
    """Keep the mask's first tile as strokes, drawn on a revision, that did not reach the server."""
    page.evaluate(
        """async ([base, baseSave]) => {
          const journal = await import("./saving/journal.js");
          const {saver, mask} = annotator.page;
          await saver.journalled;
          const facts = {base, baseSave, strokes: 1, seconds: 1, usedProposal: false};
          await journal.keep(saver.key, facts,
            [{tile: 0, pixels: mask.readTile(0), generation: 7}]);
        }""",
        [base, base_save],
    )


@pytest.mark.parametrize("reached", [True, False])
def test_a_journal_is_forgotten_once_the_server_has_its_strokes(chromium, address, store, reached):
    with opened(chromium, address, 3) as page:
        brush(page, 4)
        stroke(page, (30, 20))
        saved(page)
        if not reached:
            page.evaluate("annotator.page.mask.pixels.fill(255, 0, 10)")
        # What a page leaves that ends before it could forget.
        leave_a_journal(page, base=0)
        page.reload()
        page.wait_for_selector("body[data-opened='3']")
        if not reached:
            expect(page.locator("#conflict")).to_be_visible()
            page.click("[data-take=union]")
        saved(page)
        left = page.evaluate(
            """async () => {
              const journal = await import("./saving/journal.js");
              await annotator.page.saver.journalled;
              return journal.recall(annotator.page.saver.key);
            }"""
        )
        assert left is None
        if reached:
            expect(page.locator("#banner")).to_be_hidden()
    assert len(store.revisions(3)) == (1 if reached else 3)


def test_strokes_upon_a_revision_that_the_server_lost_are_restored_upon_its_newest(
    chromium, address, store
):
    with opened(chromium, address, 3) as page:
        brush(page, 4)
        stroke(page, (30, 20))
        saved(page)
        page.evaluate("annotator.page.mask.pixels.fill(255, 0, 10)")
        leave_a_journal(page, base=12)
        page.reload()
        page.wait_for_selector("body[data-opened='3']")
        expect(page.locator("#banner")).to_contain_text("no longer has the revision")
        saved(page)
    assert store.open_conflicts() == []
    assert [r.parent for r in store.revisions(3)] == [0, 1]
    assert store.mask(3)[0, 9] == store.mask(3)[19, 29] == 255


def test_strokes_upon_another_revision_of_the_heads_number_lie_beside_it(chromium, address, store):
    with opened(chromium, address, 3) as page:
        brush(page, 4)
        stroke(page, (30, 20))
        saved(page)
        # What a page keeps for a restored server, on which somebody else saved meanwhile.
        page.evaluate("annotator.page.mask.pixels.fill(255, 0, 10)")
        leave_a_journal(page, base=1, base_save="f" * 32)
        page.reload()
        expect(page.locator("#conflict-problem")).to_contain_text("another mask in place of the")
        assert store.entry(3).head == 1
        page.click("[data-take=stale]")
        page.wait_for_function(f"annotator.page.saver.base === 3 && {SAVED}")
        stroke(page, (50, 40))
        page.wait_for_function(f"annotator.page.saver.base === 4 && {SAVED}")
    assert store.open_conflicts() == []
    assert [r.parent for r in store.revisions(3)] == [0, 0, 1, 3]
    assert store.mask(3)[0, 9] == store.mask(3)[19, 29] == store.mask(3)[39, 49] == 255


def restore_the_first_of_two(page):
    """Draw and save two strokes, then make the first revision the newest, the third."""
    brush(page, 4)
    for n, point in enumerate([(10, 10), (40, 30)], 1):
        stroke(page, point)
        page.wait_for_function(f"annotator.page.saver.base === {n} && {SAVED}")
    page.evaluate("document.querySelector('[data-action=history]').click()")
    page.click("#history tbody tr:last-child button")  # the oldest one
    page.wait_for_function(f"annotator.page.saver.base === 3 && {SAVED}")


def test_the_page_says_which_save_it_draws_on(chromium, address, store):
    with opened(chromium, address, 3) as page:
        restore_the_first_of_two(page)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        stroke(page, (20, 20))
        page.wait_for_function(f"annotator.page.saver.base === 4 && {SAVED}")
        assert any(f"base_save={store.revision(3, 3).save_id}" in url for url in asked)


def test_a_verdict_on_a_save_that_the_server_has_no_longer_is_refused(chromium, address, store):
    save(store, 3, mask_of(store, 3), "ann")
    states.move(store, 3, "done", User("ann", "annotator"))
    with opened(chromium, address, 3) as page:
        # Restored from a copy, the server has another save as revision 1.
        with store.changing() as session:
            session.scalars(select(Revision)).one().save_id = "f" * 32
        page.click("header [data-action=review]")
        expect(page.locator("#banner")).to_contain_text("one that it lacks, as after its restore")
    assert store.entry(3).state == "done"


def test_a_save_whose_answer_is_lost_is_no_conflict_with_what_is_drawn_on(chromium, address, store):
    with opened(chromium, address, 3) as page:
        lost = []

        def lose(route):
            lost.append(route.fetch().status)
            route.abort()

        page.route("**/revisions?*", lose, times=1)
        brush(page, 4)
        stroke(page, (30, 20))
        expect(page.locator("#save-state")).to_have_text("Not saved")
        stroke(page, (10, 10))
        assert page.evaluate("annotator.page.saver.flush()")
        assert lost == [200]
    assert store.open_conflicts() == []
    assert [(r.parent, r.strokes) for r in store.revisions(3)] == [(0, 1), (1, 1)]
    assert store.mask(3)[9, 9] == store.mask(3)[19, 29] == 255


def lose_the_lease(page, store):
    """Draw a stroke that does not reach the server, and give the image to somebody else."""
    page.route("**/revisions?*", lambda route: route.abort())
    brush(page, 4)
    stroke(page, (30, 20))
    page.wait_for_function("annotator.page.saver.state === 'failed'")
    page.evaluate("annotator.page.saver.journalled")
    leases.release(store, 3, page.evaluate("annotator.page.token"))
    leases.take(store, 3, User("bob", "reviewer"), "b" * 32)


def test_what_is_in_hand_is_sent_though_the_lease_is_lost(chromium, address, store):
    with opened(chromium, address, 3) as page:
        lose_the_lease(page, store)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        expect(page.locator("#lease")).to_have_text("read only")
        page.unroute("**/revisions?*")
        page.click("#conflict [data-take=stale]")
        expect(page.locator("#banner")).to_contain_text("Your strokes are kept as revision 1")
    assert len(store.open_conflicts(3)) == 1
    assert store.mask(3, 1)[19, 29] == 255


def test_unsent_strokes_of_an_image_that_another_has_by_now_are_said_to_be_kept(
    chromium, address, store
):
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{address}#3")
    page.wait_for_selector("body[data-opened='3']")
    lose_the_lease(page, store)
    # Routes and offline mode end with the page; what it sends as it closes must not get through.
    page.evaluate("() => { fetch = () => Promise.reject(new TypeError('offline')); }")
    page.close(run_before_unload=False)
    page = context.new_page()
    page.goto(f"{address}#3")
    page.wait_for_selector("body[data-opened='3']")
    expect(page.locator("#banner")).to_contain_text("bob works on")
    expect(page.locator("#banner")).to_contain_text("are kept in this browser")
    context.close()
    assert store.revisions(3) == []


def in_conflict(one, two):
    """Draw on one image in two pages, so that the first one's save is a conflict."""
    for page in (one, two):
        brush(page, 4)
    stroke(two, (10, 10))
    saved(two)
    stroke(one, (40, 30))
    expect(one.locator("#conflict")).to_be_visible()


def test_two_browsers_on_one_image_settle_a_conflict(chromium, address, store):
    with opened(chromium, address, 3) as one, opened(chromium, address, 3) as two:
        in_conflict(one, two)
        assert len(store.revisions(3)) == 2
        one.evaluate("annotator.queue.load()")
        expect(one.locator(".row >> nth=2")).to_contain_text("⚠")
        one.click("[data-take=union]")
        saved(one)
        expect(one.locator(".row >> nth=2")).not_to_contain_text("⚠")
        mask = store.mask(3)
        assert mask[9, 9] == mask[29, 39] == 255
        assert drawn(one, (48, 64))[9, 9] == 255
        assert store.open_conflicts() == []


def test_a_conflict_stays_shown_however_often_escape_is_pressed(chromium, address, store):
    with opened(chromium, address, 3) as one, opened(chromium, address, 3) as two:
        in_conflict(one, two)
        for _ in range(4):  # the browser closes it at the third
            one.keyboard.press("Escape")
            one.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
        assert one.locator("#conflict").is_visible()
        one.click("[data-take=union]")
        saved(one)
        assert not one.locator("#conflict").is_visible()
        assert store.open_conflicts() == []


def test_a_copied_tab_is_a_page_of_its_own(chromium, address, store):
    with opened(chromium, address, 3) as one:
        with one.context.expect_page() as copy:
            one.evaluate("() => { window.open(location.href); }")
        two = copy.value
        two.wait_for_selector("body[data-opened='3']")
        token = leases.holder(store, 3).token
        with one.expect_response("**/entries/3/release"):
            one.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert leases.holder(store, 3).token == token == two.evaluate("annotator.page.token")
        assert one.evaluate("annotator.page.token") != token


def test_another_person_holds_the_image(chromium, store):
    users = Users(store.folder)
    for name, role in (("ada", "admin"), ("ann", "annotator"), ("bob", "annotator")):
        users.put(name, role, f"{name}-password")
    with serving(service_of(store)) as address:
        contexts = {}
        for name in ("ann", "bob"):
            context = chromium.new_context(bypass_csp=True)
            page = contexts[name] = context.new_page()
            page.goto(address)
            page.fill("#login-name", name)
            page.fill("#login-password", "wrong password")
            page.click("#login button")
            expect(page.locator("#login-problem")).to_contain_text("try again")
            page.fill("#login-password", f"{name}-password")
            page.click("#login button")
            page.wait_for_selector("body[data-ready]")
            page.click(".row >> nth=0")
            page.wait_for_selector("body[data-opened='1']")
        brush(contexts["bob"], 4)
        stroke(contexts["bob"], (10, 10))
        expect(contexts["bob"].locator("#banner")).to_contain_text("ann works on")
        expect(contexts["bob"].locator("#lease")).to_have_text("read only")
        assert store.revisions(1) == []
        brush(contexts["ann"], 4)
        stroke(contexts["ann"], (10, 10))
        saved(contexts["ann"])
        assert [r.author for r in store.revisions(1)] == ["ann"]
        for page in contexts.values():
            page.context.close()


@contextmanager
def working(chromium, store, name, role="annotator"):
    """The page of an annotator, or another role, in a team of two."""
    users = Users(store.folder)
    users.put("ada", "admin", "long enough")
    users.put(name, role, "long enough")
    with serving(service_of(store)) as address:
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.fill("#login-name", name)
        page.fill("#login-password", "long enough")
        page.click("#login button")
        page.wait_for_selector("body[data-ready]")
        page.click(".row >> nth=0")
        page.wait_for_selector("body[data-opened='1']")
        yield page
        context.close()


def test_a_comment_that_the_server_did_not_take_is_there_when_it_is_asked_again(chromium, store):
    save(store, 1, mask_of(store, 1), "ann")
    states.move(store, 1, "done", User("ann", "annotator"))
    states.move(store, 1, "in_review", User("ada", "admin"))
    text = "The fringe is missing, and so are both ears."
    with working(chromium, store, "eve", "reviewer") as page:
        page.route("**/state", lambda route: route.abort())
        page.click("header [data-action=return]")
        page.fill("#ask textarea", text)
        page.click("#ask .main")
        expect(page.locator("#banner")).to_be_visible()
        page.unroute("**/state")
        page.click("header [data-action=return]")
        expect(page.locator("#ask textarea")).to_have_value(text)
        page.click("#ask .main")
        expect(page.locator("#comment")).to_have_text(text)
    assert (store.entry(1).state, store.entry(1).comment) == ("returned", text)


def test_a_refused_assignment_is_not_shown_as_made(chromium, store):
    passes.add_second_pass(store, 100)
    save(store, 1, mask_of(store, 1), "ada")
    second = max(entry.id for entry in store.passes(1))
    with working(chromium, store, "eve", "reviewer") as page:
        page.goto(f"{page.url.split('#')[0]}#{second}")
        page.wait_for_selector(f"body[data-opened='{second}']")
        page.select_option("#assignee", "ada")
        expect(page.locator("#banner")).to_contain_text("the passes are blind")
        expect(page.locator("#assignee")).to_have_value("")
    assert store.entry(second).assignee is None


def test_a_reviewer_lists_one_persons_images_and_those_in_conflict(chromium, store):
    save(store, 2, mask_of(store, 2), "ann")
    save(store, 2, mask_of(store, 2, 1), "bob")
    states.assign(store, 3, User("eve", "reviewer"), "carl")  # who is a user no longer
    with working(chromium, store, "eve", "reviewer") as page:
        rows = page.locator(".row span")
        expect(rows).to_have_text(["portrait_0", "⚠ portrait_1", "portrait_2"])
        page.select_option("#owner", "carl")
        expect(rows).to_have_text(["portrait_2"])
        page.select_option("#owner", "")
        expect(rows).to_have_text(["portrait_0", "⚠ portrait_1"])
        page.check("#in-conflict")
        expect(rows).to_have_text(["⚠ portrait_1"])


def test_done_passes_over_what_others_have_taken_since_the_list_was_loaded(chromium, store):
    now = store.clock()
    store.clock = lambda: now  # however busy the machine is, ann's lease lasts
    with working(chromium, store, "bob") as page:
        leases.take(store, 2, User("ann", "annotator"), "a" * 32)
        brush(page, 4)
        stroke(page, (10, 10))
        saved(page)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("body[data-opened]:not([data-opened='1'])")
        assert page.evaluate("annotator.page.entry.id") == 3
        stroke(page, (10, 10))
        saved(page)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#banner")).to_have_text(
            "No image of this list is left for you to label."
        )
        assert [store.entry(n).state for n in (1, 2, 3)] == ["done", "open", "done"]


def test_names_of_all_letters_work(chromium, store):
    with working(chromium, store, "Łukasz") as page:
        brush(page, 4)
        stroke(page, (10, 10))
        saved(page)
    assert [r.author for r in store.revisions(1)] == ["Łukasz"]


def test_a_cancelled_stroke_leaves_the_saved_mask_too(chromium, address, store):
    with opened(chromium, address, 3) as page:
        brush(page, 4)
        page.mouse.move(*at(page, 10, 10))
        page.mouse.down()
        page.mouse.move(*at(page, 30, 20), steps=3)
        page.keyboard.press("Control+s")
        page.wait_for_function(f"annotator.page.saver.base === 1 && {SAVED}")
        assert store.mask(3).any()
        page.keyboard.press("Escape")
        page.mouse.up()
        saved(page)
        assert not drawn(page, (48, 64)).any()
    assert not store.mask(3).any()


def test_what_is_saved_after_a_restored_revision_is_drawn_on_it(chromium, address, store):
    with opened(chromium, address, 3) as page:
        restore_the_first_of_two(page)
        page.keyboard.press("Control+s")
        page.wait_for_function(f"annotator.page.saver.base === 4 && {SAVED}")
        stroke(page, (20, 20))
        page.wait_for_function(f"annotator.page.saver.base === 5 && {SAVED}")
    assert store.open_conflicts() == []
    mask = store.mask(3)
    assert (mask[9, 9], mask[19, 19], mask[29, 39]) == (255, 255, 0)


def test_who_leaves_an_image_gives_it_back_though_it_was_read_only(chromium, address, store):
    with opened(chromium, address, 1) as page:
        assert leases.holder(store, 1).holder == "local"
        page.evaluate("annotator.tools.readOnly = true")  # as while a conflict is settled
        with page.expect_response("**/entries/1/release"):
            page.keyboard.press("n")
            page.wait_for_selector("body[data-opened='2']")
        assert leases.holder(store, 1) is None


def test_an_image_goes_on_saving_while_the_next_one_loads_and_after_it_did_not(
    chromium, address, store
):
    with opened(chromium, address, 1) as page:
        page.route("**/entries/2/image", lambda route: route.abort())
        with page.expect_response("**/entries/2/release"):
            page.evaluate("void annotator.queue.open(2)")
        expect(page.locator("#banner")).to_be_visible()
        assert leases.holder(store, 2) is None
        brush(page, 3)
        stroke(page, (10.5, 10.5))
        page.wait_for_function(f"annotator.page.saver.base === 1 && {SAVED}")
        assert store.mask(1)[10, 10] == 255
        assert leases.holder(store, 1).holder == "local"
        waiting = []
        page.unroute("**/entries/2/image")
        page.route("**/entries/2/image", lambda route: waiting.append(route))
        with page.expect_request("**/entries/2/image"):
            page.evaluate("void annotator.queue.open(2)")
        stroke(page, (20.5, 20.5))
        waiting[0].continue_()
        page.wait_for_selector("body[data-opened='2']")
        assert store.mask(1)[20, 20] == 255
        assert not drawn(page, (47, 33)).any()
    assert store.mask(2) is None


def test_who_passes_an_image_over_while_it_loads_holds_it_no_longer(chromium, address, store):
    with opened(chromium, address, 1) as page:
        waiting = []
        page.route("**/entries/2/image", lambda route: waiting.append(route))
        with page.expect_response("**/entries/2/lease"):
            page.evaluate("void annotator.queue.open(2)")
        assert leases.holder(store, 2).holder == "local"
        page.evaluate("annotator.queue.open(3)")
        page.wait_for_selector("body[data-opened='3']")
        with page.expect_response("**/entries/2/release"):
            waiting[0].continue_()
        assert [leases.holder(store, n) for n in (1, 2)] == [None, None]
        assert leases.holder(store, 3).holder == "local"


def test_an_image_opened_anew_shows_what_was_drawn_while_it_loaded(chromium, address, store):
    with opened(chromium, address, 1) as page:
        waiting = []
        page.route("**/entries/1/image", lambda route: waiting.append(route), times=1)
        with page.expect_request("**/entries/1/image"):
            page.evaluate("void annotator.queue.open(1)")
        brush(page, 3)
        stroke(page, (10.5, 10.5))
        waiting[0].continue_()
        page.wait_for_selector("body[data-opened='1']")
        assert drawn(page, (30, 40))[10, 10] == 255
        stroke(page, (20.5, 20.5))
        saved(page)
        assert leases.holder(store, 1).holder == "local"
    assert store.open_conflicts() == []
    assert store.mask(1)[10, 10] == store.mask(1)[20, 20] == 255


def test_ten_thousand_images_are_listed_and_searched_with_few_rows_on_the_page(chromium, tmp_path):
    store = make_many(tmp_path / "many", 10_000)
    with serving(service_of(store)) as address, opened(chromium, address) as page:
        expect(page.locator("#count")).to_have_text("10,000 shown")
        assert page.locator(".row").count() < 60
        page.fill("#search", "face_09999")
        expect(page.locator("#count")).to_have_text("1 shown")
    store.engine.dispose()


def test_agreement_is_shown(chromium, store):
    with store.changing() as session:
        session.add(Entry(image_id=1, blind_pass=2, assignee="bob", state="open"))
    mask = mask_of(store, 1)
    for entry_id in (1, 4):
        save(store, entry_id, mask, "x" if entry_id == 1 else "bob", 0)
        with store.changing() as session:
            session.get_one(Entry, entry_id).state = "done"
    with serving(service_of(store)) as address:
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(f"{address}agreement.html")
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#pairs tbody tr")).to_have_count(1)
        assert page.locator("#pairs tbody td").all_inner_texts()[4:7] == ["1.000"] * 3
        page.click("#pairs button")
        page.wait_for_function("document.querySelector('#map').naturalWidth === 40")
        with page.expect_download() as download:
            page.click("text=Download CSV")
        assert download.value.suggested_filename == "agreement.csv"
        lines = Path(download.value.path()).read_text().splitlines()
        assert lines == [
            "entry_id,name,label,first,second,iou,boundary_f,kappa,sad,mse",
            "1,portrait_0,detail,x,bob,1.0,1.0,1.0,0.0,0.0",
        ]
        context.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    store = make_large_dataset(tmp_path_factory.mktemp("parent") / "large")
    with serving(service_of(store)) as address:
        yield store, address
    store.engine.dispose()


def test_history_on_24_megapixels_keeps_no_whole_frames_and_undoes_to_nothing(chromium, large):
    store, address = large
    with opened(chromium, address) as page:
        page.evaluate("annotator.queue.open(1)")
        page.wait_for_function("document.body.dataset.opened === '1'")
        random = np.random.default_rng(1)
        page.evaluate("annotator.tools.sizes.brush = 40")
        start = random.random((150, 2)) * [5600, 3600] + 200
        end = start + random.normal(0, 80, (150, 2))
        page.evaluate(DRAW_STROKES, np.stack([start, end], 1).tolist())
        assert page.evaluate("annotator.page.mask.steps.length") > 120
        assert page.evaluate("annotator.page.mask.historyBytes") < 8e6  # a frame would be 24 MB
        page.wait_for_function(SAVED)
        assert store.mask(1).any()
        while page.evaluate("annotator.page.mask.position"):
            page.evaluate("annotator.tools.undo()")
        assert page.evaluate("annotator.page.mask.pixels.some(Boolean)") is False
        saved(page)
    assert not store.mask(1).any()


def test_a_closed_dialog_takes_no_keys_though_its_button_still_has_the_focus(chromium, address):
    with opened(chromium, address, 1) as page:
        brush(page, 1)
        page.keyboard.press("ArrowRight")
        page.evaluate(
            """() => {
              const help = document.getElementById("help");
              help.showModal();
              const button = document.activeElement;
              help.close();
              if (button.tagName !== "BUTTON") throw new Error(button.tagName);
              button.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
            }"""
        )
        assert drawn(page, (30, 40)).sum() == 255


def test_without_its_png_worker_strokes_wait_and_are_saved_when_it_loads_again(
    chromium, address, store
):
    with opened(chromium, address) as page:
        page.route("**/png.js", lambda route: route.abort())
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.evaluate("location.hash = '#1'")
        page.wait_for_selector("body[data-opened='1']")
        brush(page, 3)
        stroke(page, (10.5, 10.5), (20.5, 10.5))
        expect(page.locator("#banner")).to_contain_text("png.js did not load")
        assert store.mask(1) is None
        page.unroute("**/png.js")
        saved(page)
        assert (store.mask(1)[10, 10:21] == 255).all()
