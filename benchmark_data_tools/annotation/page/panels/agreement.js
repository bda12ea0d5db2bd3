// Tables of agreement, and an image's disagreement map at a click.

import { json, request } from "../saving/server.js";

const $ = (id) => document.getElementById(id);
const figures = (row) => [row.iou, row.boundary_f, row.kappa, row.sad, row.mse].map((value) => value.toFixed(3));

function fill(table, rows) {
  for (const cells of rows) {
    const line = $(table).tBodies[0].insertRow();
    for (const cell of cells) line.insertCell().append(cell);
  }
}

function show(error) {
  $("banner").hidden = false;
  $("banner").textContent = error.message;
}

function mapButton(pair) {
  const button = document.createElement("button");
  button.textContent = "Show";
  button.onclick = async () => {
    try {
      const map = await request(`agreement/${pair.entry_id}.png`);
      URL.revokeObjectURL($("map").src);
      $("map").src = URL.createObjectURL(await map.blob());
      $("map").alt = `Disagreement map of ${pair.name}`;
      $("map").hidden = false;
      $("map").scrollIntoView();
    } catch (error) {
      show(error);
    }
  };
  return button;
}

try {
  const { pairs, means } = await json("agreement");
  fill("means", means.map((mean) => [mean.label, mean.who, mean.images, ...figures(mean)]));
  fill("pairs", pairs.map((pair) => [pair.name, pair.label, pair.first, pair.second, ...figures(pair), mapButton(pair)]));
  if (!pairs.length) throw new Error("No image has two finished passes yet.");
} catch (error) {
  show(error);
}
document.body.dataset.ready = "yes";
