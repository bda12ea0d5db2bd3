// Photo to cut-out with ONNX Runtime Web: segmenter -> guidance -> matting -> foreground colours.
// The graphs are those of `python -m mgm_core.export`; arrays are float32 in [0, 1], planes (H, W).

import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

const PERSON = 15; // of VOC's 21 classes
const SEGMENTER_PX = 513; // long side that it is fed with
const THRESHOLD = 0.5;
const LEAST_PX = 800; // long side to which the light matting network has smaller photos magnified
const LARGEST_MAGNIFICATION = 1.5;
const PAD_PX = 32;
const STRIDE_PX = 32;
const STRAY_ALPHA = 0.05;

const sessions = {};
function session(name) {
  sessions[name] ??= ort.InferenceSession.create(new URL(`models/${name}.onnx`, import.meta.url).href);
  return sessions[name];
}

async function run(name, inputs) {
  const network = await session(name);
  const outputs = await network.run(inputs);
  return outputs[network.outputNames[0]];
}

/** Photo (ImageData) at another size, as three planes in one array (3, H, W). */
function colours(photo, width, height) {
  const from = new OffscreenCanvas(photo.width, photo.height);
  from.getContext("2d").putImageData(photo, 0, 0);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const area = width * height;
  const planes = new Float32Array(3 * area);
  for (let i = 0; i < area; i++)
    for (let c = 0; c < 3; c++) planes[c * area + i] = data[4 * i + c] / 255;
  return planes;
}

/** A plane at another size, bilinearly; corners on corners, or the edges of pixels on edges. */
function resized(plane, width, height, newWidth, newHeight, corners) {
  if (width === newWidth && height === newHeight) return plane;
  const place = (i, length, newLength) => {
    const x = corners
      ? (i * (length - 1)) / Math.max(1, newLength - 1)
      : Math.min(Math.max(((i + 0.5) * length) / newLength - 0.5, 0), length - 1);
    const low = Math.min(Math.floor(x), Math.max(0, length - 2));
    return [low, Math.min(low + 1, length - 1), x - low];
  };
  const columns = Array.from({ length: newWidth }, (_, x) => place(x, width, newWidth));
  const out = new Float32Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const [top, bottom, down] = place(y, height, newHeight);
    for (let x = 0; x < newWidth; x++) {
      const [left, right, across] = columns[x];
      const upper = plane[top * width + left] * (1 - across) + plane[top * width + right] * across;
      const lower =
        plane[bottom * width + left] * (1 - across) + plane[bottom * width + right] * across;
      out[y * newWidth + x] = upper * (1 - down) + lower * down;
    }
  }
  return out;
}

/** Planes (C, H, W) with a border that mirrors them, to sides that the networks take. */
function padded(planes, channels, width, height, before) {
  const fit = (length) => Math.ceil((length + 2 * before) / STRIDE_PX) * STRIDE_PX;
  const newWidth = fit(width);
  const newHeight = fit(height);
  const mirror = (i, length) => {
    const period = Math.max(1, 2 * (length - 1));
    const j = ((i % period) + period) % period;
    return j < length ? j : period - j;
  };
  const rows = Array.from({ length: newHeight }, (_, y) => mirror(y - before, height) * width);
  const columns = Array.from({ length: newWidth }, (_, x) => mirror(x - before, width));
  const out = new Float32Array(channels * newWidth * newHeight);
  let n = 0;
  for (let c = 0; c < channels; c++)
    for (const row of rows) for (const column of columns) out[n++] = planes[c * width * height + row + column];
  return { data: new ort.Tensor("float32", out, [1, channels, newHeight, newWidth]), newWidth, newHeight };
}

function cropped(tensor, channels, { newWidth, newHeight }, before, width, height) {
  const out = new Float32Array(channels * width * height);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++) {
      const start = (c * newHeight + y + before) * newWidth + before;
      out.set(tensor.data.subarray(start, start + width), (c * height + y) * width);
    }
  return out;
}

