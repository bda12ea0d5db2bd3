// Strokes that the server has not acknowledged yet, kept in the browser's own database by tiles.

const open = new Promise((resolve, reject) => {
  const request = indexedDB.open("annotation", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("journal");
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

function completion(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

const all = (key) => IDBKeyRange.bound([...key], [...key, []]);

// Keeps tiles under `key` (an array); `facts` says what they were drawn on.
export async function keep(key, facts, tiles) {
  const transaction = (await open).transaction("journal", "readwrite", { durability: "relaxed" });
  const store = transaction.objectStore("journal");
  store.put(facts, [...key, "facts"]);
  for (const { tile, pixels, generation } of tiles) store.put({ tile, pixels, generation }, [...key, tile]);
  await completion(transaction);
}

// Forgets what a save up to `generation` holds.
export async function forget(key, generation, facts) {
  const transaction = (await open).transaction("journal", "readwrite");
  const store = transaction.objectStore("journal");
  let left = 0;
  await new Promise((resolve, reject) => {
    const walk = store.openCursor(all(key));
    walk.onerror = () => reject(walk.error);
    walk.onsuccess = () => {
      const cursor = walk.result;
      if (!cursor) return resolve();
      if (cursor.value.generation !== undefined) {
        if (cursor.value.generation <= generation) cursor.delete();
        else left++;
      }
      cursor.continue();
    };
  });
  if (left) store.put(facts, [...key, "facts"]);
  else store.delete([...key, "facts"]);
  await completion(transaction);
}

// What is kept under `key`: {facts, tiles}; null where nothing is.
export async function recall(key) {
  const store = (await open).transaction("journal").objectStore("journal");
  const request = store.getAll(all(key));
  const found = await new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const facts = found.find((value) => value.generation === undefined);
  const tiles = found.filter((value) => value.generation !== undefined);
  return facts && tiles.length ? { facts, tiles } : null;
}
