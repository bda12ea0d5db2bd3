"""The real page: what is shared and played with, on its pixels."""

import base64
from io import BytesIO

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from real_page import cut_out, open_tab, saved, upload, visit

from demo.examples import EXAMPLES
from demo.play.card import COPY, COPY_BEGUN
from mgm_core.images import encode_png, read_alpha, read_image, read_mask

pytestmark = pytest.mark.browser
_CLIPBOARD = """async () => {
  const [item] = await navigator.clipboard.read();
  const bytes = new Uint8Array(await (await item.getType("image/png")).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    """A small portrait: what is played with is computed many times."""
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    with Image.open(EXAMPLES[0].photo_path) as photo:
        photo.convert("RGB").resize((256, 256 * photo.height // photo.width)).save(path)
    return path


def test_what_is_shared_and_played_with(browser, address, portrait, tmp_path):
    photo = read_image(portrait)
    height, width = photo.shape[:2]
    with visit(
        browser,
        address,
        viewport={"width": 1400, "height": 1300},
        permissions=["clipboard-read", "clipboard-write"],
    ) as page:
        cut_out(page, portrait)
        # The clipboard holds what the download holds.
        page.click("#copy")
        expect(page.locator("#copy")).to_have_text("Copied")
        copied = read_image(BytesIO(base64.b64decode(page.evaluate(_CLIPBOARD))))
        composite = saved(page, "#download-composite", tmp_path)
        alpha = read_alpha(composite)
        seen = alpha > 0.5  # browsers do not keep colours where nothing is seen
        np.testing.assert_allclose(copied[seen], read_image(composite)[seen], atol=2 / 255)
        expect(page.locator("#copy")).to_have_text("Copy")
        # The card: photo, mask and result side by side.
        card = read_image(saved(page, "#card", tmp_path))
        assert card.shape[1] > 3 * width
        assert np.abs(card[24 : 24 + height, 24 : 24 + width] - photo).mean() < 0.02

        open_tab(page, "Play")
        # A terrible mask: one stroke down the middle.
        canvas = page.locator("#scribble canvas")
        expect(page.locator("#scribble [data-edits]")).to_have_attribute("data-edits", "0")
        page.click("#scribble [data-tool=add]")
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.3)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.9, steps=4)
        page.mouse.up()
        expect(page.locator("#scribble [data-edits]")).to_have_attribute("data-edits", "1")
        page.click("#scribble-run")
        expect(page.locator("#scribble-score")).to_contain_text("Best so far")
        expect(page.locator("#scribble-pictures img")).to_have_count(3)

        open_tab(page, "A loop")
        # Stop is there while it computes, and ends it; then it is made again.
        page.click("#loop-run")
        expect(page.locator("#loop-shown img")).to_be_visible()
        page.click("#loop-stop")
        expect(page.locator("#loop-stop")).to_be_hidden()
        expect(page.locator("#loop-gif")).to_be_disabled()
        page.click("#loop-run")
        expect(page.locator("#loop-measured")).to_contain_text("of the subject, the cut-out by")
        with Image.open(saved(page, "#loop-gif", tmp_path)) as gif:
            assert gif.n_frames == 20
            first, last = (np.asarray(frame_of(gif, n), float) for n in (5, 15))
        # The mask moves, the cut-out hardly.
        half = first.shape[1] // 2
        moves = np.abs(first - last).mean(axis=(0, 2))
        assert moves[:half].mean() > 2 * moves[half:].mean()
        with av.open(str(saved(page, "#loop-mp4", tmp_path))) as movie:
            assert sum(1 for _ in movie.decode(video=0)) == 80

        open_tab(page, "A loupe")
        page.click("#loupe-run")
        alpha_pane = page.locator("#loupe [data-pane=alpha] img")
        expect(alpha_pane).to_be_visible()
        page.locator("#loupe .whole").hover(position={"x": 60, "y": 80})
        x, y = map(int, page.locator("#loupe [data-at]").get_attribute("data-at").split())
        pane = grey(page.locator("#loupe [data-pane=alpha]").screenshot())
        expected = magnified(read_alpha(composite), x, y, pane.shape)
        assert np.abs(pane - expected)[8:-8, 8:-8].mean() < 0.02
        fine = grey(page.locator("#loupe .whole").screenshot())
        page.locator("#loupe input[type=range]").fill("0")
        expect(page.locator("#loupe output")).to_have_text("Coarse")
        coarse = grey(page.locator("#loupe .whole").screenshot())
        assert np.abs(fine - coarse).mean() > 0.001

        open_tab(page, "Compare")
        other = np.dstack([photo, np.zeros((height, width), np.float32)])
        other[:, : width // 2, 3] = 1
        (tmp_path / "other.png").write_bytes(encode_png(other))
        upload(page, "#other", tmp_path / "other.png")
        expect(page.locator("#other img")).to_be_visible()
        page.click("#compare-run")
        expect(page.locator("#compare-note")).to_contain_text("They differ by")
        theirs = page.locator("#compare-pair figure img").nth(1)
        expect(theirs).to_be_visible()
        colours = theirs.get_attribute("src")
        page.locator("#compare-what label", has_text="Alpha").click()
        expect(theirs).not_to_have_attribute("src", colours)
        shown = read_mask(BytesIO(page.request.get(theirs.evaluate("e => e.src")).body()))
        np.testing.assert_allclose(shown, other[..., 3], atol=0.01)


def test_another_photo_empties_what_was_made_of_the_one_before(
    browser, address, portrait, tmp_path
):
    photo = read_image(portrait)
    (tmp_path / "other.png").write_bytes(encode_png(photo[:, ::-1].copy()))
    cutout = np.dstack([photo, np.ones(photo.shape[:2], np.float32)])
    cutout[0, 0, 3] = 0
    (tmp_path / "cutout.png").write_bytes(encode_png(cutout))
    with visit(browser, address, viewport={"width": 1400, "height": 1300}) as page:
        cut_out(page, portrait)
        open_tab(page, "Robustness")
        page.fill("#sizes textarea, #sizes input", "5")
        page.click("#run")
        expect(page.locator("#download-robustness")).to_be_enabled()
        open_tab(page, "Play")
        open_tab(page, "A loupe")
        page.click("#loupe-run")
        expect(page.locator("#loupe [data-pane=alpha] img")).to_be_visible()
        open_tab(page, "Compare")
        page.click("#compare-run")
        expect(page.locator(".toast-body")).to_contain_text("Another result must be given")
        expect(page.locator("#compare-stop")).to_be_hidden()
        upload(page, "#other", tmp_path / "cutout.png")
        expect(page.locator("#other img")).to_be_visible()
        page.click("#compare-run")
        expect(page.locator("#compare-note")).to_contain_text("They differ by")
        open_tab(page, "A loop")
        page.click("#loop-run")
        expect(page.locator("#loop-shown img")).to_be_visible()  # and more frames are to come

        open_tab(page, "Cut out")
        upload(page, "#photo", tmp_path / "other.png")
        open_tab(page, "Play")
        expect(page.locator("#loop-shown img")).to_have_count(0)
        expect(page.locator("#loop-run")).to_be_enabled()
        expect(page.locator("#loop-stop")).to_be_hidden()
        open_tab(page, "A loupe")
        expect(page.locator("#loupe .whole")).to_be_hidden()
        open_tab(page, "Compare")
        expect(page.locator("#compare-slider")).to_have_count(0)
        expect(page.locator("#other img")).to_have_count(0)
        expect(page.locator("#compare-note")).to_have_text("")
        open_tab(page, "Robustness")
        expect(page.locator("#curve circle.done")).to_have_count(0)
        expect(page.locator("#strip img")).to_have_count(0)
        expect(page.locator("#heat img")).to_have_count(0)
        expect(page.locator("#figures")).not_to_contain_text("dilated 5 px")
        expect(page.locator("#download-robustness")).to_be_disabled()
        open_tab(page, "Play")
        open_tab(page, "A loop")
        expect(page.locator("#loop-shown img")).to_have_count(0)


def frame_of(gif, number):
    gif.seek(number)
    return gif.convert("RGB")


def grey(png):
    return read_image(BytesIO(png))[..., 1]


def magnified(alpha, x, y, size):
    """What a loupe of 200 % shows around a pixel, nothing where the picture ends."""
    height, width = size
    rows = np.floor((np.arange(height) - height / 2 + 0.5) / 2 + y + 0.5).astype(int)
    columns = np.floor((np.arange(width) - width / 2 + 0.5) / 2 + x + 0.5).astype(int)
    inside = np.ix_(
        (rows >= 0) & (rows < alpha.shape[0]), (columns >= 0) & (columns < alpha.shape[1])
    )
    shown = np.ones(size, np.float32)
    shown[inside] = alpha[
        np.ix_(rows.clip(0, alpha.shape[0] - 1), columns.clip(0, alpha.shape[1] - 1))
    ][inside]
    return shown


_COPY_ALONE = """() => {
  document.body.innerHTML = '<button id="copy">Copy</button>';
  window.ClipboardItem = class { constructor(kinds) { this.picture = kinds["image/png"]; } };
  Object.defineProperty(navigator, "clipboard", {value: {write: ([item]) => item.picture}});
}"""


def test_who_refused_a_copy_is_told_apart(browser):
    page = browser.new_page()
    page.evaluate(_COPY_ALONE)
    # Gradio gives no file where the server refused.
    for file, said in (
        (None, "That did not work"),
        ({"url": "nowhere:"}, "The browser refused: use Download"),
    ):
        page.evaluate(COPY_BEGUN)
        page.evaluate(COPY, file)
        expect(page.locator("#copy")).to_have_text(said)
    page.close()
