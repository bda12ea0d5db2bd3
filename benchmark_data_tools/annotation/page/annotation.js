// The annotation page: opens entries, wires tools, keys, panels and autosave together.

import { showConflict } from "./conflict.js";
import { ACTIONS, actionOf, keyName, titleOf } from "./keys.js";
import * as journal from "./journal.js";
import { Mask, reduce, reducedLevels } from "./mask.js";
import { Queue } from "./queue.js";
import { Saver } from "./saver.js";
import { fetchPixels, json, randomId, request } from "./server.js";
import { LARGEST_SIZE, TOOLS, Tools } from "./tools.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const COLOURS = [[230, 30, 120], [255, 210, 0], [0, 190, 255], [60, 230, 90], [255, 255, 255]];
const RENEW_MS = 30_000;

const page = { me: null, entry: null, mask: null, saver: null, token: sessionStorage.token ??= randomId() };
const view = new View($("frame"));
const tools = new Tools(view, {
  changed: (tiles, stroke) => page.saver?.changed(tiles, stroke),
  input: () => page.saver?.input(),
  shown: (why) => (why ? banner(readOnlyReason()) : showTools()),
});
const queue = new Queue($("queue"), { open: (id) => act(() => open(id)) });
// For the browser's console, and for tests.
window.annotator = { page, view, tools, queue };

// --- Start -------------------------------------------------------------------------------------

async function start() {
  page.me = await json("me");
  $("dataset").textContent = page.me.dataset;
  document.title = `${page.me.dataset} · Annotation`;
  showStorage(page.me.storage);
  $("agreement").hidden = !page.me.reviews;
  $("logout").hidden = page.me.alone;
  $("assignee-row").hidden = !page.me.reviews || page.me.alone;
  $("assignee").replaceChildren(...["", ...page.me.users].map((name) => new Option(name || "nobody", name)));
  const narrow = matchMedia("(max-width: 900px)");
  const fold = () => ["no-queue", "no-side"].forEach((name) => document.body.classList.toggle(name, narrow.matches));
  narrow.addEventListener("change", fold);
  fold();
  await queue.load();
  performance.mark("queue shown");
  showProgress();
  setColour(0);
  const wanted = Number(location.hash.slice(1));
  if (wanted) await open(wanted);
  document.body.dataset.ready = "yes";
}

function showStorage(message) {
  $("storage").hidden = !message;
  $("storage").textContent = message;
}

function banner(message = "") {
  $("banner").hidden = !message;
  $("banner").textContent = message;
}

// Runs something that may be refused, and says so.
async function act(action) {
  try {
    banner();
    return await action();
  } catch (error) {
    banner(error.message);
    return undefined;
  }
}

// --- Entries -----------------------------------------------------------------------------------

async function leave() {
  if (!page.entry) return true;
  await saveNote();
  tools.cancel();
  if (!(await page.saver.flush()) && page.saver.unsaved) {
    if (page.saver.conflict) return false;
    const leaving = confirm(
      "This image could not be saved. Its strokes are kept in this browser and sent when you open it again. Leave it?",
    );
    if (!leaving) return false;
  }
  page.saver.close();
  if (!tools.readOnly) request(`entries/${page.entry.id}/release`, { json: { token: page.token } }).catch(() => {});
  return true;
}

