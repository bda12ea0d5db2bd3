"""Contact sheets to look at: a run's worst images, and the whole product on photographs.

python -m benchmark_data_tools worst results/5 --method prn_mobilenet_v2 --out worst.png
python -m benchmark_data_tools photos PHOTOS --out sheets/
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from tqdm import tqdm

from benchmark_data_tools.data.layouts import files_by_name
from benchmark_data_tools.data.samples import MAX_MEGAPIXELS, read_colours, read_prediction
from benchmark_data_tools.reports.report import error_map, plan_of
from benchmark_data_tools.reports.tables import REGIONS, UNITS, Series, read_results, series_of
from benchmark_data_tools.runner import Job, Plan, job_case
from mgm_core.arrays import Floats, limit_side
from mgm_core.compositing import composite, solid_background
from mgm_core.cutout import NoSubjectError, cut_out, guidance_from_segmenter
from mgm_core.foreground.estimate import estimate_foreground
from mgm_core.images import ImageError, read_image, write_image
from mgm_core.models import Models
from mgm_core.recipe import Recipe

COLUMNS = ("image", "guidance", "prediction", "truth", "error", "composite")
WORST_COLOUR = (1.0, 0.0, 1.0)
GAP_PX = 4
LABEL_PX = 26
PAIRS_ACROSS = 2


def worst_sheet(
    results_folder: Path,
    out: Path,
    *,
    method: str | None = None,
    count: int = 20,
    side_px: int = 320,
) -> list[str]:
    """Draw the images with the largest errors, one a line.

    Args:
        results_folder: `--out` of a run, with the table's name.
        out: PNG to write.
        method: Method as the run's command line named it; None ranks the images of all.
        count: How many lines.
        side_px: Long side of a picture.

    Returns:
        What each line shows, the worst first.

    Raises:
        ValueError: If results are missing, their data have changed, or there is no such method.
    """
    if count < 1 or side_px < 32:
        raise ValueError(
            f"count must be 1 or more and side_px 32 or more, got {count} and {side_px}: "
            "20 and 320 suit most screens"
        )
    results = read_results(results_folder, ())
    chosen = results.series if method is None else series_of(results, method)
    if not chosen:
        known = ", ".join(dict.fromkeys(series.method for series in results.series))
        raise ValueError(f"method must be one of {known}, got {method}: correct its name")
    region, metric = results.main_error
    ranked = sorted(
        ((series, row) for series in chosen for row in series.rows),
        key=lambda entry: -float(entry[1]["errors"][region][metric]),
    )[:count]
    unit, factor = UNITS[metric]
    plan = plan_of(results)
    labels, lines = (
        [],
        [np.concatenate([_text(name, side_px + GAP_PX) for name in COLUMNS], axis=1)],
    )
    for rank, (series, row) in enumerate(tqdm(ranked, unit="image", desc="worst"), 1):
        error = row["errors"][region][metric] * factor
        label = f"{rank}. {row['name']}: {unit} {error:.4g}, {REGIONS[region]}; {series.label}"
        labels.append(label)
        lines.append(_line(_columns(plan, series, row["name"]), label, side_px, len(COLUMNS)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_image(out, np.concatenate(lines))
    return labels


def photo_sheets(
    folder: Path,
    out: Path,
    *,
    category: str = "person",
    per_sheet: int = 6,
    side_px: int = 640,
    colour: str = "#ff00ff",
) -> list[str]:
    """Cut every photograph of a folder out as the product does, and draw it on a plain colour.

    Each stands beside its photograph. Holes in the subject show the colour.

    Args:
        folder: Folder of photographs.
        out: Folder for sheet_01.png and so on.
        category: What the segmenter looks for.
        per_sheet: Photographs a sheet.
        side_px: Long side of a picture.
        colour: Name or #rrggbb.

    Returns:
        Photographs that could not be cut out, each with the reason, which the sheet shows too.

    Raises:
        ValueError: If there are no photographs, or a setting is wrong.
    """
    if per_sheet < 1 or side_px < 32:
        raise ValueError(
            f"per_sheet must be 1 or more and side_px 32 or more, got {per_sheet} and {side_px}: "
            "6 and 640 suit most screens"
        )
    plain = _fractions(colour)
    files = files_by_name(folder)
    models = Models()
    out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(category=category)
    failures = []
    cells: list[Floats] = []
    for number, (name, file) in enumerate(tqdm(files.items(), unit="photo", desc="photos"), 1):
        pictures: list[Floats] = []
        label = name
        try:
            image = read_image(file, max_megapixels=MAX_MEGAPIXELS)
            pictures.append(image)
            cutout = cut_out(
                image,
                guidance_from_segmenter(image, models.segmenter(), recipe),
                models.matter(),
                recipe,
                foreground_network=models.foreground_network,
            )
            behind = solid_background(plain, *cutout.alpha.shape)
            pictures.append(composite(cutout.foreground, cutout.alpha, behind))
        except (ImageError, NoSubjectError) as error:
            label = f"{name}: {error}"
            failures.append(label)
        cells.append(_line(pictures, label, side_px, 2))
        if len(cells) == per_sheet or number == len(files):
            sheet = -(-number // per_sheet)
            write_image(out / f"sheet_{sheet:02d}.png", _grid(cells))
            cells = []
    return failures


def _fractions(colour: str) -> tuple[float, float, float]:
    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise ValueError(
            f"colour must be a name or #rrggbb, got {colour!r}: quote it, such as '#ff00ff'"
        ) from error
    return red / 255, green / 255, blue / 255


def _columns(plan: Plan, series: Series, name: str) -> list[Floats]:
    """A result's pictures, in the order of COLUMNS."""
    method = next(m for m in plan.methods if m.slug == series.slug)
    sample = next(s for s in plan.samples if s.name == name)
    case = job_case(plan, Job(method, series.variant, sample))
    image, truth = case.pictures.image, case.pictures.alpha
    folder = plan.folder(method, series.variant)
    alpha = read_prediction(folder / f"{name}.png", truth.shape)
    if method.foreground is None:
        foreground = estimate_foreground(image, alpha)
    else:
        foreground = read_colours(folder / f"{name}.foreground.png", truth.shape)
    behind = solid_background(WORST_COLOUR, *truth.shape)
    composited = composite(foreground, alpha, behind)
    return [image, case.guidance, alpha, truth, error_map(alpha, truth), composited]


