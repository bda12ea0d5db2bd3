// Two revisions of one image side by side, and the choice between them.

import { fetchPixels, json } from "./server.js";

const WIDEST_PX = 900;

// Resolves to what the server saved for the choice.
export async function showConflict(dialog, entry, { id, kept, stale }) {
  const { revisions } = await json(`entries/${entry.id}`);
  const masks = await Promise.all(
    [kept, stale].map((number) =>
      number ? fetchPixels(`entries/${entry.id}/mask?revision=${number}`, entry.width, entry.height) : new Uint8Array(entry.width * entry.height),
    ),
  );
  const captions = [kept, stale].map((number) => {
    const revision = revisions.find((r) => r.number === number);
    return revision ? `Revision ${number} by ${revision.author}, ${revision.strokes} strokes` : "Nothing";
  });
  const paint = [
    ([a]) => [a, a, a],
    ([, b]) => [b, b, b],
    ([a, b]) => (a === b ? [a >> 2, a >> 2, a >> 2] : a > b ? [230, 158, 0] : [86, 180, 233]),
  ];
  dialog.querySelectorAll("canvas").forEach((canvas, n) => draw(canvas, entry, masks, paint[n]));
  dialog.querySelectorAll("figcaption").forEach((caption, n) => {
    if (n < 2) caption.textContent = captions[n];
  });
  dialog.oncancel = (event) => event.preventDefault(); // it stays until it is settled
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve, reject) => {
    for (const button of dialog.querySelectorAll("[data-take]")) {
      button.onclick = async () => {
        try {
          resolve(await json(`conflicts/${id}`, { json: { take: button.dataset.take } }));
        } catch (error) {
          reject(error);
        } finally {
          dialog.close();
        }
      };
    }
  });
}

function draw(canvas, { width, height }, masks, paint) {
  const scale = Math.min(1, WIDEST_PX / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  const data = context.createImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y++) {
    const row = Math.floor(y / scale) * width;
    for (let x = 0; x < canvas.width; x++) {
      const from = row + Math.floor(x / scale);
      data.data.set([...paint(masks.map((mask) => mask[from])), 255], 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(data, 0, 0);
}
