// How far a question is, and the way to end it.

import { byId, integer } from "./dom.js";

const PATIENCE_MS = 400; // answers that come sooner need no bar

let timer = 0;
let photos = 0;
let stop = () => {};

/** Show how many of so many photos have their answer, from now on; `cancel` is called when somebody wants no more. */
export function begin(count, cancel) {
  photos = count;
  stop = cancel;
  clearTimeout(timer);
  timer = setTimeout(() => {
    byId("progress").hidden = false;
  }, PATIENCE_MS);
  reach(0);
}

export function reach(done) {
  byId("progress-text").textContent =
    photos === 1 ? "Classifying the photo …" : `Classified ${integer(done)} of ${integer(photos)} photos`;
  byId("progress-bar").max = photos;
  if (photos > 1) byId("progress-bar").value = done;
  else byId("progress-bar").removeAttribute("value"); // of one photo no part can be done
}

export function end() {
  clearTimeout(timer);
  byId("progress").hidden = true;
}

byId("cancel").addEventListener("click", () => stop());
