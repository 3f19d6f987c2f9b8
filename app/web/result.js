// What came of the photos: a grid where there are several, and one of them in full.

import { preview, sentence } from "./api.js";
import { warning } from "./classes.js";
import { sideBySide } from "./compare.js";
import { curl } from "./curl.js";
import { bar, byId, html, integer, milliseconds, percent, short } from "./dom.js";
import { seen } from "./seen.js";
import { wanted, words } from "./why.js";

const STAGES = [
  ["decode_ms", "Decode", "decode"],
  ["queue_ms", "Queue", "queue"],
  ["inference_ms", "Inference", "inference"],
];

let urls = [];
let selected = 0; // which of the photos

/**
 * Show an answer of `/predict` to some files, of a service with so many loaded variants and these classes; `again` where
 * it is about the same photos as before, so that the one that was looked at stays.
 */
export function show(question, { loaded, labels }, again = false) {
  const { files, answer } = question;
  urls.forEach(URL.revokeObjectURL);
  urls = files.map((file) => URL.createObjectURL(file));
  const served = answer.model.resolution;
  const photos = files.map((file, index) => ({ file, url: urls[index], outcome: answer.results[index], served }));
  const grid = byId("grid");
  grid.hidden = photos.length < 2;
  const cards = photos.length < 2 ? [] : photos.map((photo) => card(photo, () => select(photo)));
  grid.replaceChildren(...cards.map((button) => html("li", {}, button)));
  const select = (photo) => {
    selected = photos.indexOf(photo);
    cards.forEach((button, index) => button.setAttribute("aria-pressed", index === selected));
    const saw = photo.outcome.error ? null : seen(photo);
    const parts = [
      sight(photo, saw?.figure),
      outcome(photo.outcome, labels, wanted() && question.explained && saw?.explain),
      receipt(answer, photos.length),
      command(question),
      photo.outcome.error ? null : sideBySide(photo.file, loaded),
    ];
    byId("result").replaceChildren(...parts.filter(Boolean));
    byId("result").hidden = false;
  };
  select(photos[again ? selected : 0]);
}

/** Show nothing. */
export function clear() {
  byId("grid").hidden = byId("result").hidden = true;
}

/** What a photo is, in a few words. */
export function summary({ predictions, unfamiliar, error }) {
  if (error) return sentence(error.detail);
  const best = `${predictions[0].label}, ${percent(predictions[0].probability)}`;
  return unfamiliar ? `none of the known classes; the nearest is ${best}` : best;
}

function card(photo, choose) {
  const [best] = photo.outcome.predictions ?? [];
  return html(
    "button",
    { type: "button", class: "card", onclick: choose, "aria-pressed": false },
    picture(photo, ""),
    html("span", { class: "card-name" }, photo.file.name),
    best
      ? html("span", { class: "card-best" }, html("span", {}, best.label), html("b", {}, percent(best.probability, 0)))
      : html("span", { class: "card-error" }, "Not classified"),
    best && bar(best.probability, "best"),
    photo.outcome.unfamiliar && html("span", { class: "card-unfamiliar" }, "Looks like none of the classes"),
  );
}

/** A photo, or what the service makes of it where the browser cannot show its format. */
function picture({ file, url, served }, alt) {
  const image = html("img", { src: url, alt });
  const fallBack = () =>
    preview(file, served).then(
      (blob) => {
        image.src = URL.createObjectURL(blob);
        image.onload = () => URL.revokeObjectURL(image.src);
      },
      () => image.replaceWith(html("span", { class: "no-picture" }, "No picture")),
    );
  image.addEventListener("error", fallBack, { once: true });
  return image;
}

function sight(photo, saw) {
  const frame = html("div", { class: "frame" }, picture(photo, `Your photo ${photo.file.name}`));
  return html(
    "div",
    { class: "sight" },
    html("figure", {}, frame, html("figcaption", {}, photo.file.name)),
    saw,
  );
}

