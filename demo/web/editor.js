// The script of `editor.py`. Gradio runs it for each element with `element`, `props`, `trigger` and `watch`.
const find = (what) => element.querySelector(what);
const frame = find(".frame"), sheet = find(".sheet"), photo = find("img");
const canvas = find("canvas"), ring = find("span"), slider = find("input");
const paint = canvas.getContext("2d"), chips = find(".chips"), hint = find(".hint");
const hints = {
  click_add: "Click on what is missing; Alt-click removes. A number leaves its region out.",
  click_remove: "Click on what is too much. A number leaves its region out.",
  add: "Paint over what is missing.",
  remove: "Paint over what is too much.",
};
let edits = [], tool = find("[data-tool]").dataset.tool, stroke = null, awaited = null, zoom = 1, side = {width: 1, height: 1};

const perPixel = () => canvas.getBoundingClientRect().width / side.width;
const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * side.width,
          (event.clientY - box.top) / box.height * side.height].map((n) => Math.round(n * 8) / 8);
};
const clicks = () => tool.startsWith("click");
const place = (mark, x, y) => {
  mark.style.left = `${100 * x / side.width}%`;
  mark.style.top = `${100 * y / side.height}%`;
  chips.append(mark);
};
// A number on every region; what was left out keeps its number, to be brought back by.
const showChips = (all) => {
  chips.replaceChildren();
  all.forEach(({x, y, kept}, n) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = n + 1;
    chip.setAttribute("aria-pressed", kept);
    chip.setAttribute("aria-label", `Region ${n + 1} in the mask`);
    chip.title = kept ? "Leave this region out" : "Bring this region back";
    chip.addEventListener("click", () => {
      edits = [...edits, {tool: "pick", points: [[x, y]]}];
      send();
    });
    place(chip, x, y);
  });
};
const send = () => {
  awaited = JSON.stringify(edits);
  // These belong to the photo's settings; those of the game do not.
  if (element.closest("#editor")) window.dispatchEvent(new CustomEvent("mgm:edits", {detail: edits}));
  // Read by the script of the event: Gradio forgets an event while one like it is under way.
  window.mgmDrawn = {...window.mgmDrawn, [frame.dataset.canvas]: edits};
  trigger("edit");
};
const choose = (name) => {
  if (!find(`[data-tool=${name}]`)) return;
  tool = name;
  element.querySelectorAll("[data-tool]").forEach(
    (button) => button.setAttribute("aria-pressed", button.dataset.tool === name));
  hint.textContent = hints[name];
  find("label").hidden = clicks();
  // With a click's tools a finger scrolls the page, with the brushes it paints.
  canvas.style.touchAction = clicks() ? "manipulation" : "none";
  ring.style.display = "none";
};
const resize = (size) => {
  slider.value = Math.max(1, Math.min(300, size));
  find("output").textContent = `${slider.value} px`;
};
const enlarge = (factor) => {
  zoom = factor;
  sheet.style.width = `${100 * zoom}%`;
  find("[data-do=zoom]").textContent = `Zoom ${zoom}:1`;
};
const draw = (edit) => {
  const scale = canvas.width / side.width;
  paint.globalCompositeOperation = edit.tool === "add" ? "source-over" : "destination-out";
  paint.fillStyle = paint.strokeStyle = "rgb(92, 76, 242)";
  paint.lineWidth = edit.size_px * scale;
  paint.lineCap = paint.lineJoin = "round";
  paint.beginPath();
  edit.points.forEach(([x, y], n) => paint[n ? "lineTo" : "moveTo"](x * scale, y * scale));
  // A line to where it is draws the dot of a single click.
  if (edit.points.length === 1) paint.lineTo(edit.points[0][0] * scale, edit.points[0][1] * scale);
  paint.stroke();
};
const show = () => {
  const value = props.value;
  if (!value?.photo) return;
  // An answer to less than what was sent since: the next one follows.
  const other = photo.getAttribute("src") !== value.photo.url;
  const answered = JSON.stringify(value.edits);
  // Gradio has just written the template anew over what was set here.
  choose(tool);
  resize(slider.value);
  enlarge(zoom);
  if (awaited && !other && awaited !== answered) return;
  awaited = null;
  edits = value.edits;
  side = {width: value.width, height: value.height};
  showChips(value.chips);
  if (other) photo.src = value.photo.url;
  const mask = new Image();
  mask.onload = () => {
    if (stroke) return;
    // Large photos are painted on at screen size; what is sent is in the photo's pixels.
    const scale = Math.min(1, 1600 / Math.max(side.width, side.height));
    canvas.width = Math.round(side.width * scale);
    canvas.height = Math.round(side.height * scale);
    paint.globalCompositeOperation = "source-over";
    paint.drawImage(mask, 0, 0, canvas.width, canvas.height);
    element.dataset.edits = edits.length;
  };
  mask.src = value.mask.url;
};
const undo = () => { if (edits.length) { edits = edits.slice(0, -1); send(); } };
// CutMask, section 3.2: a patch of a quarter to half of each side is copied to another place.
const damage = () => {
  if (!photo.hasAttribute("src")) return;
  const drawn = [side.width, side.height].map((length) => {
    const part = Math.max(1, Math.round(length * (0.25 + 0.25 * Math.random())));
    const place = () => Math.floor(Math.random() * (length - part + 1));
    return [part, place(), place()];
  });
  const corner = (pick) => drawn.map(pick);
  edits = [...edits, {tool: "damage", points: [
    corner(([, from]) => from), corner(([part, from]) => from + part), corner(([, , to]) => to)]}];
  send();
};

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  frame.focus({preventScroll: true});
  if (clicks()) return;
  canvas.setPointerCapture(event.pointerId);
  stroke = {tool: tool, size_px: Number(slider.value), points: [at(event)]};
  draw(stroke);
  event.preventDefault();
});
canvas.addEventListener("pointermove", (event) => {
  if (!clicks() && event.pointerType !== "touch") {
    const size = slider.value * perPixel(), box = sheet.getBoundingClientRect();
    ring.style.cssText = `display: block; width: ${size}px; height: ${size}px;
      left: ${event.clientX - box.left}px; top: ${event.clientY - box.top}px`;
  }
  if (!stroke) return;
  for (const passed of event.getCoalescedEvents?.() ?? [event]) stroke.points.push(at(passed));
  draw({...stroke, points: stroke.points.slice(-20)});
});
const finish = () => {
  if (!stroke) return;
  // More points than the server takes become every second, fourth ... of them.
  while (stroke.points.length > 4000) stroke.points = stroke.points.filter((_, n) => n % 2 === 0);
  edits = [...edits, stroke];
  stroke = null;
  send();
};
canvas.addEventListener("pointerup", finish);
canvas.addEventListener("pointercancel", finish);
canvas.addEventListener("pointerleave", () => { ring.style.display = "none"; });
canvas.addEventListener("click", (event) => {
  if (!clicks()) return;
  const [x, y] = at(event).map((n, axis) => {
    const end = axis ? side.height : side.width;
    return Math.min(end - 0.125, Math.max(0, n));
  });
  edits = [...edits, {tool: event.altKey ? "click_remove" : tool, points: [[x, y]]}];
  place(document.createElement("i"), x, y);
  send();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.tool) choose(button.dataset.tool);
  const actions = {
    undo: undo,
    damage: damage,
    clear: () => { if (edits.length) { edits = []; send(); } },
    zoom: () => enlarge(zoom === 4 ? 1 : zoom * 2),
  };
  actions[button.dataset.do]?.();
});
slider.addEventListener("input", () => resize(slider.value));
frame.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z") undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (key === "b") choose("add");
  else if (key === "e") choose("remove");
  else if (key === "c") choose("click_add");
  else if (key === "x") choose("click_remove");
  else if (key === "d") damage();
  else if (key === "z") enlarge(zoom === 4 ? 1 : zoom * 2);
  else if (key === "[") resize(slider.value - 5);
  else if (key === "]") resize(Number(slider.value) + 5);
  else return;
  event.preventDefault();
});
window.addEventListener("mgm:photo", () => {
  if (!element.closest("#editor")) return;
  edits = [];
  stroke = awaited = null;
  showChips([]);
  photo.removeAttribute("src");
  canvas.width = canvas.height = 0;
});
choose(tool);
watch("value", show);
show();
