// The mask: its pixels, what tools do to them, and undo by differences of the tiles they touched.
//
// `kind` says what levels mean: of a "mask" half strength and above counts, a "trimap" has 0, 128
// and 255 alone, an "alpha" is a matte.

export const TILE = 128;

export class Mask {
  constructor(width, height, pixels, kind = "mask") {
    this.kind = kind;
    this.covered = new Map(); // tile -> how far the open stroke covers its pixels, 0 to 255
    this.width = width;
    this.height = height;
    this.pixels = pixels ?? new Uint8Array(width * height);
    this.across = Math.ceil(width / TILE);
    this.steps = [];
    this.position = 0; // steps before it are done, steps from it on are undone
    this.historyBytes = 0;
    this.before = new Map(); // tile -> its pixels before the open step
    this.levels = reducedLevels(this, pixels === undefined);
    this.listeners = [];
  }

  // --- Steps -------------------------------------------------------------------------------

  // Must be called before pixels in [x0, x1) x [y0, y1) change.
  touch(x0, y0, x1, y1) {
    for (let row = Math.floor(y0 / TILE); row <= Math.floor((y1 - 1) / TILE); row++) {
      for (let column = Math.floor(x0 / TILE); column <= Math.floor((x1 - 1) / TILE); column++) {
        const tile = row * this.across + column;
        if (!this.before.has(tile)) this.before.set(tile, this.readTile(tile));
      }
    }
  }

  changed(x0, y0, x1, y1) {
    reduce(this, x0, y0, x1, y1);
    for (const listener of this.listeners) listener(x0, y0, x1, y1);
  }

  // Ends a step. Returns the tiles that differ; none where nothing changed.
  commit() {
    const differences = [];
    let bytes = 0;
    for (const [tile, old] of this.before) {
      const difference = encodeDifference(old, this.readTile(tile));
      if (difference.length === 0) continue;
      differences.push([tile, difference]);
      bytes += difference.length + 16;
    }
    this.before.clear();
    this.covered.clear();
    if (differences.length === 0) return [];
    for (const dropped of this.steps.splice(this.position)) this.historyBytes -= dropped.bytes;
    this.steps.push({ differences, bytes });
    this.position = this.steps.length;
    this.historyBytes += bytes;
    while (this.historyBytes > MOST_HISTORY_BYTES && this.steps.length > 1) {
      this.historyBytes -= this.steps.shift().bytes;
      this.position--;
    }
    return differences.map(([tile]) => tile);
  }

  cancel() {
    for (const [tile, old] of this.before) this.writeTile(tile, old);
    this.before.clear();
    this.covered.clear();
  }

  undo() {
    return this.position === 0 ? [] : this.#apply(this.steps[--this.position]);
  }

  redo() {
    return this.position === this.steps.length ? [] : this.#apply(this.steps[this.position++]);
  }

