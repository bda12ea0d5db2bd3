"""A run's results as files to read: tables, charts, and a page with every image's errors.

For a run R the report holds R.md, R.tex, R.csv (means and percentiles), R_images.csv, R.png
(chart), for a robustness run also R_strip_NAME.png (as the paper's Figure 6), and the folder R
with thumbnails. index.html shows all of them.
"""

from html import escape
from pathlib import Path

import cv2
import numpy as np

from benchmark_data_tools.data.layouts import find_samples
from benchmark_data_tools.data.samples import Pictures, read_colours, read_prediction
from benchmark_data_tools.methods import MethodSpec
from benchmark_data_tools.protocols import Settings, signed_kernel_px, variants
from benchmark_data_tools.reports.page import PAGE
from benchmark_data_tools.reports.plots import line_chart
from benchmark_data_tools.reports.tables import (
    REGIONS,
    UNITS,
    Results,
    Series,
    columns,
    figure,
    images_csv,
    label,
    latex,
    markdown,
    means_csv,
    note,
    read_results,
    table_rows,
    title,
)
from benchmark_data_tools.runner import (
    Job,
    JsonObject,
    Plan,
    job_case,
    manifest_sha256,
    pictures_of,
)
from mgm_core.arrays import Floats, limit_side
from mgm_core.images import write_image

THUMBNAIL_PX = 160
STRIP_HEIGHT_PX = 160
STRIPS = 3
ERROR_SATURATES_AT = 0.25
GUIDANCE_COLOUR = np.array([0.1, 0.8, 0.2], np.float32)


def build(results_folder: Path, out: Path, *, thumbnails: int = 50) -> list[str]:
    """Write a report on every run under a folder.

    Args:
        results_folder: A run's `--out`, or any folder above.
        out: Folder to write to.
        thumbnails: How many images of every method get thumbnails, the worst first.

    Returns:
        The tables in Markdown.

    Raises:
        ValueError: If results are missing, or their data are no longer the same.
    """
    folders = sorted(path.parent for path in results_folder.rglob("run.json"))
    if not folders:
        raise ValueError(f"{results_folder} must hold results, got none: run a benchmark first")
    out.mkdir(parents=True, exist_ok=True)
    sections, tables = [], []
    for folder in folders:
        results = read_results(folder)
        name = "_".join(folder.relative_to(results_folder).parts) or results.table
        table = markdown(results)
        tables.append(table)
        (out / f"{name}.md").write_text(table + _markdown_provenance(results), "utf-8")
        (out / f"{name}.tex").write_text(latex(results), "utf-8")
        (out / f"{name}.csv").write_text(means_csv(results), "utf-8")
        (out / f"{name}_images.csv").write_text(images_csv(results), "utf-8")
        write_image(out / f"{name}.png", _chart(results))
        sections.append(_Section(results, out, name).html(thumbnails))
    (out / "index.html").write_text(PAGE.replace("@SECTIONS@", "\n".join(sections)), "utf-8")
    return tables


def error_map(prediction: Floats, truth: Floats) -> Floats:
    """Show where a prediction errs: red where it is too high, blue where it is too low.

    Args:
        prediction: (H, W) or (H, W, 3) float32 in [0, 1].
        truth: Of the same shape.

    Returns:
        (H, W, 3) float32 in [0, 1], white where they agree, full colour from 0.25 on.
    """
    error = prediction - truth
    if error.ndim == 3:
        error = error.mean(axis=2)
    strength = np.clip(error / ERROR_SATURATES_AT, -1, 1)[..., None]
    too_high = np.maximum(strength, 0) * np.array([0, 1, 1], np.float32)
    too_low = np.maximum(-strength, 0) * np.array([1, 1, 0], np.float32)
    shown: Floats = 1 - too_high - too_low
    return shown


