"""Tools and guarantees of the page in Chromium: one browser, many checks."""

import numpy as np
import pytest
from annotation_samples import make_dataset, save, service_of, serving
from playwright.sync_api import expect
from test_annotation_page import (
    SAVED,
    at,
    brush,
    chromium,
    drawn,
    opened,
    saved,
    stroke,
)

from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.storage.tables import Entry
from benchmark_data_tools.annotation.team import leases
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.images import write_image

__all__ = ["chromium"]  # the fixture
pytestmark = pytest.mark.browser
SHAPE = (48, 64)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two images under three labels: a mask, a trimap and a matte; the first shows a red square."""
    folder = make_dataset(tmp_path_factory.mktemp("parent") / "d", sizes=((64, 48), (64, 48)))
    image = np.full((*SHAPE, 3), 0.2, np.float32)
    image[10:30, 10:30] = (0.9, 0.1, 0.1)
    write_image(folder / "image" / "portrait_0.png", image)
    store = Store.create(folder, labels={"outline": "trimap", "matte": "alpha"})[0]
    yield store
    store.engine.dispose()


@pytest.fixture(scope="module")
def page(chromium, labelled):
    with serving(service_of(labelled)) as address, opened(chromium, address) as found:
        yield found


def entry_of(store, label, name="portrait_0"):
    with store.reading() as session:
        entries = session.query(Entry).filter(Entry.label == label).all()
    return next(e.id for e in entries if store.image(e.id).name == name)


def show(page, entry):
    page.evaluate(f"location.hash = '#{entry}'")
    page.wait_for_selector(f"body[data-opened='{entry}']")


def test_the_first_screen_says_what_to_do(page):
    expect(page.locator("#empty h1")).to_have_text("Mark the detail")
    expect(page.locator("header [data-action=done]")).to_be_hidden()
    expect(page.locator("#tools")).to_be_hidden()
    assert page.evaluate("document.querySelector('#empty img').naturalWidth") > 300


def test_whole_mask_changes_and_ways_to_see(page, labelled):
    entry = entry_of(labelled, "detail")
    show(page, entry)
    brush(page, 5)
    stroke(page, (20.5, 20.5), (20.5, 20.5))
    before = drawn(page, SHAPE)
    page.keyboard.press("Shift+G")
    grown = drawn(page, SHAPE)
    assert grown.sum() > before.sum()
    page.keyboard.press("Shift+S")
    np.testing.assert_array_equal(drawn(page, SHAPE)[19:22, 19:22], before[19:22, 19:22])
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(drawn(page, SHAPE), grown)
    page.keyboard.press("Shift+I")
    np.testing.assert_array_equal(drawn(page, SHAPE), 255 - grown)
    page.keyboard.press("Shift+H")  # the only hole is what was painted
    assert (drawn(page, SHAPE) == 255).all()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    saved(page)
    np.testing.assert_array_equal(labelled.mask(entry), grown)

    def overlay(x, y):
        return page.evaluate(
            """async ([x, y]) => {
              for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame);
              const [sx, sy] = annotator.view.toScreen(x, y).map(Math.round);
              const canvas = document.getElementById("overlay").getContext("2d");
              return [...canvas.getImageData(sx, sy, 1, 1).data];
            }""",
            [x, y],
        )

    assert overlay(20.5, 20.5)[3] > 100  # a tint
    page.keyboard.press("k")
    assert overlay(20.5, 20.5)[3] == 0  # the contour alone
    page.keyboard.press("k")
    assert overlay(20.5, 20.5) == [255] * 4
    assert overlay(2.5, 2.5) == [0, 0, 0, 255]
    page.keyboard.press("k")
    assert overlay(20.5, 20.5)[3] == 0
    assert overlay(2.5, 2.5) == [0, 177, 64, 255]
    page.keyboard.press("k")
    for _ in range(4):
        page.keyboard.press("2")
    assert 'url("#gamma") brightness(1)' in page.evaluate("annotator.view.picture.style.filter")
    page.keyboard.press("Shift+R")
    assert page.evaluate("annotator.view.picture.style.filter") == ""
    page.keyboard.press("z")
    stroke(page, (10, 10), (20, 18))
    assert page.evaluate("annotator.tools.tool") == "brush"
    x, y = page.evaluate("annotator.view.toScreen(15, 14)")
    size = page.evaluate("[annotator.view.picture.width / 2, annotator.view.picture.height / 2]")
    assert [x, y] == pytest.approx(size, abs=2)
    page.keyboard.press("0")


def test_a_click_segments_and_another_images_mask_is_copied(page, labelled):
    show(page, entry_of(labelled, "detail"))
    page.keyboard.press("j")
    page.mouse.click(*at(page, 12, 12))
    page.wait_for_function("annotator.page.mask.pixels[12 * 64 + 12] === 255")
    mask = drawn(page, SHAPE)
    square = np.zeros(SHAPE, bool)
    square[10:30, 10:30] = True
    assert ((mask >= 128) & square).sum() / ((mask >= 128) | square).sum() > 0.9
    page.keyboard.press("Control+z")
    saved(page)
    expected = drawn(page, SHAPE)
    show(page, entry_of(labelled, "detail", "portrait_1"))
    page.keyboard.press("Shift+C")
    page.fill("#copy-name", "portrait_0 · detail")
    page.click("#copy .main")
    page.wait_for_function("annotator.page.mask.pixels.some(Boolean)")
    np.testing.assert_array_equal(drawn(page, SHAPE), expected)
    page.keyboard.press("'")
    assert page.evaluate("annotator.tools.cursor")[0] == pytest.approx(20.5, abs=1)


def test_trimaps_keep_three_clean_values_and_mattes_are_touched_up(page, labelled):
    entry = entry_of(labelled, "outline")
    show(page, entry)
    brush(page, 9)
    page.evaluate("annotator.tools.softness = 1")
    page.click("#classes [data-level='128']")
    stroke(page, (20.5, 20.5), (40.5, 20.5))
    page.click("#classes [data-level='255']")
    stroke(page, (20.5, 20.5), (20.5, 30.5))
    saved(page)
    assert set(np.unique(labelled.mask(entry))) == {0, 128, 255}
    page.keyboard.press("d")
    page.wait_for_function("annotator.page.mask.steps.length === 3")
    saved(page)
    assert set(np.unique(labelled.mask(entry))) <= {0, 128, 255}
    entry = entry_of(labelled, "matte")
    show(page, entry)
    page.keyboard.press("d")
    page.wait_for_function("annotator.page.mask.steps.length === 1")
    matte = drawn(page, SHAPE)
    assert len(np.unique(matte)) > 40  # the ramp of the dataset's own alpha
    page.evaluate("Object.assign(annotator.tools, {softness: 0, level: 64})")
    brush(page, 5)
    stroke(page, (32.5, 20.5), (32.5, 20.5))
    assert (drawn(page, SHAPE)[19:22, 31:34] == 64).all()
    page.evaluate("annotator.tools.softness = 1")
    stroke(page, (50.5, 20.5), (50.5, 20.5))
    touched = drawn(page, SHAPE).astype(int)
    assert 64 <= touched[20, 50] < matte[20, 50]
    assert touched[20, 52] > touched[20, 50]  # towards the level, the less the further out
    saved(page)
    page.evaluate("annotator.tools.softness = 0")


def test_a_trimap_is_not_painted_with_a_mattes_level(page, labelled):
    show(page, entry_of(labelled, "matte", "portrait_1"))
    page.evaluate("annotator.tools.level = 64")
    entry = entry_of(labelled, "outline", "portrait_1")
    show(page, entry)
    foreground = page.locator("#classes [data-level='255']")
    expect(foreground).to_have_attribute("aria-checked", "true")
    brush(page, 5)
    stroke(page, (20.5, 20.5), (20.5, 20.5))
    saved(page)
    assert set(np.unique(labelled.mask(entry))) == {0, 255}


def copy_mask(page, name):
    page.keyboard.press("Shift+C")
    page.fill("#copy-name", name)
    page.click("#copy .main")


def test_a_mask_is_copied_into_the_image_that_was_open_and_if_it_fits(page, labelled):
    trimap, matte, detail = (
        entry_of(labelled, label, "portrait_1") for label in ("outline", "matte", "detail")
    )
    ramp = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    save(labelled, matte, ramp, "local", labelled.entry(matte).head)
    source = entry_of(labelled, "outline")
    save(labelled, source, np.full(SHAPE, 128, np.uint8), "local", labelled.entry(source).head)
    show(page, trimap)
    before = drawn(page, SHAPE)
    copy_mask(page, "portrait_1 · matte")
    expect(page.locator("#banner")).to_have_text(
        "A trimap holds the levels 0, 128 and 255 alone, and the mask of portrait_1 · matte has "
        "others: choose a trimap or a hard mask."
    )
    np.testing.assert_array_equal(drawn(page, SHAPE), before)
    show(page, detail)
    before = drawn(page, SHAPE)
    show(page, trimap)
    waiting = []
    page.route(f"**/entries/{source}/mask", lambda route: waiting.append(route), times=1)
    with page.expect_request(f"**/entries/{source}/mask"):
        copy_mask(page, "portrait_0 · outline")
    show(page, detail)
    with page.expect_response(f"**/entries/{source}/mask"):
        waiting[0].continue_()
    page.evaluate(  # the worker decodes in turn
        """async ([path, width, height]) => {
          const {fetchPixels} = await import("./saving/server.js");
          await fetchPixels(path, width, height);
        }""",
        [f"entries/{source}/mask", 64, 48],
    )
    np.testing.assert_array_equal(drawn(page, SHAPE), before)


def test_work_in_hand_survives_a_change_of_tool_and_of_image(page, labelled):
    entry = entry_of(labelled, "detail", "portrait_1")
    show(page, entry)
    brush(page, 3)
    page.mouse.move(*at(page, 40.5, 40.5))
    page.mouse.down()
    page.mouse.move(*at(page, 50.5, 40.5))
    page.keyboard.press("e")
    page.mouse.up()
    assert (drawn(page, SHAPE)[40, 41:50] == 255).all()
    page.keyboard.press("p")
    for point in ((50, 5), (60, 5), (60, 15)):
        page.mouse.click(*at(page, *point))
    page.keyboard.press("b")
    assert page.evaluate("annotator.tools.corners.length") == 3
    page.keyboard.press("n")
    expect(page.locator("#banner")).to_contain_text("A polygon is open: Enter closes it")
    assert page.evaluate("annotator.page.entry.id") == entry
    page.keyboard.press("Enter")
    assert drawn(page, SHAPE)[6, 58] == 255
    saved(page)


def test_keys_and_settings_of_ones_own_are_remembered(page, labelled):
    page.keyboard.press("?")
    page.click("#keys [data-rebind=eraser]")
    page.keyboard.press("Shift+Y")
    page.click("#help .main")
    page.keyboard.press("b")
    page.keyboard.press("Shift+Y")
    assert page.evaluate("annotator.tools.tool") == "eraser"
    page.evaluate("annotator.tools.sizes.brush = 77")
    with page.expect_response(lambda answer: '"brush":77' in (answer.request.post_data or "")):
        page.keyboard.press("b")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("annotator.tools.sizes.brush") == 77
    page.keyboard.press("Shift+Y")
    assert page.evaluate("annotator.tools.tool") == "eraser"


def test_strokes_drawn_while_a_save_is_refused_are_kept(chromium, labelled):
    entry = entry_of(labelled, "detail", "portrait_1")
    with serving(service_of(labelled)) as address, opened(chromium, address, entry) as page:
        before = drawn(page, SHAPE)
        brush(page, 3)
        other = before.copy()
        other[2:5, 2:5] = 255
        save(labelled, entry, other, "local", labelled.entry(entry).head)
        # The stroke goes on while its first part is refused.
        page.mouse.move(*at(page, 5.5, 25.5))
        page.mouse.down()
        page.mouse.move(*at(page, 15.5, 25.5))
        page.evaluate("annotator.page.saver.changed([0], false); annotator.page.saver.flush()")
        for x in range(16, 30):
            page.mouse.move(*at(page, x + 0.5, 25.5))
        page.mouse.up()
        expect(page.locator("#conflict")).to_be_visible()
        expect(page.locator("#conflict h1")).to_have_text(
            "You saved this image in two tabs or windows"
        )
        assert page.evaluate("document.activeElement.tagName") == "H1"
        shown = page.evaluate("annotator.page.mask.pixels.reduce((n, v) => n + (v > 0), 0)")
        page.click("#conflict [data-take=union]")
        page.wait_for_function(SAVED)
        assert labelled.open_conflicts(entry) == []
        mask = labelled.mask(entry)
        assert (mask[2:5, 2:5] == 255).all()
        assert (mask > 0).sum() == shown + 9
        # Regions of a proposal that were chosen meanwhile wait for their Enter.
        other = mask.copy()
        other[40:42, 2:5] = 255
        save(labelled, entry, other, "local", labelled.entry(entry).head)
        stroke(page, (40.5, 5.5), (45.5, 5.5))
        page.keyboard.press("d")
        page.wait_for_function("annotator.view.proposal")
        page.evaluate("annotator.view.proposal.switched = true; annotator.page.saver.flush()")
        page.click("#conflict [data-take=union]")
        page.wait_for_function(SAVED)
        page.keyboard.press("Enter")
        page.wait_for_function("!annotator.view.proposal")
        page.wait_for_function(SAVED)
        assert (labelled.mask(entry) > 0).sum() > (other > 0).sum() + 6


def test_a_second_login_never_saves_the_first_persons_strokes(chromium, tmp_path):
    folder = make_dataset(tmp_path / "d", sizes=((64, 48),))
    store = Store.create(folder)[0]
    users = Users(folder)
    for name, role in (("ada", "admin"), ("ann", "annotator"), ("bob", "annotator")):
        users.put(name, role, f"{name}-password")

    def login(page, name):
        page.fill("#login-name", name)
        page.fill("#login-password", f"{name}-password")
        page.click("#login .main")

    with serving(service_of(store)) as address:
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(address)
        login(page, "ann")
        page.wait_for_selector("body[data-ready]")
        show(page, 1)
        assert leases.holder(store, 1).holder == "ann"
        context.request.post(
            f"{address}api/login",
            headers={"X-Annotation": "1"},
            data={"name": "bob", "password": "bob-password"},
        )
        brush(page, 5)
        stroke(page, (10, 10), (20, 10))
        expect(page.locator("#login")).to_be_visible()
        expect(page.locator("#login-problem")).to_contain_text("for whom this page was opened")
        assert store.revisions(1) == []
        login(page, "ann")
        saved(page)
        assert [r.author for r in store.revisions(1)] == ["ann"]
        # A comment at a place, and a tab that closes lets go of the image.
        page.keyboard.press("Shift+M")
        page.mouse.click(*at(page, 30, 20))
        page.fill("#ask textarea", "is this hair?")
        page.click("#ask .main")
        expect(page.locator("#pins li")).to_contain_text("is this hair? (ann)")
        page.keyboard.press("b")
        page.goto("about:blank")
        for _ in range(100):
            if leases.holder(store, 1) is None:
                break
            page.wait_for_timeout(100)
        assert leases.holder(store, 1) is None
        context.close()
    store.engine.dispose()
