// Grey PNGs of 8 bits to bytes and back, exactly: a canvas would manage colours, and needs four
// times the memory. Runs in a worker, so that drawing never waits.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

async function through(bytes, stream) {
  return new Uint8Array(await new Response((bytes instanceof Blob ? bytes : new Blob([bytes])).stream().pipeThrough(stream)).arrayBuffer());
}

function chunk(type, data) {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(new TextEncoder().encode(type), 4);
  out.set(data, 8);
  view.setUint32(data.length + 8, crc(out.subarray(4, data.length + 8)));
  return out;
}

async function encode(width, height, pixels) {
  const rows = new Uint8Array((width + 1) * height); // each row begins with its filter: 0, none
  for (let y = 0; y < height; y++) {
    rows.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header[8] = 8; // bits; colour type 0 is grey
  const data = await through(rows, new CompressionStream("deflate"));
  return new Blob([
    Uint8Array.from(SIGNATURE), chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", new Uint8Array(0)),
  ], { type: "image/png" });
}

async function decode(bytes, width, height) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "IHDR") {
      const size = [view.getUint32(at + 8), view.getUint32(at + 12)];
      const format = [bytes[at + 16], bytes[at + 17], bytes[at + 20]]; // bits, colour, interlace
      if (size[0] !== width || size[1] !== height || format.join() !== "8,0,0") {
        throw new Error(`mask must be grey, ${width}x${height}, got ${size.join("x")} (${format})`);
      }
    }
    if (type === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const rows = await through(new Blob(parts), new DecompressionStream("deflate"));
  const pixels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    unfilter(rows, y * (width + 1), pixels, y * width, width, y === 0);
  }
  return pixels;
}

function unfilter(rows, from, pixels, to, width, first) {
  const filter = rows[from];
  const row = rows.subarray(from + 1, from + 1 + width);
  if (filter === 0) {
    pixels.set(row, to);
    return;
  }
  for (let x = 0; x < width; x++) {
    const left = x ? pixels[to + x - 1] : 0;
    const up = first ? 0 : pixels[to + x - width];
    const corner = x && !first ? pixels[to + x - width - 1] : 0;
    let guess = left;
    if (filter === 2) guess = up;
    else if (filter === 3) guess = (left + up) >> 1;
    else if (filter === 4) {
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      guess = a <= b && a <= c ? left : b <= c ? up : corner;
    }
    pixels[to + x] = row[x] + guess;
  }
}

self.onmessage = async ({ data: { id, action, width, height, bytes } }) => {
  try {
    if (action === "encode") {
      self.postMessage({ id, result: await encode(width, height, bytes) });
    } else {
      const result = await decode(bytes, width, height);
      self.postMessage({ id, result }, [result.buffer]);
    }
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
};