class _Section:
    """One run's part of the page, with the pictures that it shows."""

    def __init__(self, results: Results, out: Path, name: str) -> None:
        self.results, self.out, self.name = results, out, name
        self.plan = plan_of(results)
        self.samples = {sample.name: sample for sample in self.plan.samples}
        self.shown_samples: set[str] = set()
        (out / name).mkdir(exist_ok=True)

    def html(self, thumbnails: int) -> str:
        """The section, after its pictures are written."""
        strips = "".join(_figure_html(strip) for strip in self._strips())
        return (
            f"<section><h2>{escape(title(self.results))}</h2>"
            f"{_means_html(self.results)}"
            f"{_figure_html(f'{self.name}.png')}{strips}"
            f"<h3>Images, worst first</h3>{self._images_html(thumbnails)}"
            f"<h3>Provenance</h3>{_provenance_html(self.results)}</section>"
        )

    def _images_html(self, thumbnails: int) -> str:
        region, metric = self.results.main_error
        measured = self.results.series[0].means()
        errors = [column for column in columns(self.results) if column in measured]
        ranked = [
            (float(row["errors"][region][metric]), rank < thumbnails, series, row)
            for series in self.results.series
            for rank, row in enumerate(
                sorted(series.rows, key=lambda row: -row["errors"][region][metric])
            )
        ]
        ranked.sort(key=lambda entry: -entry[0])
        head = "".join(f"<th>{escape(f'{REGIONS[r]}: {UNITS[m][0]}')}</th>" for r, m in errors)
        lines = []
        for _, shown, series, row in ranked:
            cells = "".join(f"<td>{row['errors'][r][m] * UNITS[m][1]:.4g}</td>" for r, m in errors)
            pictures = self._thumbnails(series, row) if shown else "<td></td>"
            lines.append(
                f"<tr><th>{escape(series.label)}</th><th>{escape(row['name'])}</th>"
                f"{pictures}{cells}<td>{row['seconds']:.2f}</td></tr>"
            )
        return (
            "<table class='sortable'><thead><tr><th>method</th><th>image</th>"
            f"<th>image, truth, prediction, error</th>{head}<th>seconds</th></tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>"
        )

    def _thumbnails(self, series: Series, row: JsonObject) -> str:
        name = row["name"]
        pictures = pictures_of(self.samples[name], self.plan.settings)
        truth = _shown_truth(pictures, self.results.table)
        folder = self.results.folder / series.slug / series.variant
        prediction = read_prediction(folder / f"{name}.png", pictures.alpha.shape)
        if self.results.table == "3":
            colours = read_colours(folder / f"{name}.foreground.png", pictures.alpha.shape)
            prediction = prediction[..., None] * colours
        if name not in self.shown_samples:
            self.shown_samples.add(name)
            self._write(f"{name}.image.png", pictures.image)
            self._write(f"{name}.truth.png", truth)
        own = f"{series.slug}.{series.variant}.{name}"
        self._write(f"{own}.png", prediction)
        self._write(f"{own}.error.png", error_map(prediction, truth))
        files = [f"{name}.image.png", f"{name}.truth.png", f"{own}.png", f"{own}.error.png"]
        return (
            f"<td class='pictures'>{''.join(_picture_html(f'{self.name}/{f}') for f in files)}</td>"
        )

    def _write(self, file: str, picture: Floats) -> None:
        write_image(self.out / self.name / file, limit_side(picture, THUMBNAIL_PX))

    def _strips(self) -> list[str]:
        """Figure 6: guidance over the image, and below it what each method makes of it."""
        if self.results.table != "robustness":
            return []
        methods = [method for method in self.plan.methods if method.alpha != "guidance"]
        if not methods:
            return []
        shown = variants(self.results.table, self.plan.settings)
        written = []
        for sample in self.plan.samples[:STRIPS]:
            cases = [job_case(self.plan, Job(methods[0], variant, sample)) for variant in shown]
            lines = [[overlay(c.pictures.image, c.guidance) for c in cases]]
            size = cases[0].pictures.alpha.shape
            lines += [[self._answer(m, v, sample.name, size) for v in shown] for m in methods]
            file = f"{self.name}_strip_{sample.name}.png"
            write_image(self.out / file, _grid(lines))
            written.append(file)
        return written

    def _answer(self, method: MethodSpec, variant: str, name: str, size: tuple[int, ...]) -> Floats:
        """A method's matte in grey, (H, W, 3), white where it has none of this guidance."""
        if not any(s.slug == method.slug and s.variant == variant for s in self.results.series):
            return np.ones((*size, 3), np.float32)
        matte = read_prediction(self.plan.folder(method, variant) / f"{name}.png", size)
        return np.repeat(matte[..., None], 3, axis=2)


