// What is seen: image, mask overlay and helpers, on three canvases of exactly the screen's pixels.

import { clamp } from "./mask.js";

const LARGEST_SCALE = 32; // 3200 %
const GRID_FROM_SCALE = 12;
export const MODES = ["tint", "contour", "alone", "cutout"]; // ways to show the mask

export class View {
  constructor(frame) {
    this.frame = frame;
    [this.picture, this.overlay, this.helpers] = ["picture", "overlay", "helpers"].map((id) =>
      frame.querySelector(`#${id}`),
    );
    this.contexts = {
      picture: this.picture.getContext("2d", { alpha: false }),
      overlay: this.overlay.getContext("2d"),
      helpers: this.helpers.getContext("2d"),
    };
    this.scale = 1; // screen pixels per image pixel
    this.x = 0; // screen pixels from the frame's left to the image's
    this.y = 0;
    this.mask = null;
    this.proposal = null; // {levels}, or null
    this.bitmaps = []; // the shown layer, then halved copies of it
    this.opacity = 0.5;
    this.hidden = false;
    this.colour = [230, 30, 120];
    this.mode = "tint";
    this.flat = [0, 177, 64]; // what the cut-out lies on
    this.light = { brightness: 1, contrast: 1, gamma: 1 }; // of the picture, for the eye alone
    this.drawHelpers = () => {};
    this.afterMove = () => {};
    new ResizeObserver(([entry]) => this.#resize(entry)).observe(frame, {
      box: "device-pixel-content-box",
    });
  }

  get dpr() {
    return this.picture.width / this.frame.clientWidth;
  }

  #resize(entry) {
    const [{ inlineSize: width, blockSize: height }] = entry.devicePixelContentBoxSize;
    if (!width || !height || (this.picture.width === width && this.picture.height === height)) return;
    const fitted = this.fitted;
    for (const canvas of [this.picture, this.overlay, this.helpers]) {
      canvas.width = width;
      canvas.height = height;
    }
    if (fitted) this.fit();
    else this.draw();
  }

  // --- Where things are ----------------------------------------------------------------------

  toImage(event) {
    const box = this.frame.getBoundingClientRect();
    const sx = (event.clientX - box.left) * this.dpr;
    const sy = (event.clientY - box.top) * this.dpr;
    return [(sx - this.x) / this.scale, (sy - this.y) / this.scale];
  }

  toScreen(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  fit() {
    if (!this.mask) return;
    const { width, height } = this.picture;
    const scale = Math.min((width - 24) / this.mask.width, (height - 24) / this.mask.height);
    this.scale = clamp(scale, 0.01, LARGEST_SCALE);
    this.#centre();
    this.fitted = true;
  }

  // Scale 1 at 100 %: one image pixel is one screen pixel, whatever the browser's zoom.
  actualSize() {
    this.scale = 1;
    this.#centre();
    this.fitted = false;
  }

  // Fills the frame with the image's rectangle; one that is hardly larger than a click zooms in.
  showRectangle(x0, y0, x1, y1) {
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    const { width, height } = this.picture;
    const wide = Math.max((x1 - x0) * this.scale, (y1 - y0) * this.scale) > 8;
    const scale = wide ? Math.min(width / (x1 - x0), height / (y1 - y0)) : 2 * this.scale;
    this.scale = clamp(scale, 0.01, LARGEST_SCALE);
    this.x = Math.round(width / 2 - cx * this.scale);
    this.y = Math.round(height / 2 - cy * this.scale);
    this.fitted = false;
    this.#keepInSight();
    this.draw();
  }

  // Brightness, contrast and gamma of the picture: dark hair on dark is seen, no pixel changes.
  setLight(light) {
    Object.assign(this.light, light);
    const { brightness, contrast, gamma } = this.light;
    for (const part of document.querySelectorAll("#gamma [exponent]")) part.setAttribute("exponent", 1 / gamma);
    const bend = gamma === 1 ? "" : "url(#gamma) ";
    const plain = brightness === 1 && contrast === 1 && gamma === 1;
    this.picture.style.filter = plain ? "" : `${bend}brightness(${brightness}) contrast(${contrast})`;
  }

  #centre() {
    this.x = Math.round((this.picture.width - this.mask.width * this.scale) / 2);
    this.y = Math.round((this.picture.height - this.mask.height * this.scale) / 2);
    this.draw();
  }

  // Zooms so that the image stays under (sx, sy), in screen pixels.
  zoom(factor, sx = this.picture.width / 2, sy = this.picture.height / 2) {
    const scale = clamp(this.scale * factor, 0.01, LARGEST_SCALE);
    this.x = Math.round(sx - ((sx - this.x) * scale) / this.scale);
    this.y = Math.round(sy - ((sy - this.y) * scale) / this.scale);
    this.scale = scale;
    this.fitted = false;
    this.#keepInSight();
    this.draw();
  }

  pan(dx, dy) {
    this.x = Math.round(this.x + dx);
    this.y = Math.round(this.y + dy);
    this.fitted = false;
    this.#keepInSight();
    this.draw();
  }

  // Moves as little as shows the image point (x, y).
  reveal(x, y) {
    const [sx, sy] = this.toScreen(x, y);
    const margin = 40;
    const dx = clamp(sx, margin, this.picture.width - margin) - sx;
    const dy = clamp(sy, margin, this.picture.height - margin) - sy;
    if (dx || dy) this.pan(dx, dy);
  }

  #keepInSight() {
    if (!this.mask) return;
    const margin = 60;
    this.x = clamp(this.x, margin - this.mask.width * this.scale, this.picture.width - margin);
    this.y = clamp(this.y, margin - this.mask.height * this.scale, this.picture.height - margin);
  }

  // --- What is drawn -------------------------------------------------------------------------

  show(mask) {
    this.mask = mask;
    mask.listeners.push((x0, y0, x1, y1) => this.#dirty(x0, y0, x1, y1));
  }

  // Shows a bitmap at once, and smoother when its halved copies are made.
  async showBitmap(bitmap) {
    this.bitmaps = [bitmap];
    this.draw();
    const own = this.bitmaps;
    for (let n = 1; n < 4 && Math.max(own.at(-1).width, own.at(-1).height) > 1024; n++) {
      const halved = await createImageBitmap(own.at(-1), {
        resizeWidth: Math.ceil(own.at(-1).width / 2),
        resizeHeight: Math.ceil(own.at(-1).height / 2),
        resizeQuality: "medium",
      });
      if (this.bitmaps !== own) return;
      own.push(halved);
    }
    this.draw();
  }

  // Draws everything in the next frame.
  draw() {
    if (this.wanted) return;
    this.wanted = requestAnimationFrame(() => {
      this.wanted = 0;
      this.#drawPicture();
      this.#drawOverlay(0, 0, this.overlay.width, this.overlay.height);
      this.#drawGridAndHelpers();
      this.afterMove();
    });
  }

  drawHelpersSoon() {
    if (this.helpersWanted) return;
    this.helpersWanted = requestAnimationFrame(() => {
      this.helpersWanted = 0;
      this.#drawGridAndHelpers();
    });
  }

  #dirty(x0, y0, x1, y1) {
    const [sx0, sy0] = this.toScreen(x0, y0);
    const [sx1, sy1] = this.toScreen(x1, y1);
    const r = this.dirtyRectangle ?? [Infinity, Infinity, -Infinity, -Infinity];
    const reach = 2 ** this.mask.levels.length * Math.min(1, this.scale);
    this.dirtyRectangle = [
      Math.min(r[0], sx0 - reach), Math.min(r[1], sy0 - reach),
      Math.max(r[2], sx1 + reach), Math.max(r[3], sy1 + reach),
    ];
    if (this.dirtyWanted) return;
    this.dirtyWanted = requestAnimationFrame(() => {
      const [left, top, right, bottom] = this.dirtyRectangle;
      this.dirtyWanted = 0;
      this.dirtyRectangle = null;
      this.#drawOverlay(Math.floor(left), Math.floor(top), Math.ceil(right), Math.ceil(bottom));
      this.lastStrokeDrawn = performance.now();
    });
  }

  #drawPicture() {
    const context = this.contexts.picture;
    context.fillStyle = getComputedStyle(this.frame).backgroundColor;
    context.fillRect(0, 0, this.picture.width, this.picture.height);
    if (!this.bitmaps.length || !this.mask) return;
    const wanted = Math.max(0, Math.floor(Math.log2(1 / this.scale)));
    const bitmap = this.bitmaps[Math.min(wanted, this.bitmaps.length - 1)];
    const ratio = bitmap.width / this.mask.width;
    context.imageSmoothingEnabled = this.scale < 1;
    context.imageSmoothingQuality = "low";
    // The visible part alone: software canvases cost by the source's size, too.
    const left = clamp(Math.floor(-this.x / this.scale), 0, this.mask.width);
    const top = clamp(Math.floor(-this.y / this.scale), 0, this.mask.height);
    const right = clamp(Math.ceil((this.picture.width - this.x) / this.scale), 0, this.mask.width);
    const bottom = clamp(Math.ceil((this.picture.height - this.y) / this.scale), 0, this.mask.height);
    if (left >= right || top >= bottom) return;
    context.drawImage(
      bitmap, left * ratio, top * ratio, (right - left) * ratio, (bottom - top) * ratio,
      this.x + left * this.scale, this.y + top * this.scale,
      (right - left) * this.scale, (bottom - top) * this.scale,
    );
  }

  // Screen pixels [x0, x1) x [y0, y1): each takes the mask's pixel under its middle.
  #drawOverlay(x0, y0, x1, y1) {
    const context = this.contexts.overlay;
    x0 = clamp(x0, 0, this.overlay.width);
    y0 = clamp(y0, 0, this.overlay.height);
    x1 = clamp(x1, 0, this.overlay.width);
    y1 = clamp(y1, 0, this.overlay.height);
    if (x0 >= x1 || y0 >= y1) return;
    if (!this.mask || this.hidden) return context.clearRect(x0, y0, x1 - x0, y1 - y0);
    const level = Math.min(
      Math.max(0, Math.floor(Math.log2(1 / this.scale) + 1e-9)), this.mask.levels.length - 1,
    );
    const source = this.mask.levels[level];
    const proposed = this.proposal?.levels[level].pixels;
    const table = this.#table();
    const contour = this.mode === "contour" && this.mask.kind !== "trimap";
    const proposalTable = colours([20, 200, 90], Math.max(0.35, this.opacity));
    const data = new ImageData(x1 - x0, y1 - y0);
    const out = new Uint32Array(data.data.buffer);
    const columns = new Int32Array(x1 - x0);
    for (let x = x0; x < x1; x++) {
      const column = Math.floor((x + 0.5 - this.x) / this.scale);
      columns[x - x0] = column < 0 || column >= this.mask.width ? -1 : column >> level;
    }
    for (let y = y0; y < y1; y++) {
      const row = Math.floor((y + 0.5 - this.y) / this.scale);
      if (row < 0 || row >= this.mask.height) continue;
      const start = (row >> level) * source.width;
      const at = (y - y0) * (x1 - x0);
      for (let n = 0; n < columns.length; n++) {
        if (columns[n] < 0) continue;
        const index = start + columns[n];
        out[at + n] = proposed?.[index] ? proposalTable[proposed[index]] : table[source.pixels[index]];
      }
      if (contour && !proposed) this.#contour(out, at, columns, y, level);
    }
    context.putImageData(data, x0, y0);
  }

  // The colour of each level.
  #table() {
    if (this.mode === "alone") return levelColours((level) => [level, level, level, 255]);
    if (this.mode === "cutout") return levelColours((level) => [...this.flat, 255 - level]);
    if (this.mask.kind === "trimap") {
      return levelColours((level) => (level === 0 ? [0, 0, 0, 0] : level === 255
        ? [60, 200, 110, 255 * this.opacity * 0.7] : [255, 200, 0, 255 * this.opacity]));
    }
    return colours(this.colour, this.opacity);
  }

  // One row of the outline of half strength, which is what is exported; inside stays clear.
  #contour(out, at, columns, y, level) {
    const source = this.mask.levels[level];
    const rows = [-1, 0, 1].map((step) => Math.floor((y + step + 0.5 - this.y) / this.scale) >> level);
    const inside = (row, column) =>
      column >= 0 && row >= 0 && row < source.height && source.pixels[row * source.width + column] >= 128;
    const [full] = colours(this.colour, 1).slice(-1);
    for (let n = 0; n < columns.length; n++) {
      out[at + n] = 0;
      if (columns[n] < 0 || !inside(rows[1], columns[n])) continue;
      const left = Math.floor((n > 0 ? columns[n - 1] : columns[n]));
      const right = n + 1 < columns.length ? columns[n + 1] : columns[n];
      const edge = !inside(rows[1], left) || !inside(rows[1], right)
        || !inside(rows[0], columns[n]) || !inside(rows[2], columns[n]);
      if (edge) out[at + n] = full;
    }
  }

  #drawGridAndHelpers() {
    const context = this.contexts.helpers;
    context.clearRect(0, 0, this.helpers.width, this.helpers.height);
    if (!this.mask) return;
    if (this.scale >= GRID_FROM_SCALE) this.#drawGrid(context);
    this.drawHelpers(context);
  }

  #drawGrid(context) {
    const left = Math.max(0, Math.floor(-this.x / this.scale));
    const top = Math.max(0, Math.floor(-this.y / this.scale));
    const right = Math.min(this.mask.width, Math.ceil((this.helpers.width - this.x) / this.scale));
    const bottom = Math.min(this.mask.height, Math.ceil((this.helpers.height - this.y) / this.scale));
    context.strokeStyle = "rgba(128, 128, 128, 0.45)";
    context.lineWidth = 1;
    context.beginPath();
    for (let n = left; n <= right; n++) {
      const x = Math.round(n * this.scale + this.x) + 0.5;
      context.moveTo(x, top * this.scale + this.y);
      context.lineTo(x, bottom * this.scale + this.y);
    }
    for (let n = top; n <= bottom; n++) {
      const y = Math.round(n * this.scale + this.y) + 0.5;
      context.moveTo(left * this.scale + this.x, y);
      context.lineTo(right * this.scale + this.x, y);
    }
    context.stroke();
  }
}

// A colour for each level of the mask.
function colours(colour, opacity) {
  return levelColours((level) => [...colour, level * opacity]);
}

// As ImageData has it in memory (little-endian ABGR).
function levelColours(colour) {
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const [red, green, blue, alpha] = colour(level).map(Math.round);
    return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}
