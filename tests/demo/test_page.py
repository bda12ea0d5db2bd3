"""The real app in a real browser."""

import asyncio
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.context import LocalContext
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import expect
from real_page import ASTRONAUT, ROOT, cut_out, saved, settled, upload, visit

from demo.backend.visits import LANES, Visits
from demo.controls import CONTROL_NAMES, Controls
from demo.environment import Environment
from demo.tabs.settings import CATEGORIES, SEGMENTERS
from demo.ui import build
from mgm_core import choices
from mgm_core.choices import ANIMAL
from mgm_core.images import read_alpha, read_image, read_mask, write_image
from mgm_core.recipe import Background, Recipe
from mgm_core.runtime.admission import Admission


def test_the_page_offers_what_the_core_has():
    assert {*CATEGORIES, "background"} == {ANIMAL, *choices.CATEGORIES}
    assert tuple(name for _, name in SEGMENTERS) == choices.SEGMENTERS


def built(studio, admission):
    async def build_page():
        return build(studio, Environment(), Visits(admission))

    # Inside a loop, as Gradio else opens loops of its own and leaves them open.
    return asyncio.run(build_page())


def test_what_a_visitor_can_make_long_is_a_visit(studio):
    called = [fn.fn for fn in built(studio, Admission(LANES)).fns.values()]
    names = {getattr(fn, "__qualname__", "") for fn in called if not hasattr(fn, "__wrapped__")}
    short = {"Handlers.places", "Handlers.stopped"}
    assert {name for name in names if "Handlers." in name} == short


def test_handlers_get_the_controls_in_their_order(studio):
    page = built(studio, Admission(LANES))
    show = next(fn for fn in page.fns.values() if fn.name == "show")
    labels = [getattr(part, "label", None) for part in show.inputs]
    assert len(labels) == 2 + len(CONTROL_NAMES)
    assert labels[2 + CONTROL_NAMES.index("photo")] == "Photo"
    assert labels[2 + CONTROL_NAMES.index("threshold")] == "Threshold"
    assert labels[2 + CONTROL_NAMES.index("colour")] == "Colour"
    # What the visitor has drawn is sent too: the server forgets sessions.
    assert not any(isinstance(part, gr.State) for part in show.inputs)
    # The page opens with the defaults of the controls.
    values = [getattr(part, "value", None) for part in show.inputs[2:]]
    assert values == [
        [] if name == "edits" else value
        for name, value in zip(CONTROL_NAMES, Controls().values(), strict=True)
    ]
    # Gradio would delete files that are in use, or that a visit waits for.
    assert page.delete_cache is None


def test_a_photo_that_is_refused_goes_with_all_of_the_one_before(studio):
    page = built(studio, Admission(LANES))
    (number,) = (number for number, fn in page.fns.items() if fn.name == "start_photo")
    (emptied,) = (
        fn
        for fn in page.fns.values()
        if fn.trigger_after == number and fn.trigger_only_on_failure and fn.outputs
    )
    assert emptied.outputs[0].label == "Photo"
    photo, result, _, hero, *_, edits, mask, _, _, _, _ = emptied.fn("refused.png")
    assert (photo, result.visible, hero.visible, edits, mask) == (None, False, True, [], None)
    # Else the page would go on setting it.
    assert emptied.fn(None)[0] == gr.skip()


def test_whoever_reads_pictures_is_a_visit_and_held_to_the_share(studio):
    page = built(studio, Admission(LANES, address_share=0))
    reading = {"transparency": 1, "labels": 2, "bring": 1, "blank": 1, "scribbled": 1}
    found = [fn for fn in page.fns.values() if fn.name in reading]
    assert Counter(fn.name for fn in found) == reading
    before = LocalContext.request.set(None)
    for handler in found:
        with pytest.raises(gr.Error, match="Your address must have at most 0 requests under way"):
            handler.fn(*[None] * len(handler.inputs))
    LocalContext.request.reset(before)


