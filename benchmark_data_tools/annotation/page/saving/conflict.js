// The head and what waits beside it, over the photograph, and the choice between them.

import { saveOf } from "./saver.js";
import { fetchPixels } from "./server.js";

const WIDEST_PX = 900;

// Resolves to what the server is to do: {take, head, stale}, with the saves that were shown.
export async function chooseInConflict(dialog, { entry, image, me }, problem) {
  const { revisions, conflicts, head } = entry;
  const author = (number) => revisions.find((r) => r.number === number)?.author;
  const pixelsOf = (number) =>
    number ? fetchPixels(`entries/${entry.id}/mask?revision=${number}`, entry.width, entry.height) : new Uint8Array(entry.width * entry.height);
  const people = [...new Set([author(head), ...conflicts.map((c) => author(c.stale))])].filter(Boolean);
  dialog.querySelector("h1").textContent =
    people.length > 1 ? `${people.slice(0, -1).join(", ")} and ${people.at(-1)} saved this image` :
    people[0] === me.name ? "You saved this image in two tabs or windows" : `${people[0]} saved this image in two tabs or windows`;
  dialog.querySelector("#conflict-problem").textContent = problem;
  dialog.querySelector("#conflict-which").hidden = conflicts.length < 2;
  const all = dialog.querySelector("[data-take=all]");
  all.hidden = conflicts.length < 2;
  all.textContent = `Add all ${conflicts.length} to the left one`;
  const caption = (number) => {
    const revision = revisions.find((r) => r.number === number);
    return revision ? `Revision ${number} by ${revision.author}, ${revision.strokes} ${revision.strokes === 1 ? "stroke" : "strokes"}` : "Nothing";
  };
  const shownHead = await pixelsOf(head);
  let at = 0;
  const show = async (next) => {
    at = (next + conflicts.length) % conflicts.length;
    const { stale } = conflicts[at];
    const masks = [shownHead, await pixelsOf(stale)];
    dialog.querySelector("#conflict-which span").textContent = `Save ${at + 1} of ${conflicts.length}`;
    dialog.querySelectorAll("canvas").forEach((canvas, n) => draw(canvas, entry, image, masks, TINTS[n]));
    dialog.querySelectorAll("figcaption").forEach((text, n) => {
      if (n < 2) text.textContent = caption([head, stale][n]);
    });
  };
  await show(0);
  // It stays until it is settled: a browser lets Escape, pressed often enough, close any dialog.
  dialog.onclose = () => dialog.showModal();
  if (!dialog.open) dialog.showModal();
  for (const button of dialog.querySelectorAll("[data-look]")) {
    button.onclick = () => show(at + Number(button.dataset.look));
  }
  return new Promise((resolve) => {
    for (const button of dialog.querySelectorAll("[data-take]")) {
      button.onclick = () => {
        dialog.onclose = null;
        const chosen = button.dataset.take === "all" ? conflicts : [conflicts[at]];
        resolve({
          take: button.dataset.take === "all" ? "union" : button.dataset.take,
          head: saveOf(entry, head),
          stale: Object.fromEntries(chosen.map((c) => [c.id, saveOf(entry, c.stale)])),
        });
      };
    }
  });
}

// The colour that a pixel gets, and how much of it, by the two masks' levels.
const TINTS = [
  (a) => [230, 30, 120, a * 0.6],
  (_a, b) => [230, 30, 120, b * 0.6],
  (a, b) => (a === b ? [255, 255, 255, a * 0.25] : a > b ? [230, 158, 0, 230] : [86, 180, 233, 230]),
];

function draw(canvas, { width, height }, image, masks, tint) {
  const scale = Math.min(1, WIDEST_PX / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  const overlay = new OffscreenCanvas(canvas.width, canvas.height);
  const data = new ImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y++) {
    const row = Math.floor(y / scale) * width;
    for (let x = 0; x < canvas.width; x++) {
      const from = row + Math.floor(x / scale);
      data.data.set(tint(masks[0][from], masks[1][from]), 4 * (y * canvas.width + x));
    }
  }
  overlay.getContext("2d").putImageData(data, 0, 0);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.drawImage(overlay, 0, 0);
}
