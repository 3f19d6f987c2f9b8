// One photo in every variant that is loaded, side by side: what a larger one would have said, and what it takes.

import { compare, preview } from "./api.js";
import { bar, html, milliseconds, percent, short, table } from "./dom.js";
import { map, wanted, words } from "./why.js";

let asked = false; // after the first press, later photos are compared without another one

/** A section that compares the loaded variants on a photo; null where there is one. */
export function sideBySide(file, count) {
  if (count < 2) return null;
  const place = html("div", { "aria-live": "polite" });
  const ask = () => {
    asked = true;
    place.replaceChildren(html("p", { class: "note" }, `Asking ${count} variants …`));
    answered(file).then(
      (parts) => place.replaceChildren(...parts),
      (problem) => place.replaceChildren(html("p", { class: "alert" }, problem.message)),
    );
  };
  place.append(html("button", { type: "button", class: "button small", onclick: ask }, `Ask all ${count} loaded variants`));
  if (asked) ask();
  return html("section", { class: "compare", "aria-label": "Side by side" }, html("h4", {}, "Side by side"), place);
}

async function answered(file) {
  const explained = wanted();
  const answer = await compare(file, explained);
  return explained ? [...compared(answer), maps(file, sorted(answer.results[0]))] : compared(answer);
}

/** The map of each variant for its own answer, over what it saw. */
function maps(file, answers) {
  const figures = answers.map(({ model, predictions: [first] }) => {
    const image = html("img", { alt: "", hidden: true });
    const frame = html("div", { class: "frame" }, image, map(first, model.resolution));
    const caption = html("figcaption", {}, html("b", {}, `α ${model.alpha} @ ${model.resolution}.`), ` ${words(first)}`);
    return { image, side: model.resolution, figure: html("figure", { class: "seen" }, frame, caption) };
  });
  behind(file, figures);
  return html("div", { class: "maps" }, figures.map(({ figure }) => figure));
}

/** Show what each variant saw behind its map, one after the other, as the service draws one at a time. */
async function behind(file, figures) {
  for (const { image, side } of figures) {
    const blob = await preview(file, side).catch(() => null);
    if (!blob) continue; // the map can be read without it
    image.onload = () => URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
    image.hidden = false;
  }
}

const sorted = ({ variants }) => [...variants].sort((one, other) => one.cost.macs - other.cost.macs);

function compared({ results: [result], cost, timing }) {
  const [best] = result.predictions;
  const answers = sorted(result);
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