@pytest.mark.browser
def test_from_upload_to_downloaded_png(browser, address, tmp_path):
    photo = read_image(ASTRONAUT)
    with visit(browser, address) as page:
        upload(page, "#photo", ASTRONAUT)
        expect(page.locator("#note")).to_contain_text("Person found")
        path = saved(page, "#download-cutout", tmp_path)
    assert path.name == "astronaut-cutout.png"
    alpha = read_alpha(path)
    assert alpha.shape == photo.shape[:2]
    assert alpha[70:140, 185:235].min() > 0.98  # her face
    assert alpha[10:200, 350:400].max() < 0.02  # the wall right of her
    partly = (alpha > 0.05) & (alpha < 0.95)
    assert 0.005 < partly.mean() < 0.15
    # Where she is opaque the colours are the photo's own; eight bits round the nearly opaque up.
    assert np.abs(read_image(path) - photo)[alpha == 1].max() < 0.06


@pytest.mark.browser
def test_a_stroke_changes_the_guidance_and_undo_takes_it_back(browser, address, tmp_path):
    with visit(browser, address, viewport={"width": 1400, "height": 1300}) as page:
        cut_out(page, ASTRONAUT)
        page.check("#editing input")
        canvas = page.locator("#editor canvas")
        editor = page.locator("#editor [data-edits]")
        expect(editor).to_have_attribute("data-edits", "0")
        before = read_mask(saved(page, "#download-alpha", tmp_path))
        page.click("#editor [data-tool=remove]")
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.65)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.65, steps=5)
        page.mouse.up()
        expect(editor).to_have_attribute("data-edits", "1")
        painted = read_mask(saved(page, "#download-guidance", tmp_path))
        page.focus("#editor .frame")
        page.keyboard.press("Control+z")
        expect(editor).to_have_attribute("data-edits", "0")
        undone = read_mask(saved(page, "#download-guidance", tmp_path))
        after = read_mask(saved(page, "#download-alpha", tmp_path))
    along = np.s_[333, 130:228]  # 0.65 of the height, a little within the ends
    assert undone[along].min() == 1
    assert painted[along].max() == 0
    area = 0.2 * 512 * 40 + 20**2 * np.pi
    assert np.count_nonzero(painted != undone) == pytest.approx(area, rel=0.05)
    assert np.array_equal(before, after)


@pytest.mark.browser
def test_the_composite_has_the_colour_that_was_chosen(browser, address, tmp_path):
    with visit(browser, address) as page:
        cut_out(page, ASTRONAUT)
        page.locator("#background label", has_text="Colour").click()
        settled(page)
        composite = read_image(saved(page, "#download-composite", tmp_path))
    assert composite[10, 500] == pytest.approx(np.float32([0x2F, 0x6F, 0x4F]) / 255, abs=0.01)
    photo = read_image(ASTRONAUT)
    assert composite[100, 210] == pytest.approx(photo[100, 210], abs=0.01)


@pytest.mark.browser
def test_the_page_says_what_to_do_about_a_file_that_is_no_photo(browser, address, tmp_path):
    broken = tmp_path / "holiday.png"
    broken.write_bytes(ASTRONAUT.read_bytes()[:20000])
    with visit(browser, address) as page:
        upload(page, "#photo", broken)
        expect(page.locator(".toast-body")).to_contain_text("must be a complete image")
        expect(page.locator(".toast-body")).to_contain_text("Save or upload it anew.")


@pytest.mark.browser
def test_an_example_is_one_click(browser, address):
    with visit(browser, address, viewport={"width": 360, "height": 740}) as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#note")).to_contain_text("An example: flying hair")
        expect(page.locator("#hero")).to_be_hidden()
        # Nothing stands out at the side of a phone.
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.browser
def test_two_visitors_see_their_own_pictures(browser, address, tmp_path):
    mirrored = tmp_path / "mirrored.png"
    write_image(mirrored, np.ascontiguousarray(read_image(ASTRONAUT)[:, ::-1]))
    with visit(browser, address) as one, visit(browser, address) as other:
        upload(one, "#photo", ASTRONAUT)
        upload(other, "#photo", mirrored)
        alphas = []
        for page in (one, other):
            expect(page.locator("#note")).to_contain_text("Person found")
            alphas.append(read_mask(saved(page, "#download-alpha", tmp_path)))
    to_own, to_other = (
        np.abs(alphas[0] - alpha).mean() for alpha in (alphas[1][:, ::-1], alphas[1])
    )
    assert to_own < 0.1
    assert to_other > 2 * to_own


