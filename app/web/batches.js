// Photos in requests: some photos together, some requests at a time (docs/decisions/0018).

import { isTemporary, predict, TOO_LARGE } from "./api.js";

const PHOTOS = 8;
const BYTES = 8e6;
const AT_ONCE = 4; // requests; browsers open six connections, and pictures are fetched meanwhile
const OF_ALL = ["unreachable", "unauthorized", "invalid_parameter", "cancelled"]; // any other photo would have them, too
const TRIES = 8; // of a request that may be answered later

/** Whether a problem is that of the photo that was sent. One without a code is not even the service's. */
export const isOfPhoto = (problem) => Boolean(problem.code) && !OF_ALL.includes(problem.code) && !isTemporary(problem);

/**
 * Classify photos, each `{ file }`. Each is given its `outcome`, a result of `/predict`, and the `request` that it
 * was sent in; then `came` is called with the photos of that request. `limits` are the service's, of `/model-info`.
 *
 * Throws the `Problem` that ends it: one that all other photos would have, too, or that of the only photo. Photos keep
 * the outcomes that they were given before.
 */
export async function classifyAll(photos, { explained, limits, signal, came }) {
  const waiting = [...photos];
  let most = Math.min(PHOTOS, limits.max_batch_size);
  const atOnce = Math.max(1, Math.min(AT_ONCE, Math.floor(limits.max_queue / 4 / most)));

  const failed = (group, problem) => {
    if (group.length > 1 && problem.status === TOO_LARGE) {
      most = Math.min(most, Math.ceil(group.length / 2));
      waiting.unshift(...group);
    } else if (photos.length > 1 && isOfPhoto(problem)) {
      const error = { code: problem.code, detail: problem.message };
      const failing = group.filter(({ file }) => problem.isOf(file));
      failing.forEach((photo) => Object.assign(photo, { outcome: { error }, request: null }));
      waiting.unshift(...group.filter((photo) => !failing.includes(photo)));
      came(failing);
    } else {
      waiting.length = 0; // the others would fare no better
      throw problem;
    }
  };
  const send = async () => {
    while (waiting.length) {
      const group = together(waiting, most);
      await ask(group, explained, signal).then(() => came(group), (problem) => failed(group, problem));
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, send));
  const problem = ends.find(({ reason }) => reason)?.reason;
  if (problem) throw problem;
}

/** Take the photos of the next request from those that wait. */
function together(waiting, most) {
  const group = [waiting.shift()];
  let bytes = group[0].file.size;
  while (waiting.length && group.length < most && bytes + waiting[0].file.size <= BYTES) {
    bytes += waiting[0].file.size;
    group.push(waiting.shift());
  }
  return group;
}

async function ask(group, explained, signal) {
  const files = group.map(({ file }) => file);
  const answer = await patiently(() => predict(files, explained, signal), signal);
  const named = files.map(({ name, type }) => ({ name, type }));
  const request = { files: named, answer, explained };
  group.forEach((photo, index) => Object.assign(photo, { outcome: answer.results[index], request }));
}

/** Ask, and after a pause again as long as the problem is temporary. */
async function patiently(question, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await question();
    } catch (problem) {
      if (!isTemporary(problem) || tries === TRIES) throw problem;
      await pause(Math.max(1, problem.retryAfterS), signal);
    }
  }
}

const pause = (seconds, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
