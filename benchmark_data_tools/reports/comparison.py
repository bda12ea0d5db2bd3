"""How far apart two methods' mattes are: what fewer bits a weight, or tiles, cost.

python -m benchmark_data_tools compare results/1 weights:runs/prn_resnet34/weights.safetensors \
    prn_resnet34
"""

import statistics
from pathlib import Path

import numpy as np

from benchmark_data_tools.data.samples import read_prediction
from benchmark_data_tools.reports.tables import REGIONS, Results, Series, read_results, series_of

# 1/255 in levels of 16 bits: a difference of fractions comes out smaller than it by rounding.
VISIBLE_LEVELS, PEAK = 257, 65535


def compare(results_folder: Path, first: str, second: str) -> str:
    """Compare the written mattes of two methods of one run, image by image.

    Args:
        results_folder: `--out` of a run, with the table's name.
        first: Method as the run's command line named it.
        second: Another one.

    Returns:
        A Markdown table with a line a guidance that both have answered.

    Raises:
        ValueError: If the run lacks a method or a result, or the two share no guidance.
    """
    results = read_results(results_folder, ())
    region, _ = results.main_error
    pairs = [
        (a, b) for a in _of(results, first) for b in _of(results, second) if a.variant == b.variant
    ]
    if not pairs:
        raise ValueError(f"methods must share a guidance, got none for {first} and {second}")
    lines = [
        f"| guidance | largest difference of alpha | mean | pixels that differ by 1/255 or more "
        f"| MSE (x1e-3) of {first}, {REGIONS[region]} | of {second} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for a, b in pairs:
        largest, means, shares = [], [], []
        for row in a.rows:
            size = (row["size"][1], row["size"][0])
            mattes = [
                read_prediction(results.folder / s.slug / s.variant / f"{row['name']}.png", size)
                for s in (a, b)
            ]
            difference = np.abs(mattes[0] - mattes[1])
            largest.append(float(difference.max()))
            means.append(float(difference.mean(dtype=float)))
            shares.append(float((np.rint(difference * PEAK) >= VISIBLE_LEVELS).mean()))
        errors = [1e3 * s.means()[region, "mse"] for s in (a, b)]
        lines.append(
            f"| {a.variant} | {max(largest):.4f} | {statistics.fmean(means):.6f} | "
            f"{statistics.fmean(shares):.3%} | {errors[0]:.4g} | {errors[1]:.4g} |"
        )
    return "\n".join(lines)


def _of(results: Results, method: str) -> list[Series]:
    found = series_of(results, method)
    if not found:
        known = ", ".join(dict.fromkeys(s.method for s in results.series))
        raise ValueError(f"method must be one of the run's, {known}, got {method}: correct it")
    return found