  // A difference undoes and redoes alike: it is an exclusive or.
  #apply(step) {
    for (const [tile, difference] of step.differences) {
      const pixels = this.readTile(tile);
      applyDifference(pixels, difference);
      this.writeTile(tile, pixels);
    }
    return step.differences.map(([tile]) => tile);
  }

  tileRectangle(tile) {
    const x0 = (tile % this.across) * TILE;
    const y0 = Math.floor(tile / this.across) * TILE;
    return [x0, y0, Math.min(x0 + TILE, this.width), Math.min(y0 + TILE, this.height)];
  }

  readTile(tile) {
    const [x0, y0, x1, y1] = this.tileRectangle(tile);
    const out = new Uint8Array((x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++) {
      const start = y * this.width;
      out.set(this.pixels.subarray(start + x0, start + x1), (y - y0) * (x1 - x0));
    }
    return out;
  }

  writeTile(tile, pixels) {
    const [x0, y0, x1, y1] = this.tileRectangle(tile);
    const across = x1 - x0;
    for (let y = y0; y < y1; y++) {
      this.pixels.set(pixels.subarray((y - y0) * across, (y - y0 + 1) * across), y * this.width + x0);
    }
    this.changed(x0, y0, x1, y1);
  }

  // --- Tools -------------------------------------------------------------------------------

  // A piece of a stroke: from (x0, y0) to (x1, y1) in image pixels, with radii at both ends.
  // Within a stroke the greatest coverage counts, so that overlapping pieces add nothing.
  // `level` is what is painted: 255 or, to erase, 0; of trimaps and mattes any level they have.
  segment(x0, y0, r0, x1, y1, r1, softness, level) {
    const length = Math.hypot(x1 - x0, y1 - y0);
    const pieces = Math.max(1, Math.ceil(length / Math.max(32, 4 * Math.max(r0, r1))));
    for (let n = 0; n < pieces; n++) {
      const a = n / pieces;
      const b = (n + 1) / pieces;
      this.#piece(
        x0 + a * (x1 - x0), y0 + a * (y1 - y0), r0 + a * (r1 - r0),
        x0 + b * (x1 - x0), y0 + b * (y1 - y0), r0 + b * (r1 - r0), softness, level,
      );
    }
  }

  #piece(x0, y0, r0, x1, y1, r1, softness, level) {
    const reach = Math.max(r0, r1);
    const left = clamp(Math.floor(Math.min(x0, x1) - reach), 0, this.width);
    const right = clamp(Math.ceil(Math.max(x0, x1) + reach) + 1, 0, this.width);
    const top = clamp(Math.floor(Math.min(y0, y1) - reach), 0, this.height);
    const bottom = clamp(Math.ceil(Math.max(y0, y1) + reach) + 1, 0, this.height);
    if (left >= right || top >= bottom) return;
    this.touch(left, top, right, bottom);
    const dx = x1 - x0;
    const dy = y1 - y0;
    const squared = dx * dx + dy * dy;
    for (let y = top; y < bottom; y++) {
      const py = y + 0.5 - y0;
      const row = y * this.width;
      for (let x = left; x < right; x++) {
        const px = x + 0.5 - x0;
        const along = squared === 0 ? 0 : clamp((px * dx + py * dy) / squared, 0, 1);
        const radius = r0 + along * (r1 - r0);
        const ex = px - along * dx;
        const ey = py - along * dy;
        const distance2 = ex * ex + ey * ey;
        if (distance2 > radius * radius + 1e-9) continue;
        let value = 255;
        if (softness > 0) {
          value = Math.round(255 * Math.min(1, (radius - Math.sqrt(distance2)) / (radius * softness)));
        }
        if (this.kind === "trimap") {
          if (value >= 128) this.pixels[row + x] = level;
        } else if (this.kind === "alpha") {
          this.#cover(x, y, value, level);
        } else if (level === 0) {
          if (255 - value < this.pixels[row + x]) this.pixels[row + x] = 255 - value;
        } else if (value > this.pixels[row + x]) {
          this.pixels[row + x] = value;
        }
      }
    }
    this.changed(left, top, right, bottom);
  }

  // Moves a matte's pixel from where it was before the stroke towards `level`, by `coverage`.
  #cover(x, y, coverage, level) {
    const tile = Math.floor(y / TILE) * this.across + Math.floor(x / TILE);
    const [x0, y0, x1] = this.tileRectangle(tile);
    const old = this.before.get(tile);
    if (!this.covered.has(tile)) this.covered.set(tile, new Uint8Array(old.length));
    const covered = this.covered.get(tile);
    const n = (y - y0) * (x1 - x0) + x - x0;
    if (coverage <= covered[n]) return;
    covered[n] = coverage;
    this.pixels[y * this.width + x] = Math.round(old[n] + ((level - old[n]) * coverage) / 255);
  }

  // Fills the polygon's inside (even-odd, by pixel centres); points are [x, y] in image pixels.
  polygon(points, level) {
    const crossings = new Map();
    for (let n = 0; n < points.length; n++) {
      let [ax, ay] = points[n];
      let [bx, by] = points[(n + 1) % points.length];
      if (ay > by) [ax, ay, bx, by] = [bx, by, ax, ay];
      const first = Math.max(0, Math.ceil(ay - 0.5));
      const last = Math.min(this.height - 1, Math.ceil(by - 0.5) - 1);
      for (let y = first; y <= last; y++) {
        if (!crossings.has(y)) crossings.set(y, []);
        crossings.get(y).push(ax + ((y + 0.5 - ay) / (by - ay)) * (bx - ax));
      }
    }
    for (const [y, xs] of crossings) {
      xs.sort((a, b) => a - b);
      for (let n = 0; n + 1 < xs.length; n += 2) {
        const from = clamp(Math.ceil(xs[n] - 0.5), 0, this.width);
        const to = clamp(Math.ceil(xs[n + 1] - 0.5), 0, this.width);
        if (from < to) this.#span(y, from, to, level);
      }
    }
    this.#changedInBefore();
  }

  // Fills the pixels that `similar(x, y)` joins to (x, y) by their sides.
  flood(x, y, similar, level) {
    floodSpans(this.width, this.height, x, y, similar, (row, from, to) =>
      this.#span(row, from, to, level),
    );
    this.#changedInBefore();
  }

  // Adds another mask's pixels of 128 and above.
  merge(pixels) {
    for (let tile = 0; tile < this.across * Math.ceil(this.height / TILE); tile++) {
      const [x0, y0, x1, y1] = this.tileRectangle(tile);
      let touched = false;
      for (let y = y0; y < y1; y++) {
        for (let n = y * this.width + x0; n < y * this.width + x1; n++) {
          if (pixels[n] < 128 || this.pixels[n] === 255) continue;
          if (!touched) this.touch(x0, y0, x1, y1);
          touched = true;
          this.pixels[n] = 255;
        }
      }
    }
    this.#changedInBefore();
  }

  // Takes over whole pixels, tile by tile where they differ.
  assign(pixels) {
    for (let tile = 0; tile < this.across * Math.ceil(this.height / TILE); tile++) {
      const [x0, y0, x1, y1] = this.tileRectangle(tile);
      for (let y = y0; y < y1; y++) {
        const row = y * this.width;
        let n = row + x0;
        while (n < row + x1 && pixels[n] === this.pixels[n]) n++;
        if (n === row + x1) continue;
        this.touch(x0, y, x1, y + 1);
        this.pixels.set(pixels.subarray(n, row + x1), n);
      }
    }
    this.#changedInBefore();
  }

  #span(y, from, to, value) {
    this.touch(from, y, to, y + 1);
    this.pixels.fill(value, y * this.width + from, y * this.width + to);
  }

  #changedInBefore() {
    for (const tile of this.before.keys()) this.changed(...this.tileRectangle(tile));
  }
}

