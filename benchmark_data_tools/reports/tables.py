"""Tables out of a run's results: means over images, beside the paper's figures.

A table is written as Markdown, LaTeX and CSV; units stand in its head.
"""

import csv
import io
import json
import logging
import statistics
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark_data_tools.data.layouts import LAYOUTS
from benchmark_data_tools.methods import parse
from benchmark_data_tools.metrics import PERCENTILES, percentiles
from benchmark_data_tools.reports.published import PUBLISHED, Figures
from benchmark_data_tools.runner import JsonObject, rows

log = logging.getLogger(__name__)

UNITS = {
    "sad": ("SAD (/1000)", 1.0),
    "mse": ("MSE (x1e-3)", 1e3),
    "grad": ("Grad (/1000)", 1.0),
    "conn": ("Conn (/1000)", 1.0),
    "sad_ratio": ("SAD / unchanged's", 1.0),
    "sad_gain": ("SAD / guidance's", 1.0),
    "mse_gain": ("MSE / guidance's", 1.0),
}
REGIONS = {
    "whole": "whole image",
    "unknown": "unknown region",
    "band": "20 px band",
    "details": "details",
    "details_above_0.1": "details above 0.1",
    "alpha_F_unknown": "alpha F, unknown region",
    "alpha_F_whole": "alpha F, whole image",
    "F": "F, alpha > 0",
}
FOUR = ("sad", "mse", "grad", "conn")
COLUMNS: dict[str, list[tuple[str, str]]] = {
    "1": [("unknown", m) for m in FOUR] + [("whole", "sad"), ("whole", "mse"), ("band", "mse")],
    "2": [("unknown", m) for m in FOUR] + [("whole", "sad"), ("whole", "mse")],
    "3": [(r, m) for r in ("alpha_F_unknown", "F") for m in ("sad", "mse")],
    "4": [(r, m) for r in ("whole", "unknown") for m in ("sad", "mse")],
    "5": [(r, m) for r in ("whole", "details", "details_above_0.1") for m in ("sad", "mse")],
    "robustness": [
        ("whole", "sad"),
        ("whole", "mse"),
        ("whole", "sad_ratio"),
        ("whole", "sad_gain"),
        ("whole", "mse_gain"),
        ("band", "mse"),
    ],
}


@dataclass(frozen=True)
class Series:
    """The results of one variant of one method.

    Args:
        label: Its name in a table.
        method: The method's name.
        slug: The method's folder.
        variant: The guidance's name.
        rows: One an image.
    """

    label: str
    method: str
    slug: str
    variant: str
    rows: list[JsonObject]

    def values(self, region: str, metric: str) -> list[float]:
        """An error for every image."""
        return [float(row["errors"][region][metric]) for row in self.rows]

    def means(self) -> Figures:
        """Every error's mean over the images."""
        return {
            (region, metric): statistics.fmean(self.values(region, metric))
            for region, errors in self.rows[0]["errors"].items()
            for metric in errors
        }


@dataclass(frozen=True)
class Results:
    """All results of one table's run.

    Args:
        folder: Where they lie.
        run: What run.json says.
        methods: What each method.json says.
        series: In order of method, then variant.
    """

    folder: Path
    run: JsonObject
    methods: list[JsonObject]
    series: list[Series]

    @property
    def table(self) -> str:
        """Key of LAYOUTS."""
        return str(self.run["table"])

    @property
    def main_error(self) -> tuple[str, str]:
        """The error that images are ranked by: the table's first column."""
        return COLUMNS[self.table][0]


@dataclass(frozen=True)
class Row:
    """A table's line; a figure that does not exist is left out of `figures`."""

    label: str
    published: bool
    figures: Figures


def read_results(folder: Path, slugs: Container[str] | None = None) -> Results:
    """Read a run's results.

    Args:
        folder: `--out` of a run, with the table's name.
        slugs: Folders of the methods that must be finished, others may be left out; None asks it
            of all.

    Returns:
        The results.

    Raises:
        ValueError: If there are none, or the run is not finished.
    """
    if not (folder / "run.json").exists():
        raise ValueError(f"{folder} must hold run.json, got none: run a benchmark first")
    run = json.loads((folder / "run.json").read_text("utf-8"))
    methods: list[JsonObject] = []
    series = []
    found = [
        (path.parent.name, json.loads(path.read_text("utf-8")))
        for path in folder.glob("*/method.json")
    ]
    for slug, method in sorted(found, key=lambda pair: (pair[1]["date"], pair[1]["position"])):
        try:
            errors_of = {v: rows(folder, slug, v, run["samples"]) for v in method["variants"]}
        except ValueError as error:
            if slugs is None or slug in slugs:
                raise
            log.warning("left out %s: %s", method["label"], error)
            continue
        methods.append(method)
        for variant, errors in errors_of.items():
            label = method["label"]
            if len(method["variants"]) > 1:
                label += f", {variant}"
            series.append(Series(label, method["label"], slug, variant, errors))
    if not series:
        raise ValueError(f"{folder} must hold a method's results, got none: run it first")
    return Results(folder, run, methods, series)


def series_of(results: Results, method: str) -> list[Series]:
    """The results of one method.

    Args:
        results: A run's results.
        method: Its name in the tables, or as the run's command line named it.

    Returns:
        A series a variant; none where the run has no such method.
    """
    found = [series for series in results.series if series.method == method]
    if not found:
        with suppress(ValueError):
            label = parse(method, results.table).label
            found = [series for series in results.series if series.method == label]
    return found