async function open(id) {
  if (!(await leave())) return;
  const opening = (page.opening = {});
  delete document.body.dataset.opened;
  const key = [page.me.identity, page.me.name, id];
  const fetching = fetchBitmap(`entries/${id}/image`); // the longest of all
  fetching.catch(() => {}); // told of below
  const [entry, kept] = await Promise.all([json(`entries/${id}`), journal.recall(key).catch(() => null)]);
  const base = kept?.facts.base ?? entry.head;
  const fetchMask = (number) => fetchPixels(`entries/${id}/mask?revision=${number}`, entry.width, entry.height);
  const [bitmap, pixels, headPixels, held] = await Promise.all([
    fetching,
    base ? fetchMask(base) : null,
    base === entry.head ? null : fetchMask(entry.head),
    takeLease(id, false),
  ]);
  if (page.opening !== opening) return; // another one was asked for
  if (bitmap.width !== entry.width || bitmap.height !== entry.height) {
    throw new Error(
      `${entry.name} must be ${entry.width}x${entry.height}, got ${bitmap.width}x${bitmap.height}: run init again`,
    );
  }
  page.entry = entry;
  $("note").value = page.note = entry.note;
  page.held = held;
  page.image = bitmap;
  page.mask = new Mask(entry.width, entry.height, pixels ?? undefined);
  const saver = new Saver(key, entry, page.mask, (state, message) => showSaving(saver, state, message));
  page.saver = saver;
  saver.base = base;
  view.show(page.mask);
  tools.open(page.mask, bitmap);
  hideProposal();
  $("layer").value = "image";
  $("empty").hidden = true;
  view.fit();
  location.hash = id;
  queue.select(id);
  showEntry();
  showSaving(saver, entry.head ? "saved" : "unsaved", "");
  const shown = view.showBitmap(bitmap);
  if (held) banner(held);
  if (kept && !tools.readOnly) {
    for (const { tile, pixels: drawn } of kept.tiles) page.mask.writeTile(tile, drawn);
    saver.generation = Math.max(...kept.tiles.map((tile) => tile.generation));
    if (headPixels?.every((level, n) => level === page.mask.pixels[n])) {
      saver.rebase(entry.head); // the page ended between the save and the journal's end
    } else {
      saver.recovered(kept.facts);
      banner("Strokes that had not reached the server were found in this browser and restored.");
    }
  }
  if (entry.conflicts.length && !tools.readOnly) await settle(entry.conflicts[0]);
  document.body.dataset.opened = id;
  if (innerWidth <= 900) document.body.classList.add("no-queue");
  await shown;
}

async function fetchBitmap(path) {
  const file = await (await request(path)).blob();
  performance.mark("transferred");
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error("the image could not be decoded by this browser: convert it to JPEG or PNG");
  }
}

// Takes or renews the lease. Returns why it is not to be had; "" where it is.
async function takeLease(id, renew) {
  try {
    showStorage((await json(`entries/${id}/lease`, { json: { token: page.token, renew } })).storage);
  } catch (error) {
    if (error.status === 409 || error.status === 403) return error.message;
    // Of a lost connection the saver tells.
  }
  return "";
}

async function renewLease() {
  const { entry } = page;
  if (!entry || page.held) return;
  const held = await takeLease(entry.id, true);
  if (page.entry !== entry || !held) return;
  page.held = held;
  banner(held);
  showEntry();
}

function readOnlyReason() {
  if (page.held) return page.held;
  if (page.entry?.locked && !page.me.reviews) return "The image is under review: ask a reviewer to return it.";
  return "";
}

function showEntry() {
  const { entry, me } = page;
  tools.readOnly = Boolean(readOnlyReason());
  page.saver.paused = tools.readOnly;
  $("frame").classList.toggle("read-only", tools.readOnly);
  $("name").textContent = entry.name + (entry.pass === 2 ? " (second pass)" : "");
  $("name").title = `${entry.width} x ${entry.height}`;
  $("entry-state").textContent = entry.state.replace("_", " ");
  $("lease").textContent = page.held ? "read only" : me.alone ? "" : `${me.name} · ${me.role}`;
  if ($("note").value === page.note) $("note").value = page.note = entry.note;
  $("comment").hidden = !entry.comment;
  $("comment").textContent = entry.comment;
  $("assignee").value = entry.assignee ?? "";
  document.querySelector("[data-action=flag]").setAttribute("aria-pressed", entry.flagged);
  const shown = {
    done: ["open", "in_work", "returned"], skip: ["open", "in_work", "returned"],
    reopen: ["done", "skipped"], review: ["done", "accepted"], accept: ["in_review"], return: ["in_review"],
  };
  for (const [action, states] of Object.entries(shown)) {
    const button = document.querySelector(`header [data-action=${action}]`);
    const forReview = button.classList.contains("reviews");
    button.hidden = !states.includes(entry.state) || (forReview && !me.reviews);
  }
  queue.update(entry);
}

function showSaving(saver, state, message) {
  if (saver !== page.saver) return;
  const words = {
    saved: "Saved", unsaved: page.entry.head || saver.unsaved ? "Not saved yet" : "", saving: "Saving…",
    failed: "Not saved", conflict: "Conflict",
  };
  $("save-state").textContent = words[state];
  $("save-state").dataset.state = state;
  if (state === "failed") {
    page.failing = true;
    banner(`Not saved: ${message}. Your strokes are kept in this browser and sent again.`);
  } else if (state === "saved" && page.failing) {
    page.failing = false;
    banner();
  }
  if (state === "saved" && saver.base && saver.base !== page.entry.head) {
    page.entry.head = saver.base;
    if (["open", "returned", "done", "skipped"].includes(page.entry.state)) page.entry.state = "in_work";
    showEntry();
  }
  if (state === "conflict") act(() => settle({ id: saver.conflict.conflict, kept: saver.conflict.head, stale: saver.conflict.number }));
}