const MOST_HISTORY_BYTES = 64 * 2 ** 20;

// Spans of the region around (x, y), each pixel once; `seen` is where other calls have been.
export function floodSpans(width, height, x, y, similar, paint, seen = new Uint8Array(width * height)) {
  if (x < 0 || y < 0 || x >= width || y >= height || !similar(x, y)) return;
  const waiting = [[x, y]];
  const free = (px, py) => !seen[py * width + px] && similar(px, py);
  while (waiting.length) {
    const [px, py] = waiting.pop();
    if (seen[py * width + px]) continue;
    let from = px;
    while (from > 0 && free(from - 1, py)) from--;
    let to = px + 1;
    while (to < width && free(to, py)) to++;
    seen.fill(1, py * width + from, py * width + to);
    paint(py, from, to);
    for (const next of [py - 1, py + 1]) {
      if (next < 0 || next >= height) continue;
      let inside = false;
      for (let n = from; n < to; n++) {
        const open = free(n, next);
        if (open && !inside) waiting.push([n, next]);
        inside = open;
      }
    }
  }
}

export function clamp(value, low, high) {
  return value < low ? low : value > high ? high : value;
}

// Runs of (length, byte) of `old ^ now`, lengths in 16 bits. Empty where nothing differs.
export function encodeDifference(old, now) {
  const out = [];
  let differs = false;
  for (let n = 0; n < old.length; ) {
    const value = old[n] ^ now[n];
    let end = n + 1;
    while (end < old.length && end - n < 65535 && (old[end] ^ now[end]) === value) end++;
    out.push((end - n) & 255, (end - n) >> 8, value);
    differs ||= value !== 0;
    n = end;
  }
  return differs ? Uint8Array.from(out) : new Uint8Array(0);
}

export function applyDifference(pixels, difference) {
  let n = 0;
  for (let at = 0; at < difference.length; at += 3) {
    const end = n + difference[at] + (difference[at + 1] << 8);
    const value = difference[at + 2];
    if (value) for (; n < end; n++) pixels[n] ^= value;
    n = end;
  }
}

// Each level halves the one before and keeps the greatest of four: thin strokes stay visible.
export function reducedLevels(mask, empty = false) {
  const levels = [{ width: mask.width, height: mask.height, pixels: mask.pixels }];
  while (levels.at(-1).width > 256 || levels.at(-1).height > 256) {
    const finer = levels.at(-1);
    const width = Math.ceil(finer.width / 2);
    const height = Math.ceil(finer.height / 2);
    levels.push({ width, height, pixels: new Uint8Array(width * height) });
  }
  if (!empty) reduce({ levels }, 0, 0, mask.width, mask.height);
  return levels;
}

export function reduce(mask, x0, y0, x1, y1) {
  for (let n = 1; n < mask.levels.length; n++) {
    const finer = mask.levels[n - 1];
    const coarser = mask.levels[n];
    x0 >>= 1;
    y0 >>= 1;
    x1 = Math.min(coarser.width, (x1 + 1) >> 1);
    y1 = Math.min(coarser.height, (y1 + 1) >> 1);
    for (let y = y0; y < y1; y++) {
      const upper = 2 * y * finer.width;
      const lower = Math.min(2 * y + 1, finer.height - 1) * finer.width;
      for (let x = x0; x < x1; x++) {
        const left = 2 * x;
        const right = left + 1 < finer.width ? left + 1 : left;
        const p = finer.pixels;
        const a = p[upper + left] > p[upper + right] ? p[upper + left] : p[upper + right];
        const b = p[lower + left] > p[lower + right] ? p[lower + left] : p[lower + right];
        coarser.pixels[y * coarser.width + x] = a > b ? a : b;
      }
    }
  }
}
