// Tools: what pointer and keys do on the canvas. One pointer draws, two fingers move the view.

import { clamp, floodSpans } from "./mask.js";

export const TOOLS = ["brush", "eraser", "lasso", "polygon", "fill", "segment", "pin", "zoomRegion"];
export const LARGEST_SIZE = 400;
export const TRIMAP_LEVELS = [0, 128, 255];
const TILE = 256;
const MOST_TILES = 128;
const JOURNAL_MS = 1000; // of a long stroke
const CLOSING_PX = 10; // of the screen, from a polygon's first corner
const REGION_OFF = 60; // the level of proposed regions that were switched off

// The image's colours, read from the bitmap by tiles: all at once would take 4 bytes a pixel.
class Colours {
  constructor(bitmap) {
    this.bitmap = bitmap;
    this.tiles = new Map();
    this.context = new OffscreenCanvas(TILE, TILE).getContext("2d", { willReadFrequently: true });
  }

  at(x, y) {
    const key = (y >> 8) * 65536 + (x >> 8);
    if (key !== this.lastKey) {
      let tile = this.tiles.get(key);
      if (!tile) {
        this.context.drawImage(this.bitmap, -(x & ~255), -(y & ~255));
        tile = this.context.getImageData(0, 0, TILE, TILE).data;
        if (this.tiles.size >= MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
        this.tiles.set(key, tile);
      }
      this.lastKey = key;
      this.last = tile;
    }
    return ((y & 255) * TILE + (x & 255)) * 4;
  }

  similarTo(x, y, tolerance) {
    const start = this.at(x, y);
    const [r, g, b] = this.last.slice(start, start + 3);
    return (px, py) => {
      const n = this.at(px, py);
      return (
        Math.abs(this.last[n] - r) <= tolerance &&
        Math.abs(this.last[n + 1] - g) <= tolerance &&
        Math.abs(this.last[n + 2] - b) <= tolerance
      );
    };
  }
}

export class Tools {
  // `changed(tiles, stroke)` is called at every change, `input()` at every sign of work;
  // `pressed(tool, x, y, erases)` does what takes more than the canvas.
  constructor(view, { changed, input, shown, pressed }) {
    this.view = view;
    this.tell = { changed, input, shown, pressed };
    this.tool = "brush";
    this.sizes = { brush: 40, eraser: 40 };
    this.softness = 0;
    this.tolerance = 24;
    this.level = 255; // what trimaps and mattes are painted with
    this.pressure = true;
    this.erasesAreas = false; // lasso, polygon and fill; for touch, which has no Alt
    this.pointers = new Map();
    this.points = []; // of the lasso in hand
    this.corners = []; // of the polygon in hand, which outlives a change of tool
    this.cursor = null; // of the keyboard, in image pixels
    this.readOnly = true;
    view.drawHelpers = (context) => this.#drawHelpers(context);
    const frame = view.frame;
    frame.addEventListener("pointerdown", (event) => this.#down(event));
    frame.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel"]) {
      frame.addEventListener(type, (event) => this.#up(event));
    }
    frame.addEventListener("pointerleave", () => {
      this.hover = null;
      view.drawHelpersSoon();
    });
    frame.addEventListener("dblclick", () => this.tool === "polygon" && this.finish());
    frame.addEventListener("contextmenu", (event) => event.preventDefault());
    frame.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  open(mask, bitmap) {
    this.cancel();
    this.mask = mask;
    this.colours = new Colours(bitmap);
    this.cursor = null;
    this.view.proposal = null;
    // A matte's level may be none of a trimap's.
    if (mask.kind === "trimap" && !TRIMAP_LEVELS.includes(this.level)) this.level = 255;
    this.tell.shown();
  }

  choose(tool) {
    this.finishStroke();
    if (tool === "zoomRegion" && this.tool !== tool) this.toolBefore = this.tool;
    this.tool = tool;
    this.tell.shown();
    this.view.drawHelpersSoon();
  }

  get size() {
    return this.sizes[this.tool] ?? 1;
  }

  resize(factor) {
    if (!(this.tool in this.sizes)) return;
    const size = this.sizes[this.tool];
    const next = Math.round(size * factor);
    const changed = next === size ? size + Math.sign(factor - 1) : next;
    this.sizes[this.tool] = clamp(changed, 1, LARGEST_SIZE);
    this.tell.shown();
    this.view.drawHelpersSoon();
  }

  // --- Pointers ------------------------------------------------------------------------------

  #down(event) {
    if (!this.mask) return;
    // What lies above the canvas, such as the bar of a proposal, has clicks of its own.
    if (event.target !== this.view.frame) return;
    this.tell.input();
    this.view.frame.setPointerCapture(event.pointerId);
    this.view.frame.focus({ preventScroll: true });
    this.penSeen ||= event.pointerType === "pen";
    this.pointers.set(event.pointerId, event);
    this.cursor = null;
    const touches = [...this.pointers.values()].filter((p) => p.pointerType === "touch");
    if (touches.length === 2) {
      this.#cancelStroke();
      this.gesture = pinch(touches);
      return;
    }
    // Once there is a pen, a hand on the glass is no brush.
    const moves =
      event.button === 1 || this.panning || (this.penSeen && event.pointerType === "touch");
    if (moves) {
      this.dragging = event;
    } else if (event.button === 0 || event.button === 5) {
      this.press(this.view.toImage(event), this.#radius(event), {
        erase: event.altKey || event.button === 5, // 5 is a pen's other end
        joined: event.shiftKey,
      });
    }
  }

