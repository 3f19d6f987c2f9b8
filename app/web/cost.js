// Where the multiplications are: the layers of any variant, beside standard convolutions, and the ablations.

import { modelInfo } from "./api.js";
import { bar, byId, choices, drawn, html, integer, percent, shape, short, svg, table, times, walkable } from "./dom.js";
import { notice } from "./notice.js";

const MEASURES = {
  macs: ["MACs", (layer) => layer.macs],
  parameters: ["Parameters", (layer) => layer.parameters.total],
  activation_bytes: ["Activations", (layer) => layer.activation_bytes],
};
const KINDS = ["convolution", "depthwise", "pointwise", "classifier"];
const HEIGHT = 240;
const FOOT = 26;
const HEAD = 18;

const ALPHAS = [1, 0.75, 0.5, 0.25];
const RESOLUTIONS = [224, 192, 160, 128];

const state = { alpha: 0, resolution: 0, measure: "macs", standard: false };
let info = null; // of the variant that is shown
let latest = null; // the question that was asked last: answers of earlier ones are not shown

/** Show the costs of the served variant; others can be chosen from then on. */
export function costs(served) {
  const sides = [...new Set([...RESOLUTIONS, served.resolution])].sort((one, other) => other - one);
  choices(byId("alphas"), "alpha", ALPHAS.map((alpha) => [alpha, String(alpha)]), served.alpha, (alpha) => choose({ alpha }));
  choices(byId("resolutions"), "resolution", sides.map((side) => [side, String(side)]), served.resolution, (resolution) => choose({ resolution }));
  byId("cost").hidden = false;
  latest = null;
  show(served);
}

/** Show the costs of another variant; what is not given of it is as chosen before. */
export function choose(variant) {
  mark(variant);
  notice(null);
  const mine = (latest = modelInfo({ alpha: state.alpha, resolution: state.resolution }));
  const unlessOutdated = (use) => (found) => mine === latest && use(found);
  mine.then(unlessOutdated(show), unlessOutdated(stay));
}

function show(found) {
  info = found;
  mark(info);
  render();
}

/** Say why another variant cannot be shown, and choose the one again that is. */
function stay(problem) {
  mark(info);
  notice(problem);
}

/** Choose a variant, and have the controls say so. */
function mark({ alpha = state.alpha, resolution = state.resolution }) {
  Object.assign(state, { alpha, resolution });
  for (const input of byId("controls").querySelectorAll("[name=alpha], [name=resolution]")) {
    input.checked = Number(input.value) === state[input.name];
  }
}

function render() {
  byId("standard").disabled = state.measure !== "macs";
  totals();
  redraw();
  ablations();
  byId("cost-table").replaceChildren(layerTable());
}

function totals() {
  const entry = (name, value, note) => html("div", {}, html("dt", {}, name), html("dd", {}, value, html("small", {}, note)));
  byId("totals").replaceChildren(
    entry("MACs", short(info.macs), integer(info.macs)),
    entry("Parameters", short(info.parameters.total), integer(info.parameters.total)),
    entry("Activations", `${short(info.activation_bytes)}B`, "in float32"),
    entry("α @ pixels", `${info.alpha} @ ${info.resolution}`, info.served ? "served now" : "not served"),
  );
}

/** The layers as columns: the first convolution, the thirteen separable ones with two parts each, the classifier. */
function columns() {
  const found = [];
  for (const layer of info.layers) {
    if (layer.kind === "pointwise") found.at(-1).parts.push(layer);
    else found.push({ parts: [layer] });
  }
  return found.map(({ parts }, index) => ({
    parts,
    name: { convolution: "in", classifier: "out" }[parts[0].kind] ?? String(index),
    value: parts.reduce((sum, layer) => sum + MEASURES[state.measure][1](layer), 0),
    standard: parts[0].standard_macs,
  }));
}

function chart(width) {
  const all = columns();
  const ghosts = state.standard && state.measure === "macs";
  const most = Math.max(...all.map((column) => (ghosts ? column.standard : column.value)));
  const marks = all.map((column, index) => bars(column, { index, step: width / all.length, most, ghosts }));
  const top = [
    svg("line", { x1: 0, x2: width, y1: HEAD, y2: HEAD, class: "gridline" }),
    svg("text", { x: 0, y: HEAD - 6 }, `${short(most)}${unit()} ${MEASURES[state.measure][0]}`),
  ];
  const base = svg("line", { x1: 0, x2: width, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT, class: "axis" });
  const title = `${MEASURES[state.measure][0]} of each layer`;
  byId("cost-chart").replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "group", "aria-label": title }, top, marks, base),
  );
  walkable(marks, (index) => {
    byId("cost-readout").textContent = words(all[index]);
  });
  byId("cost-readout").textContent = "Point at a column, or walk through them with the arrow keys.";
  legend(ghosts);
}

