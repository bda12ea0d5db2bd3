// The annotation page: starts it for whoever is logged in.

import "./actions.js";
import { open } from "./lifecycle.js";
import { onLogin } from "./panels/login.js";
import { fillHelp, setColour, showProgress, showStorage } from "./panels/panels.js";
import { loadPreferences } from "./panels/preferences.js";
import { loadGuideline } from "./panels/team.js";
import { json, setPerson } from "./saving/server.js";
import { $, act, page, queue, tools, view } from "./session.js";

// For the browser's console, and for tests.
window.annotator = { page, view, tools, queue };

async function start() {
  page.me = await json("me");
  setPerson(page.me.name);
  $("dataset").textContent = page.me.dataset;
  document.title = `${page.me.dataset} · Annotation`;
  showStorage(page.me.storage);
  $("agreement").hidden = !page.me.reviews;
  $("logout").hidden = page.me.alone;
  $("assignee-row").hidden = !page.me.reviews || page.me.alone;
  $("assignee").replaceChildren(...["", ...page.me.users].map((name) => new Option(name || "nobody", name)));
  $("owner").hidden = $("assignee-row").hidden;
  const narrow = matchMedia("(max-width: 900px)");
  const fold = () => ["no-queue", "no-side"].forEach((name) => document.body.classList.toggle(name, narrow.matches));
  narrow.addEventListener("change", fold);
  fold();
  await queue.load();
  performance.mark("queue shown");
  // With those who are users no longer, but whose images wait.
  const owners = new Set([...page.me.users, ...queue.rows.map((row) => row.assignee)]);
  $("owner").append(...[...owners].filter(Boolean).sort().map((name) => new Option(`Of ${name}`, name)));
  showProgress();
  setColour(0);
  const { labels } = page.me;
  $("label").hidden = labels.length < 2;
  $("label").append(...labels.map(({ name }) => new Option(name, name)));
  queue.labelled = labels.length > 1;
  queue.shared = !page.me.alone;
  queue.draw();
  $("batch-link").hidden = !page.me.reviews || page.me.alone;
  // Neither is worth a page that does not start.
  await act(() => Promise.all([loadPreferences(), loadGuideline()]));
  const wanted = Number(location.hash.slice(1));
  if (wanted) await open(wanted);
  document.body.dataset.ready = "yes";
}

onLogin(start);
fillHelp();
act(start);
