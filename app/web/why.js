// Why: the switch, and a map over what a network saw.

import { draw, sentence, upright } from "./evidence.js";
import { byId, html } from "./dom.js";

const hint = byId("why-note").textContent;

/** Whether maps are wanted. */
export const wanted = () => byId("why").checked;

/** Call `toggled` when somebody turns the switch. */
export function onSwitch(toggled) {
  byId("why").addEventListener("change", () => {
    byId("why-note").textContent = hint;
    toggled();
  });
}

/** Turn the switch off and say why it cannot be on. */
export function refuse(problem) {
  byId("why").checked = false;
  byId("why-note").textContent = problem.message;
}

/** The map of a prediction, to be laid over a picture of so many pixels on each side. */
export function map({ label, evidence }, side) {
  const canvas = html("canvas", {
    class: "map",
    width: side,
    height: side,
    role: "img",
    "aria-label": `Where the evidence for ${label} is`,
  });
  draw(canvas, upright(evidence));
  return canvas;
}

/** What the colours of a map mean, and how strong the strongest of each is. */
export function legend({ evidence }) {
  const values = evidence.values.flat();
  const strongest = [Math.max(...values), Math.min(...values)];
  const [best, worst] = strongest.map((value) => Number(Math.abs(value).toPrecision(2)));
  return html(
    "p",
    { class: "legend" },
    html("span", { class: "key-for" }, strongest[0] > 0 ? `for, up to\u00a0+${best}` : "for: nowhere"),
    html("span", { class: "key-against" }, strongest[1] < 0 ? `against, up to\u00a0−${worst}` : "against: nowhere"),
  );
}

/** Where the evidence for a prediction is. */
export const words = ({ label, evidence }) => sentence(upright(evidence), label);
