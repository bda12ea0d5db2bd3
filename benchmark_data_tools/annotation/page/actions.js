// What keys, buttons and inputs do.

import { LARGEST_SIZE, TOOLS, TRIMAP_LEVELS } from "./canvas/tools.js";
import { MODES } from "./canvas/view.js";
import { fetchBitmap, finish, open, restore, setState, step } from "./lifecycle.js";
import { actionOf, titleOf } from "./panels/keys.js";
import { COLOURS, saveNote, setColour, showEntry, showHistory, showProgress, showTools } from "./panels/panels.js";
import { keepPreferences } from "./panels/preferences.js";
import { showBatch, showGuideline } from "./panels/team.js";
import { applyProposal, hideProposal, propose } from "./proposal.js";
import { json } from "./saving/server.js";
import { $, act, page, queue, tools, view } from "./session.js";
import { copyFrom, fillHoles, grow, invert, shrink } from "./wholemask.js";

async function showLayer() {
  const { entry, image } = page;
  const name = $("layer").value;
  const bitmap = name === "image" ? image : await fetchBitmap(`entries/${entry.id}/layers/${name}`);
  if (page.entry === entry && $("layer").value === name) await view.showBitmap(bitmap);
}

const move = (dx, dy) => (event) => {
  const step = event.shiftKey ? 10 : 1;
  tools.moveCursor(dx * step, dy * step);
};

function change(id, difference) {
  $(id).value = Number($(id).value) + difference;
  $(id).dispatchEvent(new Event("input"));
}

const doing = {
  ...Object.fromEntries(TOOLS.map((tool) => [tool, () => tools.choose(tool)])),
  smaller: () => tools.resize(1 / 1.15),
  larger: () => tools.resize(1.15),
  harder: () => change("softness", -10),
  softer: () => change("softness", 10),
  lessTolerance: () => change("tolerance", -4),
  moreTolerance: () => change("tolerance", 4),
  pressure: () => $("pressure").click(),
  erasesAreas: () => $("erases-areas").click(),
  propose,
  lessDilation: () => change("dilation", -5),
  moreDilation: () => change("dilation", 5),
  lessOpening: () => change("opening", -1),
  moreOpening: () => change("opening", 1),
  source: () => {
    $("source").selectedIndex = 1 - $("source").selectedIndex;
    $("source").dispatchEvent(new Event("input"));
  },
  level: () => {
    const levels = page.mask.kind === "trimap" ? TRIMAP_LEVELS : [0, 64, 128, 192, 255];
    tools.level = levels.find((level) => level > tools.level) ?? levels[0];
    showTools();
  },
  grow,
  shrink,
  fillHoles,
  invert,
  copyFrom,
  nextRegion: () => tools.nextRegion(1),
  previousRegion: () => tools.nextRegion(-1),
  mode: () => setMode(MODES[(MODES.indexOf(view.mode) + 1) % MODES.length]),
  darker: () => change("brightness", -10),
  brighter: () => change("brightness", 10),
  lessContrast: () => change("contrast", -10),
  moreContrast: () => change("contrast", 10),
  lessGamma: () => change("gamma-slider", -15),
  moreGamma: () => change("gamma-slider", 15),
  resetLight: () => ["brightness", "contrast", "gamma-slider"].forEach((id) => change(id, 100 - $(id).value)),
  guideline: showGuideline,
  batch: showBatch,
  label: () => {
    if ($("label").hidden) return;
    $("label").selectedIndex = ($("label").selectedIndex + 1) % $("label").options.length;
    $("label").dispatchEvent(new Event("input"));
  },
  undo: () => tools.undo(),
  redo: () => tools.redo(),
  confirm: () => (view.proposal ? applyProposal() : tools.finish() || tools.pressAtCursor(false)),
  confirmJoined: () => tools.pressAtCursor(true),
  cancel: () => (view.proposal || !$("proposal").hidden ? hideProposal() : tools.cancel()),
  removePoint: () => tools.removePoint(),
  left: move(-1, 0),
  right: move(1, 0),
  up: move(0, -1),
  down: move(0, 1),
  zoomIn: () => view.zoom(1.25, ...zoomCentre()),
  zoomOut: () => view.zoom(0.8, ...zoomCentre()),
  fit: () => view.fit(),
  actualSize: () => view.actualSize(),
  hide: () => { view.hidden = !view.hidden; showTools(); view.draw(); },
  opacityDown: () => change("opacity", -10),
  opacityUp: () => change("opacity", 10),
  colour: () => setColour((COLOURS.indexOf(view.colour) + 1) % COLOURS.length),
  layer: () => {
    $("layer").selectedIndex = ($("layer").selectedIndex + 1) % $("layer").options.length;
    return showLayer();
  },
  queuePanel: () => document.body.classList.toggle("no-queue"),
  sidePanel: () => document.body.classList.toggle("no-side"),
  next: () => step(1),
  previous: () => step(-1),
  done: finish,
  save: async () => {
    page.saver.input();
    await page.saver.flush(true);
  },
  skip: () => setState("skipped", "Why is this image skipped?"),
  reopen: () => setState("in_work"),
  flag: async () => {
    page.entry.flagged = !page.entry.flagged;
    await json(`entries/${page.entry.id}/note`, { json: { flagged: page.entry.flagged } });
    showEntry();
  },
  note: () => { document.body.classList.remove("no-side"); $("note").focus(); },
  jump: () => { document.body.classList.remove("no-queue"); $("search").focus(); },
  history: () => showHistory(restore),
  people: () => $("people").click(),
  logout: () => !$("logout").hidden && $("logout").click(),
  agreement: () => !$("agreement").hidden && $("agreement").click(),
  review: () => setState("in_review"),
  accept: () => setState("accepted"),
  return: () => setState("returned", "What should be changed?"),
  help: () => { $("help").showModal(); $("help").scrollTop = 0; },
};
const WITHOUT_ENTRY = new Set(["queuePanel", "sidePanel", "next", "previous", "jump", "help", "people", "logout", "agreement", "guideline", "batch", "label", ...TOOLS]);