// Shows two revisions side by side and goes on with the one that is chosen.
async function settle(conflict) {
  const { entry, saver, mask } = page;
  saver.conflict ??= conflict;
  const saved = await showConflict($("conflict"), entry, conflict);
  const pixels = await fetchPixels(`entries/${entry.id}/mask?revision=${saved.number}`, entry.width, entry.height);
  const again = await json(`entries/${entry.id}`);
  Object.assign(entry, again);
  replacePixels(mask, pixels);
  saver.rebase(saved.number);
  showEntry();
  if (entry.conflicts.length) await settle(entry.conflicts[0]);
}

// Steps drawn on other pixels cannot be undone on these.
function replacePixels(mask, pixels) {
  mask.pixels.set(pixels);
  mask.steps = [];
  mask.position = mask.historyBytes = 0;
  mask.changed(0, 0, mask.width, mask.height);
}

async function setState(state, title) {
  let comment = "";
  if (title) {
    comment = await ask(title);
    if (!comment) return false;
  }
  tools.cancel();
  if (state !== "skipped" && !(await page.saver.flush(state === "done" && page.entry.head === 0))) {
    throw new Error("Not saved: the state stays as it is until the strokes are saved.");
  }
  Object.assign(page.entry, await json(`entries/${page.entry.id}/state`, { json: { state, comment } }));
  showEntry();
  showProgress();
  return true;
}

async function step(offset) {
  const id = queue.neighbour(offset);
  if (id) await open(id);
  else banner("This is the end of the list.");
}

async function finish() {
  if (page.entry.state === "open" || page.entry.state === "returned") {
    await page.saver.flush(true);
  }
  if (!(await setState("done"))) return;
  const id = queue.nextToDo();
  if (id) await open(id);
  else banner("All images of this list are done.");
}

// --- Proposals and layers ------------------------------------------------------------------------

async function propose() {
  const { entry } = page;
  if (tools.readOnly) return banner(readOnlyReason());
  $("proposal").hidden = false;
  $("proposal-text").textContent = "Looking for detail…";
  const query = new URLSearchParams({
    opening_px: $("opening").value, kernel_px: $("dilation").value, source: $("source").value,
  });
  const asked = (page.asked = {});
  try {
    const pixels = await fetchPixels(`entries/${entry.id}/proposal?${query}`, entry.width, entry.height);
    if (page.asked !== asked || page.entry !== entry) return;
    const proposal = { width: entry.width, height: entry.height, pixels };
    proposal.levels = reducedLevels(proposal);
    proposal.update = (...rectangle) => reduce(proposal, ...rectangle);
    tools.propose(proposal);
    $("proposal-text").textContent = "Click regions off and on, then apply.";
  } catch (error) {
    if (page.asked === asked) hideProposal();
    throw error;
  }
}

function hideProposal() {
  page.asked = null;
  $("proposal").hidden = true;
  if (view.proposal) tools.propose(null);
}

function applyProposal() {
  page.mask.merge(view.proposal.pixels);
  const tiles = page.mask.commit();
  if (tiles.length) page.saver.usedProposal = true;
  page.saver.changed(tiles);
  hideProposal();
}

async function showLayer() {
  const { entry, image } = page;
  const name = $("layer").value;
  const bitmap = name === "image" ? image : await fetchBitmap(`entries/${entry.id}/layers/${name}`);
  if (page.entry === entry && $("layer").value === name) await view.showBitmap(bitmap);
}

// --- Panels --------------------------------------------------------------------------------------

