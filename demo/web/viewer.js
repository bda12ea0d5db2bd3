// The script of `viewer.py`. Gradio runs it for each element with `element`, `props`, `trigger` and `watch`.
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
  find("output").textContent = `${percent} %`;
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
  if (!props.value?.before) {
    pictures.forEach((picture) => picture.removeAttribute("src"));
    return;
  }
  // Another photo is looked at from the start; another result of the same stays where it was.
  if (pictures[0].getAttribute("src") !== props.value.before.url) fitted = true;
  pictures[0].src = props.value.before.url;
  pictures[1].src = props.value.after.url;
  draw();
};
watch("value", show);
show();
