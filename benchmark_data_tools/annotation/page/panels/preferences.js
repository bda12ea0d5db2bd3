// Settings and keys of one's own, kept by the server for each person.

import { keyName, keyOf, ownKeys, setOwnKeys } from "./keys.js";
import { COLOURS, fillHelp, showTools } from "./panels.js";
import { json } from "../saving/server.js";
import { $, act, tools, view } from "../session.js";

const SAVE_AFTER_MS = 1500;
let timer = 0;
let last = "";

function now() {
  const { sizes, softness, tolerance, pressure } = tools;
  const { opacity, colour, mode, flat } = view;
  return { sizes, softness, tolerance, pressure, opacity, colour, mode, flat, keys: ownKeys() };
}

export async function loadPreferences() {
  const { keys = {}, opacity, colour = null, mode, flat, ...rest } = await json("preferences");
  Object.assign(tools, rest);
  Object.assign(view, Object.fromEntries(Object.entries({ opacity, mode, flat }).filter(([, value]) => value !== undefined)));
  view.colour = COLOURS.find((known) => String(known) === String(colour)) ?? COLOURS[0];
  $("flat").value = `#${view.flat.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  setOwnKeys(keys);
  fillHelp();
  showTools();
  last = JSON.stringify(now());
}

// Sends settings that have changed, a while after the last change.
export function keepPreferences() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const value = JSON.stringify(now());
    if (value === last || !last) return;
    try {
      await json("preferences", { json: { value: JSON.parse(value) } });
      last = value;
    } catch {
      // Settings are no work: they are sent with the next change.
    }
  }, SAVE_AFTER_MS);
}

// A key's meaning was clicked: the next key press becomes one's own for it.
$("keys").addEventListener("click", (event) => {
  const meaning = event.target.closest("[data-rebind]");
  if (!meaning) return;
  for (const other of $("keys").querySelectorAll(".waiting")) other.classList.remove("waiting");
  meaning.classList.add("waiting");
  $("key-note").textContent = `Press the key for: ${meaning.textContent}. Esc leaves it.`;
});
$("help").addEventListener("keydown", (event) => {
  const meaning = $("keys").querySelector(".waiting");
  if (!meaning || ["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  meaning.classList.remove("waiting");
  if (event.key === "Escape") {
    $("key-note").textContent = "";
    return;
  }
  const key = keyOf(event);
  setOwnKeys({ ...ownKeys(), [meaning.dataset.rebind]: key });
  $("key-note").textContent = `${keyName(key)}: ${meaning.textContent}`;
  fillHelp();
  keepPreferences();
});
$("reset-keys").onclick = () => act(() => {
  setOwnKeys({});
  fillHelp();
  keepPreferences();
});
