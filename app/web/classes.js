// The classes that the service knows, in words.

import { html, integer } from "./dom.js";

const MOST = 10;

/** The names of the classes: all of a few, or the first ten and how many more there are. */
export function names(labels) {
  const first = labels.slice(0, MOST).join(", ");
  return labels.length > MOST ? `${first} and ${integer(labels.length - MOST)} more` : first;
}

/** What the service knows, and where the names of many classes can be opened, all of them. */
export function known(labels) {
  const sentence = html("p", {}, `It knows ${integer(labels.length)} classes and nothing else: ${names(labels)}.`);
  if (labels.length <= MOST) return [sentence];
  const all = html("p", { class: "all-classes", tabindex: "0", role: "region", "aria-label": "All classes" }, labels.join(", "));
  return [sentence, html("details", {}, html("summary", {}, `All ${integer(labels.length)} classes`), all)];
}

/** Says that a photo looks like none of the classes, whose labels may not be known yet; null if it does not. */
export function warning({ unfamiliar, familiarity }, labels) {
  if (!unfamiliar) return null;
  const fewer = familiarity > 0 ? `Only ${(familiarity * 100).toFixed(1)}\u00a0% of the photos` : "None of the photos";
  return html(
    "p",
    { class: "unfamiliar" },
    html("b", {}, "This photo looks like none of the classes that the service knows"),
    `${labels.length ? `: ${names(labels)}` : ""}. ${fewer} of these classes that it was tested with looked less like them. What follows is only the nearest of them.`,
  );
}
