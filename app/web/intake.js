// How photos come in: dropped, pasted, chosen, taken, or one of the drawings that come with the service.

import { sample } from "./api.js";
import { byId, html } from "./dom.js";
import { filesOf } from "./folders.js";

const SAMPLES = [
  ["golf-ball.webp", "a golf ball"],
  ["parachute.png", "a parachute"],
  ["street.jpg", "a street"],
];

/** Call `take` with every list of files that comes in, and `fail` with the problem of what does not. */
export function intake(take, fail) {
  const drop = byId("drop");
  for (const id of ["choose", "camera"]) {
    byId(id).addEventListener("change", (event) => {
      give([...event.target.files]);
      event.target.value = ""; // the same photo may be chosen again
    });
  }
  const give = (files) => files.length && take(files);

  let depth = 0; // whoever drags into a child enters it and leaves its parent: entries are counted
  const highlight = (step) => {
    depth = step ? depth + step : 0;
    drop.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => hasFiles(event) && highlight(1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && highlight(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    highlight(0);
    filesOf(event.dataTransfer).then(give, fail);
  });
  document.addEventListener("paste", (event) => filesOf(event.clipboardData).then(give, fail));
  byId("samples").append(
    ...SAMPLES.map(([name, text]) => html("button", { type: "button", class: "link", onclick: () => drawing(name).then(take, fail) }, text)),
  );
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

async function drawing(name) {
  const blob = await sample(name);
  return [new File([blob], name, { type: blob.type })];
}
