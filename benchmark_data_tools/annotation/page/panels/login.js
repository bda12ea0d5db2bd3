// Logging in and out, and pages that outlive a login.

import { leave } from "../lifecycle.js";
import { json, request } from "../saving/server.js";
import { $, act, page } from "../session.js";

let start = () => {};

// `begin` starts the page once somebody is logged in.
export function onLogin(begin) {
  start = begin;
}

$("logout").onclick = () => act(async () => {
  if (!(await leave())) return;
  await json("logout", { json: {} });
  location.reload();
});
$("login").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const credentials = { name: $("login-name").value, password: $("login-password").value };
    await json("login", { json: credentials });
    await goOn();
  } catch (error) {
    $("login-problem").textContent = error.message;
  }
});

// After a login, with what was in hand before it. What one person drew is never sent as another's:
// it stays in this browser under their name, and the page starts anew for who came.
async function goOn() {
  if (!page.me) {
    $("login").close();
    return start();
  }
  const me = await json("me", { anyPerson: true });
  if (me.name !== page.me.name) return startAnew();
  $("login").close();
  $("login-other").hidden = true;
  if (page.entry) page.saver.flush(true);
}

async function startAnew() {
  page.saver?.close();
  await page.saver?.journalled;
  page.reloading = true;
  location.reload();
}

$("login").addEventListener("cancel", (event) => event.preventDefault());
$("login-other").onclick = startAnew;
window.addEventListener("logged-out", async (event) => {
  if ($("login").open) return;
  $("login").showModal();
  // Somebody else logged in, in another tab: who owns the strokes may log in again, or they go on.
  const other = event.detail.error === "OtherPersonError";
  $("login-other").hidden = !other;
  if (other) {
    $("login-name").value = page.me.name;
    $("login-problem").textContent = event.detail.message;
  }
  const { hugging_face: offered, refused } = await json("ways");
  $("login-hf").hidden = !offered;
  $("login-hf").href = `oauth/huggingface/login?${new URLSearchParams({ _target_url: location.pathname + location.hash })}`;
  // Hugging Face is not to be shown in a frame.
  if (window.top !== window) $("login-hf").target = "_blank";
  if (refused) $("login-problem").textContent = refused;
});
// Somebody may have logged in in another window meanwhile.
window.addEventListener("focus", async () => {
  if (!$("login").open || $("login-hf").hidden) return;
  try {
    await request("me", { anyPerson: true });
  } catch {
    return; // still nobody
  }
  act(goOn);
});