def _line(pictures: list[Floats], label: str, side_px: int, across: int) -> Floats:
    """Pictures beside one another under a line of text, room for as many as `across`."""
    small = [limit_side(picture, side_px) for picture in pictures]
    width = across * (side_px + GAP_PX)
    height = max((picture.shape[0] for picture in small), default=0)
    line = np.full((LABEL_PX + height + GAP_PX, width, 3), 1, np.float32)
    line[:LABEL_PX] = _text(label, width)
    for index, picture in enumerate(small):
        colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        left = index * (side_px + GAP_PX)
        line[LABEL_PX:, left:][: colours.shape[0], : colours.shape[1]] = colours
    return line


def _text(label: str, width: int) -> Floats:
    strip = Image.new("RGB", (width, LABEL_PX), "white")
    ImageDraw.Draw(strip).text((4, 4), label, "black", ImageFont.load_default(15))
    return (np.asarray(strip, np.float32) / 255).astype(np.float32)


def _grid(cells: list[Floats]) -> Floats:
    """Cells of one width, as many in a row as PAIRS_ACROSS, white where there is nothing."""
    rows = []
    for first in range(0, len(cells), PAIRS_ACROSS):
        row = cells[first : first + PAIRS_ACROSS]
        height, width = max(cell.shape[0] for cell in row), row[0].shape[1]
        canvas = np.ones((height, PAIRS_ACROSS * width, 3), np.float32)
        for index, cell in enumerate(row):
            canvas[: cell.shape[0], index * width :][:, :width] = cell
        rows.append(canvas)
    return np.concatenate(rows)
