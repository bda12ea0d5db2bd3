// Photo to cut-out with ONNX Runtime Web: segmenter -> guidance -> matting -> foreground colours.
// The graphs are those of `python -m mgm_core.export`; arrays are float32 in [0, 1], planes (H, W).

import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

const PERSON = 15; // of VOC's 21 classes
const SEGMENTER_PX = 513; // long side that it is fed with
const THRESHOLD = 0.5;
const OUTLINE_RADIUS_PX = 8; // of the windows in which outlines move to the image's edges
const OUTLINE_EPSILON = 1e-3;
const LEAST_PX = 800; // long side to which the light matting network has smaller photos magnified
const LARGEST_MAGNIFICATION = 1.5;
const STRIDE_PX = 32;
const STRAY_ALPHA = 0.05;

const sessions = {};
function session(name) {
  const url = new URL(`models/${name}.onnx`, import.meta.url).href;
  sessions[name] ??= ort.InferenceSession.create(url).catch((error) => {
    delete sessions[name]; // the next photo tries again
    throw error;
  });
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

/** Where a border that mirrors shows place i of a line, which may lie outside of it. */
function mirror(i, length) {
  const period = Math.max(1, 2 * (length - 1));
  const j = ((i % period) + period) % period;
  return j < length ? j : period - j;
}

/** Planes (C, H, W), their last column and row repeated up to sides that the networks take. */
function padded(planes, channels, width, height) {
  const fit = (length) => Math.ceil(length / STRIDE_PX) * STRIDE_PX;
  const newWidth = fit(width);
  const newHeight = fit(height);
  const rows = Array.from({ length: newHeight }, (_, y) => Math.min(y, height - 1) * width);
  const columns = Array.from({ length: newWidth }, (_, x) => Math.min(x, width - 1));
  const out = new Float32Array(channels * newWidth * newHeight);
  let n = 0;
  for (let c = 0; c < channels; c++)
    for (const row of rows) for (const column of columns) out[n++] = planes[c * width * height + row + column];
  return { data: new ort.Tensor("float32", out, [1, channels, newHeight, newWidth]), newWidth, newHeight };
}

function cropped(tensor, channels, { newWidth, newHeight }, width, height) {
  const out = new Float32Array(channels * width * height);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++) {
      const start = (c * newHeight + y) * newWidth;
      out.set(tensor.data.subarray(start, start + width), (c * height + y) * width);
    }
  return out;
}

/** Means of a plane over squares of 2 radius + 1 px, the plane mirrored at its border. */
function means(plane, width, height, radius) {
  const line = (from, length, at, into) => {
    let sum = 0;
    for (let i = -radius; i <= radius; i++) sum += from[at(mirror(i, length))];
    for (let i = 0; i < length; i++) {
      into[at(i)] = sum / (2 * radius + 1);
      sum += from[at(mirror(i + radius + 1, length))] - from[at(mirror(i - radius, length))];
    }
  };
  const across = new Float32Array(plane.length);
  const out = new Float32Array(plane.length);
  for (let y = 0; y < height; y++) line(plane, width, (x) => y * width + x, across);
  for (let x = 0; x < width; x++) line(across, height, (y) => y * width + x, out);
  return out;
}

/** A plane whose edges lie at the image's (3, H, W): `guided_filter` of mgm_core/matting. */
function guidedFilter(image, plane, width, height) {
  const area = width * height;
  const mean = (p) => means(p, width, height, OUTLINE_RADIUS_PX);
  const product = (a, b) => mean(a.map((value, i) => value * b[i]));
  const colour = [0, 1, 2].map((c) => image.subarray(c * area, (c + 1) * area));
  const mu = colour.map(mean);
  const muPlane = mean(plane);
  const [rr, rg, rb, gg, gb, bb] = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([i, j]) =>
    product(colour[i], colour[j]),
  );
  const withPlane = colour.map((c) => product(c, plane));
  const functions = [0, 1, 2, 3].map(() => new Float32Array(area));
  for (let i = 0; i < area; i++) {
    const [r, g, b] = [mu[0][i], mu[1][i], mu[2][i]];
    const [a00, a11, a22] = [rr[i] - r * r, gg[i] - g * g, bb[i] - b * b].map(
      (variance) => variance + OUTLINE_EPSILON,
    );
    const [a01, a02, a12] = [rg[i] - r * g, rb[i] - r * b, gb[i] - g * b];
    const [b00, b01, b02] = [a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11];
    const [b11, b12, b22] = [a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01];
    const determinant = a00 * b00 + a01 * b01 + a02 * b02;
    const [x, y, z] = [0, 1, 2].map((c) => withPlane[c][i] - mu[c][i] * muPlane[i]);
    functions[0][i] = (b00 * x + b01 * y + b02 * z) / determinant;
    functions[1][i] = (b01 * x + b11 * y + b12 * z) / determinant;
    functions[2][i] = (b02 * x + b12 * y + b22 * z) / determinant;
    functions[3][i] = muPlane[i] - functions[0][i] * r - functions[1][i] * g - functions[2][i] * b;
  }
  const [fr, fg, fb, offset] = functions.map(mean);
  return offset.map((value, i) => {
    const found = value + fr[i] * colour[0][i] + fg[i] * colour[1][i] + fb[i] * colour[2][i];
    return Math.min(Math.max(found, 0), 1);
  });
}

