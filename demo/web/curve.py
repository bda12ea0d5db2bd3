"""The robustness experiment's curve, drawn as SVG: its places are there before its points."""

import html
from collections.abc import Mapping, Sequence

__all__ = ["draw_curve"]

# The drawing's own units; the browser scales it.
_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 532, 14, 236
_TOPS = (6, 10, 20, 50, 100, 200, 500, 1000, 5000, 100_000)
"""Where the axis ends, in percent: the paper's curve fills the first."""


def draw_curve(
    sizes: Sequence[int],
    ours: Mapping[int, float],
    paper: Mapping[int, float],
    *,
    of_error: bool,
) -> str:
    """Draw how much the result changes over how much the guidance was dilated.

    Args:
        sizes: places on the axis, signed kernel diameters in px, rising.
        ours: the change in percent at those places that are done, rising.
        paper: the same of the paper's network, at places of its own.
        of_error: whether ours, too, is a growth of the error against a true alpha.

    Returns:
        HTML. A place that is not done is a ring on the axis.
    """
    first, last = min(*sizes, *paper), max(*sizes, *paper)
    values = [0.0, *ours.values(), *paper.values()]
    top = next(limit for limit in _TOPS if max(values) <= limit or limit == _TOPS[-1])
    least = min(values)
    bottom = 0 if least >= 0 else -next(limit for limit in (2, *_TOPS) if -least <= limit)

    def x(size: float) -> float:
        return _LEFT + (size - first) / (last - first) * (_RIGHT - _LEFT)

    def y(percent: float) -> float:
        return _BOTTOM - (percent - bottom) / (top - bottom) * (_BOTTOM - _TOP)

    drawn = []
    for step in range(5):
        level = bottom + (top - bottom) * step / 4
        drawn.append(f'<path class="grid" d="M{_LEFT} {y(level):.1f}H{_RIGHT}"/>')
        drawn.append(
            f'<text x="{_LEFT - 8}" y="{y(level) + 5:.1f}" class="at-end">{level:g}</text>'
        )
    for size in sizes:
        place = f'<text x="{x(size):.1f}" y="{_BOTTOM + 22}" class="at-middle">{size:+d}</text>'
        drawn.append(place.replace("+0", "0"))
    drawn.append(
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 22}" class="at-middle">mask eroded (-) or '
        "dilated (+) by px</text>"
    )
    for name, points in (("paper", paper), ("ours", ours)):
        line = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in points.items())
        drawn.append(f'<polyline class="{name}" points="{line}"/>')
    for size in sizes:
        done = size in ours
        drawn.append(
            f'<circle class="{"done" if done else "place"}" data-px="{size}" cx="{x(size):.1f}" '
            f'cy="{y(ours.get(size, max(0, bottom))):.1f}" r="5"/>'
        )
    # Two sentences: the two are the same measure only where a true alpha is given.
    own = (
        "Your photo: by how much the error grows"
        if of_error
        else "Your photo: by how much the result changes, of the subject&#x27;s area"
    )
    figures = ", ".join(f"{size:+d} px {value:.1f} %" for size, value in ours.items())
    label = html.escape(f"Change of the result in percent. Your photo: {figures or 'nothing yet'}")
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'{"".join(drawn)}</svg><figcaption><span class="ours">{own} (%)</span><span class="paper">'
        "The paper, on its portraits: by how much the error grows (%)</span></figcaption></figure>"
    )