// Where keys zoom: at the cursor, else at the pointer, else in the middle.
function zoomCentre() {
  if (tools.cursor) return view.toScreen(...tools.cursor);
  return tools.hover ? view.toScreen(...view.toImage(tools.hover)) : [];
}

function setMode(mode) {
  view.mode = mode;
  showTools();
  view.draw();
}

function perform(action, event) {
  if (!page.entry && !WITHOUT_ENTRY.has(action)) return;
  page.saver?.input();
  act(() => doing[action]?.(event));
  keepPreferences();
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  // Until the next frame is drawn, a closed dialog's button still has the focus.
  const target = event.target.closest?.("dialog") ? document.body : event.target;
  const typing = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select");
  if (typing) {
    if (event.key === "Escape") $("frame").focus();
    else if (event.key === "Enter" && target.id === "search" && queue.rows.length) {
      $("frame").focus();
      act(() => open(queue.rows[0].id));
    }
    if (!(event.ctrlKey && ["s", "Enter"].includes(event.key))) return;
  }
  // A focused button keeps Enter and Space, a slider its arrows.
  if (target.matches?.("button, a, [type=checkbox]") && ["Enter", " "].includes(event.key) && !event.ctrlKey) return;
  if (target.matches?.("[type=range]") && event.key.startsWith("Arrow")) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (action === "pan") {
    tools.panning = true;
    $("frame").classList.add("panning");
  } else perform(action, event);
});
document.addEventListener("keyup", (event) => {
  if (event.key !== " ") return;
  tools.panning = false;
  $("frame").classList.remove("panning");
});
for (const button of document.querySelectorAll("[data-action]")) {
  const { action } = button.dataset;
  button.title = titleOf(action);
  button.addEventListener("click", (event) => {
    perform(action, event);
    if (!document.querySelector("dialog[open]") && action !== "note") $("frame").focus();
  });
}

for (const control of document.querySelectorAll("[data-keys]")) {
  control.title = control.dataset.keys.split(" ").map(titleOf).join("\n");
}

// --- Inputs ----------------------------------------------------------------------------------------

const onInput = (id, apply) => $(id).addEventListener("input", () => { apply($(id)); showTools(); view.draw(); keepPreferences(); });
onInput("size-slider", (input) => {
  const tool = tools.tool in tools.sizes ? tools.tool : "brush";
  tools.sizes[tool] = Math.round(LARGEST_SIZE ** (input.value / 100));
});
onInput("softness", (input) => { tools.softness = input.value / 100; });
onInput("tolerance", (input) => { tools.tolerance = Number(input.value); });
onInput("pressure", (input) => { tools.pressure = input.checked; });
onInput("erases-areas", (input) => { tools.erasesAreas = input.checked; });
onInput("mode", (input) => { view.mode = input.value; });
onInput("flat", (input) => { view.flat = [1, 3, 5].map((n) => parseInt(input.value.slice(n, n + 2), 16)); });
onInput("level", (input) => { tools.level = Number(input.value); });
onInput("brightness", (input) => view.setLight({ brightness: input.value / 100 }));
onInput("contrast", (input) => view.setLight({ contrast: input.value / 100 }));
onInput("gamma-slider", (input) => view.setLight({ gamma: input.value / 100 }));
for (const button of $("classes").children) {
  button.setAttribute("role", "radio");
  button.onclick = () => {
    tools.level = Number(button.dataset.level);
    showTools();
  };
}
onInput("opacity", (input) => { view.opacity = input.value / 100; });
for (const id of ["opening", "dilation", "source"]) {
  $(id).addEventListener("input", () => {
    showTools();
    clearTimeout(page.proposing);
    if (view.proposal) page.proposing = setTimeout(() => act(propose), 300);
  });
}
$("layer").addEventListener("input", () => act(showLayer));
$("note").addEventListener("change", () => page.entry && act(saveNote));
$("assignee").addEventListener("change", () => act(async () => {
  const { entry } = page;
  const assignee = $("assignee").value || null;
  try {
    await json(`entries/${entry.id}/assignee`, { json: { assignee } });
    entry.assignee = assignee;
  } finally {
    showEntry(); // who was refused is not shown
  }
}));
COLOURS.forEach((colour, n) => {
  const button = document.createElement("button");
  button.setAttribute("role", "radio");
  button.setAttribute("aria-label", `Colour ${n + 1}`);
  button.style.background = `rgb(${colour})`;
  button.onclick = () => setColour(n);
  $("colours").append(button);
});
$("people").onclick = () => act(async () => {
  await showProgress();
  $("people-dialog").showModal();
});
view.afterMove = () => {
  $("zoom").textContent = `${Number((100 * view.scale).toPrecision(3))} %`;
};
$("frame").addEventListener("pointermove", (event) => {
  if (!page.mask) return;
  const [x, y] = view.toImage(event).map(Math.floor);
  $("position").textContent = x >= 0 && y >= 0 && x < page.mask.width && y < page.mask.height ? `${x}, ${y}` : "";
});
