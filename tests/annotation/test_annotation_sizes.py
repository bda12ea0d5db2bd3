"""The page on a phone and on a tablet: nothing is cut off, covered or too small to be touched."""

import json

import pytest
from annotation_samples import make_dataset, mask_of, save, service_of, serving
from playwright.sync_api import expect
from test_annotation_page import at, brush, chromium, saved, stroke

from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team.users import Users

__all__ = ["chromium"]  # the fixture
pytestmark = pytest.mark.browser
# Names what is smaller than 24 px, outside of the window and of what scrolls, cut off, or covered.
FAULTS = """() => {
  const dialog = document.querySelector("dialog[open]");
  const faults = [];
  const controls = "button, a, select, input, textarea";
  for (const control of (dialog ?? document).querySelectorAll(controls)) {
    const {left, top, right, bottom, width, height} = control.getBoundingClientRect();
    if (!control.checkVisibility({visibilityProperty: true}) || !width) continue;
    const name = control.id || control.textContent || control.type;
    const fault = (what) => faults.push(`${name} ${what}`);
    if (width < 24 || height < 24) fault(`is ${width}x${height}`);
    if (left < 0 || right > innerWidth) fault("is outside");
    const cut = control.scrollWidth > control.clientWidth;
    if (cut && control.tagName === "BUTTON" && !control.closest("#rows")) fault("is cut off");
    const x = (left + right) / 2, y = (top + bottom) / 2;
    const above = document.elementFromPoint(x, y);
    const scrolls = control.closest("#side, #tools, #rows, dialog");
    const shown = scrolls?.getBoundingClientRect();
    if (shown && (y < shown.top || y > shown.bottom)) continue;
    const drawer = above?.closest("#side, #queue");
    if (drawer && !drawer.contains(control)) continue; // on a phone it is drawn over the rest
    if (above && !control.contains(above) && !above.contains(control)) {
      fault(`is covered by ${above.id || above.outerHTML.slice(0, 40)}`);
    }
  }
  for (const box of [document.documentElement, dialog].filter(Boolean)) {
    if (box.scrollWidth > box.clientWidth) faults.push(`${box.id} is wider than its window`);
  }
  return JSON.stringify(faults);
}"""


def no_faults(page):
    page.wait_for_timeout(100)
    assert json.loads(page.evaluate(FAULTS)) == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1024, 768)])
def test_all_panels_fit_and_are_pressed_by_pointer(chromium, tmp_path, width, height):
    folder = make_dataset(tmp_path / "portraits_of_a_long_name", sizes=((64, 48), (40, 30)))
    store = Store.create(folder, labels={"outline": "trimap"})[0]
    (folder / "annotation" / "guideline.md").write_text("# Hair\n\nAll of it.\n")
    Users(folder).put("ada", "admin", "ada-password")
    Users(folder).put("eve", "reviewer", "eve-password")
    with serving(service_of(store)) as address:
        context = chromium.new_context(
            bypass_csp=True, viewport={"width": width, "height": height}, has_touch=True
        )
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#login")).to_be_visible()
        expect(page.locator("#banner")).to_be_hidden()
        no_faults(page)
        page.fill("#login-name", "eve")
        page.fill("#login-password", "eve-password")
        page.click("#login .main")
        page.wait_for_selector("body[data-ready]")
        no_faults(page)
        page.click("#empty .main")
        page.wait_for_selector("body[data-opened='1']")
        no_faults(page)
        for panel in ("queuePanel", "sidePanel"):
            page.click(f"header [data-action={panel}]")
            no_faults(page)
            page.click(f"header [data-action={panel}]")
        page.click("#tools [data-action=propose]")
        page.wait_for_function("annotator.view.proposal")
        no_faults(page)
        # A press beside the bar switches a region, one on it does not.
        page.click("#proposal .main")
        saved(page)
        proposed = page.evaluate("annotator.page.mask.pixels.filter(Boolean).length")
        assert (store.mask(1) > 0).sum() == proposed > 0
        page.click("#tools [data-action=pin]")
        page.mouse.click(*at(page, 30, 20))
        page.fill("#ask textarea", "is_this_hair?_" * 9)
        no_faults(page)
        page.click("#ask .main")
        expect(page.locator("#pins li")).to_have_count(1)
        for keys, dialog in (("?", "help"), ("Shift+W", "guideline"), ("Shift+C", "copy")):
            page.keyboard.press(keys)
            expect(page.locator(f"#{dialog}")).to_be_visible()
            no_faults(page)
            page.keyboard.press("Escape")
        page.keyboard.press("Shift+B")
        page.select_option("#batch-assignee", "eve")
        page.click("[data-batch=assign]")
        expect(page.locator("#batch-result")).to_contain_text("4 done, 0 refused")
        page.click("[data-batch=accept]")
        expect(page.locator("#batch-result")).to_contain_text("0 done, 4 refused")
        no_faults(page)
        page.keyboard.press("Escape")
        expect(page.locator(".row em").first).to_have_text("eve")
        brush(page, 5, "eraser")
        save(store, 1, mask_of(store, 1), "eve", store.entry(1).head)
        stroke(page, (10, 10), (20, 10))
        expect(page.locator("#conflict")).to_be_visible()
        no_faults(page)
        page.click("#conflict [data-take=union]")
        saved(page)
        assert store.open_conflicts(1) == []
        context.close()
    store.engine.dispose()
