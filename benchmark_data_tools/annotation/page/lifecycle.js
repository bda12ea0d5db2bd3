// An entry's life in the page: opened, leased, saved, settled, moved on, left.

import { Mask } from "./canvas/mask.js";
import { hideProposal, proposalInHand } from "./proposal.js";
import { ask, saveNote, showEntry, showProgress, showStorage } from "./panels/panels.js";
import { chooseInConflict } from "./saving/conflict.js";
import * as journal from "./saving/journal.js";
import { Saver } from "./saving/saver.js";
import { fetchPixels, json, request } from "./saving/server.js";
import { $, act, banner, listeners, page, queue, readOnlyReason, tools, view } from "./session.js";

const RENEW_MS = 30_000;

listeners.openEntry = open;

// Commits the stroke in hand. Throws where something waits for a decision.
export function finishInHand() {
  tools.finishStroke();
  if (tools.corners.length) {
    throw new Error("A polygon is open: Enter closes it, Escape drops it.");
  }
  if (proposalInHand()) {
    throw new Error("A proposal is not applied: Enter applies it, Escape discards it.");
  }
}

// Before a logout: nothing is open after it.
export async function leave() {
  const leaving = await saveBeforeLeaving();
  if (leaving && page.entry) close();
  return leaving;
}

async function saveBeforeLeaving() {
  if (!page.entry) return true;
  finishInHand();
  await saveNote();
  const saved = await page.saver.flush();
  if (!saved && page.saver.unsaved) {
    const future = page.saver.unkept
      ? "This browser keeps no strokes: they are lost."
      : "Its strokes are kept in this browser and sent when you open it again.";
    if (!confirm(`This image could not be saved. ${future} Leave it?`)) return false;
  }
  return true;
}

// Ends the saving of the open entry, and its lease unless `id` opens it anew.
function close(id) {
  if (tools.stroke) { // begun while the last save was under way
    tools.finishStroke();
    page.saver.flush();
  }
  page.saver.close();
  const { entry } = page;
  if (page.held || entry.id === id) return;
  releaseLease(entry.id).then(({ assignee }) => queue.update(Object.assign(entry, { assignee }))).catch(() => {});
}

export async function open(id) {
  if (!(await saveBeforeLeaving())) return;
  const opening = (page.opening = { id, leasing: null });
  try {
    await replaceEntry(id, opening);
  } finally {
    const again = page.opening !== opening && page.opening.id === id;
    const unused = opening.leasing && page.entry?.id !== id && !again;
    if (unused && !(await opening.leasing)) await releaseLease(id).catch(() => {});
  }
}

