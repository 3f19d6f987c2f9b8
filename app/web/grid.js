// The photos side by side, each with its most probable class; one of them is looked at in full.

import { bar, byId, html, percent } from "./dom.js";
import { thumbnail } from "./thumbnails.js";

const wide = matchMedia("(min-width: 62rem)"); // as in photos.css; there the photo that is looked at has a column
const ROW = 5; // photos that any wide screen shows side by side; among more, filters help to find one
const details = byId("details");
const slot = html("li", { class: "slot" });

let cards = new Map(); // from each photo to its item in the list
let shown = []; // photos, in the order in which they are shown
let pressed = null;
let look = () => {};

/** Show cards of these photos, of which `choose` is called with the one that somebody wants to look at. */
export function fill(photos, choose) {
  cards = new Map(photos.map((photo) => [photo, html("li", {}, card(photo))]));
  pressed = null;
  look = choose;
  const many = photos.length > ROW;
  byId("workspace").classList.toggle("many", many);
  byId("filters").hidden = !many;
  if (many) byId("filters").after(byId("results"));
  else byId("side").append(byId("results"));
  arrange(photos);
}

/** Show only these photos, in this order. */
export function arrange(photos) {
  const same = photos.length === shown.length && photos.every((photo, index) => photo === shown[index]);
  shown = photos;
  byId("grid").hidden = cards.size < 2;
  if (!same) moved(() => byId("grid").replaceChildren(...photos.map((photo) => cards.get(photo))));
  place();
}

/** Move elements about; the one that has the focus keeps it. */
function moved(move) {
  const focused = document.activeElement;
  move();
  if (focused !== document.activeElement) focused.focus({ preventScroll: true });
}

/** Write on the card of a photo what came of it meanwhile. */
export function update(photo) {
  const button = cards.get(photo).firstChild;
  button.lastChild.replaceWith(outcome(photo.outcome));
}

/** Mark the photo that is looked at; null for none. */
export function press(photo) {
  pressed = photo;
  for (const [one, item] of cards) item.firstChild.setAttribute("aria-pressed", one === photo);
  place();
}

/** Let the tab key stop at one card only, and put what is said of its photo below its row on small screens. */
function place() {
  const stop = shown.includes(pressed) ? pressed : shown[0];
  for (const [photo, item] of cards) item.firstChild.tabIndex = photo === stop ? 0 : -1;
  if (!wide.matches && cards.size > 1 && shown.includes(pressed)) {
    if (slot.previousSibling !== cards.get(pressed)) moved(() => cards.get(pressed).after(slot));
    if (details.parentNode !== slot) moved(() => slot.append(details));
  } else {
    if (details.parentNode !== byId("side")) moved(() => byId("side").prepend(details));
    slot.remove();
  }
}

function card(photo) {
  const choose = () => look(photo);
  return html(
    "button",
    { type: "button", class: "card", onclick: choose, onkeydown: walk, "aria-pressed": false },
    thumbnail(photo),
    html("span", { class: "card-name" }, photo.name),
    outcome(photo.outcome),
  );
}

function outcome(result) {
  if (!result) return html("span", { class: "card-outcome note" }, "No answer yet");
  if (result.error) return html("span", { class: "card-outcome card-error" }, "Not classified");
  const [best] = result.predictions;
  return html(
    "span",
    { class: "card-outcome" },
    html("span", { class: "card-best" }, html("span", {}, best.label), html("b", {}, percent(best.probability, 0))),
    bar(best.probability, "best"),
    result.unfamiliar && html("span", { class: "card-unfamiliar" }, "Looks like none of the classes"),
  );
}

/** Go to another card with the arrow keys, Home and End, and look at its photo. */
function walk(event) {
  const at = shown.findIndex((photo) => cards.get(photo).contains(event.currentTarget));
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns(), Home: -at, End: shown.length - 1 - at };
  const next = shown[at + (steps[event.key] ?? NaN)];
  if (!next) return;
  event.preventDefault();
  cards.get(next).firstChild.focus();
  look(next);
}

function columns() {
  const tops = shown.map((photo) => cards.get(photo).offsetTop);
  return tops.filter((top) => top === tops[0]).length;
}

/** Bring what is said of a photo onto the screen: on small ones below its card, on others beside it. */
export function reveal(photo) {
  const above = byId("side").getBoundingClientRect().top;
  if (!wide.matches) cards.get(photo).scrollIntoView({ block: "start" });
  else if (cards.size > ROW && above < 0) scrollBy(0, above); // beside the last photos its top is off the screen
}

wide.addEventListener("change", place);
