// What all parts of the page share: who works, the open entry, the canvas and the queue.

import { Tools } from "./canvas/tools.js";
import { View } from "./canvas/view.js";
import { Queue } from "./panels/queue.js";
import { randomId } from "./saving/server.js";

export const $ = (id) => document.getElementById(id);

export const page = {
  me: null, // who is logged in
  entry: null, // the open entry, as the server tells of it
  mask: null,
  image: null, // its bitmap
  saver: null,
  held: "", // why the entry is read-only; "" where it is not
  settling: false, // whether a conflict is being settled
  note: "", // the note as the server has it; what is being typed differs from it
  token: randomId(), // names this page for leases; a tab's own store is copied with the tab
};
// Callbacks of what canvas and queue do; the parts that answer to them fill it in.
export const listeners = { toolsShown: () => {}, openEntry: () => {}, pressed: {} };
export const view = new View($("frame"));
export const tools = new Tools(view, {
  changed: (tiles, stroke) => page.saver?.changed(tiles, stroke),
  input: () => page.saver?.input(),
  pressed: (tool, ...rest) => act(() => listeners.pressed[tool](...rest)),
  shown: (why) => (why ? banner(readOnlyReason()) : listeners.toolsShown()),
});
export const queue = new Queue($("queue"), { open: (id) => act(() => listeners.openEntry(id)) });

export function banner(message = "") {
  $("banner").hidden = !message;
  $("banner").textContent = message;
}

// Runs something that may be refused, and says so.
export async function act(action) {
  try {
    banner();
    return await action();
  } catch (error) {
    if (error.status !== 401) banner(error.message); // else the login dialog is open
    return undefined;
  }
}

export function readOnlyReason() {
  if (page.settling) return "A conflict is being settled.";
  if (page.held) return page.held;
  if (page.entry?.locked && !page.me.reviews) return "The image is under review: ask a reviewer to return it.";
  return "";
}
