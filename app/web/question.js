// A question about photos: asked, ended early or asked again, and shown as its answers come.

import { noFeatures, Problem, sentence } from "./api.js";
import { classifyAll, isOfPhoto } from "./batches.js";
import { byId, integer, percent } from "./dom.js";
import { open, opened, refresh, service } from "./gallery.js";
import { keep } from "./kept.js";
import { notice } from "./notice.js";
import { begin, end, reach } from "./progress.js";
import { refuse, wanted } from "./why.js";

let latest = new AbortController(); // of the question that was asked last: answers of earlier ones are not shown
let asked = []; // the photos of the latest question
let busy = false;

/** Classify files, and show what comes of them. */
export const classify = (files) => run(files.map((file) => ({ file, name: file.name, outcome: null, request: null })));

/** Show photos of which it is known already what came of them. */
export function remember(photos) {
  if (!photos.length || asked.length) return;
  asked = photos;
  open(photos);
}

/** Show maps, or none, of the same photos; they are asked about again only where the answers have none. */
export function again() {
  const explained = asked.every(({ request, outcome }) => request?.explained || outcome?.error);
  if (!busy && (!wanted() || explained)) return refresh();
  if (asked.every(({ file }) => file)) return run(asked.map((photo) => ({ ...photo })), true);
  return refuse(new Problem("the photos themselves were not kept; choose them again to see why"));
}

/** `before` are the photos to go back to if nothing comes of these. */
async function run(photos, same = false, before = opened()) {
  latest.abort();
  const turn = (latest = new AbortController());
  asked = photos;
  begun(() => turn.abort());
  if (photos.length > 1) open(photos, same);
  const problem = await answered(turn).catch((reason) => reason);
  if (turn !== latest) return;
  if (problem && wanted() && noFeatures(problem)) {
    refuse(problem);
    await run(photos, same, before);
    return;
  }
  ended(problem, same, before);
}

function begun(cancel) {
  busy = true;
  notice(null);
  byId("drop").setAttribute("aria-busy", "true");
  byId("status").textContent = asked.length === 1 ? "Classifying …" : `Classifying ${integer(asked.length)} photos …`;
  begin(asked.length, cancel);
}

async function answered(turn) {
  let done = 0;
  const came = (group) => {
    if (turn !== latest) return;
    reach((done += group.length));
    if (asked.length > 1) refresh(group);
  };
  await classifyAll(asked, { explained: wanted(), limits: service.limits, signal: turn.signal, came });
}

function ended(problem, same, before) {
  busy = false;
  end();
  if (asked.some(({ outcome }) => outcome)) {
    if (asked.length === 1) open(asked, same);
    keep(asked);
  } else {
    asked = isOfPhoto(problem) ? [] : before;
    if (opened() !== asked) open(asked);
  }
  byId("status").textContent = summary(asked);
  if (problem && problem.code !== "cancelled") notice(problem);
  byId("drop").removeAttribute("aria-busy");
}

/** What came of the photos, in a few words. */
function summary(photos) {
  if (photos.length === 1) return said(photos[0].outcome);
  const all = `of ${integer(photos.length)} photos`;
  const counted = (of, one, several = one) => {
    const count = photos.filter(of).length;
    return count && `${integer(count)} ${count === 1 ? one : several}`;
  };
  const parts = [
    counted(({ outcome }) => outcome?.predictions, `${all} is classified`, `${all} are classified`),
    counted(({ outcome }) => outcome?.unfamiliar, "looks like none of the classes", "look like none of the classes"),
    counted(({ outcome }) => outcome?.error, "could not be classified"),
    counted(({ outcome }) => !outcome, "has no answer", "have no answer"),
  ];
  return parts.filter(Boolean).join("; ");
}

function said({ predictions, unfamiliar, error }) {
  if (error) return sentence(error.detail);
  const best = `${predictions[0].label}, ${percent(predictions[0].probability)}`;
  return unfamiliar ? `none of the known classes; the nearest is ${best}` : best;
}
