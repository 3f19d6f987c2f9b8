// What came of one photo, in full.

import { preview, sentence } from "./api.js";
import { warning } from "./classes.js";
import { sideBySide } from "./compare.js";
import { bar, byId, html, percent } from "./dom.js";
import { receipt } from "./receipt.js";
import { command } from "./request.js";
import { seen } from "./seen.js";
import { small } from "./thumbnails.js";
import { wanted, words } from "./why.js";

let url = null; // of the photo that is shown

/** Show a photo and what came of it, of a service with so many loaded variants and these classes. */
export function show(photo, { loaded, labels }) {
  const { file, outcome, request } = photo;
  URL.revokeObjectURL(url);
  url = file && URL.createObjectURL(file);
  const answered = file && outcome?.predictions;
  const saw = answered ? seen({ file, served: request.answer.model.resolution }) : null;
  const parts = [
    sight(photo, saw?.figure),
    said(outcome, labels, wanted() && request?.explained && saw?.explain),
    request && receipt(request),
    request && command(request),
    answered && sideBySide(file, loaded),
  ];
  byId("result").replaceChildren(...parts.filter(Boolean));
  byId("result").hidden = false;
}

/** Show no photo. */
export function clear() {
  byId("result").hidden = true;
  byId("result").replaceChildren();
}

function sight(photo, saw) {
  const frame = html("div", { class: "frame" }, picture(photo));
  const caption = photo.file ? photo.name : `${photo.name}, of which this browser keeps a small picture alone`;
  return html("div", { class: "sight" }, html("figure", {}, frame, html("figcaption", {}, caption)), saw);
}

/** A photo, or what the service makes of it where the browser cannot show its format. */
function picture(photo) {
  const image = html("img", { src: photo.file ? url : null, alt: `Your photo ${photo.name}` });
  const draw = (blob) => {
    if (!blob) return image.replaceWith(html("span", { class: "no-picture" }, "No picture"));
    image.onload = () => URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
  };
  image.addEventListener("error", () => preview(photo.file).catch(() => null).then(draw), { once: true });
  if (!photo.file) small(photo).then(draw);
  return image;
}

function said(outcome, labels, explain) {
  if (!outcome) return html("div", { class: "answer" }, html("p", { class: "note" }, "This photo has no answer yet."));
  const { predictions, error } = outcome;
  if (error) return html("div", { class: "answer" }, html("p", { class: "alert" }, sentence(error.detail)));
  const [best] = predictions;
  return html(
    "div",
    { class: "answer" },
    warning(outcome, labels),
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
