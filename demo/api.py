"""Named endpoints for programs: `/segment`, `/matte`, `/composite`, `/apply` and `/robustness`.

Their functions' names, arguments and docstrings are what the page's "Use via API" shows.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import gradio as gr

from demo.backend.orders import File, Order, picked_colour, read_colour, whole
from demo.backend.publishing import product, publish
from demo.backend.robustness import read_sizes, trials
from demo.backend.studio import Studio, lane
from demo.backend.visits import Visits, report_refusals
from demo.web.uploads import upload, uploaded
from mgm_core.choices import ANIMAL
from mgm_core.compositing import Fit, composite, fit_background, solid_background
from mgm_core.cutout import opaque, require_picture
from mgm_core.foreground.estimate import ForegroundMethod, current_method
from mgm_core.images import encode_png, read_alpha, read_image, read_photo
from mgm_core.recipe import AUTO, Background, Edit, MaskKind, Quality, Recipe, read_edits
from mgm_core.runtime.admission import await_turn
from mgm_core.runtime.cancellation import checkpoint

_DEFAULT = Recipe()
_POINTS_SCHEMA = {"type": "array", "items": {"type": "array", "items": {}}}


class Api:
    """What programs may ask for.

    Args:
        studio: does the work.
        max_megapixels: largest picture that is accepted.
    """

    def __init__(self, studio: Studio, max_megapixels: float) -> None:
        self._studio = studio
        self._max_megapixels = max_megapixels

    def segment(
        self,
        photo: str | None,
        category: str = "person",
        threshold: float = 0.5,
        segmenter: str = "portrait",
        points: object = None,
    ) -> str:
        """Find a subject: a photo to a mask of zeros and ones, a grey PNG of the photo's size.
        Points [x, y] in px add what lies there, [x, y, false] remove it.
        """  # noqa: D205 - shown to people as it is, in one piece
        with report_refusals():
            recipe = Recipe(
                category=category,
                threshold=threshold,
                segmenter=segmenter,
                edits=read_points(points),
            )
            guidance = self._studio.guidance(_order(photo, None, recipe))
            return publish(encode_png(guidance.guidance), "mask.png")

    def matte(
        self,
        photo: str | None,
        mask: str | None = None,
        mask_kind: MaskKind = "detect",
        grow_px: float = 0,
        foreground: ForegroundMethod | Literal["quality"] = "quality",
        category: str = _DEFAULT.category,
        threshold: float = _DEFAULT.threshold,
        quality: Quality = _DEFAULT.quality,
        points: object = None,
        label: float | None = None,
        ignore_transparency: bool = False,
    ) -> tuple[str, str]:
        """Cut a subject out: a photo and, if you have one, a mask, trimap or rough matte of its
        size, to a transparent PNG and to its alpha alone as a 16-bit PNG. Points [x, y] in px add
        to the mask what lies there, [x, y, false] remove it. Of a class map as mask, label says
        which class is the subject. What is transparent in the photo stays so unless ignored.
        """  # noqa: D205 - shown to people as it is, in one piece
        with report_refusals():
            recipe = Recipe(
                mask_kind=mask_kind,
                shift_px=whole("grow_px", grow_px),
                category=category,
                threshold=threshold,
                quality=quality,
                edits=read_points(points),
                label=None if label is None else whole("label", label),
                ignore_transparency=ignore_transparency,
            )
            if foreground != "quality":
                recipe = replace(recipe, foreground=current_method(foreground))
            order = _order(photo, mask, recipe)
            self._studio.await_turn(order)
            return product(self._studio, order, "cutout"), product(self._studio, order, "alpha16")

    def composite(
        self,
        cutout: str | None,
        background: str | None = None,
        colour: str = "#ffffff",
        fit: Fit = "cover",
        x: float = 0.5,
        y: float = 0.5,
        scale: float = 1,
    ) -> str:
        """Put a transparent PNG over a picture, or without one over a colour. x and y from 0 to 1
        say where the picture is: 0 and 0 are left and top, 0.5 is the middle.
        """  # noqa: D205 - shown to people as it is, in one piece
        with report_refusals():
            paths = [str(_uploaded_file("cutout", cutout).path)]
            margin = read_colour(colour)
            recipe = _DEFAULT
            if background is not None:
                paths.append(uploaded(background))
                # Refuses what is out of range.
                wanted = Background(colour=picked_colour(colour), fit=fit, x=x, y=y, scale=scale)
                recipe = Recipe(background=wanted)
            await_turn(lane(max(map(self._studio.megapixels, paths))))
            with self._studio.in_time():
                foreground = read_image(paths[0], max_megapixels=self._max_megapixels)
                alpha = read_alpha(paths[0], max_megapixels=self._max_megapixels)
                height, width = alpha.shape
                checkpoint()
                if background is None:
                    behind = solid_background(margin, height, width)
                else:
                    photo = read_photo(paths[1], max_megapixels=self._max_megapixels)
                    checkpoint()
                    picture = opaque(photo, recipe)
                    behind = fit_background(
                        picture, height, width, fit, x=x, y=y, scale=scale, margin=margin
                    )
                checkpoint()
                joined = composite(foreground, alpha, behind)
                checkpoint()
                return publish(encode_png(joined), "composite.png")

    def apply(
        self,
        photo: str | None,
        settings: str,
        mask: str | None = None,
        picture: str | None = None,
    ) -> tuple[str, str]:
        """Repeat a cut-out from settings, the JSON that the page offers to download: a photo and,
        where they were made with them, a mask and a background picture, to the result as a PNG
        and to its alpha as a 16-bit PNG.
        """  # noqa: D205 - shown to people as it is, in one piece
        with report_refusals():
            order = _order(photo, mask, Recipe.from_json(settings))
            if order.recipe.background.kind == "picture":
                require_picture(picture)
            if picture is not None:
                order = replace(order, backdrop=File.at(uploaded(picture)))
            self._studio.await_turn(order)
            return product(self._studio, order, "composite"), product(
                self._studio, order, "alpha16"
            )

    def robustness(
        self,
        photo: str | None,
        mask: str | None = None,
        mask_kind: MaskKind = "detect",
        sizes: str = "10, 20, 30",
    ) -> list[dict[str, float]]:
        """Erode and dilate the guidance by ellipses of these diameters in px, and return how far
        each result is from the unperturbed one: SAD in thousands, MSE in thousandths, and SAD in
        percent of the subject's area.
        """  # noqa: D205 - shown to people as it is, in one piece
        with report_refusals():
            order = _order(photo, mask, Recipe(mask_kind=mask_kind))
            wanted = read_sizes(sizes)
            self._studio.await_turn(order)
            return [
                {
                    "grow_px": trial.grow_px,
                    "guidance_sad": trial.guidance_sad,
                    "sad": trial.sad,
                    "mse": trial.mse,
                    "change_percent": trial.change_percent,
                }
                for trial in trials(self._studio, order, wanted)
            ]


def read_points(sent: object) -> tuple[Edit, ...]:
    """Read clicks as programs send them: [[x, y], [x, y, false]], in px.

    Raises:
        ValueError: They are anything else.
    """
    if sent is None:
        return ()
    refusal = f"points must be a list of [x, y] or [x, y, false], got {sent!r:.60}: correct them"
    if not isinstance(sent, list):
        raise ValueError(refusal)
    edits = []
    for point in sent:
        match point:
            case [x, y] | [x, y, True]:
                edits.append({"tool": "click_add", "points": [[x, y]]})
            case [x, y, False]:
                edits.append({"tool": "click_remove", "points": [[x, y]]})
            case _:
                raise ValueError(refusal)
    return read_edits(edits)


def _uploaded_file(name: str, path: str | None) -> File:
    if path is None:
        raise ValueError(f"{name} must be given, got none: send a file")
    return File.at(uploaded(path))


def _order(photo: str | None, mask: str | None, recipe: Recipe) -> Order:
    order = Order(_uploaded_file("photo", photo), recipe)
    return order if mask is None else replace(order, mask=File.at(uploaded(mask)))


def add_endpoints(api: Api, visits: Visits) -> None:
    """Register the endpoints with the page that is being built; nothing of them is seen."""
    with gr.Column(visible=False):
        photo, mask, cutout, background = (
            upload(label) for label in ("Photo", "Mask", "Cut-out", "Background")
        )
        kind = gr.Textbox("detect", label=", ".join(get_args(MaskKind)))
        category = gr.Textbox(
            _DEFAULT.category, label=f"{AUTO}, {ANIMAL}, or one of the 20 of PASCAL VOC"
        )
        threshold = gr.Number(_DEFAULT.threshold, label="Probability from which a pixel is subject")
        points = gr.JSON(label="Clicks, px: [[x, y], [x, y, false]] adds and removes")
        # Gradio's own is no JSON schema, and makes MCP clients' calls fail.
        points.api_info = lambda: _POINTS_SCHEMA  # type: ignore[method-assign]
        endpoints: list[tuple[Callable[..., Any], list[Any], list[Any]]] = [
            (
                api.segment,
                [
                    photo,
                    category,
                    threshold,
                    gr.Textbox("portrait", label="Segmenter"),
                    points,
                ],
                [gr.File(label="Mask")],
            ),
            (
                api.matte,
                [
                    photo,
                    mask,
                    kind,
                    gr.Number(0, label="Dilate (above 0) or erode the guidance, px"),
                    gr.Textbox(
                        "quality", label=", ".join(("quality", *get_args(ForegroundMethod)))
                    ),
                    category,
                    threshold,
                    gr.Textbox(_DEFAULT.quality, label=", ".join(get_args(Quality))),
                    points,
                    gr.Number(None, label="The subject's label, of a class map as mask"),
                    gr.Checkbox(False, label="Ignore the photo's own transparency"),
                ],
                [gr.File(label="Cut-out"), gr.File(label="Alpha")],
            ),
            (
                api.composite,
                [
                    cutout,
                    background,
                    gr.Textbox("#ffffff", label="Colour"),
                    gr.Textbox("cover", label=", ".join(get_args(Fit))),
                    gr.Number(0.5, label="x: 0 is left, 1 is right"),
                    gr.Number(0.5, label="y: 0 is top, 1 is bottom"),
                    gr.Number(1, label="Multiple of the size that fits"),
                ],
                [gr.File(label="Composite")],
            ),
            (
                api.apply,
                [photo, gr.Textbox(label="Settings (JSON)"), mask, background],
                [gr.File(label="Result"), gr.File(label="Alpha")],
            ),
            (
                api.robustness,
                [photo, mask, kind, gr.Textbox("10, 20, 30", label="Diameters, px")],
                [gr.JSON(label="Errors")],
            ),
        ]
        for answer, inputs, outputs in endpoints:
            gr.Button(answer.__name__).click(
                visits.of(answer),
                inputs,
                outputs,
                api_name=answer.__name__,
            )
