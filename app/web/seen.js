// What the network saw of a photo, and what it would see at other resolutions.

import { preview } from "./api.js";
import { choices, html } from "./dom.js";
import { legend, map } from "./why.js";

const SIDES = [128, 160, 192, 224];

/** A figure of it, and `explain`, which lays the map of a prediction over it. */
export function seen({ file, served }) {
  const image = html("img", { alt: "The central square of the photo, as small as the network takes it", hidden: true });
  const frame = html("div", { class: "frame" }, image);
  const caption = html("figcaption", {}, "What the network saw");
  const key = html("div");
  const fieldset = html("fieldset", { class: "sides" }, html("legend", { class: "hidden" }, "See it at"));
  const figure = html("figure", { class: "seen" }, frame, key, caption, fieldset);
  image.onload = () => {
    URL.revokeObjectURL(image.src);
    image.hidden = false;
  };
  let latest;
  const look = (side) => {
    figure.classList.toggle("other", side !== served); // at this resolution no network ran, so there is no map
    const mine = (latest = preview(file, side));
    mine.then(
      (blob) => {
        if (mine !== latest) return;
        image.src = URL.createObjectURL(blob);
        caption.textContent = `What the network ${side === served ? "saw" : "would see"}: ${side} × ${side} pixels`;
      },
      (problem) => {
        if (mine === latest) caption.textContent = problem.message;
      },
    );
  };
  const sides = [...new Set([...SIDES, served])].sort((one, other) => one - other);
  choices(fieldset, "side", sides.map((side) => [side, String(side)]), served, look);
  look(served);
  const explain = (prediction) => {
    frame.replaceChildren(image, map(prediction, served));
    key.replaceChildren(legend(prediction));
    if (figure.classList.contains("other")) fieldset.querySelector(`[value="${served}"]`).click();
  };
  return { figure, explain };
}
