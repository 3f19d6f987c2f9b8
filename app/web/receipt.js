// What a request cost: its time, stage by stage, and the arithmetic of its photos.

import { html, integer, milliseconds, short } from "./dom.js";

const STAGES = [
  ["decode_ms", "Decode", "decode"],
  ["queue_ms", "Queue", "queue"],
  ["inference_ms", "Inference", "inference"],
];

/** The receipt of the request that a photo was sent in. */
export function receipt({ files, answer: { model, results, cost, timing, batch_size: batchSize, request_id: id } }) {
  const photos = files.length;
  const classified = results.filter(({ error }) => !error).length;
  const explainMacs = cost.explain_macs ?? 0;
  const known = STAGES.reduce((sum, [stage]) => sum + timing[stage], 0);
  const rest = Math.max(0, timing.total_ms - known);
  const stages = STAGES.map(([stage, name, kind]) => [name, timing[stage], kind]);
  const rows = photos > 1 ? stages : [...stages, ["HTTP and the rest", rest, "rest"]];
  const total = known + rest;
  const strip = html("div", { class: "strip", "aria-hidden": "true" }, rows.map(([, ms, kind]) => segment(ms / total, kind)));
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
      explainMacs > 0 && line("MACs for Why?", integer(explainMacs)),
      line("FLOPs (2 × MACs)", integer(cost.flops)),
      line("Parameters", integer(cost.parameters)),
      batchSize > 1 && line("Largest batch", `${batchSize} photos`),
      photos > 1 && line("MACs in all", short((cost.macs + explainMacs) * classified)),
    ),
    photos > 1 &&
      html("p", { class: "note" }, `The photo was sent in a request with ${photos} photos. Times are those of the slowest photo at each stage.`),
    html("p", { class: "note" }, "Request ", html("code", {}, id)),
  );
}

const line = (name, value, kind = "") => html("div", { class: kind }, html("dt", {}, name), html("dd", {}, value));

function segment(share, kind) {
  const part = html("span", { class: `fill ${kind}` });
  part.style.flexGrow = share;
  return part;
}
