"""Two pictures of one size side by side, which zoom and move together."""

from typing import TypeAlias

import gradio as gr
from gradio.data_classes import FileData

Pair: TypeAlias = dict[str, object]

_TEMPLATE = (
    '<div class="tools" role="toolbar" aria-label="Zoom">'
    '<button type="button" data-do="out" title="Key -" aria-label="Smaller">&minus;</button>'
    '<button type="button" data-do="in" title="Key +" aria-label="Larger">+</button>'
    '<button type="button" data-do="fit" title="Key 0">Fit</button>'
    '<button type="button" data-do="whole" title="Key 1, or double click">1:1</button>'
    "<output></output></div>"
    '<div class="panes" tabindex="0" role="application" aria-label="Photo and result side by '
    "side: plus and minus zoom, 0 fits, 1 shows pixel by pixel, arrows move both, as do wheel and "
    'pointer"><figure><img alt="Photo" draggable="false"><figcaption>Photo</figcaption></figure>'
    '<figure><img alt="Result" draggable="false"><figcaption>Result</figcaption></figure></div>'
)

_STYLE = """
.tools { display: flex; gap: 6px; align-items: center; margin-bottom: 8px; }
.tools button { min-width: 36px; padding: 6px 12px; border-radius: var(--radius-md);
  font-size: 0.85rem; font-weight: 500; background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); border: 1px solid transparent; cursor: pointer; }
.tools output { font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.panes { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; height: min(640px, 70vh); }
@media (max-width: 640px) { .panes { grid-template-columns: 1fr; height: 80vh; } }
.panes figure { position: relative; overflow: hidden; margin: 0; border-radius: var(--radius-md);
  border: 1px solid var(--border-color-primary); cursor: grab; touch-action: none; }
.panes figure:active { cursor: grabbing; }
.panes img { position: absolute; left: 0; top: 0; max-width: none; transform-origin: 0 0;
  user-select: none; }
.panes figcaption { position: absolute; left: 8px; bottom: 8px; padding: 2px 8px;
  border-radius: var(--radius-md); font-size: 0.8rem; color: white; background: rgb(0 0 0 / 0.6);
  pointer-events: none; }
"""

# One state for both: `zoom` in screen pixels a picture pixel, `centre` as a share of the picture.
_SCRIPT = """
const find = (what) => element.querySelector(what);
const panes = find(".panes"), pictures = [...element.querySelectorAll("img")];
let zoom = 1, centre = [0.5, 0.5], fitted = true, pointers = new Map();

const frame = () => pictures[0].parentElement.getBoundingClientRect();
const size = () => [pictures[0].naturalWidth || 1, pictures[0].naturalHeight || 1];
const fitting = () => {
  const box = frame(), [width, height] = size();
  return Math.min(box.width / width, box.height / height) || 1;
};
const draw = () => {
  const box = frame(), [width, height] = size();
  if (fitted) { zoom = fitting(); centre = [0.5, 0.5]; }
  centre = centre.map((share) => Math.min(1, Math.max(0, share)));
  const x = box.width / 2 - centre[0] * width * zoom;
  const y = box.height / 2 - centre[1] * height * zoom;
  for (const picture of pictures) {
    picture.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    picture.style.imageRendering = zoom * devicePixelRatio > 2 ? "pixelated" : "auto";
  }
  const percent = Math.round(zoom * devicePixelRatio * 100);
  find("output").textContent = percent + " %";
  element.dataset.zoom = percent;
};
// Zooms so that what is at a place of a pane, in px from its top left, stays there.
const zoomTo = (wanted, at) => {
  const box = frame(), [width, height] = size();
  const next = Math.min(32, Math.max(Math.min(fitting(), 1), wanted));
  const from = at ?? [box.width / 2, box.height / 2];
  const away = [from[0] - box.width / 2, from[1] - box.height / 2];
  centre = [centre[0] + away[0] / width * (1 / zoom - 1 / next),
            centre[1] + away[1] / height * (1 / zoom - 1 / next)];
  zoom = next;
  fitted = next <= fitting();
  draw();
};
const move = (right, down) => {
  const [width, height] = size();
  centre = [centre[0] - right / (width * zoom), centre[1] - down / (height * zoom)];
  fitted = false;
  draw();
};
const fit = () => { fitted = true; draw(); };
const whole = (at) => zoomTo(1 / devicePixelRatio, at);
const within = (event) => {
  const box = event.target.closest("figure").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

panes.addEventListener("wheel", (event) => {
  if (!event.target.closest("figure")) return;
  event.preventDefault();
  zoomTo(zoom * Math.exp(-Math.sign(event.deltaY) * 0.2), within(event));
}, {passive: false});
panes.addEventListener("dblclick", (event) => {
  if (event.target.closest("figure")) { if (fitted) whole(within(event)); else fit(); }
});
panes.addEventListener("pointerdown", (event) => {
  const figure = event.target.closest("figure");
  if (!figure || event.button !== 0) return;
  panes.focus({preventScroll: true});
  figure.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
});
panes.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY];
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  pointers.set(event.pointerId, now);
  if (other) {
    const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    zoomTo(zoom * apart(now) / apart(before), within(event));
  } else {
    move(now[0] - before[0], now[1] - before[1]);
  }
});
for (const end of ["pointerup", "pointercancel"]) {
  panes.addEventListener(end, (event) => pointers.delete(event.pointerId));
}
const actions = {
  in: () => zoomTo(zoom * 1.5), out: () => zoomTo(zoom / 1.5), fit: fit, whole: () => whole(),
};
element.addEventListener("click", (event) => {
  actions[event.target.closest("button")?.dataset.do]?.();
});
const keys = {
  "+": actions.in, "=": actions.in, "-": actions.out, "0": fit, "1": actions.whole,
  ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0),
  ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
};
panes.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});
pictures.forEach((picture) => picture.addEventListener("load", draw));
new ResizeObserver(draw).observe(panes);

const show = () => {
  if (!props.value || !props.value.before) return;
  // Another photo is looked at from the start; another result of the same stays where it was.
  if (pictures[0].getAttribute("src") !== props.value.before.url) fitted = true;
  pictures[0].src = props.value.before.url;
  pictures[1].src = props.value.after.url;
  draw();
};
watch("value", show);
show();
"""


def closeup(elem_id: str) -> gr.HTML:
    """Return the viewer; its value is what `side_by_side` makes.

    Args:
        elem_id: its id in the page.
    """
    return gr.HTML(
        html_template=_TEMPLATE, css_template=_STYLE, js_on_load=_SCRIPT, elem_id=elem_id
    )


def side_by_side(before: str, after: str) -> Pair:
    """Return what the viewer shows, as JSON whose files Gradio serves.

    Args:
        before: path of the photo.
        after: path of a picture of the same size.
    """
    return {
        "before": FileData(path=before, orig_name="photo").model_dump(),
        "after": FileData(path=after, orig_name="result").model_dump(),
    }
