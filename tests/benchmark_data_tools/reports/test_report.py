import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from browsers import launch

from benchmark_data_tools.__main__ import main
from benchmark_data_tools.reports.report import build, error_map
from mgm_core.images import read_image, write_image


def run(mini_benchmark, out, table, *arguments):
    command = ["run", table, "--data", str(mini_benchmark / table), "--out", str(out)]
    assert main([*command, "--processes", "1", *arguments]) == 0


class Sources(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(dict(attrs)["src"])


@pytest.fixture(scope="module")
def mini_report(mini_benchmark, untrained, tmp_path_factory):
    """The mini benchmark's report on every table, with few methods.

    The network answers tables 2 and 4 alone, on two images, as each of its answers takes a second.
    """
    folder = tmp_path_factory.mktemp("mini_report")
    results = folder / "results"
    (folder / "two.txt").write_text("mini_0\nmini_1\n")
    two = ["--subset", str(folder / "two.txt")]
    run(mini_benchmark, results, "1", "--method", "closed_form", "--method", "guidance")
    run(mini_benchmark, results, "2", "--method", "guidance", "--refiner", untrained, *two)
    run(mini_benchmark, results, "3", "--method", "truth", "--method", "truth+multilevel")
    run(mini_benchmark, results, "4", "--method", untrained, *two)
    probability = str(mini_benchmark / "5" / "probability")
    run(mini_benchmark, results, "5", "--method", "guidance", "--probability", probability)
    methods = ["--method", "guidance", "--method", "truth"]
    run(mini_benchmark, results, "robustness", *methods, "--kernels", "10", "20")
    out = folder / "report"
    assert main(["report", str(results), "--out", str(out), "--thumbnails", "2"]) == 0
    return out


@pytest.mark.parametrize("table", ["1", "2", "3", "4", "5", "robustness"])
def test_every_table_is_written_in_every_format(mini_report, table):
    for file in (f"{table}.md", f"{table}.tex", f"{table}.csv", f"{table}_images.csv"):
        assert (mini_report / file).stat().st_size > 0
    assert read_image(mini_report / f"{table}.png").std() > 0.05
    text = (mini_report / f"{table}.md").read_text()
    assert "(published)" in text
    assert re.search(r"data manifest SHA-256: `[0-9a-f]{64}`", text)


def test_the_page_shows_only_pictures_that_exist(mini_report):
    sources = Sources((mini_report / "index.html").read_text()).found
    assert len(sources) > 40
    assert all((mini_report / source).is_file() for source in sources)


def test_images_come_worst_first(mini_report):
    page = (mini_report / "index.html").read_text()
    section = page[page.index("<h2>Table 1: ") :]
    section = section[section.index("<tbody>", section.index("worst first")) :]
    section = section[: section.index("</tbody>")]
    errors = [
        float(re.search(r"<td>([\d.e-]+)</td>", line)[1]) for line in section.split("<tr>")[1:]
    ]
    assert len(errors) == 18  # 6 images: closed-form once, the guidance itself in both kinds
    assert errors == sorted(errors, reverse=True)
    assert section.count("class='pictures'") == 6  # 2 thumbnails of each


def test_figure_6_has_a_row_of_guidance_and_a_row_a_method(mini_report):
    strips = sorted(mini_report.glob("robustness_strip_*.png"))
    assert len(strips) == 3
    strip = read_image(strips[0])
    assert strip.shape == (2 * 164, 5 * 204, 3)
    guidance, mattes = strip[:164], strip[164:]
    assert np.ptp(guidance, axis=2).max() > 0.3  # a green tint over the photograph
    assert np.ptp(mattes, axis=2).max() == 0


def test_figure_6_is_white_where_a_method_has_not_answered(mini_benchmark, tmp_path):
    alphas = mini_benchmark / "robustness" / "alpha_copy"
    shutil.copytree(alphas, tmp_path / "mattes" / "unchanged")
    methods = ["--method", f"folder:{tmp_path / 'mattes'}", "--method", "truth"]
    run(mini_benchmark, tmp_path / "results", "robustness", *methods, "--kernels", "10")
    build(tmp_path / "results", tmp_path / "report")
    strip = read_image(min((tmp_path / "report").glob("robustness_strip_*.png")))
    assert strip.shape == (3 * 164, 3 * 204, 3)
    partial, truth = (np.split(strip[164 * line :][:164], 3, axis=1) for line in (1, 2))
    answered = [not (cell == 1).all() for cell in partial]
    assert sum(answered) == 1
    column = answered.index(True)
    np.testing.assert_allclose(partial[column], truth[column], atol=1 / 255)


def test_an_error_map_is_red_where_too_high_and_blue_where_too_low():
    prediction = np.array([[1.0, 0.5, 0.0, 0.625]], np.float32)
    truth = np.array([[0.0, 0.5, 1.0, 0.5]], np.float32)
    assert error_map(prediction, truth).tolist() == [
        [[1, 0, 0], [1, 1, 1], [0, 0, 1], [1, 0.5, 0.5]]
    ]
    colours = np.repeat(prediction[..., None], 3, axis=2)
    true_colours = np.repeat(truth[..., None], 3, axis=2)
    assert np.array_equal(error_map(colours, true_colours), error_map(prediction, truth))


def test_a_report_on_other_data_than_the_run_s_is_refused(mini_benchmark, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(mini_benchmark / "4", data / "4")
    run(data, tmp_path / "results", "4", "--method", "guidance")
    write_image(data / "4" / "alpha_copy" / "mini_0.png", np.ones((256, 320), np.float32))
    with pytest.raises(ValueError, match=r"must hold the files that .* was made from, got other"):
        build(tmp_path / "results", tmp_path / "report")


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold results, got none: run a benchmark first"):
        build(tmp_path, tmp_path / "report")


@pytest.mark.browser
def test_a_click_on_a_column_sorts_the_images(mini_report):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.goto((mini_report / "index.html").as_uri())
        table = page.locator("section").first.locator("table.sortable").nth(1)

        def shown():
            return [
                float(text) for text in table.locator("tbody td:nth-child(4)").all_inner_texts()
            ]

        table.locator("thead th").nth(3).click()
        assert shown() == sorted(shown())
        table.locator("thead th").nth(3).click()
        assert shown() == sorted(shown(), reverse=True)
        images = page.locator("img")
        images.last.scroll_into_view_if_needed()
        assert images.first.evaluate("image => image.naturalWidth") > 0
        browser.close()
