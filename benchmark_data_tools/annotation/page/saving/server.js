// Requests to the server, and the worker that makes and reads PNGs.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let person = null;

// Says for whom this page was opened: a cookie may be another person's after another login.
export function setPerson(name) {
  person = name;
}

export async function request(path, options = {}) {
  const headers = { "X-Annotation": "1", ...options.headers };
  // Headers hold no letters beyond Latin-1.
  if (person !== null && !options.anyPerson) headers["X-Annotation-User"] = encodeURIComponent(person);
  let body = options.body;
  if (options.json !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(options.json);
  }
  const response = await fetch(`api/${path}`, {
    method: options.method ?? (body === undefined ? "GET" : "POST"),
    headers,
    body,
    keepalive: options.keepalive ?? false,
  });
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  let error = "";
  try {
    ({ message = text, error = "" } = JSON.parse(text));
  } catch {
    message = `the server answered ${response.status}`; // a proxy's page is no message
  }
  if (response.status === 401) {
    window.dispatchEvent(new CustomEvent("logged-out", { detail: { message, error } }));
  }
  throw new Refused(response.status, message);
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

const waiting = new Map();
let worker = null;
let asked = 0;

function startWorker() {
  worker = new Worker(new URL("png.js", import.meta.url));
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.result);
  };
  // It could not be loaded, or broke: the next one who asks starts another.
  worker.onerror = (event) => {
    worker.terminate();
    worker = null;
    for (const { reject } of waiting.values()) {
      reject(new Error(`this browser makes no PNG now (${event.message ?? "png.js did not load"})`));
    }
    waiting.clear();
  };
}

function ask(message, transfer) {
  if (!worker) startWorker();
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message }, transfer);
  });
}

export function encodePng(width, height, pixels) {
  const bytes = pixels.slice();
  return ask({ action: "encode", width, height, bytes }, [bytes.buffer]);
}

// The pixels of a mask's address; null where the server has none yet.
// `body` is sent where the server makes them of something.
export async function fetchPixels(path, width, height, body) {
  const response = await request(path, { body });
  if (response.status === 204) return null;
  const bytes = new Uint8Array(await response.arrayBuffer());
  return ask({ action: "decode", width, height, bytes }, [bytes.buffer]);
}
