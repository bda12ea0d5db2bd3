// Autosave: after every pause in drawing, during long strokes, and before an image is left.

import * as journal from "./journal.js";
import { encodePng, json, randomId } from "./server.js";

const PAUSE_MS = 700;
const LONGEST_MS = 1500; // a stroke waits no longer, drawn to its end or not
const LONGEST_RETRY_MS = 30_000;
const IDLE_MS = 30_000; // a longer pause is no work

// The save that a revision's number meant when the entry was fetched; "" where nothing was saved.
export function saveOf(entry, number) {
  return entry.revisions.find((r) => r.number === number)?.save_id ?? "";
}

export class Saver {
  // `tell(state, message)`: saved, unsaved, saving, failed, conflict; unkept, of the browser's own.
  constructor(key, entry, mask, tell) {
    this.key = key;
    this.entry = entry;
    this.mask = mask;
    this.tell = tell;
    this.drawOn(entry.head);
    this.generation = 0; // of the newest change
    this.savedGeneration = 0;
    this.strokes = 0;
    this.seconds = 0;
    this.lastInput = performance.now();
    this.usedProposal = false;
    this.correcting = entry.revisions.some((r) => r.kind === "proposal" || r.kind === "import");
    this.paused = false;
    this.closed = false;
    this.retryMs = 1000;
    this.unjournalled = new Set(); // tiles
    this.forgettable = 0; // the newest generation that the server has
    this.journalled = null; // while the journal is written
    this.unkept = false; // whether the browser took no journal
    this.saving = null;
    this.conflict = null;
    this.why = "";
    this.attempt = null; // a save that was not answered: the server may have stored it
  }

  // Which revision is drawn on: on a server that was restored another one may have its number.
  drawOn(base, baseSave = saveOf(this.entry, base)) {
    this.base = base;
    this.baseSave = baseSave;
  }

  get unsaved() {
    return this.generation > this.savedGeneration;
  }

  // Counts the time between inputs as work, unless it is long.
  input() {
    const now = performance.now();
    if (now - this.lastInput < IDLE_MS) this.seconds += (now - this.lastInput) / 1000;
    this.lastInput = now;
  }

  // Tiles changed; a stroke still in hand counts as none yet.
  changed(tiles, stroke = true) {
    if (tiles.length === 0) return;
    this.generation++;
    if (stroke) this.strokes++;
    this.firstUnsaved ??= performance.now();
    for (const tile of tiles) this.unjournalled.add(tile);
    this.journalled ??= this.#journal();
    if (this.state !== "failed" && !this.conflict) this.#show("unsaved");
    this.#schedule();
  }

  // Takes over strokes that an earlier page could not send; `why` says why they lie beside the head.
  recovered(facts, why = "") {
    this.why = why;
    this.drawOn(facts.base, facts.baseSave);
    this.strokes = facts.strokes;
    this.seconds = facts.seconds;
    this.usedProposal = facts.usedProposal;
    this.#show("unsaved");
    this.#schedule(0);
  }

  // One transaction at a time, with all that has come meanwhile: the browser's own take long.
  async #journal() {
    try {
      while (this.unjournalled.size || this.forgettable) {
        if (this.unjournalled.size) {
          const generation = this.generation;
          const tiles = [...this.unjournalled];
          this.unjournalled.clear();
          await journal.keep(this.key, this.#facts(), tiles.map((tile) => ({
            tile, pixels: this.mask.readTile(tile), generation,
          })));
        } else {
          const generation = this.forgettable;
          this.forgettable = 0;
          await journal.forget(this.key, generation, this.#facts());
        }
      }
    } catch (error) {
      this.unkept = true;
      this.tell("unkept", error.message);
    }
    this.journalled = null;
  }

  #facts() {
    return {
      base: this.base, baseSave: this.baseSave, strokes: this.strokes, seconds: this.seconds, usedProposal: this.usedProposal,
    };
  }

  #schedule(wait) {
    if (this.closed || this.state === "failed") return;
    const waited = performance.now() - (this.firstUnsaved ?? performance.now());
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), wait ?? Math.max(0, Math.min(PAUSE_MS, LONGEST_MS - waited)));
  }

  #show(state, message = "") {
    this.state = state;
    this.tell(state, message);
  }

  // Saves what is unsaved; `always` also where nothing is. Returns whether all is saved as the head.
  // In a conflict it goes on saving on its own branch, which the conflict then shows.
  async flush(always = false) {
    clearTimeout(this.timer);
    while (this.saving) await this.saving;
    if (!this.unsaved && !always) return !this.conflict;
    if (this.paused && !this.unsaved) return false;
    this.saving = this.#save();
    await this.saving;
    this.saving = null;
    if (this.unsaved && this.state !== "failed" && !this.conflict) this.#schedule();
    return !this.unsaved && this.state === "saved";
  }

  async #save() {
    this.#show("saving");
    this.firstUnsaved = undefined;
    try {
      // What may be stored already is sent again as it was; what came since then lies upon it.
      const again = this.attempt !== null;
      if (again) await this.#send();
      if (!again || this.unsaved) {
        this.attempt = await this.#draft();
        await this.#send();
      }
      this.retryMs = 1000;
      this.#show(this.conflict ? "conflict" : this.unsaved ? "unsaved" : "saved");
    } catch (error) {
      if (error.status < 500) this.attempt = null; // refused, so not stored
      this.#show("failed", `${error.message} (again in ${Math.round(this.retryMs / 1000)} s)`);
      clearTimeout(this.timer);
      if (!this.closed) this.timer = setTimeout(() => this.flush(true), this.retryMs);
      this.retryMs = Math.min(2 * this.retryMs, LONGEST_RETRY_MS);
    }
  }

  async #draft() {
    const { generation, strokes, seconds } = this;
    const kind = this.usedProposal ? "proposal" : this.correcting ? "correction" : "paint";
    const query = new URLSearchParams({
      base: this.base, save_id: randomId(), strokes, active_seconds: seconds.toFixed(2), kind,
    });
    if (this.baseSave) query.set("base_save", this.baseSave);
    const png = await encodePng(this.mask.width, this.mask.height, this.mask.pixels);
    return { png, query, generation, strokes, seconds, kind };
  }

  async #send() {
    const { png, query, generation, strokes, seconds, kind } = this.attempt;
    const saved = await json(`entries/${this.entry.id}/revisions?${query}`, { body: png });
    this.attempt = null;
    this.savedGeneration = generation;
    this.strokes -= strokes;
    this.seconds -= seconds;
    if (kind === "proposal") {
      this.usedProposal = false;
      this.correcting = true;
    }
    this.drawOn(saved.number, query.get("save_id"));
    this.entry.state = saved.state;
    this.forgettable = generation;
    this.journalled ??= this.#journal();
    this.conflict = saved.conflict ? saved : null;
  }

  // After a conflict is settled, or another revision was opened.
  rebase(head) {
    this.conflict = this.attempt = null;
    this.why = "";
    this.drawOn(head);
    this.savedGeneration = this.forgettable = this.generation;
    this.journalled ??= this.#journal();
    this.#show("saved");
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }
}