function showTools() {
  for (const tool of TOOLS) {
    document.querySelector(`#tools [data-action=${tool}]`).setAttribute("aria-pressed", tools.tool === tool);
  }
  const size = tools.tool in tools.sizes ? tools.size : tools.sizes.brush;
  $("size-slider").value = (100 * Math.log(size)) / Math.log(LARGEST_SIZE);
  $("size-value").textContent = `${size} px`;
  $("size").textContent = tools.tool in tools.sizes ? `${tools.tool} ${size} px` : tools.tool;
  $("softness").value = 100 * tools.softness;
  $("softness-value").textContent = `${Math.round(100 * tools.softness)} %`;
  $("tolerance").value = tools.tolerance;
  $("tolerance-value").textContent = tools.tolerance;
  $("pressure").checked = tools.pressure;
  $("erases-areas").checked = tools.erasesAreas;
  $("opacity").value = 100 * view.opacity;
  $("opacity-value").textContent = `${Math.round(100 * view.opacity)} %`;
  $("opening-value").textContent = `${$("opening").value} px`;
  $("dilation-value").textContent = `${$("dilation").value} px`;
  [...$("colours").children].forEach((button, n) => button.setAttribute("aria-checked", COLOURS[n] === view.colour));
  document.querySelector("#tools [data-action=hide]").setAttribute("aria-pressed", view.hidden);
}

const hours = (seconds) => (seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

async function showProgress() {
  const [whole, ...people] = (page.progress = await json("progress"));
  const total = Object.values(whole.counts).reduce((a, b) => a + b, 0);
  const finished = whole.counts.done + whole.counts.in_review;
  $("bar-accepted").style.width = `${(100 * whole.counts.accepted) / total}%`;
  $("bar-finished").style.width = `${(100 * finished) / total}%`;
  const rate = whole.per_hour ? ` · ${whole.per_hour.toFixed(1)} an hour · ${hours(3600 * whole.hours_left)} left` : "";
  $("progress").textContent = `${whole.counts.accepted + finished} of ${total} finished${rate}`;
  const row = (p) => [
    p.author ?? "all", p.counts.open, p.counts.in_work, p.counts.done, p.counts.in_review, p.counts.accepted,
    p.counts.returned, p.counts.skipped, hours(p.seconds), p.per_hour?.toFixed(1) ?? "–", `${p.corrected} of ${p.finished}`,
  ];
  fillTable($("people-dialog"), [whole, ...people].map(row));
}

function fillTable(dialog, rows) {
  dialog.querySelector("tbody").replaceChildren(
    ...rows.map((cells) => {
      const line = document.createElement("tr");
      for (const cell of cells) line.insertCell().append(cell);
      return line;
    }),
  );
}

async function showHistory() {
  const entry = await json(`entries/${page.entry.id}`);
  const rows = entry.revisions.reverse().map((r) => {
    const button = document.createElement("button");
    button.textContent = r.number === entry.head ? "current" : "restore";
    button.disabled = r.number === entry.head || tools.readOnly;
    button.onclick = () => act(() => restore(r.number));
    return [
      r.number, new Date(1000 * r.saved_at).toLocaleString(), r.author, r.kind, r.strokes,
      `${Math.round(r.active_seconds)} s`, `${((100 * r.detail_px) / (entry.width * entry.height)).toFixed(1)} %`, button,
    ];
  });
  fillTable($("history"), rows);
  if (!$("history").open) $("history").showModal();
}

async function restore(number) {
  const { entry, saver, mask } = page;
  if (!(await saver.flush())) return;
  const saved = await json(`entries/${entry.id}/restore`, { json: { number } });
  replacePixels(mask, await fetchPixels(`entries/${entry.id}/mask?revision=${saved.number}`, entry.width, entry.height));
  saver.rebase(saved.number);
  $("history").close();
}

// `page.note` is the note as the server has it; what is being typed differs from it.
async function saveNote() {
  const { entry } = page;
  const note = $("note").value;
  if (note === page.note) return;
  await json(`entries/${entry.id}/note`, { json: { note } });
  entry.note = note;
  if (page.entry === entry) page.note = note;
}

// Asks for a sentence; "" where it is not given.
function ask(title) {
  const dialog = $("ask");
  dialog.querySelector("h1").textContent = title;
  dialog.querySelector("textarea").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue ? dialog.querySelector("textarea").value.trim() : "");
  });
}

function fillHelp() {
  $("keys").replaceChildren(
    ...ACTIONS.map(([group, actions]) => {
      const section = document.createElement("section");
      section.innerHTML = "<h2></h2><dl></dl>";
      section.firstChild.textContent = group;
      for (const [, keys, meaning] of actions) {
        const term = document.createElement("dt");
        const shown = keys.filter((key) => !/^Shift\+[?{}<>]$/.test(key));
        term.append(...shown.flatMap((key) => [Object.assign(document.createElement("kbd"), { textContent: keyName(key) }), " "]));
        const text = document.createElement("dd");
        text.textContent = meaning;
        section.lastChild.append(term, text);
      }
      return section;
    }),
  );
}

