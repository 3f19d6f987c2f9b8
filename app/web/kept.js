// The results, kept in this browser if somebody asks for it: names, answers and small pictures, never the photos.

import { byId } from "./dom.js";
import { small } from "./thumbnails.js";

const NAME = "mobilenet";
const STORE = "sessions";
const LAST = "last";

const asked = (request) =>
  new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });

async function store(mode, use) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await asked(opening);
  try {
    return await asked(use(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

const wanted = () => byId("keep").checked;

/** Keep what came of these photos, if that is wanted, in place of what was kept before. */
export async function keep(photos) {
  if (!wanted()) return;
  const kept = [];
  for (const photo of photos) {
    const { name, outcome, request, file } = photo;
    const picture = await small(photo);
    kept.push({ name, outcome, request, picture: picture === file ? null : picture });
  }
  if (wanted()) await store("readwrite", (sessions) => sessions.put(kept, LAST));
}

/** The photos that are kept, without their files; none if nothing is. */
export async function kept() {
  const known = await indexedDB.databases();
  if (!known.some(({ name }) => name === NAME)) return [];
  const photos = await store("readonly", (sessions) => sessions.get(LAST));
  byId("keep").checked = Boolean(photos);
  return (photos ?? []).map(({ picture, ...photo }) => ({ ...photo, file: null, thumbnail: Promise.resolve(picture) }));
}

/** Keep what `photos` returns from now on, or keep nothing any more, as the checkbox says. */
export function onKeep(photos) {
  byId("keep").addEventListener("change", () => (wanted() ? keep(photos()) : asked(indexedDB.deleteDatabase(NAME))));
}