  #move(event) {
    if (!this.mask) return;
    this.hover = event;
    if (this.pointers.has(event.pointerId)) {
      this.tell.input();
      this.pointers.set(event.pointerId, event);
    }
    const touches = [...this.pointers.values()].filter((p) => p.pointerType === "touch");
    if (this.gesture && touches.length === 2) {
      const next = pinch(touches);
      const dpr = this.view.dpr;
      const box = this.view.frame.getBoundingClientRect();
      this.view.pan((next.x - this.gesture.x) * dpr, (next.y - this.gesture.y) * dpr);
      this.view.zoom(
        next.distance / this.gesture.distance, (next.x - box.left) * dpr, (next.y - box.top) * dpr,
      );
      this.gesture = next;
    } else if (this.dragging) {
      const dpr = this.view.dpr;
      this.view.pan(
        (event.clientX - this.dragging.clientX) * dpr, (event.clientY - this.dragging.clientY) * dpr,
      );
      this.dragging = event;
    } else if (this.stroke && this.pointers.has(event.pointerId)) {
      const passed = event.getCoalescedEvents();
      for (const part of passed.length ? passed : [event]) {
        this.drag(this.view.toImage(part), this.#radius(part));
      }
      this.#journal();
    }
    this.view.drawHelpersSoon();
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    if (this.gesture) {
      if (this.pointers.size === 0) this.gesture = null;
    } else if (this.dragging) {
      this.dragging = null;
    } else if (this.stroke) {
      if (event.type === "pointercancel") this.#cancelStroke();
      else this.release();
    }
  }

  #wheel(event) {
    if (!this.mask) return;
    event.preventDefault();
    this.tell.input();
    const dpr = this.view.dpr;
    const box = this.view.frame.getBoundingClientRect();
    if (event.shiftKey) return this.view.pan(-(event.deltaY || event.deltaX) * dpr, 0);
    const lines = event.deltaMode === 1 ? 20 : 1;
    const factor = 2 ** (-(event.deltaY * lines) / (event.ctrlKey ? 100 : 300));
    this.view.zoom(factor, (event.clientX - box.left) * dpr, (event.clientY - box.top) * dpr);
  }