def table_rows(results: Results) -> list[Row]:
    """The paper's lines, then the measured ones.

    Args:
        results: A run's results.

    Returns:
        Rows of unscaled figures.
    """
    paper = [Row(label, True, found) for label, found in PUBLISHED[results.table].items()]
    means = {(s.method, s.variant): s.means() for s in results.series}
    measured = [
        Row(s.label, False, means[s.method, s.variant] | _ratios(means, s.method, s.variant))
        for s in results.series
    ]
    return paper + measured


def markdown(results: Results) -> str:
    """A table for a README.

    Args:
        results: A run's results.

    Returns:
        Markdown, with a title and a note on provenance.
    """
    shown = columns(results)
    lines = [
        f"### {title(results)}",
        "",
        _markdown_line(["Method", *(f"{REGIONS[r]}: {UNITS[m][0]}" for r, m in shown)]),
        _markdown_line(["---", *("---:" for _ in shown)]),
        *(
            _markdown_line([label(row), *(figure(row, column) or "-" for column in shown)])
            for row in table_rows(results)
        ),
        "",
        note(results),
        "",
    ]
    return "\n".join(lines)


def latex(results: Results) -> str:
    """A table for a paper (needs the booktabs package).

    Args:
        results: A run's results.

    Returns:
        LaTeX source of a table environment.
    """
    shown = columns(results)
    head = ["Method", *(f"{REGIONS[r]}: {UNITS[m][0]}" for r, m in shown)]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_tex(title(results))}. {_tex(note(results))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(shown)}}}",
        r"\toprule",
        " & ".join(rf"\rotatebox{{90}}{{{_tex(name)}}}" for name in head) + r" \\",
        r"\midrule",
        *(
            " & ".join([_tex(label(row)), *(figure(row, c) or "--" for c in shown)]) + r" \\"
            for row in table_rows(results)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def means_csv(results: Results) -> str:
    """Every figure, unrounded, with its spread over the images.

    Args:
        results: A run's results.

    Returns:
        CSV, one line a method, region and metric; MSE unscaled, the others / 1,000.
    """
    spread = [f"p{p}" for p in PERCENTILES]
    lines: list[list[object]] = [
        ["method", "published", "region", "metric", "images", "mean", *spread]
    ]
    measured = {series.label: series for series in results.series}
    for row in table_rows(results):
        for (region, metric), mean in row.figures.items():
            found: list[object] = ["" for _ in spread]
            images: object = ""
            if not row.published:
                images = len(results.run["samples"])
                if metric in FOUR:
                    values = measured[row.label].values(region, metric)
                    found = list(percentiles(values).values())
            lines.append([row.label, row.published, region, metric, images, mean, *found])
    return _csv(lines)


def images_csv(results: Results) -> str:
    """Every image's errors.

    Args:
        results: A run's results.

    Returns:
        CSV, one line an image and method.
    """
    errors = results.series[0].means()
    names = [f"{region}_{metric}" for region, metric in errors]
    lines: list[list[object]] = [
        ["method", "variant", "image", "width", "height", "seconds", *names]
    ]
    for series in results.series:
        for row in series.rows:
            values = [row["errors"][region][metric] for region, metric in errors]
            lines.append(
                [series.method, series.variant, row["name"], *row["size"], row["seconds"], *values]
            )
    return _csv(lines)


def columns(results: Results) -> list[tuple[str, str]]:
    """The errors that a table prints, where there are any.

    Args:
        results: A run's results.

    Returns:
        Region and metric, in order.
    """
    found = set().union(*(row.figures for row in table_rows(results)))
    usual = [column for column in COLUMNS[results.table] if column in found]
    # A robustness benchmark may come with trimaps or not.
    extra = [("unknown", "sad"), ("unknown", "mse")] if results.table == "robustness" else []
    return usual + [column for column in extra if column in found]


def label(row: Row) -> str:
    """A line's name, which says whether the figures are the paper's.

    Args:
        row: A table's line.

    Returns:
        The name.
    """
    return f"{row.label} (published)" if row.published else row.label


def figure(row: Row, column: tuple[str, str]) -> str | None:
    """A figure as printed, in its column's unit.

    Args:
        row: A table's line.
        column: Region and metric.

    Returns:
        Four digits; None where there is no such figure.
    """
    if column not in row.figures:
        return None
    return f"{row.figures[column] * UNITS[column[1]][1]:.4g}"


def note(results: Results) -> str:
    """What a table's reader must know.

    Args:
        results: A run's results.

    Returns:
        Two sentences.
    """
    return (
        f'Means over {len(results.run["samples"])} images. Lines marked "published" are the '
        f"paper's, on all of {LAYOUTS[results.table].published_name}; the others were measured "
        "here."
    )


def title(results: Results) -> str:
    """A table's heading.

    Args:
        results: A run's results.

    Returns:
        One line.
    """
    return f"{LAYOUTS[results.table].title} ({Path(results.run['data']).name})"


def _ratios(means: dict[tuple[str, str], Figures], method: str, variant: str) -> Figures:
    """What perturbed guidance costs, and what is gained over it: ratios of means."""
    found: Figures = {}
    if (method, "unchanged") not in means:
        return found
    own = means[method, variant]
    found["whole", "sad_ratio"] = _ratio(
        own["whole", "sad"], means[method, "unchanged"]["whole", "sad"]
    )
    guidance = means.get(("guidance", variant))
    if guidance is not None and method != "guidance":
        found["whole", "sad_gain"] = _ratio(own["whole", "sad"], guidance["whole", "sad"])
        found["whole", "mse_gain"] = _ratio(own["whole", "mse"], guidance["whole", "mse"])
    return found


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else float("inf") if value > 0 else 1.0


def _markdown_line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tex(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text.replace("~", r"\textasciitilde{}").replace(">", "$>$")


def _csv(lines: list[list[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
