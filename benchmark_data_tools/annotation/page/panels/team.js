// What a team shares: the owner's guideline, comments at places, and what is done to many images.

import { json } from "../saving/server.js";
import { $, act, listeners, page, queue } from "../session.js";
import { ask, showEntry, showProgress } from "./panels.js";

listeners.pressed.pin = async (x, y) => {
  const { entry } = page;
  if (x < 0 || y < 0 || x >= entry.width || y >= entry.height) return;
  await ask("What is to be said about this place?", async (text) => {
    entry.pins = await json(`entries/${entry.id}/pins`, { json: { x, y, text } });
    showEntry();
  });
};

export async function loadGuideline() {
  const { html } = await json("guideline");
  const text = $("guideline").querySelector("div");
  text.innerHTML = html; // made by the server, without HTML of its author
  for (const picture of text.querySelectorAll("img")) {
    const name = picture.getAttribute("src");
    if (!/^[a-z]+:/.test(name)) picture.src = `api/guideline/${encodeURIComponent(decodeURIComponent(name.split("/").at(-1)))}`;
  }
  for (const id of ["guideline-link", "open-guideline"]) $(id).hidden = !html;
}

export function showGuideline() {
  if ($("guideline").querySelector("div").innerHTML) $("guideline").showModal();
}

export function showBatch() {
  if (!page.me.reviews || page.me.alone) return;
  const dialog = $("batch");
  dialog.querySelector("h1").textContent = `${queue.rows.length.toLocaleString()} images are shown`;
  $("batch-assignee").replaceChildren(...["", ...page.me.users].map((name) => new Option(name || "nobody", name)));
  $("batch-comment").value = $("batch-result").textContent = "";
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-batch]")) {
  button.onclick = () => act(async () => {
    const action = button.dataset.batch;
    const comment = $("batch-comment").value.trim();
    if (action === "return" && !comment) {
      $("batch-result").textContent = "Write in the comment what should be changed.";
      return;
    }
    const asked = { entries: queue.rows.map((row) => row.id), action, comment, assignee: $("batch-assignee").value || null };
    const { done, refused } = await json("batch", { json: asked });
    const reasons = Object.entries(refused).slice(0, 3).map(([id, why]) =>
      `${queue.rows.find((row) => row.id === Number(id))?.name}: ${why}`);
    $("batch-result").textContent = [`${done} done, ${Object.keys(refused).length} refused.`, ...reasons].join("\n");
    await queue.load();
    if (page.entry) {
      Object.assign(page.entry, await json(`entries/${page.entry.id}`));
      showEntry();
    }
    showProgress();
  });
}
