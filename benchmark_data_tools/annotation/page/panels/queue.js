// The queue: a list of any length, of which only the visible rows exist.

import { json } from "../saving/server.js";

const ROW_PX = 30;
const TWO_LINES_PX = 46; // of a row that tells its label, or who does it

export class Queue {
  constructor(root, { open }) {
    this.root = root;
    this.open = open;
    this.rows = [];
    this.current = null;
    this.labelled = this.shared = false; // whether rows tell their label, and who does them
    this.list = root.querySelector("#rows");
    this.space = root.querySelector("#rows > div");
    this.list.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.list);
    for (const id of ["search", "state", "flagged", "in-conflict", "mine", "owner", "label"]) {
      root.querySelector(`#${id}`).addEventListener("input", () => {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.load(), 150);
      });
    }
  }

  async load() {
    const value = (id) => this.root.querySelector(`#${id}`);
    const query = new URLSearchParams({
      search: value("search").value, flagged: value("flagged").checked, mine: value("mine").checked,
      conflict: value("in-conflict").checked,
    });
    if (value("owner").value !== "*") query.set("assignee", value("owner").value);
    if (value("label").value) query.set("label", value("label").value);
    if (value("state").value) query.set("state", value("state").value);
    const asked = (this.asked = {});
    const { columns, rows } = await json(`queue?${query}`);
    if (this.asked !== asked) return; // a newer filter was asked for
    this.rows = rows.map((row) => Object.fromEntries(columns.map((column, n) => [column, row[n]])));
    this.root.querySelector("#count").textContent = `${rows.length.toLocaleString()} shown`;
    this.draw();
  }

  get rowPx() {
    return this.labelled || this.shared ? TWO_LINES_PX : ROW_PX;
  }

  draw() {
    const value = (id) => this.root.querySelector(`#${id}`);
    this.list.classList.toggle("two-lines", this.rowPx === TWO_LINES_PX);
    this.space.style.height = `${this.rows.length * this.rowPx}px`;
    const first = Math.floor(this.list.scrollTop / this.rowPx);
    const visible = this.rows.slice(first, first + Math.ceil(this.list.clientHeight / this.rowPx) + 1);
    this.space.replaceChildren(
      ...visible.map((row, n) => {
        const button = document.createElement("button");
        button.className = `row state-${row.state}`;
        button.style.top = `${(first + n) * this.rowPx}px`;
        button.title = `${row.name}${this.labelled ? ` · ${row.label}` : ""} · ${row.state.replace("_", " ")}${row.assignee ? ` · ${row.assignee}` : ""}${row.conflict ? " · in conflict" : ""}`;
        button.setAttribute("aria-current", row.id === this.current);
        const name = document.createElement("span");
        name.textContent = `${row.conflict ? "⚠ " : ""}${row.flagged ? "⚑ " : ""}${row.name}${row.blind_pass === 2 ? " (2nd)" : ""}`;
        const label = document.createElement("i");
        label.textContent = row.label;
        label.hidden = !this.labelled || Boolean(value("label").value);
        const who = document.createElement("em");
        who.textContent = row.assignee ?? "";
        who.hidden = !row.assignee || !this.shared;
        const state = document.createElement("small");
        state.textContent = row.state.replace("_", " ");
        button.append(name, label, who, state);
        button.onclick = () => this.open(row.id);
        return button;
      }),
    );
  }

  // The entry that is `step` rows on from the open one; undefined at the ends.
  neighbour(step) {
    const at = this.rows.findIndex((row) => row.id === this.current);
    if (at < 0) return step > 0 ? this.rows[0]?.id : this.rows.at(-1)?.id;
    return this.rows[at + step]?.id;
  }

  // The next entry that `me` may still label, round the end; undefined where there is none.
  async nextToDo(me) {
    const at = this.rows.findIndex((row) => row.id === this.current);
    const order = [...this.rows.slice(at + 1), ...this.rows.slice(0, Math.max(0, at))];
    await this.load(); // others have taken and finished some; the open one may be filtered out now
    const free = (row) => me.alone || !row.assignee || row.assignee === me.name;
    const left = this.rows.filter((row) => ["open", "in_work", "returned"].includes(row.state) && free(row));
    const ids = new Set(left.map((row) => row.id));
    return (order.find((row) => ids.has(row.id)) ?? left[0])?.id;
  }

  update(entry) {
    const row = this.rows.find((r) => r.id === entry.id);
    if (row) Object.assign(row, { state: entry.state, assignee: entry.assignee ?? "", flagged: entry.flagged, conflict: entry.conflicts.length > 0 });
    this.draw();
  }

  select(id) {
    this.current = id;
    const at = this.rows.findIndex((row) => row.id === id);
    const top = at * this.rowPx;
    if (at >= 0 && (top < this.list.scrollTop || top > this.list.scrollTop + this.list.clientHeight - this.rowPx)) {
      this.list.scrollTop = top - this.list.clientHeight / 2;
    }
    this.draw();
  }
}