@pytest.mark.browser
def test_the_experiment_fills_the_table_and_the_archive(browser, address, tmp_path):
    with visit(browser, address) as page:
        cut_out(page, ASTRONAUT)
        page.get_by_role("tab", name="Robustness").click()
        expect(page.locator("#curve .paper").first).to_be_visible()
        page.fill("#sizes textarea, #sizes input", "5")
        expect(page.locator("#download-robustness")).to_be_disabled()
        page.click("#run")
        # Empty places stand there first; meanwhile there is nothing to press but Stop.
        expect(page.locator("#curve circle")).to_have_count(3)
        expect(page.locator("#run")).to_be_disabled()
        expect(page.locator("#stop-run")).to_be_enabled()
        expect(page.locator("#curve circle.done")).to_have_count(3)
        expect(page.locator("#figures")).to_contain_text("dilated 5 px")
        expect(page.locator("#heat img")).to_be_visible()
        expect(page.locator("#run")).to_be_enabled()
        expect(page.locator("#stop-run")).to_be_disabled()
        archive = saved(page, "#download-robustness", tmp_path)
    with zipfile.ZipFile(archive) as files:
        lines = files.read("robustness.csv").decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["grow_px", "-5", "0", "5"]
    assert lines[2].startswith("0,0.0000,0.0000,")


@pytest.mark.browser
def test_programs_get_the_same(browser, address, tmp_path):
    client = Client(address, verbose=False, download_files=str(tmp_path))
    photo = handle_file(str(ASTRONAUT))
    mask = client.predict(photo=photo, api_name="/segment")
    cutout, alpha = client.predict(
        photo=photo, mask=handle_file(mask), foreground="raw", api_name="/matte"
    )
    green = client.predict(cutout=handle_file(cutout), colour="#00ff00", api_name="/composite")
    settings = Recipe(foreground="raw", background=Background("colour", "#00ff00")).to_json()
    result, result_alpha = client.predict(photo=photo, settings=settings, api_name="/apply")
    (first, _, _) = client.predict(photo=photo, sizes="5", api_name="/robustness")
    # The same by other words; a click adds the wall that nobody found, and one drops her face.
    points = [[500, 10], [200, 105, False]]
    again, fast, clicked = (
        read_mask(client.predict(photo=photo, api_name="/matte", foreground="raw", **options)[1])
        for options in (
            {"category": "person", "threshold": 0.5, "quality": "best"},
            {"quality": "fast"},
            {"quality": "fast", "points": points},
        )
    )
    by_clicks = read_mask(client.predict(photo=photo, points=points, api_name="/segment"))
    assert (by_clicks[10, 500], by_clicks[105, 200]) == (1, 0)
    assert (read_mask(mask)[10, 500], read_mask(mask)[105, 200]) == (0, 1)
    (best_json, _) = client.predict(
        photo=photo, settings='{"foreground": "raw"}', api_name="/apply"
    )
    fine = read_mask(alpha)
    np.testing.assert_array_equal(again, fine)
    np.testing.assert_array_equal(read_alpha(best_json), read_alpha(cutout))
    assert np.abs(clicked - fast).max() > 0.5
    for wrong in ("here", [1, 2], [[1, 2, 3]], [[9999, 2]]):
        with pytest.raises(AppError, match=r"(?i)points must be|click must lie within"):
            client.predict(photo=photo, points=wrong, api_name="/matte")
    assert np.abs(read_alpha(cutout) - fine).max() <= 0.51 / 255
    expected = fine[..., None] * read_image(ASTRONAUT) + (1 - fine[..., None]) * [0, 1, 0]
    assert np.abs(read_image(green) - expected).max() < 0.01
    np.testing.assert_array_equal(read_mask(result_alpha), fine)
    assert np.abs(read_image(result) - expected).max() < 0.01
    assert first["grow_px"] == -5
    assert first["sad"] > 0


@pytest.mark.browser
def test_the_shell_commands_of_the_docs_give_the_same(address, tmp_path):
    text = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    script = text.partition("```bash\n")[2].partition("```")[0]
    script = script.replace("http://localhost:7860", address.rstrip("/"))
    write_image(tmp_path / "photo.jpg", read_image(ASTRONAUT))
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    client = Client(address, verbose=False, download_files=str(tmp_path))
    cutout, _ = client.predict(photo=handle_file(str(tmp_path / "photo.jpg")), api_name="/matte")
    assert (tmp_path / "cutout.png").read_bytes() == Path(cutout).read_bytes()
