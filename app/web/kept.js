// The results, kept in this browser if somebody asks for it: names, answers and small pictures, never the photos.

import { Problem } from "./api.js";
import { byId } from "./dom.js";
import { notice } from "./notice.js";
import { small } from "./thumbnails.js";

const NAME = "mobilenet";
const STORE = "sessions";
const LAST = "last";

let latest = null; // the list to keep that was asked for last: slower earlier calls must not overwrite it

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
    const transaction = database.transaction(STORE, mode);
    const request = use(transaction.objectStore(STORE));
    return await new Promise((done, failed) => {
      transaction.oncomplete = () => done(request.result);
      transaction.onabort = () => failed(transaction.error); // only this says that there is no room
    });
  } finally {
    database.close();
  }
}

const forget = () => asked(indexedDB.deleteDatabase(NAME));
const wanted = () => byId("keep").checked;

/** Keep what came of these photos, if that is wanted, in place of what was kept before. */
export async function keep(photos) {
  latest = photos;
  const counts = () => wanted() && photos === latest;
  try {
    const kept = [];
    for (const photo of photos) {
      if (!counts()) return;
      const { name, outcome, request, file } = photo;
      const picture = await small(photo);
      kept.push({ name, outcome, request, picture: picture === file ? null : picture });
    }
    if (counts()) await store("readwrite", (sessions) => sessions.put(kept, LAST));
  } catch (reason) {
    if (counts()) giveUp(reason);
  }
}

/** Keep nothing, and clear the box: what was kept before is no longer what is shown. */
function giveUp(reason) {
  byId("keep").checked = false;
  forget().catch(() => {}); // where that fails, too, nothing was ever kept
  const why = reason?.name === "QuotaExceededError" ? "has no room for these results" : "cannot keep these results";
  notice(new Problem(`this browser ${why}, so none are kept`));
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
  byId("keep").addEventListener("change", () => (wanted() ? keep(photos()) : forget()));
}
