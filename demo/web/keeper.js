// The script of `keeper.py`. Gradio runs it with `element`, `props`, `trigger`, `upload` and `watch`.
const DAY_MS = 24 * 60 * 60 * 1000, FILES = ["photo", "mask", "backdrop"];
const find = (what) => element.querySelector(what);
let offered = null, kept = null, edits = [], waiting = null, present = null, bringing = false;
let keeping = Promise.resolve();

// One record: the last photo, what belongs to it, and when it was last worked on.
const store = (mode, act) => new Promise((resolve, reject) => {
  const opening = indexedDB.open("mgm", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("kept");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const done = opening.result.transaction("kept", mode);
    const asked = act(done.objectStore("kept"));
    done.oncomplete = () => { opening.result.close(); resolve(asked.result); };
    done.onerror = () => { opening.result.close(); reject(done.error); };
  };
});
const read = () => store("readonly", (all) => all.get("photo"));
const write = (record) => store("readwrite", (all) => all.put(record, "photo"));
const forget = () => store("readwrite", (all) => all.delete("photo"));
// Some browsers keep nothing in private windows: then there is nothing to go on with.
const unlessBlocked = (promise) => promise.catch((error) => console.info(`not kept: ${error}`));

const send = async (blob, name) => (await upload(new File([blob], name, {type: blob.type}))).path;
const offer = (text, accept, decline) => {
  offered = text === null ? null : {text, accept, decline};
  show();
};
const show = () => {
  const bar = find(".offer");
  bar.hidden = !offered;
  if (!offered) return;
  find("span").textContent = offered.text;
  find("[data-do=accept]").textContent = offered.accept[0];
  find("[data-do=decline]").textContent = offered.decline[0];
};
element.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button || !offered) return;
  const [, act] = offered[button.dataset.do];
  button.disabled = true;
  try {
    await act();
    offer(null);
  } catch (error) {
    find("span").textContent = `That did not work (${error.message}). Choose the photo again.`;
  } finally {
    button.disabled = false;
  }
});

const goOn = async (record) => {
  const files = {};
  for (const [name, {blob, called}] of Object.entries(record.files)) files[name] = await send(blob, called);
  kept = record;
  edits = record.values.edits ?? [];
  bringing = true;
  trigger("bring", {files, values: record.values});
};
const reduce = async ({photo, name, most, megapixels}) => {
  const whole = await (await fetch(photo.url)).blob();
  const full = await createImageBitmap(whole);
  // A little less, as both sides are rounded.
  const scale = Math.sqrt(most / megapixels) * 0.999;
  const sides = [full.width, full.height].map((side) => Math.max(1, Math.floor(side * scale)));
  const sheet = new OffscreenCanvas(...sides);
  const paint = sheet.getContext("2d");
  paint.imageSmoothingQuality = "high";
  paint.drawImage(full, 0, 0, ...sides);
  full.close();
  // Only these may be transparent.
  const png = ["image/png", "image/webp"].includes(whole.type);
  const small = await sheet.convertToBlob({type: png ? "image/png" : "image/jpeg", quality: 0.95});
  const called = name.replace(/\.[^.]*$/, "") + (png ? ".png" : ".jpg");
  trigger("bring", {files: {photo: await send(small, called)}, values: {}});
};

const look = () => {
  const about = props.value;
  show();
  if (!about || !("own" in about)) return;
  if (present !== about.photo?.path) {
    if (!bringing) edits = [];
    bringing = false;
    present = about.photo?.path;
  }
  if (about.photo) {
    const tooLarge = about.megapixels > about.most;
    if (tooLarge) {
      // Rounded up, so that 24.4 are not "24; this page takes up to 24".
      offer(`${about.name} has ${Math.ceil(about.megapixels * 10) / 10} megapixels; this page takes up to ${about.most}.`,
        [`Reduce it to ${about.most} megapixels`, () => reduce(about)], ["Choose another", async () => {}]);
    } else {
      offer(null);
    }
  }
};

// Called with the controls' values whenever a result is there.
window.mgmKeep = (names, values) => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const settings = Object.fromEntries(names.map((name, i) => [name, values[i]]));
    // One after the other: an older state whose photo takes long to fetch would replace a newer one.
    keeping = keeping.then(() => unlessBlocked(keep(settings)));
  }, 300);
};
const keep = async (values) => {
  const about = props.value;
  if (!values.photo || !about?.own || about.megapixels > about.most) return;
  const record = {at: Date.now(), files: {}, values: {edits}};
  for (const [name, value] of Object.entries(values)) {
    if (!FILES.includes(name)) {
      record.values[name] = value;
    } else if (value) {
      const before = kept?.files[name];
      record.files[name] = before?.path === value.path ? before : {
        path: value.path,
        called: value.orig_name ?? "photo",
        blob: await (await fetch(value.url)).blob(),
      };
    }
  }
  await write(record);
  kept = record;
  element.dataset.kept = record.files.photo.called;
};
// Corrections belong to one photo; the canvas tells of them.
window.addEventListener("mgm:edits", (event) => { edits = event.detail; });

const begin = async () => {
  const record = await read();
  if (!record) return;
  if (Date.now() - record.at > DAY_MS) { await forget(); return; }
  if (props.value?.photo) return;
  const when = new Date(record.at).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
  offer(`${record.files.photo.called}, of ${when}, is kept in this browser.`,
    ["Go on with it", () => goOn(record)], ["Forget it", forget]);
};
watch("value", look);
look();
unlessBlocked(begin());
