// Whole-mask changes: grow, shrink, invert, fill holes. Each returns new pixels.

// Grows what is bright by `px` pixels all round (shrinks it where px is negative), levels kept.
// Crosses and squares in turn make octagons, which stand for discs.
export function grown({ width, height, pixels }, px) {
  const pick = px > 0 ? Math.max : Math.min;
  let now = pixels.slice();
  for (let round = 0; round < Math.abs(px); round++) {
    const rows = now.slice();
    for (let y = 0; y < height; y++) {
      const at = y * width;
      for (let x = 0; x < width; x++) {
        const left = x > 0 ? now[at + x - 1] : now[at + x];
        const right = x < width - 1 ? now[at + x + 1] : now[at + x];
        rows[at + x] = pick(left, now[at + x], right);
      }
    }
    const vertical = round % 2 ? rows : now; // a square, or a cross
    const next = rows.slice();
    for (let y = 0; y < height; y++) {
      const at = y * width;
      const above = y > 0 ? at - width : at;
      const below = y < height - 1 ? at + width : at;
      for (let x = 0; x < width; x++) next[at + x] = pick(rows[at + x], vertical[above + x], vertical[below + x]);
    }
    now = next;
  }
  return now;
}

export function inverted({ pixels }) {
  return pixels.map((level) => 255 - level);
}

// Fills what no path through levels below `from` joins to the border.
export function withoutHoles({ width, height, pixels }, from = 128) {
  const outside = new Uint8Array(width * height);
  const waiting = [];
  const visit = (n) => {
    if (outside[n] || pixels[n] >= from) return;
    outside[n] = 1;
    waiting.push(n);
  };
  for (let x = 0; x < width; x++) {
    visit(x);
    visit((height - 1) * width + x);
  }
  for (let y = 0; y < height; y++) {
    visit(y * width);
    visit(y * width + width - 1);
  }
  while (waiting.length) {
    const n = waiting.pop();
    const x = n % width;
    if (x > 0) visit(n - 1);
    if (x < width - 1) visit(n + 1);
    if (n >= width) visit(n - width);
    if (n < (height - 1) * width) visit(n + width);
  }
  return pixels.map((level, n) => (outside[n] || level >= from ? level : 255));
}

// Pixels of another size by the nearest ones.
export function resized(pixels, fromWidth, fromHeight, width, height) {
  if (fromWidth === width && fromHeight === height) return pixels;
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * fromHeight) / height) * fromWidth;
    for (let x = 0; x < width; x++) out[y * width + x] = pixels[row + Math.floor((x * fromWidth) / width)];
  }
  return out;
}