def plan_of(results: Results) -> Plan:
    """The run that results are of, after making sure that its data are still the same.

    Raises:
        ValueError: If the benchmark's files have changed, or some are missing.
    """
    run = results.run
    settings = dict(run["settings"])
    settings["kernels_px"] = tuple(settings["kernels_px"])
    data = Path(run["data"])
    plan = Plan(
        table=results.table,
        data=data,
        samples=tuple(find_samples(results.table, data, run["samples"])),
        methods=tuple(MethodSpec(**method["spec"]) for method in results.methods),
        settings=Settings(**settings),
        out=results.folder,
        bits=run["bits"],
    )
    if manifest_sha256(plan) != run["manifest_sha256"]:
        raise ValueError(
            f"{data} must hold the files that {results.folder} was made from, got other ones: "
            "restore them, or run anew"
        )
    return plan


def _chart(results: Results) -> Floats:
    region, metric = results.main_error
    y_label = f"{REGIONS[region]}: {UNITS[metric][0]}"
    lines: dict[str, list[tuple[float, float]]] = {}
    if results.table == "robustness":
        for series in results.series:
            mean = series.means()[region, metric] * UNITS[metric][1]
            lines.setdefault(series.method, []).append((signed_kernel_px(series.variant), mean))
        ticks = sorted({x for line in lines.values() for x, _ in line})
        x_label = "kernel diameter in px: eroded (below 0), dilated (above 0)"
        return line_chart(title(results), x_label, y_label, lines, x_ticks=ticks)
    for series in results.series:
        values = sorted(series.values(region, metric))
        lines[series.label] = [
            (100 * (rank + 1) / len(values), value * UNITS[metric][1])
            for rank, value in enumerate(values)
        ]
    x_label = "share of the images with at most this error, %"
    return line_chart(title(results), x_label, y_label, lines, x_ticks=range(0, 101, 20))


def _means_html(results: Results) -> str:
    shown = columns(results)
    head = "".join(f"<th>{escape(f'{REGIONS[r]}: {UNITS[m][0]}')}</th>" for r, m in shown)
    lines = "".join(
        f"<tr class='{'published' if row.published else 'measured'}'><th>{escape(label(row))}</th>"
        + "".join(f"<td>{figure(row, column) or ''}</td>" for column in shown)
        + "</tr>"
        for row in table_rows(results)
    )
    return (
        f"<table class='sortable'><thead><tr><th>method</th>{head}</tr></thead>"
        f"<tbody>{lines}</tbody></table><p>{escape(note(results))}</p>"
    )


def _provenance(results: Results) -> list[tuple[str, str]]:
    run = results.run
    lines = [
        ("data", run["data"]),
        ("data manifest SHA-256", run["manifest_sha256"]),
        ("settings", ", ".join(f"{k}={v}" for k, v in run["settings"].items())),
        ("bits of stored predictions", str(run["bits"])),
    ]
    for method in results.methods:
        known = method["identity"] | method["versions"]
        found = ", ".join(f"{k} {v}" for k, v in known.items() if k != "method")
        lines.append((method["label"], f"{method['date']}; {method['command']}; {found}"))
    return lines


def _provenance_html(results: Results) -> str:
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td class='text'>{escape(value)}</td></tr>"
        for name, value in _provenance(results)
    )
    return f"<table>{lines}</table>"


def _markdown_provenance(results: Results) -> str:
    lines = [f"- {name}: `{value}`" for name, value in _provenance(results)]
    return "\n".join(["", "Provenance:", "", *lines, ""])


def _figure_html(file: str) -> str:
    return f"<figure><img src='{escape(file)}' alt='{escape(file)}'></figure>"


def _picture_html(file: str) -> str:
    return f"<img loading='lazy' src='{escape(file)}' alt='{escape(file)}'>"


def _shown_truth(pictures: Pictures, table: str) -> Floats:
    if table != "3":
        return pictures.alpha
    assert pictures.foreground is not None, "table 3's layout asks for true colours"
    return pictures.alpha[..., None] * pictures.foreground


def overlay(image: Floats, guidance: Floats) -> Floats:
    """Tint an image green where the guidance marks it.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        guidance: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    weight = 0.5 * guidance[..., None]
    return (image * (1 - weight) + GUIDANCE_COLOUR * weight).astype(np.float32)


def _grid(lines: list[list[Floats]]) -> Floats:
    """Pictures of one size in lines and columns, a white gap between them."""

    def cell(picture: Floats) -> Floats:
        height, width = picture.shape[:2]
        size = (round(width * STRIP_HEIGHT_PX / height), STRIP_HEIGHT_PX)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        padded = np.pad(small, ((2, 2), (2, 2), (0, 0)), constant_values=1)
        return padded.astype(np.float32, copy=False)

    return np.concatenate(
        [np.concatenate([cell(picture) for picture in line], axis=1) for line in lines], axis=0
    )
