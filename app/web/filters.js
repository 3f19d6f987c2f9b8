// Which of the photos are shown, and in which order.

import { byId, html, integer } from "./dom.js";

const best = ({ outcome }) => outcome?.predictions?.[0];
const certainty = (photo) => best(photo)?.probability ?? -1;
const named = new Intl.Collator("en", { numeric: true }).compare;
const byLabel = (one, other) => named(best(one)?.label ?? "\uffff", best(other)?.label ?? "\uffff");
const within = (low, high) => (photo) => certainty(photo) >= low && certainty(photo) < high;

const ORDERS = {
  "as chosen": null,
  "most certain first": (one, other) => certainty(other) - certainty(one),
  "least certain first": (one, other) => (best(one) ? certainty(one) : 2) - (best(other) ? certainty(other) : 2),
  "by class": (one, other) => byLabel(one, other) || certainty(other) - certainty(one),
  "by name": (one, other) => named(one.name, other.name),
};
const KINDS = {
  "all photos": () => true,
  "at least 90\u00a0% certain": within(0.9, 2),
  "50 to 90\u00a0% certain": within(0.5, 0.9),
  "less than 50\u00a0% certain": within(0, 0.5),
  "like none of the classes": ({ outcome }) => Boolean(outcome?.unfamiliar),
  "not classified": (photo) => !best(photo),
};

const order = byId("order");
const kind = byId("kind");
const label = byId("label");

order.append(...Object.keys(ORDERS).map((name) => html("option", {}, name)));
kind.append(...Object.keys(KINDS).map((name) => html("option", {}, name)));

/** Call `changed` when somebody wants other photos, or another order. */
export function onChoice(changed) {
  byId("filters").addEventListener("input", changed);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("everything").addEventListener("click", () => (reset(), changed()));
}

/** Show all photos as they were chosen, from now on. */
export function reset() {
  order.selectedIndex = kind.selectedIndex = label.selectedIndex = 0;
}

/** Of all photos those that are wanted, in the wanted order; the form says how many they are, and of which classes. */
export function arranged(photos) {
  const counts = new Map();
  for (const photo of photos) {
    if (best(photo)) counts.set(best(photo).label, (counts.get(best(photo).label) ?? 0) + 1);
  }
  offer(counts);
  const found = photos.filter(KINDS[kind.value]).filter((photo) => !label.value || best(photo)?.label === label.value);
  byId("shown").textContent = `${integer(found.length)} of ${integer(photos.length)} photos`;
  byId("everything").hidden = found.length === photos.length;
  return ORDERS[order.value] ? found.sort(ORDERS[order.value]) : found;
}

function offer(counts) {
  const chosen = label.value;
  const names = [...new Set([...counts.keys(), ...(chosen ? [chosen] : [])])].sort(named);
  const options = names.map((name) => html("option", { value: name }, `${name} (${integer(counts.get(name) ?? 0)})`));
  label.replaceChildren(html("option", { value: "" }, "any class"), ...options);
  label.value = chosen;
}