  #radius(event) {
    const radius = this.size / 2;
    const presses = this.pressure && event.pointerType === "pen" && event.pressure > 0;
    return presses ? Math.max(0.5, radius * event.pressure) : radius;
  }

  // --- The same for pointer and keyboard --------------------------------------------------------

  // Presses at an image point. `joined` draws a line from where the last stroke ended.
  press(point, radius = this.size / 2, { erase = false, joined = false } = {}) {
    if (this.tool === "zoomRegion") {
      this.rectangle = [point, point];
      this.stroke = {};
      return;
    }
    if (this.tool === "pin") return this.tell.pressed("pin", ...point);
    if (this.view.proposal) return this.#toggleRegion(point);
    if (this.readOnly) return this.tell.shown("read-only");
    const erases = erase || (this.tool in this.sizes ? this.tool === "eraser" : this.erasesAreas);
    const level = erases ? 0 : this.mask.kind === "mask" ? 255 : this.level;
    const [x, y] = point.map(Math.floor);
    const inside = x >= 0 && y >= 0 && x < this.mask.width && y < this.mask.height;
    if (this.tool === "segment") {
      if (inside) this.tell.pressed("segment", x, y, erases);
    } else if (this.tool === "fill") {
      if (inside) this.mask.flood(x, y, this.colours.similarTo(x, y, this.tolerance), level);
      this.#commit();
    } else if (this.tool === "polygon") {
      if (this.corners.length > 2 && this.#near(point, this.corners[0])) return this.finish();
      this.corners.push(point);
      this.polygonLevel = level;
    } else if (this.tool === "lasso") {
      this.points = [point];
      this.areaLevel = level;
      this.stroke = {};
    } else {
      const from = joined && this.lastEnd ? this.lastEnd : point;
      this.stroke = { level, point: this.#snap(from), radius, journalled: performance.now() };
      this.drag(from, radius);
      if (from !== point) this.drag(point, radius);
    }
    this.view.drawHelpersSoon();
  }

  #near([ax, ay], [bx, by]) {
    return Math.hypot(ax - bx, ay - by) * this.view.scale <= CLOSING_PX * this.view.dpr;
  }

  drag(point, radius = this.size / 2) {
    if (this.rectangle) {
      this.rectangle[1] = point;
      return;
    }
    if (this.points.length) {
      const [x, y] = this.points.at(-1);
      if (Math.hypot(point[0] - x, point[1] - y) * this.view.scale >= 1) this.points.push(point);
      return;
    }
    const next = this.#snap(point);
    const { level, point: last, radius: lastRadius } = this.stroke;
    this.mask.segment(...last, lastRadius, ...next, radius, this.softness, level);
    this.stroke.point = next;
    this.stroke.radius = radius;
    this.lastEnd = point;
  }

  // Commits the stroke in hand, as a change of tool or image does.
  finishStroke() {
    if (this.stroke) this.release();
  }

  release() {
    if (this.rectangle) {
      const [[ax, ay], [bx, by]] = this.rectangle;
      this.rectangle = this.stroke = null;
      this.view.showRectangle(Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by));
      this.choose(this.toolBefore);
      return;
    }
    if (this.points.length) this.mask.polygon(this.points, this.areaLevel);
    this.stroke = null;
    this.points = [];
    this.#commit();
    this.view.drawHelpersSoon();
  }

  // Closes the polygon in hand. Returns whether there was one.
  finish() {
    if (this.corners.length < 3 || this.readOnly) return false;
    this.mask.polygon(this.corners, this.polygonLevel);
    this.corners = [];
    this.#commit();
    this.view.drawHelpersSoon();
    return true;
  }

  // Drops what is in hand. Returns whether there was something.
  cancel() {
    const something = Boolean(this.stroke || this.corners.length);
    this.#cancelStroke();
    this.corners = [];
    this.view.drawHelpersSoon();
    return something;
  }

  #cancelStroke() {
    if (this.stroke && this.mask) {
      const tiles = [...this.mask.before.keys()];
      this.mask.cancel();
      this.tell.changed(tiles, false); // a save may have taken a part of it
    }
    this.stroke = this.rectangle = null;
    this.points = [];
    this.view.drawHelpersSoon();
  }

  removePoint() {
    this.corners.pop();
    this.view.drawHelpersSoon();
  }

  undo() {
    if (this.stroke) return this.cancel();
    if (this.corners.length) return this.removePoint();
    if (!this.readOnly) this.tell.changed(this.mask.undo());
  }

  redo() {
    if (!this.readOnly) this.tell.changed(this.mask.redo());
  }

  // Hard brushes cover whole pixels: odd sizes sit on a pixel, even ones on a corner.
  #snap([x, y]) {
    if (this.softness > 0) return [x, y];
    return this.size % 2 ? [Math.floor(x) + 0.5, Math.floor(y) + 0.5] : [Math.round(x), Math.round(y)];
  }

  #commit() {
    this.tell.changed(this.mask.commit());
  }

  #journal() {
    if (!this.stroke?.journalled || performance.now() - this.stroke.journalled < JOURNAL_MS) return;
    this.stroke.journalled = performance.now();
    this.tell.changed([...this.mask.before.keys()], false);
  }

  // Changes the whole mask as one step.
  replace(pixels) {
    if (this.readOnly) return this.tell.shown("read-only");
    this.finishStroke();
    this.mask.assign(pixels);
    this.#commit();
  }

  // Moves the keyboard's cursor to the next region of the proposal, or of the mask.
  nextRegion(step) {
    if (!this.mask) return;
    const { width, height, pixels } = this.view.proposal ?? this.mask;
    if (this.regionsOf !== pixels || this.regionsAt !== this.mask.position) {
      this.regions = regionStarts(width, height, pixels);
      this.regionsOf = pixels;
      this.regionsAt = this.mask.position;
      this.region = -1;
    }
    if (!this.regions.length) return;
    const first = this.region < 0 && step < 0 ? 0 : this.region;
    this.region = (first + step + this.regions.length) % this.regions.length;
    this.cursor = this.regions[this.region];
    this.view.reveal(...this.cursor);
    this.view.drawHelpersSoon();
  }

  // --- Keyboard --------------------------------------------------------------------------------

  moveCursor(dx, dy) {
    if (!this.mask) return;
    const start = this.cursor ?? [this.mask.width / 2, this.mask.height / 2].map((v) => Math.floor(v) + 0.5);
    this.cursor = [
      clamp(start[0] + dx, 0.5, this.mask.width - 0.5), clamp(start[1] + dy, 0.5, this.mask.height - 0.5),
    ];
    this.view.reveal(...this.cursor);
    this.view.drawHelpersSoon();
  }

  // Presses and lets go at the keyboard's cursor.
  pressAtCursor(joined) {
    if (!this.cursor) return false;
    this.press(this.cursor, this.size / 2, { joined });
    if (this.tool === "lasso" || this.stroke) this.release();
    return true;
  }

  // --- Proposals -------------------------------------------------------------------------------

  propose(proposal) {
    this.finishStroke();
    this.view.proposal = proposal;
    this.view.draw();
  }

  #toggleRegion([px, py]) {
    const proposal = this.view.proposal;
    const [x, y] = [Math.floor(px), Math.floor(py)];
    const level = proposal.pixels[y * proposal.width + x];
    if (!level) return;
    const next = level === 255 ? REGION_OFF : 255;
    proposal.switched = true;
    const same = (a, b) => proposal.pixels[b * proposal.width + a] === level;
    let [top, bottom] = [y, y + 1];
    floodSpans(proposal.width, proposal.height, x, y, same, (row, from, to) => {
      proposal.pixels.fill(next, row * proposal.width + from, row * proposal.width + to);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
    });
    proposal.update(0, top, proposal.width, bottom);
    this.view.draw();
  }

  // --- Helpers ---------------------------------------------------------------------------------

  #drawHelpers(context) {
    const view = this.view;
    if (this.rectangle) {
      const [[ax, ay], [bx, by]] = this.rectangle.map((point) => view.toScreen(...point));
      context.beginPath();
      context.rect(Math.min(ax, bx), Math.min(ay, by), Math.abs(bx - ax), Math.abs(by - ay));
      outline(context);
    }
    this.pins?.forEach(({ x, y }, n) => {
      const [sx, sy] = view.toScreen(x, y);
      context.beginPath();
      context.arc(sx, sy, 11 * view.dpr, 0, 7);
      context.fillStyle = "#f5b94d";
      context.fill();
      outline(context);
      context.fillStyle = "black";
      context.font = `bold ${13 * view.dpr}px sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(n + 1, sx, sy);
    });
    for (const points of [this.points, this.corners]) {
      if (!points.length) continue;
      context.beginPath();
      for (const point of points) context.lineTo(...view.toScreen(...point));
      if (points === this.corners && this.tool === "polygon" && this.hover) {
        context.lineTo(...view.toScreen(...view.toImage(this.hover)));
      }
      outline(context);
      for (const point of points === this.corners ? points : []) {
        context.beginPath();
        context.arc(...view.toScreen(...point), 4, 0, 7);
        outline(context);
      }
    }
    const at = this.cursor ?? (this.hover?.pointerType !== "touch" && this.hover ? view.toImage(this.hover) : null);
    if (!at || !this.mask) return;
    if (this.tool in this.sizes && !view.proposal) {
      context.beginPath();
      context.arc(...view.toScreen(...this.#snap(at)), Math.max(1.5, (this.size / 2) * view.scale), 0, 7);
      outline(context);
    }
    if (this.cursor) {
      const [x, y] = view.toScreen(...at);
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 6 * dx, y + 6 * dy);
        context.lineTo(x + 18 * dx, y + 18 * dy);
      }
      outline(context);
    }
  }
}

// Seen on light and dark alike.
function outline(context) {
  context.strokeStyle = "rgba(0, 0, 0, 0.8)";
  context.lineWidth = 3;
  context.stroke();
  context.strokeStyle = "white";
  context.lineWidth = 1;
  context.stroke();
}

function pinch([a, b]) {
  return {
    x: (a.clientX + b.clientX) / 2,
    y: (a.clientY + b.clientY) / 2,
    distance: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
  };
}

// A pixel of each region, in reading order; specks below 4 pixels are left out.
function regionStarts(width, height, pixels) {
  const seen = new Uint8Array(width * height);
  const starts = [];
  for (let n = 0; n < pixels.length; n++) {
    if (!pixels[n] || seen[n]) continue;
    let size = 0;
    let widest = [0, 0, 0];
    const same = (x, y) => pixels[y * width + x] && !seen[y * width + x];
    floodSpans(width, height, n % width, Math.floor(n / width), same, (row, from, to) => {
      size += to - from;
      if (to - from > widest[0]) widest = [to - from, (from + to - 1) >> 1, row];
    }, seen);
    if (size >= 4) starts.push([widest[1] + 0.5, widest[2] + 0.5]);
  }
  return starts;
}
