// The photos on the page: which are shown, which one is looked at, and what can be done with the results.

import { byId } from "./dom.js";
import { csv, json, save } from "./download.js";
import { arranged, onChoice, reset } from "./filters.js";
import { arrange, fill, press, reveal, update } from "./grid.js";
import { onKeep } from "./kept.js";
import { clear, show } from "./result.js";

/** What the service loaded and knows, and how much it takes at once; without labels until it has described itself. */
export const service = { loaded: 1, labels: [], limits: { max_batch_size: 8, max_queue: 64 } };

/** Take over how the service describes itself, and show by it what is shown already. */
export function describe(description) {
  Object.assign(service, description);
  refresh();
}

let photos = []; // each { file, name, outcome, request }, the last two null until the answer is there
let visible = [];
let selected = null;

/** The photos that are on the page. */
export const opened = () => photos;

/** Show these photos in place of those before; `same` says that they are the same ones, so that the view stays as it is. */
export function open(all, same = false) {
  const at = same ? Math.max(0, photos.indexOf(selected)) : 0;
  photos = all;
  if (!same) reset();
  fill(photos, chosen);
  selected = photos[at];
  byId("drop").classList.toggle("small", photos.length > 0);
  refresh();
}

/** Show what came of these photos meanwhile, and of all of them again by default. */
export function refresh(changed = photos) {
  changed.forEach(update);
  visible = arranged(photos);
  arrange(visible);
  const stays = visible.includes(selected);
  if (!stays || changed.includes(selected)) look(stays ? selected : visible[0]);
  byId("results").hidden = !photos.some(({ outcome }) => outcome);
}

function chosen(photo) {
  look(photo);
  reveal(photo);
}

function look(photo) {
  selected = photo ?? null;
  press(selected);
  byId("side").scrollTop = 0;
  if (photo) show(photo, service);
  else clear();
}

onChoice(() => refresh([]));
onKeep(() => photos);
byId("csv").addEventListener("click", () => save("results.csv", "text/csv", csv(visible)));
byId("json").addEventListener("click", () => save("results.json", "application/json", json(visible)));