async function segment(photo) {
  const scale = SEGMENTER_PX / Math.max(photo.width, photo.height);
  const side = (length) => Math.max(8, Math.round((length * scale - 1) / 8)) * 8 + 1;
  const [width, height] = [side(photo.width), side(photo.height)];
  const planes = colours(photo, width, height);
  const image = new ort.Tensor("float32", planes, [1, 3, height, width]);
  const found = await run("segmenter", { image });
  const classes = found.data.subarray(PERSON * width * height, (PERSON + 1) * width * height);
  const person = guidedFilter(planes, classes, width, height);
  return resized(person, width, height, photo.width, photo.height, true);
}

async function matte(photo, guidance) {
  const { width, height } = photo;
  const magnified = Math.min(Math.max(1, LEAST_PX / Math.max(width, height)), LARGEST_MAGNIFICATION);
  const [w, h] = [Math.round(width * magnified), Math.round(height * magnified)];
  const image = padded(colours(photo, w, h), 3, w, h);
  const guide = padded(resized(guidance, width, height, w, h, false), 1, w, h);
  const alpha = await run("matting", { image: image.data, guidance: guide.data });
  return resized(cropped(alpha, 1, image, w, h), w, h, width, height, false);
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
  const image = padded(colours(photo, width, height), 3, width, height);
  const a = padded(alpha, 1, width, height);
  const found = await run("foreground", { image: image.data, alpha: a.data });
  return cropped(found, 3, image, width, height);
}

function guidanceOf(mask) {
  return Float32Array.from({ length: mask.width * mask.height }, (_, i) => {
    const [r, g, b, a] = mask.data.subarray(4 * i, 4 * i + 4);
    return (0.299 * r + 0.587 * g + 0.114 * b) * a >= THRESHOLD * 255 * 255 ? 1 : 0;
  });
}

async function cutOut({ photo, mask, reduced }, tell) {
  const { width, height } = photo;
  const began = performance.now();
  tell({ step: 0, text: "Looking for a person…" });
  const guidance = mask
    ? guidanceOf(mask)
    : (await segment(photo)).map((p) => (p >= THRESHOLD ? 1 : 0));
  if (!guidance.includes(1)) {
    const what = mask
      ? "The mask marks nothing: paint the subject white."
      : "No person was found in this photo: bring a mask of your own.";
    tell({ error: true, text: what });
    return;
  }
  tell({ step: 1, text: "Finding hair…" });
  const alpha = keepGuidedParts(await matte(photo, guidance), guidance, width);
  tell({ step: 3, text: "Cleaning colours…" });
  const foreground = await foregroundColours(photo, alpha);
  const area = width * height;
  const cutout = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) cutout.data[4 * i + c] = Math.round(foreground[c * area + i] * 255);
    cutout.data[4 * i + 3] = Math.round(alpha[i] * 255);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  tell({ step: 4, cutout, text: `Done in ${seconds} s.${reduced}` });
}

let turn = Promise.resolve();
self.onmessage = ({ data }) => {
  const tell = (message) => postMessage({ order: data.order, ...message });
  turn = turn.then(() =>
    cutOut(data, tell).catch((error) => tell({ error: true, text: `Failed: ${error.message}` })),
  );
};
