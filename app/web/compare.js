// One photo in every variant that is loaded, side by side: what a larger one would have said, and what it takes.

import { compare } from "./api.js";
import { bar, html, milliseconds, percent, short, table } from "./dom.js";

let asked = false; // once somebody wants it, the photos after are compared too

/** A section that compares the loaded variants on a photo; null where there is one. */
export function sideBySide(file, count) {
  if (count < 2) return null;
  const place = html("div", { "aria-live": "polite" });
  const ask = () => {
    asked = true;
    place.replaceChildren(html("p", { class: "note" }, `Asking ${count} variants …`));
    compare(file).then(
      (answer) => place.replaceChildren(...compared(answer)),
      (problem) => place.replaceChildren(html("p", { class: "alert" }, problem.message)),
    );
  };
  place.append(html("button", { type: "button", class: "button small", onclick: ask }, `Ask all ${count} loaded variants`));
  if (asked) ask();
  return html("section", { class: "compare", "aria-label": "Side by side" }, html("h4", {}, "Side by side"), place);
}

function compared({ results: [result], cost, timing }) {
  const [best] = result.predictions;
  const answers = [...result.variants].sort((one, other) => one.cost.macs - other.cost.macs);
  const alike = answers.filter(({ predictions }) => predictions[0].class_id === best.class_id).length;
  const rows = answers.map(({ model, predictions: [first], cost: { macs }, inference_ms: inferenceMs }) => [
    `α ${model.alpha} @ ${model.resolution}`,
    html("span", { class: first.class_id === best.class_id ? "same" : "differs" }, first.label),
    html("span", { class: "share" }, bar(first.probability, first.class_id === best.class_id ? "best" : ""), percent(first.probability)),
    short(macs),
    milliseconds(inferenceMs),
  ]);
  const headings = ["Variant", "Answer", "Probability", "MACs", "Inference"];
  const agree = alike === answers.length ? `All ${alike} agree` : `${alike} of ${answers.length} agree`;
  return [
    html("p", {}, html("b", {}, `${agree}: ${best.label}.`), ` ${short(cost.macs)} MACs and ${milliseconds(timing.total_ms)} in all.`),
    html(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of answers" },
      table(headings, rows, "What every loaded variant answers"),
    ),
  ];
}
