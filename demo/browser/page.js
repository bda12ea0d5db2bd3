// The page: reads files, shows what the worker made, offers it for download.

const LARGEST_PX = 1600; // long side; more needs more memory than phones give to a page

const element = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
let order = 0; // of photos, by which the newest one's result is known
let cutout = null; // ImageData, straight alpha

class WrongShape extends Error {}

async function readPixels(file, size) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  // To within a pixel of either, as sizes are rounded.
  const most = size && Math.max(bitmap.width, bitmap.height, size.width, size.height);
  if (size && Math.abs(bitmap.width * size.height - bitmap.height * size.width) > most)
    throw new WrongShape(
      `The mask must have the photo's shape, ${size.width}x${size.height}, got ${bitmap.width}x${bitmap.height}: ` +
        "draw it over this photo.",
    );
  const scale = size ? 0 : Math.min(1, LARGEST_PX / Math.max(bitmap.width, bitmap.height));
  const width = size ? size.width : Math.max(1, Math.round(bitmap.width * scale));
  const height = size ? size.height : Math.max(1, Math.round(bitmap.height * scale));
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const reduced = !size && scale < 1 ? ` The photo was reduced to ${width}x${height} px.` : "";
  return { pixels: context.getImageData(0, 0, width, height), reduced };
}

function show() {
  const canvas = element("result");
  canvas.width = cutout.width;
  canvas.height = cutout.height;
  const context = canvas.getContext("2d");
  const layer = new OffscreenCanvas(cutout.width, cutout.height);
  layer.getContext("2d").putImageData(cutout, 0, 0);
  if (!element("transparent").checked) {
    context.fillStyle = element("colour").value;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(layer, 0, 0);
  canvas.hidden = false;
  const shown = cutout;
  canvas.toBlob((blob) => {
    if (cutout !== shown) return; // another photo was chosen meanwhile
    const link = element("download");
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(blob);
    link.hidden = false;
  });
}

async function run() {
  const file = element("photo").files[0];
  if (!file) return;
  cutout = null; // the former photo's
  for (const id of ["result", "download", "progress"]) element(id).hidden = true;
  const mine = ++order;
  let photo = null; // ImageData
  let mask = null;
  let reduced = "";
  try {
    ({ pixels: photo, reduced } = await readPixels(file));
    const own = element("mask").files[0];
    if (own) mask = (await readPixels(own, photo)).pixels;
  } catch (error) {
    if (mine !== order) return;
    element("status").textContent =
      error instanceof WrongShape
        ? error.message
        : "This file cannot be opened as a picture here: take a JPEG, PNG or WebP.";
    return;
  }
  if (mine !== order) return; // another one was chosen meanwhile
  if (Math.min(photo.width, photo.height) < 16) {
    element("status").textContent = "The photo must have sides of 16 px or more: take a larger one.";
    return;
  }
  element("progress").hidden = false;
  worker.postMessage({ order: mine, photo, mask, reduced });
}

worker.onmessage = ({ data }) => {
  if (data.order !== order) return; // of a photo that was replaced
  if (data.step !== undefined) element("progress").value = data.step;
  if (data.text) element("status").textContent = data.text;
  if (data.error || data.cutout) element("progress").hidden = true;
  if (data.cutout) {
    cutout = data.cutout;
    show();
  }
};
worker.onerror = (event) => {
  element("progress").hidden = true;
  element("status").textContent = `The page could not start its networks: ${event.message}`;
};
for (const id of ["photo", "mask"]) element(id).addEventListener("change", run);
for (const id of ["colour", "transparent"])
  element(id).addEventListener("input", () => cutout && show());