function outcome(result, labels, explain) {
  const { predictions, error } = result;
  if (error) return html("div", { class: "answer" }, html("p", { class: "alert" }, sentence(error.detail)));
  const [best] = predictions;
  return html(
    "div",
    { class: "answer" },
    warning(result, labels),
    html("h3", {}, best.label),
    explain ? explained(predictions, explain) : bars(predictions.map((one, index) => html("div", { class: "row" }, row(one, index)))),
  );
}

const bars = (rows) => html("ol", { class: "bars" }, rows.map((one) => html("li", {}, one)));

const row = ({ label, probability }, index) => [
  html("span", { class: "bar-label" }, label),
  bar(probability, index === 0 ? "best" : ""),
  html("span", { class: "bar-value" }, percent(probability)),
];

/** The predictions as buttons, of which the pressed one's map is shown, and where its evidence is in words. */
function explained(predictions, explain) {
  const where = html("p", { class: "where", role: "status" });
  const choose = (chosen) => {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === chosen));
    explain(predictions[chosen]);
    where.textContent = words(predictions[chosen]);
  };
  const buttons = predictions.map((one, index) =>
    html("button", { type: "button", class: "row", onclick: () => choose(index) }, row(one, index)),
  );
  choose(0);
  return [
    bars(buttons),
    where,
    html("p", { class: "note" }, "Choose a class to see the evidence for it."),
  ];
}

function receipt({ model, cost, timing, batch_size: batchSize, request_id: id }, photos) {
  const explainMacs = cost.explain_macs ?? 0;
  const known = STAGES.reduce((sum, [stage]) => sum + timing[stage], 0);
  const rest = Math.max(0, timing.total_ms - known);
  const stages = STAGES.map(([stage, name, kind]) => [name, timing[stage], kind]);
  const rows = photos > 1 ? stages : [...stages, ["HTTP and the rest", rest, "rest"]];
  const total = known + rest;
  const strip = html("div", { class: "strip", "aria-hidden": "true" }, rows.map(([, ms, kind]) => segment(ms / total, kind)));
  const line = (name, value, kind = "") =>
    html("div", { class: kind }, html("dt", {}, name), html("dd", {}, value));
  const many = photos > 1 ? `, ${photos} photos` : "";
  return html(
    "section",
    { class: "receipt", "aria-label": "Receipt" },
    html("h4", {}, "Receipt"),
    html("p", {}, `α ${model.alpha} @ ${model.resolution} · ${model.weights} · ${model.precision}${many}`),
    strip,
    html(
      "dl",
      {},
      rows.map(([name, ms, kind]) => line(name, milliseconds(ms), kind)),
      line("Total", milliseconds(timing.total_ms), "total"),
      line("MACs a photo", integer(cost.macs)),
      explainMacs > 0 && line("MACs of its maps", integer(explainMacs)),
      line("FLOPs (2 × MACs)", integer(cost.flops)),
      line("Parameters", integer(cost.parameters)),
      batchSize > 1 && line("Largest batch", `${batchSize} photos`),
      photos > 1 && line("MACs in all", short((cost.macs + explainMacs) * photos)),
    ),
    photos > 1 && html("p", { class: "note" }, "Times are those of the slowest photo at each stage."),
    html("p", { class: "note" }, "Request ", html("code", {}, id)),
  );
}

function segment(share, kind) {
  const part = html("span", { class: `fill ${kind}` });
  part.style.flexGrow = share;
  return part;
}

function command(question) {
  const text = curl(question);
  const copied = html("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.textContent = "Copied";
    } catch {
      copied.textContent = "Select it and copy it by hand";
    }
  };
  return html(
    "section",
    { class: "command", "aria-label": "The same with curl" },
    html("h4", {}, "The same with curl"),
    html("pre", { tabindex: "0" }, html("code", {}, text)),
    html("p", {}, html("button", { type: "button", class: "button small", onclick: copy }, "Copy"), copied),
  );
}