// --- Actions -------------------------------------------------------------------------------------

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
  history: showHistory,
  people: () => $("people").click(),
  logout: () => !$("logout").hidden && $("logout").click(),
  agreement: () => !$("agreement").hidden && $("agreement").click(),
  review: () => setState("in_review"),
  accept: () => setState("accepted"),
  return: () => setState("returned", "What should be changed?"),
  help: () => { $("help").showModal(); $("help").scrollTop = 0; },
};
const WITHOUT_ENTRY = new Set(["queuePanel", "sidePanel", "next", "previous", "jump", "help", "people", "logout", "agreement", ...TOOLS]);

// Where keys zoom: at the cursor, else at the pointer, else in the middle.
function zoomCentre() {
  if (tools.cursor) return view.toScreen(...tools.cursor);
  return tools.hover ? view.toScreen(...view.toImage(tools.hover)) : [];
}

function setColour(n) {
  view.colour = COLOURS[n];
  showTools();
  view.draw();
}

function perform(action, event) {
  if (!page.entry && !WITHOUT_ENTRY.has(action)) return;
  page.saver?.input();
  act(() => doing[action]?.(event));
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

const onInput = (id, apply) => $(id).addEventListener("input", () => { apply($(id)); showTools(); view.draw(); });
onInput("size-slider", (input) => {
  const tool = tools.tool in tools.sizes ? tools.tool : "brush";
  tools.sizes[tool] = Math.round(LARGEST_SIZE ** (input.value / 100));
});
onInput("softness", (input) => { tools.softness = input.value / 100; });
onInput("tolerance", (input) => { tools.tolerance = Number(input.value); });
onInput("pressure", (input) => { tools.pressure = input.checked; });
onInput("erases-areas", (input) => { tools.erasesAreas = input.checked; });
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
  await json(`entries/${page.entry.id}/assignee`, { json: { assignee: $("assignee").value || null } });
  page.entry.assignee = $("assignee").value;
  showEntry();
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
$("logout").onclick = () => act(async () => {
  if (!(await leave())) return;
  await json("logout", { json: {} });
  location.reload();
});
$("login").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await json("login", { json: { name: $("login-name").value, password: $("login-password").value } });
    await goOn();
  } catch (error) {
    $("login-problem").textContent = error.message;
  }
});

// After a login, with what was in hand before it.
async function goOn() {
  $("login").close();
  if (page.entry) page.saver.flush(true);
  else await start();
}

$("login").addEventListener("cancel", (event) => event.preventDefault());
window.addEventListener("logged-out", async () => {
  if ($("login").open) return;
  $("login").showModal();
  const { hugging_face: offered, refused } = await json("ways");
  $("login-hf").hidden = !offered;
  $("login-hf").href = `oauth/huggingface/login?${new URLSearchParams({ _target_url: location.pathname + location.hash })}`;
  // Hugging Face is not to be shown in a frame.
  if (window.top !== window) $("login-hf").target = "_blank";
  if (refused) $("login-problem").textContent = refused;
});
// Somebody may have logged in in another window meanwhile.
window.addEventListener("focus", async () => {
  if (!$("login").open || $("login-hf").hidden) return;
  try {
    await json("me");
  } catch {
    return; // still nobody
  }
  act(goOn);
});
window.addEventListener("beforeunload", (event) => {
  if (page.saver?.unsaved) event.preventDefault();
});
// A hidden tab may be killed without another word.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && page.saver?.unsaved) page.saver.flush();
});
window.addEventListener("hashchange", () => {
  const id = Number(location.hash.slice(1));
  if (id && id !== page.entry?.id) act(() => open(id));
});
setInterval(renewLease, RENEW_MS);
view.afterMove = () => {
  $("zoom").textContent = `${Number((100 * view.scale).toPrecision(3))} %`;
};
$("frame").addEventListener("pointermove", (event) => {
  if (!page.mask) return;
  const [x, y] = view.toImage(event).map(Math.floor);
  $("position").textContent = x >= 0 && y >= 0 && x < page.mask.width && y < page.mask.height ? `${x}, ${y}` : "";
});

fillHelp();
act(start);