// Until all of the new entry is there, the one before stays open and goes on saving.
async function replaceEntry(id, opening) {
  const generation = page.saver?.generation;
  delete document.body.dataset.opened;
  const key = [page.me.identity, page.me.name, id];
  const fetching = fetchBitmap(`entries/${id}/image`); // the longest of all
  fetching.catch(() => {}); // reported below
  const [entry, kept] = await Promise.all([json(`entries/${id}`), journal.recall(key).catch(() => null)]);
  const drawnOn = kept?.facts.base ?? entry.head;
  // A server that was restored from a copy may lack the revision that the strokes were drawn on,
  // or have another one of its number: then the server keeps them beside its newest one.
  const found = entry.revisions.find((r) => r.number === drawnOn);
  const another = Boolean(found && kept?.facts.baseSave && kept.facts.baseSave !== found.save_id);
  const known = !drawnOn || (found && !another);
  const base = known ? drawnOn : entry.head;
  const fetchMask = (number) => fetchPixels(`entries/${id}/mask?revision=${number}`, entry.width, entry.height);
  opening.leasing = takeLease(entry, false);
  const [bitmap, pixels, headPixels, held] = await Promise.all([
    fetching,
    base ? fetchMask(base) : null,
    base === entry.head ? null : fetchMask(entry.head),
    opening.leasing,
  ]);
  if (page.opening !== opening) return; // another one was asked for
  if (bitmap.width !== entry.width || bitmap.height !== entry.height) {
    throw new Error(
      `${entry.name} must be ${entry.width}x${entry.height}, got ${bitmap.width}x${bitmap.height}: run init again`,
    );
  }
  if (page.entry) {
    finishInHand();
    await saveNote();
    await page.saver.flush();
    if (page.opening !== opening) return;
    // What was drawn since lies on a newer head than the one that was fetched.
    if (page.entry.id === id && page.saver.generation !== generation) return open(id);
  }
  const mask = new Mask(entry.width, entry.height, pixels ?? undefined, entry.kind);
  const saver = new Saver(key, entry, mask, (state, message) => showSaving(saver, state, message));
  if (page.entry) close(id);
  Object.assign(page, { entry, held, image: bitmap, mask, saver, settling: false, note: entry.note });
  $("note").value = entry.note;
  saver.drawOn(base);
  view.show(mask);
  tools.open(mask, bitmap);
  hideProposal();
  $("layer").value = "image";
  $("empty").hidden = true;
  document.body.classList.add("has-entry");
  view.fit();
  location.hash = id;
  queue.select(id);
  showEntry();
  showSaving(saver, entry.head ? "saved" : "unsaved", "");
  const shown = view.showBitmap(bitmap);
  if (held) banner(held);
  if (kept && tools.readOnly) {
    banner(`Strokes that had not reached the server are kept in this browser until you can change the image: ${readOnlyReason()}`);
  } else if (kept) {
    for (const { tile, pixels: drawn } of kept.tiles) mask.writeTile(tile, drawn);
    saver.generation = Math.max(...kept.tiles.map((tile) => tile.generation));
    if (headPixels?.every((level, n) => level === mask.pixels[n])) {
      saver.rebase(entry.head); // the page ended between the save and the journal's end
    } else {
      if (another) {
        const why = "The server has another mask in place of the one that your unsent strokes were drawn on, as after its restore from a copy. Choose between its newest mask and this one with your strokes.";
        saver.recovered(kept.facts, why);
      } else saver.recovered({ ...kept.facts, base, baseSave: saver.baseSave });
      banner(
        known ? "Strokes that had not reached the server were found in this browser and restored."
        : another ? saver.why
        : "The server no longer has the revision that your unsent strokes were drawn on. They were restored upon its newest one: look at them again.",
      );
    }
  }
  if (entry.conflicts.length && !tools.readOnly) await settle();
  document.body.dataset.opened = id;
  if (innerWidth <= 900) document.body.classList.add("no-queue");
  await shown;
}

export async function fetchBitmap(path) {
  const file = await (await request(path)).blob();
  performance.mark("transferred");
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error("the image could not be decoded by this browser: convert it to JPEG or PNG");
  }
}

// --- Leases --------------------------------------------------------------------------------------

// Takes or renews the lease, and with it perhaps the entry. Returns why it is not to be had; ""
// where it is.
async function takeLease(entry, renew) {
  try {
    const lease = await json(`entries/${entry.id}/lease`, { json: { token: page.token, renew } });
    showStorage(lease.storage);
    entry.assignee = lease.assignee;
  } catch (error) {
    if (error.status === 409 || error.status === 403) return error.message;
    // Of a lost connection the saver tells.
  }
  return "";
}

function releaseLease(id, keepalive = false) {
  return json(`entries/${id}/release`, { json: { token: page.token }, keepalive });
}

async function renewLease(renew = true) {
  const { entry } = page;
  if (!entry || page.held) return;
  const before = entry.assignee;
  const held = await takeLease(entry, renew);
  if (page.entry !== entry) return;
  if (held) {
    page.held = held;
    banner(held);
  }
  if (held || entry.assignee !== before) showEntry();
}

setInterval(renewLease, RENEW_MS);
// A closed tab holds nothing; one that comes back from the browser's cache takes it again.
window.addEventListener("pagehide", () => {
  if (page.entry && !page.held) releaseLease(page.entry.id, true).catch(() => {});
});
window.addEventListener("pageshow", (event) => event.persisted && renewLease(false));
window.addEventListener("beforeunload", (event) => {
  const unsaved = page.saver?.unsaved || (page.entry && $("note").value !== page.note);
  if (unsaved && !page.reloading) event.preventDefault();
});
// A hidden tab may be killed without another word.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && page.saver?.unsaved) page.saver.flush();
});
window.addEventListener("hashchange", () => {
  const id = Number(location.hash.slice(1));
  if (id && id !== page.entry?.id) act(() => open(id));
});

// --- Saving --------------------------------------------------------------------------------------

