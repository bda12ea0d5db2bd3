// What changes the mask as a whole, and what the server finds at a click.

import { TRIMAP_LEVELS } from "./canvas/tools.js";
import { grown, inverted, resized, withoutHoles } from "./canvas/morphology.js";
import { encodePng, fetchPixels, json } from "./saving/server.js";
import { $, banner, listeners, page, queue, tools } from "./session.js";

// Trimaps have no half levels to grow into or to invert: their known sides change places.
export const grow = () => tools.replace(grown(page.mask, 1));
export const shrink = () => tools.replace(grown(page.mask, -1));
export const invert = () => tools.replace(page.mask.kind === "trimap"
  ? page.mask.pixels.map((level) => (level === 128 ? 128 : 255 - level)) : inverted(page.mask));
export const fillHoles = () => tools.replace(withoutHoles(page.mask));

// Adds the mask of another image of the list; of another size it is stretched.
export async function copyFrom() {
  const dialog = $("copy");
  const others = queue.rows.filter((row) => row.id !== page.entry.id);
  const title = (row) => `${row.name}${row.blind_pass === 2 ? " (2nd)" : ""}${queue.labelled ? ` · ${row.label}` : ""}`;
  $("copy-names").replaceChildren(...others.slice(0, 2000).map((row) => new Option("", title(row))));
  $("copy-name").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => { dialog.onclose = resolve; });
  if (!dialog.returnValue) return;
  const row = others.find((other) => title(other) === $("copy-name").value);
  if (!row) throw new Error(`No image of the list is called ${$("copy-name").value}: choose one of the suggestions.`);
  const { entry, mask } = page;
  const other = await json(`entries/${row.id}`);
  const pixels = await fetchPixels(`entries/${row.id}/mask`, other.width, other.height);
  if (page.entry !== entry) return; // another image was opened meanwhile
  if (!pixels?.some(Boolean)) return banner(`${row.name} has no mask yet.`);
  if (mask.kind === "trimap" && !pixels.every((level) => TRIMAP_LEVELS.includes(level))) {
    return banner(`A trimap holds the levels 0, 128 and 255 alone, and the mask of ${title(row)} has others: choose a trimap or a hard mask.`);
  }
  const fitted = resized(pixels, other.width, other.height, mask.width, mask.height);
  tools.replace(mask.kind === "mask" ? fitted.map((level, n) => Math.max(level, mask.pixels[n])) : fitted);
}

listeners.pressed.segment = async (x, y, erases) => {
  const { entry, mask } = page;
  if (mask.kind === "alpha") return banner("Click to segment makes hard masks, no mattes.");
  banner("Looking for what you clicked…");
  const sent = mask.pixels.map((level) => (level >= 128 ? 255 : 0));
  const png = await encodePng(mask.width, mask.height, sent);
  const query = new URLSearchParams({ x, y, adds: !erases });
  const found = await fetchPixels(`entries/${entry.id}/segment?${query}`, mask.width, mask.height, png);
  if (page.entry !== entry) return;
  banner();
  // Where nothing was found the mask stays as it is by now, soft edges and later strokes included.
  tools.replace(mask.pixels.map((level, n) => (found[n] === sent[n] ? level : found[n] ? (mask.kind === "trimap" ? tools.level : 255) : 0)));
};
