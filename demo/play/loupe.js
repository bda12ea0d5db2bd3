// The script of `loupe.py`. Gradio runs it for each element with `element`, `props`, `trigger` and `watch`.
const ZOOM = 2;
const find = (what) => element.querySelector(what);
const all = (what) => [...element.querySelectorAll(what)];
let at = [0, 0], level = 3, value = null;

// Between two levels the finer one fades in over the coarser.
const opacity = (n) => Math.min(1, Math.max(0, n === 0 ? 1 : level - n + 1));
const paint = () => {
  if (!value) return;
  all("[data-level]").forEach((image, n) => { image.style.opacity = opacity(n); });
  all("[data-pane=level] img").forEach((image, n) => { image.style.opacity = opacity(n); });
  const below = Math.floor(level), share = level - below;
  const name = value.names[Math.round(level)];
  find("output").textContent = share < 0.02 || share > 0.98 ? name
    : `${value.names[below]} to ${value.names[below + 1].toLowerCase()}`;
  element.dataset.level = level;
};
const move = () => {
  if (!value) return;
  at = [Math.min(value.width - 1, Math.max(0, at[0])), Math.min(value.height - 1, Math.max(0, at[1]))];
  const whole = find(".whole").getBoundingClientRect(), mark = find(".whole span");
  const scale = whole.width / value.width;
  for (const pane of all("[data-pane]")) {
    const side = pane.clientWidth;
    for (const image of pane.querySelectorAll("img")) {
      // The middle of the pixel under the pointer is the middle of the pane.
      const x = side / 2 - (at[0] + 0.5) * ZOOM, y = pane.clientHeight / 2 - (at[1] + 0.5) * ZOOM;
      image.style.transform = `translate(${x}px, ${y}px) scale(${ZOOM})`;
    }
    mark.style.width = mark.style.height = `${Math.max(8, side / ZOOM * scale)}px`;
  }
  mark.style.left = `${(at[0] + 0.5) * scale}px`;
  mark.style.top = `${(at[1] + 0.5) * scale}px`;
  element.dataset.at = at.map(Math.round).join(" ");
};
const fill = (pane, files) => {
  all(`[data-pane=${pane}] img`).forEach((image, n) => {
    image.src = files[n].url;
    image.width = value.width;
    image.height = value.height;
  });
};
const show = () => {
  value = props.value?.photo ? props.value : null;
  find(".parts").hidden = find(".scrub").hidden = !value;
  if (!value) return;
  all("[data-level]").forEach((image, n) => { image.src = value.levels[n].url; });
  fill("photo", [value.photo]);
  fill("level", value.levels);
  fill("alpha", [value.levels.at(-1)]);
  fill("cutout", [value.cutout]);
  find("input").value = level;
  at = [value.x, value.y];
  const whole = find(".whole");
  whole.style.aspectRatio = `${value.width} / ${value.height}`;
  whole.style.maxWidth = `calc(70vh * ${value.width / value.height})`;
  paint();
  move();
};
const follow = (event) => {
  if (!value) return;
  const box = find(".whole").getBoundingClientRect();
  at = [(event.clientX - box.left) / box.width * value.width - 0.5,
        (event.clientY - box.top) / box.height * value.height - 0.5].map(Math.round);
  move();
};
element.addEventListener("pointermove", (event) => { if (event.target.closest(".whole")) follow(event); });
element.addEventListener("pointerdown", (event) => { if (event.target.closest(".whole")) follow(event); });
element.addEventListener("input", (event) => { level = Number(event.target.value); paint(); });
element.addEventListener("keydown", (event) => {
  if (!event.target.closest(".whole")) return;
  const step = event.shiftKey ? 20 : 2;
  const steps = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
  const by = steps[event.key];
  if (!by) return;
  at = [at[0] + by[0], at[1] + by[1]];
  move();
  event.preventDefault();
});
new ResizeObserver(move).observe(element);
watch("value", show);
show();
