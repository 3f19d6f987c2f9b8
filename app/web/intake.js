// How photos come in: dropped, pasted, chosen, taken, or one of the drawings that come with the service.

import { address } from "./api.js";
import { byId, html } from "./dom.js";

const SAMPLES = [
  ["golf-ball.webp", "a golf ball"],
  ["parachute.png", "a parachute"],
  ["street.jpg", "a street"],
];

/** Call `take` with every list of files that comes in. */
export function intake(take) {
  const drop = byId("drop");
  for (const id of ["choose", "camera"]) {
    byId(id).addEventListener("change", (event) => {
      give([...event.target.files]);
      event.target.value = ""; // the same photo may be chosen again
    });
  }
  const give = (files) => files.length && take(files);

  let depth = 0; // entering a child leaves its parent
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
    give([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => give([...event.clipboardData.files]));
  byId("samples").append(
    ...SAMPLES.map(([name, text]) => html("button", { type: "button", class: "link", onclick: () => sample(name).then(give) }, text)),
  );
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

async function sample(name) {
  const blob = await (await fetch(address(`samples/${name}`))).blob();
  return [new File([blob], name, { type: blob.type })];
}
