// Whether another engine or precision would serve the default variant faster, as `mobilenet bench` measured it here.

import { copying } from "./copying.js";
import { html, milliseconds } from "./dom.js";
import { setting } from "./setting.js";

/** What a catalogue of `/variants` says of it, as elements; none where there is nothing to say. */
export function advice(catalogue) {
  const served = catalogue.variants.find((item) => item.default);
  const { faster } = catalogue;
  return faster ? change(catalogue, served, faster) : unmeasured(catalogue, served);
}

function change(catalogue, served, faster) {
  const parts = [
    `${setting(faster)} was measured at ${milliseconds(faster.median_ms)} here, ${setting(catalogue)}, which serves, at ${milliseconds(faster.served_ms)}.`,
    accuracy(served, faster),
    faster.sure ? "" : "Which is faster is not sure: turns of the two overlap, or were not measured one against the other.",
  ];
  return [
    html("p", { class: "note" }, parts.filter(Boolean).join(" ")),
    html("pre", {}, html("code", {}, faster.command)),
    copying(() => faster.command),
  ];
}

/** What the faster setting loses of the accuracy that is shown for the variant. */
function accuracy({ top1 }, faster) {
  if (faster.top1 === null) return "Nobody has measured how often it is right.";
  const points = top1 === null ? 0 : (top1 - faster.top1) * 100;
  return points >= 0.005 ? `Its top-1 is ${points.toFixed(2)} points lower.` : "";
}

/** How to measure what is missing for a comparison. */
function unmeasured(catalogue, { alpha, resolution, fastest, latency }) {
  const bench = html("code", {}, `mobilenet bench --alpha ${alpha} --resolution ${resolution}`);
  const serves = `${setting(catalogue)}, which serves,`;
  if (!fastest) return said(bench, " measures which engine and precision is the fastest on this machine.");
  if (!latency) return said(`${setting(fastest)} was measured at ${milliseconds(fastest.median_ms)} here, ${serves} was not; `, bench, " measures both.");
  if (fastest.compared === 1) return said(`Only ${serves} was measured here; `, bench, " measures every other engine and precision, too.");
  return [];
}

const said = (...words) => [html("p", { class: "note" }, words)];