async function segment(photo) {
  const scale = SEGMENTER_PX / Math.max(photo.width, photo.height);
  const side = (length) => Math.max(8, Math.round((length * scale - 1) / 8)) * 8 + 1;
  const [width, height] = [side(photo.width), side(photo.height)];
  const image = new ort.Tensor("float32", colours(photo, width, height), [1, 3, height, width]);
  const found = await run("segmenter", { image });
  const person = found.data.subarray(PERSON * width * height, (PERSON + 1) * width * height);
  return resized(person, width, height, photo.width, photo.height, true);
}

async function matte(photo, guidance) {
  const { width, height } = photo;
  const magnified = Math.min(Math.max(1, LEAST_PX / Math.max(width, height)), LARGEST_MAGNIFICATION);
  const [w, h] = [Math.round(width * magnified), Math.round(height * magnified)];
  const image = padded(colours(photo, w, h), 3, w, h, PAD_PX);
  const guide = padded(resized(guidance, width, height, w, h, false), 1, w, h, PAD_PX);
  const alpha = await run("matting", { image: image.data, guidance: guide.data });
  return resized(cropped(alpha, 1, image, PAD_PX, w, h), w, h, width, height, false);
}

/** Drop the parts of alpha that no guidance touches. */
function keepGuidedParts(alpha, guidance, width) {
  const seen = new Uint8Array(alpha.length);
  const stack = [];
  for (let i = 0; i < alpha.length; i++)
    if (guidance[i] > 0 && alpha[i] > STRAY_ALPHA) {
      seen[i] = 1;
      stack.push(i);
    }
  while (stack.length) {
    const i = stack.pop();
    const x = i % width;
    for (const j of [x ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width])
      if (j >= 0 && j < alpha.length && !seen[j] && alpha[j] > STRAY_ALPHA) {
        seen[j] = 1;
        stack.push(j);
      }
  }
  return alpha.map((a, i) => (a > STRAY_ALPHA && !seen[i] ? 0 : a));
}

async function foregroundColours(photo, alpha) {
  const { width, height } = photo;
  const image = padded(colours(photo, width, height), 3, width, height, 0);
  const a = padded(alpha, 1, width, height, 0);
  const found = await run("foreground", { image: image.data, alpha: a.data });
  return cropped(found, 3, image, 0, width, height);
}

function guidanceOf(mask) {
  return Float32Array.from({ length: mask.width * mask.height }, (_, i) => {
    const [r, g, b, a] = mask.data.subarray(4 * i, 4 * i + 4);
    return (0.299 * r + 0.587 * g + 0.114 * b) * a >= THRESHOLD * 255 * 255 ? 1 : 0;
  });
}

async function cutOut({ photo, mask, reduced }) {
  const { width, height } = photo;
  const began = performance.now();
  postMessage({ step: 0, text: "Looking for a person…" });
  const guidance = mask
    ? guidanceOf(mask)
    : (await segment(photo)).map((p) => (p >= THRESHOLD ? 1 : 0));
  if (!guidance.includes(1)) {
    const what = mask
      ? "The mask marks nothing: paint the subject white."
      : "No person was found in this photo: bring a mask of your own.";
    postMessage({ error: true, text: what });
    return;
  }
  postMessage({ step: 1, text: "Finding hair…" });
  const alpha = keepGuidedParts(await matte(photo, guidance), guidance, width);
  postMessage({ step: 3, text: "Cleaning colours…" });
  const foreground = await foregroundColours(photo, alpha);
  const area = width * height;
  const cutout = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) cutout.data[4 * i + c] = Math.round(foreground[c * area + i] * 255);
    cutout.data[4 * i + 3] = Math.round(alpha[i] * 255);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  postMessage({ step: 4, cutout, text: `Done in ${seconds} s.${reduced}` });
}

let turn = Promise.resolve();
self.onmessage = ({ data }) => {
  turn = turn.then(() =>
    cutOut(data).catch((error) => postMessage({ error: true, text: `Failed: ${error.message}` })),
  );
};