/** The mark of a column: the bars of its parts, one on the other, and that of its standard convolution behind them. */
function bars(column, { index, step, most, ghosts }) {
  const scale = (value) => (value / most) * (HEIGHT - FOOT - HEAD);
  const width = Math.min(44, step * 0.72);
  const x = index * step + (step - width) / 2;
  const ghost = scale(column.standard);
  let y = HEIGHT - FOOT;
  const stack = column.parts.map((layer) => {
    const height = scale(MEASURES[state.measure][1](layer));
    y -= height;
    return svg("rect", { x, y, width, height: Math.max(0.75, height), class: layer.kind });
  });
  return svg(
    "g",
    { class: "mark", role: "img", "aria-label": words(column) },
    svg("rect", { x: index * step, y: 0, width: step, height: HEIGHT, class: "hit" }),
    ghosts && svg("rect", { x, y: HEIGHT - FOOT - ghost, width, height: ghost, class: "ghost" }),
    stack,
    svg("text", { x: x + width / 2, y: HEIGHT - 8, "text-anchor": "middle" }, column.name),
  );
}

function legend(ghosts) {
  byId("cost-legend").replaceChildren(
    ...KINDS.map((kind) => html("span", { class: `key-${kind}` }, kind)),
    ...(ghosts ? [html("span", { class: "key-ghost" }, "standard convolution")] : []),
  );
}

const unit = () => (state.measure === "activation_bytes" ? "B" : "");

function words({ parts, value, standard, name }) {
  const [first] = parts;
  const last = parts.at(-1);
  const [measure] = MEASURES[state.measure];
  const total = { macs: info.macs, parameters: info.parameters.total, activation_bytes: info.activation_bytes };
  const share = percent(value / total[state.measure]);
  const what = parts.length > 1 ? `Separable convolution ${name}, stride ${first.stride}` : `${first.name}, ${first.kind}`;
  const inside = parts.length > 1 ? `; depthwise ${short(MEASURES[state.measure][1](first))}${unit()} of it` : "";
  const saved =
    parts.length > 1 && state.measure === "macs" ? `. A standard convolution: ${short(standard)}, ${times(standard / value)} as many` : "";
  return `${what}: ${shape(first.input_shape)} to ${shape(last.output_shape)}, ${short(value)}${unit()} ${measure} (${share})${inside}${saved}.`;
}

function ablations() {
  const rows = [{ name: "this network", description: "depthwise separable convolutions", macs: info.macs, macs_ratio: 1 }, ...info.ablations];
  const most = Math.max(...rows.map(({ macs }) => macs));
  byId("ablations").replaceChildren(
    html("h3", {}, "Built otherwise"),
    html(
      "ul",
      { class: "ablations" },
      rows.map(({ name, description, macs, macs_ratio: ratio, paper_top1: top1 }) =>
        html(
          "li",
          {},
          html("b", {}, name),
          bar(macs / most, name === "this network" ? "best" : ""),
          html("span", { class: "bar-value" }, `${short(macs)} · ${times(ratio)}`),
          html("span", { class: "note" }, top1 ? `${description}; ${top1} % on ImageNet in the paper` : description),
        ),
      ),
    ),
  );
}

function layerTable() {
  const headings = ["Layer", "Type", "Stride", "Input", "Output", "MACs", "Share", "Parameters", "Activations", "As standard", "Ratio"];
  const rows = info.layers.map((layer) => [
    layer.name,
    layer.kind,
    layer.stride,
    shape(layer.input_shape),
    shape(layer.output_shape),
    integer(layer.macs),
    percent(layer.share),
    integer(layer.parameters.total),
    `${integer(layer.activation_bytes)} B`,
    integer(layer.standard_macs),
    layer.ratio.toFixed(4),
  ]);
  return table(headings, rows, `The layers of α ${info.alpha} at ${info.resolution} pixels`);
}

const redraw = drawn(byId("cost-chart"), chart);
choices(byId("measures"), "measure", Object.entries(MEASURES).map(([name, [text]]) => [name, text]), state.measure, (name) => {
  state.measure = name;
  render();
});
byId("standard").addEventListener("change", (event) => {
  state.standard = event.target.checked;
  render();
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