function showSaving(saver, state, message) {
  if (saver !== page.saver) return;
  if (state === "unkept") {
    banner(`This browser keeps no strokes (${message}): those that the server lacks are lost with this tab.`);
    return;
  }
  const words = {
    saved: "Saved", unsaved: page.entry.head || saver.unsaved ? "Not saved yet" : "", saving: "Saving…",
    failed: "Not saved", conflict: "Conflict",
  };
  $("save-state").textContent = words[state];
  $("save-state").dataset.state = state;
  if (state === "failed") {
    page.failing = true;
    const place = saver.unkept ? "in this tab alone: leave it open, they are" : "in this browser and";
    banner(`Not saved: ${message}. Your strokes are kept ${place} sent again.`);
  } else if (state === "saved" && page.failing) {
    page.failing = false;
    banner();
  }
  if (state === "saved" && saver.base && saver.base !== page.entry.head) {
    page.entry.head = saver.base;
    showEntry();
    if (!page.entry.assignee) renewLease(); // it may be one's own now
  }
  if (state === "conflict") act(settle);
}

// Shows the head beside what waits for a decision, until nothing does.
async function settle() {
  if (page.settling) return;
  const { entry, saver, mask } = page;
  page.settling = true;
  showEntry();
  try {
    // What is in hand, and what was drawn while the save was under way, joins its conflict first.
    tools.finishStroke();
    if (!proposalInHand()) hideProposal(); // regions that somebody chose wait for their Enter
    let problem = saver.why;
    for (;;) {
      if (saver.unsaved && !(await saver.flush()) && saver.unsaved) return;
      Object.assign(entry, await json(`entries/${entry.id}`));
      if (!entry.conflicts.length) break;
      const choice = await chooseInConflict($("conflict"), page, problem);
      try {
        await json(`entries/${entry.id}/settle`, { json: choice });
        problem = "";
      } catch (error) {
        if (error.status === 403 || error.status === 409) {
          page.held = error.message; // it is for somebody else to settle
          banner(`${error.message}. Your strokes are kept as revision ${saver.base}.`);
          return;
        }
        problem = error.message; // the head changed, or the network is down: look again
      }
    }
    const pixels = await fetchPixels(`entries/${entry.id}/mask?revision=${entry.head}`, entry.width, entry.height);
    replacePixels(mask, pixels ?? new Uint8Array(mask.pixels.length));
    saver.rebase(entry.head);
  } finally {
    $("conflict").close();
    page.settling = false;
    if (page.entry === entry) showEntry();
  }
}

// Steps drawn on other pixels cannot be undone on these.
function replacePixels(mask, pixels) {
  mask.pixels.set(pixels);
  mask.steps = [];
  mask.position = mask.historyBytes = 0;
  mask.changed(0, 0, mask.width, mask.height);
}

export async function restore(save) {
  const { entry, saver, mask } = page;
  finishInHand();
  if (!(await saver.flush())) return;
  const saved = await json(`entries/${entry.id}/restore`, { json: { save, head: saver.baseSave } });
  replacePixels(mask, await fetchPixels(`entries/${entry.id}/mask?revision=${saved.number}`, entry.width, entry.height));
  Object.assign(entry, await json(`entries/${entry.id}`));
  saver.rebase(saved.number);
  showEntry();
  $("history").close();
}

// --- States --------------------------------------------------------------------------------------

export async function setState(state, title) {
  finishInHand();
  if (title) return ask(title, (comment) => sendState(state, comment));
  await sendState(state, "");
  return true;
}

async function sendState(state, comment) {
  if (state !== "skipped" && !(await page.saver.flush(state === "done" && page.entry.head === 0))) {
    throw new Error("Not saved: the state stays as it is until the strokes are saved.");
  }
  const asked = { state, comment, head: state === "skipped" ? null : page.saver.baseSave };
  Object.assign(page.entry, await json(`entries/${page.entry.id}/state`, { json: asked }));
  showEntry();
  showProgress();
}

export async function step(offset) {
  const id = queue.neighbour(offset);
  if (id) await open(id);
  else banner("This is the end of the list.");
}

export async function finish() {
  finishInHand();
  if (page.entry.state === "open" || page.entry.state === "returned") {
    await page.saver.flush(true);
  }
  if (!(await setState("done"))) return;
  const id = await queue.nextToDo(page.me);
  if (id) await open(id);
  else banner("No image of this list is left for you to label.");
}
