// What stands around the canvas: an entry's facts, tools' settings, progress, history, help.

import { ACTIONS, keyName, keysOf } from "./keys.js";
import { LARGEST_SIZE, TOOLS } from "../canvas/tools.js";
import { json } from "../saving/server.js";
import { $, act, listeners, page, queue, readOnlyReason, tools, view } from "../session.js";

export const COLOURS = [[230, 30, 120], [255, 210, 0], [0, 190, 255], [60, 230, 90], [255, 255, 255]];

listeners.toolsShown = showTools;

export function showStorage(message) {
  $("storage").hidden = !message;
  $("storage").textContent = message;
}

export function showEntry() {
  const { entry, me } = page;
  tools.readOnly = Boolean(readOnlyReason());
  page.saver.paused = tools.readOnly && !page.settling;
  $("frame").classList.toggle("read-only", tools.readOnly);
  $("name").textContent = entry.name + (me.labels.length > 1 ? ` · ${entry.label}` : "") + (entry.pass === 2 ? " (second pass)" : "");
  $("name").title = `${entry.width} x ${entry.height}`;
  $("entry-state").textContent = entry.state.replace("_", " ");
  tools.pins = entry.pins;
  showPins();
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

export function showTools() {
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
  $("mode").value = view.mode;
  $("flat-row").hidden = view.mode !== "cutout";
  const kind = page.mask?.kind ?? "mask";
  $("level-row").hidden = kind === "mask";
  $("classes").hidden = kind !== "trimap";
  $("level-slider").hidden = kind !== "alpha";
  for (const button of $("classes").children) button.setAttribute("aria-checked", Number(button.dataset.level) === tools.level);
  $("level").value = tools.level;
  $("level-value").textContent = `${Math.round((100 * tools.level) / 255)} %`;
  $("brightness-value").textContent = `${$("brightness").value} %`;
  $("contrast-value").textContent = `${$("contrast").value} %`;
  $("gamma-value").textContent = (Number($("gamma-slider").value) / 100).toFixed(2);
  $("opening-value").textContent = `${$("opening").value} px`;
  $("dilation-value").textContent = `${$("dilation").value} px`;
  [...$("colours").children].forEach((button, n) => button.setAttribute("aria-checked", COLOURS[n] === view.colour));
  document.querySelector("#tools [data-action=hide]").setAttribute("aria-pressed", view.hidden);
}

const hours = (seconds) => (seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

export async function showProgress() {
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

export async function showHistory(restore) {
  const entry = await json(`entries/${page.entry.id}`);
  const rows = entry.revisions.reverse().map((r) => {
    const button = document.createElement("button");
    button.textContent = r.number === entry.head ? "current" : "restore";
    button.disabled = r.number === entry.head || tools.readOnly;
    button.onclick = () => act(() => restore(r.save_id));
    return [
      r.number, new Date(1000 * r.saved_at).toLocaleString(), r.author, r.kind, r.strokes,
      `${Math.round(r.active_seconds)} s`, `${((100 * r.detail_px) / (entry.width * entry.height)).toFixed(1)} %`, button,
    ];
  });
  fillTable($("history"), rows);
  if (!$("history").open) $("history").showModal();
}

let noted = Promise.resolve(); // when the note before is written: one answers for the next

export function saveNote() {
  noted = noted.catch(() => {}).then(writeNote);
  return noted;
}

// Where somebody else wrote a note meanwhile, the field shows theirs above one's own.
async function writeNote() {
  const { entry } = page;
  const note = $("note").value;
  if (note === page.note) return;
  try {
    await json(`entries/${entry.id}/note`, { json: { note, seen: page.note } });
    entry.note = note;
    if (page.entry === entry) page.note = note;
  } catch (error) {
    if (error.status === 412 && page.entry === entry) {
      ({ note: entry.note } = await json(`entries/${entry.id}`));
      page.note = entry.note;
      $("note").value = `${entry.note}\n${$("note").value}`.trim();
    }
    throw error;
  }
}

// Comments at places of the image, with a button each to settle them.
function showPins() {
  const { entry } = page;
  $("pins").replaceChildren(
    ...entry.pins.map((pin) => {
      const item = document.createElement("li");
      const done = Object.assign(document.createElement("button"), { textContent: "Settle" });
      done.onclick = () => act(async () => {
        await json(`pins/${pin.id}/settle`, { json: {} });
        entry.pins = entry.pins.filter((other) => other !== pin);
        showEntry();
      });
      item.append(`${pin.text} (${pin.author}) `, done);
      item.onclick = () => view.reveal(pin.x, pin.y);
      return item;
    }),
  );
  view.drawHelpersSoon();
}

const unsent = new Map(); // an image's question -> what the server did not take

// Asks for a sentence and sends it; what is refused is there when it is asked again.
// Returns whether it was given.
export async function ask(title, send) {
  const dialog = $("ask");
  const field = dialog.querySelector("textarea");
  const question = `${page.entry.id} ${title}`;
  dialog.querySelector("h1").textContent = title;
  field.value = unsent.get(question) ?? "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => { dialog.onclose = resolve; });
  const text = dialog.returnValue && field.value.trim();
  if (!text) return false;
  unsent.set(question, text);
  await send(text);
  unsent.delete(question);
  return true;
}

export function fillHelp() {
  $("keys").replaceChildren(
    ...ACTIONS.map(([group, actions]) => {
      const section = document.createElement("section");
      section.innerHTML = "<h2></h2><dl></dl>";
      section.firstChild.textContent = group;
      for (const [action, , meaning] of actions) {
        const keys = keysOf(action);
        const term = document.createElement("dt");
        const shown = keys.filter((key) => !/^Shift\+[?{}<>]$/.test(key));
        term.append(...shown.flatMap((key) => [Object.assign(document.createElement("kbd"), { textContent: keyName(key) }), " "]));
        const text = document.createElement("dd");
        text.textContent = meaning;
        text.dataset.rebind = action;
        section.lastChild.append(term, text);
      }
      return section;
    }),
  );
}

export function setColour(n) {
  view.colour = COLOURS[n];
  showTools();
  view.draw();
}
